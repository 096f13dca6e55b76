"""What the models of Wan (Wan Team 2025) share in diffusers: autoencoder, words, how weights are held, and flows as v."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import weights_path
from zero1toa.priors.checkpoint import converted
from zero1toa.priors.pictures import load_pretrained
from zero1toa.priors.portrait import told_and_without
from zero1toa.types import PriorError

log = logging.getLogger(__name__)

WORDS = 512  # tokens that they read


class VideoLatents:
    """Wan's autoencoder between clips in [0, 1] and latents of unit variance, an eighth of their size.

    The first frame has a latent of its own, and then every four frames have one.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

        # In 16 bits its decoder bands.
        self.net = load_pretrained(AutoencoderKLWan, folder, device, torch.float32)
        self.mean, self.spread = (
            torch.tensor(self.net.config[key], device=device).view(-1, 1, 1, 1) for key in ("latents_mean", "latents_std")
        )

    def encode(self, frames: Float[Tensor, "T H W 3"]) -> Float[Tensor, "C t h w"]:
        """Give the mean latents of a clip of any length."""
        clip = as_video(whole(frames)).to(self.mean)
        return (self.net.encode(clip).latent_dist.mean[0] - self.mean) / self.spread

    def decode(self, latents: Float[Tensor, "t C h w"]) -> Float[Tensor, "F H W 3"]:
        """Give the pictures of a clip's latents, four for each but one."""
        clip = latents.transpose(0, 1) * self.spread + self.mean
        pictures = self.net.decode(clip[None], return_dict=False)[0][0]
        return (pictures.permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)


def whole(frames: Float[Tensor, "T *S"]) -> Float[Tensor, "F *S"]:
    """Repeat the last frame until there are 4 n + 1, which the autoencoder takes."""
    return torch.cat([frames, *[frames[-1:]] * ((1 - len(frames)) % 4)])


def as_video(frames: Float[Tensor, "T H W 3"]) -> Float[Tensor, "1 3 T H W"]:
    """Bring frames from 0..1 to -1..1 and into the order of the networks."""
    return 2 * frames.permute(3, 0, 1, 2)[None] - 1


def velocity_of_flow(
    flow: Callable[[Float[Tensor, "N C t h w"]], Float[Tensor, "R C t h w"]],
    sample: Float[Tensor, "t N C h w"], timestep: float, angle: float, *, compare: bool,
) -> tuple[Float[Tensor, "t N C h w"], Float[Tensor, "t N C h w"] | None]:  # fmt: skip
    """Turn the flow that a transformer sees in samples into v; to `compare`, it gives first what it sees without conditions."""
    sigma = math.sin(angle) / (math.cos(angle) + math.sin(angle))
    # The model's samples are (1 - sigma) * clean + sigma * noise, ours as long as if both were sides of a right angle.
    mixed = sample / (math.cos(angle) + math.sin(angle))
    as_v = lambda flow: math.cos(angle) * (mixed + (1 - sigma) * flow) - math.sin(angle) * (mixed - sigma * flow)
    told, without = told_and_without(flow(mixed.permute(1, 2, 0, 3, 4)).float(), compare=compare)
    return as_v(told), None if without is None else as_v(without)


def hold(transformer: Any, name: str, storage: str, needed: Mapping[str, float], device: torch.device) -> Any:
    """Place a transformer as `DiffusionConfig.storage` says or, for "auto", as the free memory of a GPU allows.

    `needed` says how much GPU memory each way takes, in GB: weights of 16 bits, of 8, and of 8 that wait elsewhere.
    """
    if storage not in ("auto", *needed):
        raise PriorError(f"--diffusion-storage {storage} is unknown: use auto, {', '.join(needed)}")
    if storage == "auto":
        storage = fitting_storage(needed, torch.cuda.mem_get_info(device)[0] / 1e9) if device.type == "cuda" else "full"
    log.info("the transformer of %s is held: %s", name, storage)
    if storage != "full":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=transformer.dtype)
    if storage == "offload":
        transformer.enable_group_offload(
            onload_device=device, offload_type="block_level", num_blocks_per_group=1, use_stream=device.type == "cuda"
        )
        return transformer
    return transformer.to(device)


def fitting_storage(needed: Mapping[str, float], free_gb: float) -> str:
    """Choose the most exact way of holding a transformer that so much memory allows, or the last."""
    return next((name for name, gb in needed.items() if free_gb >= gb), [*needed][-1])


def stored_words(name: str, repo: str, texts: tuple[str, str], device: torch.device) -> Float[Tensor, "2 K D"]:
    """Give what a repository's text encoder makes of texts; it runs once, and what it said is kept in the cache."""
    folder = weights_path(repo)
    sources = (folder / "text_encoder/config.json", folder / "tokenizer/tokenizer.json")
    return converted(f"{name}-words", sources, partial(encode_words, folder, texts))[0]["words"].to(device)


@torch.no_grad()
def encode_words(folder: Path, texts: tuple[str, str]) -> dict[str, Tensor]:
    """Run the text encoder, 5.7 billion weights, on the CPU."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except Exception as error:  # whatever the reader of the day raises
        raise PriorError(f"{folder / 'tokenizer'} holds no tokenizer ({type(error).__name__}): fetch it again") from error
    encoder = load_pretrained(UMT5EncoderModel, folder / "text_encoder", torch.device("cpu"), torch.bfloat16)
    read = tokenizer(list(texts), padding="max_length", max_length=WORDS, truncation=True, return_tensors="pt")
    words = encoder(read.input_ids, read.attention_mask).last_hidden_state.float()
    # Places without a word are zeros.
    return {"words": words * read.attention_mask[..., None]}
