"""The U-Nets of the public portrait models: a denoiser of clips and a reference net, both of Stable Diffusion 1's kind.

They were published as three files: the denoiser's spatial layers, which have diffusers' names already, its motion
modules, which do not, and the reference net.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zero1toa.priors.checkpoint import fill, half, part, read_tensors, require_same
from zero1toa.types import PriorError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.models.unets.unet_motion_model import UNetMotionModel

HEADS = 8  # of every attention in Stable Diffusion 1 and in its motion modules
# Names inside a motion module: theirs, then diffusers'. The second copy of the positions is the first.
RENAMED = (
    (".temporal_transformer.", "."),
    (".attention_blocks.0.pos_encoder.", ".pos_embed."),
    (".attention_blocks.0.", ".attn1."),
    (".attention_blocks.1.", ".attn2."),
    (".norms.0.", ".norm1."),
    (".norms.1.", ".norm2."),
    (".ff_norm.", ".norm3."),
)
SECOND_POSITIONS = ".attention_blocks.1.pos_encoder.pe"
# Of a reference net, whose output nobody reads; files may hold them all the same.
LAST_LAYERS = ("conv_norm_out", "conv_out")


@dataclass(frozen=True, slots=True)
class UNetShape:
    """How wide a U-Net is; the defaults are those of the public portrait models.

    `tokens` is the width of what its cross-attention reads, `positions` how many frames its motion modules can tell apart.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    tokens: int = 768
    positions: int = 32

    @classmethod
    def of(cls, denoiser: Mapping[str, Tensor]) -> UNetShape:
        """Read the widths off a denoiser's tensors. Raises KeyError when they are no denoiser's."""
        return cls(
            channels=tuple(len(denoiser[f"down_blocks.{i}.resnets.0.conv1.weight"]) for i in range(4)),
            tokens=denoiser["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1],
            positions=denoiser["down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"].shape[1],
        )


def build_denoiser(shape: UNetShape) -> UNetMotionModel:
    """Build a denoiser that normalises frame by frame, as the original AnimateDiff does and diffusers does not."""
    from diffusers.models.unets.unet_motion_model import UNetMotionModel

    unet = UNetMotionModel(
        block_out_channels=shape.channels, cross_attention_dim=shape.tokens, num_attention_heads=HEADS,
        motion_num_attention_heads=HEADS, motion_max_seq_length=shape.positions,
    )  # fmt: skip
    normalise_by_frame(unet)
    return unet


def normalise_by_frame(unet: UNetMotionModel) -> None:
    """Let a U-Net's motion modules normalise every frame by itself, with the weights that they have."""
    from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

    for module in unet.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            norm = FrameGroupNorm(module.norm)
            norm.load_state_dict(module.norm.state_dict(), assign=True)
            module.norm = norm


def build_reference_net(shape: UNetShape, *, reads: bool) -> UNet2DConditionModel:
    """Build a reference net, with or without the cross-attention that `reads` tokens.

    Its output is not used, so its last layers are absent, as they are from the files.
    """
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    unet = UNet2DConditionModel(block_out_channels=shape.channels, attention_head_dim=HEADS, cross_attention_dim=shape.tokens)
    for last in LAST_LAYERS:
        setattr(unet, last, nn.Identity())
    if not reads:
        for module in unet.modules():
            if isinstance(module, BasicTransformerBlock):
                module.attn2 = module.norm2 = None  # pyright: ignore[reportAttributeAccessIssue]
    return unet


class FrameGroupNorm(nn.GroupNorm):
    """Group normalisation of every frame by itself, with the parameters of one that takes a clip as a whole."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, eps=norm.eps, device=norm.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, T, h, w) over the channels of a group and the pixels of one frame."""
        frames = super().forward(x.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def denoiser_tensors(spatial: Mapping[str, Tensor], motion: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the two files of a denoiser for `UNetMotionModel`."""
    renamed = dict(spatial)
    for key, tensor in motion.items():
        if key.endswith(SECOND_POSITIONS):
            continue
        for old, new in RENAMED:
            key = key.replace(old, new)
        renamed[key] = tensor
    return renamed


def convert_unets(spatial: Path, motion: Path, reference: Path, *, reads: bool) -> tuple[dict[str, Tensor], UNetShape]:
    """Read the three published files and make of them what `load_unets` takes, checked tensor by tensor; give their widths."""
    denoiser = denoiser_tensors(read_tensors(spatial), read_tensors(motion))
    photo = {key: tensor for key, tensor in read_tensors(reference).items() if key.partition(".")[0] not in LAST_LAYERS}
    try:
        shape = UNetShape.of(denoiser)
    except (KeyError, IndexError, TypeError) as error:
        raise PriorError(f"{spatial} and {motion.name} are no denoiser ({error} is missing): fetch them again") from error
    with torch.device("meta"):
        require_same(build_denoiser(shape), denoiser, f"{spatial} with {motion.name}")
        require_same(build_reference_net(shape, reads=reads), photo, str(reference))
    return half(denoiser, "denoiser") | half(photo, "reference"), shape


def load_unets(
    tensors: Mapping[str, Tensor], source: Path, device: torch.device, dtype: torch.dtype, *, reads: bool
) -> tuple[UNetMotionModel, UNet2DConditionModel]:
    """Build the denoiser and the reference net out of converted tensors."""
    shape = UNetShape.of(part(tensors, "denoiser"))
    with torch.device("meta"):
        denoiser, reference_net = build_denoiser(shape), build_reference_net(shape, reads=reads)
    return (
        fill(denoiser, part(tensors, "denoiser"), str(source), device, dtype),
        fill(reference_net, part(tensors, "reference"), str(source), device, dtype),
    )
