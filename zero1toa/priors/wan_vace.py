"""Wan-VACE (Jiang et al. 2025) in diffusers: a transformer over whole clips that repairs what a mask leaves open.

It sees the pixels that must stay as they are, where they are, and the photo, whose latent stands before those of the clip and
is dropped at the end. Noise and steps are those of all priors here (see `zero1toa.priors.wan`); what must stay is for
`zero1toa.priors.repair` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.diffusion import Shot
from zero1toa.priors.noise import Schedule, flow_schedule
from zero1toa.priors.pictures import load_pretrained
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.wan import VideoLatents, hold, stored_words, velocity_of_flow, whole

REPO = "Wan-AI/Wan2.1-VACE-1.3B-diffusers"
PROMPT = "A video of a person's head and shoulders, sharp and natural. The person moves and speaks before a plain background."
# diffusers' advice for pictures of about 480 lines; its authors' own program has other values.
SHIFT = 3.0
# How weights are held, from the GPU memory in GB that is free: 2.15 billion of 2 bytes, of 1, or of 1 and elsewhere.
STORAGE = {"full": 12.0, "float8": 10.0, "offload": 0.0}
GREY = 0.5  # what its authors fill unknown pixels with


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of `N` clips: the photo and what stays as latents, zeros for what does not, and where that is."""

    control: Float[Tensor, "N E t h w"]

    def of(self, frames: slice) -> Asked:
        """Take all frames: it sees a clip as a whole."""
        return self


class WanVace:
    """The networks behind the prior wan-vace. Raises PriorError when a file is missing, damaged or another model's."""

    name = "wan-vace"
    steps = 15
    guidance = 5.0
    window: int | None = None
    overlap = 0

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
        from diffusers.pipelines.wan.pipeline_wan_vace import WanVACEPipeline

        dtype = precision(config, device, usual=torch.bfloat16)
        folder, home = weights_path(REPO), torch.device("cpu")
        self._words = stored_words(self.name, REPO, ("", PROMPT), device).to(dtype)
        transformer = load_pretrained(WanVACETransformer3DModel, folder / "transformer", home, dtype)
        tune(transformer, config)
        self.transformer = hold(transformer, self.name, config.storage, STORAGE, device)
        self.space = VideoLatents(folder / "vae", device)
        self._device, self._dtype = device, dtype
        unused: Any = None
        self.pipeline = WanVACEPipeline(unused, unused, self.space.net, unused, transformer)

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Start where the share of noise is `strength`, as wan-animate does."""
        return flow_schedule(steps, strength, shift=SHIFT)

    def study(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "C 1 h w"]:
        """Encode the photo."""
        return self.space.encode(photo[None])

    def encode(self, frames: Float[Tensor, "T H W 3"], studied: Tensor, *, exact: bool) -> Float[Tensor, "t C h w"]:
        """Give the photo's latent and those of a clip."""
        return torch.cat([studied, self.space.encode(frames)], 1).transpose(0, 1)

    def decode(self, latents: Float[Tensor, "t C h w"]) -> Float[Tensor, "F H W 3"]:
        """Give the pictures of a clip's latents but the first, four for each but one."""
        return self.space.decode(latents[1:])

    def conditions(self, shots: Sequence[Shot], studied: Tensor) -> Asked:
        """Encode the pixels that stay, with grey for those that do not, and fold the mask to the latents' size."""
        # It was trained on masks of black and white, so that what stays by half and more is all it is shown.
        opened = [shot.kept < 0.5 for shot in shots]
        # What is to be changed in the light of what it was, such as a drawing, has a place of its own: here nothing is.
        nothing = self.space.encode(torch.full_like(shots[0].frames, GREY))
        shown = [torch.where(mask[..., None], GREY, shot.frames) for shot, mask in zip(shots, opened, strict=True)]
        before = torch.cat([studied, torch.zeros_like(studied)])
        clips = [torch.cat([before, torch.cat([self.space.encode(frames), nothing])], 1) for frames in shown]
        photos: Any = [[before]]  # of which there is one, and nothing in it to paint
        masks = [self.pipeline.prepare_masks(whole(mask.to(studied))[None, None], photos)[0] for mask in opened]
        control = torch.stack([torch.cat(both) for both in zip(clips, masks, strict=True)])
        return Asked(control.to(self._device, self._dtype))

    def velocity(
        self, sample: Float[Tensor, "t N C h w"], timestep: float, angle: float, conditions: Asked, *, compare: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Turn the flow that the transformer sees into v; without conditions means no words, as its authors have it."""
        clips, rows = sample.shape[1], 1 + compare
        flow = lambda x: self.transformer(
            x.to(self._dtype).repeat(rows, 1, 1, 1, 1), torch.full((rows * clips,), timestep, device=self._device),
            self._words[-rows:].repeat_interleave(clips, 0),
            control_hidden_states=conditions.control.repeat(rows, 1, 1, 1, 1), return_dict=False,
        )[0]  # fmt: skip
        return velocity_of_flow(flow, sample, timestep, angle, compare=compare)
