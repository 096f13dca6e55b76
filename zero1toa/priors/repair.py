"""Masked repair: what the photo shows stays as the photo shows it, and a model paints the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.base import ClipRequest
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.pictures import near_avatar
from zero1toa.priors.projection import ProjectionPrior
from zero1toa.render.photo import COMBED, MIRRORED


class MaskedRepair:
    """Lay the photo's warp over clips and have a model paint where it is not to be trusted."""

    def __init__(self, prior: DiffusionPrior) -> None:
        self._prior, self._projection = prior, ProjectionPrior()
        self.name = prior.name

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the clip with the photo where it is known and the model's picture elsewhere."""
        return self.regenerate_all([request])[0]

    def regenerate_all(self, requests: Sequence[ClipRequest]) -> list[Float[Tensor, "T H W 3"]]:
        """Give several clips of one person at once, as many frames and the same strength each."""
        return self._prior.regenerate_all([self.drafted(request) for request in requests])

    def drafted(self, request: ClipRequest) -> ClipRequest:
        """Lay the warp over a clip's render and say how much of it stays.

        The warp is laid in full where it is trusted, whatever the strength: half of it would show two contours at once, and
        the model would be told to keep both. Strength 0 leaves the render as it is.
        """
        if request.strength == 0:
            return request
        warped, trust = self._projection.project(request)
        # The void around the avatar is known too.
        kept = torch.maximum(kept_share(trust), 1 - near_avatar(request))
        return replace(request, frames=torch.lerp(request.frames, warped, trust[..., None]), kept=kept)


def kept_share(trust: Float[Tensor, "T H W"]) -> Float[Tensor, "T H W"]:
    """Give how much of a pixel stays: all from the trust in a mirrored face up, nothing from that in combed hair down.

    In between both pictures mix: a sharp edge would show, move with every frame in which trust wavers, and be learned.
    """
    return ((trust - COMBED) / (MIRRORED - COMBED)).clamp(0, 1)
