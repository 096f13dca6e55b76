"""How a denoiser looks at the photo: in every spatial self-attention, its pixels also attend to those of the photo.

A copy of the U-Net, the reference net, reads the photo's latent once, at timestep 0. What enters each of its
self-attentions is kept, and the denoiser's own projections turn it into keys and values, which stay the same for all steps,
frames and clips of a run (AnimateAnyone's ReferenceNet, Hu et al. 2023, as in AniPortrait and EchoMimic).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, slots=True)
class ReferenceBank:
    """Keys and values of the photo for each layer, (1, heads, pixels, channels of a head).

    The first `blind` rows of a batch do not see them: they belong to the pass without condition.
    """

    layers: Mapping[str, tuple[Tensor, Tensor]]
    blind: int = 0

    def hidden_from(self, rows: int) -> ReferenceBank:
        """Hide the photo from the first rows of a batch."""
        return replace(self, blind=rows)


class SpatialSelfAttention:
    """The attention processor of a denoiser's spatial self-attention; pass `reference` to let it see the photo."""

    def __init__(self, layer: str) -> None:
        self.layer = layer

    def __call__(
        self, attn, hidden_states: Float[Tensor, "B P C"], encoder_hidden_states=None, attention_mask=None,
        reference: ReferenceBank | None = None,
    ) -> Float[Tensor, "B P C"]:  # fmt: skip
        query, key, value = (_heads(attn, to(hidden_states)) for to in (attn.to_q, attn.to_k, attn.to_v))
        if reference is None:
            return _out(attn, scaled_dot_product_attention(query, key, value))
        blind, rows = reference.blind, len(query)
        photo_key, photo_value = reference.layers[self.layer]
        attended = [scaled_dot_product_attention(query[:blind], key[:blind], value[:blind])] if blind else []
        if blind < rows:
            seen = _beside(key[blind:], photo_key), _beside(value[blind:], photo_value)
            attended.append(scaled_dot_product_attention(query[blind:], seen[0], seen[1]))
        return _out(attn, torch.cat(attended))


class TokenAttention:
    """The attention processor of a denoiser's cross-attention, whose result counts `weight` times.

    To a single token every pixel attends fully.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(
        self, attn, hidden_states: Float[Tensor, "B P C"], encoder_hidden_states: Float[Tensor, "B K D"],
        attention_mask=None, reference: ReferenceBank | None = None,
    ) -> Float[Tensor, "B P C"]:  # fmt: skip
        if encoder_hidden_states.shape[1] == 1:
            return self.weight * attn.to_out[0](attn.to_v(encoder_hidden_states)).expand_as(hidden_states)
        query = _heads(attn, attn.to_q(hidden_states))
        key, value = (_heads(attn, to(encoder_hidden_states)) for to in (attn.to_k, attn.to_v))
        return self.weight * _out(attn, scaled_dot_product_attention(query, key, value))


def look_at_references(denoiser: nn.Module, *, token_weight: float = 1.0) -> None:
    """Give every attention of a `UNetMotionModel` outside its motion modules a processor that knows of the photo."""
    for name in spatial_layers(denoiser):
        denoiser.get_submodule(name).set_processor(SpatialSelfAttention(name))  # pyright: ignore[reportCallIssue]
        denoiser.get_submodule(name[:-1] + "2").set_processor(TokenAttention(token_weight))  # pyright: ignore[reportCallIssue]


def spatial_layers(network: nn.Module) -> tuple[str, ...]:
    """Name the self-attentions over pixels; the reference net and the denoiser call them the same."""
    return tuple(name for name, _ in network.named_modules() if name.endswith(".attn1") and "motion_modules" not in name)


@torch.no_grad()
def study(
    reference_net: nn.Module, denoiser: nn.Module, latent: Float[Tensor, "1 4 h w"], tokens: Float[Tensor, "1 K D"] | None
) -> ReferenceBank:
    """Run the reference net on a photo's latent and project what it saw for the denoiser."""
    heard: dict[str, Tensor] = {}

    def listener(layer: str):
        return lambda _, inputs: heard.__setitem__(layer, inputs[0])

    names = spatial_layers(denoiser)
    hooks = [reference_net.get_submodule(name).register_forward_pre_hook(listener(name)) for name in names]
    try:
        reference_net(latent, 0, encoder_hidden_states=tokens)
    finally:
        for hook in hooks:
            hook.remove()
    layers = {}
    for name in names:
        attn = denoiser.get_submodule(name)
        key, value = attn.get_submodule("to_k"), attn.get_submodule("to_v")
        layers[name] = _heads(attn, key(heard[name])), _heads(attn, value(heard[name]))
    return ReferenceBank(layers)


def _heads(attn, x: Float[Tensor, "B P C"]) -> Float[Tensor, "B H P D"]:
    return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _out(attn, x: Float[Tensor, "B H P D"]) -> Float[Tensor, "B P C"]:
    return attn.to_out[0](x.transpose(1, 2).flatten(2))


def _beside(own: Float[Tensor, "B H P D"], photo: Float[Tensor, "1 H R D"]) -> Float[Tensor, "B H PR D"]:
    return torch.cat([own, photo.expand(len(own), -1, -1, -1)], 2)
