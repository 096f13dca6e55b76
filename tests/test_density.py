import pytest
import torch

from tests.test_avatar import HEAD, bound
from zero1toa.avatar.density import DensityConfig, DensityControl, multiply, take_rows
from zero1toa.avatar.rigged import Avatar
from zero1toa.geometry.camera import orbit_camera
from zero1toa.geometry.rotation import quaternion_to_matrix


def adam(avatar: Avatar) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam([{"params": [p], "name": name} for name, p in avatar.named_parameters()], lr=1e-3)
    for _, parameter in avatar.named_parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    optimizer.step()
    return optimizer


def mask(avatar: Avatar, *rows: int) -> torch.Tensor:
    return torch.zeros(len(avatar), dtype=torch.bool).index_fill(0, torch.tensor(rows, dtype=torch.long), True)


def moment(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    return optimizer.state[parameter]["exp_avg"]


def test_rows_bring_their_triangle_and_their_moments():
    avatar = bound()
    optimizer = adam(avatar)
    face, centre, before = avatar.face.clone(), avatar.centre.detach().clone(), moment(optimizer, avatar.centre).clone()
    rows = torch.tensor([4, 7, 7])
    take_rows(avatar, optimizer, rows, torch.tensor([False, False, True]))
    assert torch.equal(avatar.face, face[rows])
    assert torch.equal(avatar.centre, centre[rows])
    assert torch.equal(moment(optimizer, avatar.centre)[:2], before[rows[:2]])
    assert not moment(optimizer, avatar.centre)[2].any()
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in avatar.parameters()}
    assert len(optimizer.state) == 5


def test_training_goes_on_after_surgery():
    avatar = bound()
    optimizer = adam(avatar)
    multiply(avatar, optimizer, clones=mask(avatar, 1), splits=mask(avatar, 2), dead=mask(avatar, 3))
    before = avatar.centre.detach().clone()
    avatar.pose(HEAD.rest_state()).means.sum().backward()
    optimizer.step()
    assert bool((avatar.centre != before).any(-1).all())


def test_counts_add_up():
    avatar = bound()
    change = multiply(avatar, adam(avatar), clones=mask(avatar, 0, 1), splits=mask(avatar, 2, 3, 4), dead=mask(avatar, 9))
    assert (change.cloned, change.split, change.pruned) == (2, 3, 1)
    assert len(avatar) == len(bound()) + 2 + 3 - 1
    assert all(len(p) == len(avatar) for p in avatar.parameters())


def test_halves_lie_inside_their_parent():
    avatar, parents = bound(), torch.tensor([2, 3, 4])
    before = avatar.pose(HEAD.rest_state())
    multiply(avatar, adam(avatar), clones=mask(avatar), splits=mask(avatar, 2, 3, 4), dead=mask(avatar))
    after = avatar.pose(HEAD.rest_state())
    axes = quaternion_to_matrix(bound().pose(HEAD.rest_state()).quats[0, parents])
    for halves in (after.means[0, -6:-3], after.means[0, -3:]):
        away = ((halves - before.means[0, parents])[:, None] @ axes).squeeze(1) / before.scales[0, parents]
        # Within one standard deviation; the optimizer step of the fixture moved the parents a little.
        assert bool((away.norm(dim=-1) < 1).all())
        assert bool((away.norm(dim=-1) > 0.3).all())


def test_dividing_hardly_changes_the_picture():
    rasterize = pytest.importorskip("zero1toa.render").rasterize
    camera = orbit_camera(torch.zeros(1), torch.zeros(1), target=HEAD.centre, distance=0.6, focal=90.0, width=64, height=64)
    avatar = bound()
    optimizer = adam(avatar)
    look = lambda: rasterize(avatar.pose(HEAD.rest_state()), camera, background=torch.full((3,), 0.5)).color.detach()
    before, every = look(), torch.ones(len(avatar), dtype=torch.bool)
    multiply(avatar, optimizer, clones=every, splits=~every, dead=~every)
    cloned = look()
    assert float((cloned - before).abs().mean()) < 0.01
    every = torch.ones(len(avatar), dtype=torch.bool)
    multiply(avatar, optimizer, clones=~every, splits=every, dead=~every)
    assert float((look() - cloned).abs().mean()) < 0.02


def test_the_policy_grows_what_is_pulled_at_and_never_past_the_cap():
    avatar = bound()
    avatar.opacity_logit.data[5] = -20
    optimizer, first = adam(avatar), len(avatar)
    config = DensityConfig(growth=1 + 1 / len(avatar), split_above=1e-3)
    control = DensityControl(avatar, config, metres_per_half_image=0.15)
    avatar.centre.grad = torch.zeros_like(avatar.centre)
    avatar.centre.grad[[0, 1, 2]] = torch.tensor([[9.0], [8.0], [7.0]])
    control.observe(avatar)
    strongest = control.pull.argsort(descending=True)[:2]
    faces = avatar.face[strongest]
    change = control.apply(avatar, optimizer)
    assert change.pruned == 1
    assert change.cloned + change.split == 2
    assert len(avatar) == first + 1
    assert set(avatar.face[-2:].tolist()) <= set(faces.tolist())
    assert len(control.pull) == len(avatar)


def test_rounds_are_spread_over_the_run():
    control = DensityControl(bound(), DensityConfig(rounds=5, start=0.2, stop=0.6), metres_per_half_image=0.15)
    assert [k for k in range(1000) if control.due(k, 1000)] == [200, 300, 400, 500, 600]
