"""What every video prior offers: a rendered clip goes in, a better one comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.types import Camera, Reference


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One clip to regenerate (SymGEN, step 1).

    `frames`, `alpha` and `depth` are the avatar's own renders over `background`; `landmark_maps` are the drawings
    of the MediaPipe topology that the large priors are conditioned on; `vertices` is the posed mesh of each frame.
    `strength` in [0, 1] says how far the prior may move away from the render: 0 keeps it, 1 starts from noise.
    """

    frames: Float[Tensor, "T H W 3"]
    alpha: Float[Tensor, "T H W"]
    depth: Float[Tensor, "T H W"]
    landmark_maps: Float[Tensor, "T H W 3"]
    cameras: Camera
    vertices: Float[Tensor, "T V 3"]
    reference: Reference
    background: Float[Tensor, "3"]
    strength: float
    generator: torch.Generator


class VideoPrior(Protocol):
    """A model of how portrait videos look."""

    name: str

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the clip again, as the prior believes it should look, over the same background."""
        ...
