"""The network of the embedded prior: it says where to take colours from, how to shade them, and only then what to add.

A picture is not painted but composed. Every pixel mixes four sources: the photo warped through the mesh, the avatar's own
render, colours fetched from anywhere in the photo by attention, and the noisy sample itself; then comes a shade per channel,
and a free residual. Whatever the photo's colours are, copying them is the same answer, so a network that has only seen
rendered people copies real ones; and since weights and shades are smooth, they can be applied to larger pictures than the
network has seen (see `compose`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention

# Sources of colour: warp, render, fetched from the photo, noisy sample.
SOURCES = 4
# A shade multiplies by at most e to this power, or divides.
DEEPEST_SHADE = 1.6
# Confidences of the warp from which on it is taken more, and taken as it is: what the photo shows needs no second opinion.
UNSURE, SURE = 0.7, 0.95
# How unlikely an untrained network fetches colours or keeps those of the sample, in log odds.
RELUCTANT = -4.0
# Pixels of the photo, a side, under one key by which colours are fetched.
SWATCH = 8


@dataclass(frozen=True, slots=True)
class Conditions:
    """What steers the denoising of `B` clips of `T` frames, pictures in [0, 1] with channels first.

    `told` says which of landmarks, warp, render and photo a clip is told (1) and which are withheld (0).
    """

    warp: Float[Tensor, "B T 3 H W"]
    confidence: Float[Tensor, "B T 1 H W"]
    render: Float[Tensor, "B T 3 H W"]
    coverage: Float[Tensor, "B T 1 H W"]
    landmarks: Float[Tensor, "B T 3 H W"]
    photo: Float[Tensor, "B 7 H W"]
    told: Float[Tensor, "B 4"]

    def of(self, frames: slice) -> Conditions:
        """Take what steers some of the frames."""
        return self.each_frame(lambda pictures: pictures[:, frames])

    def each_frame(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        """Change everything that there is once a frame."""
        by_frame = ("warp", "confidence", "render", "coverage", "landmarks")
        return replace(self, **{name: change(getattr(self, name)) for name in by_frame})

    def to(self, *arguments, **options) -> Conditions:
        """Give the same on a device or of a type."""
        return Conditions(*(getattr(self, entry.name).to(*arguments, **options) for entry in fields(self)))


# How to compose N pictures: 4 weights of the sources, which add up to 1, 3 channels of what was fetched from the photo, 3
# shades to multiply by, and 3 channels to add.
Recipe = Float[Tensor, "N 13 H W"]


def compose(
    recipe: Recipe, warp: Float[Tensor, "N 3 h w"], render: Float[Tensor, "N 3 h w"], sample: Float[Tensor, "N 3 h w"]
) -> Float[Tensor, "N 3 h w"]:
    """Compose pictures in [0, 1] from their sources, of the recipe's size or larger."""
    size = warp.shape[-2:]
    recipe = recipe if recipe.shape[-2:] == size else interpolate(recipe, size, mode="bilinear")
    weights, fetched, shade, residual = recipe.split([SOURCES, 3, 3, 3], 1)
    sources = torch.stack([warp, render, fetched, sample], 1)
    return (weights[:, :, None] * sources).sum(1) * shade + residual


def known_share(confidence: Float[Tensor, "*S"], unsure: float = UNSURE, sure: float = SURE) -> Float[Tensor, "*S"]:
    """Say how far the photo knows a pixel by its confidence: not below `unsure`, wholly from `sure` on."""
    return ((confidence - unsure) / (sure - unsure)).clamp(0, 1)


class PhotoEncoder(nn.Module):
    """Look at the photo once: tokens to attend to, and keys by which its colours are fetched."""

    def __init__(self, channels: int, features: int, token_channels: int) -> None:
        super().__init__()
        self.inlet = nn.Conv2d(7 * 16, channels, 3, padding=1)
        self.swatches = nn.Sequential(_block(channels, channels), _down(channels, channels), _block(channels, channels))
        self.tokens = nn.Sequential(_down(channels, token_channels), _block(token_channels, token_channels))
        self.key = nn.Conv2d(channels, features, 1)

    def forward(self, photo: Float[Tensor, "B 7 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """Give tokens (B, n, C), keys (B, m, D), and the colour of each key with its coverage (B, m, 4)."""
        swatches = _through(self.swatches, self.inlet(pixel_unshuffle(photo, 4)))
        tokens = _through(self.tokens, swatches)
        matted = avg_pool2d(photo[:, :4], SWATCH)
        color = matted[:, :3] / matted[:, 3:].clamp_min(1e-3)
        flat = lambda image: image.flatten(2).transpose(1, 2)
        return flat(tokens), flat(self.key(swatches)), flat(torch.cat([color, matted[:, 3:]], 1))


class CopyUNet(ModelMixin, ConfigMixin):
    """A small conditional video diffusion model that composes pictures; see the module's docstring.

    It works on patches of four pixels a side: convolutions on these and on pairs of them surround a `UNetMotionModel` on a
    sixteenth of the picture's size, with attention between frames and to the photo's tokens.
    """

    @register_to_config
    def __init__(
        self,
        patch: int = 4,
        outer_channels: tuple[int, ...] = (48, 64),
        inner_channels: tuple[int, ...] = (96, 128),
        heads: int = 4,
        key_channels: int = 32,
        max_frames: int = 32,
    ) -> None:
        super().__init__()
        self.patch = patch
        first, last, inner = outer_channels[0], outer_channels[-1], inner_channels[0]
        self.photo = PhotoEncoder(first, key_channels, inner)
        self.timesteps, self.time = Timesteps(inner, True, 0), TimestepEmbedding(inner, inner)
        # 3 noisy + 3 warp + confidence + 3 render + coverage + 3 landmarks, for every pixel of a patch; and what is told.
        self.inlet = nn.Conv2d(14 * patch**2 + 4, first, 3, padding=1)
        after = (*outer_channels[1:], last)
        self.down = nn.ModuleList(_block(channels, channels, inner) for channels in outer_channels)
        self.shrink = nn.ModuleList(_down(here, below) for here, below in zip(outer_channels, after, strict=True))
        attending = len(inner_channels) - 1
        self.core = UNetMotionModel(
            in_channels=last,
            out_channels=last,
            block_out_channels=inner_channels,
            down_block_types=("CrossAttnDownBlockMotion",) * attending + ("DownBlockMotion",),
            up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * attending,
            layers_per_block=1,
            cross_attention_dim=inner,
            num_attention_heads=heads,
            motion_num_attention_heads=heads,
            motion_max_seq_length=max_frames,
        )
        self.query = nn.Conv2d(last, key_channels, 1)
        self.grow = nn.ModuleList(
            Upsample2D(below, use_conv=True, out_channels=here) for here, below in zip(outer_channels, after, strict=True)
        )
        self.up = nn.ModuleList(_block(2 * channels, channels, inner) for channels in outer_channels)
        self.outlet = nn.Conv2d(first, patch**2 * (SOURCES + 6), 3, padding=1)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)  # pyright: ignore[reportArgumentType]

    def study(self, photo: Float[Tensor, "B 7 H W"]) -> tuple[Tensor, ...]:
        """Look at a photo, once for all steps and clips: colours times matte, matte, and its drawn landmarks."""
        return self.photo(photo)

    def forward(
        self, sample: Float[Tensor, "B T 3 H W"], timestep: Float[Tensor, "B"], angle: Float[Tensor, "B"], told: Conditions,
        studied: tuple[Tensor, ...] | None = None,
    ) -> Recipe:  # fmt: skip
        """Say how to compose the clean pictures of noisy ones (in [-1, 1]) at a timestep in [0, 1000)."""
        batch, frames = sample.shape[:2]
        each = lambda values: values.repeat_interleave(frames, 0)
        tokens, keys, swatches = studied if studied is not None else self.study(told.photo)
        time = each(self.time(self.timesteps(timestep).to(sample.dtype)))
        hidden, skips = self.inlet(_packed(sample, told, self.patch)), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(block(hidden, time))
            hidden = shrink(skips[-1])
        clip = hidden.unflatten(0, (batch, frames)).transpose(1, 2)
        seen = each(tokens * told.told[:, 3, None, None])
        hidden = self.core(clip, timestep, encoder_hidden_states=seen).sample.transpose(1, 2).flatten(0, 1)
        fetched: Tensor | None = None
        for block, grow, skip in zip(reversed(self.up), reversed(self.grow), reversed(skips), strict=True):
            hidden = block(torch.cat([grow(hidden), skip], 1), time)
            if fetched is None:
                fetched = _fetch(self.query(hidden), each(keys), each(swatches))
        assert fetched is not None
        return self._recipe(pixel_shuffle(self.outlet(hidden).float(), self.patch), fetched, each(angle), each(told.told), told)

    def _recipe(self, raw: Tensor, fetched: Tensor, angle: Tensor, told: Tensor, conditions: Conditions) -> Recipe:
        """Turn the last features into a recipe; sources that are withheld get no weight.

        Where the warp is sure, it is the picture. Untrained, the network gives about what `projection` gives: the warp as far
        as that is trusted, and the render.
        """
        size = raw.shape[-2:]
        confidence = (conditions.confidence.flatten(0, 1).float() * told[:, 1, None, None, None]).clamp(0.01, 0.99)
        signal = torch.log(torch.cos(angle).clamp_min(1e-6) / torch.sin(angle).clamp_min(1e-4))
        fetching = torch.full_like(confidence, RELUCTANT)
        sampling = (RELUCTANT + 2 * signal.clamp(-6, 2))[:, None, None, None].expand_as(confidence)
        start = torch.cat([confidence.log(), (1 - confidence).log(), fetching, sampling], 1)
        here = torch.stack([told[:, 1], told[:, 2], told[:, 3], torch.ones_like(angle)], 1)
        logits = (raw[:, :SOURCES] + start).masked_fill(here[..., None, None] == 0, -30.0)
        shade = (DEEPEST_SHADE * torch.tanh(raw[:, SOURCES : SOURCES + 3] / DEEPEST_SHADE)).exp()
        enlarged = interpolate(fetched.float(), size, mode="bilinear")
        recipe = torch.cat([logits.softmax(1), enlarged, shade, raw[:, SOURCES + 3 :]], 1)
        plain = recipe.new_tensor([1.0, *[0.0] * (SOURCES + 2), 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        return torch.lerp(recipe, plain[:, None, None].expand_as(recipe), known_share(confidence))


def _fetch(queries: Float[Tensor, "N D h w"], keys: Float[Tensor, "N m D"], swatches: Float[Tensor, "N m 4"]) -> Tensor:
    """Fetch colours of the photo's person by attention, (N, 3, h, w)."""
    asked = queries.flatten(2).transpose(1, 2)
    # What the matte takes away is nobody's colour.
    bias = torch.log(swatches[..., 3].float().clamp_min(1e-4)).to(asked.dtype)[:, None]
    values = swatches[:, None, :, :3].to(asked.dtype)
    colors = scaled_dot_product_attention(asked[:, None], keys[:, None], values, bias[:, None])
    return colors[:, 0].transpose(1, 2).unflatten(2, queries.shape[-2:])


def _packed(sample: Float[Tensor, "B T 3 H W"], told: Conditions, patch: int) -> Float[Tensor, "N C h w"]:
    """Lay everything a frame is told side by side, a patch of pixels to one; what is withheld is zero."""
    landmarks, warp, render, _ = (told.told[:, k, None, None, None, None] for k in range(4))
    pictures = (
        sample, (told.warp * 2 - 1) * warp, (told.confidence * 2 - 1) * warp, (told.render * 2 - 1) * render,
        (told.coverage * 2 - 1) * render, told.landmarks * landmarks,
    )  # fmt: skip
    packed = pixel_unshuffle(torch.cat(pictures, 2).flatten(0, 1), patch)
    said = told.told.repeat_interleave(sample.shape[1], 0)[..., None, None]
    return torch.cat([packed, said.expand(-1, -1, *packed.shape[-2:])], 1)


def _block(inside: int, outside: int, time: int | None = None) -> ResnetBlock2D:
    temb: Any = time  # None is no embedding, though diffusers does not say so
    return ResnetBlock2D(in_channels=inside, out_channels=outside, temb_channels=temb, groups=8, groups_out=8)


def _down(inside: int, outside: int) -> Downsample2D:
    # By its usual name the convolution would be kept twice.
    return Downsample2D(inside, use_conv=True, out_channels=outside, name="op")


def _through(layers: nn.Sequential, hidden: Tensor) -> Tensor:
    for layer in layers:
        hidden = layer(hidden) if isinstance(layer, Downsample2D) else layer(hidden, None)
    return hidden
