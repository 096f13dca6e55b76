"""Count what one clip update costs with each diffusion prior at full size, without weights and without memory for them.

    python -m scripts.count_flops [--frames 16] [--size 512]

The networks are built on the meta device, so every operation is counted (2 per multiply and add, `FlopCounterMode`) and none is
computed. Costs are of a whole update: pictures to latents, landmarks, denoising, latents to pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zero1toa.priors import wan_animate, wan_vace
from zero1toa.priors.animatediff import AnimateDiff, Told
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.echomimic import FaceLocator
from zero1toa.priors.noise import flow_schedule, zero_snr_schedule
from zero1toa.priors.portrait import Conditions, predict
from zero1toa.priors.pose_guider import PoseGuider, PoseGuiderShape
from zero1toa.priors.reference import look_at_references, study
from zero1toa.priors.unets import UNetShape, build_denoiser, build_reference_net
from zero1toa.priors.windows import blend, windows

STRENGTH = 0.6  # of the trainer
Parts = dict[str, float]


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16, help="frames of the clip")
    parser.add_argument("--size", type=int, default=512, help="pixels of its pictures")
    options = parser.parse_args()
    with torch.device("meta"), torch.no_grad():
        frames, size = options.frames, options.size
        parts = count_autoencoders(frames, size) | count_portrait_models(frames, size) | count_animatediff(frames, size)
        parts |= count_wan(frames, size)
    print(f"One pass over {options.frames} frames at {options.size} pixels, TFLOP:")
    for name, cost in parts.items():
        print(f"- {name}: {cost:.1f}")
    print(f"\n| an update of {options.frames} frames | TFLOP | of the paper-like |\n|---|---|---|")
    rows = list_updates(parts)
    for name, cost in rows:
        print(f"| {name} | {cost:.0f} | 1/{rows[0][1] / cost:.1f} |")


def count_autoencoders(frames: int, size: int) -> Parts:
    """Count Stable Diffusion's autoencoder and TAESD, in TFLOP."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    full = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
    )  # fmt: skip
    tiny = AutoencoderTiny()
    pictures, latents = torch.zeros(frames, 3, size, size), torch.zeros(frames, 4, size // 8, size // 8)
    return {
        "encoder": counted(lambda: full.encode(pictures))[1],
        "decoder": counted(lambda: full.decode(latents))[1],
        "tiny encoder": counted(lambda: tiny.encode(pictures))[1],
        "tiny decoder": counted(lambda: tiny.decode(latents))[1],
    }


def count_portrait_models(frames: int, size: int) -> Parts:
    """Count AniPortrait, and what differs in EchoMimic, in TFLOP."""
    shape = UNetShape()
    denoiser, reference_net = build_denoiser(shape), build_reference_net(shape, reads=True)
    guider = PoseGuider(PoseGuiderShape())
    look_at_references(denoiser)
    pictures, latents = torch.zeros(frames, 3, size, size), torch.zeros(frames, 1, 4, size // 8, size // 8)
    tokens = torch.zeros(1, 1, shape.tokens)
    bank, reference = counted(lambda: study(reference_net, denoiser, latents[0], tokens))
    maps, pose = counted(lambda: guider.eval()(pictures))
    conditions = Conditions(tokens, bank, tuple(added[:, None] for added in maps))
    echo = build_denoiser(UNetShape(tokens=384))
    look_at_references(echo, token_weight=3.0)
    silent = Conditions(torch.zeros(1, 1, 384), bank, conditions.maps[:1])
    see = lambda x, part: predict(echo, x, 499, silent.of(part), compare=False)[0]
    locator = FaceLocator((16, 32, 96, 256, 320))
    ask = lambda compare: counted(lambda: predict(denoiser, latents, 499, conditions, compare=compare))[1]
    return {
        "denoiser": ask(False),
        "denoiser with guidance": ask(True),
        "pose network": pose,
        "reference net, once a run": reference,
        "echomimic's denoiser": counted(lambda: blend(see, latents, windows(frames, 12, 3)))[1],
        "echomimic's face locator": counted(lambda: locator(pictures))[1],
    }


def count_animatediff(frames: int, size: int) -> Parts:
    """Count AnimateDiff's U-Net with ControlNet and IP-Adapter, in TFLOP."""
    from diffusers import ControlNetModel, UNetMotionModel
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
    from diffusers.models.embeddings import IPAdapterPlusImageProjection, MultiIPAdapterImageProjection

    unet = UNetMotionModel(cross_attention_dim=768, num_attention_heads=8, motion_num_attention_heads=8)
    processors: dict[str, Any] = unet.attn_processors
    for name in processors:
        if name.endswith("attn2.processor") and "motion_modules" not in name:
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features  # pyright: ignore
            processors[name] = IPAdapterAttnProcessor2_0(width, 768, num_tokens=[16])
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([IPAdapterPlusImageProjection(1280, 768, 768, 4, 64, 12, 16)])
    unet.config.encoder_hid_dim_type = "ip_image_proj"  # pyright: ignore[reportAttributeAccessIssue]
    model: Any = SimpleNamespace(unet=unet, controlnet=ControlNetModel(cross_attention_dim=768))
    told = Told(torch.zeros(2, 77, 768), torch.zeros(2, 1, 257, 1280), torch.zeros(frames, 1, 3, size, size))
    sample = torch.zeros(frames, 1, 4, size // 8, size // 8)
    ask = lambda compare: counted(lambda: AnimateDiff.velocity(model, sample, 499, 0.9, told, compare=compare))[1]
    return {"animatediff's networks": ask(False), "animatediff's networks with guidance": ask(True)}


def count_wan(frames: int, size: int) -> Parts:
    """Count the transformers of Wan and their autoencoder for a clip of 4 n + 1 frames, in TFLOP."""
    from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel, WanVACETransformer3DModel

    whole = frames + (1 - frames) % 4
    latents, side = (whole - 1) // 4 + 1, size // 8
    transformer, autoencoder = WanAnimateTransformer3DModel(image_dim=1280, added_kv_proj_dim=5120), AutoencoderKLWan()
    run = lambda: transformer(
        torch.zeros(1, 36, latents + 1, side, side), torch.zeros(1), torch.zeros(1, 512, 4096), torch.zeros(1, 257, 1280),
        torch.zeros(1, 16, latents, side, side), torch.zeros(1, 3, whole, 512, 512),
    )  # fmt: skip
    vace = WanVACETransformer3DModel(
        num_attention_heads=12, ffn_dim=8960, num_layers=30, vace_layers=list(range(0, 30, 2)), vace_in_channels=96
    )
    repair = lambda: vace(
        torch.zeros(1, 16, latents + 1, side, side), torch.zeros(1), torch.zeros(1, 512, 4096),
        control_hidden_states=torch.zeros(1, 96, latents + 1, side, side),
    )  # fmt: skip
    return {
        "wan-animate's transformer": counted(run)[1],
        "wan-vace's transformer": counted(repair)[1],
        "wan's encoder": counted(lambda: autoencoder.encode(torch.zeros(1, 3, whole, size, size)))[1],
        "wan's decoder": counted(lambda: autoencoder.decode(torch.zeros(1, 16, latents, side, side)))[1],
    }


def list_updates(parts: Parts) -> list[tuple[str, float]]:
    """Put updates together out of their parts, the paper-like one first."""
    full, mixed = parts["encoder"] + parts["decoder"], parts["tiny encoder"] + parts["decoder"]
    tiny = parts["tiny encoder"] + parts["tiny decoder"]
    plain, guided, pose = parts["denoiser"], parts["denoiser with guidance"], parts["pose network"]
    rows = [("25 steps of inversion, 25 with guidance (paper-like)", full + pose + 25 * plain + 25 * guided)]
    for name, pictures, steps, share, every, inversion in (
        ("sdedit, 25 steps, guidance on all", full, 25, 1.0, 1, 0),
        ("invert_fp with 2 passes, 25 steps, guidance on all", full, 25, 1.0, 1, 2),
        ("invert, 8 steps, otherwise the defaults", full, 8, 0.5, 2, 1),
        ("sdedit, 8 steps, guidance on all", full, 8, 1.0, 1, 0),
        ("sdedit, 8 steps, guidance on half", full, 8, 0.5, 1, 0),
        ("the same, what guidance adds believed for two steps", full, 8, 0.5, 2, 0),
        ("the same, TAESD for encoding (the default of aniportrait)", mixed, 8, 0.5, 2, 0),
        ("the same, TAESD for decoding too (for previews)", tiny, 8, 0.5, 2, 0),
        ("sdedit, 8 steps, no guidance, TAESD for both", tiny, 8, 0.0, 1, 0),
    ):
        taken = len(zero_snr_schedule(steps).last(STRENGTH))
        compared = len(range(0, round(share * taken), every))
        cost = pictures + pose + compared * guided + (taken - compared + inversion * taken) * plain
        rows.append((f"{name}; {taken} steps taken, {compared} compared", cost))
    usual = DiffusionConfig()
    taken = len(zero_snr_schedule(6).last(STRENGTH))
    cost = mixed + parts["echomimic's face locator"] + taken * parts["echomimic's denoiser"]
    rows.append((f"echomimic as it is: sdedit, 6 steps, no guidance; {taken} steps taken", cost))
    for steps, share in ((8, usual.guided), (6, 0.0)):
        taken = len(zero_snr_schedule(steps).last(STRENGTH))
        compared = len(range(0, round(share * taken), usual.compare_every))
        cost = mixed + compared * parts["animatediff's networks with guidance"]
        cost += (taken - compared) * parts["animatediff's networks"]
        how = "as it is: sdedit" if share else "with an LCM LoRA: --diffusion-eta 1, no guidance"
        rows.append((f"animatediff {how}, {steps} steps; {taken} steps taken, {compared} compared", cost))
    rows += list_wan_updates(parts, usual)
    return rows


def list_wan_updates(parts: Parts, usual: DiffusionConfig) -> list[tuple[str, float]]:
    """Put updates by the models of Wan together."""
    taken = len(flow_schedule(20, STRENGTH, shift=wan_animate.SHIFT))
    # The render, the strokes, and the empty past; or the draft, what stays of it, and grey.
    pictures = 3 * parts["wan's encoder"] + parts["wan's decoder"]
    cost = pictures + taken * parts["wan-animate's transformer"]
    rows = [(f"wan-animate as it is: 20 steps, no guidance; {taken} steps taken, 17 frames", cost)]
    for steps in (15, 8):
        taken = len(flow_schedule(steps, STRENGTH, shift=wan_vace.SHIFT))
        compared = len(range(0, round(usual.guided * taken), usual.compare_every))
        cost = pictures + (taken + compared) * parts["wan-vace's transformer"]
        rows.append((f"wan-vace, {steps} steps, guidance on half; {taken} steps taken, {compared} compared, 17 frames", cost))
    return rows


def counted(run: Callable[[], Any]) -> tuple[Any, float]:
    """Run something and count its TFLOP."""
    with FlopCounterMode(display=False) as counter:
        result: Tensor | Any = run()
    return result, counter.get_total_flops() / 1e12


if __name__ == "__main__":
    main()
