"""Following a face by its looks: on a drawn face whose pose is known, with landmarks that are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zero1toa.head import load_head
from zero1toa.portrait.appearance import Appearance, Look, _camera
from zero1toa.portrait.landmark_fit import ROBUST, Pose, expression_basis, project
from zero1toa.portrait.track import Follower
from zero1toa.render.mesh import rasterize_mesh

SIZE = 320


@pytest.fixture(scope="module")
def head():
    return load_head()


def pose(head, yaw: float = 0.0, **expression: float) -> Pose:
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.diag([1.0, -1.0, -1.0]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    weights = np.array([expression.get(name, 0.0) for name in head.expression_names])
    middle = head.landmarks(head.template[None])[0].mean(0).double().numpy()
    return Pose(np.zeros(0), weights, rotation, np.array([0.0, 0.0, 0.8]) - rotation @ middle, 900.0, (SIZE / 2, SIZE / 2))


def draw(head, at: Pose) -> np.ndarray:
    """Paint a face with colours that stay where they are on it: waves as wide as a nose and as narrow as a brow."""
    expression = torch.from_numpy(at.expression).float()[None]
    vertices = head.vertices(head.neutral_identity(), replace(head.rest_state(), expression=expression))
    fragments = rasterize_mesh(vertices, head.surface.faces, _camera(at, SIZE, SIZE))
    face = fragments.face[0].long()
    corners = head.template[head.surface.faces[face.clamp_min(0)]]
    place = (corners * fragments.barycentric[0][..., None]).sum(-2)
    waves = [torch.sin(place @ torch.tensor(way)) for way in ((260.0, 90.0, 40.0), (-80.0, 310.0, 60.0), (190.0, -230.0, 10.0))]
    color = 0.5 + 0.25 * torch.stack(waves, -1)
    return (torch.where((face >= 0)[..., None], color, torch.tensor(0.2)) * 255).byte().numpy()


@pytest.fixture(scope="module")
def known(head) -> Appearance:
    """Give the looks of that face, straight and still."""
    found = Appearance.of(head, head.neutral_identity(), pose(head), draw(head, pose(head)), width=150.0)
    assert found is not None
    return found


def test_a_face_is_followed_closer_by_its_looks_than_by_wrong_landmarks(head, known):
    truth = pose(head, yaw=0.12, jawOpen=0.35, mouthSmileLeft=0.4, mouthSmileRight=0.2)
    basis = expression_basis(head, head.neutral_identity(), head.landmarks)
    rng = np.random.default_rng(3)
    landmarks = project(basis, truth)[0] + rng.normal(0, 2.0, (478, 2)) + [1.5, -1.0]
    frame = draw(head, truth)
    wanted = project(known.basis, truth)[0]
    off = []
    for looks in (None, known):
        found = Follower(basis, pose(head)).next(landmarks, frame, looks)
        off.append(np.linalg.norm(project(known.basis, found)[0] - wanted, axis=1).mean())
    assert off[0] > 1.0
    assert off[1] < 0.35 * off[0]


def test_the_frame_that_is_known_moves_nothing(head, known):
    still = pose(head)
    basis = expression_basis(head, head.neutral_identity(), head.landmarks)
    found = Follower(basis, still).next(project(basis, still)[0], draw(head, still), known)
    assert np.abs(found.translation - still.translation).max() < 1e-4
    assert np.abs(found.expression).max() < 0.02


def test_light_that_changes_slowly_is_not_taken_for_motion(head, known):
    still = pose(head)
    basis = expression_basis(head, head.neutral_identity(), head.landmarks)
    lit = np.clip(draw(head, still) + np.linspace(-30, 30, SIZE)[None, :, None], 0, 255).astype(np.uint8)
    found = Follower(basis, still).next(project(basis, still)[0], lit, known)
    moved = np.linalg.norm(project(known.basis, found)[0] - project(known.basis, still)[0], axis=1).mean()
    assert moved < 0.15


def test_the_pull_is_downhill_by_finite_differences(head, known):
    truth, guess = pose(head, yaw=0.03), pose(head)
    # Points that are grazed count less; those seen head-on all count alike.
    _, seen = project(known.basis, guess)
    facing = -(known.normals @ guess.rotation.T * seen).sum(1) / np.linalg.norm(seen, axis=1) > 0.5
    basis = replace(known.basis, mean=known.basis.mean[facing], shape=known.basis.shape[:, facing],
                    expression=known.basis.expression[:, facing])  # fmt: skip
    known = replace(known, basis=basis, normals=known.normals[facing], colors=known.colors[facing])
    pull = known.evidence(draw(head, truth), guess)
    look = Look.at(draw(head, truth), project(known.basis, guess)[0].mean(0), known.scale * guess.focal / 0.8)

    def cost(at: Pose) -> float:
        pixels, _ = project(known.basis, at)
        square = (((known.colors - look.sample(look.bands, pixels)) / 0.05) ** 2).sum(1)
        return float((square / (1 + square / ROBUST**2)).sum() / 2)

    _, gradient = pull(guess)
    step = 2e-4
    for axis in range(2):
        move = np.eye(3)[axis] * step
        ahead, behind = (replace(guess, translation=guess.translation + sign * move) for sign in (1, -1))
        numeric = (cost(ahead) - cost(behind)) / (2 * step)
        assert -numeric * 400 / len(known.colors) == pytest.approx(gradient[len(gradient) - 3 + axis], rel=0.1)


def test_faces_at_the_rim_of_a_frame_are_looked_at_as_far_as_they_are_there():
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for middle in ([0.0, 0.0], [79.0, 59.0], [200.0, -50.0]):
        look = Look.at(frame, np.array(middle), 0.5)
        assert np.isfinite(look.sample(look.bands, np.array([[-5.0, 3.0], [40.0, 30.0]]))).all()
