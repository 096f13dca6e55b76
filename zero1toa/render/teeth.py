"""Teeth that no photo shows, one by one along the arch, so that an opened mouth does not bare a white wall."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Widths of the crowns from the middle back, in shares of the arch's half width: usual ones are 8.5 mm for an upper and 5.4 mm
# for a lower first incisor, of 33 mm.
UPPER = (0.26, 0.20, 0.23, 0.21, 0.20, 0.30, 0.28)
LOWER = (0.16, 0.18, 0.21, 0.21, 0.21, 0.33, 0.32)
# A gap begins this far from a crown's edge, as a share of its width, and takes so much of the light.
GAP, GAP_DEPTH = 0.12, 0.22
# How much darker a crown is at its sides than in its middle; and teeth differ a little.
ROUND, UNLIKE = 0.08, 0.03
# Cheeks shade the teeth beside them: this far behind the foremost, in metres, they are e times darker, but for the last share.
FADE, DARKEST = 0.009, 0.25
# What light is left in a mouth has come from gums and lips: where it is dim it is red. Powers of its strength, by channel.
REDDER = (0.8, 1.1, 1.3)
# Above the upper row's edge, in shares of the arch's half width, gums begin; they rise so much between teeth. Their colour, by
# that of enamel.
GUMS, ARCHES, GUM = 0.38, 0.06, (0.92, 0.64, 0.72)


class Teeth:
    """The rows of teeth of a resting head, +x its left and +z forward, metres; heads without teeth have none."""

    def __init__(self, rest: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> None:
        """Find the rows by the triangles of teeth alone."""
        self._upper = upper_row(rest, faces)
        self._edge = float(rest[self._upper, 1].amin()) if self._upper.any() else 0.0
        own = rest[faces.unique()] if len(faces) else rest[:1]
        self._half_width = float((own[:, 0].amax() - own[:, 0].amin()) / 2) or 1.0
        self._middle = float((own[:, 0].amax() + own[:, 0].amin()) / 2)
        self._front = float(own[:, 2].amax())

    def light(self, points: Float[Tensor, "P 3"], corner: Int[Tensor, "P"]) -> Float[Tensor, "P 3"]:
        """Say by what the colour of enamel is to be multiplied at points of the resting teeth.

        `corner` is any vertex of each point's triangle, by which its row is known.
        """
        across, ahead = points[:, 0] - self._middle, points[:, 2] - (self._front - self._half_width)
        along, upper = torch.atan2(across.abs(), ahead), self._upper[corner]
        (above, beside), (below, _) = (_crowns(along, widths, across > 0) for widths in (UPPER, LOWER))
        root = (points[:, 1] - self._edge) / self._half_width - GUMS + ARCHES * beside**2
        gum = ((root / 0.03).clamp(0, 1) * upper)[:, None]
        behind = (self._front - points[:, 2]).clamp_min(0) / FADE
        fade = DARKEST + (1 - DARKEST) * torch.exp(-(behind**2))
        crown = in_mouth(torch.where(upper, above, below))
        return torch.lerp(crown, torch.tensor(GUM).expand(len(points), 3), gum) * in_mouth(fade)


def in_mouth(light: Float[Tensor, "P"]) -> Float[Tensor, "P 3"]:
    """Give the colour of light in the mouth by its strength, 1 where it is as outside."""
    return light[:, None] ** torch.tensor(REDDER)


def _crowns(along: Float[Tensor, "P"], widths: tuple[float, ...], left: Bool[Tensor, "P"]) -> tuple[Tensor, Tensor]:
    """Shade one row by the angle along its arch, in radians from the middle; comes with the place across crowns, -1 to 1."""
    ends = torch.tensor(np.cumsum(widths), dtype=along.dtype)
    tooth = torch.bucketize(along, ends[:-1])
    width = torch.tensor(widths, dtype=along.dtype)[tooth]
    place = ((along - (ends[tooth] - width)) / width).clamp(0, 1)
    beside, rim = 2 * place - 1, torch.minimum(place, 1 - place)
    gap = (1 - rim / GAP).clamp(0, 1) ** 2
    own = torch.sin(37.0 * tooth + 11.0 * left)
    return (1 - GAP_DEPTH * gap) * (1 - ROUND * beside**2) * (1 + UNLIKE * own), beside


def whiteness(color: Float[Tensor, "*S 3"]) -> Float[Tensor, "*S"]:
    """Say how little red a colour is: enamel's is about that of skin, lips' is far less."""
    return (color[..., 1] + 0.02) / (color[..., 0] + 0.02)


def upper_row(rest: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Bool[Tensor, "V"]:
    """Mark the vertices of the upper row: of the separate pieces of teeth, those that lie above the middle of all."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    upper = torch.zeros(len(rest), dtype=torch.bool)
    if not len(faces):
        return upper
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]]]).numpy()
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(rest),) * 2)
    piece = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
    own = faces.unique()
    total = torch.zeros(int(piece.max()) + 1).index_add(0, piece[own], rest[own, 1] - rest[own, 1].mean())
    upper[own] = total[piece[own]] >= 0
    return upper
