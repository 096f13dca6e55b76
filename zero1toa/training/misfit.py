"""How the head model is fitted to a photo: nearly, not quite. Training conditions carry the errors that real fits have."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.geometry.camera import project
from zero1toa.head.linear import LinearHead
from zero1toa.types import Camera, HeadState, Identity


@dataclass(frozen=True, slots=True)
class Fit:
    """Who, what and from where a photo is believed to show, and what the head is believed to do in a clip."""

    identity: Identity
    photo_state: HeadState
    photo_camera: Camera
    states: HeadState


def misfit(
    head: LinearHead, identity: Identity, photo_state: HeadState, photo_camera: Camera, states: HeadState, amount: float,
    rng: np.random.Generator,
) -> Fit:  # fmt: skip
    """Give a fit with errors: none for an `amount` of 0, about half of those of the program's own fits for 1.

    Errors compensate in the photo's own view, as a fit's do: its landmarks are met by moving and zooming the camera. The
    other half of a real fit's errors is that landmarks slide over the skin, which moves warp and drawing alike, so that
    a picture that is true to them is not true to the person; no prior can be asked to undo that.
    """
    if amount <= 0:
        return Fit(identity, photo_state, photo_camera, states)
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).float()
    wrong = identity.shape + 0.12 * amount * draw(len(identity.shape))
    # What no shape can say, a fit finds in part.
    offsets = identity.offsets * (1 - 0.5 * min(amount, 1.5) * float(rng.random()))
    guess = Identity(wrong, offsets)
    seen = _misjudged(photo_state, amount, draw, expression=0.14, turn=0.025)
    played = _misjudged(states, amount, draw, expression=0.03, turn=0.008)
    farther = float(np.exp(0.12 * amount * rng.normal()))
    viewmats, intrinsics = photo_camera.viewmats.clone(), photo_camera.intrinsics.clone()
    viewmats[:, 2, 3] *= farther
    intrinsics[:, :2, :2] *= farther
    camera = replace(photo_camera, viewmats=viewmats, intrinsics=intrinsics)
    truth = project(head.landmarks(head.vertices(identity, photo_state)), photo_camera)[0, :, :2]
    ours = project(head.landmarks(head.vertices(guess, seen)), camera)[0, :, :2]
    return Fit(guess, seen, _aligned(camera, ours, truth + 0.6 * amount * draw(2)), played)


def _misjudged(state: HeadState, amount: float, draw, *, expression: float, turn: float) -> HeadState:
    """Misjudge what a head does, in all frames alike; what is not used stays unused."""
    count = state.expression.shape[1]
    # Expressions are held in [0, 1], so their errors are one-sided at rest.
    weights = (state.expression + expression * amount * draw(1, count)).clamp(0, 1)
    weights = torch.where(state.expression.sum(0) > 0, weights, weights * 0.4)
    return HeadState(
        weights, state.neck, state.head + turn * amount * draw(1, 3), state.eyes + 1.5 * turn * amount * draw(1, 2, 3)
    )


def _aligned(camera: Camera, ours: Float[Tensor, "L 2"], truth: Float[Tensor, "L 2"]) -> Camera:
    """Zoom and shift a camera so that points fall where they should, in the least squares."""
    middle, wanted = ours.mean(0), truth.mean(0)
    scale = ((ours - middle) * (truth - wanted)).sum() / (ours - middle).square().sum()
    shift = wanted - scale * middle
    place = torch.eye(3)
    place[0, 0] = place[1, 1] = scale
    place[:2, 2] = shift
    return replace(camera, intrinsics=place @ camera.intrinsics)
