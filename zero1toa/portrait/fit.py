"""Explain a portrait by the head model: who it is, what the face does, and where the camera stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from zero1toa.geometry.camera import FRONT, view_angles
from zero1toa.geometry.camera import project as project_points
from zero1toa.geometry.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from zero1toa.head.base import HeadModel
from zero1toa.portrait.landmark_fit import Pose, expression_ridges, fit, initial_pose, landmark_basis, project
from zero1toa.types import PARTS, Camera, FitReport, HeadState, Identity

# Of a turned head's yaw, the share that the shoulders turn along. People in portraits turn their bodies too.
TORSO_SHARE = 0.5
# Landmark rows (MediaPipe's numbering) by how well they say where the surface is: the face's outline slides along
# the skin when the head turns; eyes and lips are what people look at.
OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
EYES = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 263, 249, 390, 373, 374, 380, 381, 382,
    362, 398, 384, 385, 386, 387, 388, 466,
)  # fmt: skip
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415)


def landmark_weights() -> Float[np.ndarray, "478"]:
    """Weigh the landmarks by what people look at: lids, irises and the opening of the mouth most, the outline least.

    Measured on six clips against weights of 2 for eyes and lips: the lids' distance to the truth falls from 0.38 % of
    the face's width to 0.32 %, the inner lips' from 0.98 % to 0.87 %, and that of all landmarks rises by 0.02 %.
    """
    weights = np.ones(478)
    weights[list(OUTLINE)] = 0.3
    weights[list(OUTER_LIPS)] = 2.0
    weights[list(INNER_LIPS)] = 5.0
    weights[list(EYES)] = 6.0
    weights[468:] = 6.0
    return weights


def fit_portrait(
    points: Float[np.ndarray, "478 2"], head: HeadModel, *, width: int, height: int
) -> tuple[Identity, HeadState, Camera, FitReport]:
    """Fit identity, expression, head pose and camera to landmarks in pixels; then let the surface follow them exactly."""
    basis = landmark_basis(head)
    weights = landmark_weights()
    pose = initial_pose(basis, points, (width / 2, height / 2))
    pose = fit(basis, points, weights, pose, iterations=25, expression_ridge=expression_ridges(head.expression_names))
    pixels, _ = project(basis, pose)
    rmse = float(np.sqrt(np.mean((pixels - points)[:468] ** 2) * 2))
    shape = torch.from_numpy(pose.shape).float()
    plain = replace(head.neutral_identity(), shape=shape)
    state, camera = decompose([pose], head, plain, None, width, height)
    state = _with_same_lids(state, head, head.neutral_identity(), plain)
    identity = Identity(shape, _follow_landmarks(points - pixels, pose, head, shape, state))
    return identity, _with_same_lids(state, head, plain, identity), camera, report(pose, rmse, head)


def _with_same_lids(state: HeadState, head: HeadModel, one: Identity, other: Identity) -> HeadState:
    """Say where the lids of one person are in weights that bring those of another as far down."""
    return replace(state, expression=(state.expression * head.blink(one) / head.blink(other)).clamp_max(1))


def report(pose: Pose, rmse: float, head: HeadModel) -> FitReport:
    """Sum a fit up for people."""
    yaw, pitch, roll = view_angles(torch.from_numpy(pose.rotation).float())
    strongest = sorted(zip(head.expression_names, pose.expression.tolist(), strict=True), key=lambda pair: -pair[1])
    return FitReport(rmse, yaw, pitch, roll, tuple((name, round(value, 3)) for name, value in strongest[:6] if value > 0.05))


def decompose(
    poses: Sequence[Pose], head: HeadModel, identity: Identity, torso: Float[Tensor, "3 3"] | None, width: int, height: int
) -> tuple[HeadState, Camera]:
    """Split head poses into turns of neck and head above the shoulders, and cameras that look at the shoulders.

    `torso` is the shoulders' rotation in the cameras' axes; without one they face the camera but for a share of the
    first head's yaw. Neck and head bend by half of the turn each.
    """
    rotation = torch.from_numpy(np.stack([pose.rotation for pose in poses])).float()
    translation = torch.from_numpy(np.stack([pose.translation for pose in poses])).float()
    expression = torch.from_numpy(np.stack([pose.expression for pose in poses])).float()
    if torso is None:
        yaw = math.radians(view_angles(rotation[0])[0]) * TORSO_SHARE
        torso = FRONT @ axis_angle_to_matrix(torch.tensor([0.0, yaw, 0.0]))
    half = matrix_to_axis_angle(torso.T @ rotation) / 2
    count = len(poses)
    state = HeadState(expression, half, half, torch.zeros(count, 2, 3))
    # The camera stands where the bent head's landmarks land on those of the unbent head at the fitted pose. Both are
    # rigid under the head, so the expression does not matter.
    still = replace(state, expression=torch.zeros_like(expression))
    bent = head.landmarks(head.vertices(identity, still))
    unbent = head.landmarks(head.vertices(identity, head.rest_state()))
    viewmats = torch.eye(4).repeat(count, 1, 1)
    viewmats[:, :3, :3] = torso
    viewmats[:, :3, 3] = (unbent @ rotation.mT - bent @ torso.T).mean(1) + translation
    x, y = poses[0].centre
    intrinsics = torch.stack([torch.tensor([[pose.focal, 0, x], [0, pose.focal, y], [0, 0, 1.0]]) for pose in poses])
    return state, Camera(viewmats, intrinsics, width, height)


def compose(state: HeadState, camera: Camera, head: HeadModel, identity: Identity) -> Pose:
    """Join the first state and camera into one head pose: the inverse of `decompose`."""
    torso = camera.viewmats[0, :3, :3]
    rotation = torso @ axis_angle_to_matrix(state.neck[0]) @ axis_angle_to_matrix(state.head[0])
    still = replace(state[:1], expression=torch.zeros_like(state.expression[:1]))
    bent = head.landmarks(head.vertices(identity, still))[0]
    unbent = head.landmarks(head.vertices(identity, head.rest_state()))[0]
    translation = (bent @ torso.T + camera.viewmats[0, :3, 3] - unbent @ rotation.T).mean(0)
    intrinsics = camera.intrinsics[0]
    return Pose(
        identity.shape.double().numpy(), state.expression[0].double().numpy(), rotation.double().numpy(),
        translation.double().numpy(), intrinsics[0, 0].item(), (intrinsics[0, 2].item(), intrinsics[1, 2].item()),
    )  # fmt: skip


def _follow_landmarks(
    residual: Float[np.ndarray, "478 2"], pose: Pose, head: HeadModel, shape: Tensor, state: HeadState
) -> Float[Tensor, "V 3"]:
    """Move the resting surface smoothly, parallel to the picture, so that its landmarks fall where they were found.

    Thin-plate interpolation in space; anchors hold the back of the head, the neck and the bust in place. What sits
    inside the face keeps its form: each eye moves with the landmarks around it, teeth and tongue move and shrink together
    with the jaws around them.
    """
    start = Identity(shape, torch.zeros_like(head.neutral_identity().offsets))
    straight = HeadState(state.expression, torch.zeros(1, 3), torch.zeros(1, 3), state.eyes)
    vertices = head.vertices(start, straight)
    places = head.landmarks(vertices)[0].double().numpy()
    vertices = vertices[0].double().numpy()
    depth = places @ pose.rotation[2] + pose.translation[2]
    moves = np.concatenate([residual * (depth / pose.focal)[:, None], np.zeros((len(depth), 1))], 1) @ pose.rotation
    parts = np.array(PARTS)[head.surface.parts.numpy()]
    faces = head.surface.faces.numpy()
    # An outline landmark of a turned face lies on the silhouette, not on its own spot: trust it half.
    trusted = np.setdiff1d(np.arange(468), OUTLINE)
    held = np.unique(faces[np.isin(parts, ("neck", "bust"))])[::7]
    back = np.flatnonzero(vertices[:, 2] < places[:, 2].min() - 0.03)[::7]
    anchors = np.unique(np.concatenate([held, back]))
    known = np.concatenate([places[trusted], vertices[anchors]])
    values = np.concatenate([moves[trusted], np.zeros((len(anchors), 3))])
    spline = RBFInterpolator(known, values, kernel="thin_plate_spline", smoothing=2e-6)
    offsets = spline(vertices)
    eyes = np.unique(faces[parts == "eyes"])
    for eye in (eyes[vertices[eyes, 0] > 0], eyes[vertices[eyes, 0] <= 0]):
        if len(eye):
            near = np.linalg.norm(places[list(EYES)] - vertices[eye].mean(0), axis=1) < 0.045
            offsets[eye] = moves[list(EYES)][near].mean(0) if near.any() else 0
    mouth = np.unique(faces[np.isin(parts, ("teeth", "tongue"))])
    if len(mouth):
        offsets[mouth] = _alike(vertices[mouth], offsets[mouth])
    return torch.from_numpy(offsets).float()


def _alike(points: Float[np.ndarray, "P 3"], moves: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
    """Give the moves that are nearest to given ones but only shift and scale."""
    around, change = points - points.mean(0), moves - moves.mean(0)
    return moves.mean(0) + around * (around * change).sum() / (around**2).sum()


def raise_scalp(head: HeadModel, identity: Identity, state: HeadState, camera: Camera, alpha: Float[Tensor, "H W"]) -> Identity:
    """Swell the scalp until the head's outline meets the matte's: hair, a bun or a hat becomes part of the surface.

    Around the middle of the face, every direction of the picture has a ratio of the matte's radius to the mesh's.
    The scalp is scaled by it in the picture's plane, and the back of the head by its mean in depth; the skin next to
    the scalp follows less and less, and what lies below the ears not at all.
    """
    vertices = head.vertices(identity, state)[0]
    pixels = project_points(vertices[None], camera)[0]
    surface, parts = head.surface, np.array(PARTS)[head.surface.parts.numpy()]
    scalp = surface.faces[torch.from_numpy(parts == "scalp")].unique()
    skull = surface.faces[torch.from_numpy(np.isin(parts, ("scalp", "skin")))].unique()
    middle = head.landmarks(vertices[None])[0, [33, 263]].mean(0)
    centre = project_points(middle[None, None], camera)[0, 0]
    rim = _along_edges(pixels[:, :2], surface.faces[torch.from_numpy(np.isin(parts, ("scalp", "skin")))])
    ratio = _outline_ratio((rim - centre[:2]).numpy(), centre[:2].numpy(), alpha.numpy())

    away = (vertices - middle) @ camera.viewmats[0, :3, :3].T
    # As far back as the ears the head lies behind the eyes; depths are taken from there.
    from_axis = away - torch.tensor([0.0, 0.0, 0.09])
    grow = torch.from_numpy(ratio(np.arctan2(-away[:, 1].numpy(), away[:, 0].numpy()))).float()
    gap = torch.cdist(vertices, vertices[scalp]).min(1).values
    share = torch.exp(-((gap / 0.012) ** 2))
    share[~torch.isin(torch.arange(len(vertices)), skull)] = 0
    mean_growth = float(ratio(np.linspace(0.2, math.pi - 0.2, 40)).mean())
    backwards = from_axis[:, 2].clamp_min(0) * (mean_growth - 1)
    moved = torch.stack([away[:, 0] * (grow - 1), away[:, 1] * (grow - 1), backwards], -1)
    world = (moved * share[:, None]) @ camera.viewmats[0, :3, :3]
    turned = axis_angle_to_matrix(state.neck[0]) @ axis_angle_to_matrix(state.head[0])
    return Identity(identity.shape, identity.offsets + world @ turned)


def _along_edges(pixels: Float[Tensor, "V 2"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "P 2"]:
    """Give points along the edges of triangles: at the vertices alone, a coarse mesh seems smaller than it is."""
    corners = pixels[faces]
    along = torch.arange(5)[:, None, None, None] / 5
    return torch.lerp(corners, corners.roll(-1, dims=1), along).reshape(-1, 2)


def _outline_ratio(around: Float[np.ndarray, "P 2"], centre: Float[np.ndarray, "2"], alpha: Float[np.ndarray, "H W"]):
    """Give, as a function of the angle above the horizon, how much farther out the matte ends than the mesh does."""
    bins = 96
    angles = (np.arange(bins) + 0.5) / bins * 2 * np.pi - np.pi
    angle, radius = np.arctan2(-around[:, 1], around[:, 0]), np.linalg.norm(around, axis=1)
    inside = np.zeros(bins)
    np.maximum.at(inside, np.clip(((angle + np.pi) / (2 * np.pi) * bins).astype(int), 0, bins - 1), radius)
    steps = np.arange(sum(alpha.shape))
    x = (centre[0] + np.cos(angles)[:, None] * steps).astype(int)
    y = (centre[1] - np.sin(angles)[:, None] * steps).astype(int)
    valid = (x >= 0) & (x < alpha.shape[1]) & (y >= 0) & (y < alpha.shape[0])
    solid = np.where(valid, alpha[y.clip(0, alpha.shape[0] - 1), x.clip(0, alpha.shape[1] - 1)] > 0.5, False)
    # The first gap after the mesh's own outline ends the person; a gap before it is a hole in the matte.
    beyond = steps[None] > 0.7 * inside[:, None]
    outside = np.argmax(~solid & beyond, axis=1).astype(float)
    # Below the ears hair hangs free, and the scalp has nothing to do with it.
    share = np.clip(np.sin(angles) / 0.35 + 0.6, 0, 1)
    log_ratio = np.log(np.clip(outside / np.maximum(inside, 1), 0.85, 1.5)) * share
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    smooth = np.convolve(np.concatenate([log_ratio[-6:], log_ratio, log_ratio[:6]]), kernel / kernel.sum(), "valid")
    return lambda query: np.exp(np.interp(query, angles, smooth, period=2 * np.pi))
