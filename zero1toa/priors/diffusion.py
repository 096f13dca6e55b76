"""Regenerate clips by any video diffusion model: from the noised render to what the model believes.

What all models share is here: noise, inversion, guidance, windows, and the render's own background. What they differ in
(networks, what steers them, how noise is spaced) is behind `VideoModel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.noise import Schedule, Velocity, begin, chosen_start, denoise
from zero1toa.priors.pictures import keep_background, resized, working_size
from zero1toa.priors.windows import blend, windows
from zero1toa.types import Reference


@dataclass(frozen=True, slots=True)
class Shot:
    """A clip at the size the model works at: pictures in [0, 1], and landmarks in their pixels with a depth in metres.

    `kept` in [0, 1] says how much of each pixel will stay as it is, whatever the model paints there.
    """

    frames: Float[Tensor, "T H W 3"]
    landmarks: Float[Tensor, "T 478 3"]
    kept: Float[Tensor, "T H W"]


def shot_of(request: ClipRequest, size: tuple[int, int]) -> Shot:
    """Bring a request to a height and width."""
    rows, columns = request.frames.shape[1:3]
    scale = request.landmarks.new_tensor([size[1] / columns, size[0] / rows, 1.0])
    kept = torch.zeros_like(request.alpha) if request.kept is None else request.kept
    return Shot(resized(request.frames, *size), request.landmarks * scale, resized(kept[..., None], *size)[..., 0])


class Conditions(Protocol):
    """What steers the denoising of some clips, the photo included."""

    def of(self, frames: slice) -> Conditions:
        """Take what steers some of the frames."""
        ...


class VideoModel(Protocol):
    """One public model. Latents of `N` clips are `t N C h w`; `t` need not be the number of frames.

    `steps` and `guidance` are its own; `window` says how many latents it sees at once, `overlap` how many of these
    neighbouring windows share; without a window it sees clips as a whole.
    """

    name: str
    steps: int
    guidance: float
    overlap: int

    @property
    def window(self) -> int | None:
        """Say how many latents it sees at once."""
        ...

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Give the noise levels from where a render of this strength starts, none for strength 0."""
        ...

    def study(self, photo: Float[Tensor, "H W 3"]) -> Any:
        """Look at the photo once; what is found out is handed to `encode` and `conditions`."""
        ...

    def encode(self, frames: Float[Tensor, "T H W 3"], studied: Any, *, exact: bool) -> Float[Tensor, "t C h w"]:
        """Give the latents of a clip; those that are not `exact` drown in noise."""
        ...

    def decode(self, latents: Float[Tensor, "t C h w"]) -> Float[Tensor, "F H W 3"]:
        """Give the pictures of a clip's latents, perhaps more at the end than were encoded."""
        ...

    def conditions(self, shots: Sequence[Shot], studied: Any) -> Conditions:
        """Give what steers the clips, once for all steps."""
        ...

    def velocity(
        self, sample: Float[Tensor, "t N C h w"], timestep: float, angle: float, conditions: Any, *, compare: bool
    ) -> tuple[Float[Tensor, "t N C h w"], Float[Tensor, "t N C h w"] | None]:
        """Give v (see `zero1toa.priors.noise`) at a noise level and, to `compare` it with, v without conditions."""
        ...


class DiffusionPrior:
    """Regenerate clips by a video diffusion model. Raises PriorError for settings that mean nothing."""

    def __init__(self, model: VideoModel, config: DiffusionConfig) -> None:
        self._model, self._config = model, config
        self._start = chosen_start(config.start, own="sdedit")
        self._steps = config.steps or model.steps
        self._guidance = config.guidance or model.guidance
        self._studied: tuple[Reference, tuple[int, int], Any] | None = None
        self.name = (
            f"{model.name} ({self._steps} steps, guidance {self._guidance:g} on {config.guided:g} of them, {self._start}, "
            f"{config.size} pixels{self._window_text()}{self._habits()})"
        )

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the clip as the model paints it from the noised render, over the render's background."""
        return self.regenerate_all([request])[0]

    @torch.no_grad()
    def regenerate_all(self, requests: Sequence[ClipRequest]) -> list[Float[Tensor, "T H W 3"]]:
        """Give several clips of one person at once, as many frames and the same strength each."""
        first, model = requests[0], self._model
        schedule = model.schedule(self._steps, first.strength)
        if not len(schedule):
            return [request.frames for request in requests]
        frames, rows, columns = first.frames.shape[:3]
        size = working_size(rows, columns, self._config.size)
        studied = self._study(first, size)
        shots = [shot_of(request, size) for request in requests]
        exact = self._start != "sdedit"
        clean = torch.stack([model.encode(shot.frames, studied, exact=exact) for shot in shots], 1)
        conditions = model.conditions(shots, studied)
        plain = self._velocity(schedule, conditions, guided=0)
        config = self._config
        noisy = begin(self._start, plain, clean, schedule, passes=config.passes, generator=first.generator)
        guided = round(self._config.guided * len(schedule)) if self._guidance != 1 else 0
        ask = self._velocity(schedule, conditions, guided=guided)
        painted = denoise(ask, noisy, schedule, eta=self._config.eta, generator=first.generator)
        pictures = [resized(model.decode(painted[:, clip])[:frames], rows, columns) for clip in range(len(shots))]
        return [keep_background(own.to(r.frames), r) for own, r in zip(pictures, requests, strict=True)]

    def _study(self, request: ClipRequest, size: tuple[int, int]) -> Any:
        """Look at a photo once, however many clips it serves."""
        reference = request.reference
        if self._studied is None or self._studied[0] is not reference or self._studied[1] != size:
            alpha = reference.alpha[..., None]
            photo = resized((reference.image * alpha + request.background * (1 - alpha))[None], *size)
            self._studied = reference, size, self._model.study(photo[0])
        return self._studied[2]

    def _velocity(self, schedule: Schedule, conditions: Conditions, *, guided: int) -> Velocity:
        """Make the model a function of the sample, with guidance on the first `guided` steps.

        What conditions make of v, in each window, is found by comparing and then believed for a few steps: it changes less
        than v itself does (as in FasterCache; Lv et al. 2024).
        """
        differences: dict[int, Tensor] = {}

        def velocity(sample: Tensor, timestep: float, step: int) -> Tensor:
            compare = step < guided and step % self._config.compare_every == 0

            def see(x: Tensor, part: slice) -> Tensor:
                told, without = self._model.velocity(x, timestep, schedule.angles[step], conditions.of(part), compare=compare)
                if without is not None:
                    differences[part.start] = told - without
                return told + (self._guidance - 1) * differences[part.start] if step < guided else told

            return blend(see, sample, self._windows(len(sample)))

        return velocity

    def _windows(self, latents: int) -> tuple[slice, ...]:
        if self._model.window is None:
            return (slice(0, latents),)
        config = self._config
        overlap = self._model.overlap if config.overlap is None else config.overlap
        return windows(latents, config.window or self._model.window, overlap)

    def _habits(self) -> str:
        """Name the settings that change what is painted and are rarely touched, where they have been."""
        usual = DiffusionConfig()
        names = ("passes", "compare_every", "eta", "autoencoder", "pose_norm")
        return "".join(f", {name} {value}" for name in names if (value := getattr(self._config, name)) != getattr(usual, name))

    def _window_text(self) -> str:
        if self._model.window is None:
            return ""
        overlap = self._model.overlap if self._config.overlap is None else self._config.overlap
        return f", windows {self._config.window or self._model.window}/{overlap}"
