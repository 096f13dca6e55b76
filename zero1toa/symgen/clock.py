"""How long a run still takes, from how long its parts took so far."""

from __future__ import annotations

# Of an iteration's time about half follows the number of pixels and half the number of splats (40k splats, two cores).
PIXEL_SHARE = 0.5


class Clock:
    """Keeps running means of what training steps and clip updates cost.

    The first of each is left out: it pays for compiling kernels and loading weights.
    """

    def __init__(self) -> None:
        self._steps: dict[float, float] = {}
        self._update: float | None = None
        self._warm: set[float | None] = set()

    def step(self, scale: float, seconds: float) -> None:
        """Take note of a training step at an image scale (1 is the full size)."""
        if self._first(scale):
            return
        self._steps[scale] = _running(self._steps.get(scale), seconds)

    def update(self, seconds: float) -> None:
        """Take note of a clip's update."""
        if self._first(None):
            return
        self._update = _running(self._update, seconds)

    def remaining(self, steps: dict[float, int], updates: int) -> float:
        """Estimate seconds for so many steps at each scale and so many updates; parts not seen yet are guessed."""
        total = updates * (self._update or 0.0)
        for scale, count in steps.items():
            total += count * self._guess(scale)
        return total

    def _guess(self, scale: float) -> float:
        if scale in self._steps:
            return self._steps[scale]
        if not self._steps:
            return 0.0
        known, seconds = next(iter(self._steps.items()))
        return seconds * (1 - PIXEL_SHARE + PIXEL_SHARE * (scale / known) ** 2)

    def _first(self, kind: float | None) -> bool:
        seen = kind in self._warm
        self._warm.add(kind)
        return not seen


def _running(mean: float | None, value: float) -> float:
    """Average over the last ten or so: splats multiply and pictures grow, so old times mislead."""
    return value if mean is None else mean + 0.1 * (value - mean)
