"""Synthetic people: seeded, diverse, lit and drawn as geometry says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zero1toa.geometry.camera import orbit_camera
from zero1toa.training.body import Body
from zero1toa.training.hairstyle import KINDS
from zero1toa.training.light import visibility
from zero1toa.training.noise import noise, slope
from zero1toa.training.people import draw_portrait, draw_sheet
from zero1toa.training.picture import take_picture
from zero1toa.training.recipe import draw_person
from zero1toa.training.threads import draw
from zero1toa.training.wardrobe import HATS
from zero1toa.types import PARTS

SIZE = 72


def camera_at(yaw: float, size: int = SIZE):
    return orbit_camera(
        torch.tensor([yaw]), torch.zeros(1), target=torch.tensor([0.0, -0.03, -0.06]), distance=1.2, focal=size * 3.0,
        width=size, height=size,
    )  # fmt: skip


def test_the_slope_of_noise_is_what_differences_say():
    rng = np.random.default_rng(0)
    for x, y, z in rng.normal(size=(20, 3)) * 5:
        step = 1e-5
        found = slope(x, y, z, 7)
        expected = (
            (noise(x + step, y, z, 7) - noise(x - step, y, z, 7)) / (2 * step),
            (noise(x, y + step, z, 7) - noise(x, y - step, z, 7)) / (2 * step),
            (noise(x, y, z + step, 7) - noise(x, y, z - step, 7)) / (2 * step),
        )
        assert found == pytest.approx(expected, abs=1e-3)


def test_a_roof_hides_the_sky_and_not_the_floor():
    roof = np.array([[-1.0, 1, -1], [1, 1, -1], [1, 1, 1], [-1, 1, 1], [-0.1, -1, -0.1], [0.1, -1, 0.1], [0.1, -1, -0.1]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    points = np.array([[0.0, 0, 0], [0, 1.5, 0]])
    up, down = np.array([0.0, 1, 0]), np.array([0.3, -1, 0.1]) / np.linalg.norm([0.3, -1, 0.1])
    assert visibility((points,), roof, faces, up)[0] == pytest.approx([0, 1])
    assert visibility((points,), roof, faces, down)[0] == pytest.approx([1, 0])


def test_threads_hide_behind_what_is_nearer_and_thin_ones_are_faint():
    image, alpha, owner = np.zeros((8, 8, 3)), np.zeros((8, 8)), np.full((8, 8), -1)
    depth = np.full((8, 8), 2.0)
    depth[:, 4:] = 0.5
    pixels = np.array([[0.5, 2.5, 1.0], [7.5, 2.5, 1.0], [0.5, 5.5, 1.0], [7.5, 5.5, 1.0]])
    radius = np.array([0.5, 0.5, 0.1, 0.1], np.float32)
    draw(pixels, radius, np.ones((4, 3)), np.array([0, 2, 4]), np.ones(2), image, alpha, depth, owner)
    assert image[2, :4].min() > 0.9
    assert image[:, 4:].max() == 0
    assert 0.1 < image[5, 1:4].mean() < 0.5
    assert set(owner[2, :4]) == {0}
    assert (owner[5] == -1).all()


def test_the_same_seed_gives_the_same_person_and_another_does_not(head):
    first, again, other = (draw_portrait(seed, head, 40) for seed in (3, 3, 4))
    assert (first == again).all()
    assert np.abs(first - other).mean() > 0.02


def test_a_sheet_shows_as_many_as_were_asked_for():
    sheet = draw_sheet(range(3), 24, "side")
    assert sheet.shape == (48, 48, 3)
    assert sheet[:24].std() > 10
    assert sheet[24:, 24:].max() == 0


def test_a_person_is_seen_from_everywhere_in_finite_colours(head, features):
    person = draw_person(11, head, features)
    body = Body(person, head, features)
    for yaw in (0.0, 90.0, 180.0):
        picture, _ = take_picture(body, head.rest_state(), camera_at(yaw))
        assert np.isfinite(picture.light).all()
        assert picture.light.min() >= 0
        assert 0.15 < picture.alpha.mean() < 0.9
        # What is drawn has a name, and what has a name is drawn.
        assert ((picture.label > 0) == (picture.alpha > 0.45)).mean() > 0.98


def test_an_open_mouth_shows_teeth_and_closed_lids_no_eyes(head, features):
    body = Body(draw_person(2, head, features), head, features)
    names = head.expression_names
    state = head.rest_state()
    eyes = lambda picture: (picture.label == 1 + PARTS.index("eyes")).sum()
    teeth = lambda picture: (picture.label == 1 + PARTS.index("teeth")).sum()
    near = camera_at(0.0, 160)
    rest, _ = take_picture(body, state, near)
    for name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "eyeBlinkLeft", "eyeBlinkRight"):
        state.expression[0, names.index(name)] = 1.0
    acted, _ = take_picture(body, state, near)
    assert teeth(acted) > 12
    assert teeth(acted) > 5 * teeth(rest)
    assert eyes(rest) > 20
    assert eyes(acted) < 0.15 * eyes(rest)


def test_people_differ(head, features):
    people = [draw_person(seed, head, features) for seed in range(400)]
    assert {person.hair.kind for person in people} == set(KINDS)
    assert {person.wardrobe.hat for person in people} == set(HATS)
    assert {person.wardrobe.glasses for person in people} >= {"", "round", "square"}
    assert {person.beard.kind for person in people} == {"none", "full", "goatee", "moustache", "chin"}
    melanin = np.array([person.skin.melanin for person in people])
    assert melanin.min() < 0.1
    assert melanin.max() > 1.8
    shapes = torch.stack([person.identity.shape for person in people])
    assert shapes.std(0).min() > 0.04
    hair = np.array([person.hair.color for person in people])
    assert (hair.std(0) > 0.08).all()


def test_pictures_of_people_differ_in_colour_and_brightness(head):
    portraits = np.stack([draw_portrait(seed, head, 32) for seed in range(100, 112)])
    middle = portraits[:, 10:22, 11:21].mean((1, 2))
    assert (middle.std(0) > 0.08).all()
    assert portraits.mean((1, 2, 3)).std() > 0.07
    assert portraits.min() >= 0
    assert portraits.max() <= 1
