"""What one photo knows about a surface, the prior that warps it, and the avatar seeded from it: planted answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from zero1toa.avatar.layer import discs
from zero1toa.avatar.rigged import Avatar
from zero1toa.avatar.seed import SeedConfig, seed_avatar
from zero1toa.geometry.camera import orbit_camera, project
from zero1toa.geometry.rotation import quaternion_to_matrix
from zero1toa.head import load_head
from zero1toa.head.reference import make_reference
from zero1toa.priors.base import ClipRequest
from zero1toa.priors.projection import ProjectionPrior
from zero1toa.render import rasterize
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.render.photo import PhotoSurface
from zero1toa.types import PARTS, Camera, HeadState, Reference

SIZE = 160
SKIN, SHIRT, LOUD = (0.7, 0.5, 0.4), (0.2, 0.3, 0.6), (0.0, 1.0, 0.0)


def camera_at(yaw: float) -> Camera:
    return orbit_camera(
        torch.tensor([yaw]), torch.zeros(1), target=torch.tensor([0.0, -0.04, -0.05]), distance=0.9, focal=330.0,
        width=SIZE, height=SIZE,
    )  # fmt: skip


def paint(head, vertices, camera, brightness=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the head with a shirt; skin is lighter towards the top, so that places can be told apart, or as told by vertex."""
    fragments = rasterize_mesh(vertices[None], head.surface.faces, camera)
    face = fragments.face[0]
    told = 1 + 2 * head.template[:, 1] if brightness is None else brightness
    there = (told[head.surface.faces[face.clamp_min(0)]] * fragments.barycentric[0]).sum(-1)
    color = torch.tensor(SKIN) * there[..., None]
    bust = head.surface.parts[face.clamp_min(0)] == PARTS.index("bust")
    color = torch.where(bust[..., None], torch.tensor(SHIRT), color)
    alpha = (face >= 0).float()
    return torch.where(alpha[..., None] > 0, color, torch.tensor(LOUD)), alpha


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def reference(head) -> Reference:
    identity, state, camera = head.neutral_identity(), head.rest_state(), camera_at(0.0)
    image, alpha = paint(head, head.vertices(identity, state)[0], camera)
    return make_reference(image, alpha, camera, head, identity, state)


def request(reference: Reference, frames: torch.Tensor, camera: Camera, strength: float = 1.0) -> ClipRequest:
    return ClipRequest(
        frames=frames, alpha=torch.ones(frames.shape[:3]), depth=torch.full(frames.shape[:3], 9.0),
        landmarks=torch.zeros(len(frames), 478, 3), cameras=camera,
        vertices=reference.vertices[None].expand(len(frames), -1, -1), reference=reference,
        background=torch.full((3,), 0.5), strength=strength, generator=torch.Generator(),
    )  # fmt: skip


def test_what_is_seen_head_on_has_its_pixel_and_full_trust(reference):
    photo = PhotoSurface(reference)
    fragments = rasterize_mesh(reference.vertices[None], reference.surface.faces, reference.camera)
    inner = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    inner[70:80, 70:90] = fragments.face[0, 70:80, 70:90] >= 0
    color, trust = photo.colors(fragments.face[0][inner], fragments.barycentric[0][inner])
    seen = trust > 0.95
    assert seen.float().mean() > 0.7
    assert (color[seen] - reference.image[inner][seen]).abs().max() < 0.03


def test_what_is_filled_in_does_not_depend_on_the_order_of_the_triangles(reference):
    surface = reference.surface
    order = torch.randperm(len(surface.faces), generator=torch.Generator().manual_seed(1))
    shuffled = replace(surface, faces=surface.faces[order], uv_faces=surface.uv_faces[order], parts=surface.parts[order])
    fill, other = PhotoSurface(reference).fill, PhotoSurface(replace(reference, surface=shuffled)).fill
    # Pixels that two triangles claim at one depth go to the first, so a few vertices may be seen by one and not the other.
    assert ((fill - other).abs().amax(-1) < 1e-3).float().mean() > 0.99


def test_no_background_colour_reaches_any_part_of_the_surface(reference):
    photo = PhotoSurface(reference)
    faces = torch.arange(len(photo.faces))
    color, _ = photo.colors(faces, torch.full((len(faces), 3), 1 / 3))
    # The loud background is green through and through; nothing painted is greener than it is red or blue.
    assert (color[:, 1] - color[:, [0, 2]].max(1).values).max() < 0.05


def far_cheek(head, reference: Reference, brightness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give colours and truth of the cheek that a photo from the side does not show and its twin does."""
    turned = camera_at(35.0)
    image, alpha = paint(head, reference.vertices, turned, brightness)
    photo = PhotoSurface(replace(reference, image=image, alpha=alpha, camera=turned))
    middle = reference.vertices[photo.faces].mean(1)
    skin = (photo.parts == PARTS.index("skin")) & (middle[:, 2] > -0.06) & (middle[:, 1] < 0.03)
    far = (skin & (middle[:, 0] < -0.045)).nonzero()[:, 0]
    color, trust = photo.colors(far, torch.full((len(far), 3), 1 / 3))
    borrowed = (trust > 0.3) & (trust < 0.65)
    assert borrowed.float().mean() > 0.4
    truth = torch.tensor(SKIN) * brightness[photo.faces[far]].mean(1, keepdim=True)
    return color[borrowed], truth[borrowed]


def test_the_far_cheek_borrows_from_its_twin(head, reference):
    # Light never looks just like paint, so some of this gradient is taken for light.
    color, truth = far_cheek(head, reference, 1 + 2 * head.template[:, 1])
    assert (color - truth).abs().mean() < 0.05


def test_the_far_cheek_is_lit_as_it_would_be(head, reference):
    lit = 0.7 + 0.3 * PhotoSurface(reference).normals[:, 0]
    color, truth = far_cheek(head, reference, lit)
    as_its_twin = torch.tensor(SKIN) * (1.4 - truth[:, :1] / SKIN[0])
    assert (color - truth).abs().mean() < 0.25 * (as_its_twin - truth).abs().mean()


def test_what_the_mouth_hides_is_not_the_colour_of_lips(reference):
    photo = PhotoSurface(reference)
    teeth = (photo.parts == PARTS.index("teeth")).nonzero()[:, 0]
    cavity = (photo.parts == PARTS.index("mouth")).nonzero()[:, 0]
    bary = torch.full((1, 3), 1 / 3)
    teeth_color, _ = photo.colors(teeth, bary.expand(len(teeth), 3).contiguous())
    cavity_color, _ = photo.colors(cavity, bary.expand(len(cavity), 3).contiguous())
    front = teeth_color[photo.reference.rest_vertices[photo.faces[teeth], 2].mean(1).topk(20).indices]
    assert front.mean() > 2 * cavity_color.median(0).values.mean()
    assert (front[:, 1] / front[:, 0]).median() > SKIN[1] / SKIN[0]


def test_projection_gives_back_the_photo_in_the_photos_own_view(reference):
    frames = torch.full((3, SIZE, SIZE, 3), 0.5)
    same = Camera(*(t.expand(3, *t.shape[1:]) for t in (reference.camera.viewmats, reference.camera.intrinsics)), SIZE, SIZE)
    clip = ProjectionPrior().regenerate(request(reference, frames, same))
    face = slice(60, 90), slice(65, 95)
    assert (clip[(slice(None), *face)] - reference.image[face]).abs().median() < 0.02


def test_projection_turns_the_head_as_the_painter_does(head, reference):
    truth, alpha = paint(head, reference.vertices, camera_at(25.0))
    frames = torch.full((1, SIZE, SIZE, 3), 0.5)
    clip = ProjectionPrior().regenerate(request(reference, frames, camera_at(25.0)))
    solid = alpha.bool()
    assert (clip[0] - truth)[solid].abs().mean() < 0.5 * (frames[0] - truth)[solid].abs().mean()


def test_projection_keeps_the_render_at_strength_zero_and_where_no_mesh_is(reference):
    frames = torch.rand(1, SIZE, SIZE, 3)
    prior = ProjectionPrior()
    assert torch.equal(prior.regenerate(request(reference, frames, camera_at(0.0), strength=0.0)), frames)
    clip = prior.regenerate(request(reference, frames, camera_at(0.0)))
    bare = rasterize_mesh(reference.vertices[None], reference.surface.faces, camera_at(0.0)).face < 0
    assert torch.equal(clip[bare], frames[bare])


def seeded(head, reference: Reference, state: HeadState | None = None, splats: int = 20_000) -> Avatar:
    """Make the first avatar of a person."""
    return seed_avatar(
        PhotoSurface(reference), head, head.neutral_identity(), state or head.rest_state(), SeedConfig(splats=splats),
        torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_the_first_avatar_shows_the_photo_and_stays_inside_its_outline(head, reference):
    state = head.rest_state()
    avatar = seeded(head, reference)
    drawn = rasterize(avatar.pose(state), reference.camera, background=torch.full((3,), 0.5))
    shown = reference.image * reference.alpha[..., None] + 0.5 * (1 - reference.alpha[..., None])
    error = (drawn.color[0].detach() - shown).square().mean()
    assert -10 * torch.log10(error) > 22
    from scipy.ndimage import distance_transform_edt

    outside = torch.from_numpy(distance_transform_edt(reference.alpha.numpy() < 0.5) > 4)
    assert drawn.alpha[0][outside].max() < 0.25


def test_the_same_seed_gives_the_same_avatar(head, reference):
    photo, state = PhotoSurface(reference), head.rest_state()

    def made(seed: int) -> np.ndarray:
        chance = torch.Generator().manual_seed(seed)
        avatar = seed_avatar(photo, head, head.neutral_identity(), state, SeedConfig(splats=4_000), chance)
        return avatar.centre.detach().numpy()

    assert np.array_equal(made(1), made(1))
    assert made(1).shape != made(2).shape or not np.array_equal(made(1), made(2))


# ----------------------------------------------------------------------------------------------------------- mouth


def opened(head, how_far: float) -> HeadState:
    """Part the lips and drop the jaw."""
    state = head.rest_state()
    expression = state.expression.clone()
    for name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"):
        expression[0, head.expression_names.index(name)] = how_far
    return replace(state, expression=expression)


def bared_teeth(head, avatar: Avatar) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw an avatar with its mouth open, from near; give its colours where the mesh bares teeth, and the mesh's own.

    A rim of three pixels is left to the lips, which are as soft as their splats.
    """
    state = opened(head, 0.5)
    close = orbit_camera(
        torch.zeros(1), torch.zeros(1), target=torch.tensor([0.0, -0.07, 0.0]), distance=0.9, focal=2400.0,
        width=SIZE, height=SIZE,
    )  # fmt: skip
    vertices = head.vertices(head.neutral_identity(), state)
    drawn = rasterize_mesh(vertices, head.surface.faces, close)
    face = drawn.face[0].long()
    teeth = (face >= 0) & (head.surface.parts[face.clamp_min(0)] == PARTS.index("teeth"))
    teeth = -max_pool2d(-teeth[None].float(), 7, 1, 3)[0] > 0
    assert teeth.sum() > 200
    color = rasterize(avatar.pose(state), close, background=torch.zeros(3)).color[0].detach()
    closed = make_reference(
        *paint(head, head.template, camera_at(0.0)), camera_at(0.0), head, head.neutral_identity(), head.rest_state()
    )
    return color[teeth], PhotoSurface(closed).colors(face[teeth], drawn.barycentric[0][teeth])[0]


def test_nothing_hangs_before_the_teeth_when_the_mouth_opens(head, reference):
    shown, wanted = bared_teeth(head, seeded(head, reference, splats=75_000))
    assert (shown - wanted).abs().mean() < 0.05


def test_the_line_between_closed_lips_stays_on_the_lips(head):
    """A fit parts lips by a pixel or two; what is seen there is not teeth."""
    identity, state, camera = head.neutral_identity(), opened(head, 0.12), camera_at(0.0)
    vertices = head.vertices(identity, state)[0]
    image, alpha = paint(head, vertices, camera)
    face = rasterize_mesh(vertices[None], head.surface.faces, camera).face[0].long()
    slit = (face >= 0) & (head.surface.parts[face.clamp_min(0)] == PARTS.index("teeth"))
    assert slit.sum() > 3
    image[slit] = torch.tensor([0.15, 0.05, 0.05])
    reference = make_reference(image, alpha, camera, head, identity, state)
    assert (PhotoSurface(reference).parts_seen()[slit] == PARTS.index("lips")).all()
    shown, wanted = bared_teeth(head, seeded(head, reference, state, splats=75_000))
    assert (shown - wanted).abs().mean(-1).median() < 0.06


# ------------------------------------------------------------------------------------------------------------ lids


def eyes_shut(head) -> HeadState:
    """Shut both eyes."""
    state = head.rest_state()
    expression = state.expression.clone()
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        expression[0, head.expression_names.index(name)] = 1.0
    return replace(state, expression=expression)


@pytest.fixture(scope="module")
def creased(head, reference) -> tuple[Reference, torch.Tensor, torch.Tensor]:
    """Photograph eyes, of which the right one lies in shadow, below dark brows and with nearly black creases.

    Comes with the mesh's triangles as the same camera sees them when the eyes are shut, and which of them are creases.
    """
    identity, state = head.neutral_identity(), head.rest_state()
    shut = head.vertices(identity, eyes_shut(head))
    crease = PhotoSurface(reference).lids_growth(shut[0]) > 2.5
    lids = head.template[head.surface.faces[head.surface.parts == PARTS.index("eyelids")].unique()]
    brightness = torch.where(head.template[:, 0] < 0, 0.6, 1.0)
    brows = (torch.cdist(head.template, lids).amin(1) < 0.01) & (head.template[:, 1] > lids[:, 1].max())
    brightness[brows] = 0.3
    brightness[head.surface.faces[crease].unique()] = 0.1
    close = orbit_camera(
        torch.zeros(1), torch.zeros(1), target=torch.zeros(3), distance=0.9, focal=1200.0, width=2 * SIZE, height=2 * SIZE
    )
    image, alpha = paint(head, head.template, close, brightness)
    face = rasterize_mesh(shut, head.surface.faces, close).face[0]
    there = (face >= 0) & crease[face.clamp_min(0)]
    assert there.sum() > 300
    return make_reference(image, alpha, close, head, identity, state), face, there


def test_a_shut_lid_is_like_the_skin_around_its_eye(head, creased):
    reference, face, there = creased
    shut = head.vertices(head.neutral_identity(), eyes_shut(head))[0]
    color, _ = PhotoSurface(reference).colors(face[there], torch.full((int(there.sum()), 3), 1 / 3), shut)
    right = shut[head.surface.faces[face[there]], 0].mean(1) < 0
    for own, brightness in ((right, 0.6), (~right, 1.0)):
        assert (color[own] - brightness * torch.tensor(SKIN)).abs().median() < 0.04


def test_a_black_photo_has_colours_that_are_numbers(reference):
    """Against what skin around an eye is bright, all of it could be nothing by nothing."""
    photo = PhotoSurface(replace(reference, image=torch.zeros_like(reference.image)))
    assert torch.isfinite(photo.fill).all()


def test_a_crease_does_not_become_a_shadow_on_the_shut_lid(head, creased):
    reference, _, there = creased
    pose = seeded(head, reference, splats=75_000).pose(eyes_shut(head))
    drawn = rasterize(pose, reference.camera, background=torch.zeros(3)).color[0].detach()
    assert (drawn[there].mean(-1) > 0.4 * torch.tensor(SKIN).mean()).float().mean() > 0.3


# ------------------------------------------------------------------------------------------------------------ neck


def test_a_collar_does_not_colour_the_nape(head, reference):
    image = reference.image.clone()
    image[PhotoSurface(reference).parts_seen() == PARTS.index("neck")] = torch.tensor(SHIRT)
    neck = head.surface.faces[head.surface.parts == PARTS.index("neck")].unique()
    nape = neck[head.template[neck, 1] > head.template[neck, 1].quantile(0.9)]
    fill = PhotoSurface(replace(reference, image=image)).fill[nape].mean(0)
    assert (fill - torch.tensor(SKIN)).norm() < 0.8 * (fill - torch.tensor(SHIRT)).norm()


def test_a_neck_narrower_than_the_mesh_is_closed_from_the_side(head, reference):
    neck = head.surface.faces[head.surface.parts == PARTS.index("neck")].unique()
    middle, top, bottom = head.template[neck].mean(0), head.template[neck, 1].max(), head.template[neck, 1].min()
    chin = project(head.landmarks(reference.vertices[None]), reference.camera)[0, 152, 1]
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    below = rows > chin
    bust = PhotoSurface(reference).parts_seen() == PARTS.index("bust")
    beside = below & ~bust & ((columns - SIZE / 2).abs() > 11)
    assert (beside & (reference.alpha > 0.5)).sum() > 100, "the mesh's neck is wider"
    narrow = replace(reference, alpha=torch.where(beside, 0.0, reference.alpha))
    avatar = seeded(head, narrow)
    levels = torch.linspace(0.7, 0.88, 7)[:, None]
    places = torch.cat([middle[:1].expand(7, 1), top + (bottom - top) * levels, middle[2:].expand(7, 1)], 1)
    side = camera_at(90.0)
    x, y = project(places[None], side)[0, :, :2].long().unbind(-1)
    with torch.no_grad():
        assert rasterize(avatar.pose(head.rest_state()), side, background=torch.zeros(3)).alpha[0][y, x].min() > 0.9


# ------------------------------------------------------------------------------------------------------------ hair

HAIR = (0.15, 0.08, 0.05)
# Where pictures from behind show long hair, and the back of the head above it.
BEHIND, CROWN = np.s_[60:110, 48:112], np.s_[30:50, 68:92]


@pytest.fixture(scope="module")
def long_haired(head, reference) -> Reference:
    """The same person with long hair: a dark cap above the brows and curtains on both sides down to the shoulders."""
    image, alpha = reference.image.clone(), reference.alpha.clone()
    pixels = project(head.landmarks(reference.vertices[None]), reference.camera)[0, :, :2]
    brow, chin = pixels[105, 1].item(), pixels[152, 1].item()
    left, right = pixels[234, 0].item(), pixels[454, 0].item()
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    curtain = (y > brow) & (y < chin + 8) & (((x > left - 14) & (x < left + 2)) | ((x > right - 2) & (x < right + 14)))
    cap = (alpha > 0) & (y < brow - 6)
    image[curtain | cap] = torch.tensor(HAIR)
    alpha[curtain] = 1.0
    return replace(reference, image=image, alpha=alpha)


def test_the_back_of_the_head_continues_the_hair_before_it(head, long_haired):
    photo = PhotoSurface(long_haired)
    assert photo.band is not None
    back = (head.surface.parts == PARTS.index("scalp")) & (photo.normals[head.surface.faces][..., 2].mean(1) < -0.5)
    face = back.nonzero()[:, 0]
    color, trust = photo.colors(face, torch.full((len(face), 3), 1 / 3))
    assert (color - torch.tensor(HAIR)).abs().max() < 0.1
    assert 0.2 < trust.mean() < 0.5


def test_the_two_sides_of_hair_meet_softly_behind(head, long_haired):
    light = (0.55, 0.4, 0.25)
    hair = (long_haired.image - torch.tensor(HAIR)).abs().amax(-1) < 0.02
    image = long_haired.image.clone()
    image[hair & (torch.arange(SIZE) > SIZE // 2)] = torch.tensor(light)
    both = replace(long_haired, image=image)
    behind = drawn(head, both, 180.0)[0][BEHIND].mean((0, -1))
    whole = (behind[:4].mean() - behind[-4:].mean()).abs()
    assert whole > 0.5 * (sum(light) - sum(HAIR)) / 3, "each side keeps its own colour"
    assert (behind[4:] - behind[:-4]).abs().max() < 0.35 * whole, "and no line parts them"


def test_where_long_hair_leaves_the_head_it_has_the_head_s_own_colour(head, long_haired):
    """Dark hair above the brows and light curtains below: from behind, one turns into the other without spots."""
    brow = project(head.landmarks(long_haired.vertices[None]), long_haired.camera)[0, 105, 1]
    light = (long_haired.image - torch.tensor(HAIR)).abs().amax(-1) < 0.02
    light &= torch.arange(SIZE)[:, None] > brow
    image = torch.where(light[..., None], torch.tensor((0.55, 0.4, 0.25)), long_haired.image)
    behind = drawn(head, replace(long_haired, image=image), 180.0)[0].mean(-1)[40:100, 66:94]
    assert behind[-5:].mean() - behind[:5].mean() > 0.2
    assert behind[12:35].std(1).max() < 0.06, "no row has spots"
    assert behind.mean(1).diff().min() > -0.03, "and it only gets lighter"


def test_hair_far_behind_has_strands_where_the_photo_has(head, long_haired):
    hair = (long_haired.image - torch.tensor(HAIR)).abs().amax(-1) < 0.02
    stripes = 0.7 + 0.6 * (torch.arange(SIZE) // 3 % 2)[None, :, None].float()
    striped = replace(long_haired, image=torch.where(hair[..., None], long_haired.image * stripes, long_haired.image))
    bands = [PhotoSurface(person).band for person in (long_haired, striped)]
    assert bands[0] is not None
    assert bands[1] is not None
    assert bands[0].contrast < 0.02
    assert bands[1].contrast > 0.2
    plain, stranded = (drawn(head, person, 180.0)[0][CROWN].mean(-1).std() for person in (long_haired, striped))
    assert stranded > 3 * plain


def test_a_bald_head_gets_no_hair(head, reference):
    photo = PhotoSurface(reference)
    back = (head.surface.parts == PARTS.index("scalp")) & (photo.normals[head.surface.faces][..., 2].mean(1) < -0.5)
    face = back.nonzero()[:, 0]
    color, _ = photo.colors(face, torch.full((len(face), 3), 1 / 3))
    assert (color.mean(0) - torch.tensor(SKIN)).abs().max() < 0.15


def drawn(head, reference: Reference, yaw: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the first avatar of a person; gives colour and alpha."""
    avatar = seeded(head, reference)
    with torch.no_grad():
        picture = rasterize(avatar.pose(head.rest_state()), camera_at(yaw), background=torch.full((3,), 0.5))
    return picture.color[0], picture.alpha[0]


def nape_unlike_hair(head, reference: Reference) -> float:
    """Say how far the nape's colours are from those of hair."""
    column, row = project(head.landmarks(head.template[None]), camera_at(180.0))[0, 152, :2].long().tolist()
    nape = drawn(head, reference, 180.0)[0][row - 8 : row, column - 6 : column + 6]
    return float((nape - torch.tensor(HAIR)).abs().mean())


def test_long_hair_goes_round_behind_the_neck_and_stays_inside_the_outline(head, reference, long_haired):
    assert nape_unlike_hair(head, long_haired) < 0.5 * nape_unlike_hair(head, reference)
    from scipy.ndimage import distance_transform_edt

    outside = torch.from_numpy(distance_transform_edt(long_haired.alpha.numpy() < 0.5) > 4)
    assert drawn(head, long_haired, 0.0)[1][outside].max() < 0.25


def test_discs_on_a_slope_look_round_from_the_camera(reference):
    tilt = torch.linspace(0.1, 1.2, 8)
    still = torch.zeros_like(tilt)
    normals, view = torch.stack([tilt.sin(), still, tilt.cos()], -1), torch.tensor([0.0, 0.0, 1.0]).expand(8, 3)
    flat = discs(
        PhotoSurface(reference), torch.zeros(8, dtype=torch.long), torch.zeros(8, 3), torch.full((8,), 0.002),
        torch.zeros(8, 3), torch.ones(8), normals, still, view,
    )  # fmt: skip
    turn = quaternion_to_matrix(flat.quats)
    spread = turn @ torch.diag_embed(flat.scales**2) @ turn.mT
    torch.testing.assert_close(spread[:, :2, :2], (0.002**2 * torch.eye(2)).expand(8, 2, 2), atol=1e-9, rtol=1e-3)


def test_shoulders_wider_than_the_person_leave_no_hole_from_the_side(head, reference):
    middle, chin = project(head.landmarks(reference.vertices[None]), reference.camera)[0, 152, :2].long().tolist()
    narrow = (torch.arange(SIZE) - middle).abs() < 0.6 * (reference.alpha[-4] > 0.5).sum() / 2
    slim = replace(reference, alpha=torch.where(torch.arange(SIZE)[:, None] > chin, reference.alpha * narrow, reference.alpha))
    assert (reference.alpha - slim.alpha).sum() > 200
    for yaw in (-100.0, 100.0):
        chest = drawn(head, slim, yaw)[1][chin + 30 : SIZE - 4]
        for row in chest:
            inside = (row > 0.5).nonzero()[:, 0]
            assert row[inside.min() + 2 : inside.max() - 1].min() > 0.9


def test_what_hair_shows_beside_the_neck_is_not_seen_again_behind_it(head, reference, long_haired):
    red = torch.tensor((0.8, 0.1, 0.1))
    from scipy.ndimage import distance_transform_edt

    beside = torch.from_numpy(distance_transform_edt(reference.alpha.numpy() < 0.5) < 5) & (reference.alpha < 0.5)
    below = torch.arange(SIZE)[:, None] > project(head.landmarks(reference.vertices[None]), reference.camera)[0, 17, 1]
    stained = torch.where((beside & below & (long_haired.alpha > 0.5))[..., None], red, long_haired.image)
    assert (stained != long_haired.image).any(-1).sum() > 50
    behind = drawn(head, replace(long_haired, image=stained), 180.0)[0]
    assert (behind[:, 60:100] - red).abs().mean(-1).min() > 0.16


def test_hair_beside_the_cheeks_hangs_from_the_ears(head, reference, long_haired):
    avatar = seeded(head, long_haired)
    with torch.no_grad():
        means = avatar.pose(head.rest_state()).means[0]
    x, y, _ = project(means[None], reference.camera)[0].unbind(-1)
    pixels = project(head.landmarks(reference.vertices[None]), reference.camera)[0, :, :2]
    eyes = head.template[head.surface.faces[head.surface.parts == PARTS.index("eyes")]].mean((0, 1))
    beside = ((x < pixels[234, 0] - 3) | (x > pixels[454, 0] + 3)) & (y > pixels[33, 1] + 2) & (y < pixels[17, 1])
    assert beside.sum() > 100
    # Ears are nine centimetres behind the eyes; faces look along z.
    assert means[beside, 2].max() < eyes[2] - 0.055


def test_a_beard_that_stands_off_the_jaw_does_not_go_round_behind_the_neck(head, reference, long_haired):
    pixels = project(head.landmarks(reference.vertices[None]), reference.camera)[0, :, :2]
    brow, chin = pixels[105, 1], int(pixels[152, 1])
    rows = torch.arange(SIZE)[:, None]
    at_the_jaw = (rows > chin - 8) & (rows < chin)
    bearded = replace(
        reference,
        image=torch.where((at_the_jaw | (rows < brow))[..., None], long_haired.image, reference.image),
        alpha=torch.where(at_the_jaw, long_haired.alpha, reference.alpha),
    )
    assert (bearded.alpha - reference.alpha).sum() > 50
    nape = drawn(head, bearded, 180.0)[0][chin - 14 : chin + 4, 60:100]
    assert ((nape - torch.tensor(HAIR)).abs().amax(-1) < 0.15).sum() == 0
