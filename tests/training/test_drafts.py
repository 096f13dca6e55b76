"""Drafts: renders of unfinished avatars, spoilt on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.avatars import sphere_avatar
from zero1toa.geometry.camera import orbit_camera
from zero1toa.render import rasterize
from zero1toa.training.drafts import Spoiling, draw_spoiling, render_draft

NONE = dict.fromkeys(Spoiling.__slots__, 0.0)
GREY = torch.full((3,), 0.5)


@pytest.fixture(scope="module")
def scene():
    avatar = sphere_avatar()
    vertices = avatar.head.vertices(avatar.identity, avatar.head.rest_state(3))
    camera = orbit_camera(
        torch.tensor([0.0, 15.0, 30.0]),
        torch.zeros(3),
        target=vertices.mean((0, 1)),
        distance=0.6,
        focal=100.0,
        width=48,
        height=48,
    )
    return avatar, vertices, camera


def drafted(scene, seed: int = 0, **amounts: float):
    avatar, vertices, camera = scene
    truth = torch.ones(3, 48, 48, 3)
    return render_draft(avatar, vertices, camera, truth, GREY, Spoiling(**(NONE | amounts)), np.random.default_rng(seed))


def test_an_unspoilt_draft_is_the_avatar(scene):
    avatar, vertices, camera = scene
    with torch.no_grad():
        own = rasterize(avatar.on_vertices(vertices), camera, background=GREY)
    assert (drafted(scene).color - own.color).abs().max() < 1e-4


def test_holes_open_and_floaters_leave(scene):
    whole = drafted(scene)
    assert drafted(scene, holes=1.0).alpha.mean() < 0.9 * whole.alpha.mean()
    outside = whole.alpha < 0.01
    assert drafted(scene, floaters=1.0).alpha[outside].mean() > whole.alpha[outside].mean() + 1e-3


def test_a_late_draft_comes_near_to_the_truth(scene):
    assert drafted(scene, late=1.0).color.mean() > drafted(scene).color.mean() + 0.2


def test_views_disagree_only_where_the_person_is(scene):
    own, tinted = drafted(scene), drafted(scene, disagreeing=1.0)
    change = (tinted.color - own.color).abs().amax(-1)
    assert change[own.alpha > 0.5].mean() > 0.01
    assert change[own.alpha == 0].max() < 1e-5


def test_spoiling_is_seeded_and_various():
    rng = np.random.default_rng(0)
    drawn = [draw_spoiling(rng) for _ in range(200)]
    for name in Spoiling.__slots__:
        amounts = np.array([getattr(spoiling, name) for spoiling in drawn])
        assert (amounts == 0).mean() > 0.3
        assert amounts.max() > 0.5
