"""A real, tiny head model for tests: a sphere that smiles, nods and rolls its eyes in microseconds; and Anny, built before."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import cache_folder
from zero1toa.geometry.rotation import axis_angle_to_matrix
from zero1toa.head import anny
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import HeadState, Identity, Surface

RADIUS = 0.1


class SphereHead:
    """A sphere of 10 cm radius around a point behind the origin, with 52 small bumps for expressions and two shapes."""

    name = "sphere"
    expression_names = ARKIT_NAMES

    def __init__(self, rings: int = 8, segments: int = 12) -> None:
        self.centre = torch.tensor([0.0, 0.0, -RADIUS])
        rest, faces, uvs = _sphere(rings, segments)
        self.rest = rest * RADIUS + self.centre
        mirror = torch.cdist(rest, rest * torch.tensor([-1.0, 1.0, 1.0])).argmin(-1)
        self.surface = Surface(faces, uvs, faces, torch.zeros(len(faces), dtype=torch.long), mirror)
        # Bumps of 8 mm, each around its own direction of the front half, from a spiral: no two are alike.
        index = torch.arange(len(ARKIT_NAMES)) + 0.5
        height, turn = 1 - 2 * index / len(ARKIT_NAMES), index * math.pi * (3 - math.sqrt(5))
        flat = (1 - height.square()).sqrt()
        directions = torch.stack([flat * turn.sin(), height, (flat * turn.cos()).abs()], -1)
        weight = (8 * (rest @ directions.T - 1)).exp()
        self.bumps = 0.008 * weight.T[:, :, None] * rest
        self.shapes = torch.stack([rest * torch.tensor([0.01, 0, 0]), rest * torch.tensor([0, 0.01, 0])])
        # Landmarks walk the front of the sphere.
        front = torch.nonzero(rest[:, 2] > 0.1).squeeze(-1)
        self.landmark_vertices = front[torch.arange(478) % len(front)]

    def neutral_identity(self) -> Identity:
        """Give the round person."""
        return Identity(torch.zeros(2), torch.zeros_like(self.rest))

    def rest_state(self, frames: int = 1) -> HeadState:
        """Give a head that does nothing."""
        zeros = torch.zeros(frames, 3)
        return HeadState(torch.zeros(frames, len(ARKIT_NAMES)), zeros, zeros.clone(), torch.zeros(frames, 2, 3))

    def vertices(self, identity: Identity, state: HeadState) -> Float[Tensor, "B V 3"]:
        """Bump the sphere, then turn it about its centre by neck and head; the eyes push the front a little."""
        shaped = self.rest + identity.offsets + (identity.shape[:, None, None] * self.shapes).sum(0)
        posed = shaped + (state.expression @ self.bumps.flatten(1)).unflatten(-1, (-1, 3))
        posed = posed + 0.01 * state.eyes.sum(1)[:, None, :] * (self.rest[:, 2:] > -0.02)
        turn = axis_angle_to_matrix(state.neck) @ axis_angle_to_matrix(state.head)
        return (posed - self.centre) @ turn.mT + self.centre

    def landmarks(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B L 3"]:
        """Give 478 points on the front of the sphere."""
        return vertices[:, self.landmark_vertices]


def copy_anny(folder: Path) -> Path:
    """Put Anny, which takes seconds to build, into a folder that is to be the cache."""
    anny.load_anny()
    folder.mkdir(parents=True, exist_ok=True)
    for path in cache_folder().glob(f"anny-*-{anny.FORMAT}.safetensors"):
        shutil.copy(path, folder)
    return folder


def linear_sphere(rings: int = 8, segments: int = 12) -> LinearHead:
    """Give the sphere as blend shapes and skinning: it bends softly at a neck below, its front follows the eyes a little."""
    sphere = SphereHead(rings, segments)
    count = len(sphere.rest)
    joints = (
        torch.tensor([[0.0, -0.1, 0], [0, -0.08, 0], [0, -0.05, 0], [0, 0, 0], [0.03, 0, 0], [-0.03, 0, 0]]) + sphere.centre
    )
    weights = torch.zeros(count, len(JOINTS))
    height, front = (sphere.rest[:, 1] / RADIUS + 1) / 2, (sphere.rest[:, 2] > -0.02).float() / 8
    weights[:, 0], weights[:, 1], weights[:, 2] = (1 - height).square(), 2 * height * (1 - height), height.square() - front
    weights[:, 4], weights[:, 5] = front * (sphere.rest[:, 0] > 0), front * (sphere.rest[:, 0] <= 0)
    weights = weights.clamp_min(0) / weights.clamp_min(0).sum(1, keepdim=True)
    return LinearHead(
        name="sphere",
        template=sphere.rest,
        shape_basis=sphere.shapes,
        expression_basis=sphere.bumps,
        joints=joints,
        joint_basis=torch.zeros(2, len(JOINTS), 3) + 0.001,
        weights=weights,
        surface=sphere.surface,
        landmark_faces=torch.arange(478) % len(sphere.surface.faces),
        landmark_weights=torch.tensor([0.5, 0.25, 0.25]).repeat(478, 1),
    )


def _sphere(rings: int, segments: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give unit points, counter-clockwise triangles and texture coordinates, without a seam, poles up and down."""
    latitude = math.pi * torch.arange(1, rings) / rings
    longitude = 2 * math.pi * torch.arange(segments) / segments
    theta, phi = (grid.flatten() for grid in torch.meshgrid(latitude, longitude, indexing="ij"))
    around = torch.stack([theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()], -1)
    points = torch.cat([around, torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])])
    top, bottom = len(around), len(around) + 1
    faces = []
    for j in range(segments):
        k = (j + 1) % segments
        faces.append((top, j, k))
        faces.append((bottom, (rings - 2) * segments + k, (rings - 2) * segments + j))
        for i in range(rings - 2):
            a, b, c, d = i * segments + j, i * segments + k, (i + 1) * segments + j, (i + 1) * segments + k
            faces += [(a, c, b), (b, c, d)]
    uvs = torch.stack([torch.atan2(points[:, 0], points[:, 2]) / (2 * math.pi) + 0.5, (points[:, 1] + 1) / 2], -1)
    return points, torch.tensor(faces), uvs
