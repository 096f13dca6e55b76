"""The public repositories that diffusers reads by itself, at tiny size: real classes with random weights, saved by their own
`save_pretrained` under the published files' names."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from tests.priors.tiny_hub import SHAPE, shaken
from zero1toa.assets import weights_path
from zero1toa.priors import animatediff, wan_animate, wan_vace

PATCHES, SEEN = 5, 16  # of the image encoders: 2 x 2 patches and one for all
LATENTS = 4  # channels of Wan's autoencoder


def write_taesd() -> None:
    """Write a tiny autoencoder of TAESD's kind."""
    from diffusers import AutoencoderTiny

    widths = {"encoder_block_out_channels": (8, 8, 8, 8), "decoder_block_out_channels": (8, 8, 8, 8)}
    blocks = {"num_encoder_blocks": (1, 1, 1, 1), "num_decoder_blocks": (1, 1, 1, 1)}
    AutoencoderTiny(**widths, **blocks).save_pretrained(weights_path("madebyollin/taesd"))


def write_animatediff() -> None:
    """Write everything that the prior animatediff needs but the autoencoders."""
    from diffusers import ControlNetModel, MotionAdapter, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    wide = {"block_out_channels": SHAPE.channels, "cross_attention_dim": SHAPE.tokens, "attention_head_dim": 8}
    base = weights_path(animatediff.BASE)
    shaken(UNet2DConditionModel(**wide)).save_pretrained(base / "unet", variant="fp16")
    motion = MotionAdapter(block_out_channels=SHAPE.channels, motion_max_seq_length=SHAPE.positions)
    shaken(motion).save_pretrained(weights_path(animatediff.MOTION), variant="fp16")
    control = ControlNetModel(**wide, conditioning_embedding_out_channels=(4, 8, 8, 8))
    shaken(control).save_pretrained(weights_path(animatediff.CONTROL, "diffusion_sd15"), variant="fp16")
    write_clip_tokenizer(base / "tokenizer")
    words = len(json.loads((base / "tokenizer" / "vocab.json").read_text()))
    text = CLIPTextConfig(
        vocab_size=words, hidden_size=SHAPE.tokens, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=words - 2, eos_token_id=words - 1,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(base / "text_encoder", variant="fp16")
    write_image_encoder(weights_path(animatediff.ADAPTER, "models/image_encoder"))
    write_adapter(weights_path(animatediff.ADAPTER, animatediff.ADAPTER_FILE))


def write_clip_tokenizer(folder: Path) -> None:
    """Write a tokenizer of CLIP's kind that knows letters and no words."""
    letters = [*map(chr, [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)])]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}))
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    )


def write_image_encoder(folder: Path, *, projects: bool = True) -> None:
    """Write an image encoder of CLIP's kind."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=SEEN, intermediate_size=32, projection_dim=SHAPE.tokens, num_hidden_layers=2, num_attention_heads=2,
        image_size=28, patch_size=14,
    )  # fmt: skip
    (CLIPVisionModelWithProjection if projects else CLIPVisionModel)(config).save_pretrained(folder)


def write_adapter(path: Path) -> None:
    """Write an IP-Adapter "plus" under the published keys: a resampler, and keys and values for each cross-attention."""
    from safetensors.torch import save_file

    width, out, heads, queries = 32, SHAPE.tokens, 1, 4
    resampler: dict[str, nn.Module] = {
        "proj_in": nn.Linear(SEEN, width), "proj_out": nn.Linear(width, out), "norm_out": nn.LayerNorm(out)
    }  # fmt: skip
    for layer in range(4):
        resampler |= {
            f"layers.{layer}.0.norm1": nn.LayerNorm(width), f"layers.{layer}.0.norm2": nn.LayerNorm(width),
            f"layers.{layer}.0.to_q": nn.Linear(width, 64 * heads, bias=False),
            f"layers.{layer}.0.to_kv": nn.Linear(width, 128 * heads, bias=False),
            f"layers.{layer}.0.to_out": nn.Linear(64 * heads, width, bias=False),
            f"layers.{layer}.1.0": nn.LayerNorm(width), f"layers.{layer}.1.1": nn.Linear(width, 4 * width, bias=False),
            f"layers.{layer}.1.3": nn.Linear(4 * width, width, bias=False),
        }  # fmt: skip
    tensors = {"image_proj.latents": torch.randn(1, queries, width)}
    for name, module in resampler.items():
        tensors |= {f"image_proj.{name}.{key}": tensor for key, tensor in module.state_dict().items()}
    a, b, c, _ = SHAPE.channels
    # Published numbers are odd, and run over down, up and middle blocks.
    for index, channels in enumerate((a, a, b, b, c, c, c, c, c, b, b, b, a, a, a, c)):
        for kind in ("k", "v"):
            tensors[f"ip_adapter.{2 * index + 1}.to_{kind}_ip.weight"] = torch.randn(channels, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def write_wan_animate() -> None:
    """Write everything that the prior wan-animate needs; transformer and text encoder in several files with an index."""
    from diffusers import WanAnimateTransformer3DModel

    folder = weights_path(wan_animate.REPO)
    transformer = WanAnimateTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=2 * LATENTS + 4,
        latent_channels=LATENTS, out_channels=LATENTS, text_dim=24, freq_dim=32, ffn_dim=32, num_layers=2, image_dim=SEEN,
        rope_max_seq_len=32, motion_encoder_channel_sizes={"4": 16, "8": 16, "16": 16}, motion_encoder_size=16,
        motion_style_dim=8, motion_dim=4, motion_encoder_dim=16, face_encoder_hidden_dim=16, face_encoder_num_heads=2,
        inject_face_latents_blocks=2,
    )  # fmt: skip
    shaken(transformer).save_pretrained(folder / "transformer", max_shard_size="100KB")
    write_image_encoder(folder / "image_encoder", projects=False)
    write_wan_parts(folder)


def write_wan_vace() -> None:
    """Write everything that the prior wan-vace needs; transformer and text encoder in several files with an index."""
    from diffusers import WanVACETransformer3DModel

    folder = weights_path(wan_vace.REPO)
    transformer = WanVACETransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=LATENTS, out_channels=LATENTS,
        text_dim=24, freq_dim=32, ffn_dim=32, num_layers=3, rope_max_seq_len=32, vace_layers=[0, 2],
        vace_in_channels=2 * LATENTS + 64,
    )  # fmt: skip
    shaken(transformer).save_pretrained(folder / "transformer", max_shard_size="100KB")
    write_wan_parts(folder)


def write_wan_parts(folder: Path) -> None:
    """Write the autoencoder, tokenizer and text encoder of a model of Wan."""
    from diffusers import AutoencoderKLWan
    from transformers import UMT5Config, UMT5EncoderModel

    autoencoder = AutoencoderKLWan(
        base_dim=4, z_dim=LATENTS, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.1] * LATENTS, latents_std=[1.5] * LATENTS,
    )  # fmt: skip
    autoencoder.save_pretrained(folder / "vae")
    write_word_tokenizer(folder / "tokenizer")
    text = UMT5Config(vocab_size=64, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    UMT5EncoderModel(text).save_pretrained(folder / "text_encoder", max_shard_size="4KB")


def write_word_tokenizer(folder: Path) -> None:
    """Write a tokenizer that knows letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {letter: 3 + index for index, letter in enumerate(wan_animate.PROMPT)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text("{}")
