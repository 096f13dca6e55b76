"""The prior echomimic, with tiny networks: what differs from aniportrait."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.priors.tiny_hub import LOCATOR
from zero1toa.assets import weights_path
from zero1toa.priors import load_prior
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.checkpoint import read_tensors
from zero1toa.priors.conditioning import DOTS, OVAL, draw_landmarks
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.echomimic import DRAWN, FILES, HEARING, REPO, EchoMimic, FaceLocator, convert, locator_widths
from zero1toa.priors.reference import TokenAttention
from zero1toa.priors.unets import UNetShape, build_reference_net, denoiser_tensors
from zero1toa.types import PriorError

TINY = DiffusionConfig(size=64)


def test_loading_is_strict_and_gives_back_what_was_written(hub, echomimic):
    spatial, motion, reference, locator = (read_tensors(weights_path(REPO, file)) for file in FILES)
    last = {"conv_norm_out.weight", "conv_out.bias"}
    for net, tensors in (
        (echomimic.denoiser, denoiser_tensors(spatial, motion)),
        (echomimic.reference_net, {key: tensor for key, tensor in reference.items() if key not in last}),
        (echomimic.locator, locator),
    ):
        loaded = net.state_dict()
        assert loaded.keys() == tensors.keys(), "none missing, none unexpected"
        for key, tensor in tensors.items():
            torch.testing.assert_close(loaded[key], tensor, atol=1e-3, rtol=1e-3)


def test_its_reference_net_reads_nothing_but_the_photo():
    with torch.device("meta"):
        net = build_reference_net(UNetShape(tokens=384), reads=False)
    assert not any("attn2" in key or "norm2" in key for key in net.state_dict() if "transformer_blocks" in key)


def test_the_locator_has_the_published_widths():
    with torch.device("meta"):
        tensors = FaceLocator((16, 32, 96, 256, 320)).state_dict()
    assert locator_widths(tensors) == (16, 32, 96, 256, 320)
    assert len(tensors) == 16
    assert tensors["blocks.5.weight"].shape == (256, 96, 3, 3)


def test_one_map_is_added_after_the_first_layer(echomimic, request_of):
    (added,) = echomimic.control(request_of(2).landmarks, 128, 128)
    assert added.shape == (2, LOCATOR[-1], 16, 16)


def test_silence_of_any_length_is_the_same(echomimic):
    attn = echomimic.denoiser.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn2")
    x, processor = torch.randn(2, 9, 32), TokenAttention(HEARING)
    one, fifty = (processor(attn, x, torch.zeros(2, count, 12)) for count in (1, 50))
    torch.testing.assert_close(one, fifty)
    torch.testing.assert_close(one, (HEARING * attn.to_out[0].bias).expand_as(one))


def test_a_clip_is_painted_anew_by_few_steps_without_guidance(hub, echomimic, request_of):
    prior = load_prior("echomimic", TINY, torch.device("cpu"))
    assert prior.name.startswith("echomimic (6 steps, guidance 1 ")
    request = request_of(3)
    frames = prior.regenerate(request)
    assert frames.shape == request.frames.shape
    assert bool(torch.isfinite(frames).all())
    assert float((frames - request.frames).abs().mean()) > 0.01
    again = DiffusionPrior(echomimic, TINY)
    torch.testing.assert_close(frames, again.regenerate(request_of(3)))
    other = replace(request_of(3), landmarks=request.landmarks + 9)
    assert not torch.equal(frames, again.regenerate(other))


def test_files_of_another_model_are_refused(hub, tmp_path, monkeypatch):
    places = {file: weights_path(REPO, file) for file in FILES}
    swapped = {**places, FILES[3]: places[FILES[2]]}
    monkeypatch.setattr("zero1toa.priors.echomimic.weights_path", lambda repo, file="": swapped[file])
    with pytest.raises(PriorError, match="no face locator"):
        convert()
    torch.save(FaceLocator((4, 8, 12, 16, 64)).state_dict(), tmp_path / "other.pth")
    swapped[FILES[3]] = tmp_path / "other.pth"
    with pytest.raises(PriorError, match="does not belong"):
        convert()
    monkeypatch.undo()
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path))
    with pytest.raises(PriorError, match="not there"):
        EchoMimic(TINY, torch.device("cpu"))


# ---------------------------------------------------------------------------------------------------- drawings


def test_squares_mark_nose_and_pupils_and_there_is_no_oval():
    assert OVAL not in {color for color, _ in DRAWN}
    assert len({frozenset(pair) for _, line in DRAWN for pair in pairwise(line)}) == 16 + 16 + 8 + 8 + 40
    points = torch.tensor([-50.0, -50.0, 1.0]).repeat(1, 478, 1)
    for index, landmark in enumerate((4, 468, 473)):
        points[0, landmark] = torch.tensor([100.0 + 100 * index, 200.0, 1.0])
    drawn = (draw_landmarks(points, 512, 512, strokes=DRAWN, dots=DOTS)[0] * 255).round().int()
    for x, color in ((100, (200, 200, 200)), (200, (10, 200, 250)), (300, (250, 200, 10))):
        square = drawn[197:203, x - 3 : x + 3]
        assert bool((square == torch.tensor(color)).all())
    assert int((drawn.sum(-1) > 0).sum()) == 3 * 36
