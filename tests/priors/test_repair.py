"""Masked repair on a head that was drawn from planted colours: what the photo shows stays, the rest is painted."""

from dataclasses import replace

import pytest
import torch

from tests.test_photo import camera_at, paint
from zero1toa.head import load_head
from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.pictures import near_avatar
from zero1toa.priors.projection import ProjectionPrior
from zero1toa.priors.repair import MaskedRepair, kept_share
from zero1toa.types import Camera, Reference

TINY = DiffusionConfig(size=64, steps=3)


@pytest.fixture(scope="module")
def drafts() -> ClipRequest:
    """Give grey renders of a head that was photographed from ahead, seen from ahead and from far to the side."""
    head = load_head()
    vertices = head.vertices(head.neutral_identity(), head.rest_state())[0]
    image, alpha = paint(head, vertices, camera_at(0.0))
    reference = Reference(image, alpha, camera_at(0.0), vertices, vertices, head.surface)
    cameras = [camera_at(0.0), camera_at(70.0)]
    outlines = torch.stack([paint(head, vertices, camera)[1] for camera in cameras])
    frames = torch.lerp(torch.full((3,), 0.9), torch.full((3,), 0.2), outlines[..., None])
    views, pixels = torch.cat([c.viewmats for c in cameras]), torch.cat([c.intrinsics for c in cameras])
    return ClipRequest(
        frames=frames, alpha=outlines, depth=torch.full_like(outlines, 9.0), landmarks=torch.zeros(2, 478, 3),
        cameras=Camera(views, pixels, 160, 160), vertices=vertices[None].expand(2, -1, -1), reference=reference,
        background=torch.full((3,), 0.9), strength=0.6, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_trust_decides_softly():
    assert kept_share(torch.tensor([0.0, 0.25, 0.35, 0.6, 1.0])).tolist() == [0, 0, 0, 1, 1]
    assert 0.4 < float(kept_share(torch.tensor(0.475))) < 0.6


def test_the_photo_is_laid_over_the_render_where_it_is_trusted(wan_vace, drafts):
    draft = MaskedRepair(DiffusionPrior(wan_vace, TINY)).drafted(drafts)
    warped, trust = ProjectionPrior().project(drafts)
    sure = trust > 0.95
    assert sure[0].sum() > 1000
    torch.testing.assert_close(draft.frames[sure], warped[sure], atol=0.05, rtol=0)
    assert torch.equal(draft.frames[trust == 0], drafts.frames[trust == 0])
    assert draft.kept is not None
    assert draft.kept[sure].eq(1).all()
    assert draft.kept[near_avatar(drafts) == 0].eq(1).all(), "the void is known"
    head = drafts.alpha > 0
    assert float(draft.kept[0][head[0]].mean()) > float(draft.kept[1][head[1]].mean()) + 0.1, "the side was not seen"


def test_kept_pixels_stay_and_the_others_are_painted(wan_vace, drafts):
    prior = MaskedRepair(DiffusionPrior(wan_vace, TINY))
    draft, painted = prior.drafted(drafts), prior.regenerate(drafts)
    assert draft.kept is not None
    assert torch.equal(painted[draft.kept == 1], draft.frames[draft.kept == 1])
    opened = (draft.kept == 0) & (near_avatar(drafts) == 1)
    assert opened.sum() > 500
    assert float((painted - draft.frames)[opened].abs().mean()) > 0.01
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_strength_zero_keeps_the_render(wan_vace, drafts):
    still = replace(drafts, strength=0.0)
    assert torch.equal(MaskedRepair(DiffusionPrior(wan_vace, TINY)).regenerate(still), drafts.frames)


def test_several_clips_at_once_are_those_one_by_one(wan_vace, drafts):
    prior = MaskedRepair(DiffusionPrior(wan_vace, replace(TINY, start="invert")))
    clips = [drafts, replace(drafts, frames=1 - drafts.frames)]
    for own, together in zip(map(prior.regenerate, clips), prior.regenerate_all(clips), strict=True):
        torch.testing.assert_close(own, together, atol=1e-3, rtol=1e-3)
    assert prior.name.startswith("wan-vace (3 steps")
