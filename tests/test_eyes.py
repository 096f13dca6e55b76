"""Eyes that a photo sees between lids: rings about the pupil have one colour all round."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from tests.test_photo import camera_at, paint
from zero1toa.head.anny import load_anny
from zero1toa.head.reference import make_reference
from zero1toa.render.eyes import Eyes
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.render.photo import PUPILS, PhotoSurface
from zero1toa.types import PARTS

PUPIL, IRIS, SCLERA = (0.05, 0.05, 0.05), (0.2, 0.4, 0.7), (0.8, 0.78, 0.75)
RADIUS, CENTRES = 0.012, torch.tensor([[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0]])


def painted(degrees: torch.Tensor) -> torch.Tensor:
    """Colour an eye by the angle from the middle of its pupil."""
    colors = torch.tensor([PUPIL, IRIS, SCLERA])
    return colors[(degrees > 10).long() + (degrees > 28).long()]


def spheres(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give points on two eyes that look along z, and their angles from the middle of the pupil, in degrees."""
    outwards = normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)
    eye = torch.arange(count) % 2
    return CENTRES[eye] + RADIUS * outwards, torch.rad2deg(torch.acos(outwards[:, 2]))


def test_a_ring_that_is_seen_below_is_known_above():
    rest, _ = spheres(600, 0)
    pupils = CENTRES + torch.tensor([0.0, 0.0, RADIUS])
    points, degrees = spheres(20_000, 1)
    seen = (points[:, 1] < 0.002) & (degrees < 60)
    eyes = Eyes(rest, torch.arange(600), pupils, points[seen], painted(degrees)[seen], torch.tensor(SCLERA))
    hidden = (points[:, 1] > 0.003) & ((degrees - 10).abs() > 4) & ((degrees - 28).abs() > 4)
    assert (eyes.colors(points[hidden]) - painted(degrees)[hidden]).abs().max() < 0.1


def test_an_eye_that_is_hidden_is_like_the_other():
    rest, degrees = spheres(600, 0)
    pupils = CENTRES + torch.tensor([0.0, 0.0, RADIUS])
    points, seen_at = spheres(20_000, 1)
    seen = (points[:, 0] > 0) & (seen_at < 60)
    eyes = Eyes(rest, torch.arange(600), pupils, points[seen], painted(seen_at)[seen], torch.tensor(SCLERA))
    hidden = (rest[:, 0] < 0) & ((degrees - 10).abs() > 4) & ((degrees - 28).abs() > 4)
    assert (eyes.colors(rest[hidden]) - painted(degrees)[hidden]).abs().max() < 0.1


@pytest.mark.parametrize("yaw", [65.0, -65.0])
def test_a_face_from_the_side_has_two_eyes(yaw):
    head, camera = load_anny(), camera_at(yaw)
    identity, vertices = head.neutral_identity(), head.template
    photo = PhotoSurface(make_reference(*paint(head, vertices, camera), camera, head, identity, head.rest_state()))
    assert photo.eyes is not None
    pupils = head.landmarks(vertices[None])[0, list(PUPILS)]
    assert photo.eyes.colors(pupils).isfinite().all()
    assert (photo.eyes.colors(pupils)[0] - photo.eyes.colors(pupils)[1]).abs().max() < 0.3


def test_rings_that_nothing_shows_are_white():
    rest, degrees = spheres(600, 0)
    pupils = CENTRES + torch.tensor([0.0, 0.0, RADIUS])
    iris = degrees < 20
    eyes = Eyes(rest, torch.arange(600), pupils, rest[iris], painted(degrees)[iris], torch.tensor(SCLERA))
    assert torch.allclose(eyes.colors(rest[degrees > 40]), torch.tensor(SCLERA), atol=1e-3)


@pytest.mark.parametrize("lids", ["eyeBlink", "eyeSquint"])
def test_what_lids_hide_in_the_photo_goes_on_round_the_iris(lids):
    head = load_anny()
    state, camera = head.rest_state(), replace(camera_at(0.0), width=640, height=640)
    camera.intrinsics[:, :2] *= 4
    for side in ("Left", "Right"):
        state.expression[0, head.expression_names.index(f"{lids}{side}")] = 0.4
    identity, vertices = head.neutral_identity(), head.vertices(head.neutral_identity(), state)[0]
    image, alpha = paint(head, vertices, camera)
    drawn = rasterize_mesh(vertices[None], head.surface.faces, camera)
    face = drawn.face[0].long()
    eye = (face >= 0) & (head.surface.parts[face.clamp_min(0)] == PARTS.index("eyes"))

    def degrees(triangle: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        rest = head.template
        points = (rest[head.surface.faces[triangle]] * shares[..., None]).sum(-2)
        own = rest[head.surface.faces[head.surface.parts == PARTS.index("eyes")].unique()]
        side = (points[:, 0] < 0).long()
        centres = torch.stack([own[own[:, 0] > 0].mean(0), own[own[:, 0] < 0].mean(0)])
        axes = normalize(head.landmarks(rest[None])[0, list(PUPILS)] - centres, dim=-1)
        cosine = (normalize(points - centres[side], dim=-1) * axes[side]).sum(-1)
        return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))

    image[eye] = painted(degrees(face[eye], drawn.barycentric[0][eye]))
    photo = PhotoSurface(make_reference(image, alpha, camera, head, identity, state))
    own = (head.surface.parts == PARTS.index("eyes")).nonzero()[:, 0]
    shares = torch.rand(len(own), 3, generator=torch.Generator().manual_seed(0))
    shares = shares / shares.sum(-1, keepdim=True)
    angle = degrees(own, shares)
    color, trust = photo.colors(own, shares)
    unseen = (trust < 0.05) & (angle < 50)
    assert (unseen & (angle < 24)).any()
    wrong = (color - painted(angle)).abs().mean(-1)
    assert wrong[unseen].median() < 0.08
