"""The z-buffer on triangles whose pixels are known beforehand."""

from __future__ import annotations

import pytest
import torch

from zero1toa.geometry.camera import orbit_camera, project
from zero1toa.render.mesh import rasterize_mesh, rasterize_triangles
from zero1toa.types import Camera


def front_camera(width: int = 40, height: int = 30, count: int = 1) -> Camera:
    zeros = torch.zeros(count)
    return orbit_camera(zeros, zeros, target=torch.zeros(3), distance=1.0, focal=40.0, width=width, height=height)


def grid(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangulate a square of side 40 into jittered cells."""
    steps = torch.linspace(0, 40, n + 1)
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    points[1:-1, 1:-1] += (torch.rand(n - 1, n - 1, 2, generator=generator) - 0.5) * 20 / n
    first = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).flatten()
    faces = torch.cat(
        [torch.stack([first, first + 1, first + n + 1], -1), torch.stack([first + 1, first + n + 2, first + n + 1], -1)]
    )
    return points.reshape(-1, 2), faces


def test_a_planted_triangle_covers_the_pixels_whose_centres_it_holds():
    points = torch.tensor([[1.0, 1.0], [6.0, 1.0], [1.0, 6.0]])
    fragments = rasterize_triangles(points, torch.tensor([[0, 1, 2]]), 8, 9)
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(9) + 0.5, indexing="ij")
    inside = (x >= 1) & (y >= 1) & (x + y <= 7)
    assert torch.equal(fragments.face[0] == 0, inside)
    assert torch.equal(fragments.face[0] == -1, ~inside)
    expected = torch.stack([1 - (x - 1) / 5 - (y - 1) / 5, (x - 1) / 5, (y - 1) / 5], -1)
    assert torch.allclose(fragments.barycentric[0][inside], expected[inside], atol=1e-6)
    assert not fragments.barycentric[0][~inside].any()


@pytest.mark.parametrize("flip", [False, True])
def test_the_nearer_triangle_wins(flip):
    points = torch.tensor([[0.0, 0, 2], [20, 0, 2], [0, 20, 2], [0, 0, 1], [10, 0, 1], [0, 10, 1]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    fragments = rasterize_triangles(points, faces.flip(0) if flip else faces, 20, 20)
    assert fragments.face[0, 2, 2] == (0 if flip else 1)
    assert fragments.face[0, 2, 15] == (1 if flip else 0)
    assert fragments.depth[0, 2, 2] == pytest.approx(1.0)
    assert fragments.depth[0, 2, 15] == pytest.approx(2.0)
    assert fragments.depth[0, 19, 19] == 0


def test_between_equals_the_lower_number_wins():
    points = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    fragments = rasterize_triangles(points, torch.tensor([[0, 1, 2], [2, 1, 0], [1, 2, 0]]), 20, 20)
    assert fragments.face.max() == 0


@pytest.mark.parametrize("n", [1, 3, 17, 60])
def test_neighbours_leave_no_crack(n):
    points, faces = grid(n, torch.Generator().manual_seed(n))
    fragments = rasterize_triangles(points, faces, 40, 40)
    assert (fragments.face >= 0).all()
    corners = points[faces[fragments.face[0]]]
    found = (corners * fragments.barycentric[0][..., None]).sum(-2)
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    assert torch.allclose(found, torch.stack([x, y], -1), atol=1e-4)


def test_weights_are_perspective_correct():
    # A long triangle that runs away from the camera: what the weights name must project back to the pixel centre.
    vertices = torch.tensor([[[-0.2, -0.2, 0.6], [0.6, -0.3, -2.0], [-0.5, 0.8, -1.0]]])
    faces, camera = torch.tensor([[0, 1, 2]]), front_camera()
    fragments = rasterize_mesh(vertices, faces, camera)
    hit = fragments.face[0] >= 0
    assert hit.sum() > 100
    points = (vertices[0, faces[fragments.face[0][hit]]] * fragments.barycentric[0][hit][..., None]).sum(-2)
    seen = project(points[None], camera)[0]
    y, x = hit.nonzero(as_tuple=True)
    assert torch.allclose(seen[:, :2], torch.stack([x, y], -1) + 0.5, atol=1e-3)
    assert torch.allclose(seen[:, 2], fragments.depth[0][hit], atol=1e-5)
    assert torch.allclose(fragments.barycentric[0][hit].sum(-1), torch.ones(int(hit.sum())), atol=1e-6)


def test_culling_drops_faces_seen_from_behind():
    # Counter-clockwise seen from +z, where the camera stands.
    vertices = torch.tensor([[[-0.2, -0.2, 0.0], [0.2, -0.2, 0.0], [0.0, 0.3, 0.0]]])
    outwards, inwards = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert (rasterize_mesh(vertices, outwards, front_camera(), cull=True).face >= 0).any()
    assert (rasterize_mesh(vertices, inwards, front_camera(), cull=True).face == -1).all()
    both = [rasterize_mesh(vertices, faces, front_camera()).face for faces in (outwards, inwards)]
    assert torch.equal(both[0], both[1])


def test_a_batch_is_its_frames_one_by_one():
    generator = torch.Generator().manual_seed(0)
    vertices, faces = torch.rand(3, 30, 3, generator=generator) - 0.5, torch.randint(0, 30, (40, 3), generator=generator)
    cameras = front_camera(count=3)
    batch, shared = rasterize_mesh(vertices, faces, cameras), rasterize_mesh(vertices[:1], faces, cameras)
    for frame in range(3):
        single = rasterize_mesh(vertices[frame : frame + 1], faces, cameras[frame : frame + 1])
        assert torch.equal(single.face[0], batch.face[frame])
        assert torch.equal(single.barycentric[0], batch.barycentric[frame])
        assert torch.equal(shared.face[frame], batch.face[0])
    with pytest.raises(ValueError, match="give one, or one per camera"):
        rasterize_mesh(vertices[:2], faces, cameras)


def test_faces_behind_beside_degenerate_or_broken_are_not_drawn():
    vertices = torch.tensor(
        [[[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 1.5], [9, 9, 0], [9.1, 9, 0], [9, 9.1, 0], [float("nan"), 0, 0]]]
    )
    faces = torch.tensor([[0, 0, 1], [0, 1, 3], [4, 5, 6], [0, 1, 7]])
    assert (rasterize_mesh(vertices, faces, front_camera()).face == -1).all()
    assert (rasterize_mesh(vertices, faces[:0], front_camera()).face == -1).all()


def test_faces_must_name_vertices():
    with pytest.raises(ValueError, match=r"outside 0 \.\.\. 2"):
        rasterize_triangles(torch.zeros(3, 2), torch.tensor([[0, 1, 3]]), 4, 4)
