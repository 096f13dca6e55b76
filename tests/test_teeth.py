"""Teeth that no photo shows: two rows, one tooth beside the other, gums above, dark towards the back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.test_photo import camera_at, paint
from zero1toa.head.anny import load_anny
from zero1toa.head.reference import make_reference
from zero1toa.portrait.teeth import place_teeth
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.render.photo import PhotoSurface
from zero1toa.render.teeth import UNLIKE, UPPER, Teeth, upper_row
from zero1toa.types import PARTS


@pytest.fixture(scope="module")
def rows():
    """Give the resting head's vertices, its triangles of teeth, and what is known of them."""
    head = load_anny()
    rest = head.vertices(head.neutral_identity(), head.rest_state())[0]
    faces = head.surface.faces[head.surface.parts == PARTS.index("teeth")]
    return rest, faces, Teeth(rest, faces)


def along_the_arch(rest, faces, *, side: float = 1.0, height: float = 0.15):
    """Give points on the front of the upper row, from the middle to one side, and one vertex of that row."""
    own = rest[faces.unique()]
    half, front = float(own[:, 0].amax()), float(own[:, 2].amax())
    angle = torch.linspace(0, 1.0, 400)
    x, z = side * half * angle.sin(), front - half + half * angle.cos()
    upper = faces.unique()[own[:, 1].argmax()]
    edge = float(own[own[:, 1] > own[:, 1].mean(), 1].amin())
    points = torch.stack([x, torch.full_like(x, edge + height * half), z], -1)
    return angle, points, upper.expand(len(points))


def test_a_gap_parts_each_tooth_from_the_next(rows):
    rest, faces, teeth = rows
    angle, points, corner = along_the_arch(rest, faces)
    light = teeth.light(points, corner)[:, 0]
    dark = (light[1:-1] < light[:-2]) & (light[1:-1] <= light[2:])
    found = angle[1:-1][dark]
    wanted = torch.cumsum(torch.tensor(UPPER), 0)
    wanted = wanted[wanted < 1.0]
    assert len(found) == len(wanted)
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0)
    assert light.max() <= 1 + UNLIKE
    assert light.min() > 0.2


def test_both_sides_are_alike_but_not_the_same(rows):
    rest, faces, teeth = rows
    left, right = (teeth.light(*along_the_arch(rest, faces, side=side)[1:]) for side in (1.0, -1.0))
    assert not torch.equal(left, right)
    assert (left / right - 1).abs().max() < 2.5 * UNLIKE


def test_gums_lie_over_the_roots_of_the_upper_row(rows):
    rest, faces, teeth = rows
    red = lambda light: light[..., 0] / light[..., 1]
    crown, root = (teeth.light(*along_the_arch(rest, faces, height=height)[1:]) for height in (0.15, 0.46))
    assert (red(root) / red(crown)).median() > 1.3
    _, points, upper = along_the_arch(rest, faces, height=0.46)
    lower = faces.unique()[rest[faces.unique(), 1].argmin()].expand_as(upper)
    assert (red(teeth.light(points, lower)) / red(crown)).median() < 1.1


def test_teeth_far_back_are_dark(rows):
    rest, faces, teeth = rows
    own = rest[faces.unique()]
    front, back = (own[:, 2] > own[:, 2].amax() - 0.01), own[:, 2] < own[:, 2].amin() + 0.01
    light = teeth.light(own, faces.unique()).mean(-1)
    assert light[back].mean() < 0.4 * light[front].mean()


def test_teeth_beside_the_cheeks_are_darker_and_redder(rows):
    rest, faces, teeth = rows
    light = teeth.light(*along_the_arch(rest, faces)[1:])
    front, side = light[:100].mean(0), light[-100:].mean(0)
    assert side.mean() < 0.7 * front.mean()
    assert side[0] / side[2] > 1.2 * front[0] / front[2]


def test_rows_are_told_apart(rows):
    rest, faces, teeth = rows
    narrow, wide = (teeth.light(*along_the_arch(rest, faces)[1:2], corner=corner) for corner in _one_of_each(rest, faces))
    assert not torch.allclose(narrow, wide, atol=0.05)


def test_a_head_without_teeth_has_none(rows):
    rest = rows[0]
    none = Teeth(rest, torch.zeros(0, 3, dtype=torch.long))
    assert none.light(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0, 3)


def _one_of_each(rest, faces):
    """Give one vertex of the lower and one of the upper row, for 400 points each."""
    own = faces.unique()
    return tuple(own[index].expand(400) for index in (rest[own, 1].argmin(), rest[own, 1].argmax()))


def test_a_photo_with_a_closed_mouth_has_teeth_behind_it():
    head = load_anny()
    identity, state, camera = head.neutral_identity(), head.rest_state(), camera_at(0.0)
    image, alpha = paint(head, head.vertices(identity, state)[0], camera)
    photo = PhotoSurface(make_reference(image, alpha, camera, head, identity, state))
    own = (photo.parts == PARTS.index("teeth")).nonzero()[:, 0]
    spread = torch.rand(len(own) * 50, 3, generator=torch.Generator().manual_seed(0))
    weights = spread / spread.sum(-1, keepdim=True)
    face = own.repeat_interleave(50)
    color, trust = photo.colors(face, weights)
    assert trust.max() < 0.3
    points = torch.einsum("pc,pcd->pd", weights, photo.reference.rest_vertices[photo.faces[face]])
    light = photo.teeth.light(points, photo.faces[face, 0])
    # Teeth are as bright as they are lit, gums are redder.
    assert torch.corrcoef(torch.stack([color.mean(-1), light.mean(-1)]))[0, 1] > 0.8
    gums = light[:, 0] > 1.2 * light[:, 1]
    assert gums.any()
    red = color[:, 0] / color[:, 1].clamp_min(1e-3)
    assert red[gums].median() > 1.2 * red[~gums].median()


@pytest.mark.parametrize(("shown", "trusted"), [((0.60, 0.25, 0.23), False), ((0.74, 0.68, 0.60), True)])
def test_only_what_looks_like_teeth_is_taken_for_teeth(shown, trusted):
    """A fit often parts lips farther than they are; what it then takes for teeth is lips."""
    head = load_anny()
    identity, camera = head.neutral_identity(), camera_at(0.0)
    state = replace(head.rest_state(), expression=head.rest_state().expression.clone())
    for name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"):
        state.expression[0, head.expression_names.index(name)] = 0.9
    vertices = head.vertices(identity, state)[0]
    image, alpha = paint(head, vertices, camera)
    face = rasterize_mesh(vertices[None], head.surface.faces, camera).face[0].long()
    teeth = (face >= 0) & (head.surface.parts[face.clamp_min(0)] == PARTS.index("teeth"))
    assert teeth.sum() > 20
    image[teeth] = torch.tensor(shown)
    lips = (face >= 0) & (head.surface.parts[face.clamp_min(0)] == PARTS.index("lips"))
    image[lips] = torch.tensor([0.60, 0.25, 0.23])
    photo = PhotoSurface(make_reference(image, alpha, camera, head, identity, state))
    drawn = rasterize_mesh(vertices[None], head.surface.faces, camera)
    color, trust = photo.colors(face[teeth], drawn.barycentric[0][teeth])
    as_shown = (color - torch.tensor(shown)).abs().amax(-1) < 0.02
    assert (as_shown & (trust > 0.5)).any() == trusted
    assert trusted or not as_shown.any()


def grinning(head, amount: float = 0.9):
    """Bare the teeth of a head."""
    state = replace(head.rest_state(), expression=head.rest_state().expression.clone())
    for name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"):
        state.expression[0, head.expression_names.index(name)] = amount * (0.4 if name == "jawOpen" else 1.0)
    return state


def with_row_moved(head, move: float):
    """Give the average person with the upper row higher by so many metres, and that row."""
    row = upper_row(head.template, head.surface.faces[head.surface.parts == PARTS.index("teeth")])
    identity = head.neutral_identity()
    identity.offsets[row, 1] += move
    return identity, row


def photographed(head, identity, state, enamel=(0.74, 0.68, 0.60)):
    """Paint a posed head near the camera: skin, red lips, enamel and a dark throat."""
    camera = replace(camera_at(0.0), width=512, height=512)
    camera.intrinsics[:, :2] *= 512 / 160
    vertices = head.vertices(identity, state)[0]
    face = rasterize_mesh(vertices[None], head.surface.faces, camera).face[0].long()
    inside = {"lips": (0.6, 0.25, 0.23), "teeth": enamel, "tongue": (0.3, 0.1, 0.1), "mouth": (0.1, 0.03, 0.03)}
    colors = torch.tensor([inside.get(part, (0.7, 0.5, 0.4)) for part in PARTS])
    return torch.where((face >= 0)[..., None], colors[head.surface.parts[face.clamp_min(0)]], 0.5), camera


@pytest.mark.parametrize("move", [-0.002, 0.0, 0.002])
def test_teeth_are_found_where_the_photo_shows_them(move):
    head = load_anny()
    somebody, row = with_row_moved(head, move)
    image, camera = photographed(head, somebody, grinning(head))
    found = place_teeth(head, head.neutral_identity(), grinning(head), camera, image)
    assert found.offsets[row, 1].mean() == pytest.approx(move, abs=0.0006)


def test_teeth_go_out_of_sight_where_an_open_mouth_shows_none():
    head = load_anny()
    identity, row = with_row_moved(head, 0.0)
    image, camera = photographed(head, identity, grinning(head), enamel=(0.1, 0.03, 0.03))
    found = place_teeth(head, identity, grinning(head), camera, image)
    assert found.offsets[row, 1].mean() > 0.002


def test_a_closed_mouth_says_nothing_about_teeth():
    head = load_anny()
    identity = head.neutral_identity()
    image, camera = photographed(head, identity, head.rest_state())
    assert place_teeth(head, identity, head.rest_state(), camera, image) is identity
