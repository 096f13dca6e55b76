"""Real, trivial priors for tests."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.base import ClipRequest


class EchoPrior:
    """Believes whatever it is shown: the avatar must stay what it is."""

    name = "echo"

    def __init__(self) -> None:
        self.requests: list[ClipRequest] = []

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the render back."""
        self.requests.append(request)
        return request.frames


class FixedPrior:
    """Sees one colour wherever the avatar covers: the avatar must take it on."""

    name = "fixed"

    def __init__(self, color: tuple[float, float, float]) -> None:
        self.color = torch.tensor(color)

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Paint the avatar, over the background."""
        alpha = request.alpha[..., None]
        return alpha * self.color + (1 - alpha) * request.background


class NoisyPrior:
    """Adds noise from the request's own generator: what chance must not be lost when a run is resumed."""

    name = "noisy"

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the render with a little noise."""
        noise = torch.randn(request.frames.shape, generator=request.generator)
        return (request.frames + 0.05 * request.strength * noise).clamp(0, 1)


class BrokenPrior:
    """Gives frames that are not numbers."""

    name = "broken"

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give NaN."""
        return request.frames * float("nan")
