"""What holds for every diffusion prior, with tiny networks."""

from dataclasses import replace

import pytest
import torch

from tests.avatars import astronaut_photo
from zero1toa import cli
from zero1toa.export.package import load_avatar, read_details
from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior

TINY = DiffusionConfig(size=64, steps=4)
MODELS = ("aniportrait", "echomimic", "animatediff", "wan_animate")


@pytest.fixture(params=MODELS)
def model(request):
    """Give the networks of each prior in turn."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("start", ["sdedit", "invert", "invert_fp"])
def test_a_clip_is_painted_anew_and_the_same_way_twice(model, request_of, start):
    prior = DiffusionPrior(model, replace(TINY, start=start))
    request = request_of()
    frames = prior.regenerate(request)
    assert frames.shape == request.frames.shape
    assert bool(torch.isfinite(frames).all())
    assert float(frames.min()) >= 0
    assert float(frames.max()) <= 1
    assert float((frames - request.frames).abs().mean()) > 0.01
    assert torch.equal(frames, prior.regenerate(request_of()))


def test_chance_comes_from_the_request(model, request_of):
    prior = DiffusionPrior(model, TINY)
    assert not torch.equal(prior.regenerate(request_of(seed=1)), prior.regenerate(request_of(seed=2)))


def test_strength_zero_keeps_the_render(model, request_of):
    request = request_of(strength=0.0)
    assert torch.equal(DiffusionPrior(model, TINY).regenerate(request), request.frames)


def test_photo_landmarks_and_guidance_all_have_a_say(model, request_of):
    config = replace(TINY, guidance=3.0, guided=1.0)
    paint = lambda request, **settings: DiffusionPrior(model, replace(config, **settings)).regenerate(request)
    painted = paint(request_of())
    request = request_of()
    other = replace(request.reference, image=1 - request.reference.image)
    assert not torch.equal(painted, paint(replace(request_of(), reference=other)))
    assert not torch.equal(painted, paint(replace(request_of(), landmarks=request.landmarks + 5)))
    assert not torch.equal(painted, paint(request_of(), guided=0.0))


def test_several_clips_at_once_are_those_one_by_one(model, request_of):
    # Inversion is without chance, which clips at once share.
    prior = DiffusionPrior(model, replace(TINY, start="invert", guidance=3.0))
    requests: list[ClipRequest] = [request_of(), replace(request_of(), frames=1 - request_of().frames)]
    for own, together in zip(map(prior.regenerate, requests), prior.regenerate_all(requests), strict=True):
        torch.testing.assert_close(own, together, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["full", "tiny"])
def test_the_tiny_autoencoder_stands_in_where_it_may(hub, request_of, kind):
    from zero1toa.priors.pictures import LatentSpace

    space = LatentSpace.load(kind, torch.device("cpu"), torch.float32)
    mixed = LatentSpace.load("mixed", torch.device("cpu"), torch.float32)
    with torch.no_grad():
        frames = request_of(2, size=64).frames
        latents = space.encode(frames, exact=False)
        assert latents.shape == (2, 4, 8, 8)
        assert torch.equal(mixed.encode(frames, exact=False), latents) == (kind == "tiny")
        assert torch.equal(mixed.encode(frames, exact=True), latents) == (kind == "full")
        assert torch.equal(mixed.decode(latents), space.decode(latents)) == (kind == "full")


@pytest.mark.parametrize("name", [model.replace("_", "-") for model in MODELS])
def test_a_photo_becomes_an_avatar_by_this_prior(hub, tmp_path, capsys, name):
    words = [
        "create", str(astronaut_photo()), "-o", str(tmp_path / "a"), "--prior", name, "--iterations", "20",
        "--splats", "2000", "--size", "64", "--frames", "2", "--portrait-size", "192", "--density-rounds", "0",
        "--update-every", "3", "--diffusion-size", "64", "--diffusion-steps", "2", "--device", "cpu",
    ]  # fmt: skip
    assert cli.main(words) == 0, capsys.readouterr().err
    saved = load_avatar(tmp_path / "a")
    assert len(saved.avatar) > 1000
    assert all(bool(torch.isfinite(weight).all()) for weight in saved.avatar.parameters())
    details = read_details(tmp_path / "a")
    assert (details.prior, details.iterations, details.finished) == (name, 20, True)
