"""Count what one clip update costs with each diffusion prior at full size, without weights and without memory for them.

    python scripts/count_flops.py [--frames 16] [--size 512]

The networks are built on the meta device, so every operation is counted (2 per multiply and add, `FlopCounterMode`) and none is
computed. Costs are of a whole update: pictures to latents, landmarks, denoising, latents to pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zero1toa.priors.echomimic import FaceLocator
from zero1toa.priors.noise import zero_snr_schedule
from zero1toa.priors.portrait import Conditions, predict
from zero1toa.priors.pose_guider import PoseGuider, PoseGuiderShape
from zero1toa.priors.reference import look_at_references, study
from zero1toa.priors.unets import UNetShape, build_denoiser, build_reference_net
from zero1toa.priors.windows import blend, windows

STRENGTH = 0.6  # of the trainer


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16, help="frames of the clip")
    parser.add_argument("--size", type=int, default=512, help="pixels of its pictures")
    options = parser.parse_args()
    with torch.device("meta"), torch.no_grad():
        parts = count_parts(options.frames, options.size)
    print(f"One pass over {options.frames} frames at {options.size} pixels, TFLOP:")
    for name, cost in parts.items():
        print(f"- {name}: {cost:.1f}")
    print(f"\n| an update of {options.frames} frames | TFLOP | of the paper-like |\n|---|---|---|")
    rows = list_updates(parts)
    for name, cost in rows:
        print(f"| {name} | {cost:.0f} | 1/{rows[0][1] / cost:.1f} |")


def count_parts(frames: int, size: int) -> dict[str, float]:
    """Count the parts of AniPortrait, and what differs in EchoMimic, in TFLOP."""
    from diffusers import AutoencoderKL

    side, shape = size // 8, UNetShape()
    denoiser, reference_net, guider = (
        build_denoiser(shape),
        build_reference_net(shape, reads=True),
        PoseGuider(PoseGuiderShape()),
    )
    look_at_references(denoiser)
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
    )  # fmt: skip
    pictures, latents = torch.zeros(frames, 3, size, size), torch.zeros(frames, 4, side, side)
    tokens = torch.zeros(1, 1, shape.tokens)
    bank, reference = counted(lambda: study(reference_net, denoiser, latents[:1], tokens))
    maps, pose = counted(lambda: guider.eval()(pictures))
    conditions = Conditions(tokens, bank, maps)
    echo = build_denoiser(UNetShape(tokens=384))
    look_at_references(echo, token_weight=3.0)
    silent = Conditions(torch.zeros(1, 1, 384), bank, maps[:1])
    see = lambda x, part: predict(echo, x, 499, silent.of(part), 1.0)
    locator = FaceLocator((16, 32, 96, 256, 320))
    ask = lambda guidance: counted(lambda: predict(denoiser, latents, 499, conditions, guidance))[1]
    return {
        "denoiser": ask(1.0),
        "denoiser with guidance": ask(3.5),
        "encoder": counted(lambda: autoencoder.encode(pictures))[1],
        "decoder": counted(lambda: autoencoder.decode(latents))[1],
        "pose network": pose,
        "reference net, once a run": reference,
        "echomimic's denoiser": counted(lambda: blend(see, latents, windows(frames, 12, 3)))[1],
        "echomimic's face locator": counted(lambda: locator(pictures))[1],
    }


def list_updates(parts: dict[str, float]) -> list[tuple[str, float]]:
    """Put updates together out of their parts, the paper-like one first."""
    pictures = parts["encoder"] + parts["decoder"]
    plain, guided = parts["denoiser"], parts["denoiser with guidance"]
    kept = pictures + parts["pose network"]
    rows = [("25 steps of inversion, 25 with guidance (paper-like)", pictures + 25 * plain + 25 * guided)]
    for name, steps, share, passes in (
        ("sdedit, 25 steps, guidance on all", 25, 1.0, 0),
        ("invert_fp with 2 passes, 25 steps, guidance on all", 25, 1.0, 2),
        ("invert, 10 steps, guidance on half", 10, 0.5, 1),
        ("sdedit, 10 steps, guidance on all", 10, 1.0, 0),
        ("sdedit, 10 steps, guidance on half (the default of aniportrait)", 10, 0.5, 0),
        ("sdedit, 10 steps, no guidance", 10, 0.0, 0),
    ):
        taken = len(zero_snr_schedule(steps).last(STRENGTH))
        with_guidance = round(share * taken)
        cost = kept + with_guidance * guided + (taken - with_guidance) * plain + passes * taken * plain
        rows.append((f"{name}; {taken} steps taken", cost))
    taken = len(zero_snr_schedule(6).last(STRENGTH))
    cost = pictures + parts["echomimic's face locator"] + taken * parts["echomimic's denoiser"]
    rows.append((f"echomimic: sdedit, 6 steps, no guidance (its default); {taken} steps taken", cost))
    return rows


def counted(run: Callable[[], Any]) -> tuple[Any, float]:
    """Run something and count its TFLOP."""
    with FlopCounterMode(display=False) as counter:
        result: Tensor | Any = run()
    return result, counter.get_total_flops() / 1e12


if __name__ == "__main__":
    main()
