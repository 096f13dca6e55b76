"""Masked repair on a head that was drawn from planted colours: what the photo shows stays, the rest is painted."""

from dataclasses import replace

import torch

from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.pictures import near_avatar
from zero1toa.priors.projection import ProjectionPrior
from zero1toa.priors.repair import MaskedRepair, kept_share

TINY = DiffusionConfig(size=64, steps=3)


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
