import pytest
import torch
from torch import nn

from tests.heads import SphereHead
from zero1toa.avatar.posing import pose_splats
from zero1toa.avatar.rigged import SH0, Avatar, move_splats
from zero1toa.geometry.mesh import face_normals
from zero1toa.geometry.rotation import quaternion_to_matrix
from zero1toa.types import AvatarError, Gaussians, HeadState

HEAD = SphereHead()


def some_state(frames: int, seed: int = 0) -> HeadState:
    draw = torch.Generator().manual_seed(seed)
    rest = HEAD.rest_state(frames)
    return HeadState(
        torch.rand(rest.expression.shape, generator=draw),
        0.3 * torch.randn(rest.neck.shape, generator=draw),
        0.3 * torch.randn(rest.head.shape, generator=draw),
        0.1 * torch.randn(rest.eyes.shape, generator=draw),
    )


def some_splats(count: int = 50, seed: int = 1) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        "face": torch.randint(len(HEAD.surface.faces), (count,), generator=draw),
        "means": 0.1 * torch.randn(count, 3, generator=draw),
        "quats": torch.randn(count, 4, generator=draw),
        "scales": 0.001 + 0.01 * torch.rand(count, 3, generator=draw),
        "opacities": 0.05 + 0.9 * torch.rand(count, generator=draw),
        "colors": torch.rand(count, 3, generator=draw),
    }


def bound(state: HeadState | None = None) -> Avatar:
    return Avatar.bind(HEAD, HEAD.neutral_identity(), state or HEAD.rest_state(), **some_splats())


def test_the_sphere_faces_outwards():
    corners = HEAD.rest[HEAD.surface.faces].mean(1) - HEAD.centre
    assert bool(((face_normals(HEAD.rest, HEAD.surface.faces) * corners).sum(-1) > 0).all())


def test_posing_undoes_binding():
    splats, state = some_splats(), some_state(1)
    posed = bound(state).pose(state)
    torch.testing.assert_close(posed.means[0], splats["means"], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(posed.scales[0], splats["scales"], atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(posed.opacities[0], splats["opacities"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(posed.colors[0], splats["colors"], atol=1e-5, rtol=1e-5)
    rotations = quaternion_to_matrix(posed.quats[0]), quaternion_to_matrix(splats["quats"])
    torch.testing.assert_close(*rotations, atol=1e-4, rtol=1e-4)


def test_splats_move_rigidly_with_the_head():
    avatar = bound()
    rest, turned = HEAD.rest_state(), HEAD.rest_state()
    turned = HeadState(turned.expression, turned.neck, torch.tensor([[0.0, torch.pi / 2, 0.0]]), turned.eyes)
    before, after = avatar.pose(rest), avatar.pose(turned)
    quarter = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    expected = (before.means - HEAD.centre) @ quarter.T + HEAD.centre
    torch.testing.assert_close(after.means, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after.scales, before.scales, atol=1e-6, rtol=1e-3)
    rotations = quaternion_to_matrix(after.quats), quarter @ quaternion_to_matrix(before.quats)
    torch.testing.assert_close(*rotations, atol=1e-4, rtol=1e-4)


def test_a_batch_of_poses_is_the_poses_one_by_one():
    avatar, states = bound(), some_state(3)
    together = avatar.pose(states)
    for i in range(3):
        alone = avatar.pose(states[i : i + 1])
        for name in Gaussians.__slots__:
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0])


@pytest.mark.parametrize("flat", [False, True])
def test_both_twins_move_splats_alike_and_back(flat):
    draw = torch.Generator().manual_seed(7)
    vertices, faces = HEAD.vertices(HEAD.neutral_identity(), some_state(2)), HEAD.surface.faces
    if flat:
        faces = torch.cat([faces, torch.tensor([[3, 3, 5], [4, 4, 4]])])
    face = torch.arange(len(faces)).repeat(2)
    values = [torch.rand(len(face), width, generator=draw) for width in (3, 4, 3)]
    results, grads = [], []
    for move in (pose_splats, move_splats):
        own = [value.clone().requires_grad_() for value in values]
        means, quats, scales = move(vertices, faces, face, *own)
        (means.square().sum() + (quats.square() * torch.arange(4)).sum() + scales.square().sum()).backward()
        # A quaternion and its negative are one rotation.
        results.append((means, quaternion_to_matrix(quats), scales))
        grads.append([value.grad for value in own])
    for pairs in (zip(*results, strict=True), zip(*grads, strict=True)):
        for a, b in pairs:
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_every_parameter_receives_a_gradient():
    avatar = bound()
    posed = avatar.pose(some_state(2))
    sum((getattr(posed, name) * torch.randn_like(getattr(posed, name))).sum() for name in Gaussians.__slots__).backward()
    for name, parameter in avatar.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum(-1).gt(0).all()), name


def test_colours_outside_the_range_can_come_back_but_not_run_away():
    avatar = bound()
    avatar.color.data[:2] = torch.tensor([[2.0], [-2.0]]) / SH0
    colors = avatar.pose(HEAD.rest_state()).colors
    assert bool((colors >= 0).all())
    assert bool((colors <= 1).all())
    (inward,) = torch.autograd.grad(colors[0, 0].sum() - colors[0, 1].sum(), avatar.color, retain_graph=True)
    assert bool((inward[0] > 0).all())
    assert bool((inward[1] < 0).all())
    (outward,) = torch.autograd.grad(colors[0, 1].sum() - colors[0, 0].sum(), avatar.color)
    assert bool((outward[:2] == 0).all())


def test_a_head_that_is_a_module_stays_out_of_the_avatar():
    class ModuleHead(nn.Module, SphereHead):
        def __init__(self):
            nn.Module.__init__(self)
            SphereHead.__init__(self)
            self.weight = nn.Parameter(torch.ones(1))

    head = ModuleHead()
    avatar = Avatar.bind(head, head.neutral_identity(), head.rest_state(), **some_splats())
    assert {name for name, _ in avatar.named_parameters()} == {"centre", "quaternion", "log_scale", "opacity_logit", "color"}
    assert set(avatar.state_dict()) == set(avatar.state_arrays())


def test_arrays_bring_the_avatar_back_and_bad_ones_say_why():
    avatar = bound()
    arrays = avatar.state_arrays()
    again = Avatar.from_arrays(HEAD, avatar.identity, arrays)
    state = some_state(1)
    assert torch.equal(again.pose(state).means, avatar.pose(state).means)
    with pytest.raises(AvatarError, match="lacks color"):
        Avatar.from_arrays(HEAD, avatar.identity, {name: array for name, array in arrays.items() if name != "color"})
    with pytest.raises(AvatarError, match="do not fit"):
        Avatar.from_arrays(HEAD, avatar.identity, {**arrays, "centre": arrays["centre"][1:]})
    with pytest.raises(AvatarError, match="another head"):
        Avatar.from_arrays(HEAD, avatar.identity, {**arrays, "face": arrays["face"] + 10_000})
