"""The rasterizer against a dense float64 page of PyTorch, finite differences and naughty inputs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import pytest
import torch

from zero1toa.geometry.camera import orbit_camera
from zero1toa.render import rasterize
from zero1toa.render.reference import rasterize_dense
from zero1toa.types import Camera, Gaussians, Render

FIELDS = ("means", "quats", "scales", "opacities", "colors")
IMAGES = ("color", "alpha", "depth")
BACKGROUND = torch.tensor([0.1, 0.2, 0.3])


def shell(count: int, *, poses: int = 1, seed: int = 0) -> Gaussians:
    """Scatter flat splats over an ellipsoid of the size of a head, so that neighbours overlap."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(poses, count, 3, generator=generator), dim=-1)
    size = math.sqrt(4 * math.pi * 0.09**2 / max(count, 1)) * torch.exp(0.3 * torch.randn(poses, count, 3, generator=generator))
    return Gaussians(
        means * torch.tensor([0.075, 0.11, 0.095]),
        torch.randn(poses, count, 4, generator=generator),
        size * torch.tensor([1.0, 1.0, 0.2]),
        torch.rand(poses, count, generator=generator) * 0.9 + 0.1,
        torch.rand(poses, count, 3, generator=generator),
    )


def cameras(count: int = 1, *, width: int = 50, height: int = 40, distance: float = 0.7) -> Camera:
    angles = torch.linspace(-40.0, 60.0, count) if count > 1 else torch.tensor([20.0])
    target = torch.tensor([0.01, 0.0, 0.0])
    return orbit_camera(angles, angles / 4, target=target, distance=distance, focal=140.0, width=width, height=height)


def exact(gaussians: Gaussians) -> Gaussians:
    return Gaussians(*(getattr(gaussians, field).double() for field in FIELDS))


def leaves(gaussians: Gaussians) -> Gaussians:
    return Gaussians(*(getattr(gaussians, field).clone().requires_grad_() for field in FIELDS))


def hand_placed() -> tuple[Gaussians, Camera]:
    """Put three overlapping splats where no pixel is near the threshold of being drawn, in a 6 x 6 image."""
    gaussians = Gaussians(
        torch.tensor([[[0.004, 0.002, 0.03], [-0.006, 0.004, 0.0], [0.0, -0.008, -0.02]]]),
        torch.tensor([[[0.9, 0.3, -0.2, 0.4], [1.2, -0.5, 0.1, 0.2], [0.5, 0.5, -0.6, 0.1]]]),
        torch.tensor([[[0.035, 0.025, 0.02], [0.03, 0.04, 0.02], [0.028, 0.03, 0.05]]]),
        torch.tensor([[0.6, 0.7, 0.8]]),
        torch.tensor([[[0.9, 0.2, 0.1], [0.1, 0.8, 0.3], [0.2, 0.3, 0.7]]]),
    )
    target = torch.tensor([0.0, 0.0, 0.0])
    return gaussians, orbit_camera(
        torch.tensor([25.0]), torch.tensor([-10.0]), target=target, distance=0.6, focal=60.0, width=6, height=6
    )


def weights_like(render: Render, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(getattr(render, name).shape, generator=generator) for name in IMAGES}


def loss(render: Render, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([(getattr(render, name) * w.to(getattr(render, name))).sum() for name, w in weights.items()]).sum()


@pytest.mark.parametrize("size", [(50, 40), (16, 16), (33, 70), (7, 5)])
def test_agrees_with_the_dense_reference(size):
    gaussians, camera = shell(600), cameras(2, width=size[0], height=size[1])
    render, expected = (
        draw(g, camera, background=BACKGROUND) for draw, g in ((rasterize, gaussians), (rasterize_dense, exact(gaussians)))
    )
    for name in IMAGES:
        assert torch.allclose(getattr(render, name).double(), getattr(expected, name), atol=2e-5), name


def test_the_reference_draws_the_same_in_squares():
    gaussians, camera = exact(shell(300)), cameras(2)
    whole, parts = (rasterize_dense(gaussians, camera, background=BACKGROUND, tile=tile) for tile in (None, 16))
    for name in IMAGES:
        assert torch.allclose(getattr(whole, name), getattr(parts, name), atol=1e-12)


def test_a_crowded_tile_stops_where_the_reference_does():
    gaussians = replace(shell(3000), opacities=torch.full((1, 3000), 0.95))
    render = rasterize(gaussians, cameras(), background=BACKGROUND)
    expected = rasterize_dense(exact(gaussians), cameras(), background=BACKGROUND)
    assert expected.alpha.max() > 0.999
    # Where a pixel is filled is a threshold, and rounding may fall on its other side: a last splat of 1e-4.
    assert (render.color - expected.color).abs().max() < 2e-4
    assert (render.color - expected.color).abs().mean() < 1e-6


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("field", FIELDS)
def test_derivatives_match_finite_differences(field, name):
    gaussians, camera = hand_placed()
    weight = {name: weights_like(rasterize(gaussians, camera, background=BACKGROUND))[name]}
    moving = leaves(gaussians)
    loss(rasterize(moving, camera, background=BACKGROUND), weight).backward()
    value, gradient = getattr(gaussians, field), getattr(moving, field).grad
    # Float32 pictures: a step that is large against rounding and small against the curvature.
    step = 2e-3 * value.abs().mean().clamp(0.02, 0.2)
    for index in range(value.numel()):
        change = torch.zeros(value.numel())
        change[index] = step
        moved = [replace(gaussians, **{field: value + sign * change.view_as(value)}) for sign in (1, -1)]
        high, low = (loss(rasterize(g, camera, background=BACKGROUND), weight).item() for g in moved)
        assert (high - low) / (2 * step.item()) == pytest.approx(
            gradient.flatten()[index].item(), rel=2e-2, abs=2e-2 * gradient.abs().max().item() + 1e-3
        )


@pytest.mark.parametrize("name", IMAGES)
def test_derivatives_match_autograd_through_the_reference(name):
    gaussians, camera = shell(800, seed=1), cameras()
    fast, slow = leaves(gaussians), leaves(exact(gaussians))
    weight = {name: weights_like(rasterize(gaussians, camera, background=BACKGROUND))[name]}
    loss(rasterize(fast, camera, background=BACKGROUND), weight).backward()
    loss(rasterize_dense(slow, camera, background=BACKGROUND), weight).backward()
    for field in FIELDS:
        got, expected = getattr(fast, field).grad.double(), getattr(slow, field).grad
        expected = torch.zeros_like(got) if expected is None else expected  # coverage knows no colours
        assert (got - expected).norm() <= 2e-4 * expected.norm() + 1e-6, field


def test_derivatives_match_beside_the_frame():
    # Splats beside a narrow frame, where the Jacobian is held and its derivative changes.
    gaussians = shell(200, seed=2)
    gaussians = replace(gaussians, means=gaussians.means * 3, scales=gaussians.scales * 2)
    camera = cameras(width=24, height=20)
    fast, slow = leaves(gaussians), leaves(exact(gaussians))
    weights = weights_like(rasterize(gaussians, camera, background=BACKGROUND))
    loss(rasterize(fast, camera, background=BACKGROUND), weights).backward()
    loss(rasterize_dense(slow, camera, background=BACKGROUND), weights).backward()
    for field in FIELDS:
        got, expected = getattr(fast, field).grad.double(), getattr(slow, field).grad
        assert (got - expected).norm() <= 1e-3 * expected.norm(), field


@pytest.mark.parametrize("poses", [1, 3])
def test_a_batch_is_its_frames_one_by_one(poses):
    gaussians, camera = shell(300, poses=poses), cameras(3)
    backgrounds = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    batch, singles = leaves(gaussians), leaves(gaussians)
    render = rasterize(batch, camera, background=backgrounds)
    weights = weights_like(render)
    loss(render, weights).backward()
    for frame in range(3):
        pose = Gaussians(*(getattr(singles, field)[frame % poses : frame % poses + 1] for field in FIELDS))
        single = rasterize(pose, camera[frame : frame + 1], background=backgrounds[frame])
        for name in IMAGES:
            assert torch.equal(getattr(single, name)[0], getattr(render, name)[frame])
        loss(single, {name: weight[frame : frame + 1] for name, weight in weights.items()}).backward()
    for field in FIELDS:
        got, expected = getattr(batch, field).grad, getattr(singles, field).grad
        assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()), field


def test_no_splats_give_the_background():
    gaussians = leaves(shell(0))
    render = rasterize(gaussians, cameras(2), background=BACKGROUND)
    assert torch.equal(render.color, BACKGROUND.expand(2, 40, 50, 3))
    assert not render.alpha.any()
    assert not render.depth.any()
    render.color.sum().backward()
    assert gaussians.means.grad.shape == (1, 0, 3)


@pytest.mark.parametrize(
    "place",
    [
        (0.0, 0.0, 5.0),
        (0.0, 0.0, 0.6999),
        (3.0, 0.0, 0.0),
        (0.0, -1e6, 0.0),
        (0.0, 0.0, -1e12),
        (3e38, -3e38, 3e38),
        (1e30, 0, 0),
    ],
)
def test_what_is_behind_or_beside_the_camera_is_not_drawn(place):
    camera = orbit_camera(torch.zeros(1), torch.zeros(1), target=torch.zeros(3), distance=0.7, focal=140.0, width=50, height=40)
    gaussians = leaves(replace(shell(1), means=torch.tensor([[place]]), scales=torch.full((1, 1, 3), 0.01)))
    render = rasterize(gaussians, camera, background=BACKGROUND)
    assert not render.alpha.any()
    render.color.sum().backward()
    assert not gaussians.means.grad.any()


@pytest.mark.parametrize("size", [0.5, 10.0, 1e4])
def test_huge_splats_agree_with_the_reference(size):
    gaussians = shell(20)
    gaussians = replace(gaussians, scales=torch.full_like(gaussians.scales, size), opacities=gaussians.opacities * 0.3)
    camera = cameras(width=200, height=180)
    render, expected = leaves(gaussians), exact(gaussians)
    picture = rasterize(render, camera, background=BACKGROUND)
    assert torch.allclose(picture.color.double(), rasterize_dense(expected, camera, background=BACKGROUND).color, atol=1e-4)
    picture.color.sum().backward()
    assert all(getattr(render, field).grad.isfinite().all() for field in FIELDS)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1 - 1e-7, 1.0, 1 + 1e-6, 1.01])
def test_splats_at_the_edge_of_being_drawn(factor):
    gaussians = shell(200)
    gaussians = leaves(replace(gaussians, opacities=torch.full((1, 200), factor / 255)))
    render = rasterize(gaussians, cameras(), background=BACKGROUND)
    render.color.sum().backward()
    assert (render.color - BACKGROUND).abs().max() < 0.05
    assert gaussians.means.grad.isfinite().all()


def test_a_needle_across_many_tiles_agrees_with_the_reference():
    gaussians = shell(40, seed=3)
    gaussians = replace(gaussians, scales=torch.tensor([0.08, 0.0005, 0.0005]).expand(1, 40, 3))
    camera = cameras(width=210, height=150)
    render = rasterize(gaussians, camera, background=BACKGROUND)
    expected = rasterize_dense(exact(gaussians), camera, background=BACKGROUND)
    assert (render.color - expected.color).abs().max() <= 1 / 255
    assert (render.color - expected.color).abs().mean() < 1e-5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", FIELDS)
def test_broken_numbers_are_refused_by_name(field, value):
    gaussians = shell(50)
    getattr(gaussians, field).view(-1)[-1] = value
    with pytest.raises(ValueError, match=rf"gaussians\.{field} has NaN or infinite"):
        rasterize(gaussians, cameras(), background=BACKGROUND)


def test_poses_must_fit_the_cameras():
    with pytest.raises(ValueError, match="one pose, or one per camera"):
        rasterize(shell(5, poses=2), cameras(3), background=BACKGROUND)


def render_and_gradients() -> list[torch.Tensor]:
    """Give all that a render and its gradients are, of enough splats to be shared by threads."""
    gaussians = leaves(shell(4000))
    render = rasterize(gaussians, cameras(2, width=120, height=90), background=BACKGROUND)
    loss(render, weights_like(render)).backward()
    return [getattr(render, name).detach() for name in IMAGES] + [getattr(gaussians, field).grad for field in FIELDS]


THREADS = """
import sys
import numba, torch
from tests.test_render import render_and_gradients
assert numba.get_num_threads() == 3
torch.save(render_and_gradients(), sys.argv[1])
"""


def test_results_do_not_depend_on_threads(tmp_path):
    command = [sys.executable, "-c", THREADS, str(tmp_path / "three.pt")]
    subprocess.run(command, cwd=Path(__file__).parents[1], env={**os.environ, "NUMBA_NUM_THREADS": "3"}, check=True)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    alone = render_and_gradients()
    numba.set_num_threads(before)
    for one, other in zip(alone, torch.load(tmp_path / "three.pt"), strict=True):
        assert torch.equal(one, other)


def test_equal_depths_are_drawn_in_order():
    gaussians = Gaussians(
        torch.zeros(1, 2, 3), torch.tensor([[[1.0, 0, 0, 0]]]).expand(1, 2, 4), torch.full((1, 2, 3), 0.02),
        torch.full((1, 2), 0.9), torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]),
    )  # fmt: skip
    color = rasterize(gaussians, cameras(), background=torch.zeros(3)).color
    assert color[..., 0].max() > 0.8
    assert (color[..., 0] >= color[..., 2]).all()


def test_gradients_keep_the_precision_of_their_inputs():
    gaussians = leaves(exact(shell(50)))
    rasterize(gaussians, cameras(), background=BACKGROUND).alpha.sum().backward()
    assert gaussians.means.grad.dtype == torch.float64


def test_importing_the_room_is_light():
    import subprocess
    import sys

    code = "import sys, zero1toa.render; sys.exit(any(name in sys.modules for name in ('numba', 'gsplat')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
