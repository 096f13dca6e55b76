"""The public repositories at tiny size: real networks with random weights, saved under their files' own names and keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from zero1toa.assets import weights_path
from zero1toa.priors.echomimic import FaceLocator
from zero1toa.priors.pose_guider import PoseGuider, PoseGuiderShape
from zero1toa.priors.unets import UNetShape, build_denoiser, build_reference_net

SHAPE = UNetShape(channels=(32, 64, 128, 128), tokens=24, positions=32)
HEARING_SHAPE = UNetShape(channels=(32, 64, 128, 128), tokens=12, positions=32)
LOCATOR = (4, 8, 12, 16, 32)
POSE = PoseGuiderShape(stem=(3, 4, 4, 8, 8, 8, 8, 16), width=32, inner=32)
# diffusers' names in a motion module, then those of the published files.
ORIGINAL = (
    (r"(motion_modules\.\d+)\.", r"\1.temporal_transformer."),
    (r"\.attn1\.", ".attention_blocks.0."),
    (r"\.attn2\.", ".attention_blocks.1."),
    (r"\.norm1\.", ".norms.0."),
    (r"\.norm2\.", ".norms.1."),
    (r"\.norm3\.", ".ff_norm."),
    (r"\.pos_embed\.", ".attention_blocks.0.pos_encoder."),
)


def published(denoiser: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a denoiser's tensors into the two files and give them the published names."""
    spatial = {key: tensor for key, tensor in denoiser.items() if ".motion_modules." not in key}
    motion = {}
    for key, tensor in denoiser.items():
        if ".motion_modules." not in key:
            continue
        for old, new in ORIGINAL:
            key = re.sub(old, new, key)
        motion[key] = tensor
        if key.endswith("attention_blocks.0.pos_encoder.pe"):
            motion[key.replace("attention_blocks.0", "attention_blocks.1")] = tensor.clone()
    return spatial, motion


def random_denoiser(shape: UNetShape = SHAPE) -> nn.Module:
    """Build a denoiser with random weights, the projections out of its motion modules included."""
    return shaken(build_denoiser(shape)).eval()


def random_reference_net(shape: UNetShape = SHAPE, *, reads: bool = True) -> nn.Module:
    """Build a reference net with random weights."""
    return shaken(build_reference_net(shape, reads=reads)).eval()


def random_pose_guider() -> PoseGuider:
    """Build a pose network whose running statistics are those of some training."""
    guider = shaken(PoseGuider(POSE))
    for norm in guider.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    return guider.eval()


def write_aniportrait() -> Path:
    """Write everything that the prior aniportrait needs into the cache; give the folder of its own repository."""
    folder = weights_path("ZJYang/AniPortrait")
    folder.mkdir(parents=True)
    spatial, motion = published(random_denoiser().state_dict())
    torch.save(spatial, folder / "denoising_unet.pth")
    torch.save(motion, folder / "motion_module.pth")
    torch.save(random_reference_net().state_dict(), folder / "reference_unet.pth")
    torch.save(random_pose_guider().state_dict(), folder / "pose_guider.pth")
    write_autoencoder()
    write_image_encoder()
    return folder


def write_echomimic() -> Path:
    """Write everything that the prior echomimic needs but the autoencoder; give the folder of its repository."""
    folder = weights_path("BadToBest/EchoMimic")
    folder.mkdir(parents=True)
    spatial, motion = published(random_denoiser(HEARING_SHAPE).state_dict())
    torch.save(spatial, folder / "denoising_unet_pose_acc.pth")
    torch.save(motion, folder / "motion_module_pose_acc.pth")
    # Its last layers, which nobody needs, may be in the file.
    last = {"conv_norm_out.weight": torch.ones(32), "conv_out.bias": torch.zeros(4)}
    torch.save({**random_reference_net(HEARING_SHAPE, reads=False).state_dict(), **last}, folder / "reference_unet_pose.pth")
    torch.save(shaken(FaceLocator(LOCATOR)).state_dict(), folder / "face_locator_pose.pth")
    return folder


def write_autoencoder() -> None:
    """Write an autoencoder whose latents are an eighth of the picture."""
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    net = AutoencoderKL(**blocks, block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1)
    net.save_pretrained(weights_path("stabilityai/sd-vae-ft-mse"))


def write_image_encoder() -> None:
    """Write a CLIP image encoder as a pickle, which is what the repository holds."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = weights_path("lambdalabs/sd-image-variations-diffusers", "image_encoder")
    folder.mkdir(parents=True)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, projection_dim=SHAPE.tokens, num_hidden_layers=2, num_attention_heads=2,
        image_size=28, patch_size=14,
    )  # fmt: skip
    net = CLIPVisionModelWithProjection(config)
    saved = {"architectures": ["CLIPVisionModelWithProjection"], **config.to_dict()}
    (folder / "config.json").write_text(json.dumps(saved, default=str))
    # The published file also has the positions' indices, which newer versions of transformers compute.
    tensors = {**net.state_dict(), "vision_model.embeddings.position_ids": torch.arange(5)[None]}
    torch.save(tensors, folder / "pytorch_model.bin")


def shaken(net):
    """Replace weights that start at zero, such as those that end a motion module: nothing must stay hidden."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if not bool(weight.any()):
                weight.normal_(0, 0.1)
            elif name.endswith("norm.weight"):
                weight.uniform_(0.5, 1.5)
    return net
