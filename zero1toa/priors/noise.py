"""Between pictures and noise: denoising, its inversion, and adding noise, in the angles of the v-parameterisation.

A sample at the noise level phi is x = cos(phi) * clean + sin(phi) * noise, and a network of the public portrait models gives
v = cos(phi) * noise - sin(phi) * clean (Salimans and Ho 2022). A step of DDIM (Song et al. 2021) without added noise is then
a rotation, x' = cos(d) x - sin(d) v with d the difference of the angles, and going back is the same rotation the other way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.types import PriorError

# Gives v of a noisy sample at a timestep from 0 to 1000. The second argument counts the steps from the noisy end.
Velocity = Callable[[Tensor, float, int], Tensor]
TRAIN_STEPS = 1000
LINEAR_BETAS: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012}


@dataclass(frozen=True, slots=True)
class Schedule:
    """The noise levels of a sampling, noisiest first: a timestep for the network and an angle for the sample.

    `angles` has one more entry, 0, where the sample is clean.
    """

    timesteps: tuple[float, ...]
    angles: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.timesteps)

    def last(self, strength: float) -> Schedule:
        """Give the end of this schedule: the share `strength` of its steps, at least one if strength is above 0."""
        count = min(len(self), math.ceil(len(self) * strength - 1e-6))
        return Schedule(self.timesteps[len(self) - count :], self.angles[len(self) - count :])


def zero_snr_schedule(steps: int) -> Schedule:
    """Give the schedule that AniPortrait and EchoMimic sample with: linear betas whose last level is pure noise.

    Betas from 0.00085 to 0.012, shifted so that nothing is left of the picture at timestep 999 and spaced from there
    down ("trailing"; Lin et al. 2024).
    """
    return _trailing_schedule(steps, rescale_betas_zero_snr=True)


def linear_schedule(steps: int) -> Schedule:
    """Give the schedule of AnimateDiff: linear betas from 0.00085 to 0.012, which leave a little of the picture at the end."""
    return _trailing_schedule(steps)


def alphas_kept() -> Float[Tensor, "1000"]:
    """Give the share of the picture's variance that is left at each timestep of `zero_snr_schedule`."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**LINEAR_BETAS, rescale_betas_zero_snr=True).alphas_cumprod


def flow_schedule(steps: int, sigma: float, *, shift: float) -> Schedule:
    """Give the schedule of a flow-matching model from the noise share `sigma` down, at most `steps` levels.

    Such a model mixes (1 - sigma) * clean + sigma * noise. But for its length this is a sample at the angle
    atan(sigma / (1 - sigma)), and a step of Euler's method is the same rotation. The levels are those of `steps` even steps,
    moved towards the noise by `shift` (Esser et al. 2024); the first is `sigma` itself.
    """
    even = (1 - k / steps for k in range(steps))
    levels = [s for u in even if (s := shift * u / (1 + (shift - 1) * u)) < sigma - 1e-6]
    levels = [sigma, *levels] if sigma > 0 else []
    return Schedule(tuple(TRAIN_STEPS * s for s in levels), (*(math.atan2(s, 1 - s) for s in levels), 0.0))


def _trailing_schedule(steps: int, *, rescale_betas_zero_snr: bool = False) -> Schedule:
    """Space levels of linear betas from the noisiest down."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(**LINEAR_BETAS, timestep_spacing="trailing", rescale_betas_zero_snr=rescale_betas_zero_snr)
    scheduler.set_timesteps(steps)
    timesteps = tuple(int(t) for t in scheduler.timesteps)
    kept = scheduler.alphas_cumprod.double()
    return Schedule(timesteps, (*(math.acos(math.sqrt(float(kept[t]))) for t in timesteps), 0.0))


def denoise(
    velocity: Velocity, sample: Float[Tensor, "*S"], schedule: Schedule, *, eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*S"]:  # fmt: skip
    """Take all steps of a schedule towards the clean sample.

    With `eta` 0 this is DDIM. Networks that were taught to take few steps go past the next level by this share of its angle
    and come back by fresh noise: 1 is the sampling of consistency models (Luo et al. 2023), about 0.2 that of target-driven
    distillation (Wang et al. 2024).
    """
    for k, t in enumerate(schedule.timesteps):
        there = schedule.angles[k + 1]
        beyond = (1 - eta) * there
        sample = _turned(sample, velocity(sample, t, k), beyond - schedule.angles[k])
        if there > beyond:
            kept = math.cos(there) / math.cos(beyond)
            sample = kept * sample + math.sqrt(1 - kept**2) * _noise(sample, generator)
    return sample


def add_noise(clean: Float[Tensor, "*S"], schedule: Schedule, generator: torch.Generator) -> Float[Tensor, "*S"]:
    """Give a clean sample the noise of a schedule's first level (SDEdit; Meng et al. 2022)."""
    return math.cos(schedule.angles[0]) * clean + math.sin(schedule.angles[0]) * _noise(clean, generator)


STARTS = ("sdedit", "invert", "invert_fp")


def chosen_start(wanted: str, own: str) -> str:
    """Give the one of `STARTS` that is wanted, a prior's `own` for "auto". Raises PriorError if it is none of them."""
    if wanted not in ("auto", *STARTS):
        raise PriorError(f"--diffusion-start {wanted} is unknown: use auto, {', '.join(STARTS)}")
    return own if wanted == "auto" else wanted


def begin(
    start: str, velocity: Velocity, clean: Float[Tensor, "*S"], schedule: Schedule, *, passes: int, generator: torch.Generator
) -> Float[Tensor, "*S"]:  # fmt: skip
    """Give a clean sample the first level of a schedule in one of the ways in `STARTS`; fixed points take so many `passes`."""
    match start:
        case "invert":
            return invert(velocity, clean, schedule)
        case "invert_fp":
            return invert_by_fixed_point(velocity, clean, schedule, passes=passes)
        case _:
            return add_noise(clean, schedule, generator)


def invert(velocity: Velocity, clean: Float[Tensor, "*S"], schedule: Schedule) -> Float[Tensor, "*S"]:
    """Find noise that denoises to a clean sample, one pass a step: the velocity is taken to be what it is a level lower."""
    sample = clean
    for k in reversed(range(len(schedule))):
        v = velocity(sample, schedule.timesteps[k], k)
        sample = _turned(sample, v, schedule.angles[k] - schedule.angles[k + 1])
    return sample


def invert_by_fixed_point(
    velocity: Velocity, clean: Float[Tensor, "*S"], schedule: Schedule, *, passes: int
) -> Float[Tensor, "*S"]:
    """Find noise that denoises to a clean sample, solving each step of `denoise` for the sample that it began with.

    `lower = cos(d) upper - sin(d) v(upper)` is solved by `passes` substitutions, the first with v at the lower sample.
    Steps of a quarter turn cannot be solved so and are taken as `invert` does.
    """
    sample = clean
    for k in reversed(range(len(schedule))):
        step = schedule.angles[k] - schedule.angles[k + 1]
        if math.cos(step) < 1e-3:
            sample = _turned(sample, velocity(sample, schedule.timesteps[k], k), step)
            continue
        lower = sample
        for _ in range(passes):
            sample = (lower + math.sin(step) * velocity(sample, schedule.timesteps[k], k)) / math.cos(step)
    return sample


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw noise where the generator lives, so that it is the same for every device."""
    device = generator.device if generator is not None else like.device
    return torch.randn(like.shape, generator=generator, device=device).to(like)


def _turned(sample: Tensor, v: Tensor, angle: float) -> Tensor:
    return math.cos(angle) * sample + math.sin(angle) * v
