"""Measure drawing, posing and one clip update on an NVIDIA GPU, and write the numbers into a json file named after it.

    python -m scripts.bench_gpu [--out benchmarks] [--frames 16] [--size 512]

The update is the prior aniportrait's at full width with random weights: what it paints means nothing, what it costs does.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from zero1toa.avatar.graph import RecordedPose
from zero1toa.avatar.rigged import Avatar
from zero1toa.evaluation.bench import synthetic_head
from zero1toa.geometry.camera import orbit_camera
from zero1toa.head import load_head
from zero1toa.priors.aniportrait import AniPortrait
from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.diffusion import DiffusionPrior
from zero1toa.priors.pictures import Gaze, LatentSpace
from zero1toa.priors.pose_guider import PoseGuider, PoseGuiderShape
from zero1toa.priors.reference import look_at_references
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.unets import UNetShape, build_denoiser, build_reference_net
from zero1toa.render import rasterize
from zero1toa.render.base import LOW_PASS
from zero1toa.types import Camera, Gaussians, Reference, Surface, on_device

GPU = torch.device("cuda")
SPLATS, SIZE, BATCH = 100_000, 512, 64
log = logging.getLogger("bench_gpu")


def main() -> None:
    """Measure everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder of the json file")
    parser.add_argument("--frames", type=int, default=16, help="frames of the clip that is updated")
    parser.add_argument("--size", type=int, default=512, help="pixels of its pictures")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not torch.cuda.is_available():
        parser.error("no CUDA device is available")
    device = torch.cuda.get_device_name(0)
    found = {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda}
    for measure in (measure_drawing, measure_posing, lambda: measure_update(options.frames, options.size)):
        for name, value in measure().items():
            found[name] = value
            log.info("%s: %s", name, value)
    path = options.out / f"gpu-{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    log.info("written to %s", path)


def measure_drawing() -> dict[str, float]:
    """Draw 100k splats: one picture, 64 at once of one pose and of 64 poses, beside gsplat called frame by frame."""
    gaussians, camera = synthetic_head(SPLATS, SIZE)
    gaussians, one, behind = on_device(gaussians, GPU), on_device(camera, GPU), torch.ones(3, device=GPU)
    turn = torch.linspace(-60, 60, BATCH)
    many = orbit_camera(turn, 0 * turn, target=torch.zeros(3), distance=0.8, focal=3.0 * SIZE, width=SIZE, height=SIZE)
    many = on_device(many, GPU)
    fields = ("means", "quats", "scales", "opacities", "colors")
    poses = Gaussians(*(getattr(gaussians, f).expand(BATCH, *getattr(gaussians, f).shape[1:]).contiguous() for f in fields))
    with torch.no_grad():
        return {
            "draw_100k_512_batch_1_fps": 1 / seconds(lambda: rasterize(gaussians, one, background=behind)),
            "draw_100k_512_batch_64_fps": BATCH / seconds(lambda: rasterize(gaussians, many, background=behind)),
            "draw_100k_512_64_poses_fps": BATCH / seconds(lambda: rasterize(poses, many, background=behind)),
            "gsplat_frame_by_frame_fps": BATCH / seconds(lambda: draw_one_by_one(gaussians, many)),
            "drawing_peak_gb": peak_gb(),
        }


def draw_one_by_one(gaussians: Gaussians, cameras: Camera) -> None:
    """Draw every camera by a call of gsplat's own function."""
    from gsplat import rasterization

    means, quats, scales = gaussians.means[0], gaussians.quats[0], gaussians.scales[0]
    for index in range(len(cameras)):
        rasterization(
            means, quats, scales, gaussians.opacities[0], gaussians.colors[0], cameras.viewmats[index][None],
            cameras.intrinsics[index][None], cameras.width, cameras.height, eps2d=LOW_PASS, packed=False,
            render_mode="RGB+ED",
        )  # fmt: skip


def measure_posing() -> dict[str, float]:
    """Move sliders: pose an avatar of 100k splats and draw it, with the pose launched kernel by kernel and recorded."""
    head, chance = load_head("anny"), torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(SPLATS, *shape, generator=chance)
    avatar = Avatar(
        head, head.neutral_identity(), face=torch.randint(len(head.surface.faces), (SPLATS,), generator=chance),
        centre=0.3 * draw(3), quaternion=draw(4), log_scale=-1 + 0.1 * draw(3), opacity_logit=draw(), color=draw(3),
    ).on(GPU)  # fmt: skip
    _, camera = synthetic_head(1, SIZE)
    camera, state, behind = on_device(camera, GPU), avatar.head.rest_state(), torch.ones(3, device=GPU)
    recorded = RecordedPose(avatar)
    with torch.no_grad():
        return {
            "slider_ms": 1e3 * seconds(lambda: rasterize(avatar.pose(state), camera, background=behind)),
            "slider_recorded_ms": 1e3 * seconds(lambda: rasterize(recorded(state), camera, background=behind)),
        }


class RandomAniPortrait(AniPortrait):
    """AniPortrait's networks at full width, with random weights instead of the published ones."""

    def __init__(self, config: DiffusionConfig) -> None:
        from diffusers import AutoencoderKL, AutoencoderTiny
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        kind = {"device": GPU, "dtype": precision(config, GPU)}
        place = lambda network: network.to(**kind).eval().requires_grad_(False)
        self.denoiser = place(build_denoiser(UNetShape()))
        self.reference_net = place(build_reference_net(UNetShape(), reads=True))
        self.guider = PoseGuider(PoseGuiderShape()).to(GPU).eval().requires_grad_(False)
        self._raw = False
        look_at_references(self.denoiser)
        tune(self.denoiser, config)
        autoencoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        )  # fmt: skip
        self.latents = LatentSpace(place(autoencoder), place(AutoencoderTiny()), tiny_decodes=False)
        vision = CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, projection_dim=768, num_hidden_layers=24, num_attention_heads=16,
            image_size=224, patch_size=14,
        )  # fmt: skip
        self._gaze = Gaze(place(CLIPVisionModelWithProjection(vision)))


def measure_update(frames: int, size: int) -> dict[str, float]:
    """Update a clip with the default settings, and with blocks compiled and kernels laid out channels last."""
    found: dict[str, float] = {}
    for name, config in (
        ("", DiffusionConfig(size=size)),
        ("_bfloat16", DiffusionConfig(size=size, precision="bfloat16")),
        ("_tuned", DiffusionConfig(size=size, channels_last=True, compile=True)),
    ):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        prior, request = DiffusionPrior(RandomAniPortrait(config), config), synthetic_request(frames, size)
        found[f"update{name}_s"] = seconds(lambda prior=prior, request=request: prior.regenerate(request), repeats=3)
        found[f"update{name}_peak_gb"] = peak_gb()
        del prior
    return found


def synthetic_request(frames: int, size: int) -> ClipRequest:
    """Ask for a clip of noise."""
    nothing, points = torch.zeros(1, 3, dtype=torch.long), torch.rand(frames, 478, 3) * torch.tensor([size, size, 1.0])
    surface = Surface(nothing, torch.zeros(1, 2), nothing, nothing[:, 0], nothing[:, 0])
    cameras = Camera(torch.eye(4).expand(frames, 4, 4), torch.eye(3).expand(frames, 3, 3), size, size)
    reference = Reference(
        torch.rand(size, size, 3), torch.ones(size, size), cameras[:1], torch.zeros(1, 3), torch.zeros(1, 3), surface, points[0]
    )
    cover = torch.ones(frames, size, size)
    request = ClipRequest(
        torch.rand(frames, size, size, 3), cover, cover, points, cameras, torch.zeros(frames, 1, 3), reference,
        torch.full((3,), 0.5), 0.6, torch.Generator().manual_seed(0),
    )  # fmt: skip
    return on_device(request, GPU)


def seconds(function: Callable[[], object], *, repeats: int = 50) -> float:
    """Give the median time of a call, the GPU's work included, after two to warm up."""
    taken = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def peak_gb() -> float:
    """Give the most memory that tensors have taken."""
    return torch.cuda.max_memory_allocated() / 1e9


if __name__ == "__main__":
    main()
