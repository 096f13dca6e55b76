"""Triangle meshes: normals, areas and the frames that splats live in."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from zero1toa.types import PARTS


def of_parts(parts: Int[Tensor, "*S"], *names: str) -> Bool[Tensor, "*S"]:
    """Mark which numbers of parts are those of some named `PARTS`."""
    return torch.isin(parts, torch.tensor([PARTS.index(name) for name in names], device=parts.device))


def face_normals(vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*B F 3"]:
    """Give unit normals of triangles, outwards for counter-clockwise corners."""
    a, b, c = vertices[..., faces, :].unbind(-2)
    return normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)


def vertex_normals(vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*B V 3"]:
    """Give unit normals of vertices: the area-weighted mean of those of the triangles around."""
    a, b, c = vertices[..., faces, :].unbind(-2)
    weighted = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, faces[:, corner], weighted)
    return normalize(total, dim=-1, eps=1e-12)


def face_areas(vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*B F"]:
    """Give areas of triangles in square metres."""
    a, b, c = vertices[..., faces, :].unbind(-2)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2


def face_frames(
    vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, "F 3"]
) -> tuple[Float[Tensor, "*B F 3"], Float[Tensor, "*B F 3 3"], Float[Tensor, "*B F"]]:
    """Give the origin, rotation and size of every triangle's own frame (GaussianAvatars, section 3.1).

    The columns of the rotation are the first edge, the in-plane direction across it, and the normal. The origin
    is the centroid; the size is the mean of the first edge and the height over it, in metres.
    """
    a, b, c = vertices[..., faces, :].unbind(-2)
    along = normalize(b - a, dim=-1, eps=1e-12)
    normal = normalize(torch.linalg.cross(along, c - a), dim=-1, eps=1e-12)
    across = torch.linalg.cross(normal, along)
    size = ((b - a).norm(dim=-1) + ((c - a) * across).sum(-1).abs()) / 2
    return (a + b + c) / 3, torch.stack([along, across, normal], -1), size


def on_surface(
    vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, "F 3"], face: Int[Tensor, "P"], barycentric: Float[Tensor, "P 3"]
) -> Float[Tensor, "*B P 3"]:
    """Give points fixed on the surface by their triangle and barycentric weights."""
    return (vertices[..., faces[face], :] * barycentric[:, :, None]).sum(-2)
