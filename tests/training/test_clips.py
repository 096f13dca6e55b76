"""Training examples: what they claim about the photo holds, and conditions are those of a run."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from zero1toa.geometry.camera import project, resize
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.training.acting import draw_take
from zero1toa.training.body import Body
from zero1toa.training.clips import ClipConfig, make_example
from zero1toa.training.looks import damage, draw_scramble, paint
from zero1toa.training.misfit import misfit
from zero1toa.training.picture import take_picture
from zero1toa.training.recipe import draw_person
from zero1toa.training.seen import seen_in_photo
from zero1toa.types import PARTS

SMALL = ClipConfig(frames=2, size=64, photo_size=128, supersample=1, splats=2000)
IMAGES = ("frames", "alpha", "hidden", "photo", "matte", "warp", "confidence", "render", "render_alpha", "background")


def test_the_same_seed_gives_the_same_example(head, example):
    again = make_example(5, head, SMALL)
    for entry in fields(example):
        mine, other = getattr(example, entry.name), getattr(again, entry.name)
        assert torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine == other, entry.name


def test_examples_have_the_shapes_and_ranges_they_promise(example):
    for name in IMAGES:
        values = getattr(example, name)
        assert values.dtype == torch.float32
        assert values.min() >= -1e-6, name
        assert values.max() <= 1 + 1e-6, name
        assert not values.isnan().any(), name
    assert example.frames.shape == example.warp.shape == example.render.shape == (2, 64, 64, 3)
    assert example.alpha.shape == example.parts.shape == example.hidden.shape == example.confidence.shape == (2, 64, 64)
    assert example.photo.shape == (128, 128, 3)
    assert example.landmarks.shape == (2, 478, 3)
    assert example.expression.shape == (2, 52)
    # Nobody can be hidden where nobody is.
    assert (example.hidden <= example.alpha + 1e-6).all()
    assert ((example.parts > 0).float() - example.alpha).abs().mean() < 0.1


def still_take(head, seed: int, yaw: float, mouth: float = 0.0):
    """Hold the photo's own pose while the camera goes to a side and the jaw drops."""
    take = draw_take(np.random.default_rng(seed), 2, 128)
    rest = head.rest_state(2)
    rest.expression[1, ARKIT_NAMES.index("jawOpen")] = mouth
    path = torch.tensor([[0.0, 0.0], [yaw, 0.0]])
    return replace(take, photo_state=head.rest_state(), states=rest, path=path)


def looked_up(head, features, person: int, take, frame: int):
    """Give a frame of a take and where the photo has seen it."""
    body = Body(draw_person(person, head, features), head, features)
    photo, posed = take_picture(body, take.photo_state, take.photo_camera)
    cameras = resize(take.cameras(take.photo_camera), 1.0)
    picture, _ = take_picture(body, take.states[frame : frame + 1], cameras[frame : frame + 1])
    return picture, seen_in_photo(body, picture, photo, posed, take.photo_camera)


def test_the_photo_has_seen_all_of_its_own_view(head, features):
    picture, seen = looked_up(head, features, 7, still_take(head, 1, 30.0), 0)
    skin = picture.label == 1 + PARTS.index("skin")
    assert seen[skin].mean() > 0.95
    assert seen[picture.alpha > 0.9].mean() > 0.9


def test_the_far_side_and_the_inside_of_the_mouth_are_hidden(head, features):
    picture, seen = looked_up(head, features, 7, still_take(head, 1, 0.0, mouth=1.0), 1)
    inside = np.isin(picture.label, [1 + PARTS.index(name) for name in ("teeth", "tongue", "mouth")])
    assert inside.sum() > 15
    assert seen[inside].mean() < 0.1
    assert seen[picture.label == 1 + PARTS.index("skin")].mean() > 0.9
    picture, seen = looked_up(head, features, 7, still_take(head, 1, 150.0), 1)
    assert seen[picture.label > 0].mean() < 0.4


def test_without_errors_the_warp_is_the_truth_where_the_photo_has_seen_it(head):
    exact = ClipConfig(
        frames=2, size=96, photo_size=192, supersample=2, splats=2000, scrambled=0, painted=0, damage=0, misfit=0
    )
    differences = []
    for seed in (63, 65, 67):
        e = make_example(seed, head, exact)
        known = (e.hidden < 0.02) & (e.confidence > 0.95) & (e.alpha > 0.99) & (e.parts < 11)
        assert known.float().mean() > 0.02
        differences.append((e.warp - e.frames)[known].abs().mean().item())
        trusted = e.confidence > 0.95
        assert (e.hidden[trusted] > 0.9).float().mean() < 0.03
    assert np.median(differences) < 0.03


def test_all_expressions_gazes_and_turns_are_acted():
    takes = [draw_take(np.random.default_rng(seed), 4, 128) for seed in range(220)]
    most = torch.cat([take.states.expression for take in takes]).amax(0)
    assert (most > 0.5).all(), [name for name, value in zip(ARKIT_NAMES, most, strict=True) if value <= 0.5]
    assert all(((take.states.expression >= 0) & (take.states.expression <= 1)).all() for take in takes)
    assert torch.cat([take.states.eyes for take in takes]).abs().amax() > 0.4
    assert {take.kind for take in takes} == {"side", "relaxed", "exaggerated", "mixture", "eyes"}
    ends = torch.stack([take.path[-1, 0] for take in takes])
    assert ends.min() < -60
    assert ends.max() > 60


def test_fits_err_where_a_fit_would(head, features):
    person, take = draw_person(1, head, features), draw_take(np.random.default_rng(4), 2, 512)
    fit = lambda amount: misfit(
        head, person.identity, take.photo_state, take.photo_camera, take.states, amount, np.random.default_rng(0)
    )
    exact, wrong = fit(0.0), fit(1.0)
    assert exact.identity is person.identity
    assert exact.photo_camera is take.photo_camera
    seen = [
        project(head.landmarks(head.vertices(found.identity, found.photo_state)), found.photo_camera)[0, :, :2]
        for found in (exact, wrong)
    ]
    off = (seen[0] - seen[1]).norm(dim=-1)
    assert 0.3 < off.mean() < 8
    assert (wrong.identity.shape - exact.identity.shape).abs().max() > 0.05
    assert ((wrong.states.expression >= 0) & (wrong.states.expression <= 1)).all()


def test_scrambling_maps_colours_alike_and_keeps_them_apart():
    rng = np.random.default_rng(0)
    colors = np.linspace(0.15, 0.85, 6)
    cube = np.stack(np.meshgrid(colors, colors, colors), -1).reshape(-1, 3)
    for _ in range(30):
        scramble = draw_scramble(rng)
        mapped = scramble(cube)
        assert mapped.min() >= 0
        assert mapped.max() <= 1
        assert mapped.std(0).max() > 0.08
        # Hardly anything is clipped, which could not be copied back.
        assert ((mapped > 1e-6) & (mapped < 1 - 1e-6)).mean() > 0.85


def test_paint_and_damage_leave_alone_what_they_should():
    flat = np.full((2, 24, 24, 3), 0.4)
    assert paint(flat, 2, 0.0, 0) == pytest.approx(flat, abs=1e-6)
    noisy = np.random.default_rng(0).random((24, 24, 3))
    assert (damage(noisy, np.random.default_rng(0), 0.0) == noisy).all()
    hurt = damage(noisy, np.random.default_rng(1), 1.5)
    assert hurt.shape == noisy.shape
    assert not np.allclose(hurt, noisy)
