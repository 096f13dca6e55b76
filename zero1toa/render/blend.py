"""Compositing of splats within a tile, front to back, and its derivative.

A tile keeps its pixels in planes of TILE x TILE floats, interleaved row by row, that stay in the first cache. Each
splat touches only the rows of its box, eight pixels at a time: one window of eight columns if its box is that
narrow, else two.

    sigma = (a dx^2 + c dy^2) / 2 + b dx dy,   alpha = min(ALPHA_MAX, opacity exp(-sigma)),   T <- T (1 - alpha)

A pixel that is full keeps its transmittance T with a minus sign, which turns all further splats away.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from zero1toa.render.base import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from zero1toa.render.lanes import WIDTH, inlined, kernel, largest, load, prefetch, ramp, spread, store, total, where
from zero1toa.render.project import A_HALF, BLUE, C_HALF, COLUMNS, DEPTH, GREEN, OPACITY, RED, X0, X1, Y0, Y1, B, X, Y
from zero1toa.render.tiles import TILE

_AHEAD = 4  # splats between asking for one and drawing it
_FORWARD, _BACKWARD = 5 * TILE, 6 * TILE  # floats in a row of all planes: they lie side by side
_FULL_CHECK = 32  # splats between two looks at whether the whole tile is full
_MIN, _MAX, _STOP = np.float32(ALPHA_MIN), np.float32(ALPHA_MAX), np.float32(TRANSMITTANCE_MIN)
# exp(-x) on [0, 0.75] to 1.2e-7, by least squares on the relative error; three squarings stretch it to sigma <= 6,
# where opacity exp(-sigma) < ALPHA_MIN for sure.
_E0, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(e) for e in (0.99999988, -0.99998954, 0.49984700, -0.16582604, 0.03952206, -0.00569871)
)


@inlined()
def _falloff(sigma):
    """Give exp(-sigma) where it matters, and something too faint to be drawn elsewhere."""
    x = where(sigma < np.float32(6), sigma, np.float32(6)) * np.float32(0.125)
    e = ((((x * _E5 + _E4) * x + _E3) * x + _E2) * x + _E1) * x + _E0
    e = e * e
    e = e * e
    return e * e


@inlined()
def _window(splat, left, top):
    """Give the rows of a tile that a splat's box touches and the columns to walk in steps of WIDTH; ends exclusive."""
    y0, y1 = max(int(splat[Y0]) - top, 0), min(int(splat[Y1]) - top, TILE)
    x0, x1 = max(int(splat[X0]) - left, 0), min(int(splat[X1]) - left, TILE)
    if x1 - x0 <= WIDTH:
        x0 = min(x0, TILE - WIDTH)
        return y0, y1, x0, x0 + WIDTH
    return y0, y1, 0, TILE


@inlined()
def _full(planes, stride):
    """Tell whether no pixel of the tile takes any more."""
    most = spread(np.float32(-1))
    for y in range(TILE):
        for x in range(0, TILE, WIDTH):
            t = load(planes, y * stride + x)
            most = where(t > most, t, most)
    return largest(most) < 0


@kernel()
def _open_tile(planes, stride, rows, columns):
    """Start with full transmittance inside the image and none outside."""
    planes[:] = 0
    for y in range(TILE):
        for x in range(TILE):
            planes[y * stride + x] = 1 if y < rows and x < columns else -1


@kernel()
def _blend_tile(planes, splats, ids, left, top):
    """Composite the splats `ids` into planes of transmittance, red, green, blue and depth."""
    half = np.float32(0.5)
    for rank in range(ids.size):
        if rank % _FULL_CHECK == _FULL_CHECK - 1 and _full(planes, _FORWARD):
            break
        prefetch(splats, ids[min(rank + _AHEAD, ids.size - 1)] * COLUMNS)
        splat = splats[ids[rank]]
        y0, y1, x0, x1 = _window(splat, left, top)
        for x in range(x0, x1, WIDTH):
            dx = ramp() + (np.float32(left + x) + half - splat[X])
            a_dx2, b_dx = dx * dx * splat[A_HALF], dx * splat[B]
            for y in range(y0, y1):
                at = y * _FORWARD + x
                dy = np.float32(top + y) + half - splat[Y]
                sigma = b_dx * dy + a_dx2 + splat[C_HALF] * dy * dy
                alpha = _falloff(sigma) * splat[OPACITY]
                alpha = where(alpha < _MIN, np.float32(0), where(alpha < _MAX, alpha, _MAX))
                t = load(planes, at)
                after = t - t * alpha
                taken = after > _STOP
                store(planes, at, where(taken, after, where(t > 0, 0 - t, t)))
                weight = where(taken, alpha * t, np.float32(0))
                store(planes, at + TILE, load(planes, at + TILE) + weight * splat[RED])
                store(planes, at + 2 * TILE, load(planes, at + 2 * TILE) + weight * splat[GREEN])
                store(planes, at + 3 * TILE, load(planes, at + 3 * TILE) + weight * splat[BLUE])
                store(planes, at + 4 * TILE, load(planes, at + 4 * TILE) + weight * splat[DEPTH])


@kernel()
def _close_tile(planes, background, left, top, rows, columns, color, alpha, depth):
    """Write a tile to the image."""
    red, green, blue = background[0], background[1], background[2]
    for y in range(rows):
        for x in range(columns):
            at = y * _FORWARD + x
            t = abs(planes[at])
            cover = np.float32(1) - t
            color[top + y, left + x, 0] = planes[at + TILE] + t * red
            color[top + y, left + x, 1] = planes[at + 2 * TILE] + t * green
            color[top + y, left + x, 2] = planes[at + 3 * TILE] + t * blue
            alpha[top + y, left + x] = cover
            depth[top + y, left + x] = planes[at + 4 * TILE] / cover if cover > 0 else np.float32(0)


@kernel(parallel=True)
def blend(splats, offsets, lists, background, color, alpha, depth):
    """Draw all tiles into `color` "H W 3", `alpha` and `depth` "H W"."""
    height, width = alpha.shape
    across = (width + TILE - 1) // TILE
    tiles = offsets.size - 1
    for i in prange(tiles):
        # Neighbours cost alike, and threads take ranges of i: hand them out in strides.
        tile = _stride(i, tiles)
        planes = np.empty(TILE * _FORWARD, np.float32)
        left, top = tile % across * TILE, tile // across * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        _open_tile(planes, _FORWARD, rows, columns)
        _blend_tile(planes, splats, lists[offsets[tile] : offsets[tile + 1]], left, top)
        _close_tile(planes, background, left, top, rows, columns, color, alpha, depth)


@inlined()
def _stride(i, tiles):
    """Map 0 ... tiles - 1 onto itself so that any range of i is spread over the whole image."""
    piles = 64
    long, short = tiles % piles, tiles // piles
    edge = long * (short + 1)
    if i < edge:
        return i // (short + 1) + i % (short + 1) * piles
    return long + (i - edge) // short + (i - edge) % short * piles


@kernel()
def _open_backward(planes, background, left, top, rows, columns, color, alpha, depth, d_color, d_alpha, d_depth):
    """Start planes of transmittance, what lies behind, and the gradients of red, green, blue and summed depth.

    What lies behind a splat, seen by the loss, is the sum of w (dL/dC . c + dL/dD z) over the splats behind it plus
    what the final transmittance is worth: background and coverage. It starts as the sum over all.
    """
    _open_tile(planes, _BACKWARD, rows, columns)
    for y in range(rows):
        for x in range(columns):
            at, v, u = y * _BACKWARD + x, top + y, left + x
            red, green, blue = d_color[v, u, 0], d_color[v, u, 1], d_color[v, u, 2]
            cover = alpha[v, u]
            if cover > 0:
                d_sum = d_depth[v, u] / cover
                seen = red * color[v, u, 0] + green * color[v, u, 1] + blue * color[v, u, 2] + d_depth[v, u] * depth[v, u]
                planes[at + TILE] = seen + (1 - cover) * (d_sum * depth[v, u] - d_alpha[v, u])
                planes[at + 2 * TILE] = red
                planes[at + 3 * TILE] = green
                planes[at + 4 * TILE] = blue
                planes[at + 5 * TILE] = d_sum


@kernel()
def _blend_backward_tile(planes, splats, ids, left, top, moments):
    """Walk the tile as `_blend_tile` does and sum, for each splat, what its gradients are made of.

    `moments` "ids 10" gets the sums over pixels of s, s dx, s dy, s dx^2, s dx dy, s dy^2 with s = -dL/dsigma, then
    the gradients of red, green, blue and depth.
    """
    moments[:] = 0
    half = np.float32(0.5)
    for rank in range(ids.size):
        if rank % _FULL_CHECK == _FULL_CHECK - 1 and _full(planes, _BACKWARD):
            break
        prefetch(splats, ids[min(rank + _AHEAD, ids.size - 1)] * COLUMNS)
        splat, sums = splats[ids[rank]], moments[rank]
        y0, y1, x0, x1 = _window(splat, left, top)
        for x in range(x0, x1, WIDTH):
            dx = ramp() + (np.float32(left + x) + half - splat[X])
            a_dx2, b_dx = dx * dx * splat[A_HALF], dx * splat[B]
            s_0, s_y, s_yy = spread(np.float32(0)), spread(np.float32(0)), spread(np.float32(0))
            s_red, s_green = spread(np.float32(0)), spread(np.float32(0))
            s_blue, s_depth = spread(np.float32(0)), spread(np.float32(0))
            for y in range(y0, y1):
                at = y * _BACKWARD + x
                dy = np.float32(top + y) + half - splat[Y]
                sigma = b_dx * dy + a_dx2 + splat[C_HALF] * dy * dy
                raw = _falloff(sigma) * splat[OPACITY]
                alpha = where(raw < _MIN, np.float32(0), where(raw < _MAX, raw, _MAX))
                t = load(planes, at)
                after = t - t * alpha
                taken = after > _STOP
                store(planes, at, where(taken, after, where(t > 0, 0 - t, t)))
                weight = where(taken, alpha * t, np.float32(0))
                red, green = load(planes, at + 2 * TILE), load(planes, at + 3 * TILE)
                blue, deep = load(planes, at + 4 * TILE), load(planes, at + 5 * TILE)
                value = red * splat[RED] + green * splat[GREEN] + blue * splat[BLUE] + deep * splat[DEPTH]
                behind = load(planes, at + TILE) - weight * value
                store(planes, at + TILE, behind)
                # dL/dalpha = T value - behind / (1 - alpha), and dalpha/dsigma = -alpha unless alpha is held.
                s = where(raw < _MAX, weight * (value - behind / after), np.float32(0))
                s = where(weight > 0, s, np.float32(0))
                s_0 = s_0 + s
                s_y = s_y + s * dy
                s_yy = s_yy + s * (dy * dy)
                s_red, s_green = s_red + weight * red, s_green + weight * green
                s_blue, s_depth = s_blue + weight * blue, s_depth + weight * deep
            sums[0] += total(s_0)
            sums[1] += total(s_0 * dx)
            sums[2] += total(s_y)
            sums[3] += total(s_0 * dx * dx)
            sums[4] += total(s_y * dx)
            sums[5] += total(s_yy)
            sums[6] += total(s_red)
            sums[7] += total(s_green)
            sums[8] += total(s_blue)
            sums[9] += total(s_depth)


@kernel(parallel=True)
def blend_backward(splats, offsets, lists, background, color, alpha, depth, d_color, d_alpha, d_depth):
    """Give the sums "pairs 10" that `project_backward` turns into gradients, from those of the image."""
    height, width = alpha.shape
    across = (width + TILE - 1) // TILE
    tiles = offsets.size - 1
    moments = np.empty((lists.size, 10), np.float32)
    for i in prange(tiles):
        tile = _stride(i, tiles)
        start, end = offsets[tile], offsets[tile + 1]
        if start < end:
            planes = np.empty(TILE * _BACKWARD, np.float32)
            left, top = tile % across * TILE, tile // across * TILE
            rows, columns = min(TILE, height - top), min(TILE, width - left)
            _open_backward(planes, background, left, top, rows, columns, color, alpha, depth, d_color, d_alpha, d_depth)
            _blend_backward_tile(planes, splats, lists[start:end], left, top, moments[start:end])
    return moments
