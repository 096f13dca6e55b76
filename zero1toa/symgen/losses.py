"""What the avatar is trained on (Zero-1-to-A, eq. 6): L = 10 L1 + 10 perceptual + 0.1 position + 10 scale."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, relu

from zero1toa.symgen.perceptual import Lpips, Perceptual

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the paper; thresholds in triangle sizes from GaussianAvatars' published options."""

    l1: float = field(default=10.0, metadata={"help": "weight of the pixel difference", "range": (0.0, 100.0)})
    perceptual: float = field(default=10.0, metadata={"help": "weight of the perceptual difference", "range": (0.0, 100.0)})
    position: float = field(default=0.1, metadata={"help": "weight of splats staying near", "range": (0.0, 10.0)})
    scale: float = field(default=10.0, metadata={"help": "weight of splats staying small", "range": (0.0, 100.0)})
    position_threshold: float = field(default=1.0, metadata={"help": "distance free of charge, triangle sizes"})
    scale_threshold: float = field(default=0.6, metadata={"help": "size free of charge, triangle sizes"})
    # Ours: the photo's matte is known, so its frame also says where the avatar must not be.
    alpha: float = field(default=5.0, metadata={"help": "weight of the photo's outline", "range": (0.0, 100.0)})
    kind: str = field(default="auto", metadata={"help": "perceptual difference: auto, lpips or dssim"})


def l1(a: Float[Tensor, "B H W C"], b: Float[Tensor, "B H W C"]) -> Float[Tensor, ""]:
    """Give the mean absolute difference."""
    return (a - b).abs().mean()


def dssim(a: Float[Tensor, "B H W 3"], b: Float[Tensor, "B H W 3"], _marks: Sequence[Hashable] = (), /) -> Float[Tensor, ""]:
    """Give (1 - SSIM) / 2 of pictures in [0, 1], in [0, 1] (Wang et al. 2004); nothing of it is worth keeping.

    As in the authors' own program, pictures are first averaged down to about 256 pixels a side. Windows are 8x8 boxes, every
    4 pixels, as in the universal quality index that SSIM grew from (Wang and Bovik 2002). Forward and backward on one
    core: 9 ms at 256 pixels. The customary 11-tap Gaussian as two depthwise convolutions takes 27, and 103 at 512 pixels
    not averaged down, for a loss that looks the same to the optimizer; the finest detail is in the L1 term.
    """
    a, b = a.movedim(-1, 1), b.movedim(-1, 1)
    if (factor := round(min(a.shape[-2:]) / 256)) > 1:
        a, b = avg_pool2d(a, factor), avg_pool2d(b, factor)
    window = min(8, *a.shape[-2:])
    moments = torch.cat([a, b, a * a, b * b, a * b], 1)
    mean_a, mean_b, square_a, square_b, product = avg_pool2d(moments, window, max(window // 2, 1)).chunk(5, 1)
    both, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * both + c1) / (squares + c1)
    structure = (2 * (product - both) + c2) / (square_a + square_b - squares + c2)
    return (1 - (luminance * structure).mean()) / 2


def load_perceptual(kind: str, device: torch.device, *, memory_mb: float = 0.0) -> Perceptual:
    """Give the perceptual difference of pictures "B H W 3" in [0, 1], and say in the log which it is.

    `memory_mb` is what it may keep of targets that have been seen (see `zero1toa.symgen.perceptual`).

    The paper uses LPIPS (Zhang et al. 2018). It needs the package `lpips` and the VGG16 weights in torch's cache, and on a
    CPU it would take several times as long as all the rest of an iteration; "auto" takes it on a GPU that has both.
    """
    match kind:
        case "dssim":
            chosen = None
        case "lpips":
            chosen = _load_lpips(device, memory_mb)
            if chosen is None:
                log.warning("LPIPS needs the package lpips and torchvision's VGG16 weights in torch's cache; using D-SSIM")
        case "auto":
            chosen = _load_lpips(device, memory_mb) if device.type == "cuda" else None
        case _:
            raise ValueError(f"unknown perceptual loss {kind!r}: choose auto, lpips or dssim")
    log.info("perceptual loss: %s", "LPIPS (VGG16)" if chosen else "D-SSIM, 8x8 windows")
    return chosen or dssim


def _load_lpips(device: torch.device, memory_mb: float) -> Perceptual | None:
    """Load LPIPS if that is possible without the network."""
    if not list(Path(torch.hub.get_dir(), "checkpoints").glob("vgg16-*.pth")):
        return None
    try:
        import lpips  # pyright: ignore[reportMissingImports]: optional
    except ImportError:
        return None
    return Lpips(lpips.LPIPS(net="vgg", verbose=False).to(device).eval().requires_grad_(False), memory_mb=memory_mb)


def position_loss(centre: Float[Tensor, "N 3"], reach: Float[Tensor, "N"], threshold: float = 1.0) -> Float[Tensor, ""]:
    """Charge splats for floating farther from their triangle than they may (GaussianAvatars, eq. 4).

    `reach` is at least 1 and grows with where a splat was seeded; a threshold of 1 allows just that.
    """
    # The square root has no slope at zero, where GaussianAvatars starts; relu stops the gradient, but 0 * inf is not 0.
    distance = (centre.square().sum(-1) + 1e-12).sqrt()
    return relu(distance - threshold * reach).mean()


def scale_loss(log_scale: Float[Tensor, "N 3"], threshold: float = 0.6) -> Float[Tensor, ""]:
    """Charge splats for being larger than their triangle allows (GaussianAvatars, eq. 5): large ones tear when it moves."""
    excess = relu(log_scale.exp() - threshold)
    return (excess.square().sum(-1) + 1e-12).sqrt().mean()
