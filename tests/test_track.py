"""Following a face: planted performances are found again, and real clips are followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zero1toa.head import load_head
from zero1toa.media import read_video
from zero1toa.portrait import track as tracking
from zero1toa.portrait.fit import compose, decompose
from zero1toa.portrait.landmark_fit import Pose, expression_basis, landmark_basis, project
from zero1toa.portrait.prepare import PortraitConfig, prepare_portrait
from zero1toa.types import MotionError


@pytest.fixture(scope="module")
def head():
    return load_head()


def turn(yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.diag([1.0, -1.0, -1.0]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def planted(basis, yaw: float, expression: np.ndarray) -> Pose:
    return Pose(np.zeros(0), expression, turn(yaw), np.array([0.01, 0.02, 0.8]), 900.0, (256.0, 256.0))


def test_a_planted_performance_is_found_again(head):
    basis = expression_basis(head, head.neutral_identity(), head.landmarks)
    jaw, blink = head.expression_names.index("jawOpen"), head.expression_names.index("eyeBlinkLeft")
    truth = []
    for step in np.linspace(0, 1, 8):
        expression = np.zeros(52)
        expression[jaw], expression[blink] = 0.7 * step, 0.9 * step
        truth.append(planted(basis, 0.3 * step, expression))
    points = [project(basis, pose)[0] for pose in truth]
    follower = tracking.Follower(basis, truth[0])
    found = [follower.next(seen) for seen in points]
    assert abs(found[-1].expression[jaw] - 0.7) < 0.15
    assert found[-1].expression[blink] > 0.6
    turned = np.degrees(np.arccos((np.trace(found[-1].rotation.T @ truth[-1].rotation) - 1) / 2))
    assert turned < 1.0
    errors = [np.linalg.norm(project(basis, a)[0] - b, axis=1).mean() for a, b in zip(found, points, strict=True)]
    assert max(errors) < 1.0


def test_brows_can_rise_as_high_as_brows_do(head):
    basis = expression_basis(head, head.neutral_identity(), head.landmarks)
    still, raised = planted(basis, 0.0, np.zeros(52)), np.zeros(52)
    raised[head.expression_names.index("browInnerUp")] = 2.4
    points = project(basis, planted(basis, 0.0, raised))[0]
    follower = tracking.Follower(basis, still)
    for _ in range(3):
        found = follower.next(points)
    assert found.expression[head.expression_names.index("browInnerUp")] > 1.9
    assert np.linalg.norm(project(basis, found)[0] - points, axis=1).max() < 1.0


def test_frames_without_a_face_hold_the_pose_before(head, astronaut):
    portrait = prepare_portrait(astronaut, head, config=PortraitConfig(size=256))
    moved, empty = np.roll(astronaut, 12, axis=1), np.zeros_like(astronaut)
    motion = tracking.track([astronaut, moved, empty], 25.0, portrait, head)
    assert motion.found == (True, True, False)
    assert torch.equal(motion.cameras.viewmats[2], motion.cameras.viewmats[1])
    assert torch.equal(motion.states.expression[2], motion.states.expression[1])
    assert not torch.allclose(motion.cameras.viewmats[1], motion.cameras.viewmats[0], atol=1e-4)


def test_composing_undoes_decomposing(head):
    basis = landmark_basis(head)
    pose = replace(planted(basis, 0.4, np.zeros(52)), shape=np.zeros(len(basis.shape)))
    identity = head.neutral_identity()
    state, camera = decompose([pose], head, identity, None, 512, 512)
    again = compose(state, camera, head, identity)
    assert np.allclose(again.rotation, pose.rotation, atol=1e-4)
    assert np.allclose(again.translation, pose.translation, atol=1e-3)


def test_a_clip_without_faces_is_refused(head, astronaut):
    portrait = prepare_portrait(astronaut, head, config=PortraitConfig(size=256))
    with pytest.raises(MotionError, match="no face was found"):
        tracking.track([np.zeros((96, 96, 3), np.uint8)] * 2, 25.0, portrait, head)


def test_a_real_clip_is_followed_closely(head, shared_data):
    video = read_video(shared_data / "driving" / "d19.mp4", max_frames=12)
    portrait = prepare_portrait(video.frames[0], head, config=PortraitConfig())
    motion = tracking.track(video.frames, video.fps, portrait, head)
    assert all(motion.found)
    assert torch.isfinite(motion.states.expression).all()
    vertices = head.vertices(portrait.identity, motion.states)
    from zero1toa.geometry.camera import project as project_points

    seen = project_points(head.landmarks(vertices), motion.cameras)[..., :2]
    x0, y0, scale = portrait.crop
    first = portrait.points / scale + torch.tensor([x0, y0])
    # The first frame is the portrait itself, so that the mesh lies where its landmarks were found.
    assert (seen[0] - first).norm(dim=-1).median() < 0.01 * float(first[:, 0].max() - first[:, 0].min())
