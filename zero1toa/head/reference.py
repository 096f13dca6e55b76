"""The photo as a video prior sees it: with the head that explains it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from zero1toa.geometry.camera import project
from zero1toa.head.base import HeadModel
from zero1toa.types import Camera, HeadState, Identity, Portrait, Reference


def portrait_reference(portrait: Portrait, head: HeadModel) -> Reference:
    """Give the reference that a portrait is, on the portrait's device."""
    return make_reference(portrait.image, portrait.alpha, portrait.camera, head, portrait.identity, portrait.state[:1])


def make_reference(
    image: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W"],
    camera: Camera,
    head: HeadModel,
    identity: Identity,
    state: HeadState,
) -> Reference:
    """Put a photo beside the mesh that was fitted to it and where that mesh's landmarks lie in it."""
    vertices = head.vertices(identity, state)
    resting = head.vertices(identity, head.rest_state())[0]
    landmarks = project(head.landmarks(vertices), camera)[0]
    return Reference(image, alpha, camera, vertices[0], resting, head.surface, landmarks)
