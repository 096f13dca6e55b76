"""What AniPortrait and EchoMimic have in common: a denoiser that looks at the photo, steered by drawings of landmarks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.diffusion import Shot
from zero1toa.priors.noise import Schedule, zero_snr_schedule
from zero1toa.priors.pictures import LatentSpace
from zero1toa.priors.reference import ReferenceBank, study

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.models.unets.unet_motion_model import UNetMotionModel


@dataclass(frozen=True, slots=True)
class Studied:
    """What is known of one photo before any clip of it: tokens for cross-attention, and the bank of the reference net."""

    tokens: Float[Tensor, "1 K D"]
    photo: ReferenceBank


@dataclass(frozen=True, slots=True)
class Conditions:
    """What steers the denoising of `N` clips: tokens, the photo, and the maps of the landmarks, each (T, N, C, h, w).

    `maps_always` says that guidance compares with a pass that knows the landmarks as well.
    """

    tokens: Float[Tensor, "1 K D"]
    photo: ReferenceBank
    maps: tuple[Tensor, ...]
    maps_always: bool = True

    def of(self, frames: slice) -> Conditions:
        """Take some of the frames."""
        return replace(self, maps=tuple(added[frames] for added in self.maps))


class PortraitModel(ABC):
    """A denoiser with a reference net; see `zero1toa.priors.diffusion.VideoModel` for what its methods mean."""

    name: str
    steps: int
    guidance: float
    window: int | None
    overlap: int
    # Whether landmarks steer the pass without the photo, too.
    landmarks_always: bool
    denoiser: UNetMotionModel
    reference_net: UNet2DConditionModel
    latents: LatentSpace

    @abstractmethod
    def tokens(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 K D"]:
        """Give what the denoiser's cross-attention reads; zeros of the same shape say nothing."""

    @abstractmethod
    def reference_tokens(self, tokens: Float[Tensor, "1 K D"]) -> Float[Tensor, "1 K D"] | None:
        """Give what the reference net's cross-attention reads."""

    @abstractmethod
    def control(self, landmarks: Float[Tensor, "T 478 3"], height: int, width: int) -> tuple[Tensor, ...]:
        """Turn projected landmarks into maps that are added after the denoiser's first layer and after its down blocks."""

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Give the end of the zero-SNR schedule: the share `strength` of its steps."""
        return zero_snr_schedule(steps).last(strength)

    def study(self, photo: Float[Tensor, "H W 3"]) -> Studied:
        """Embed the photo and run the reference net on it."""
        kind = {"device": self.denoiser.device, "dtype": self.denoiser.dtype}
        tokens, latent = self.tokens(photo).to(**kind), self.latents.encode(photo[None], exact=True).to(**kind)
        return Studied(tokens, study(self.reference_net, self.denoiser, latent, self.reference_tokens(tokens)))

    def encode(self, frames: Float[Tensor, "T H W 3"], studied: Studied, *, exact: bool) -> Float[Tensor, "T 4 h w"]:
        """Give the latents of a clip, frame by frame."""
        return self.latents.encode(frames, exact=exact)

    def decode(self, latents: Float[Tensor, "T 4 h w"]) -> Float[Tensor, "T H W 3"]:
        """Give the pictures of latents, frame by frame."""
        return self.latents.decode(latents)

    def conditions(self, shots: Sequence[Shot], studied: Studied) -> Conditions:
        """Run the drawings of each clip's landmarks through the control network."""
        height, width = shots[0].frames.shape[1:3]
        maps = zip(*(self.control(shot.landmarks, height, width) for shot in shots), strict=True)
        return Conditions(studied.tokens, studied.photo, tuple(torch.stack(own, 1) for own in maps), self.landmarks_always)

    def velocity(
        self, sample: Float[Tensor, "T N 4 h w"], timestep: float, angle: float, conditions: Conditions, *, compare: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Ask the denoiser, whose answer is v already."""
        return predict(self.denoiser, sample, timestep, conditions, compare=compare)


def predict(
    denoiser: UNetMotionModel, sample: Float[Tensor, "T N 4 h w"], timestep: float, conditions: Conditions, *, compare: bool
) -> tuple[Float[Tensor, "T N 4 h w"], Float[Tensor, "T N 4 h w"] | None]:
    """Give v of noisy clips and, to `compare` it with, what the model says without the photo.

    Without the photo means zero tokens and no reference attention. Both passes, and all clips, share a batch.
    """
    frames, clips = sample.shape[:2]
    tokens, photo, rows = conditions.tokens, conditions.photo, 1 + compare
    maps = tuple(added.transpose(0, 1).flatten(0, 1) for added in conditions.maps)
    if rows == 2:
        tokens, photo = torch.cat([torch.zeros_like(tokens), tokens]), photo.hidden_from(clips * frames)
        maps = tuple(torch.cat([added * conditions.maps_always, added]) for added in maps)
    batch = sample.to(denoiser.dtype).permute(1, 2, 0, 3, 4).repeat(rows, 1, 1, 1, 1)
    with adding(denoiser, maps):
        v = denoiser(
            batch, timestep, encoder_hidden_states=tokens.repeat_interleave(clips * frames, 0),
            cross_attention_kwargs={"reference": photo}, return_dict=False,
        )[0].float()  # fmt: skip
    return told_and_without(v, compare=compare)


def told_and_without(
    answers: Float[Tensor, "B C t h w"], *, compare: bool
) -> tuple[Float[Tensor, "t N C h w"], Float[Tensor, "t N C h w"] | None]:
    """Split a network's answers into those with conditions and those without, which come first in a batch."""
    ordered = answers.permute(2, 0, 1, 3, 4)
    if not compare:
        return ordered, None
    without, told = ordered.chunk(2, 1)
    return told, without


@contextmanager
def adding(denoiser: UNetMotionModel, maps: tuple[Tensor, ...]) -> Iterator[None]:
    """Add the first map after the first layer and each other one after a down block, but not to what the block hands across.

    Fewer maps than places leave the last places as they are.
    """
    after = lambda added: lambda _module, _inputs, out: (out[0] + added, *out[1:])
    before = lambda _module, _inputs, out: out + maps[0]
    hooks = [denoiser.conv_in.register_forward_hook(before)]
    hooks += [block.register_forward_hook(after(m)) for block, m in zip(denoiser.down_blocks, maps[1:], strict=False)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
