"""AnimateDiff (Guo et al. 2024) on Stable Diffusion 1.5: drawings of landmarks steer it through a ControlNet, and an IP-Adapter
shows it the photo.

Every network loads by diffusers' own `from_pretrained` into diffusers' own pipeline, so it is the prior that is least likely
to break; it knows the person less well than those with a reference net. The pipeline's parts are asked one by one, because
noise, guidance and windows are the same for all priors here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.checkpoint import part
from zero1toa.priors.conditioning import CONTROLNET_DOTS, CONTROLNET_STROKES, draw_landmarks
from zero1toa.priors.diffusion import Shot
from zero1toa.priors.lora import fuse_lora
from zero1toa.priors.noise import LINEAR_BETAS, Schedule, linear_schedule
from zero1toa.priors.pictures import Gaze, LatentSpace, load_pretrained
from zero1toa.priors.portrait import told_and_without
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.unets import normalise_by_frame
from zero1toa.types import PriorError

if TYPE_CHECKING:
    from diffusers.pipelines.animatediff.pipeline_animatediff_video2video_controlnet import (
        AnimateDiffVideoToVideoControlNetPipeline,
    )

BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
MOTION = "guoyww/animatediff-motion-adapter-v1-5-2"
CONTROL = "CrucibleAI/ControlNetMediaPipeFace"
ADAPTER = "h94/IP-Adapter"
ADAPTER_FILE = "models/ip-adapter-plus-face_sd15.safetensors"
PROMPT = "a sharp studio portrait photo of a person, head and shoulders, plain grey background, soft light"
AGAINST = "blurry, low resolution, deformed face, text, frame, hands"


@dataclass(frozen=True, slots=True)
class Told:
    """What steers the denoising of `N` clips: words and the photo, each without and with, and drawings of landmarks."""

    words: Float[Tensor, "2 K D"]
    photo: Float[Tensor, "2 1 P E"]
    drawings: Float[Tensor, "T N 3 H W"]

    def of(self, frames: slice) -> Told:
        """Take some of the frames."""
        return replace(self, drawings=self.drawings[frames])


class AnimateDiff:
    """The networks behind the prior animatediff. Raises PriorError when a file is missing, damaged or another model's."""

    name = "animatediff"
    # The original takes 25 steps; how many fewer do as well has not been measured on its weights.
    steps = 8
    guidance = 7.5
    window: int | None = 16
    overlap = 4

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        from transformers import CLIPVisionModelWithProjection

        dtype = precision(config, device)
        if config.lora:
            self.name = f"animatediff with {Path(config.lora).stem}"
        self._latents = LatentSpace.load(config.autoencoder, device, dtype)
        self.pipeline = load_pipeline(self._latents, config.lora, device, dtype)
        self.unet: Any = self.pipeline.unet
        normalise_by_frame(self.unet)
        self.controlnet: Any = self.pipeline.controlnet
        for network in (self.unet, self.controlnet):
            tune(network, config)
        show_photos(self.pipeline, weights_path(ADAPTER, ADAPTER_FILE))
        encoder = weights_path(ADAPTER, "models/image_encoder")
        self._gaze = Gaze(load_pretrained(CLIPVisionModelWithProjection, encoder, device, dtype))
        with torch.no_grad():
            told_and_against: Any = self.pipeline.encode_prompt(PROMPT, device, 1, True, AGAINST)
        self._words = torch.cat(told_and_against[::-1])

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Give the end of AnimateDiff's schedule: the share `strength` of its steps."""
        return linear_schedule(steps).last(strength)

    def study(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "2 1 P E"]:
        """Give what CLIP sees in no photo and in this one."""
        seen = self._gaze.patches(torch.stack([self._gaze.nothing(photo), photo]))
        return seen[:, None].to(self.unet.dtype)

    def encode(self, frames: Float[Tensor, "T H W 3"], studied: Any, *, exact: bool) -> Float[Tensor, "T 4 h w"]:
        """Give the latents of a clip, frame by frame."""
        return self._latents.encode(frames, exact=exact)

    def decode(self, latents: Float[Tensor, "T 4 h w"]) -> Float[Tensor, "T H W 3"]:
        """Give the pictures of latents, frame by frame."""
        return self._latents.decode(latents)

    def conditions(self, shots: Sequence[Shot], studied: Float[Tensor, "2 1 P E"]) -> Told:
        """Draw the landmarks of every clip, from 0 to 1."""
        height, width = shots[0].frames.shape[1:3]
        draw = lambda shot: draw_landmarks(
            shot.landmarks, height, width, strokes=CONTROLNET_STROKES, dots=CONTROLNET_DOTS, dot_width=4
        )
        drawings = torch.stack([draw(shot).movedim(-1, 1) for shot in shots], 1)
        return Told(self._words, studied, drawings.to(self.unet.device, self.unet.dtype))

    def velocity(
        self, sample: Float[Tensor, "T N 4 h w"], timestep: float, angle: float, conditions: Told, *, compare: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Turn the noise that the U-Net sees into v; without conditions means other words and no photo, but the drawings."""
        frames, clips = sample.shape[:2]
        rows = 1 + compare
        batch = sample.to(self.unet.dtype).permute(1, 2, 0, 3, 4).repeat(rows, 1, 1, 1, 1)
        words = conditions.words[-rows:].repeat_interleave(clips * frames, 0)
        drawings = conditions.drawings.transpose(0, 1).flatten(0, 1).repeat(rows, 1, 1, 1)
        down, middle = self.controlnet(
            batch.transpose(1, 2).flatten(0, 1), timestep, encoder_hidden_states=words, controlnet_cond=drawings,
            return_dict=False,
        )  # fmt: skip
        noise = self.unet(
            batch, timestep, words, added_cond_kwargs={"image_embeds": [conditions.photo[-rows:].repeat_interleave(clips, 0)]},
            down_block_additional_residuals=down, mid_block_additional_residual=middle, return_dict=False,
        )[0].float()  # fmt: skip
        as_v = lambda noise: (noise - math.sin(angle) * sample) / math.cos(angle)
        told, without = told_and_without(noise, compare=compare)
        return as_v(told), None if without is None else as_v(without)


def load_pipeline(
    latents: LatentSpace, lora: str, device: torch.device, dtype: torch.dtype
) -> AnimateDiffVideoToVideoControlNetPipeline:
    """Put diffusers' pipeline together out of the published folders, all but the IP-Adapter."""
    from diffusers.models.controlnets.controlnet import ControlNetModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.models.unets.unet_motion_model import MotionAdapter
    from diffusers.pipelines.animatediff.pipeline_animatediff_video2video_controlnet import (
        AnimateDiffVideoToVideoControlNetPipeline,
    )
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import CLIPTextModel

    load = lambda kind, folder, variant="": load_pretrained(kind, folder, device, dtype, variant=variant)
    unet = load(UNet2DConditionModel, weights_path(BASE, "unet"), "fp16")
    if lora:
        fuse_lora(unet, Path(lora))
    try:
        return AnimateDiffVideoToVideoControlNetPipeline(
            vae=latents.autoencoder,
            text_encoder=load(CLIPTextModel, weights_path(BASE, "text_encoder"), "fp16"),
            tokenizer=load_tokenizer(weights_path(BASE, "tokenizer")),
            unet=unet,
            motion_adapter=load(MotionAdapter, weights_path(MOTION), "fp16"),
            controlnet=load(ControlNetModel, weights_path(CONTROL, "diffusion_sd15"), "fp16"),
            scheduler=DDIMScheduler(**LINEAR_BETAS, timestep_spacing="trailing", clip_sample=False),
        )
    except (ValueError, RuntimeError) as error:
        if isinstance(error, PriorError):
            raise
        raise PriorError(f"{MOTION} does not fit {BASE} ({error}): fetch the weights again") from error


def load_tokenizer(folder: Path) -> Any:
    """Load CLIP's tokenizer from a folder. Raises PriorError when its files are missing or damaged."""
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever the reader of the day raises
        raise PriorError(f"{folder} holds no tokenizer ({type(error).__name__}): delete it and fetch it again") from error


def show_photos(pipeline: Any, path: Path) -> None:
    """Give a pipeline's U-Net the IP-Adapter's attention, every tensor of the file and no other."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise PriorError(f"{path} is damaged or not there: fetch the weights again") from error
    parts: Mapping[str, Any] = {name: part(tensors, name) for name in ("image_proj", "ip_adapter")}
    try:
        pipeline.load_ip_adapter(parts, subfolder="", weight_name="", image_encoder_folder=None, low_cpu_mem_usage=False)
    except (KeyError, ValueError, RuntimeError) as error:
        raise PriorError(f"{path} is no IP-Adapter for this model ({error}): fetch it again") from error
    # The pipeline looks for what it needs and says nothing of what it does not.
    own = pipeline.unet.state_dict()
    taken = sum(tensor.numel() for key, tensor in own.items() if "_ip." in key or key.startswith("encoder_hid_proj."))
    if (given := sum(tensor.numel() for tensor in tensors.values())) != taken:
        raise PriorError(f"{path} holds {given} numbers where {taken} are wanted: fetch it again")
