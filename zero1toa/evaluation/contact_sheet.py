"""One picture that shows at a glance what is wrong with an avatar: its photo, its sides and its faces in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from zero1toa.export.package import portrait_pixels
from zero1toa.export.views import Viewer

if TYPE_CHECKING:
    from jaxtyping import UInt8


@dataclass(frozen=True, slots=True)
class Pose:
    """A column of the sheet: degrees from the photo's view, or from the front of the face, and what the face does."""

    title: str
    yaw: float = 0.0
    from_front: bool = False
    expressions: Mapping[str, float] = field(default_factory=dict)


POSES = (
    Pose("front"),
    Pose("45 left", 45, True),
    Pose("45 right", -45, True),
    Pose("75 left", 75, True),
    Pose("75 right", -75, True),
    Pose("smile", expressions={"smile": 1.0}),
    Pose("jaw open", expressions={"jaw": 0.8}),
    Pose("blink", expressions={"blink": 1.0}),
    Pose("brows", expressions={"brows": 1.0}),
)
TITLE_HEIGHT = 18


def contact_sheet(
    viewers: Sequence[tuple[str, Viewer]], *, size: int = 256, poses: Sequence[Pose] = POSES
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw one row per named avatar: the photo as it was matted, then every pose, `size` pixels each."""
    rows = [_titles(["portrait", *(pose.title for pose in poses)], size)]
    for name, viewer in viewers:
        rows.append(np.concatenate([_photo(viewer, size, name), *(_draw(viewer, pose, size) for pose in poses)], 1))
    return np.concatenate(rows)


def _draw(viewer: Viewer, pose: Pose, size: int) -> UInt8[np.ndarray, "S S 3"]:
    yaw = pose.yaw + (viewer.front() if pose.from_front else 0.0)
    return viewer.picture(yaw, size=size, expressions=pose.expressions)


def _photo(viewer: Viewer, size: int, name: str) -> UInt8[np.ndarray, "S S 3"]:
    """Show the photo over the grey the avatar is drawn over, so that fringes show in both or in one.

    An avatar out of a glb brings no photo; then there is only the grey.
    """
    from PIL import Image, ImageDraw

    grey = (round(255 * viewer.saved.details.background),) * 3
    photo = Image.new("RGB", (size, size), grey)
    if viewer.saved.portrait.alpha.numel():
        pixels = Image.fromarray(portrait_pixels(viewer.saved.portrait))
        ground = Image.new("RGBA", pixels.size, (*grey, 255))
        photo = Image.alpha_composite(ground, pixels).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    ImageDraw.Draw(photo).text((4, size - 16), name.encode("ascii", "replace").decode(), fill=(255, 255, 255))
    return np.asarray(photo)


def _titles(titles: Sequence[str], size: int) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (size * len(titles), TITLE_HEIGHT), (20, 20, 20))
    for column, title in enumerate(titles):
        ImageDraw.Draw(strip).text((column * size + 4, 3), title, fill=(230, 230, 230))
    return np.asarray(strip)
