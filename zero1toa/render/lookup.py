"""The inner loop of `zero1toa.render.photo`: for every surface point, ask the photo, then the mirror, then the fill.

One pass over the points in compiled code; the same in tensor operations took ten times as long, all of it memory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange


@njit(cache=True, fastmath=True, error_model="numpy")
def _ramp(value, low, high):
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, fastmath=True, error_model="numpy")
def _view(views, a, b, c, wa, wb, wc, k):
    return wa * views[a, k] + wb * views[b, k] + wc * views[c, k]


@njit(cache=True, fastmath=True, error_model="numpy")
def _pixel(image, x, y, channel):
    """Look one channel up between four pixel centres; outside the image it is zero."""
    height, width = image.shape[:2]
    x0, y0 = math.floor(x - 0.5), math.floor(y - 0.5)
    fx, fy = x - 0.5 - x0, y - 0.5 - y0
    total = 0.0
    for dy in range(2):
        for dx in range(2):
            column, row = int(x0) + dx, int(y0) + dy
            if 0 <= column < width and 0 <= row < height:
                total += (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy) * image[row, column, channel]
    return total


@njit(cache=True, fastmath=True, error_model="numpy")
def _weight(image, depth, views, a, b, c, wa, wb, wc, tolerance, grazing, head_on):
    """Say how well the photo sees a point (0 to 1), and at which pixel."""
    x, y = _view(views, a, b, c, wa, wb, wc, 0), _view(views, a, b, c, wa, wb, wc, 1)
    column, row = math.floor(x), math.floor(y)
    if not (0 <= column < depth.shape[1] and 0 <= row < depth.shape[0]):
        return 0.0, x, y
    front = depth[row, column]
    if front <= 0.0 or _view(views, a, b, c, wa, wb, wc, 2) >= front + tolerance:
        return 0.0, x, y
    facing = _ramp(_view(views, a, b, c, wa, wb, wc, 3), grazing, head_on)
    return facing * _pixel(image, x, y, 3), x, y


@njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def look_up(
    face, barycentric, faces, mirror, tolerance, scalp, hidden, views, fill, image, depth, angles, trusts, color, trust
):
    """Fill `color` (P, 3) and `trust` (P) for points given by `face` (P) and `barycentric` (P, 3).

    `image` (H, W, 5) is colour, matte and hair; `views` (V, 4) is pixel, depth and cosine of every vertex; `angles` are
    the cosines between which a texel starts to count and counts in full; `trusts` those of mirrored and seen-through.
    """
    grazing, head_on = angles
    mirrored, through = trusts
    for p in prange(len(face)):
        f = face[p]
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = barycentric[p, 0], barycentric[p, 1], barycentric[p, 2]
        for k in range(3):
            color[p, k] = wa * fill[a, k] + wb * fill[b, k] + wc * fill[c, k]
        seen, x, y = _weight(image, depth, views, a, b, c, wa, wb, wc, tolerance[f], grazing, head_on)
        best = seen
        if seen < 0.98:
            if scalp[f]:
                hair = _pixel(image, x, y, 4)
                for k in range(3):
                    color[p, k] += hair * (_pixel(image, x, y, k) - color[p, k])
                best = max(best, hair * through)
            if not hidden[f]:
                a, b, c = mirror[a], mirror[b], mirror[c]
                other, mx, my = _weight(image, depth, views, a, b, c, wa, wb, wc, tolerance[f], grazing, head_on)
                if other > 0.0:
                    for k in range(3):
                        color[p, k] += other * (_pixel(image, mx, my, k) - color[p, k])
                    best = max(best, other * mirrored)
        if seen > 0.0:
            for k in range(3):
                color[p, k] += seen * (_pixel(image, x, y, k) - color[p, k])
        trust[p] = best


def as_floats(tensor) -> np.ndarray:
    """Hand a tensor to compiled code: contiguous, float32, on the CPU."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
