"""Lists of splats per tile of the image, from near to far.

Both steps, the sort by depth and the dealing out to tiles, are stable counting sorts over fixed chunks of the
input, so the lists do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from zero1toa.render.base import ALPHA_MIN
from zero1toa.render.project import A_HALF, C_HALF, DEPTH, FAST, OPACITY, B, X, Y

TILE = 16  # pixels a side
_CHUNKS = 8
_DIGIT = 12  # bits sorted at once: the counters of a chunk then fit the first cache


@njit(cache=True, parallel=True, nogil=True)
def sort_by_depth(splats, boxes):
    """Give the indices of the splats with a box, sorted by depth; equals stay in order."""
    n = splats.shape[0]
    bits = splats.view(np.int32)  # the order of positive floats is that of their bits
    starts = np.zeros(_CHUNKS + 1, np.int64)
    low, high = np.full(_CHUNKS, np.int32(0x7FFFFFFF)), np.zeros(_CHUNKS, np.int32)
    for chunk in prange(_CHUNKS):
        seen, least, most = 0, np.int32(0x7FFFFFFF), np.int32(0)
        for i in range(n * chunk // _CHUNKS, n * (chunk + 1) // _CHUNKS):
            if boxes[i, 0] < boxes[i, 1] and boxes[i, 2] < boxes[i, 3]:
                seen += 1
                least, most = min(least, bits[i, DEPTH]), max(most, bits[i, DEPTH])
        starts[chunk + 1], low[chunk], high[chunk] = seen, least, most
    for chunk in range(_CHUNKS):
        starts[chunk + 1] += starts[chunk]
    visible, base, span = starts[_CHUNKS], low.min(), np.int64(high.max()) - np.int64(low.min())
    keys, order = np.empty(visible, np.int32), np.empty(visible, np.int32)
    for chunk in prange(_CHUNKS):
        at = starts[chunk]
        for i in range(n * chunk // _CHUNKS, n * (chunk + 1) // _CHUNKS):
            if boxes[i, 0] < boxes[i, 1] and boxes[i, 2] < boxes[i, 3]:
                keys[at], order[at] = bits[i, DEPTH] - base, i
                at += 1
    shift = 0
    next_keys, next_order = np.empty(visible, np.int32), np.empty(visible, np.int32)
    while visible > 0 and span >> shift > 0:
        counts = np.zeros((_CHUNKS, 1 << _DIGIT), np.int32)
        for chunk in prange(_CHUNKS):
            for i in range(visible * chunk // _CHUNKS, visible * (chunk + 1) // _CHUNKS):
                counts[chunk, (keys[i] >> shift) & ((1 << _DIGIT) - 1)] += 1
        running = 0
        for digit in range(1 << _DIGIT):
            for chunk in range(_CHUNKS):
                count = counts[chunk, digit]
                counts[chunk, digit] = running
                running += count
        for chunk in prange(_CHUNKS):
            for i in range(visible * chunk // _CHUNKS, visible * (chunk + 1) // _CHUNKS):
                digit = (keys[i] >> shift) & ((1 << _DIGIT) - 1)
                to = counts[chunk, digit]
                counts[chunk, digit] = to + 1
                next_keys[to], next_order[to] = keys[i], order[i]
        keys, next_keys = next_keys, keys
        order, next_order = next_order, order
        shift += _DIGIT
    return order


@njit(fastmath=FAST, cache=True, inline="always")
def _columns(splat, box, row, reach):
    """Give the range of tile columns (end exclusive) that the ellipse sigma <= reach touches in a row of tiles.

    The ellipse is convex, so its extent over the band of pixel centres of the row lies at its own extreme point
    or at the edge of the band nearest to that.
    """
    a, b, c = splat[A_HALF] * 2, splat[B], splat[C_HALF] * 2
    half = np.float32(0.5)
    low = max(box[2], row * TILE) + half - splat[Y]
    high = min(box[3], (row + 1) * TILE) - half - splat[Y]
    det = a * c - b * b
    extreme = -b / c * math.sqrt(max(np.float32(0), 2 * reach * c / det)) if det > 0 else np.float32(0)
    up, down = min(high, max(low, extreme)), min(high, max(low, -extreme))
    right = (-b * up + math.sqrt(max(np.float32(0), 2 * reach * a - det * up * up))) / a
    left = (-b * down - math.sqrt(max(np.float32(0), 2 * reach * a - det * down * down))) / a
    first = max(np.float32(box[0]), math.ceil(splat[X] + left - half - np.float32(1e-2)))
    end = min(np.float32(box[1]), math.floor(splat[X] + right + half + np.float32(1e-2)))
    return int(first) // TILE, (int(end) + TILE - 1) // TILE if end > first else 0


@njit(fastmath=FAST, cache=True, inline="always")
def _reach(splat):
    return math.log(splat[OPACITY] * np.float32(1 / ALPHA_MIN)) + np.float32(1e-3)


@njit(cache=True, parallel=True, nogil=True)
def deal(splats, boxes, order, across, down, places_wanted):
    """Deal the sorted splats out to `across` x `down` tiles.

    Returns `offsets` "tiles + 1" and `lists` "pairs": tile t draws `lists[offsets[t]:offsets[t + 1]]`. If asked, also
    `first` "N + 1" and `places` "pairs": splat i stands in the lists at `places[first[i]:first[i + 1]]`.
    """
    n, visible = splats.shape[0], order.size
    counts = np.zeros((_CHUNKS, across * down), np.int32)
    first = np.zeros(n + 1 if places_wanted else 1, np.int32)
    for chunk in prange(_CHUNKS):
        for rank in range(visible * chunk // _CHUNKS, visible * (chunk + 1) // _CHUNKS):
            i = order[rank]
            box = boxes[i]
            pairs = 0
            if (box[0] // TILE == (box[1] - 1) // TILE) and (box[2] // TILE == (box[3] - 1) // TILE):
                counts[chunk, box[2] // TILE * across + box[0] // TILE] += 1
                pairs = 1
            else:
                reach = _reach(splats[i])
                for row in range(box[2] // TILE, (box[3] + TILE - 1) // TILE):
                    start, end = _columns(splats[i], box, row, reach)
                    for column in range(start, end):
                        counts[chunk, row * across + column] += 1
                        pairs += 1
            if places_wanted:
                first[i + 1] = pairs
    offsets = np.empty(across * down + 1, np.int32)
    running = np.int32(0)
    for tile in range(across * down):
        offsets[tile] = running
        for chunk in range(_CHUNKS):
            count = counts[chunk, tile]
            counts[chunk, tile] = running
            running += count
    offsets[across * down] = running
    for i in range(first.size - 1):
        first[i + 1] += first[i]
    lists = np.empty(running, np.int32)
    places = np.empty(running if places_wanted else 0, np.int32)
    for chunk in prange(_CHUNKS):
        for rank in range(visible * chunk // _CHUNKS, visible * (chunk + 1) // _CHUNKS):
            i = order[rank]
            box = boxes[i]
            place = first[i] if places_wanted else 0
            reach = _reach(splats[i])
            for row in range(box[2] // TILE, (box[3] + TILE - 1) // TILE):
                start, end = box[0] // TILE, (box[1] + TILE - 1) // TILE
                if end - start > 1 or (box[3] - 1) // TILE > box[2] // TILE:
                    start, end = _columns(splats[i], box, row, reach)
                for column in range(start, end):
                    to = counts[chunk, row * across + column]
                    counts[chunk, row * across + column] = to + 1
                    lists[to] = i
                    if places_wanted:
                        places[place] = to
                        place += 1
    return offsets, lists, first, places
