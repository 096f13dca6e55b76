"""What the priors of Wan share, with tiny networks in the published layout: files, words, memory and noise."""

import math

import pytest
import torch
from safetensors.torch import load_file

from tests.priors.spoil import truncate
from zero1toa.assets import missing, weights, weights_path
from zero1toa.priors import wan_animate, wan_vace
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior, shot_of
from zero1toa.priors.noise import add_noise, flow_schedule
from zero1toa.priors.wan import fitting_storage
from zero1toa.priors.wan_animate import WanAnimate
from zero1toa.priors.wan_vace import WanVace
from zero1toa.types import PriorError

CPU = torch.device("cpu")
SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"
REPOS = {WanAnimate: wan_animate.REPO, WanVace: wan_vace.REPO}
PROMPTS = {WanAnimate: wan_animate.PROMPT, WanVace: wan_vace.PROMPT}
both = pytest.mark.parametrize("kind", [WanAnimate, WanVace])


@both
def test_every_tensor_of_every_file_is_loaded_and_no_other(hub, kind):
    folder = weights_path(REPOS[kind], "transformer")
    tensors = {key: tensor for path in folder.glob("*.safetensors") for key, tensor in load_file(path).items()}
    loaded = kind(DiffusionConfig(), CPU).transformer.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


def test_the_schedule_starts_at_the_share_of_noise_that_is_asked_for():
    schedule = flow_schedule(20, 0.6, shift=5.0)
    sigmas = [t / 1000 for t in schedule.timesteps]
    assert sigmas[0] == pytest.approx(0.6)
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[1:] == pytest.approx([5 * u / (1 + 4 * u) for u in (0.2, 0.15, 0.1, 0.05)])
    assert schedule.angles[-1] == 0
    assert [math.tan(a) for a in schedule.angles[:-1]] == pytest.approx([s / (1 - s) for s in sigmas])
    assert len(flow_schedule(20, 0.0, shift=5.0)) == 0
    assert len(flow_schedule(20, 1.0, shift=5.0)) == 20
    noisy = add_noise(torch.ones(10000), schedule, torch.Generator().manual_seed(0))
    assert float(noisy.mean() / noisy.std()) == pytest.approx(0.4 / 0.6, rel=0.05)


@both
def test_clips_of_any_length_come_back_as_long(hub, request_of, kind):
    prior = DiffusionPrior(kind(DiffusionConfig(), CPU), DiffusionConfig(size=64, steps=2))
    for frames in (1, 2, 5, 6):
        assert prior.regenerate(request_of(frames)).shape == (frames, 80, 80, 3)
    assert "windows" not in prior.name


@both
def test_words_are_encoded_once_and_kept(own_copy, kind):
    first = kind(DiffusionConfig(), CPU)
    assert first._words.shape == (2, 512, 24)
    read = len(PROMPTS[kind]) + 1
    assert first._words[1, :read].abs().sum(-1).gt(0).all()
    assert not first._words[1, read:].any(), "no words, no numbers"
    for path in weights_path(REPOS[kind], "text_encoder").glob("*.safetensors"):
        truncate(path)
    torch.testing.assert_close(kind(DiffusionConfig(), CPU)._words, first._words)


# --------------------------------------------------------------------------------------------------------- memory


@both
@pytest.mark.parametrize("storage", ["float8", "offload"])
def test_weights_of_eight_bits_say_nearly_the_same(hub, request_of, kind, storage):
    whole, small = (kind(DiffusionConfig(storage=how), CPU) for how in ("full", storage))
    kinds = {weight.dtype for name, weight in small.transformer.named_parameters() if "attn1.to_q.weight" in name}
    assert kinds == {torch.float8_e4m3fn}
    request = request_of(5, size=64)
    ask = lambda model: model.velocity(
        torch.ones(3, 1, 4, 8, 8), 500.0, math.pi / 4,
        model.conditions([shot_of(request, (64, 64))], model.study(request.frames[0])), compare=False,
    )[0]  # fmt: skip
    with torch.no_grad():
        exact, rounded = ask(whole), ask(small)
    assert float((exact - rounded).abs().mean() / exact.abs().mean()) < 0.1


def test_storage_follows_free_memory():
    chosen = [fitting_storage(wan_animate.STORAGE, free) for free in (80.0, 45.0, 30.0, 16.0, 1.0)]
    assert chosen == ["full", "full", "float8", "offload", "offload"]
    assert [fitting_storage(wan_vace.STORAGE, free) for free in (16.0, 11.0, 8.0)] == ["full", "float8", "offload"]


@both
def test_storage_that_means_nothing_is_refused(hub, kind):
    with pytest.raises(PriorError, match="auto, full, float8, offload"):
        kind(DiffusionConfig(storage="tape"), CPU)


# ----------------------------------------------------------------------------------------------------- wrong files


@both
def test_files_that_an_index_names_are_needed_too(own_copy, kind):
    assert not missing(kind.name)
    weights_path(REPOS[kind], f"transformer/{SHARD}").unlink()
    index = next(file for file in weights(kind.name).files if file.path.startswith("transformer") and file.lists)
    (lacking,) = missing(kind.name)
    assert lacking.path == f"transformer/{SHARD}"
    assert lacking.size == index.lists // 2
    for damaged in ("{", '{"weight_map": {"a": "../../escape"}}', "[]", '{"weight_map": {}}'):
        index.place.write_text(damaged)
        with pytest.raises(PriorError, match="damaged: delete it and fetch it again"):
            missing(kind.name)


@both
@pytest.mark.parametrize(
    ("file", "said"),
    [
        (f"transformer/{SHARD}", "transformer is damaged"),
        ("vae/diffusion_pytorch_model.safetensors", "vae is damaged"),
        ("tokenizer/tokenizer.json", "no tokenizer"),
        ("text_encoder/model-00001-of-00011.safetensors", "text_encoder is damaged"),
    ],
)
def test_truncated_files_are_named_with_what_to_do(own_copy, tmp_path, kind, file, said):
    for kept in (tmp_path / "cache").glob("*-words-*"):
        kept.unlink()
    truncate(weights_path(REPOS[kind], file))
    with pytest.raises(PriorError, match=said) as refusal:
        kind(DiffusionConfig(), CPU)
    assert "fetch" in str(refusal.value)


def test_a_truncated_image_encoder_is_named_too(own_copy):
    truncate(weights_path(wan_animate.REPO, "image_encoder/model.safetensors"))
    with pytest.raises(PriorError, match="image_encoder is damaged"):
        WanAnimate(DiffusionConfig(), CPU)
