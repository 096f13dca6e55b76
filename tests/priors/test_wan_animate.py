"""The prior wan-animate, with tiny networks in the published layout: held against diffusers' own pipeline."""

import math
from dataclasses import replace

import pytest
import torch

from tests.priors.stock import FromSigmas, pictures
from zero1toa.priors.conditioning import SKELETON_STROKES, draw_landmarks
from zero1toa.priors.diffusion import shot_of
from zero1toa.priors.noise import denoise, flow_schedule
from zero1toa.priors.pictures import face_crops
from zero1toa.priors.wan_animate import SHIFT


def bytewise(x: torch.Tensor) -> torch.Tensor:
    """Round pictures from -1 to 1 to what bytes can hold."""
    return ((x + 1) / 2 * 255).round() / 255 * 2 - 1


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_denoising_is_that_of_the_pipeline_of_diffusers(wan_animate, request_of, monkeypatch, guidance):
    request = request_of(5, size=64)
    studied = wan_animate.study(photo := (request.frames[0] * 255).round() / 255)
    driven = wan_animate.conditions([shot_of(request, (64, 64))], studied)
    driven = replace(driven, faces=bytewise(driven.faces))
    schedule = flow_schedule(4, 1.0, shift=SHIFT)
    noisy = torch.randn(3, 1, 4, 8, 8)

    def ask(x, t, k):
        told, without = wan_animate.velocity(x, t, schedule.angles[k], driven, compare=guidance > 1)
        return told if without is None else without + guidance * (told - without)

    with torch.no_grad():
        ours = denoise(ask, noisy, schedule)[:, 0].transpose(0, 1) * wan_animate.space.spread + wan_animate.space.mean
    strokes = draw_landmarks(request.landmarks, 64, 64, strokes=SKELETON_STROKES)
    pipeline = wan_animate.pipeline
    # Its preparation of the photo for CLIP is not what is compared.
    monkeypatch.setattr(pipeline, "encode_image", lambda image, device: studied.seen)
    pipeline.scheduler = FromSigmas.of(schedule)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        image=pictures(photo[None])[0], pose_video=pictures(strokes),
        face_video=pictures((driven.faces[0].permute(1, 2, 3, 0) + 1) / 2), height=64, width=64,
        segment_frame_length=5, num_inference_steps=4,
        guidance_scale=guidance, prompt_embeds=wan_animate._words[1:], negative_prompt_embeds=wan_animate._words[:1],
        latents=noisy.permute(1, 2, 0, 3, 4), output_type="latent", return_dict=False,
    )[0]  # fmt: skip
    torch.testing.assert_close(ours[None], theirs, atol=1e-3, rtol=1e-3)


def test_guidance_in_one_batch_is_two_passes(wan_animate, request_of):
    request = request_of(5, size=64)
    driven = wan_animate.conditions([shot_of(request, (64, 64))], wan_animate.study(request.frames[0]))
    sample, words = torch.randn(3, 1, 4, 8, 8), wan_animate._words
    ask = lambda conditions, compare: wan_animate.velocity(sample, 500.0, math.pi / 4, conditions, compare=compare)
    with torch.no_grad():
        told, both = ask(driven, False)[0], ask(driven, True)
        wan_animate._words = words[:1]
        without = ask(replace(driven, faces=torch.full_like(driven.faces, -1)), False)[0]
        wan_animate._words = words
    for one, other in zip(both, (told, without), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_faces_are_cut_out_where_the_landmarks_are():
    frames = torch.zeros(2, 40, 60, 3)
    frames[0, 10:20, 30:40] = 1
    landmarks = torch.tensor([[30.0, 10, 1], [40.0, 20, 1]]).repeat(1, 239, 1).expand(2, -1, -1)
    cut = face_crops(frames, landmarks, 26)
    assert cut.shape == (2, 26, 26, 3)
    assert cut[0, 5:21, 5:21].eq(1).all()
    assert cut[0, :2].max() < 0.1
    assert not cut[1].any()
