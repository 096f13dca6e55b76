"""What lids hide of an eye: it is round about its gaze, so every ring of it has one colour."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

# Rings around the pupil's middle, in degrees each; one seen by fewer pixels than these is a mixture of its neighbours.
RING, FEWEST = 3.0, 3
RINGS = math.ceil(90 / RING)
# Where the iris ends in degrees, how far out a photo shows what is white, and how much of that is neither corner nor lid.
LIMBUS, WHITE, WHITEST = 33.0, 60.0, 0.2


class Eyes:
    """The colours of both eyes, ring by ring, as a photo shows them."""

    def __init__(
        self,
        rest: Float[Tensor, "V 3"],
        vertices: Int[Tensor, "E"],
        pupils: Float[Tensor, "2 3"],
        points: Float[Tensor, "P 3"],
        colors: Float[Tensor, "P 3"],
        sclera: Float[Tensor, "3"],
    ) -> None:
        """Learn from seen `points` of the resting eyes, whose `vertices` and `pupils` (left, right) are known.

        `sclera` is the colour of rings that nothing shows. An eye that is not seen at all is like the other.
        """
        self._middle = float(rest[vertices, 0].mean())
        right = self._is_right(rest[vertices])
        self._centres = torch.stack([rest[vertices[side]].mean(0) for side in (~right, right)])
        self._axes = normalize(pupils - self._centres, dim=-1)
        right = self._is_right(points)
        sides = [side if side.any() else ~side for side in (~right, right)]
        self._rings = torch.stack([self._ring_colors(points[side], colors[side], sclera) for side in sides])

    def colors(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Give the colour that points of the resting eyes have if they are like the rest of their ring."""
        place = (self._angles(points) / RING - 0.5).clamp(0, RINGS - 1.001)
        ring, share, eye = place.long(), (place % 1)[:, None], self._is_right(points).long()
        return torch.lerp(self._rings[eye, ring], self._rings[eye, ring + 1], share)

    def _is_right(self, points: Float[Tensor, "P 3"]) -> Bool[Tensor, "P"]:
        return points[:, 0] < self._middle

    def _angles(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Give how far points are from the middle of the pupil, in degrees about the middle of the eye."""
        eye = self._is_right(points).long()
        outwards = normalize(points - self._centres[eye], dim=-1)
        return torch.rad2deg(torch.acos((outwards * self._axes[eye]).sum(-1).clamp(-1, 1)))

    def _ring_colors(
        self, points: Float[Tensor, "P 3"], colors: Float[Tensor, "P 3"], sclera: Float[Tensor, "3"]
    ) -> Float[Tensor, "R 3"]:
        """Give the median colour of each ring of one eye, since what shines is in the minority, and of what is white one."""
        angles = self._angles(points)
        white = colors[(angles > LIMBUS) & (angles < WHITE)]
        if len(white) >= FEWEST:
            whiteness = white.amin(-1)
            sclera = white[whiteness >= whiteness.quantile(1 - WHITEST)].median(0).values
        ring = (angles / RING).long()
        seen = [index for index in range(int(LIMBUS / RING)) if (ring == index).sum() >= FEWEST]
        known = torch.stack([*(colors[ring == index].median(0).values for index in seen), sclera])
        # Between rings that are seen colours go over into each other; beyond the iris all is sclera.
        at, place = torch.tensor([*map(float, seen), LIMBUS / RING]), torch.arange(RINGS, dtype=torch.float32)
        after = torch.searchsorted(at, place).clamp_max(len(at) - 1)
        before = (after - 1).clamp_min(0)
        share = ((place - at[before]) / (at[after] - at[before]).clamp_min(1e-6)).clamp(0, 1)
        return torch.lerp(known[before], known[after], share[:, None])
