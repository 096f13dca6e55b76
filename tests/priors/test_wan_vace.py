"""The prior wan-vace, with tiny networks in the published layout: held against diffusers' own pipeline."""

import math
from dataclasses import replace

import pytest
import torch

from tests.priors.stock import FromSigmas, pictures
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior, shot_of
from zero1toa.priors.noise import denoise, flow_schedule
from zero1toa.priors.wan_vace import GREY, SHIFT

FLOW = flow_schedule(4, 1.0, shift=SHIFT)
HALF = 128 / 255  # the grey that bytes can hold


@pytest.fixture
def shot(request_of):
    """Give a clip of which a corner stays, in colours that bytes can hold."""
    request = request_of(5, size=64)
    kept = torch.zeros(5, 64, 64)
    kept[:, :40, :24] = 0.7
    return shot_of(replace(request, frames=(request.frames * 255).round() / 255, kept=kept), (64, 64))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_denoising_is_that_of_the_pipeline_of_diffusers(wan_vace, shot, guidance):
    photo, noisy = shot.frames[3], torch.randn(3, 1, 4, 8, 8)
    # The pipeline has mask * video, and its grey is not quite zero, in the place of what is to be changed.
    mask = (shot.kept < 0.5).float()[..., None].expand(-1, -1, -1, 3)
    video = torch.where(mask > 0, HALF, shot.frames)
    pipeline = wan_vace.pipeline
    with torch.no_grad():
        asked = wan_vace.conditions([shot], wan_vace.study(photo))
        given, hidden, references = pipeline.preprocess_conditions(
            pictures(video), pictures(mask), pictures(photo[None]), 1, 64, 64, 5, torch.float32, torch.device("cpu")
        )
        latents = pipeline.prepare_video_latents(given, hidden, references, None, torch.device("cpu"))
        torch.testing.assert_close(asked.control[:, 8:], pipeline.prepare_masks(hidden, references))
        # Grey to the half of a level of 255: where it stands, it is all but nothing.
        torch.testing.assert_close(asked.control[:, :8], latents, atol=2e-2, rtol=2e-2)
    asked = replace(asked, control=torch.cat([latents, asked.control[:, 8:]], 1))

    def ask(x, t, k):
        told, without = wan_vace.velocity(x, t, FLOW.angles[k], asked, compare=guidance > 1)
        return told if without is None else without + guidance * (told - without)

    with torch.no_grad():
        ours = denoise(ask, noisy, FLOW)[:, 0].transpose(0, 1)
    pipeline.scheduler = FromSigmas.of(FLOW)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        video=pictures(video), mask=pictures(mask), reference_images=pictures(photo[None]), height=64, width=64,
        num_frames=5, num_inference_steps=4, guidance_scale=guidance, prompt_embeds=wan_vace._words[1:],
        negative_prompt_embeds=wan_vace._words[:1], latents=noisy.permute(1, 2, 0, 3, 4), output_type="latent",
        return_dict=False,
    )[0]  # fmt: skip
    torch.testing.assert_close(ours[None], theirs, atol=1e-3, rtol=1e-3)


def test_the_mask_says_where_to_paint_and_is_folded_over_the_latents(wan_vace, shot):
    with torch.no_grad():
        control = wan_vace.conditions([shot], wan_vace.study(shot.frames[0])).control
    assert control.shape == (1, 2 * 4 + 64, 3, 8, 8)
    mask = control[0, 8:]
    assert not mask[:, 0].any(), "the photo stays"
    assert not mask[:, 1:, :5, :3].any()
    assert mask[:, 1:, 5:].all()
    assert mask[:, 1:, :, 3:].all()


def test_what_does_not_stay_is_not_shown(wan_vace, shot):
    other = replace(shot, frames=torch.where(shot.kept[..., None] > 0.5, shot.frames, 1 - shot.frames))
    with torch.no_grad():
        studied = wan_vace.study(shot.frames[0])
        one, same = (wan_vace.conditions([clip], studied).control for clip in (shot, other))
        changed = wan_vace.conditions([replace(shot, frames=1 - shot.frames)], studied).control
    assert torch.equal(one, same)
    assert not torch.equal(one, changed)
    assert GREY == 0.5


def test_guidance_in_one_batch_is_two_passes(wan_vace, shot, monkeypatch):
    sample, words = torch.randn(3, 2, 4, 8, 8), wan_vace._words
    with torch.no_grad():
        asked = wan_vace.conditions([shot, replace(shot, frames=1 - shot.frames)], wan_vace.study(shot.frames[0]))
        ask = lambda compare: wan_vace.velocity(sample, 500.0, math.pi / 4, asked, compare=compare)
        told, both = ask(False)[0], ask(True)
        monkeypatch.setattr(wan_vace, "_words", words[:1])
        without = ask(False)[0]
    assert not torch.equal(told, without)
    for one, other in zip(both, (told, without), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_what_is_kept_comes_back_as_it_was(wan_vace, request_of):
    kept = torch.zeros(5, 80, 80)
    kept[:, 30:60], kept[:, 60:] = 1.0, 0.5
    request = replace(request_of(5), kept=kept)
    painted = DiffusionPrior(wan_vace, DiffusionConfig(size=64, steps=2)).regenerate(request)
    assert torch.equal(painted[:, 30:60], request.frames[:, 30:60])
    moved = (painted - request.frames).abs().mean((0, 2, 3))
    assert float(moved[:30].mean()) > 0.01
    assert 0 < float(moved[60:].mean()) < float(moved[:30].mean())
