"""What runs on a GPU: gsplat's twin against ours, several poses and cameras at once, training, recorded poses, 16 bits."""

from dataclasses import replace

import pytest
import torch

from tests.heads import linear_sphere
from tests.test_render import BACKGROUND, FIELDS, IMAGES, cameras, leaves, loss, shell, weights_like
from zero1toa.geometry.camera import orbit_camera
from zero1toa.render import rasterize
from zero1toa.types import Gaussians, on_device

CPU, GPU = torch.device("cpu"), torch.device("cuda")
on_gpu = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and gsplat's kernels"),
]


def with_marks(function):
    for mark in on_gpu:
        function = mark(function)
    return function


def avatar_on_a_sphere():
    from zero1toa.avatar.rigged import Avatar

    head = linear_sphere()
    face = torch.arange(len(head.surface.faces)).repeat(20)
    chance = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(len(face), *shape, generator=chance)
    return Avatar(
        head, head.neutral_identity(), face=face, centre=0.3 * draw(3), quaternion=draw(4), log_scale=-1 + 0.1 * draw(3),
        opacity_logit=draw(), color=draw(3),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- without a GPU as well


def test_records_move_with_all_that_is_in_them():
    avatar, meta = avatar_on_a_sphere(), torch.device("meta")
    moved = on_device(avatar.head, meta)
    assert {getattr(moved, name).device.type for name in ("template", "weights", "landmark_faces")} == {"meta"}
    assert moved.surface.faces.device.type == "meta"
    assert moved.pose_basis is None
    assert (moved.name, moved.expression_names) == (avatar.head.name, avatar.head.expression_names)
    assert on_device(avatar.head, CPU) is avatar.head, "what is there stays as it is"
    twin = avatar.on(CPU)
    assert twin is not avatar
    state = replace(avatar.head.rest_state(), expression=torch.rand(1, 52))
    for field in FIELDS:
        assert torch.equal(getattr(twin.pose(state), field), getattr(avatar.pose(state), field))


def test_posing_makes_nothing_on_another_device():
    from zero1toa.avatar.rigged import Avatar

    avatar, meta = avatar_on_a_sphere(), torch.device("meta")
    arrays = {name: array.to(meta) for name, array in avatar.state_arrays().items()}
    moved = Avatar(on_device(avatar.head, meta), on_device(avatar.identity, meta), **arrays)
    posed = moved.pose(moved.head.rest_state(2))
    assert {getattr(posed, field).device.type for field in FIELDS} == {"meta"}
    assert posed.means.shape == (2, len(avatar), 3)


def test_without_kernels_the_twin_on_the_cpu_draws():
    from zero1toa.render.cuda import rasterize_elsewhere

    gaussians, seen = leaves(shell(300)), cameras(2)
    render = rasterize_elsewhere(gaussians, seen, background=BACKGROUND)
    expected = rasterize(shell(300), seen, background=BACKGROUND)
    for name in IMAGES:
        assert torch.equal(getattr(render, name), getattr(expected, name))
    render.color.sum().backward()
    assert gaussians.means.grad is not None


# ------------------------------------------------------------------------------------------------------ with a GPU


def twins(gaussians: Gaussians, seen) -> tuple:
    here, there = leaves(gaussians), leaves(on_device(gaussians, GPU))
    return here, there, rasterize(here, seen, background=BACKGROUND), rasterize(there, seen, background=BACKGROUND)


@with_marks
def test_the_kernels_are_there():
    from zero1toa.render.cuda import missing_kernels

    assert missing_kernels() == ""


@with_marks
@pytest.mark.parametrize(("poses", "views"), [(1, 1), (1, 5), (5, 5)])
def test_pictures_and_gradients_are_those_of_the_twin(poses, views):
    here, there, render, other = twins(shell(2000, poses=poses), cameras(views, width=128, height=96))
    weights = weights_like(render)
    for name in IMAGES:
        assert (getattr(render, name) - getattr(other, name).cpu()).abs().max() <= 1 / 255
    loss(render, weights).backward()
    loss(other, weights).backward()
    for field in FIELDS:
        got, expected = getattr(here, field).grad, getattr(there, field).grad.cpu()
        assert (got - expected).norm() <= 1e-2 * expected.norm()


@with_marks
def test_several_at_once_are_those_one_by_one():
    gaussians, seen = on_device(shell(3000, poses=4), GPU), cameras(4, width=96, height=96)
    together = rasterize(gaussians, seen, background=BACKGROUND)
    for index in range(4):
        one = Gaussians(*(getattr(gaussians, field)[index : index + 1] for field in FIELDS))
        alone = rasterize(one, seen[index : index + 1], background=BACKGROUND)
        torch.testing.assert_close(together.color[index], alone.color[0], atol=1e-5, rtol=0)


@with_marks
def test_recorded_poses_are_poses():
    from zero1toa.avatar.graph import RecordedPose

    avatar = avatar_on_a_sphere().on(GPU)
    recorded = RecordedPose(avatar)
    for seed in range(3):
        chance = torch.Generator().manual_seed(seed)
        rest = avatar_on_a_sphere().head.rest_state()
        state = replace(rest, expression=torch.rand(1, 52, generator=chance), neck=0.2 * torch.randn(1, 3, generator=chance))
        posed, expected = recorded(on_device(state, GPU)), avatar.pose(on_device(state, GPU))
        for field in FIELDS:
            torch.testing.assert_close(getattr(posed, field), getattr(expected, field))


@with_marks
def test_an_avatar_is_trained_where_the_gpu_is(astronaut_file):
    from zero1toa.config import preset
    from zero1toa.pipeline import create_avatar
    from zero1toa.settings import with_iterations, with_settings

    config = with_iterations(preset("preview"), 30)
    config = with_settings(replace(config, device="cuda", prior="projection"), {"trainer.size": 128})
    *_, last = create_avatar(astronaut_file, config)
    assert last.stage == "done"
    assert last.avatar.centre.device == CPU
    front = orbit_camera(torch.zeros(1), torch.zeros(1), target=torch.zeros(3), distance=0.8, focal=300.0, width=96, height=96)
    drawn = rasterize(last.avatar.pose(last.avatar.head.rest_state()), front, background=BACKGROUND)
    assert float(drawn.alpha.mean()) > 0.1


@with_marks
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_sixteen_bits_say_nearly_what_thirty_two_do(precision, tmp_path, monkeypatch):
    from tests.priors.tiny_hub import write_aniportrait
    from tests.priors.tiny_stock import write_taesd
    from zero1toa.priors.aniportrait import AniPortrait
    from zero1toa.priors.base import DiffusionConfig
    from zero1toa.priors.diffusion import Shot

    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path))
    write_aniportrait()
    write_taesd()
    frames, points = torch.rand(3, 64, 64, 3), torch.cat([64 * torch.rand(3, 478, 2), torch.ones(3, 478, 1)], -1)
    said = []
    for kind in ("float32", precision):
        model = AniPortrait(DiffusionConfig(precision=kind, pose_norm="running"), GPU)
        with torch.no_grad():
            conditions = model.conditions([Shot(frames, points, torch.zeros_like(frames[..., 0]))], model.study(frames[0]))
            said.append(model.velocity(torch.ones(3, 1, 4, 8, 8, device=GPU), 499, 0.9, conditions, compare=False)[0])
    assert float((said[0] - said[1]).norm() / said[0].norm()) < 0.05
