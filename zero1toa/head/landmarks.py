"""What MediaPipe's 478 landmarks say about a head's surface: which triangles are lips and lids, and what lies nearest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

# Closed outlines in MediaPipe's numbering: the red of the lips, and each eye as far as the fold of the upper lid and
# the rim of the orbit under the lower one.
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
RIGHT_LIDS = (130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25)
LEFT_LIDS = (359, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255)


def inside_outline(
    places: Float[np.ndarray, "P 3"], outline: Float[np.ndarray, "N 3"], *, depth: float = 0.02
) -> Bool[np.ndarray, "P"]:
    """Say which places lie inside an outline seen from the front, and at most `depth` metres behind its mean or before."""
    (x, y), inside = places[:, :2].T, np.zeros(len(places), bool)
    # Crossing number: a ray to +x enters or leaves at every edge that spans its height.
    for (x0, y0), (x1, y1) in zip(outline[:, :2], np.roll(outline[:, :2], -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside & (np.abs(places[:, 2] - outline[:, 2].mean()) < depth)


def nearest_on_triangles(
    corners: Float[np.ndarray, "F 3 3"], places: Float[np.ndarray, "P 3"], *, candidates: int = 24
) -> tuple[Int[np.ndarray, "P"], Float[np.ndarray, "P 3"], Float[np.ndarray, "P"]]:
    """Give the nearest triangle to each place, barycentric weights on it, and the distance to there.

    Among the triangles whose centres are nearest; the foot point is clamped into the triangle, which is exact inside
    and good enough at its rim.
    """
    near = cKDTree(corners.mean(1)).query(places, k=min(candidates, len(corners)))[1].reshape(len(places), -1)
    a, b, c = corners[near].transpose(2, 0, 1, 3)
    ab, ac, ap = b - a, c - a, places[:, None] - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    scale = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / scale, (d00 * d21 - d01 * d20) / scale
    weights = np.clip(np.stack([1 - v - w, v, w], -1), 0, 1)
    weights /= weights.sum(-1, keepdims=True)
    gaps = np.linalg.norm((corners[near] * weights[..., None]).sum(-2) - places[:, None], axis=-1)
    best = gaps.argmin(1)
    rows = np.arange(len(places))
    return near[rows, best], weights[rows, best], gaps[rows, best]
