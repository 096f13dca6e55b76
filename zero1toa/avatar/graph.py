"""Pose an avatar on a GPU by one launch: its hundreds of small kernels are recorded once and played again."""

from __future__ import annotations

import torch

from zero1toa.avatar.rigged import Avatar
from zero1toa.types import Gaussians, HeadState

FIELDS = ("expression", "neck", "head", "eyes")
WARM_UPS = 3  # what is recorded must have allocated everything that it allocates only once


class RecordedPose:
    """The kernels of `Avatar.pose` for one frame of one avatar, which must not change while this is used.

    gsplat asks the CPU how many splats fall on tiles before it draws, which no recording can hold, so drawing is not part.
    """

    def __init__(self, avatar: Avatar) -> None:
        device = avatar.centre.device
        rest = avatar.head.rest_state()
        self._state = HeadState(*(getattr(rest, field).clone() for field in FIELDS))
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.no_grad(), torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                avatar.pose(self._state)
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph):
            self._posed = avatar.pose(self._state)

    def __call__(self, state: HeadState) -> Gaussians:
        """Give the splats of one frame; the next call overwrites them."""
        for field in FIELDS:
            getattr(self._state, field).copy_(getattr(state, field), non_blocking=True)
        self._graph.replay()
        return self._posed
