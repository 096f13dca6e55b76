"""Linear blend shapes and linear blend skinning: the forward pass that Anny and FLAME share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zero1toa.geometry.mesh import on_surface
from zero1toa.geometry.rotation import axis_angle_to_matrix
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.types import HeadState, Identity, Surface

# MediaPipe's landmarks of the upper lid and those below them on the lower one, by whose eye it is.
LIDS = {"Left": ((385, 386, 387), (380, 374, 373)), "Right": ((160, 159, 158), (144, 145, 153))}
# By what a blink may be multiplied to shut an eye; what would need more, or less, is no blink of this head's.
BLINKS = (0.1, 2.0)
JOINTS = ("root", "neck", "head", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 2, 2, 2)


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A head whose resting vertices are linear in shape and expression and which bends at six joints.

    `expression_turns` lets an ARKit weight of 1 turn a joint (radians, axis-angle), which is how FLAME opens its
    jaw and moves its eyes. `pose_basis` holds FLAME's pose correctives: metres per entry of (R - I) of every joint
    but the root. Landmarks sit on triangles at barycentric weights.
    """

    name: str
    template: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "S V 3"]
    expression_basis: Float[Tensor, "E V 3"]
    joints: Float[Tensor, "J 3"]
    joint_basis: Float[Tensor, "S J 3"]
    weights: Float[Tensor, "V J"]
    surface: Surface
    landmark_faces: Int[Tensor, "L"]
    landmark_weights: Float[Tensor, "L 3"]
    expression_turns: Float[Tensor, "E J 3"] | None = None
    pose_basis: Float[Tensor, "P V 3"] | None = None
    expression_names: tuple[str, ...] = ARKIT_NAMES

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, Tensor]) -> LinearHead:
        """Put a head together from what `tensors` gave."""
        own: dict[str, Any] = dict(tensors)
        surface = Surface(**{part.name: own.pop(part.name) for part in fields(Surface)})
        return cls(name=name, surface=surface, **own)

    def tensors(self) -> dict[str, Tensor]:
        """Give all tensors by name, those of the surface among them."""
        own = {part.name: getattr(self, part.name) for part in fields(self)}
        own |= {part.name: getattr(self.surface, part.name) for part in fields(Surface)}
        return {key: value.contiguous() for key, value in own.items() if isinstance(value, Tensor)}

    def neutral_identity(self) -> Identity:
        """Give the average person."""
        return Identity(self.template.new_zeros(len(self.shape_basis)), torch.zeros_like(self.template))

    def rest_state(self, frames: int = 1) -> HeadState:
        """Give a relaxed, straight-looking state, `frames` times."""
        zeros = self.template.new_zeros
        return HeadState(zeros(frames, len(self.expression_names)), zeros(frames, 3), zeros(frames, 3), zeros(frames, 2, 3))

    def landmarks(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B L 3"]:
        """Give where MediaPipe's 478 face landmarks lie on posed vertices."""
        return on_surface(vertices, self.surface.faces, self.landmark_faces, self.landmark_weights)

    def vertices(self, identity: Identity, state: HeadState) -> Float[Tensor, "B V 3"]:
        """Pose the head: blend shapes, then pose correctives, then skinning."""
        rest = self.template + torch.tensordot(identity.shape, self.shape_basis, 1) + identity.offsets
        joints = self.joints + torch.tensordot(identity.shape, self.joint_basis, 1)
        shaped = rest + torch.tensordot(state.expression * self._own_blink(rest), self.expression_basis, 1)
        rotations = self._joint_rotations(state)
        if self.pose_basis is not None:
            bend = (rotations[:, 1:] - torch.eye(3).to(rotations)).flatten(1)
            shaped = shaped + torch.tensordot(bend, self.pose_basis, 1)
        turned, moved = _chain(rotations, joints)
        blended = torch.einsum("vj,bjkl->bvkl", self.weights, turned)
        return (blended @ shaped[..., None]).squeeze(-1) + torch.einsum("vj,bjk->bvk", self.weights, moved)

    def blink(self, identity: Identity) -> Float[Tensor, "E"]:
        """Give what an expression's weight is multiplied by, so that a blink of 1 shuts this person's eyes and no more.

        It is 1 for all else. The same blink would bring the upper lid of narrow eyes 3 mm past the lower one.
        """
        return self._own_blink(self.template + torch.tensordot(identity.shape, self.shape_basis, 1) + identity.offsets)

    def _own_blink(self, rest: Float[Tensor, "V 3"]) -> Float[Tensor, "E"]:
        own = rest.new_ones(len(self.expression_names))
        for side, (upper, lower) in LIDS.items():
            if (name := f"eyeBlink{side}") in self.expression_names:
                index, lids = self.expression_names.index(name), torch.tensor([upper, lower])
                corners, shares = self.surface.faces[self.landmark_faces[lids]], self.landmark_weights[lids]
                top, bottom = (rest[corners, 1] * shares).sum(-1)
                falls, rises = (self.expression_basis[index, corners, 1] * shares).sum(-1)
                needed = ((top - bottom) / (rises - falls)).max()
                own[index] = torch.where((needed > BLINKS[0]) & (needed < BLINKS[1]), needed, 1.0)
        return own

    def _joint_rotations(self, state: HeadState) -> Float[Tensor, "B J 3 3"]:
        """Give each joint's own rotation: what the state says, plus what its expression turns."""
        still = torch.zeros_like(state.neck)
        turns = torch.stack([still, state.neck, state.head, still, state.eyes[:, 0], state.eyes[:, 1]], 1)
        if self.expression_turns is not None:
            turns = turns + torch.tensordot(state.expression, self.expression_turns, 1)
        return axis_angle_to_matrix(turns)


def _chain(
    rotations: Float[Tensor, "B J 3 3"], joints: Float[Tensor, "J 3"]
) -> tuple[Float[Tensor, "B J 3 3"], Float[Tensor, "B J 3"]]:
    """Compose rotations about joints from the root outwards: X moves to `turned @ X + moved`."""
    turned, moved = [], []
    for joint, parent in enumerate(PARENTS):
        own, about = rotations[:, joint], joints[joint]
        shift = about - own @ about
        if parent < 0:
            turned.append(own)
            moved.append(shift)
        else:
            turned.append(turned[parent] @ own)
            moved.append((turned[parent] @ shift[..., None]).squeeze(-1) + moved[parent])
    return torch.stack(turned, 1), torch.stack(moved, 1)
