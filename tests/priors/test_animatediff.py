"""The prior animatediff, with tiny networks in the published layout: held against diffusers' own pipeline."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.priors.spoil import change, drop, truncate
from zero1toa.assets import weights_path
from zero1toa.priors.animatediff import ADAPTER, ADAPTER_FILE, BASE, CONTROL, MOTION, AnimateDiff
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.conditioning import CONTROLNET_DOTS, CONTROLNET_STROKES, draw_landmarks
from zero1toa.priors.diffusion import shot_of
from zero1toa.priors.noise import denoise, linear_schedule
from zero1toa.priors.unets import FrameGroupNorm
from zero1toa.types import PriorError

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture
def told(animatediff, request_of):
    """Conditions of a clip at 64 pixels."""
    request = request_of(3, size=64)
    with torch.no_grad():
        return animatediff.conditions([shot_of(request, (64, 64))], animatediff.study(request.frames[0]))


def test_every_tensor_of_every_file_is_loaded_and_no_other(hub, animatediff):
    spatial, motion = load_file(weights_path(BASE) / "unet" / WEIGHTS), load_file(weights_path(MOTION) / WEIGHTS)
    adapter = load_file(weights_path(ADAPTER, ADAPTER_FILE))
    loaded = animatediff.unet.state_dict()
    # Positions are computed, not loaded; the adapter's tensors have names of their own.
    unexplained = {
        key for key in loaded if "_ip." not in key and not key.startswith("encoder_hid_proj.") and "pos_embed" not in key
    }
    assert unexplained == spatial.keys() | {key for key in motion if "pos_embed" not in key}
    for key, tensor in (spatial | motion).items():
        torch.testing.assert_close(loaded[key], tensor)
    keys = [loaded[key] for key in loaded if "to_k_ip" in key or "to_v_ip" in key]
    assert len(keys) == sum(key.startswith("ip_adapter.") for key in adapter) == 32
    control = load_file(weights_path(CONTROL) / "diffusion_sd15" / WEIGHTS)
    assert animatediff.controlnet.state_dict().keys() == control.keys()


def test_motion_modules_normalise_every_frame_by_itself(animatediff):
    norms = [module.norm for name, module in animatediff.unet.named_modules() if name.endswith("motion_modules.0")]
    assert norms
    assert all(isinstance(norm, FrameGroupNorm) for norm in norms)


@pytest.mark.parametrize("guidance", [1.0, 6.0])
def test_denoising_is_that_of_the_pipeline_of_diffusers(animatediff, told, guidance):
    noisy, schedule = torch.randn(3, 1, 4, 8, 8), linear_schedule(4).last(0.5)

    def ask(x, t, k):
        told_v, without = animatediff.velocity(x, t, schedule.angles[k], told, compare=guidance > 1)
        return told_v if without is None else without + guidance * (told_v - without)

    with torch.no_grad():
        ours = denoise(ask, noisy, schedule)
    drawings = (told.drawings[:, 0].movedim(1, -1) * 255).round().byte().numpy()
    pipeline = animatediff.pipeline
    pipeline.set_progress_bar_config(disable=True)
    both = guidance > 1
    theirs = pipeline(
        video=None, latents=noisy.permute(1, 2, 0, 3, 4), conditioning_frames=[Image.fromarray(d) for d in drawings],
        height=64, width=64, strength=0.5, num_inference_steps=4, guidance_scale=guidance, prompt_embeds=told.words[1:],
        negative_prompt_embeds=told.words[:1], ip_adapter_image_embeds=[told.photo if both else told.photo[1:]],
        output_type="latent", return_dict=False,
    )[0]  # fmt: skip
    torch.testing.assert_close(ours.permute(1, 2, 0, 3, 4), theirs, atol=1e-3, rtol=1e-3)


def test_guidance_in_one_batch_is_two_passes(animatediff, told):
    sample = torch.randn(3, 1, 4, 8, 8)
    without = replace(told, words=told.words[:1], photo=told.photo[:1])
    with torch.no_grad():
        ask = lambda conditions, compare: animatediff.velocity(sample, 500, 0.9, conditions, compare=compare)
        for one, other in zip(ask(told, True), (ask(told, False)[0], ask(without, False)[0]), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_clips_in_one_batch_do_not_see_each_other(animatediff, request_of):
    requests = [request_of(3, size=64), replace(request_of(3, size=64), landmarks=request_of(3, size=64).landmarks + 9)]
    shots, samples = [shot_of(r, (64, 64)) for r in requests], torch.randn(3, 2, 4, 8, 8)
    with torch.no_grad():
        studied = animatediff.study(requests[0].frames[0])
        ask = lambda own, x: animatediff.velocity(x, 500, 0.9, animatediff.conditions(own, studied), compare=True)[1]
        both = ask(shots, samples)
        for clip in range(2):
            torch.testing.assert_close(both[:, clip], ask([shots[clip]], samples[:, [clip]])[:, 0], atol=1e-4, rtol=1e-4)


def test_no_photo_is_what_the_encoder_says_of_zeros(animatediff):
    nothing = animatediff.study(torch.rand(64, 64, 3))[0, 0]
    with torch.no_grad():
        zeros = animatediff._gaze._net(torch.zeros(1, 3, 28, 28), output_hidden_states=True).hidden_states[-2][0]
    torch.testing.assert_close(nothing, zeros, atol=1e-5, rtol=1e-5)


def test_drawings_are_those_of_the_controlnet():
    edges = [frozenset(pair) for color, line in CONTROLNET_STROKES if color == (10, 200, 10) for pair in pairwise(line)]
    assert len(edges) == len(set(edges)) == 36, "the whole oval"
    around = {point: sum(point in edge for edge in edges) for edge in edges for point in edge}
    assert set(around.values()) == {2}
    lips = {frozenset(pair) for color, line in CONTROLNET_STROKES if color == (10, 180, 10) for pair in pairwise(line)}
    assert len(lips) == 40
    colors = {color for color, _ in CONTROLNET_STROKES}
    assert colors == {(10, 200, 10), (10, 180, 10), (180, 200, 10), (180, 220, 10), (10, 200, 180), (10, 220, 180)}
    points = torch.tensor([-50.0, -50.0, 1.0]).repeat(1, 478, 1)
    points[0, 468] = torch.tensor([100.0, 200.0, 1.0])
    drawn = draw_landmarks(points, 512, 512, strokes=CONTROLNET_STROKES, dots=CONTROLNET_DOTS, dot_width=4)[0]
    assert int((drawn.sum(-1) > 0).sum()) == 16
    assert np.array_equal((drawn[200, 100] * 255).round().int(), (250, 200, 10))


# ------------------------------------------------------------------------------------------------- wrong files


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda: truncate(weights_path(BASE) / "unet" / WEIGHTS), "unet is damaged"),
        (lambda: drop(weights_path(BASE) / "unet" / WEIGHTS, "conv_in.bias"), "does not hold all weights"),
        (lambda: change(weights_path(BASE) / "unet" / WEIGHTS, **{"conv_in.bias": torch.zeros(7)}), "unet"),
        (lambda: drop(weights_path(MOTION) / WEIGHTS, "mid_block.motion_modules.0.norm.bias"), "does not hold all weights"),
        (lambda: truncate(weights_path(CONTROL) / "diffusion_sd15" / WEIGHTS), "damaged"),
        (lambda: truncate(weights_path(ADAPTER, ADAPTER_FILE)), "is damaged or not there"),
        (lambda: change(weights_path(ADAPTER, ADAPTER_FILE), **{"ip_adapter.99.x": torch.zeros(1)}), "numbers where"),
        (lambda: drop(weights_path(ADAPTER, ADAPTER_FILE), "ip_adapter.3.to_k_ip.weight"), "no IP-Adapter for this model"),
        (lambda: (weights_path(BASE) / "tokenizer" / "vocab.json").write_text("?"), "holds no tokenizer"),
    ],
)
def test_spoilt_files_are_named_with_what_to_do(own_copy, spoil, said):
    spoil()
    with pytest.raises(PriorError, match=said) as refusal:
        AnimateDiff(DiffusionConfig(), CPU)
    assert "fetch" in str(refusal.value)


# --------------------------------------------------------------------------------------------------------- lora


def write_lora(path, **more):
    """Write a LoRA for a linear layer and a convolution under the published kind of names."""
    linear, conv = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", "down_blocks_0_resnets_0_conv1"
    tensors = {
        f"lora_unet_{linear}.lora_up.weight": torch.randn(32, 2), f"lora_unet_{linear}.lora_down.weight": torch.randn(2, 32),
        f"lora_unet_{linear}.alpha": torch.tensor(1.0),
        f"lora_unet_{conv}.lora_up.weight": torch.randn(32, 2, 1, 1),
        f"lora_unet_{conv}.lora_down.weight": torch.randn(2, 32, 3, 3),
    }  # fmt: skip
    save_file({**tensors, **more}, path)
    return tensors


def test_a_lora_becomes_part_of_the_weights(hub, animatediff, tmp_path):
    file = tmp_path / "few_steps.safetensors"
    tensors = write_lora(file)
    corrected = AnimateDiff(DiffusionConfig(lora=str(file)), CPU)
    assert corrected.name == "animatediff with few_steps"
    before, after = animatediff.unet.state_dict(), corrected.unet.state_dict()
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    up, down = (tensors[f"lora_unet_{key[:-7].replace('.', '_')}.lora_{part}.weight"] for part in ("up", "down"))
    torch.testing.assert_close(after[key], before[key] + 0.5 * up @ down)
    conv = "down_blocks.0.resnets.0.conv1.weight"
    up, down = (tensors[f"lora_unet_{conv[:-7].replace('.', '_')}.lora_{part}.weight"] for part in ("up", "down"))
    change = torch.einsum("or,rikl->oikl", up[..., 0, 0], down)
    torch.testing.assert_close(after[conv], before[conv] + change, atol=1e-4, rtol=1e-4)
    assert sum(not torch.equal(before[name], after[name]) for name in before) == 2


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("lora_unet_nowhere.lora_up.weight", (3, 2), "does not have"),
        ("lora_te_layer.lora_up.weight", (3, 2), "does not have"),
        ("lora_unet_conv_in.lora_up.weight", (32, 2), "incomplete"),
        ("lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight", (31, 2), "another model"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(hub, tmp_path, name, shape, said):
    write_lora(tmp_path / "wrong.safetensors", **{name: torch.zeros(shape)})
    with pytest.raises(PriorError, match=said):
        AnimateDiff(DiffusionConfig(lora=str(tmp_path / "wrong.safetensors")), CPU)
    with pytest.raises(PriorError, match="give the path of a LoRA"):
        AnimateDiff(DiffusionConfig(lora=str(tmp_path / "absent.safetensors")), CPU)
