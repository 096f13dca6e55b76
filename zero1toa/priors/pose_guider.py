"""AniPortrait's pose network: a drawing of landmarks becomes five maps that are added inside the denoiser.

The layers and their names are those of the public weights. What is called cross-attention there attends to nothing but its
own pixels, so the drawing of the photo's landmarks that the original passes along changes nothing and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

HEADS = 16


@dataclass(frozen=True, slots=True)
class PoseGuiderShape:
    """How wide the network is; the defaults are the public weights'. `stem` are the widths of the first eight layers."""

    stem: tuple[int, ...] = (3, 16, 16, 32, 32, 64, 64, 128)
    width: int = 320
    inner: int = 1408

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the maps that are added after the denoiser's four down blocks."""
        return self.width, 2 * self.width, 4 * self.width, 4 * self.width

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> PoseGuiderShape:
        """Read the widths off the weights. Raises KeyError when these are no pose network's."""
        return cls(
            stem=tuple(len(tensors[f"conv_layers.{3 * i}.weight"]) for i in range(8)),
            width=len(tensors["final_proj.weight"]),
            inner=len(tensors["cross_attn1.proj_in.weight"]),
        )


class PoseGuider(nn.Module):
    """Maps of 1/8, 1/16, 1/32, 1/64 and 1/64 of the drawing's size, `width` times 1, 1, 2, 4 and 4 channels."""

    def __init__(self, shape: PoseGuiderShape) -> None:
        super().__init__()
        import torch

        a, b, c, d, e, f, g, h = shape.stem
        # Every second layer of the stem halves the picture with a 4x4 kernel, three times.
        self.conv_layers = nn.Sequential(
            *_layer(3, a), *_layer(a, b, halve=4), *_layer(b, c), *_layer(c, d, halve=4), *_layer(d, e),
            *_layer(e, f, halve=4), *_layer(f, g), *_layer(g, h),
        )  # fmt: skip
        w = shape.width
        self.final_proj = nn.Conv2d(h, w, 1)
        self.conv_layers_1 = nn.Sequential(*_layer(w, w), *_layer(w, w, halve=3))
        self.conv_layers_2 = nn.Sequential(*_layer(w, w), *_layer(w, 2 * w, halve=3))
        self.conv_layers_3 = nn.Sequential(*_layer(2 * w, 2 * w), *_layer(2 * w, 4 * w, halve=3))
        self.conv_layers_4 = nn.Sequential(*_layer(4 * w, 4 * w))
        self.cross_attn1 = PixelTransformer(w, shape.inner)
        self.cross_attn2 = PixelTransformer(2 * w, shape.inner)
        self.cross_attn3 = PixelTransformer(4 * w, shape.inner)
        self.cross_attn4 = PixelTransformer(4 * w, shape.inner)
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, drawing: Float[Tensor, "T 3 H W"]) -> tuple[Tensor, ...]:
        """Give the five maps of each frame's drawing."""
        maps = [self.final_proj(self.conv_layers(drawing)) * self.scale]
        for level in range(1, 5):
            finer = self.get_submodule(f"conv_layers_{level}")(maps[-1])
            maps.append(self.get_submodule(f"cross_attn{level}")(finer))
        return tuple(maps)

    def use_batch_statistics(self) -> None:
        """Normalise by the mean and variance of the drawings at hand from now on, not by those of the training.

        The published samples were made so: the original never leaves training mode.
        """
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean = norm.running_var = None


class PixelTransformer(nn.Module):
    """One transformer block over all pixels of a map, added to it."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        from diffusers.models.attention import BasicTransformerBlock

        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(inner, HEADS, inner // HEADS)])
        self.proj_out = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Float[Tensor, "T C h w"]) -> Float[Tensor, "T C h w"]:
        """Let all pixels of a frame see each other."""
        inner = self.proj_in(self.norm(x))
        pixels = self.transformer_blocks[0](inner.flatten(2).transpose(1, 2))
        return x + self.proj_out(pixels.transpose(1, 2).unflatten(2, inner.shape[2:]))


def _layer(channels: int, out: int, *, halve: int = 0) -> tuple[nn.Module, ...]:
    """Convolve, normalise and rectify; `halve` is the size of the kernel that halves the picture."""
    conv = nn.Conv2d(channels, out, halve or 3, stride=2 if halve else 1, padding=1)
    return conv, nn.BatchNorm2d(out), nn.ReLU()
