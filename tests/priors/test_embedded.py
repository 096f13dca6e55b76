"""The prior that ships with the program, with a tiny network: what it may copy, and what it must not touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zero1toa.priors.base import Critic, DiffusionConfig
from zero1toa.priors.embedded.model import Conditions, CopyUNet, compose
from zero1toa.priors.embedded.prior import GIVES_WAY, EmbeddedPrior
from zero1toa.priors.noise import alphas_kept, zero_snr_schedule
from zero1toa.priors.pictures import keep_background, near_avatar
from zero1toa.priors.projection import ProjectionPrior
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import PARTS, PriorError

TINY = {"outer_channels": (8, 16), "inner_channels": (32, 32), "heads": 2, "key_channels": 8, "max_frames": 16}
CPU = torch.device("cpu")


@pytest.fixture
def chance() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def network(*, trained: bool = True) -> CopyUNet:
    """Give a tiny network; one that is `trained` says something of its own."""
    torch.manual_seed(0)
    net = CopyUNet(**TINY).eval().requires_grad_(False)
    if trained:
        torch.nn.init.normal_(net.outlet.weight, std=0.3)
    return net


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    network().save_pretrained(folder)
    return folder


def conditions(chance, *, clips=1, frames=2, size=64) -> Conditions:
    draw = lambda *shape: torch.rand(*shape, generator=chance)
    wide = (clips, frames, 3, size, size)
    return Conditions(
        warp=draw(*wide), confidence=draw(clips, frames, 1, size, size), render=draw(*wide),
        coverage=draw(clips, frames, 1, size, size), landmarks=draw(*wide), photo=draw(clips, 7, 64, 64),
        told=torch.ones(clips, 4),
    )  # fmt: skip


def recipe_of(net, told, *, level=999, studied=None, seed=0):
    noise = torch.randn(told.warp.shape, generator=torch.Generator().manual_seed(seed))
    count = len(told.warp)
    angle = torch.acos(alphas_kept()[level].sqrt()).repeat(count)
    return net(noise, torch.full((count,), float(level)), angle, told, studied)


def test_pictures_are_mixed_of_their_sources(chance):
    net, told = network(), conditions(chance)
    weights = recipe_of(net, told)[:, :4]
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))
    assert weights.min() >= 0


def test_an_untrained_network_gives_what_projection_gives(chance):
    net, told = network(trained=False), conditions(chance)
    unsure = replace(told, confidence=0.7 * told.confidence)
    painted = compose(recipe_of(net, unsure), told.warp[0], told.render[0], torch.full_like(told.warp[0], 0.5))
    projected = torch.lerp(told.render[0], told.warp[0], unsure.confidence[0])
    assert (painted - projected).abs().max() < 0.03


def test_where_the_warp_is_sure_it_is_the_picture(chance):
    net, told = network(), conditions(chance)
    sure = told.confidence[0] > 0.95
    painted = compose(recipe_of(net, told), told.warp[0], told.render[0], torch.rand_like(told.warp[0]))
    error = (painted - told.warp[0]).abs().amax(1, keepdim=True)
    assert sure.sum() > 100
    assert error[sure].max() < 1e-5
    assert error[told.confidence[0] < 0.7].mean() > 0.05


TOLD = {0: ("landmarks",), 1: ("warp", "confidence"), 2: ("render", "coverage"), 3: ("photo",)}


@pytest.mark.parametrize(("index", "names"), TOLD.items())
def test_what_is_withheld_has_no_say(chance, index, names):
    net, told = network(), conditions(chance)
    without = told.told.clone()
    without[0, index] = 0
    changed = replace(told, **{name: 1 - getattr(told, name) for name in names})
    assert not torch.equal(recipe_of(net, told), recipe_of(net, changed))
    first, second = (recipe_of(net, replace(asked, told=without)) for asked in (told, changed))
    # What is fetched is looked up all the same, and gets no weight.
    torch.testing.assert_close(first[:, :4], second[:, :4])
    torch.testing.assert_close(first[:, 7:], second[:, 7:])
    source = {1: 0, 2: 1, 3: 2}.get(index)
    if source is not None:
        assert first[:, source].max() < 1e-6


def test_colours_are_only_fetched_from_the_person(chance):
    net, told = network(), conditions(chance)
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    photo = torch.cat([red.expand(3, 64, 64), torch.ones(1, 64, 64), torch.rand(3, 64, 64, generator=chance)])
    photo[:4, :, :32] = 0  # nobody there
    told = replace(told, photo=photo[None], confidence=0.5 * told.confidence)
    fetched = recipe_of(net, told)[:, 4:7]
    torch.testing.assert_close(fetched, red.expand_as(fetched), atol=2e-3, rtol=0)


def test_the_photo_is_studied_once_as_well_as_every_time(chance):
    net, told = network(), conditions(chance, clips=2)
    torch.testing.assert_close(recipe_of(net, told), recipe_of(net, told, studied=net.study(told.photo)))


def test_clips_of_a_batch_do_not_see_each_other(chance):
    net, told = network(), conditions(chance, clips=2)
    other = replace(told, warp=torch.cat([told.warp[:1], 1 - told.warp[1:]]))
    torch.testing.assert_close(recipe_of(net, told)[:2], recipe_of(net, other)[:2])


def test_frames_of_a_clip_do(chance):
    net, told = network(), conditions(chance)
    other = replace(told, warp=torch.cat([told.warp[:, :1], 1 - told.warp[:, 1:]], 1))
    assert not torch.allclose(recipe_of(net, told)[0], recipe_of(net, other)[0])


def test_a_recipe_does_for_larger_pictures(chance):
    net, told = network(trained=False), conditions(chance)
    told = replace(told, confidence=torch.ones_like(told.confidence))
    sharp = torch.rand(2, 3, 256, 256, generator=chance)
    painted = compose(recipe_of(net, told), sharp, sharp, torch.zeros_like(sharp))
    assert (painted - sharp).abs().mean() < 0.05


def asked(drafts, **changes):
    """Ask for the drafts again, with their own chance."""
    return replace(drafts, generator=torch.Generator().manual_seed(0), **changes)


@pytest.mark.parametrize("start", ["sdedit", "invert", "invert_fp"])
def test_clips_are_regenerated_over_their_background(weights, drafts, start):
    prior = EmbeddedPrior(DiffusionConfig(start=start), CPU, weights=weights)
    frames = prior.regenerate(asked(drafts))
    assert frames.shape == drafts.frames.shape
    assert bool(torch.isfinite(frames).all())
    assert 0 <= float(frames.min()) <= float(frames.max()) <= 1
    assert float((frames - drafts.frames).abs().mean()) > 0.01
    assert torch.equal(frames, prior.regenerate(asked(drafts)))
    void = near_avatar(drafts) == 0
    assert torch.equal(frames[void], drafts.frames[void])


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_what_the_photo_knows_is_left_to_projection(weights, drafts, strength):
    request = asked(drafts, strength=strength)
    painted = EmbeddedPrior(DiffusionConfig(), CPU, weights=weights).regenerate(request)
    projected = keep_background(ProjectionPrior().regenerate(request), request)
    known = ProjectionPrior().project(drafts)[1] > GIVES_WAY[1]
    assert known[0].sum() > 1000
    torch.testing.assert_close(painted[known], projected[known], atol=1e-5, rtol=0)


def test_strength_zero_keeps_the_render(weights, drafts):
    prior = EmbeddedPrior(DiffusionConfig(), CPU, weights=weights)
    assert torch.equal(prior.regenerate(asked(drafts, strength=0.0)), drafts.frames)


def test_long_clips_are_seen_through_windows(weights, drafts):
    many = lambda values: torch.cat([values] * 4)
    cameras = replace(drafts.cameras, viewmats=many(drafts.cameras.viewmats), intrinsics=many(drafts.cameras.intrinsics))
    names = ("frames", "alpha", "depth", "landmarks", "vertices")
    long = asked(drafts, cameras=cameras, **{name: many(getattr(drafts, name)) for name in names})
    prior = EmbeddedPrior(DiffusionConfig(window=4, overlap=1, steps=2), CPU, weights=weights)
    assert prior.regenerate(long).shape == long.frames.shape


def test_guidance_leads_away_from_what_is_painted_without_the_photo(weights, drafts):
    paint = lambda guidance: EmbeddedPrior(DiffusionConfig(steps=2, guidance=guidance), CPU, weights=weights).regenerate(
        asked(drafts, strength=0.5)
    )
    plain, some, more = (paint(guidance) for guidance in (1.0, 1.5, 2.0))
    # One step from the same noise: what guidance adds grows with it, but where colours end or the photo is laid over it.
    alone = (ProjectionPrior().project(drafts)[1] < GIVES_WAY[0]) & (near_avatar(drafts) == 1)
    inside = alone & torch.stack([(frames > 0.01) & (frames < 0.99) for frames in (plain, some, more)]).all(0).all(-1)
    assert (plain - some)[inside].abs().mean() > 1e-4
    off = ((more - plain) - 2 * (some - plain))[inside].abs()
    # At the rim of what it paints, colours that ended are mixed with others.
    assert (off < 2e-3).float().mean() > 0.98


def test_all_but_skin_is_left_to_projection(weights, drafts):
    request = asked(drafts)
    painted = EmbeddedPrior(DiffusionConfig(), CPU, weights=weights).regenerate(request)
    surface = drafts.reference.surface
    face = rasterize_mesh(drafts.vertices, surface.faces, drafts.cameras).face.long()
    others = torch.tensor([PARTS.index(part) for part in ("scalp", "bust", "teeth", "tongue", "mouth")])
    elsewhere = (face < 0) | torch.isin(surface.parts[face.clamp_min(0)], others)
    projected = keep_background(ProjectionPrior().regenerate(request), request)
    assert elsewhere.float().mean() > 0.2
    torch.testing.assert_close(painted[elsewhere], projected[elsewhere], atol=1e-5, rtol=0)
    unknown = (ProjectionPrior().project(drafts)[1] < GIVES_WAY[0]) & ~elsewhere
    assert (painted - projected)[unknown].abs().max() > 0.01


def test_it_judges_in_one_step(weights, drafts):
    prior = EmbeddedPrior(DiffusionConfig(), CPU, weights=weights)
    assert isinstance(prior, Critic)
    faint, strong = (prior.predict_clean(asked(drafts, strength=level)) for level in (0.02, 0.98))
    assert bool(torch.isfinite(torch.stack([faint, strong])).all())
    assert not torch.equal(faint, strong)


def test_weights_of_something_else_are_refused(tmp_path):
    CopyUNet(**{**TINY, "key_channels": 16}).save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(PriorError, match="damaged"):
        EmbeddedPrior(DiffusionConfig(), CPU, weights=tmp_path)


def test_a_start_that_is_none_is_refused(weights):
    with pytest.raises(PriorError, match="sdedit"):
        EmbeddedPrior(DiffusionConfig(start="nowhere"), CPU, weights=weights)


def test_left_to_itself_it_takes_one_step_from_pure_noise(weights, drafts):
    alone, asked_to = (
        EmbeddedPrior(config, CPU, weights=weights) for config in (DiffusionConfig(), DiffusionConfig(steps=1, start="sdedit"))
    )
    assert alone.name == asked_to.name == "embedded (1 step, guidance 1, sdedit)"
    assert torch.equal(alone.regenerate(asked(drafts)), asked_to.regenerate(asked(drafts)))


def test_it_judges_what_has_been_noised_however_it_begins_clips(weights, drafts):
    judged = [
        EmbeddedPrior(DiffusionConfig(start=start), CPU, weights=weights).predict_clean(asked(drafts))
        for start in ("invert", "sdedit")
    ]
    assert torch.equal(*judged)


def test_the_levels_are_those_of_the_schedule():
    schedule, kept = zero_snr_schedule(4), alphas_kept()
    assert schedule.timesteps[0] == 999
    for timestep, angle in zip(schedule.timesteps, schedule.angles, strict=False):
        assert float(kept[int(timestep)].sqrt().acos()) == pytest.approx(angle, abs=1e-4)
