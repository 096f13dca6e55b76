"""Plant the answer, then find it: landmarks of a known face through a known camera give that face and camera back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from zero1toa.geometry.camera import FRONT, orbit_camera, view_angles
from zero1toa.geometry.camera import project as project_points
from zero1toa.geometry.rotation import axis_angle_to_matrix
from zero1toa.head import load_head
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.portrait import landmark_fit
from zero1toa.portrait.fit import decompose, fit_portrait, landmark_weights, raise_scalp
from zero1toa.portrait.prepare import judge_turn
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import PARTS, Camera, FitReport, HeadState, Identity, PortraitError

SIZE = 512
PLANTED = {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.6, "jawOpen": 0.5, "eyeBlinkLeft": 0.8, "browInnerUp": 0.7}


@pytest.fixture(scope="module")
def head():
    return load_head()


def somebody(head, seed: int, size: float = 0.25) -> Identity:
    neutral = head.neutral_identity()
    return replace(neutral, shape=torch.randn(neutral.shape.shape, generator=torch.Generator().manual_seed(seed)) * size)


def doing(head, frames: int = 1, **weights: float) -> HeadState:
    row = torch.tensor([[weights.get(name, 0.0) for name in ARKIT_NAMES]]).repeat(frames, 1)
    return replace(head.rest_state(frames), expression=row)


def see(head, identity, state, camera) -> np.ndarray:
    points = head.landmarks(head.vertices(identity, state))
    return project_points(points, camera)[0, :, :2].double().numpy()


def looking(yaw: float, pitch: float, roll: float = 0.0, distance: float = 0.8) -> Camera:
    camera = orbit_camera(
        torch.tensor([float(yaw)]), torch.tensor([float(pitch)]), target=torch.tensor([0.0, -0.02, 0.0]),
        distance=distance, focal=1500 * distance, width=SIZE, height=SIZE,
    )  # fmt: skip
    rolled = camera.viewmats.clone()
    rolled[:, :3] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.radians(roll)])) @ camera.viewmats[:, :3]
    return replace(camera, viewmats=rolled)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (25, -8, 6), (-38, 10, -12)])
def test_planted_face_is_found(head, yaw, pitch, roll):
    camera = looking(yaw, pitch, roll)
    points = see(head, somebody(head, seed=3, size=0.1), doing(head, **PLANTED), camera)
    identity, state, found, report = fit_portrait(points, head, width=SIZE, height=SIZE)
    assert report.rmse_px < 0.5
    truth = view_angles(camera.viewmats[0, :3, :3])
    assert (report.yaw, report.pitch, report.roll) == pytest.approx(truth, abs=1.0)
    # Whoever looks from the subject's left sees the face turned to its own right.
    assert math.copysign(1, report.yaw) == -math.copysign(1, yaw) or yaw == 0
    weights = dict(zip(ARKIT_NAMES, state.expression[0].tolist(), strict=True))
    for name, value in PLANTED.items():
        assert weights[name] == pytest.approx(value, abs=0.3), name
    for name in ("eyeBlinkRight", "mouthPucker", "jawLeft", "mouthFrownLeft"):
        assert weights[name] < 0.25, name
    assert {name for name, _ in report.expressions} >= {"eyeBlinkLeft", "jawOpen"}
    # The surface follows what the shape could not say.
    landed = see(head, identity, state, found)
    assert np.median(np.linalg.norm(landed - points, axis=1)) < 0.5


def test_neutral_face_is_found_neutral(head):
    points = see(head, head.neutral_identity(), head.rest_state(), looking(0, 0))
    identity, state, _, report = fit_portrait(points, head, width=SIZE, height=SIZE)
    assert report.rmse_px < 0.1
    assert state.expression.max() < 0.1
    assert identity.shape.abs().max() < 0.15
    assert identity.offsets.norm(dim=-1).max() < 1e-3


def test_answer_scales_with_the_picture(head):
    points = see(head, somebody(head, 3), doing(head, jawOpen=0.4), looking(15, 0))
    small = fit_portrait(points, head, width=SIZE, height=SIZE)
    large = fit_portrait(points * 2 + 0.0, head, width=2 * SIZE, height=2 * SIZE)
    torch.testing.assert_close(small[1].expression, large[1].expression, atol=0.01, rtol=0)
    assert large[3].yaw == pytest.approx(small[3].yaw, abs=0.05)
    assert large[2].intrinsics[0, 0, 0] == pytest.approx(2 * small[2].intrinsics[0, 0, 0].item(), rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_unusual_face_is_found_nearly(head, seed):
    # A wide cheek and a turn away from it look much alike, so the yaw of an unusual face comes out too small.
    camera = looking(-20, 5)
    points = see(head, somebody(head, seed), doing(head, **PLANTED), camera)
    report = fit_portrait(points, head, width=SIZE, height=SIZE)[3]
    assert report.rmse_px < 0.5
    assert (report.yaw, report.pitch, report.roll) == pytest.approx(view_angles(camera.viewmats[0, :3, :3]), abs=3.0)


@pytest.mark.parametrize("seed", range(3))
def test_smile_that_no_model_has_is_still_a_smile(head, seed):
    smile = doing(head, mouthSmileLeft=0.7, mouthSmileRight=0.7, mouthUpperUpLeft=0.5, mouthUpperUpRight=0.5, jawOpen=0.15)
    points = see(head, somebody(head, seed, size=0.05), smile, looking(5, 0))
    # Real corners go farther apart and up.
    from_middle = points - points[[61, 291]].mean(0)
    half = np.abs(from_middle[61, 0])
    near = np.exp(-((from_middle / half) ** 2).sum(1) / 2)
    points = points + near[:, None] * np.stack([0.12 * from_middle[:, 0], -0.06 * np.abs(from_middle[:, 0])], 1)
    identity, state, _, _ = fit_portrait(points, head, width=SIZE, height=SIZE)
    weights = dict(zip(ARKIT_NAMES, state.expression[0].tolist(), strict=True))
    assert min(weights["mouthSmileLeft"], weights["mouthSmileRight"]) > 0.6
    for name in ("mouthDimpleLeft", "mouthPressLeft", "mouthLeft", "mouthRight", "mouthShrugUpper", "mouthFrownLeft"):
        assert weights[name] < 0.15, name
    at_rest = head.landmarks(head.vertices(identity, head.rest_state()))[0]
    assert (at_rest[13] - at_rest[14]).norm() < 0.002, "a face at rest keeps its mouth shut"


@pytest.mark.parametrize("height", [0.6, 1.0, 1.3])
def test_eyes_of_every_height_shut_by_a_blink_of_one(head, height):
    lids = {True: (160, 159, 158, 385, 386, 387), False: (144, 145, 153, 380, 374, 373)}
    gap = lambda vertices: np.subtract(*(head.landmarks(vertices)[0, list(lids[upper]), 1].numpy() for upper in (True, False)))
    average = head.vertices(head.neutral_identity(), head.rest_state())
    offsets = torch.zeros_like(head.template)
    around = head.surface.faces[head.surface.parts == PARTS.index("eyelids")].unique()
    offsets[around, 1] = (height - 1) * (head.template[around, 1] - average[0, around, 1].mean())
    person = replace(head.neutral_identity(), offsets=offsets)
    opened = gap(head.vertices(person, head.rest_state()))
    shut = gap(head.vertices(person, doing(head, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)))
    assert (abs(shut) < 0.25 * opened).all()
    assert (shut < 1e-5).all(), "no slit is left"


def test_lids_stay_where_the_photo_has_them(head):
    points = see(head, somebody(head, 4, size=0.1), doing(head, eyeBlinkLeft=0.5, eyeBlinkRight=0.9), looking(0, 0))
    identity, state, camera, _ = fit_portrait(points, head, width=SIZE, height=SIZE)
    lids = [159, 145, 386, 374]
    np.testing.assert_allclose(see(head, identity, state, camera)[lids], points[lids], atol=0.7)


def test_outliers_are_argued_away(head):
    camera = looking(10, 5)
    points = see(head, somebody(head, 5, size=0.1), doing(head, **PLANTED), camera)
    spoiled = points.copy()
    rows = np.random.default_rng(0).choice(468, 30, replace=False)
    spoiled[rows] += np.random.default_rng(1).normal(size=(30, 2)) * 40
    report = fit_portrait(spoiled, head, width=SIZE, height=SIZE)[3]
    assert (report.yaw, report.pitch, report.roll) == pytest.approx(view_angles(camera.viewmats[0, :3, :3]), abs=1.0)


def test_parameters_stay_in_bounds(head):
    points = see(head, head.neutral_identity(), doing(head, jawOpen=1.0, mouthSmileLeft=1.0), looking(0, 0))
    # A grimace beyond what the head can do.
    points[152] += [0, 60]
    points[17] += [0, 40]
    points[291] += [40, -30]
    basis = landmark_fit.landmark_basis(head)
    pose = landmark_fit.initial_pose(basis, points, (SIZE / 2, SIZE / 2))
    pose = landmark_fit.fit(basis, points, landmark_weights(), pose, iterations=25, expression_ridge=0.5)
    assert pose.expression.min() >= 0
    assert pose.expression.max() <= 1
    assert np.abs(pose.shape).max() <= 2
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-9)


def test_fit_of_one_person_leaves_the_shape_alone(head):
    person = somebody(head, 7)
    camera = looking(12, -4)
    points = see(head, person, doing(head, **PLANTED), camera)
    basis = landmark_fit.landmark_basis(head, person)
    basis = basis.frozen(np.zeros(len(person.shape)), np.zeros_like(basis.mean))
    pose = landmark_fit.initial_pose(basis, points, (SIZE / 2, SIZE / 2))
    pose = landmark_fit.fit(basis, points, landmark_weights(), pose, iterations=20, expression_ridge=3.0)
    assert pose.shape.shape == (0,)
    weights = dict(zip(ARKIT_NAMES, pose.expression, strict=True))
    for name, value in PLANTED.items():
        assert weights[name] == pytest.approx(value, abs=0.15), name
    pixels, seen = landmark_fit.project(basis, pose)
    assert np.sqrt(((pixels - points) ** 2).sum(1).mean()) < 0.3
    assert (seen[:, 2] > 0).all()


def test_basis_is_the_head(head):
    basis = landmark_fit.landmark_basis(head)
    person, weights = somebody(head, 9), doing(head, jawOpen=0.5, mouthPucker=0.5)
    expected = head.landmarks(head.vertices(person, weights))[0].double().numpy()
    linear = basis.mean + np.tensordot(person.shape.double().numpy(), basis.shape, 1)
    linear += np.tensordot(weights.expression[0].double().numpy(), basis.expression, 1)
    np.testing.assert_allclose(linear, expected, atol=1e-5)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, 0.6, -0.1), (-0.3, -0.9, 0.25)])
def test_decompose_keeps_landmarks_where_they_were(head, turn):
    rotation = (FRONT @ axis_angle_to_matrix(torch.tensor(turn))).double().numpy()
    person = somebody(head, 11)
    expression = np.zeros(52)
    expression[ARKIT_NAMES.index("jawOpen")] = 0.6
    pose = landmark_fit.Pose(
        person.shape.double().numpy(), expression, rotation, np.array([0.02, -0.01, 0.7]), 1100.0, (250.0, 260.0)
    )
    before = landmark_fit.project(landmark_fit.landmark_basis(head), pose)[0]
    state, camera = decompose([pose], head, person, None, SIZE, SIZE)
    np.testing.assert_allclose(see(head, person, state, camera), before, atol=0.5)
    torch.testing.assert_close(state.neck, state.head)
    # The shoulders turn along by half of the yaw, and by nothing else.
    yaw, pitch, roll = view_angles(camera.viewmats[0, :3, :3])
    whole = view_angles(torch.from_numpy(rotation).float())[0]
    assert (yaw, pitch, roll) == pytest.approx((whole / 2, 0, 0), abs=1e-3)


# ------------------------------------------------------------------------------------------------------- the scalp


def matte_of(head, identity, state, camera) -> torch.Tensor:
    fragments = rasterize_mesh(head.vertices(identity, state), head.surface.faces, camera)
    return (fragments.face[0] >= 0).float()


def outline_top(alpha: torch.Tensor) -> float:
    return float(torch.nonzero(alpha.amax(1) > 0.5)[0])


@pytest.mark.parametrize("yaw", [0, 20])
def test_scalp_rises_to_a_planted_matte(head, yaw):
    camera, state, person = looking(yaw, 0), head.rest_state(), head.neutral_identity()
    scalp = head.surface.faces[head.surface.parts == PARTS.index("scalp")].unique()
    hair = torch.zeros_like(head.template)
    away = head.template[scalp] - head.template.new_tensor([0.0, 0.0, -0.09])
    hair[scalp] = away * 0.18
    matte = matte_of(head, replace(person, offsets=hair), state, camera)
    bald = matte_of(head, person, state, camera)
    raised = matte_of(head, raise_scalp(head, person, state, camera, matte), state, camera)
    assert outline_top(bald) - outline_top(matte) > 15, "the planted hair stands out"
    assert outline_top(raised) == pytest.approx(outline_top(matte), abs=6)
    missed = ((matte > 0.5) & (raised < 0.5)).sum()
    assert missed < 0.4 * ((matte > 0.5) & (bald < 0.5)).sum()


def test_scalp_rests_where_the_matte_is_the_head(head):
    camera, state, person = looking(0, 0), head.rest_state(), head.neutral_identity()
    raised = raise_scalp(head, person, state, camera, matte_of(head, person, state, camera))
    assert raised.offsets.norm(dim=-1).max() < 0.002
    face = head.landmarks(head.vertices(raised, state)) - head.landmarks(head.template[None])
    assert face[0, :468].norm(dim=-1).median() < 1e-3


@pytest.mark.parametrize("yaw", [-75.0, 61.0])
def test_a_profile_is_refused_with_a_sentence(yaw):
    with pytest.raises(PortraitError, match=r"turned away by \d+ degrees: use a photo"):
        judge_turn(FitReport(1.0, yaw, 0.0, 0.0, ()))


@pytest.mark.parametrize(("yaw", "notes"), [(-50.0, 1), (46.0, 1), (30.0, 0), (0.0, 0)])
def test_a_face_turned_far_gets_a_note(yaw, notes):
    assert len(judge_turn(FitReport(1.0, yaw, 0.0, 0.0, ()))) == notes
