"""Triangles to pixels with a z-buffer, in numba, forward only: which face is where, and at which point of it.

A pixel belongs to the nearest face that holds its centre, edges included; between equals the lower face number
wins. Two faces that share an edge compute it from the same corner, so there are no cracks between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from zero1toa.geometry.camera import project
from zero1toa.render.base import NEAR, PARALLEL
from zero1toa.render.lanes import WIDTH, inlined, kernel, load, ramp, store, where
from zero1toa.types import Camera

_BAND = 16  # rows of pixels that one thread fills at a time


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
    if len(triangles) >= 1 << 24:
        raise ValueError("a mesh of more than 16 million faces cannot be drawn: draw it in parts")
    frames = len(corners)
    face = np.empty((frames, height, width), np.int64)
    barycentric, depth = np.empty((frames, height, width, 3), np.float32), np.empty((frames, height, width), np.float32)
    with PARALLEL:
        for frame in range(frames):
            rows = _seen_rows(corners[frame], triangles, height, width, perspective, cull)
            offsets, lists = _bands(rows, -(-height // _BAND))
            _fill(corners[frame], triangles, rows, offsets, lists, perspective, face[frame], barycentric[frame], depth[frame])
    images = (torch.from_numpy(image).to(points.device) for image in (face, barycentric, depth))
    return Fragments(*images)


@kernel(parallel=True)
def _seen_rows(points, faces, height, width, perspective, cull):
    """Give the rows of pixels (end exclusive) that each face may cover; none if it cannot be seen."""
    rows = np.zeros((faces.shape[0], 2), np.int32)
    for f in prange(faces.shape[0]):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        if perspective and not (a[2] >= NEAR and b[2] >= NEAR and c[2] >= NEAR):
            continue
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        # y points down on screen: a face seen from outside runs clockwise there, its area is negative.
        if not (area < 0 or (area > 0 and not cull)):
            continue
        if max(a[0], b[0], c[0]) < 0.5 or min(a[0], b[0], c[0]) > width - 0.5:
            continue
        rows[f, 0] = math.ceil(min(max(min(a[1], b[1], c[1]) - 0.5, 0.0), float(height)))
        rows[f, 1] = math.floor(min(max(max(a[1], b[1], c[1]) + 0.5, 0.0), float(height)))
    return rows


@kernel()
def _bands(rows, number):
    """List the faces of each band of rows, in their order."""
    offsets = np.zeros(number + 1, np.int64)
    for f in range(rows.shape[0]):
        if rows[f, 0] < rows[f, 1]:
            for band in range(rows[f, 0] // _BAND, (rows[f, 1] - 1) // _BAND + 1):
                offsets[band + 1] += 1
    for band in range(number):
        offsets[band + 1] += offsets[band]
    lists, cursor = np.empty(offsets[number], np.int32), offsets.copy()
    for f in range(rows.shape[0]):
        if rows[f, 0] < rows[f, 1]:
            for band in range(rows[f, 0] // _BAND, (rows[f, 1] - 1) // _BAND + 1):
                lists[cursor[band]] = f
                cursor[band] += 1
    return offsets, lists


@inlined()
def _edge(points, i, j):
    """Give (u, v, w) with u x + v y + w > 0 on one side of an edge; for the edge the other way round, exactly the negative."""
    sign = 1.0
    if i > j:
        i, j, sign = j, i, -1.0
    u, v = points[i, 1] - points[j, 1], points[j, 0] - points[i, 0]
    return sign * u, sign * v, -sign * (u * points[i, 0] + v * points[i, 1])


@inlined()
def _set_up(points, face, perspective, plane):
    """Fill `plane` "5 3": three edge functions, positive inside, and nearness as (x, y, 1) coefficients; corners' nearness.

    Nearness is what grows towards the viewer and is linear on screen: 1 / z in perspective, else -depth. The edge
    functions add up to twice the area everywhere.
    """
    a, b, c = face[0], face[1], face[2]
    plane[0, 0], plane[0, 1], plane[0, 2] = _edge(points, b, c)
    plane[1, 0], plane[1, 1], plane[1, 2] = _edge(points, c, a)
    plane[2, 0], plane[2, 1], plane[2, 2] = _edge(points, a, b)
    area = plane[0, 2] + plane[1, 2] + plane[2, 2]
    na, nb, nc = points[a, 2], points[b, 2], points[c, 2]
    if perspective:
        na, nb, nc = 1.0 / na, 1.0 / nb, 1.0 / nc
    else:
        na, nb, nc = -na, -nb, -nc
    plane[4, 0], plane[4, 1], plane[4, 2] = na, nb, nc
    sign, scale = 1.0 if area > 0 else -1.0, 1.0 / area
    for i in range(3):
        plane[3, i] = (plane[0, i] * na + plane[1, i] * nb + plane[2, i] * nc) * scale
        plane[0, i], plane[1, i], plane[2, i] = plane[0, i] * sign, plane[1, i] * sign, plane[2, i] * sign


@inlined()
def _at(plane, i, x, y):
    return plane[i, 0] * x + plane[i, 1] * y + plane[i, 2]


@kernel()
def _draw(points, corners, plane, name, y0, y1, top, stride, nearest, owner):
    """Draw one face into the buffers of a band, eight pixels at a time from columns that are multiples of eight.

    Both faces at an edge thus evaluate it from the same pixel in the same steps, and leave no crack.
    """
    xa, xb, xc = points[corners[0], 0], points[corners[1], 0], points[corners[2], 0]
    x0 = int(max(min(xa, xb, xc), 0.0)) // WIDTH * WIDTH
    x1 = int(min(max(xa, xb, xc) + 0.5, float(stride)))
    step_a, step_b, step_c = ramp() * plane[0, 0], ramp() * plane[1, 0], ramp() * plane[2, 0]
    step_near = ramp() * plane[3, 0]
    for y in range(y0, y1):
        for x in range(x0, x1, WIDTH):
            at = (y - top) * stride + x
            a, b = step_a + _at(plane, 0, x + 0.5, y + 0.5), step_b + _at(plane, 1, x + 0.5, y + 0.5)
            c, near = step_c + _at(plane, 2, x + 0.5, y + 0.5), step_near + _at(plane, 3, x + 0.5, y + 0.5)
            before = load(nearest, at)
            least = where(a < b, a, b)
            # Outside the face it is no nearer than anything.
            near = where(where(least < c, least, c) >= 0, near, before)
            closer = near > before
            store(nearest, at, where(closer, near, before))
            store(owner, at, where(closer, name, load(owner, at)))


@kernel()
def _resolve(points, faces, perspective, top, bottom, stride, owner, face, barycentric, depth):
    """Write the rows of a band to the image, with weights in double precision."""
    plane, last = np.zeros((5, 3)), -1
    for y in range(top, bottom):
        for x in range(face.shape[1]):
            f = int(owner[(y - top) * stride + x])
            face[y, x] = f
            a, b, c, z = 0.0, 0.0, 0.0, 0.0
            if f >= 0:
                if f != last:
                    _set_up(points, faces[f], perspective, plane)
                    last = f
                a = max(0.0, _at(plane, 0, x + 0.5, y + 0.5))
                b = max(0.0, _at(plane, 1, x + 0.5, y + 0.5))
                c = max(0.0, _at(plane, 2, x + 0.5, y + 0.5))
                near = _at(plane, 3, x + 0.5, y + 0.5)
                if perspective:
                    a, b, c = a * plane[4, 0], b * plane[4, 1], c * plane[4, 2]
                z = 1.0 / near if perspective else -near
                scale = 1.0 / (a + b + c)
                a, b, c = a * scale, b * scale, c * scale
            barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2] = a, b, c
            depth[y, x] = z


@kernel(parallel=True)
def _fill(points, faces, rows, offsets, lists, perspective, face, barycentric, depth):
    """Draw the bands, then work out once per pixel where on its face it lies."""
    height, width = face.shape
    stride = (width + WIDTH - 1) // WIDTH * WIDTH
    for band in prange(offsets.size - 1):
        top, bottom = band * _BAND, min(height, (band + 1) * _BAND)
        nearest, owner = np.full(_BAND * stride, np.float32(-np.inf)), np.full(_BAND * stride, np.float32(-1))
        plane = np.empty((5, 3))
        for at in range(offsets[band], offsets[band + 1]):
            f = lists[at]
            _set_up(points, faces[f], perspective, plane)
            _draw(
                points,
                faces[f],
                plane,
                np.float32(f),
                max(rows[f, 0], top),
                min(rows[f, 1], bottom),
                top,
                stride,
                nearest,
                owner,
            )
        _resolve(points, faces, perspective, top, bottom, stride, owner, face, barycentric, depth)
