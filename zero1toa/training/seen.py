"""What of a picture another picture of the same person shows too: where a prior can copy, and where it must invent."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numba import njit

from zero1toa.geometry.camera import center
from zero1toa.training.body import Body, Posed
from zero1toa.training.picture import Picture
from zero1toa.training.surface import CLOTH
from zero1toa.types import Camera

# How far behind what the photo shows a point may lie and still be seen there, in metres: skin; folds, which lie close to
# each other; hair, which is loose. Cosine to the view below which skin is not seen well enough to copy.
SEEN, SEEN_FOLDS, SEEN_HAIR, GRAZING = 0.004, 0.0012, 0.012, 0.12
# Labels of `Picture` that are folds: lips, lids, eyes, teeth, tongue and mouth; and the first that is hair or worn.
FOLDS, LOOSE = (3, 8), 20


def seen_in_photo(body: Body, picture: Picture, photo: Picture, posed: Posed, camera: Camera) -> Float[np.ndarray, "H W"]:
    """Say for every pixel of a picture whether the photo sees the same point of the person; 1 where nobody is.

    `posed` and `camera` are the photo's; `photo` is what they gave.
    """
    out = np.ones(picture.label.shape)
    viewmat, intrinsics = camera.viewmats[0].double().numpy(), camera.intrinsics[0].double().numpy()
    eye = center(camera)[0].double().numpy()
    sheets = body.material >= CLOTH
    _look_back(
        picture.label, picture.face, picture.weights, picture.owner, body.faces, sheets, posed.vertices, posed.normals,
        posed.threads.points, viewmat, intrinsics, eye, photo.depth, out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _look_back(label, face, weights, owner, faces, sheets, points, normals, threads, view, k, eye, depth, out):
    """Set `out` to 0 where a pixel's point is out of the photo, behind something there, or turned away from it."""
    p, n, q = np.empty(3), np.empty(3), np.empty(3)
    for row in range(label.shape[0]):
        for column in range(label.shape[1]):
            name = label[row, column]
            if name == 0:
                continue
            thread = owner[row, column]
            if thread >= 0:
                p[:] = threads[thread]
            else:
                f, w = face[row, column], weights[row, column]
                if f < 0:
                    continue
                a, b, c = faces[f]
                for i in range(3):
                    p[i] = w[0] * points[a, i] + w[1] * points[b, i] + w[2] * points[c, i]
                    n[i] = w[0] * normals[a, i] + w[1] * normals[b, i] + w[2] * normals[c, i]
                along, far, long = 0.0, 0.0, 0.0
                for i in range(3):
                    along += n[i] * (eye[i] - p[i])
                    far += (eye[i] - p[i]) ** 2
                    long += n[i] * n[i]
                # Worn things are sheets: they are seen from either side.
                cosine = (abs(along) if sheets[f] else along) / max(math.sqrt(far * long), 1e-12)
                if cosine <= GRAZING:
                    out[row, column] = 0.0
                    continue
            for i in range(3):
                q[i] = view[i, 0] * p[0] + view[i, 1] * p[1] + view[i, 2] * p[2] + view[i, 3]
            tolerance = SEEN_HAIR if name >= LOOSE else SEEN_FOLDS if FOLDS[0] <= name <= FOLDS[1] else SEEN
            x, y = k[0, 0] * q[0] / q[2] + k[0, 2], k[1, 1] * q[1] / q[2] + k[1, 2]
            if not q[2] < _farthest(depth, math.floor(x), math.floor(y)) + tolerance:
                out[row, column] = 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _farthest(depth, x, y):
    """Give the depth at a pixel or its farthest neighbour, or slopes would shade themselves; far negative outside."""
    best = -1e9
    if 0 <= x < depth.shape[1] and 0 <= y < depth.shape[0]:
        for row in range(max(y - 1, 0), min(y + 2, depth.shape[0])):
            for column in range(max(x - 1, 0), min(x + 2, depth.shape[1])):
                best = max(best, depth[row, column])
    return best
