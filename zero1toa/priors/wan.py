"""Wan-Animate (Wan Team 2025) in diffusers: a transformer over whole clips that is driven by the render itself.

It sees how the render's face moves in crops of it, and where the head is by a few strokes of a skeleton. diffusers' pipeline
makes its inputs; noise and steps are those of all priors here, since a step of flow matching is a rotation too (see
`zero1toa.priors.noise`). The first latent of a clip stands for the photo and is dropped at the end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.checkpoint import converted
from zero1toa.priors.conditioning import SKELETON_STROKES, draw_landmarks
from zero1toa.priors.diffusion import Shot
from zero1toa.priors.noise import TRAIN_STEPS, Schedule, flow_schedule
from zero1toa.priors.pictures import Gaze, face_crops, load_pretrained
from zero1toa.priors.portrait import told_and_without
from zero1toa.priors.tuning import precision, tune
from zero1toa.types import PriorError

log = logging.getLogger(__name__)

REPO = "Wan-AI/Wan2.2-Animate-14B-Diffusers"
# What its authors say when nobody says anything: "the person in the video is making movements".
PROMPT = "视频中的人在做动作"
WORDS = 512  # tokens that it reads
SHIFT = 5.0
# How weights are held, from the GPU memory in GB that is free: 15.2 billion of 2 bytes, of 1, or of 1 and elsewhere.
STORAGE = {"full": 45.0, "float8": 24.0, "offload": 0.0}


@dataclass(frozen=True, slots=True)
class Studied:
    """What is known of one photo: its latent under a mask (1, 20, 1, h, w), and what CLIP sees in it."""

    latent: Float[Tensor, "1 E 1 h w"]
    seen: Float[Tensor, "1 P D"]


@dataclass(frozen=True, slots=True)
class Driven:
    """What drives `N` clips: the photo and an empty past as latents, what CLIP sees, strokes as latents, and faces."""

    known: Float[Tensor, "1 E t h w"]
    seen: Float[Tensor, "1 P D"]
    strokes: Float[Tensor, "N C t h w"]
    faces: Float[Tensor, "N 3 T S S"]

    def of(self, frames: slice) -> Driven:
        """Take all frames: it sees a clip as a whole."""
        return self


class WanAnimate:
    """The networks behind the prior wan-animate. Raises PriorError when a file is missing, damaged or another model's."""

    name = "wan-animate"
    steps = 20
    guidance = 1.0
    window: int | None = None
    overlap = 0

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
        from diffusers.models.transformers.transformer_wan_animate import WanAnimateTransformer3DModel
        from diffusers.pipelines.wan.pipeline_wan_animate import WanAnimatePipeline
        from transformers import CLIPVisionModel

        dtype = precision(config, device, usual=torch.bfloat16)
        folder, home = weights_path(REPO), torch.device("cpu")
        self._words = stored_words(device).to(dtype)
        transformer = load_pretrained(WanAnimateTransformer3DModel, folder / "transformer", home, dtype)
        tune(transformer, config)
        self.transformer = hold(transformer, config.storage, device)
        # In 16 bits its decoder bands.
        vae = load_pretrained(AutoencoderKLWan, folder / "vae", device, torch.float32)
        encoder = load_pretrained(CLIPVisionModel, folder / "image_encoder", device, dtype)
        self._gaze, self._device, self._dtype = Gaze(encoder), device, dtype
        unused: Any = None
        self.pipeline = WanAnimatePipeline(unused, unused, vae, unused, unused, unused, transformer)
        mean, spread = (
            torch.tensor(vae.config[key], device=device).view(1, -1, 1, 1) for key in ("latents_mean", "latents_std")
        )
        self._mean, self._spread = mean, spread

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Start where the share of noise is `strength`: its levels are too crowded near the noise to count steps."""
        return flow_schedule(steps, strength, shift=SHIFT)

    def study(self, photo: Float[Tensor, "H W 3"]) -> Studied:
        """Encode the photo and let CLIP look at it."""
        latent = self.pipeline.prepare_reference_image_latents(_video(photo[None])[:, :, 0], device=self._device)
        return Studied(latent, self._gaze.patches(photo[None]))

    def encode(self, frames: Float[Tensor, "T H W 3"], studied: Studied, *, exact: bool) -> Float[Tensor, "t C h w"]:
        """Give the photo's latent and those of a clip."""
        channels = len(self._mean[0])
        return torch.cat([studied.latent[0, -channels:], self._latents(frames)[0]], 1).transpose(0, 1)

    def decode(self, latents: Float[Tensor, "t C h w"]) -> Float[Tensor, "F H W 3"]:
        """Give the pictures of a clip's latents but the first, four for each but one."""
        scaled = (latents[1:] * self._spread + self._mean).transpose(0, 1)[None]
        pictures = self.pipeline.vae.decode(scaled.to(self.pipeline.vae.dtype), return_dict=False)[0][0]
        return (pictures.float().permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)

    def conditions(self, shots: Sequence[Shot], studied: Studied) -> Driven:
        """Draw where each head is, cut out its faces, and leave the past empty."""
        height, width = shots[0].frames.shape[1:3]
        strokes, faces = [], []
        for shot in shots:
            strokes.append(self._latents(draw_landmarks(shot.landmarks, height, width, strokes=SKELETON_STROKES)))
            side = self.transformer.config["motion_encoder_size"]
            faces.append(_video(_whole(face_crops(shot.frames, shot.landmarks, side))))
        past = self.pipeline.prepare_prev_segment_cond_latents(
            segment_frame_length=faces[0].shape[2], height=height, width=width, device=self._device
        )
        kind = {"device": self._device, "dtype": self._dtype}
        return Driven(
            torch.cat([studied.latent, past], 2).to(**kind), studied.seen.to(**kind),
            torch.cat(strokes).to(**kind), torch.cat(faces).to(**kind),
        )  # fmt: skip

    def velocity(
        self, sample: Float[Tensor, "t N C h w"], timestep: float, angle: float, conditions: Driven, *, compare: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Turn the flow that the transformer sees into v; without conditions means no words and black faces."""
        sigma, clips = timestep / TRAIN_STEPS, sample.shape[1]
        # The model's samples are (1 - sigma) * clean + sigma * noise, ours as long as if both were sides of a right angle.
        mixed = sample / (math.cos(angle) + math.sin(angle))
        x = mixed.permute(1, 2, 0, 3, 4)
        rows = 1 + compare
        faces = conditions.faces if not compare else torch.cat([torch.full_like(conditions.faces, -1.0), conditions.faces])
        batch = torch.cat([x.to(self._dtype), conditions.known.expand(clips, -1, -1, -1, -1)], 1).repeat(rows, 1, 1, 1, 1)
        flow = self.transformer(
            batch, torch.full((rows * clips,), timestep, device=self._device),
            self._words[-rows:].repeat_interleave(clips, 0), conditions.seen.expand(rows * clips, -1, -1),
            conditions.strokes.repeat(rows, 1, 1, 1, 1), faces, return_dict=False,
        )[0].float()  # fmt: skip
        as_v = lambda flow: math.cos(angle) * (mixed + (1 - sigma) * flow) - math.sin(angle) * (mixed - sigma * flow)
        told, without = told_and_without(flow, compare=compare)
        return as_v(told), None if without is None else as_v(without)

    def _latents(self, frames: Float[Tensor, "T H W 3"]) -> Float[Tensor, "1 C t h w"]:
        return self.pipeline.prepare_pose_latents(_video(_whole(frames)), device=self._device).float()


def hold(transformer: Any, storage: str, device: torch.device) -> Any:
    """Place the transformer as `DiffusionConfig.storage` says or, for "auto", as the free memory of a GPU allows."""
    if storage not in ("auto", *STORAGE):
        raise PriorError(f"--diffusion-storage {storage} is unknown: use auto, {', '.join(STORAGE)}")
    if storage == "auto":
        storage = fitting_storage(torch.cuda.mem_get_info(device)[0] / 1e9) if device.type == "cuda" else "full"
    log.info("the transformer of wan-animate is held: %s", storage)
    if storage != "full":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=transformer.dtype)
    if storage == "offload":
        transformer.enable_group_offload(
            onload_device=device, offload_type="block_level", num_blocks_per_group=1, use_stream=device.type == "cuda"
        )
        return transformer
    return transformer.to(device)


def fitting_storage(free_gb: float) -> str:
    """Choose the most exact way of holding the transformer that so much memory allows."""
    return next(name for name, needed in STORAGE.items() if free_gb >= needed)


def stored_words(device: torch.device) -> Float[Tensor, "2 K D"]:
    """Give what the text encoder makes of no words and of `PROMPT`; it runs once, and what it said is kept in the cache."""
    folder = weights_path(REPO)
    sources = (folder / "text_encoder/config.json", folder / "tokenizer/tokenizer.json")
    return converted("wan-animate-words", sources, encode_words)[0]["words"].to(device)


@torch.no_grad()
def encode_words() -> dict[str, Tensor]:
    """Run the text encoder, 5.7 billion weights, on the CPU."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    folder = weights_path(REPO)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except Exception as error:  # whatever the reader of the day raises
        raise PriorError(f"{folder / 'tokenizer'} holds no tokenizer ({type(error).__name__}): fetch it again") from error
    encoder = load_pretrained(UMT5EncoderModel, folder / "text_encoder", torch.device("cpu"), torch.bfloat16)
    read = tokenizer(["", PROMPT], padding="max_length", max_length=WORDS, truncation=True, return_tensors="pt")
    words = encoder(read.input_ids, read.attention_mask).last_hidden_state.float()
    # Places without a word are zeros.
    return {"words": words * read.attention_mask[..., None]}


def _whole(frames: Float[Tensor, "T H W 3"]) -> Float[Tensor, "F H W 3"]:
    """Repeat the last frame until there are 4 n + 1, which the autoencoder takes."""
    return torch.cat([frames, frames[-1:].expand((1 - len(frames)) % 4, -1, -1, -1)])


def _video(frames: Float[Tensor, "T H W 3"]) -> Float[Tensor, "1 3 T H W"]:
    """Bring frames from 0..1 to -1..1 and into the order of the networks."""
    return 2 * frames.permute(3, 0, 1, 2)[None] - 1
