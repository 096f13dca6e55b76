"""Levenberg-Marquardt on the 478 landmarks: identity, expression and head pose behind one pinhole camera.

The landmarks of every head model are linear in shape and (very nearly) in expression, so a model is reduced to the
basis of its landmarks once, and an iteration is a least-squares step with a few hundred unknowns: about 2 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.head.base import HeadModel
from zero1toa.types import Identity

# Tuned on frames of six clips, so that a person has the same face at rest whatever frame it is told from: the lips of such
# faces lie 1.6 mm from their mean, 2.4 mm at half of this ridge, and are parted by 2.3 mm at most instead of 6.4, while
# landmarks are still met to 0.61 % of the face's width instead of 0.56. Otherwise a smile is taken for a wide mouth.
SHAPE_RIDGE = 4.0
# A smile is a smile, and not lips that are drawn to both sides at once, rolled, pressed and shrugged, with which it can be
# written as well: what faces seldom do costs more.
EXPRESSION_RIDGE, RARE_RIDGE = 2.0, 8.0
RARE = (
    "cheekPuff", "jawForward", "jawLeft", "jawRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthLeft", "mouthPressLeft", "mouthPressRight", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
ROBUST = 3.0  # residuals beyond this many times the expected error count less (Geman-McClure)
EXPECTED_ERROR = 0.01  # of the face's width


@dataclass(frozen=True, slots=True)
class LandmarkBasis:
    """Landmarks, or other points, of a head in its rest pose, metres: mean, change per shape, change per expression."""

    mean: Float[np.ndarray, "L 3"]
    shape: Float[np.ndarray, "S L 3"]
    expression: Float[np.ndarray, "E L 3"]

    def frozen(self, shape: Float[np.ndarray, "S"], offsets: Float[np.ndarray, "L 3"]) -> LandmarkBasis:
        """Give the basis of one person, in which no shape is left to find."""
        return replace(self, mean=self.mean + np.tensordot(shape, self.shape, 1) + offsets, shape=self.shape[:0])


@dataclass(frozen=True, slots=True)
class Pose:
    """Parameters of one face: camera points are `rotation @ landmark + translation`, pixels by `focal` and `centre`."""

    shape: Float[np.ndarray, "S"]
    expression: Float[np.ndarray, "E"]
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    focal: float
    centre: tuple[float, float]


# What else there is to say about a pose than landmarks do: a Hessian and a gradient (downhill) by shape, expression, turn and
# translation.
Evidence = Callable[[Pose], tuple[Float[np.ndarray, "Q Q"], Float[np.ndarray, "Q"]]]


def landmark_basis(head: HeadModel, identity: Identity | None = None) -> LandmarkBasis:
    """Reduce a head model to its landmarks; with an `identity`, around that person instead of the average one."""
    start = identity or head.neutral_identity()
    basis = expression_basis(head, start, head.landmarks)
    mean = torch.from_numpy(basis.mean).float()

    def of_shape(shape: Tensor) -> Tensor:
        return head.landmarks(head.vertices(replace(start, shape=shape), head.rest_state()))[0]

    shapes = torch.func.vmap(lambda step: of_shape(start.shape + step) - mean)(torch.eye(len(start.shape)))
    return replace(basis, shape=shapes.double().numpy())


def expression_basis(head: HeadModel, identity: Identity, points: Callable[[Tensor], Tensor]) -> LandmarkBasis:
    """Reduce one person, whose shape is known, to some points of posed vertices."""
    mean = points(head.vertices(identity, head.rest_state()))[0]
    count = len(head.expression_names)
    moved = replace(head.rest_state(count), expression=torch.eye(count))
    expression = points(head.vertices(identity, moved)) - mean
    return LandmarkBasis(mean.double().numpy(), np.zeros((0, len(mean), 3)), expression.double().numpy())


def expression_ridges(names: Sequence[str]) -> Float[np.ndarray, "E"]:
    """Say what it costs a single photo's face to do each expression."""
    return np.array([RARE_RIDGE if name in RARE else EXPRESSION_RIDGE for name in names])


def project(basis: LandmarkBasis, pose: Pose) -> tuple[Float[np.ndarray, "L 2"], Float[np.ndarray, "L 3"]]:
    """Give where the landmarks fall, in pixels, and where they are in the camera's axes, in metres."""
    points = basis.mean + np.tensordot(pose.shape, basis.shape, 1) + np.tensordot(pose.expression, basis.expression, 1)
    seen = points @ pose.rotation.T + pose.translation
    return seen[:, :2] / seen[:, 2:] * pose.focal + np.array(pose.centre), seen


def initial_pose(basis: LandmarkBasis, points: Float[np.ndarray, "L 2"], centre: tuple[float, float]) -> Pose:
    """Start from a face 80 cm away whose rotation is that of an affine camera fitted to the landmarks."""
    distance = 0.8
    centred, mean3, mean2 = basis.mean - basis.mean.mean(0), basis.mean.mean(0), points.mean(0)
    affine = np.linalg.lstsq(centred, points - mean2, rcond=None)[0].T
    left, scales, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    focal = float(scales.mean()) * distance
    translation = np.array([*(mean2 - np.array(centre)) / focal * distance, distance]) - rotation @ mean3
    return Pose(np.zeros(len(basis.shape)), np.zeros(len(basis.expression)), rotation, translation, focal, centre)


def fit(
    basis: LandmarkBasis,
    points: Float[np.ndarray, "L 2"],
    weights: Float[np.ndarray, "L"],
    pose: Pose,
    *,
    iterations: int,
    expression_prior: Float[np.ndarray, "E"] | None = None,
    expression_ridge: float | Float[np.ndarray, "E"],
    expression_range: tuple[float | Float[np.ndarray, "E"], float | Float[np.ndarray, "E"]] = (0.0, 1.0),
    evidence: Evidence | None = None,
) -> Pose:
    """Minimise robust landmark distances plus ridges over shape, expression (held in a range) and rigid pose.

    Expressions are pulled towards `expression_prior` (zero without one), and everything by further `evidence`.
    """
    scale = EXPECTED_ERROR * np.ptp(points[:, 0])
    prior = np.zeros(len(pose.expression)) if expression_prior is None else expression_prior
    shapes, expressions = len(pose.shape), len(pose.expression)
    ridge = np.concatenate([np.full(shapes, SHAPE_RIDGE), np.full(expressions, expression_ridge), np.full(6, 1e-4)]) ** 2
    lower = np.concatenate([np.full(shapes, -2.0), np.full(expressions, expression_range[0]), np.full(6, -np.inf)])
    upper = np.concatenate([np.full(shapes, 2.0), np.full(expressions, expression_range[1]), np.full(6, np.inf)])
    for _ in range(iterations):
        pixels, seen = project(basis, pose)
        residual = (points - pixels) / scale
        moved = jacobian(basis, pose, seen).reshape(residual.size, -1) / scale
        weighted = moved * np.repeat(weights * robust(residual), 2)[:, None]
        hessian, gradient = weighted.T @ moved, weighted.T @ residual.ravel()
        if evidence is not None:
            hessian, gradient = (ours + theirs for ours, theirs in zip((hessian, gradient), evidence(pose), strict=True))
        now = np.concatenate([pose.shape, pose.expression, np.zeros(6)])
        target = np.concatenate([np.zeros(shapes), prior, np.zeros(6)])
        hessian[np.diag_indices_from(hessian)] += ridge
        gradient += ridge * (target - now)
        step = _bounded_step(hessian, gradient, lower - now, upper - now)
        pose = _moved(pose, step)
    return pose


def robust(residual: Float[np.ndarray, "L D"]) -> Float[np.ndarray, "L"]:
    """Weigh residuals, in units of what is expected, by Geman and McClure: those far off say little."""
    return 1 / (1 + (residual**2).sum(1) / ROBUST**2) ** 2


def jacobian(basis: LandmarkBasis, pose: Pose, seen: Float[np.ndarray, "L 3"]) -> Float[np.ndarray, "L 2 Q"]:
    """Differentiate pixels by shape, expression, a turn of the head about its own origin, and translation."""
    x, y, depth = seen.T
    still, one = np.zeros_like(depth), np.ones_like(depth)
    # How a pixel moves when its point moves along the camera's axes, and how that moves when the head turns about them.
    lens = (
        np.array([[one, still, -x / depth], [still, one, -y / depth]]).transpose(2, 0, 1) * (pose.focal / depth)[:, None, None]
    )
    x, y, z = (seen - pose.translation).T
    turn = np.array([[still, z, -y], [-z, still, x], [y, -x, still]]).transpose(2, 0, 1)
    shaped = (basis.shape, basis.expression) if len(basis.shape) else (basis.expression,)
    moves = [(lens @ pose.rotation) @ own.transpose(1, 2, 0) for own in shaped]
    return np.concatenate([*moves, lens @ turn, lens], -1)


def _bounded_step(hessian, gradient, lower, upper) -> Float[np.ndarray, "P"]:
    """Solve the quadratic within bounds: fix what leaves them at the bound and solve again for the rest."""
    free = np.ones(len(gradient), bool)
    step = np.zeros_like(gradient)
    for _ in range(8):
        rest = gradient[free] - hessian[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], rest)
        outside = free & ((step < lower - 1e-9) | (step > upper + 1e-9))
        if not outside.any():
            break
        step = np.clip(step, lower, upper)
        free &= ~outside
    return np.clip(step, lower, upper)


def _moved(pose: Pose, step: Float[np.ndarray, "P"]) -> Pose:
    """Apply a step; the turn is composed from the left, in the camera's axes."""
    shapes, expressions = len(pose.shape), len(pose.expression)
    turn, angle = step[-6:-3], np.linalg.norm(step[-6:-3])
    x, y, z = turn / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ pose.rotation
    return replace(
        pose,
        shape=pose.shape + step[:shapes],
        expression=pose.expression + step[shapes : shapes + expressions],
        rotation=rotation,
        translation=pose.translation + step[-3:],
    )
