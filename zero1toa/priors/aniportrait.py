"""AniPortrait (Wei, Yang and Wang 2024) on the stock networks of diffusers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.checkpoint import converted, fill, part, read_tensors, require_same
from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.priors.pictures import Gaze, LatentSpace, load_pretrained
from zero1toa.priors.portrait import PortraitModel
from zero1toa.priors.pose_guider import PoseGuider, PoseGuiderShape
from zero1toa.priors.reference import look_at_references
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.unets import convert_unets, load_unets
from zero1toa.types import PriorError

REPO = "ZJYang/AniPortrait"
FILES = ("denoising_unet.pth", "motion_module.pth", "reference_unet.pth", "pose_guider.pth")
NORMS = ("batch", "running")


class AniPortrait(PortraitModel):
    """The networks of AniPortrait. Raises PriorError when a file is missing, damaged or another model's."""

    name = "aniportrait"
    # The original takes 25 steps with guidance 3.5; how many fewer do as well has not been measured on its weights.
    steps = 8
    guidance = 3.5
    window, overlap = 16, 4
    landmarks_always = True

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        from transformers import CLIPVisionModelWithProjection

        if config.pose_norm not in NORMS:
            raise PriorError(f"--diffusion-pose-norm {config.pose_norm} is unknown: use batch or running")
        dtype = precision(config, device)
        tensors, kept = converted("aniportrait", tuple(weights_path(REPO, file) for file in FILES), convert)
        self.denoiser, self.reference_net = load_unets(tensors, kept, device, dtype, reads=True)
        with torch.device("meta"):
            guider = PoseGuider(PoseGuiderShape.of(part(tensors, "pose")))
        # Once an update it runs, so 32 bits cost little, and drawings in raw bytes would leave the range of 16.
        self.guider = fill(guider, part(tensors, "pose"), str(kept), device, torch.float32)
        look_at_references(self.denoiser)
        tune(self.denoiser, config)
        self._raw = config.pose_norm == "batch"
        if self._raw:
            self.guider.use_batch_statistics()
        self.latents = LatentSpace.load(config.autoencoder, device, dtype)
        encoder = weights_path("lambdalabs/sd-image-variations-diffusers", "image_encoder")
        self._gaze = Gaze(load_pretrained(CLIPVisionModelWithProjection, encoder, device, dtype))

    def tokens(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 1 D"]:
        """Give CLIP's embedding of the photo as the only token."""
        return self._gaze(photo)[:, None]

    def reference_tokens(self, tokens: Float[Tensor, "1 1 D"]) -> Float[Tensor, "1 1 D"]:
        """Give the reference net the same token."""
        return tokens

    def control(self, landmarks: Float[Tensor, "T 478 3"], height: int, width: int) -> tuple[Tensor, ...]:
        """Draw the landmarks and run the pose network over the drawings, once for all steps.

        Drawings go from -1 to 1. With batch statistics they go from -1 to 509: the original hands over bytes where [0, 1] is
        expected, and normalises the difference away.
        """
        drawings = draw_landmarks(landmarks, height, width).to(self.denoiser.device).movedim(-1, 1)
        maps = self.guider((2 * 255 if self._raw else 2) * drawings - 1)
        return tuple(added.to(self.denoiser.dtype) for added in maps)


def convert() -> dict[str, Tensor]:
    """Read the four published files and make of them what our networks take, checked tensor by tensor."""
    *unets, last = (weights_path(REPO, file) for file in FILES)
    tensors, shape = convert_unets(*unets, reads=True)
    pose = read_tensors(last)
    try:
        pose_shape = PoseGuiderShape.of(pose)
    except (KeyError, IndexError, TypeError) as error:
        raise PriorError(f"{last} is no pose network ({error} is missing): fetch it again") from error
    with torch.device("meta"):
        require_same(PoseGuider(pose_shape), pose, str(last))
    if shape.channels != pose_shape.channels:
        raise PriorError(f"{last} does not belong to {FILES[0]}: fetch the weights again")
    return tensors | {f"pose.{key}": tensor for key, tensor in pose.items()}
