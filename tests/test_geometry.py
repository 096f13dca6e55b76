"""Rotations, cameras and triangle frames, against what their docstrings say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from zero1toa.geometry.camera import FRONT, center, orbit_about, orbit_camera, project, resize, unproject, view_angles
from zero1toa.geometry.mesh import face_areas, face_frames, face_normals, on_surface, vertex_normals
from zero1toa.geometry.rotation import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
)
from zero1toa.types import Camera

TARGET = torch.tensor([0.01, -0.02, -0.03], dtype=torch.double)


def some_vectors(angle: float, count: int = 200) -> torch.Tensor:
    axes = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    return axes / axes.norm(dim=-1, keepdim=True) * angle


def orbit(yaw: float, pitch: float, **changes) -> Camera:
    options = {"target": TARGET, "distance": 0.8, "focal": 900.0, "width": 400, "height": 300} | changes
    return orbit_camera(torch.tensor([yaw], dtype=torch.double), torch.tensor([pitch], dtype=torch.double), **options)


# ------------------------------------------------------------------------------------------------------- rotations


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-6, 1e-3, 0.5, 2.0, 3.0, math.pi - 1e-3, math.pi - 1e-6])
def test_axis_angle_round_trip(angle):
    vectors = some_vectors(angle)
    matrices = axis_angle_to_matrix(vectors)
    np.testing.assert_allclose(matrices.numpy(), Rotation.from_rotvec(vectors.numpy()).as_matrix(), atol=3e-8)
    torch.testing.assert_close(matrix_to_axis_angle(matrices), vectors, atol=1e-7, rtol=0)


def test_half_turns_come_back_up_to_their_sign():
    vectors = some_vectors(math.pi)
    back = matrix_to_axis_angle(axis_angle_to_matrix(vectors))
    gap = torch.minimum((back - vectors).norm(dim=-1), (back + vectors).norm(dim=-1))
    assert gap.max() < 1e-6


def test_half_turns_in_single_precision():
    vectors = torch.eye(3) * math.pi
    back = matrix_to_axis_angle(axis_angle_to_matrix(vectors))
    torch.testing.assert_close(back.abs(), vectors, atol=1e-3, rtol=0)


def test_gradient_at_rest_is_the_cross_product():
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, torch.zeros(3, dtype=torch.double))
    expected = torch.zeros(3, 3, 3, dtype=torch.double)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        expected[j, k, i], expected[k, j, i] = -1, 1
    torch.testing.assert_close(jacobian, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("angle", [1e-4, 1.0, 3.0])
def test_gradients_of_rotations(angle):
    vectors = some_vectors(angle, 3).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vectors)
    matrices = axis_angle_to_matrix(vectors.detach()).requires_grad_()
    assert torch.autograd.gradcheck(matrix_to_quaternion, matrices)


@pytest.mark.parametrize("angle", [0.0, 0.3, 2.0, math.pi - 1e-4, math.pi])
def test_quaternion_round_trip(angle):
    matrices = axis_angle_to_matrix(some_vectors(angle))
    quats = matrix_to_quaternion(matrices)
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones(200, dtype=torch.double))
    torch.testing.assert_close(quaternion_to_matrix(quats), matrices, atol=1e-7, rtol=0)
    torch.testing.assert_close(quaternion_to_matrix(-3 * quats), matrices, atol=1e-7, rtol=0)


def test_quaternions_compose_like_matrices():
    a, b = axis_angle_to_matrix(some_vectors(1.2)), axis_angle_to_matrix(some_vectors(2.5).flip(0))
    product = quaternion_multiply(matrix_to_quaternion(a), matrix_to_quaternion(b))
    torch.testing.assert_close(quaternion_to_matrix(product), a @ b, atol=1e-10, rtol=0)
    mine = matrix_to_quaternion(a).numpy()
    theirs = Rotation.from_matrix(a.numpy()).as_quat()[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(np.abs((mine * theirs).sum(1)), 1, atol=1e-12)


# --------------------------------------------------------------------------------------------------------- cameras


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (30, 0), (-75, 20), (180, -40)])
def test_unproject_inverts_project(yaw, pitch):
    camera = orbit(yaw, pitch)
    points = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double) * 0.1
    seen = project(points, camera)
    torch.testing.assert_close(unproject(seen, camera), points, atol=1e-12, rtol=0)
    assert (seen[..., 2] > 0).all()


def test_project_is_the_page_of_conventions():
    camera = orbit(20, 10)
    point = torch.tensor([0.03, 0.05, 0.02], dtype=torch.double)
    x, y, z = (camera.viewmats[0] @ torch.cat([point, torch.ones(1, dtype=torch.double)]))[:3]
    (fx, _, cx), (_, fy, cy) = camera.intrinsics[0, :2]
    expected = torch.stack([fx * x / z + cx, fy * y / z + cy, z])
    torch.testing.assert_close(project(point.expand(1, 1, 3), camera)[0, 0], expected)


def test_orbit_looks_at_its_target_from_its_distance():
    camera = orbit(33, -12)
    torch.testing.assert_close(project(TARGET.expand(1, 1, 3), camera)[0, 0], TARGET.new_tensor([200.0, 150.0, 0.8]))
    torch.testing.assert_close((center(camera)[0] - TARGET).norm(), TARGET.new_tensor(0.8))
    assert torch.linalg.det(camera.viewmats[0, :3, :3]) == pytest.approx(1)


def test_front_view_has_the_subjects_left_on_the_right_and_up_on_top():
    points = TARGET + torch.tensor([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], dtype=torch.double)
    middle, left, top, nose = project(points[None], orbit(0, 0))[0]
    assert left[0] > middle[0]
    assert left[1] == pytest.approx(middle[1].item())
    assert top[1] < middle[1]
    assert nose[2] < middle[2]


def test_yaw_goes_to_the_subjects_left_and_pitch_up():
    assert center(orbit(30, 0))[0, 0] > TARGET[0] + 0.3
    assert center(orbit(0, 30))[0, 1] > TARGET[1] + 0.3
    torch.testing.assert_close(center(orbit(90, 0))[0], TARGET + TARGET.new_tensor([0.8, 0, 0]))
    cheek, other = TARGET.new_tensor([[0.07, 0, 0], [-0.07, 0, 0]]) + TARGET
    seen = project(torch.stack([cheek, other])[None], orbit(30, 0))[0]
    assert seen[0, 2] < seen[1, 2], "the left cheek is nearer"
    up = project(torch.stack([TARGET, TARGET + TARGET.new_tensor([0, 0.1, 0])])[None], orbit(50, 35))[0]
    assert up[0, 0] == pytest.approx(up[1, 0].item()), "the camera stays upright"


@pytest.mark.parametrize(("yaw", "pitch"), [(25.0, 0.0), (0.0, 15.0), (-40.0, -10.0)])
def test_orbit_about_is_the_orbit(yaw, pitch):
    moved = orbit_about(
        orbit(0, 0), torch.tensor([yaw], dtype=torch.double), torch.tensor([pitch], dtype=torch.double), target=TARGET
    )
    torch.testing.assert_close(moved.viewmats, orbit(yaw, pitch).viewmats, atol=1e-12, rtol=0)


def test_orbit_about_keeps_the_target_in_its_place():
    start, aside = orbit(10, 5), TARGET + TARGET.new_tensor([0.05, -0.04, 0.02])
    angles = torch.tensor([-60.0, 0.0, 45.0], dtype=torch.double)
    moved = orbit_about(start, angles, angles / 3, target=aside)
    assert len(moved) == 3
    before = project(aside.expand(1, 1, 3), start)
    torch.testing.assert_close(project(aside.expand(3, 1, 3), moved), before.expand(3, 1, 3), atol=1e-9, rtol=0)
    torch.testing.assert_close(moved.viewmats[1], start.viewmats[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("angle", [-50.0, -20.0, 0.0, 35.0])
def test_view_angles_say_how_the_face_is_turned(angle):
    turn = math.radians(angle)

    def angles(*vector: float) -> tuple[float, float, float]:
        return view_angles(FRONT @ axis_angle_to_matrix(torch.tensor(vector)))

    assert angles(0, turn, 0) == pytest.approx((angle, 0, 0), abs=1e-3)
    # A turn about +x lowers the nose, and one about +z raises the left ear.
    assert angles(turn, 0, 0) == pytest.approx((0, -angle, 0), abs=1e-3)
    yaw, pitch, roll = angles(0, 0, turn)
    assert (yaw, pitch, abs(roll)) == pytest.approx((0, 0, abs(angle)), abs=1e-3)
    assert view_angles(orbit(angle, 0).viewmats[0, :3, :3])[0] == pytest.approx(-angle, abs=1e-3)


def test_roll_is_positive_when_the_head_leans_to_its_own_left():
    leaning = axis_angle_to_matrix(torch.tensor([0.0, 0.0, -0.3]))
    assert (leaning @ torch.tensor([0.0, 1.0, 0.0]))[0] > 0, "the crown is on the subject's left"
    assert view_angles(FRONT @ leaning)[2] > 0


def test_resize_sees_the_same():
    camera = orbit(12, 3)
    half = resize(camera, 0.5)
    assert (half.width, half.height) == (200, 150)
    points = torch.rand(1, 9, 3, dtype=torch.double) * 0.1
    torch.testing.assert_close(project(points, half)[..., :2], project(points, camera)[..., :2] / 2)


def test_cameras_are_cut_like_batches():
    camera = orbit_camera(
        torch.tensor([0.0, 10, 20]), torch.zeros(3), target=torch.zeros(3), distance=1.0, focal=500.0, width=8, height=8
    )
    assert len(camera) == 3
    torch.testing.assert_close(camera[1:].viewmats, camera.viewmats[1:])


# ---------------------------------------------------------------------------------------------------------- meshes


def ball(rings: int = 16, radius: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a sphere whose triangles are counter-clockwise seen from outside."""
    from scipy.spatial import ConvexHull

    index = np.arange(rings * rings) + 0.5
    polar, azimuth = np.arccos(1 - 2 * index / len(index)), np.pi * (1 + 5**0.5) * index
    points = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], 1) * radius
    faces = ConvexHull(points).simplices
    a, b, c = points[faces].transpose(1, 0, 2)
    inwards = (np.cross(b - a, c - a) * a).sum(1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return torch.from_numpy(points), torch.from_numpy(faces.astype(np.int64))


def test_normals_point_outwards():
    points, faces = ball()
    middle = points[faces].mean(1)
    assert ((face_normals(points, faces) * middle).sum(-1) / middle.norm(dim=-1)).min() > 0.99
    assert ((vertex_normals(points, faces) * points).sum(-1) / points.norm(dim=-1)).min() > 0.99
    torch.testing.assert_close(vertex_normals(points, faces).norm(dim=-1), torch.ones(len(points), dtype=torch.double))


def test_areas_add_up():
    points, faces = ball()
    assert face_areas(points, faces).sum() == pytest.approx(4 * math.pi * 0.09, rel=0.02)


def test_batches_of_meshes():
    points, faces = ball(6)
    batch = torch.stack([points, 2 * points])
    torch.testing.assert_close(face_areas(batch, faces)[1], 4 * face_areas(points, faces))
    torch.testing.assert_close(vertex_normals(batch, faces)[1], vertex_normals(points, faces))
    for whole, single in zip(face_frames(batch, faces), face_frames(points, faces), strict=True):
        torch.testing.assert_close(whole[0], single)


def test_frames_are_rotations_with_the_normal_last():
    points, faces = ball()
    origin, rotation, size = face_frames(points, faces)
    torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3, dtype=torch.double).expand(len(faces), 3, 3))
    assert torch.linalg.det(rotation).min() > 0.99
    torch.testing.assert_close(rotation[..., 2], face_normals(points, faces))
    torch.testing.assert_close(origin, points[faces].mean(1))
    edge = points[faces[:, 1]] - points[faces[:, 0]]
    torch.testing.assert_close(rotation[..., 0], edge / edge.norm(dim=-1, keepdim=True))
    height = 2 * face_areas(points, faces) / edge.norm(dim=-1)
    torch.testing.assert_close(size, (edge.norm(dim=-1) + height) / 2)


def test_frames_move_with_the_mesh():
    points, faces = ball(8)
    turn, shift = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.4], dtype=torch.double)), TARGET
    origin, rotation, size = face_frames(points, faces)
    moved = face_frames(1.7 * points @ turn.T + shift, faces)
    torch.testing.assert_close(moved[0], 1.7 * origin @ turn.T + shift)
    torch.testing.assert_close(moved[1], turn @ rotation)
    torch.testing.assert_close(moved[2], 1.7 * size)


def test_degenerate_triangles_have_finite_frames():
    points = torch.zeros(3, 3, requires_grad=True)
    parts = face_frames(points, torch.tensor([[0, 1, 2]]))
    sum(part.sum() for part in parts).backward()
    assert all(torch.isfinite(part).all() for part in parts)
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_points_stay_on_their_triangles():
    points, faces = ball(6)
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0, 0]], dtype=torch.double)
    places = on_surface(points, faces, torch.tensor([4, 7]), weights)
    torch.testing.assert_close(places[0], (points[faces[4]] * weights[0][:, None]).sum(0))
    torch.testing.assert_close(places[1], points[faces[7, 0]])
