"""Settings that make networks quicker on some machines and change nothing in what they say but its last digits."""

from __future__ import annotations

import torch
from torch import nn

from zero1toa.priors.base import DiffusionConfig
from zero1toa.types import PriorError

PRECISIONS = ("auto", "float16", "bfloat16", "float32")


def precision(config: DiffusionConfig, device: torch.device, *, usual: torch.dtype = torch.float16) -> torch.dtype:
    """Give the numbers that networks compute with: on a GPU those the model is `usual`ly run with, on a CPU 32 bits.

    Raises PriorError for settings that mean nothing.
    """
    if config.precision not in PRECISIONS:
        raise PriorError(f"--diffusion-precision {config.precision} is unknown: use one of {', '.join(PRECISIONS)}")
    if config.precision != "auto":
        return getattr(torch, config.precision)
    return usual if device.type == "cuda" else torch.float32


def tune(network: nn.Module, config: DiffusionConfig) -> None:
    """Lay a network's kernels out channels last and compile the blocks that it repeats, where the settings say so.

    Blocks and not the whole: they compile in a fraction of the time, and drawings and photos still reach the places between
    them. Spatial attention differs from layer to layer in what it remembers of the photo, so only what surrounds it compiles.
    """
    from diffusers.models.attention import FeedForward
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers import transformer_wan, transformer_wan_animate, transformer_wan_vace
    from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]: torch's own overloads lack it
    if config.compile:
        of_wan = (transformer_wan.WanTransformerBlock, transformer_wan_animate.WanTransformerBlock)
        blocks = (ResnetBlock2D, FeedForward, AnimateDiffTransformer3D, *of_wan, transformer_wan_vace.WanVACETransformerBlock)
        for module in network.modules():
            if isinstance(module, blocks):
                module.compile()
