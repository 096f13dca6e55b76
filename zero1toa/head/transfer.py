"""Carry the ARKit actions of one head model over to another that has expressions of its own.

No table from ARKit names to FLAME's expression coefficients is free to ship, so it is worked out: the source's
surface is laid onto the target's by their landmarks, its actions are read off where the target's vertices are, and
the coefficients that come nearest are kept.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from zero1toa.geometry.mesh import vertex_normals
from zero1toa.geometry.rotation import matrix_to_axis_angle
from zero1toa.head.landmarks import nearest_on_triangles
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import PARTS, Identity

log = logging.getLogger(__name__)

# Of the fit: metres by which a vertex may miss, how many independent vertices there are, and the expected size of an
# expression coefficient (standard deviations of FLAME's training data) and of a turn of the jaw (radians).
EXPECTED_MISS, INDEPENDENT, COEFFICIENT, JAW_TURN = 0.001, 300.0, 2.0, 0.3
TRUSTED_GAP = 0.006  # metres: where the two surfaces are farther apart, the source says nothing
SMALLEST_GAZE = 0.02  # radians by which an action must turn an eye to be a gaze
PASSES = 3  # of Gauss-Newton; only the jaw's turn is not linear


@dataclass(frozen=True, slots=True)
class Actions:
    """Actions of a head: what they add to vertices, in metres, and by how much they turn joints, in radians."""

    basis: Float[Tensor, "E V 3"]
    turns: Float[Tensor, "E J 3"]


def transfer_expressions(source: LinearHead, target: LinearHead, expressions: Float[Tensor, "K V 3"]) -> Actions:
    """Express every action of `source` by the target's own `expressions` and joints; landmarks of both must be known.

    Eyes turn as the source's eyes turn. The jaw turns in the actions that name it. The rest is a ridge regression
    of what the source's skin does onto `expressions`, so an action that these cannot make, such as the closing lids
    of a model without them, comes out as weak as it is there.
    """
    wanted, trust = _seen_from(source, target)
    turns = torch.zeros(len(wanted), len(JOINTS), 3)
    turns[:, JOINTS.index("left_eye")], turns[:, JOINTS.index("right_eye")] = _gazes(source)
    basis = torch.zeros_like(wanted)
    misses = []
    for index, name in enumerate(source.expression_names):
        coefficients, jaw = _solve(target, expressions, wanted[index], trust, with_jaw=name.startswith("jaw"))
        basis[index] = torch.tensordot(coefficients, expressions, 1)
        turns[index, JOINTS.index("jaw")] = jaw
        miss = _moved(target, basis[index], jaw) - wanted[index]
        misses.append((_size(miss, trust), _size(wanted[index], trust)))
    shares = [1 - miss / size for miss, size in misses if size > 1e-4]
    log.info("the head's own expressions make %.0f %% of the 52 actions", 100 * float(np.mean(shares)))
    return Actions(basis, turns)


def _size(moves: Float[Tensor, "V 3"], trust: Float[Tensor, "V"]) -> float:
    return float((moves.square().sum(-1) * trust).sum().sqrt())


def _seen_from(source: LinearHead, target: LinearHead) -> tuple[Float[Tensor, "E V 3"], Float[Tensor, "V"]]:
    """Give what the source's actions do at each vertex of the target, and how much that is to be trusted."""
    here = source.landmarks(source.template[None])[0, :468].double().numpy()
    there = target.landmarks(target.template[None])[0, :468].double().numpy()
    scale, rotation = _similarity(here, there)
    laid = source.template.double().numpy() @ rotation.T * scale
    # Landmarks pull the surfaces together; a millimetre of noise in them is smoothed away.
    pull = RBFInterpolator(here @ rotation.T * scale, there, kernel="thin_plate_spline", smoothing=1e-6)
    laid = torch.from_numpy(pull(laid))

    faces, parts = source.surface.faces, np.array(PARTS)[source.surface.parts.numpy()]
    skin = torch.from_numpy(np.flatnonzero(~np.isin(parts, ("eyes", "teeth", "tongue", "mouth"))))
    places = target.template.double()
    # Upper and lower lip touch at rest; which is which shows in where they face. Normals count as a third of a
    # coordinate in centimetres.
    stretched = torch.cat([laid, 0.003 * vertex_normals(laid, faces)], -1)
    wanted_at = torch.cat([places, 0.003 * vertex_normals(places, target.surface.faces)], -1)
    near, weights, gaps = nearest_on_triangles(stretched[faces[skin]].numpy(), wanted_at.numpy())
    corners = faces[skin][torch.from_numpy(near)]
    moves = torch.einsum("evcd,vc->evd", source.expression_basis[:, corners], torch.from_numpy(weights).float())
    trust = torch.exp(-torch.from_numpy((gaps / TRUSTED_GAP) ** 2)).float()
    own_eyes = target.surface.faces[target.surface.parts == PARTS.index("eyes")].unique()
    trust[own_eyes] = 0
    moves = moves @ torch.from_numpy(rotation.T * scale).float()
    return moves * (trust > 0.01)[:, None], trust / trust.sum()


def _similarity(here: Float[np.ndarray, "L 3"], there: Float[np.ndarray, "L 3"]) -> tuple[float, Float[np.ndarray, "3 3"]]:
    """Give the scale and rotation that carry one set of points best onto another (Umeyama 1991)."""
    a, b = here - here.mean(0), there - there.mean(0)
    left, sizes, right = np.linalg.svd(b.T @ a)
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    return float((sizes * signs).sum() / (a * a).sum()), left @ np.diag(signs) @ right


def _gazes(source: LinearHead) -> Float[Tensor, "2 E 3"]:
    """Give by how much every action turns the left and the right eye about its joint."""
    faces = source.surface.faces[source.surface.parts == PARTS.index("eyes")].unique()
    turns = torch.zeros(2, len(source.expression_names), 3)
    for side, joint in enumerate(("left_eye", "right_eye")):
        about = source.joints[JOINTS.index(joint)]
        own = faces[(source.template[faces, 0] > 0) == (side == 0)]
        rest = (source.template[own] - about).double()
        moved = rest + source.expression_basis[:, own].double()
        # The best rotation between point sets (Kabsch 1976), about their own means.
        left, _, right = torch.linalg.svd((moved - moved.mean(1, keepdim=True)).mT @ (rest - rest.mean(0)))
        signs = torch.ones(len(left), 3, dtype=left.dtype)
        signs[:, 2] = torch.linalg.det(left @ right).sign()
        turn = matrix_to_axis_angle(left * signs[:, None] @ right).float()
        turns[side] = torch.where(turn.norm(dim=-1, keepdim=True) > SMALLEST_GAZE, turn, 0.0)
        if source.expression_turns is not None:
            turns[side] += source.expression_turns[:, JOINTS.index(joint)]
    return turns


def _moved(target: LinearHead, offsets: Float[Tensor, "V 3"], jaw: Float[Tensor, "3"]) -> Float[Tensor, "V 3"]:
    """Give how far every vertex of the average head moves by an expression and a turn of the jaw."""
    turns = torch.zeros(3, len(JOINTS), 3)
    turns[:, JOINTS.index("jaw")] = torch.eye(3)
    # A head of no shapes and three expressions, which are the axes of the jaw.
    turning = replace(
        target,
        shape_basis=target.shape_basis[:0],
        joint_basis=target.joint_basis[:0],
        expression_basis=torch.zeros(3, *offsets.shape),
        expression_turns=turns,
        expression_names=("x", "y", "z"),
    )
    state = replace(turning.rest_state(), expression=jaw[None])
    return turning.vertices(Identity(offsets.new_zeros(0), offsets), state)[0] - target.template


def _solve(
    target: LinearHead,
    expressions: Float[Tensor, "K V 3"],
    wanted: Float[Tensor, "V 3"],
    trust: Float[Tensor, "V"],
    *,
    with_jaw: bool,
) -> tuple[Float[Tensor, "K"], Float[Tensor, "3"]]:
    """Find the coefficients, and the turn of the jaw, whose movement comes nearest to the wanted one."""
    weight = (trust * INDEPENDENT).sqrt()[:, None] / EXPECTED_MISS
    count = len(expressions)
    solution = torch.zeros(count + 3)
    sizes = torch.cat([torch.full((count,), COEFFICIENT), torch.full((3,), JAW_TURN if with_jaw else 1e-6)])
    rows = (expressions * weight).flatten(1)
    for _ in range(PASSES if with_jaw else 1):
        offsets, jaw = torch.tensordot(solution[:count], expressions, 1), solution[count:]
        columns = rows
        if with_jaw:
            turning = torch.func.jacfwd(lambda turn, offsets=offsets: _moved(target, offsets, turn))(jaw)
            columns = torch.cat([rows, (turning.movedim(-1, 0) * weight).flatten(1)])
        now = _moved(target, offsets, jaw) if with_jaw else offsets
        residual = ((wanted - now) * weight).flatten()
        unknowns = slice(0, len(columns))
        normal = columns @ columns.T + torch.diag(sizes[unknowns] ** -2)
        step = torch.linalg.solve(normal, columns @ residual - solution[unknowns] / sizes[unknowns] ** 2)
        solution[unknowns] += step
    return solution[:count], solution[count:]
