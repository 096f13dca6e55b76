"""Splats in the world, in the portrait's pose, before they are bound to the triangles they will live on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from zero1toa.geometry.mesh import face_frames
from zero1toa.geometry.rotation import matrix_to_quaternion
from zero1toa.render.photo import PhotoSurface


@dataclass(frozen=True, slots=True)
class Layer:
    """World-space splats in the portrait's pose and the triangles they will live on."""

    face: Int[Tensor, "N"]
    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    scales: Float[Tensor, "N 3"]
    opacities: Float[Tensor, "N"]
    colors: Float[Tensor, "N 3"]


def discs(
    photo: PhotoSurface,
    face: Int[Tensor, "N"],
    means: Float[Tensor, "N 3"],
    radius: Float[Tensor, "N"],
    color: Float[Tensor, "N 3"],
    opacity: Float[Tensor, "N"],
    normals: Float[Tensor, "N 3"],
    depth: Float[Tensor, "N"] | None = None,
    view: Float[Tensor, "N 3"] | None = None,
) -> Layer:
    """Make round splats that face along their normals, flat ones unless a depth is given.

    With a `view`, the direction to the camera, they are drawn out down the slope until they look round from there.
    """
    if view is None:
        _, rotation, _ = face_frames(photo.reference.vertices, photo.faces)
        along, length = rotation[face][:, :, 0], radius
    else:
        along, length = view, radius / (normals * view).sum(-1)
    across = normalize(torch.linalg.cross(normals, along), dim=-1, eps=1e-6)
    along = torch.linalg.cross(across, normals)
    quats = matrix_to_quaternion(torch.stack([along, across, normals], -1))
    scales = torch.stack([length, radius, 0.2 * radius if depth is None else depth], -1)
    return Layer(face, means, quats, scales, opacity, color.clamp(0.0, 1.0))
