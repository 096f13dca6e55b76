"""The inner loop of `zero1toa.render.photo`: for every surface point, ask the photo, then the mirror, then the fill.

One pass over the points in compiled code; the same in tensor operations took ten times as long, all of it memory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

# Locks of hair around the crown, how far back that leans from straight up, and how strands wave, in turns and metres.
LOCKS, CROWN, WAVE, WAVE_LENGTH = 36, 0.6, 0.006, 0.016


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


@njit(cache=True, fastmath=True, error_model="numpy")
def _fold(value, low, high):
    """Bring a number between two others as two mirrors would."""
    width = high - low
    phase = (value - low) % (2.0 * width)
    return low + (phase if phase < width else 2.0 * width - phase)


@njit(cache=True, fastmath=True, error_model="numpy")
def _strands(turn):
    """Give brightness from -1 to 1 by the direction from the crown, in turns: locks, and finer ones on them."""
    total = 0.0
    for octave in range(2):
        at = (turn % 1.0) * LOCKS * (octave + 1)
        lock = math.floor(at)
        here, there = _noise(lock), _noise((lock + 1) % (LOCKS * (octave + 1)))
        total += (here + _ramp(at - lock, 0.0, 1.0) * (there - here)) / 2.0
    return total


@njit(cache=True, fastmath=True, error_model="numpy")
def _strand_light(right, up, backward, contrast):
    """Say by what the colour of hair is to be multiplied at a place around the skull's middle, in metres."""
    from_crown = math.cos(CROWN) * backward - math.sin(CROWN) * up
    turn = math.atan2(right, from_crown) / (2.0 * math.pi) + WAVE * math.sin(up / WAVE_LENGTH)
    # At the crown itself, where they all meet, strands are too fine to see.
    parted = _ramp(math.hypot(right, from_crown) / math.hypot(math.hypot(right, up), backward), 0.1, 0.5)
    return 1.0 + contrast * parted * _strands(turn)


@njit(cache=True, fastmath=True, error_model="numpy")
def strand_lights(places, contrast):
    """Say by what the colour of hair is to be multiplied at `places` (N, 3): right, up and backward of the skull's middle."""
    lights = np.empty(len(places), np.float32)
    for n in range(len(places)):
        lights[n] = _strand_light(places[n, 0], places[n, 1], places[n, 2], contrast)
    return lights


@njit(cache=True, fastmath=True, error_model="numpy")
def _noise(number):
    """Give a number from -1 to 1 that has nothing to do with its neighbours'."""
    value = math.sin(number * 12.9898 + 4.1414) * 43758.5453
    return 2.0 * (value - math.floor(value)) - 1.0


@njit(cache=True, fastmath=True, error_model="numpy")
def _far_or_near(image, x, y, far, strand, channel):
    """Mix one channel of the photo's hair with that of a strand far behind, which has the colours of two directions."""
    tones, row, other, own, light = strand
    tone = own * tones[row, channel] + (1.0 - own) * tones[other, channel]
    return (1.0 - far) * _pixel(image, x, y, channel) + far * min(light * tone, 1.0)


@njit(cache=True, fastmath=True, error_model="numpy")
def _combed(vertices, a, b, c, wa, wb, wc, band, image):
    """Give the colour of hair at a point of the scalp, and say how far the photo shows hair in the same direction.

    See `zero1toa.render.hair`.
    """
    numbers, radii, centre, axes, tones = band
    right = up = backward = 0.0
    for k in range(3):
        away = wa * vertices[a, k] + wb * vertices[b, k] + wc * vertices[c, k] - centre[k]
        right += axes[0, k] * away
        up += axes[1, k] * away
        backward -= axes[2, k] * away
    # From straight down over the left and the top of the picture to straight down again.
    straight = math.atan2(right, up) + math.pi
    angle = _fold(straight, numbers[2], numbers[3])
    before = 1.0 - _ramp(abs(straight - angle), 0.05, 0.2)
    behind = math.atan2(backward, math.hypot(right, up))
    row = min(int(angle / (2.0 * math.pi) * len(radii)), len(radii) - 1)
    passed = abs(behind) * numbers[4]
    radius = _fold(radii[row, 1] - passed, radii[row, 0], radii[row, 1])
    x, y = numbers[0] - radius * math.sin(angle), numbers[1] + radius * math.cos(angle)
    far = _ramp(passed / (radii[row, 1] - radii[row, 0]), 0.25, 1.0) if behind > 0.0 else 0.0
    other = int(_fold(2.0 * math.pi - straight, numbers[2], numbers[3]) / (2.0 * math.pi) * len(radii))
    other = min(other, len(radii) - 1)
    # The two sides meet behind.
    own = 0.5 + 0.5 * abs(right) / max(math.hypot(right, backward), 1e-9)
    light = _strand_light(right, up, backward, numbers[5])
    strand = (tones, row, other, own, light)
    color = (
        _far_or_near(image, x, y, far, strand, 0),
        _far_or_near(image, x, y, far, strand, 1),
        _far_or_near(image, x, y, far, strand, 2),
    )
    return color, before


@njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def look_up(
    face, barycentric, faces, mirror, tolerance, scalp, hairy, hidden, views, fill, image, depth, angles, trusts, stretched,
    vertices, band, relighting, color, trust,
):  # fmt: skip
    """Fill `color` (P, 3) and `trust` (P) for points given by `face` (P) and `barycentric` (P, 3).

    `image` (H, W, 4) is colour and matte; `views` (V, 4) is pixel, depth and cosine of every vertex; `angles` are the
    cosines between which a texel starts to count and counts in full; `trusts` those of mirrored and combed colours;
    `band` tells where the photo shows hair, which vertices continue as far as they are `hairy` (V): those of `scalp`
    triangles in every direction, others where there is hair before them. Pixels of vertices that are `stretched` (V)
    count less, and their fill more. Mirrored colours are multiplied by `relighting` (V, 3).
    """
    grazing, head_on = angles
    mirrored, combed = trusts
    for p in prange(len(face)):
        f = face[p]
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = barycentric[p, 0], barycentric[p, 1], barycentric[p, 2]
        for k in range(3):
            color[p, k] = wa * fill[a, k] + wb * fill[b, k] + wc * fill[c, k]
        seen, x, y = _weight(image, depth, views, a, b, c, wa, wb, wc, tolerance[f], grazing, head_on)
        drawn_out = wa * stretched[a] + wb * stretched[b] + wc * stretched[c]
        seen *= 1.0 - drawn_out
        best = max(seen, drawn_out * mirrored)
        if seen < 0.98:
            hair = wa * hairy[a] + wb * hairy[b] + wc * hairy[c]
            if hair > 0.0:
                like_hair, before = _combed(vertices, a, b, c, wa, wb, wc, band, image)
                hair = hair if scalp[f] else hair * before
                for k in range(3):
                    color[p, k] += hair * (like_hair[k] - color[p, k])
                best = max(best, hair * combed)
            if not hidden[f] and drawn_out < 1.0:
                relit = (
                    wa * relighting[a, 0] + wb * relighting[b, 0] + wc * relighting[c, 0],
                    wa * relighting[a, 1] + wb * relighting[b, 1] + wc * relighting[c, 1],
                    wa * relighting[a, 2] + wb * relighting[b, 2] + wc * relighting[c, 2],
                )
                a, b, c = mirror[a], mirror[b], mirror[c]
                other, mx, my = _weight(image, depth, views, a, b, c, wa, wb, wc, tolerance[f], grazing, head_on)
                other *= 1.0 - drawn_out
                if other > 0.0:
                    for k in range(3):
                        color[p, k] += other * (min(_pixel(image, mx, my, k) * relit[k], 1.0) - color[p, k])
                    best = max(best, other * mirrored)
        if seen > 0.0:
            for k in range(3):
                color[p, k] += seen * (_pixel(image, x, y, k) - color[p, k])
        trust[p] = best


def as_floats(tensor) -> np.ndarray:
    """Hand a tensor to compiled code: contiguous, float32, on the CPU."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
