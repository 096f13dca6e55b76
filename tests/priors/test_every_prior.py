"""What holds for every diffusion prior, with tiny networks."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.avatars import astronaut_photo
from zero1toa import cli
from zero1toa.export.package import load_avatar, read_details
from zero1toa.priors.aniportrait import AniPortrait
from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.noise import zero_snr_schedule
from zero1toa.priors.pictures import LatentSpace
from zero1toa.priors.tuning import tune
from zero1toa.types import PriorError

TINY = DiffusionConfig(size=64, steps=4)
MODELS = ("aniportrait", "echomimic", "animatediff", "wan_animate", "wan_vace")


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


def test_photo_pose_and_guidance_all_have_a_say(model, request_of):
    config = replace(TINY, guidance=3.0, guided=1.0)
    paint = lambda request, **settings: DiffusionPrior(model, replace(config, **settings)).regenerate(request)
    painted = paint(request_of())
    request = request_of()
    other = replace(request.reference, image=1 - request.reference.image)
    assert not torch.equal(painted, paint(replace(request_of(), reference=other)))
    # What repairs is told the pose by the pixels that stay.
    stays = torch.linspace(0, 1, 80).expand_as(request.alpha) if model.name == "wan-vace" else None
    posed = replace(request, landmarks=request.landmarks + 5, kept=stays)
    assert not torch.equal(painted, paint(replace(posed, generator=request_of().generator)))
    assert not torch.equal(painted, paint(request_of(), guided=0.0))


def test_several_clips_at_once_are_those_one_by_one(model, request_of):
    # Inversion is without chance, which clips at once share.
    prior = DiffusionPrior(model, replace(TINY, start="invert", guidance=3.0))
    requests: list[ClipRequest] = [request_of(), replace(request_of(), frames=1 - request_of().frames)]
    for own, together in zip(map(prior.regenerate, requests), prior.regenerate_all(requests), strict=True):
        torch.testing.assert_close(own, together, atol=1e-3, rtol=1e-3)


class Counting:
    """A model whose answers are known, which counts what it is asked."""

    name, steps, guidance, window, overlap = "counting", 10, 3.0, 2, 1

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def schedule(self, steps, strength):
        return zero_snr_schedule(steps).last(strength)

    def study(self, photo):
        return None

    def encode(self, frames, studied, *, exact):
        return frames.movedim(-1, 1)

    def decode(self, latents):
        return latents.movedim(1, -1)

    def conditions(self, shots, studied):
        return self

    def of(self, frames):
        return self

    def velocity(self, sample, timestep, angle, conditions, *, compare):
        self.asked.append(compare)
        return sample, sample - 0.01 if compare else None


def test_what_guidance_adds_is_believed_for_some_steps(request_of):
    # 10 steps, of which strength 0.6 takes 6, half of them with guidance; frames 0-2 are two windows.
    for every, compared in ((1, [True] * 3), (2, [True, False, True]), (3, [True, False, False])):
        model = Counting()
        DiffusionPrior(model, replace(TINY, steps=None, compare_every=every)).regenerate(request_of(3))
        assert model.asked == [asked for step in [*compared, False, False, False] for asked in (step, step)]
    plain = Counting()
    DiffusionPrior(plain, replace(TINY, steps=None, guidance=1.0)).regenerate(request_of(3))
    assert not any(plain.asked)
    paint = lambda every: DiffusionPrior(Counting(), replace(TINY, compare_every=every)).regenerate(request_of(3))
    torch.testing.assert_close(paint(1), paint(3))  # what is added never changes here


@pytest.mark.parametrize("kind", ["full", "tiny"])
def test_the_tiny_autoencoder_stands_in_where_it_may(hub, request_of, kind):
    space = LatentSpace.load(kind, torch.device("cpu"), torch.float32)
    mixed = LatentSpace.load("mixed", torch.device("cpu"), torch.float32)
    with torch.no_grad():
        frames = request_of(2, size=64).frames
        latents = space.encode(frames, exact=False)
        assert latents.shape == (2, 4, 8, 8)
        assert torch.equal(mixed.encode(frames, exact=False), latents) == (kind == "tiny")
        assert torch.equal(mixed.encode(frames, exact=True), latents) == (kind == "full")
        assert torch.equal(mixed.decode(latents), space.decode(latents)) == (kind == "full")


@pytest.mark.parametrize(("setting", "said"), [("precision", "bfloat16"), ("autoencoder", "mixed, full, tiny")])
def test_words_that_mean_nothing_are_refused_with_those_that_do(hub, setting, said):
    with pytest.raises(PriorError, match=said):
        AniPortrait(replace(TINY, **{setting: "most"}), torch.device("cpu"))


def test_settings_that_change_pictures_are_part_of_the_name(model):
    name = lambda **settings: DiffusionPrior(model, replace(TINY, **settings)).name
    assert name(eta=0.5, compare_every=3).endswith(", compare_every 3, eta 0.5)")
    assert name(compile=True, channels_last=True) == name()


def test_compiled_blocks_and_another_layout_say_the_same(hub, aniportrait, request_of):
    request = request_of(2, size=64)
    config = replace(TINY, pose_norm="running", steps=2)
    plain = DiffusionPrior(aniportrait, config).regenerate(request)
    tuned = AniPortrait(replace(config, channels_last=True), torch.device("cpu"))
    assert tuned.denoiser.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    # What takes long is not ours: code is traced here and not turned into machine code.
    part = tuned.denoiser.down_blocks[0]
    for module in part.modules():
        module.compile = partial(module.compile, backend="eager")
    tune(part, replace(config, compile=True))
    compiled = {type(module).__name__ for module in part.modules() if module._compiled_call_impl is not None}
    assert compiled == {"ResnetBlock2D", "FeedForward", "AnimateDiffTransformer3D"}
    torch.testing.assert_close(DiffusionPrior(tuned, config).regenerate(request_of(2, size=64)), plain, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", [model.replace("_", "-") for model in MODELS])
def test_a_photo_becomes_an_avatar_by_this_prior(hub, tmp_path, capsys, name):
    words = [
        "create", str(astronaut_photo()), "-o", str(tmp_path / "a"), "--prior", name, "--iterations", "8",
        "--splats", "2000", "--size", "64", "--frames", "2", "--portrait-size", "192", "--density-rounds", "0",
        "--update-every", "3", "--diffusion-size", "64", "--diffusion-steps", "2", "--device", "cpu",
    ]  # fmt: skip
    assert cli.main(words) == 0, capsys.readouterr().err
    saved = load_avatar(tmp_path / "a")
    assert len(saved.avatar) > 1000
    assert all(bool(torch.isfinite(weight).all()) for weight in saved.avatar.parameters())
    details = read_details(tmp_path / "a")
    assert (details.prior, details.iterations, details.finished) == (name, 8, True)
