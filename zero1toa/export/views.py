"""Look at a saved avatar from any side, with any face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.export.saved import SavedAvatar
from zero1toa.expressions import with_expressions
from zero1toa.geometry.camera import orbit_about, project, resize
from zero1toa.render import rasterize
from zero1toa.symgen.curriculum import middle_of_head
from zero1toa.types import Camera, HeadState, InputError, Render

if TYPE_CHECKING:
    from jaxtyping import UInt8

LARGEST = 4096


@dataclass(frozen=True, slots=True)
class Viewer:
    """A saved avatar and the point that cameras go around; make it once per avatar."""

    saved: SavedAvatar
    target: Float[Tensor, "3"]

    @classmethod
    def of(cls, saved: SavedAvatar) -> Viewer:
        """Find the middle of the head."""
        return cls(saved, middle_of_head(saved.avatar.head, saved.portrait))

    def camera(self, yaw: float = 0.0, pitch: float = 0.0, *, zoom: float = 1.0, size: int = 512) -> Camera:
        """Give the photo's camera moved by degrees around the head; `zoom` enlarges about the middle of the head.

        Zero is the photo's own view; yaw > 0 goes to the subject's left, pitch > 0 up. Raises InputError for views
        that show nothing.
        """
        if not 16 <= size <= LARGEST:
            raise InputError(f"a picture of {size} px cannot be drawn: use 16 to {LARGEST}")
        if not (np.isfinite([yaw, pitch]).all() and abs(pitch) <= 89 and abs(yaw) <= 360):
            raise InputError("the view is out of range: use a yaw from -360 to 360 and a pitch from -89 to 89 degrees")
        if not 0.1 <= zoom <= 20:
            raise InputError(f"a zoom of {zoom:g} is out of range: use 0.1 to 20")
        angles = torch.tensor([[yaw], [pitch]]).to(self.target)
        camera = orbit_about(self.saved.camera, angles[0], angles[1], target=self.target)
        camera = resize(camera, size / max(camera.width, camera.height))
        seen_at = project(self.target[None, None], camera)[0, 0, :2]
        intrinsics = camera.intrinsics.clone()
        intrinsics[:, :2, :2] *= zoom
        intrinsics[:, :2, 2] = (intrinsics[:, :2, 2] - seen_at) * zoom + seen_at
        return replace(camera, intrinsics=intrinsics)

    def front(self) -> float:
        """Give the yaw from which the face is seen straight on, in degrees: 0 unless the photo shows it turned."""
        return self.saved.portrait.report.yaw

    def state(self, expressions: Mapping[str, float] | None = None, *, neutral: bool = False) -> HeadState:
        """Give the photo's pose with controls or ARKit weights set; `neutral` takes the photo's own expression off."""
        state = self.saved.state[:1]
        if neutral:
            state = replace(state, expression=torch.zeros_like(state.expression), eyes=torch.zeros_like(state.eyes))
        return with_expressions(state, expressions or {}, self.saved.avatar.head.expression_names)

    def draw(self, state: HeadState, camera: Camera) -> UInt8[np.ndarray, "H W 3"]:
        """Draw one pose for people, over the grey that the avatar was trained over."""
        return to_bytes(self.render(state, camera).color[0])

    @torch.no_grad()
    def render(self, state: HeadState, camera: Camera, *, background: float | None = None) -> Render:
        """Draw one pose over a grey; without one, that which the avatar was trained over."""
        grey = self.saved.details.background if background is None else background
        return rasterize(self.saved.avatar.pose(state), camera, background=torch.full((3,), grey))

    def picture(
        self,
        yaw: float = 0.0,
        pitch: float = 0.0,
        *,
        zoom: float = 1.0,
        size: int = 512,
        expressions: Mapping[str, float] | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Draw the avatar from a side with a face, for people."""
        return self.draw(self.state(expressions), self.camera(yaw, pitch, zoom=zoom, size=size))


def to_bytes(color: Float[Tensor, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Turn colours in [0, 1] into bytes."""
    return (color.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
