"""What was read out of a photo, in three pictures: the landmarks, the person cut out, and the head that was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from zero1toa.export.views import to_bytes
from zero1toa.geometry.mesh import vertex_normals
from zero1toa.head.base import HeadModel
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import Portrait

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

CHECKER = 16  # pixels a square
LIGHT = (-0.35, 0.5, 0.8)
HEAD_SHARE = 0.62  # how much of a pixel is the head where it lies over the photo


@torch.no_grad()
def fit_sheet(portrait: Portrait, head: HeadModel) -> tuple[UInt8[np.ndarray, "H W 3"], ...]:
    """Draw (landmarks over the photo, person over a checkerboard, fitted head over the photo), as large as the portrait."""
    alpha = portrait.alpha[..., None]
    photo = portrait.image * alpha + 0.5 * (1 - alpha)
    return (
        _landmarks(photo, portrait),
        to_bytes(portrait.image * alpha + _checkers(portrait) * (1 - alpha)),
        _head(photo, portrait, head),
    )


def _landmarks(photo: Float[Tensor, "H W 3"], portrait: Portrait) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(to_bytes(photo))
    draw, radius = ImageDraw.Draw(picture), max(1.0, len(photo) / 380)
    for x, y in portrait.points.tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(124, 255, 196))
    return np.asarray(picture)


def _checkers(portrait: Portrait) -> Float[Tensor, "H W 1"]:
    height, width = portrait.alpha.shape
    odd = (torch.arange(height)[:, None] // CHECKER + torch.arange(width) // CHECKER) % 2
    return 0.72 + 0.14 * odd[..., None].float()


def _head(photo: Float[Tensor, "H W 3"], portrait: Portrait, head: HeadModel) -> UInt8[np.ndarray, "H W 3"]:
    """Shade the head as fitted: clay, lit from the upper left."""
    vertices = head.vertices(portrait.identity, portrait.state)
    faces = head.surface.faces
    drawn = rasterize_mesh(vertices, faces, portrait.camera, cull=True)
    normals = vertex_normals(vertices, faces)[0][faces[drawn.face[0].clamp_min(0)]]
    normal = torch.nn.functional.normalize((normals * drawn.barycentric[0, ..., None]).sum(-2), dim=-1)
    light = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
    clay = torch.tensor([0.66, 0.62, 1.0]) * (0.25 + 0.75 * (normal @ light).clamp_min(0))[..., None]
    share = HEAD_SHARE * (drawn.face[0] >= 0).float()[..., None]
    return to_bytes(photo * (1 - share) + clay * share)
