"""The prior wan-animate, with tiny networks in the published layout: held against diffusers' own pipeline."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file

from tests.priors.spoil import truncate
from zero1toa.assets import missing, weights, weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.conditioning import SKELETON_STROKES, draw_landmarks
from zero1toa.priors.diffusion import DiffusionPrior, shot_of
from zero1toa.priors.noise import add_noise, denoise, flow_schedule
from zero1toa.priors.pictures import face_crops
from zero1toa.priors.wan import fitting_storage
from zero1toa.priors.wan_animate import REPO, SHIFT, STORAGE, WanAnimate
from zero1toa.types import PriorError

CPU = torch.device("cpu")
SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"


def bytewise(x: torch.Tensor) -> torch.Tensor:
    """Round pictures from -1 to 1 to what bytes can hold."""
    return ((x + 1) / 2 * 255).round() / 255 * 2 - 1


def pictures(video: torch.Tensor) -> list[Image.Image]:
    """Turn (3, T, H, W) from -1 to 1 into what a pipeline takes."""
    return [Image.fromarray(((f + 1) / 2 * 255).round().byte().numpy()) for f in video.permute(1, 2, 3, 0)]


def test_every_tensor_of_every_file_is_loaded_and_no_other(hub, wan_animate):
    folder = weights_path(REPO, "transformer")
    tensors = {key: tensor for path in folder.glob("*.safetensors") for key, tensor in load_file(path).items()}
    loaded = wan_animate.transformer.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


class FromSigmas(FlowMatchEulerDiscreteScheduler):
    """Euler's method over the very levels of a schedule, whatever number of steps the pipeline asks for."""

    levels: tuple[float, ...] = ()

    def set_timesteps(self, num_inference_steps, device=None):
        super().set_timesteps(sigmas=list(self.levels), device=device)


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
    pipeline, of_frames = wan_animate.pipeline, lambda frames: pictures((2 * frames - 1).permute(3, 0, 1, 2))
    # Its preparation of the photo for CLIP is not what is compared.
    monkeypatch.setattr(pipeline, "encode_image", lambda image, device: studied.seen)
    pipeline.scheduler = FromSigmas()
    pipeline.scheduler.levels = tuple(t / 1000 for t in schedule.timesteps)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        image=of_frames(photo[None])[0], pose_video=of_frames(strokes),
        face_video=pictures(driven.faces[0]), height=64, width=64, segment_frame_length=5, num_inference_steps=4,
        guidance_scale=guidance, prompt_embeds=wan_animate._words[1:], negative_prompt_embeds=wan_animate._words[:1],
        latents=noisy.permute(1, 2, 0, 3, 4), output_type="latent", return_dict=False,
    )[0]  # fmt: skip
    torch.testing.assert_close(ours[None], theirs, atol=1e-3, rtol=1e-3)


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


def test_clips_of_any_length_come_back_as_long(wan_animate, request_of):
    prior = DiffusionPrior(wan_animate, DiffusionConfig(size=64, steps=2))
    for frames in (1, 2, 5, 6):
        assert prior.regenerate(request_of(frames)).shape == (frames, 80, 80, 3)
    assert "windows" not in prior.name


def test_faces_are_cut_out_where_the_landmarks_are():
    frames = torch.zeros(2, 40, 60, 3)
    frames[0, 10:20, 30:40] = 1
    landmarks = torch.tensor([[30.0, 10, 1], [40.0, 20, 1]]).repeat(1, 239, 1).expand(2, -1, -1)
    cut = face_crops(frames, landmarks, 26)
    assert cut.shape == (2, 26, 26, 3)
    assert cut[0, 5:21, 5:21].eq(1).all()
    assert cut[0, :2].max() < 0.1
    assert not cut[1].any()


def test_words_are_encoded_once_and_kept(own_copy):
    first = WanAnimate(DiffusionConfig(), CPU)
    assert first._words.shape == (2, 512, 24)
    read = len("视频中的人在做动作") + 1
    assert first._words[1, :read].abs().sum(-1).gt(0).all()
    assert not first._words[1, read:].any(), "no words, no numbers"
    for path in weights_path(REPO, "text_encoder").glob("*.safetensors"):
        truncate(path)
    torch.testing.assert_close(WanAnimate(DiffusionConfig(), CPU)._words, first._words)


# --------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("storage", ["float8", "offload"])
def test_weights_of_eight_bits_say_nearly_the_same(hub, wan_animate, request_of, storage):
    small = WanAnimate(DiffusionConfig(storage=storage), CPU)
    kinds = {weight.dtype for name, weight in small.transformer.named_parameters() if "attn1.to_q.weight" in name}
    assert kinds == {torch.float8_e4m3fn}
    request = request_of(5, size=64)
    ask = lambda model: model.velocity(
        torch.ones(3, 1, 4, 8, 8), 500.0, math.pi / 4,
        model.conditions([shot_of(request, (64, 64))], model.study(request.frames[0])), compare=False,
    )[0]  # fmt: skip
    with torch.no_grad():
        exact, rounded = ask(wan_animate), ask(small)
    assert float((exact - rounded).abs().mean() / exact.abs().mean()) < 0.1


def test_storage_follows_free_memory():
    assert [fitting_storage(STORAGE, free) for free in (80.0, 45.0, 30.0, 16.0, 1.0)] == [
        "full",
        "full",
        "float8",
        "offload",
        "offload",
    ]


def test_storage_that_means_nothing_is_refused(hub):
    with pytest.raises(PriorError, match="auto, full, float8, offload"):
        WanAnimate(DiffusionConfig(storage="tape"), CPU)


# ----------------------------------------------------------------------------------------------------- wrong files


def test_files_that_an_index_names_are_needed_too(own_copy):
    assert not missing("wan-animate")
    weights_path(REPO, f"transformer/{SHARD}").unlink()
    (lacking,) = missing("wan-animate")
    assert lacking.path == f"transformer/{SHARD}"
    assert lacking.size == 69_100_000_000 // 2
    index = next(file for file in weights("wan-animate").files if file.path.startswith("transformer") and file.lists)
    for damaged in ("{", '{"weight_map": {"a": "../../escape"}}', "[]", '{"weight_map": {}}'):
        index.place.write_text(damaged)
        with pytest.raises(PriorError, match="damaged: delete it and fetch it again"):
            missing("wan-animate")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (f"transformer/{SHARD}", "transformer is damaged"),
        ("vae/diffusion_pytorch_model.safetensors", "vae is damaged"),
        ("image_encoder/model.safetensors", "image_encoder is damaged"),
        ("tokenizer/tokenizer.json", "no tokenizer"),
        ("text_encoder/model-00001-of-00011.safetensors", "text_encoder is damaged"),
    ],
)
def test_truncated_files_are_named_with_what_to_do(own_copy, tmp_path, file, said):
    for kept in (tmp_path / "cache").glob("wan-animate-words-*"):
        kept.unlink()
    truncate(weights_path(REPO, file))
    with pytest.raises(PriorError, match=said) as refusal:
        WanAnimate(DiffusionConfig(), CPU)
    assert "fetch" in str(refusal.value)
