"""Lists of splats per tile of the image, from near to far.

Both steps, the sort by depth and the dealing out to tiles, are stable counting sorts, the second over fixed chunks of
its input, so the lists do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from zero1toa.render.lanes import inlined, kernel, lowest_bit

TILE = 16  # pixels a side
_BLOCK = 8  # tiles a side that the 64 bits of a mask can tell apart
_CHUNKS = 8
_DIGIT = 12  # bits sorted at once: the counters then fit the first cache


@inlined()
def touched_tiles(x, y, xx, xy, yy, reach, x0, x1, y0, y1, width):
    """Give a bit mask of the tiles that an ellipse touches, 8 a row, and the index of the tile of its first bit.

    The ellipse has centre (x, y), covariance (xx, xy; xy, yy) and `reach` standard deviations; its box of pixels is
    [x0, x1) x [y0, y1). Being convex, it spans most of a row of tiles at its own extreme points or at the edge of
    the row nearest to those. A box of more than 8 x 8 tiles gives (0, -1): take them all.
    """
    left, right, top, bottom = x0 // TILE, (x1 - 1) // TILE, y0 // TILE, (y1 - 1) // TILE
    corner = np.int32(top * ((width + TILE - 1) // TILE) + left)
    if left == right and top == bottom:
        return np.int64(1), corner
    if right - left >= _BLOCK or bottom - top >= _BLOCK:
        return np.int64(0), np.int32(-1)
    half, zero, slack = np.float32(0.5), np.float32(0), np.float32(1e-2)
    # Along a row at height dy the ellipse spans slope dy +- sqrt((reach^2 - dy^2 / yy) (xx - xy^2 / yy)).
    slope = xy / yy
    spread, extreme = max(zero, xx - xy * slope), reach * xy / math.sqrt(xx)
    mask = np.int64(0)
    for row in range(top, bottom + 1):
        low = np.float32(max(y0, row * TILE)) + half - y
        high = np.float32(min(y1, (row + 1) * TILE)) - half - y
        up, down = min(high, max(low, extreme)), min(high, max(low, -extreme))
        most = slope * up + math.sqrt(max(zero, (reach * reach - up * up / yy) * spread)) + slack
        least = slope * down - math.sqrt(max(zero, (reach * reach - down * down / yy) * spread)) - slack
        first = max(x0, math.ceil(max(x + least - half, zero))) // TILE
        last = (min(x1, math.floor(max(x + most + half, zero))) - 1) // TILE
        for column in range(first, last + 1):
            mask |= np.int64(1) << ((row - top) * _BLOCK + column - left)
    return mask, corner


@kernel()
def sort_by_depth(depths):
    """Give the indices of the splats of positive depth, from near to far; equals stay in order.

    One thread: it is a millisecond for 80,000 splats, and waiting for other threads at every pass gains nothing.
    """
    bits = depths.view(np.int32)  # the order of positive floats is that of their bits
    visible, least, most = 0, np.int32(0x7FFFFFFF), np.int32(0)
    for i in range(bits.size):
        if bits[i] > 0:
            visible += 1
            least, most = min(least, bits[i]), max(most, bits[i])
    keys, order = np.empty(visible, np.int32), np.empty(visible, np.int32)
    at = 0
    for i in range(bits.size):
        if bits[i] > 0:
            keys[at], order[at] = bits[i] - least, i
            at += 1
    next_keys, next_order = np.empty(visible, np.int32), np.empty(visible, np.int32)
    shift, last = 0, np.int64(most) - np.int64(least)
    while last >> shift > 0:
        starts = np.zeros((1 << _DIGIT) + 1, np.int64)
        for i in range(visible):
            starts[((keys[i] >> shift) & ((1 << _DIGIT) - 1)) + 1] += 1
        for digit in range(1 << _DIGIT):
            starts[digit + 1] += starts[digit]
        for i in range(visible):
            digit = (keys[i] >> shift) & ((1 << _DIGIT) - 1)
            next_keys[starts[digit]], next_order[starts[digit]] = keys[i], order[i]
            starts[digit] += 1
        keys, next_keys, order, next_order = next_keys, keys, next_order, order
        shift += _DIGIT
    return order


@inlined()
def _tiles_of(i, masks, corners, boxes, across, tiles):
    """List the tiles of a splat in `tiles` and give their number."""
    mask, corner = masks[i], corners[i]
    found = 0
    if corner < 0:
        for row in range(int(boxes[i, 2]) // TILE, (int(boxes[i, 3]) + TILE - 1) // TILE):
            for column in range(int(boxes[i, 0]) // TILE, (int(boxes[i, 1]) + TILE - 1) // TILE):
                tiles[found] = row * across + column
                found += 1
    while mask != 0:
        bit = lowest_bit(mask)
        mask &= mask - 1
        tiles[found] = corner + bit // _BLOCK * across + bit % _BLOCK
        found += 1
    return found


@kernel(parallel=True)
def deal(order, masks, corners, boxes, across, down, places_wanted):
    """Deal the sorted splats out to `across` x `down` tiles; `boxes` "N 4" are (x0, x1, y0, y1) in pixels.

    Returns `offsets` "tiles + 1" and `lists` "pairs": tile t draws `lists[offsets[t]:offsets[t + 1]]`. If asked, also
    `first` "N + 1" and `places` "pairs": splat i stands in the lists at `places[first[i]:first[i + 1]]`.
    """
    visible = order.size
    counts = np.zeros((_CHUNKS, across * down), np.int32)
    first = np.zeros(masks.size + 1 if places_wanted else 1, np.int32)
    for chunk in prange(_CHUNKS):
        tiles = np.empty(max(_BLOCK * _BLOCK, across * down), np.int32)
        for rank in range(visible * chunk // _CHUNKS, visible * (chunk + 1) // _CHUNKS):
            found = _tiles_of(order[rank], masks, corners, boxes, across, tiles)
            for j in range(found):
                counts[chunk, tiles[j]] += 1
            if places_wanted:
                first[order[rank] + 1] = found
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
        tiles = np.empty(max(_BLOCK * _BLOCK, across * down), np.int32)
        for rank in range(visible * chunk // _CHUNKS, visible * (chunk + 1) // _CHUNKS):
            i = order[rank]
            found = _tiles_of(i, masks, corners, boxes, across, tiles)
            for j in range(found):
                to = counts[chunk, tiles[j]]
                counts[chunk, tiles[j]] = to + 1
                lists[to] = i
                if places_wanted:
                    places[first[i] + j] = to
    return offsets, lists, first, places
