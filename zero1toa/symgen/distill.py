"""Score distillation (DreamFusion; Poole et al. 2023), which SymGEN replaces: here only to be compared with.

There is no data set. Each step renders a few frames, noises them to a random level, and pulls the render towards what the
prior, in one step, takes for clean. With v- or x0-prediction that is SDS's gradient: w(t) (x - x0(x_t)), w of 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zero1toa.priors.base import Critic
from zero1toa.symgen.scene import Frame
from zero1toa.symgen.trainer import Run
from zero1toa.types import PriorError

# Neighbouring frames that the prior judges at once.
FRAMES = 2
# The noisiest and the cleanest level, as shares of the whole; DreamFusion's own.
LEVELS = (0.02, 0.98)
# Weight of the squared difference, which keeps the pull as strong as that of eq. 6 at a difference of a tenth.
WEIGHT = 50.0


class Distillation(Run):
    """A run whose pictures are the prior's opinion of what was just rendered."""

    def due_clips(self) -> list[int]:
        """Regenerate nothing: there is no data set."""
        return []

    def _draw(self, scale: float) -> list[Frame]:
        """Draw the photo as often as SymGEN does, and else a few frames of a clip, with the prior's opinion of them."""
        if not isinstance(self.prior, Critic):
            raise PriorError(
                f"the prior {self.prior.name!r} cannot judge in one step, as score distillation asks: leave that method out"
            )
        chance, k = self.state.generator, self.state.iteration
        photo, clip, first, level = torch.rand(4, generator=chance).tolist()
        if photo < self.config.photo_share:
            return [self.scene.photo(scale)]
        active = self.scene.curriculum.active(k)
        clip = active[int(clip * len(active))]
        frames = len(self.scene.curriculum.clips[clip].states)
        start = int(first * max(1, frames - FRAMES + 1))
        request = self.scene.request(
            self.state.avatar, clip, self.scene.curriculum.unrolled(k), frames=slice(start, start + FRAMES),
            strength=LEVELS[0] + level * (LEVELS[1] - LEVELS[0]), generator=chance,
        )  # fmt: skip
        wanted = self.prior.predict_clean(request)
        return [
            Frame(request.cameras[i : i + 1], request.vertices[i : i + 1], wanted[i], (scale, clip, k, start + i))
            for i in range(len(wanted))
        ]

    def _difference(self, color: Tensor, target: Tensor, frames: list[Frame]) -> dict[str, Tensor]:
        """Compare renders with the prior's opinion by squares, and with the photo as SymGEN does."""
        if frames[0].alpha is not None:
            return super()._difference(color, target, frames)
        return {"sds": WEIGHT * (color - target).square().mean()}
