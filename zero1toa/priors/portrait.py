"""What AniPortrait and EchoMimic have in common: a denoiser that looks at the photo, steered by drawings of landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.noise import Velocity, add_noise, denoise, invert, invert_by_fixed_point, zero_snr_schedule
from zero1toa.priors.pictures import LatentSpace, keep_background, resized, working_size
from zero1toa.priors.reference import ReferenceBank, study
from zero1toa.priors.windows import blend, windows
from zero1toa.types import PriorError, Reference

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.models.unets.unet_motion_model import UNetMotionModel

STARTS = ("sdedit", "invert", "invert_fp")


class PortraitModel(Protocol):
    """One public model: its networks, and what they are told about the photo and about each frame."""

    name: str
    steps: int
    guidance: float
    window: int
    overlap: int
    # Whether landmarks steer the pass without the photo, too.
    landmarks_always: bool
    denoiser: UNetMotionModel
    reference_net: UNet2DConditionModel
    latents: LatentSpace

    def tokens(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 K D"]:
        """Give what the denoiser's cross-attention reads; zeros of the same shape say nothing."""
        ...

    def reference_tokens(self, tokens: Float[Tensor, "1 K D"]) -> Float[Tensor, "1 K D"] | None:
        """Give what the reference net's cross-attention reads."""
        ...

    def control(self, landmarks: Float[Tensor, "T 478 3"], height: int, width: int) -> tuple[Tensor, ...]:
        """Turn projected landmarks into maps that are added after the denoiser's first layer and after its down blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What steers the denoising of `T` frames: tokens, the photo, and the maps of the landmarks, each (T, C, h, w).

    `maps_always` says that guidance compares with a pass that knows the landmarks as well.
    """

    tokens: Float[Tensor, "1 K D"]
    photo: ReferenceBank
    maps: tuple[Tensor, ...]
    maps_always: bool = True

    def of(self, frames: slice) -> Conditions:
        """Take some of the frames."""
        return replace(self, maps=tuple(added[frames] for added in self.maps))


@dataclass(frozen=True, slots=True)
class _Studied:
    """What is known of one photo before any clip of it."""

    reference: Reference
    size: tuple[int, int]
    tokens: Float[Tensor, "1 K D"]
    photo: ReferenceBank


class PortraitPrior:
    """Regenerate clips by a portrait video diffusion model. Raises PriorError for settings that mean nothing."""

    def __init__(self, model: PortraitModel, config: DiffusionConfig) -> None:
        if config.start not in STARTS:
            raise PriorError(f"--diffusion-start {config.start} is unknown: use one of {', '.join(STARTS)}")
        self._model, self._config = model, config
        self._steps = config.steps or model.steps
        self._guidance = config.guidance or model.guidance
        self._window = config.window or model.window
        self._overlap = model.overlap if config.overlap is None else config.overlap
        self._studied: _Studied | None = None
        self.name = (
            f"{model.name} ({self._steps} steps, guidance {self._guidance:g} on {config.guided:g} of them, {config.start}, "
            f"{config.size} pixels, windows {self._window}/{self._overlap})"
        )

    @torch.no_grad()
    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the clip as the model paints it from the noised render, over the render's background."""
        schedule = zero_snr_schedule(self._steps).last(request.strength)
        if not len(schedule):
            return request.frames
        rows, columns = request.frames.shape[1:3]
        height, width = working_size(rows, columns, self._config.size)
        studied = self._study(request, (height, width))
        clean = self._model.latents.encode(resized(request.frames, height, width))
        scale = request.landmarks.new_tensor([width / columns, height / rows, 1.0])
        maps = self._model.control(request.landmarks * scale, height, width)
        conditions = Conditions(studied.tokens, studied.photo, maps, self._model.landmarks_always)
        guided = round(self._config.guided * len(schedule))
        plain = self._velocity(conditions, lambda step: 1.0)
        match self._config.start:
            case "invert":
                noisy = invert(plain, clean, schedule)
            case "invert_fp":
                noisy = invert_by_fixed_point(plain, clean, schedule, passes=self._config.passes)
            case _:
                noisy = add_noise(clean, schedule, request.generator)
        painted = denoise(self._velocity(conditions, lambda step: self._guidance if step < guided else 1.0), noisy, schedule)
        pictures = resized(self._model.latents.decode(painted), rows, columns)
        return keep_background(pictures.to(request.frames), request)

    def _study(self, request: ClipRequest, size: tuple[int, int]) -> _Studied:
        """Look at a photo once, however many clips it serves."""
        reference = request.reference
        if self._studied is None or self._studied.reference is not reference or self._studied.size != size:
            alpha = reference.alpha[..., None]
            photo = resized((reference.image * alpha + request.background * (1 - alpha))[None], *size)
            model = self._model
            kind = {"device": model.denoiser.device, "dtype": model.denoiser.dtype}
            tokens = model.tokens(photo[0]).to(**kind)
            latent = model.latents.encode(photo).to(**kind)
            bank = study(model.reference_net, model.denoiser, latent, model.reference_tokens(tokens))
            self._studied = _Studied(reference, size, tokens, bank)
        return self._studied

    def _velocity(self, conditions: Conditions, guidance) -> Velocity:
        """Make the denoiser a function of the sample, with a guidance that depends on the step."""

        def velocity(sample: Tensor, timestep: int, step: int) -> Tensor:
            parts = windows(len(sample), self._window, self._overlap)
            see = lambda x, frames: predict(self._model.denoiser, x, timestep, conditions.of(frames), guidance(step))
            return blend(see, sample, parts)

        return velocity


def predict(
    denoiser: UNetMotionModel, sample: Float[Tensor, "T 4 h w"], timestep: int, conditions: Conditions, guidance: float
) -> Float[Tensor, "T 4 h w"]:
    """Give v of a noisy clip. With guidance other than 1, it is moved away from what the model says without the photo.

    Without the photo means zero tokens and no reference attention. Both passes share a batch.
    """
    frames, rows = len(sample), 1 if guidance == 1 else 2
    tokens, photo, maps = conditions.tokens, conditions.photo, conditions.maps
    if rows == 2:
        tokens, photo = torch.cat([torch.zeros_like(tokens), tokens]), photo.hidden_from(frames)
        maps = tuple(torch.cat([added * conditions.maps_always, added]) for added in maps)
    batch = sample.to(denoiser.dtype).transpose(0, 1).expand(rows, -1, -1, -1, -1)
    with adding(denoiser, maps):
        v = denoiser(
            batch, timestep, encoder_hidden_states=tokens.repeat_interleave(frames, 0),
            cross_attention_kwargs={"reference": photo}, return_dict=False,
        )[0].float().transpose(1, 2)  # fmt: skip
    return v[0] if rows == 1 else v[0] + guidance * (v[1] - v[0])


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
