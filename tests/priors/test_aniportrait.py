"""The prior aniportrait as a whole, with tiny networks: clips in, clips out."""

from dataclasses import replace

import pytest
import torch

from tests.priors.tiny_hub import POSE, random_pose_guider
from zero1toa.priors.aniportrait import AniPortrait
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.pictures import keep_background, working_size
from zero1toa.types import PriorError

TINY = DiffusionConfig(size=64, steps=4)


def test_guidance_of_one_is_none(aniportrait, request_of):
    paint = lambda **settings: DiffusionPrior(aniportrait, replace(TINY, **settings)).regenerate(request_of())
    assert torch.equal(paint(guidance=1.0), paint(guided=0.0))


def test_long_clips_go_through_windows(aniportrait, request_of):
    prior = DiffusionPrior(aniportrait, replace(TINY, window=4, overlap=2, steps=2))
    assert prior.regenerate(request_of(7)).shape == (7, 80, 80, 3)


def test_the_photo_is_studied_once(aniportrait, request_of, monkeypatch):
    calls = []
    monkeypatch.setattr(aniportrait.reference_net, "forward", _counting(aniportrait.reference_net.forward, calls))
    prior = DiffusionPrior(aniportrait, replace(TINY, steps=2))
    request = request_of()
    prior.regenerate(request)
    prior.regenerate(request)
    assert len(calls) == 1
    prior.regenerate(replace(request, reference=replace(request.reference)))
    assert len(calls) == 2


def _counting(forward, calls):
    def counted(*args, **kwargs):
        calls.append(1)
        return forward(*args, **kwargs)

    return counted


def test_drawings_run_through_the_pose_network_once_an_update(aniportrait, request_of, monkeypatch):
    calls = []
    monkeypatch.setattr(aniportrait.guider, "forward", _counting(aniportrait.guider.forward, calls))
    DiffusionPrior(aniportrait, TINY).regenerate(request_of())
    assert len(calls) == 1


def test_pose_maps_have_the_sizes_of_the_denoisers_levels(aniportrait, request_of):
    maps = aniportrait.control(request_of(2).landmarks, 128, 128)
    assert [tuple(added.shape) for added in maps] == [
        (2, 32, 16, 16), (2, 32, 8, 8), (2, 64, 4, 4), (2, 128, 2, 2), (2, 128, 2, 2)
    ]  # fmt: skip
    assert POSE.channels == (32, 64, 128, 128)


def test_running_statistics_treat_every_frame_alike_and_batch_statistics_do_not(hub, aniportrait, request_of):
    landmarks = request_of(3).landmarks
    other = landmarks.clone()
    other[1:] -= 7
    first = lambda model, points: model.control(points, 64, 64)[0][0]
    torch.testing.assert_close(first(aniportrait, landmarks), first(aniportrait, other))
    parity = AniPortrait(DiffusionConfig(pose_norm="batch"), torch.device("cpu"))
    assert float((first(parity, landmarks) - first(parity, other)).abs().max()) > 1e-4


def test_batch_statistics_are_those_of_training_mode():
    guider, drawings = random_pose_guider(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        expected = guider.train()(drawings)
        guider.eval().use_batch_statistics()
        maps = guider(drawings)
    for a, b in zip(maps, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_pose_network_sees_drawings_from_minus_one_to_one(aniportrait, request_of, monkeypatch):
    seen = []
    monkeypatch.setattr(aniportrait.guider, "forward", lambda x: seen.append(x) or ())
    landmarks = request_of(2).landmarks
    aniportrait.control(landmarks, 64, 64)
    drawn = draw_landmarks(landmarks, 64, 64).movedim(-1, 1)
    torch.testing.assert_close(seen[0], 2 * drawn - 1)


def test_the_background_stays_as_it_is_away_from_the_head(request_of):
    request = request_of(2)
    alpha = torch.zeros(2, 80, 80)
    alpha[:, 30:50, 30:50] = 1
    request = replace(request, alpha=alpha)
    kept = keep_background(torch.ones_like(request.frames), request)
    assert kept[:, 32:48, 32:48].eq(1).all()
    assert torch.equal(kept[:, :16], request.frames[:, :16])


def test_sizes_can_be_halved_six_times():
    assert working_size(384, 384, 512) == (512, 512)
    assert working_size(300, 400, 512) == (384, 512)
    assert working_size(10, 400, 64) == (64, 64)


@pytest.mark.parametrize(
    ("settings", "said"), [({"start": "random"}, "invert_fp"), ({"pose_norm": "both"}, "batch or running")]
)
def test_settings_that_mean_nothing_are_refused(hub, settings, said):
    config = replace(TINY, **settings)
    with pytest.raises(PriorError, match=said):
        DiffusionPrior(AniPortrait(config, torch.device("cpu")), config)
