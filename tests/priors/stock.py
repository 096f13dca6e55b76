"""What it takes to ask the pipelines of diffusers for the very same thing."""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image

from zero1toa.priors.noise import Schedule


class FromSigmas(FlowMatchEulerDiscreteScheduler):
    """Euler's method over the very levels of a schedule, whatever number of steps the pipeline asks for."""

    levels: tuple[float, ...] = ()

    @classmethod
    def of(cls, schedule: Schedule) -> FromSigmas:
        """Make one for a schedule."""
        scheduler = cls()
        scheduler.levels = tuple(t / 1000 for t in schedule.timesteps)
        return scheduler

    def set_timesteps(self, num_inference_steps, device=None):
        super().set_timesteps(sigmas=list(self.levels), device=device)


def pictures(frames: torch.Tensor) -> list[Image.Image]:
    """Turn frames (T, H, W, 3) in [0, 1] into what a pipeline takes."""
    return [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
