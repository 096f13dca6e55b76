"""Move the rows of teeth to where a photo shows them: how far people bare their teeth is their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zero1toa.geometry.camera import project
from zero1toa.geometry.mesh import of_parts
from zero1toa.head.base import HeadModel
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.render.teeth import upper_row, whiteness
from zero1toa.types import PARTS, Camera, HeadState, Identity

# Metres up or down that a row may move, and what a metre of it costs, as a share of the opening's pixels.
MOVES, COST = tuple(0.0005 * step for step in range(-20, 13)), 5.0
# MediaPipe's landmarks of the mouth's corners, and the smallest opening that says something, by their distance squared.
CORNERS, SMALLEST = (78, 308), 0.04
# From where to where darkness turns into enamel in the shade, by the brightness of skin.
SHADE = (0.25, 0.55)


def place_teeth(
    head: HeadModel, identity: Identity, state: HeadState, camera: Camera, image: Float[Tensor, "H W 3"]
) -> Identity:
    """Move each row of teeth up or down until it covers what is enamel between the lips, and nothing else.

    Where an open mouth shows no enamel, a row goes out of sight. `image` is what the camera sees of the posed head.
    """
    part = _parts_seen(head, identity, state, camera)
    left, right = project(head.landmarks(head.vertices(identity, state)), camera)[0, list(CORNERS), :2]
    faces = head.surface.faces[head.surface.parts == PARTS.index("teeth")]
    opening, lips = int(of_parts(part, "teeth", "tongue", "mouth").sum()), part == PARTS.index("lips")
    if not len(faces) or not lips.any() or opening < SMALLEST * float((left - right).square().sum()):
        return identity
    enamel = _enamel(image, part)
    upper = upper_row(head.vertices(identity, head.rest_state())[0], faces)
    rows = faces.unique()
    for row in (rows[upper[rows]], rows[~upper[rows]]):
        worth = {}
        for move in MOVES:
            teeth = _parts_seen(head, _moved(identity, row, move), state, camera) == PARTS.index("teeth")
            worth[move] = float((2 * enamel[teeth] - 1).sum()) - COST * abs(move) * opening
        identity = _moved(identity, row, max(worth, key=worth.__getitem__))
    return identity


def _parts_seen(head: HeadModel, identity: Identity, state: HeadState, camera: Camera) -> Int[Tensor, "H W"]:
    """Give the part of the head that each pixel shows; -1 off it."""
    face = rasterize_mesh(head.vertices(identity, state), head.surface.faces, camera).face[0].long()
    return torch.where(face >= 0, head.surface.parts[face.clamp_min(0)], -1)


def _enamel(image: Float[Tensor, "H W 3"], part: Int[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Say from 0 to 1 how much pixels between the lips look like enamel: less red than lips, and not as dark as a throat."""
    skin, lips = (image[part == PARTS.index(name)].median(0).values for name in ("skin", "lips"))
    white = (whiteness(image) - whiteness(lips)) / (whiteness(skin) - whiteness(lips)).clamp_min(0.02)
    light = (image.mean(-1) / skin.mean() - SHADE[0]) / (SHADE[1] - SHADE[0])
    return white.clamp(0, 1) * light.clamp(0, 1)


def _moved(identity: Identity, row: Int[Tensor, "T"], move: float) -> Identity:
    """Move a row of teeth up, in metres of the resting head."""
    offsets = identity.offsets.clone()
    offsets[row, 1] += move
    return replace(identity, offsets=offsets)
