"""Triangles to pixels with a z-buffer, in numba, forward only: which face is where, and at which point of it.

A pixel belongs to the nearest face that holds its centre, edges included; between equals the lower face number
wins. Two faces that share an edge compute it from the same corner, so there are no cracks between them.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit, prange
from torch import Tensor

from zero1toa.geometry.camera import project
from zero1toa.render.base import NEAR
from zero1toa.types import Camera

_BAND = 16  # rows of pixels that one thread fills at a time
# numba's fallback thread pool ends the process when two Python threads enter it at once.
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Fragments:
    """What lies under each pixel: face number (-1 for none), barycentric weights and depth (0 for none)."""

    face: Int[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]


def rasterize_mesh(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], cameras: Camera, *, cull: bool = False
) -> Fragments:
    """Draw one posed mesh per camera, or one for all; weights are perspective-correct, depth in metres along z.

    Faces are counter-clockwise seen from outside; `cull` drops those seen from behind. Faces with a corner
    nearer than 1 cm are not drawn.
    """
    if vertices.shape[0] not in (1, len(cameras)):
        raise ValueError(f"{vertices.shape[0]} meshes cannot be seen by {len(cameras)} cameras: give one, or one per camera")
    points = project(vertices.detach(), Camera(cameras.viewmats, cameras.intrinsics, cameras.width, cameras.height))
    return _rasterize(points, faces, cameras.height, cameras.width, perspective=True, cull=cull)


def rasterize_triangles(points: Float[Tensor, "V D"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
    """Draw triangles given in pixels, such as a UV map: (x, y), or (x, y, depth) with the least depth in front.

    Either orientation is drawn. Weights and depth vary linearly over the image. `B` of the result is 1.
    """
    points = points.detach()
    if points.shape[-1] == 2:
        points = torch.cat([points, torch.zeros_like(points[:, :1])], -1)
    return _rasterize(points[None], faces, height, width, perspective=False, cull=False)


def _rasterize(points: Tensor, faces: Tensor, height: int, width: int, *, perspective: bool, cull: bool) -> Fragments:
    corners = points.double().contiguous().cpu().numpy()
    triangles = faces.to(torch.int32).contiguous().cpu().numpy()
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < points.shape[1]:
        raise ValueError(f"faces name vertices outside 0 ... {points.shape[1] - 1}")
    frames = len(corners)
    face = np.empty((frames, height, width), np.int32)
    barycentric, depth = np.empty((frames, height, width, 3), np.float32), np.empty((frames, height, width), np.float32)
    with _LOCK:
        for frame in range(frames):
            setups, rows = _set_up(corners[frame], triangles, height, width, perspective, cull)
            offsets, lists = _bands(rows, -(-height // _BAND))
            _fill(setups, offsets, lists, perspective, face[frame], barycentric[frame], depth[frame])
    device = points.device
    return Fragments(
        torch.from_numpy(face).to(device, torch.int64),
        torch.from_numpy(barycentric).to(device, points.dtype),
        torch.from_numpy(depth).to(device, points.dtype),
    )


@njit(cache=True, inline="always")
def _edge(points, i, j):
    """Give (u, v, w) with u x + v y + w > 0 to the right of the edge from i to j on screen, the same for both its faces."""
    sign = 1.0
    if i > j:
        i, j, sign = j, i, -1.0
    u, v = (points[i, 1] - points[j, 1]) * sign, (points[j, 0] - points[i, 0]) * sign
    return u, v, -(u * points[i, 0] + v * points[i, 1])


@njit(cache=True, parallel=True, nogil=True)
def _set_up(points, faces, height, width, perspective, cull):
    """Prepare each face: three edge functions, nearness at the corners and the box; rows "F 2" empty if unseen.

    Nearness is what grows towards the viewer and is linear on screen: 1 / z in perspective, else -depth.
    """
    setups, rows = np.empty((faces.shape[0], 14)), np.zeros((faces.shape[0], 2), np.int32)
    for f in prange(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
        if perspective and not (za >= NEAR and zb >= NEAR and zc >= NEAR):
            continue
        xs, ys = (points[a, 0], points[b, 0], points[c, 0]), (points[a, 1], points[b, 1], points[c, 1])
        area = (xs[1] - xs[0]) * (ys[2] - ys[0]) - (ys[1] - ys[0]) * (xs[2] - xs[0])
        # y points down on screen: a face seen from outside runs clockwise there, its area is negative.
        if not (area < 0 or (area > 0 and not cull)):
            continue
        x0, x1 = max(min(xs[0], xs[1], xs[2]) - 0.5, 0.0), min(max(xs[0], xs[1], xs[2]) + 0.5, float(width))
        y0, y1 = max(min(ys[0], ys[1], ys[2]) - 0.5, 0.0), min(max(ys[0], ys[1], ys[2]) + 0.5, float(height))
        if not (x0 < x1 and y0 < y1):
            continue
        sign = 1.0 if area > 0 else -1.0
        setup = setups[f]
        for corner, (i, j) in enumerate(((b, c), (c, a), (a, b))):
            u, v, w = _edge(points, i, j)
            setup[3 * corner], setup[3 * corner + 1], setup[3 * corner + 2] = u * sign, v * sign, w * sign
        for corner, z in enumerate((za, zb, zc)):
            setup[9 + corner] = 1.0 / z if perspective else -z
        setup[12], setup[13] = math.ceil(x0), math.floor(x1)
        rows[f, 0], rows[f, 1] = math.ceil(y0), math.floor(y1)
    return setups, rows


@njit(cache=True, nogil=True)
def _bands(rows, number):
    """List the faces of each band of rows, in their order."""
    offsets = np.zeros(number + 1, np.int64)
    for f in range(rows.shape[0]):
        if rows[f, 0] < rows[f, 1]:
            for band in range(rows[f, 0] // _BAND, (rows[f, 1] - 1) // _BAND + 1):
                offsets[band + 1] += 1
    for band in range(number):
        offsets[band + 1] += offsets[band]
    lists, cursor = np.empty((offsets[number], 3), np.int32), offsets.copy()
    for f in range(rows.shape[0]):
        if rows[f, 0] < rows[f, 1]:
            for band in range(rows[f, 0] // _BAND, (rows[f, 1] - 1) // _BAND + 1):
                to = cursor[band]
                cursor[band] += 1
                lists[to, 0], lists[to, 1], lists[to, 2] = f, rows[f, 0], rows[f, 1]
    return offsets, lists


@njit(cache=True, inline="always")
def _weights(setup, px, py):
    """Evaluate the three edge functions of a face at a point."""
    return (
        setup[0] * px + setup[1] * py + setup[2],
        setup[3] * px + setup[4] * py + setup[5],
        setup[6] * px + setup[7] * py + setup[8],
    )


@njit(cache=True)
def _draw(setup, f, y0, y1, top, face, nearest):
    """Test the pixels of a face's box against the band's buffers."""
    x0, x1 = int(setup[12]), int(setup[13])
    for y in range(y0, y1):
        for x in range(x0, x1):
            wa, wb, wc = _weights(setup, x + 0.5, y + 0.5)
            if wa >= 0 and wb >= 0 and wc >= 0:
                near = (wa * setup[9] + wb * setup[10] + wc * setup[11]) / (wa + wb + wc)
                if near > nearest[y - top, x]:
                    nearest[y - top, x] = near
                    face[y, x] = f


@njit(cache=True, parallel=True, nogil=True)
def _fill(setups, offsets, lists, perspective, face, barycentric, depth):
    """Draw the bands and work out, once per pixel, where on its face it lies."""
    height, width = face.shape
    bands = offsets.size - 1
    for band in prange(bands):
        top, bottom = band * _BAND, min(height, (band + 1) * _BAND)
        nearest = np.full((_BAND, width), -np.inf)
        face[top:bottom] = -1
        for at in range(offsets[band], offsets[band + 1]):
            f = lists[at, 0]
            _draw(setups[f], f, max(lists[at, 1], top), min(lists[at, 2], bottom), top, face, nearest)
        for y in range(top, bottom):
            for x in range(width):
                f = face[y, x]
                a, b, c, near = 0.0, 0.0, 0.0, 0.0
                if f >= 0:
                    a, b, c = _weights(setups[f], x + 0.5, y + 0.5)
                    if perspective:
                        a, b, c = a * setups[f, 9], b * setups[f, 10], c * setups[f, 11]
                    scale = 1.0 / (a + b + c)
                    a, b, c = a * scale, b * scale, c * scale
                    near = 1.0 / nearest[y - top, x] if perspective else -nearest[y - top, x]
                barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2] = a, b, c
                depth[y, x] = near
