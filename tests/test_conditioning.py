from itertools import pairwise

import pytest
import torch

from zero1toa.priors.conditioning import LEFT_EYE, OVAL, RIGHT_EYE, STROKES, draw_landmarks


def edges(*colors: tuple[int, int, int]) -> set[frozenset[int]]:
    return {frozenset(pair) for color, landmarks in STROKES if color in colors for pair in pairwise(landmarks)}


def test_there_are_as_many_lines_as_in_the_original():
    assert len(edges(OVAL)) == 26
    assert len(edges(RIGHT_EYE)) == len(edges(LEFT_EYE)) == 16
    lips = {color for color, _ in STROKES[11:]}
    assert len(lips) == 8
    assert len(edges(*lips)) == 40


def test_the_tables_are_mediapipes():
    connections = pytest.importorskip("mediapipe.python.solutions.face_mesh_connections")
    as_sets = lambda pairs: {frozenset(pair) for pair in pairs}
    assert edges(RIGHT_EYE) == as_sets(connections.FACEMESH_RIGHT_EYE)
    assert edges(LEFT_EYE) == as_sets(connections.FACEMESH_LEFT_EYE)
    assert edges(*(color for color, _ in STROKES[11:])) == as_sets(connections.FACEMESH_LIPS)
    assert edges(OVAL) < as_sets(connections.FACEMESH_FACE_OVAL)


def spread() -> torch.Tensor:
    """All landmarks on one spot outside, a metre away."""
    return torch.tensor([-50.0, -50.0, 1.0]).repeat(1, 478, 1)


def test_a_line_has_its_colour_and_thickness():
    points = spread()
    points[0, 33], points[0, 7] = torch.tensor([100.0, 256.0, 1.0]), torch.tensor([400.0, 256.0, 1.0])
    drawn = draw_landmarks(points, 512, 512)
    assert drawn.shape == (1, 512, 512, 3)
    lit = drawn[0].sum(-1) > 0
    assert 2 <= int(lit[:, 250].sum()) <= 3
    assert int(lit.any(0).sum()) == pytest.approx(301, abs=4)
    torch.testing.assert_close(drawn[0, 256, 250], torch.tensor(RIGHT_EYE) / 255)


def test_lines_that_leave_the_picture_or_lie_behind_are_left_out():
    points = spread()
    points[0, 33] = torch.tensor([10.0, 10.0, 1.0])
    points[0, 7] = torch.tensor([70.0, 10.0, 1.0])
    assert not draw_landmarks(points, 64, 64).any()
    points[0, 7] = torch.tensor([50.0, 10.0, -1.0])
    assert not draw_landmarks(points, 64, 64).any()
    points[0, 7] = torch.tensor([float("nan"), 10.0, 1.0])
    assert not draw_landmarks(points, 64, 64).any()
    points[0, 7] = torch.tensor([64.0, 64.0, 1.0])
    assert bool(draw_landmarks(points, 64, 64).any())
