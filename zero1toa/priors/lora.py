"""Low-rank corrections of a network (LoRA; Hu et al. 2022), such as those that teach it to take few steps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from zero1toa.types import PriorError

# How the published few-step LoRAs for Stable Diffusion 1.5 name a U-Net's layers: with underscores for dots.
PREFIX = "lora_unet_"


@torch.no_grad()
def fuse_lora(unet: nn.Module, path: Path) -> None:
    """Add a LoRA file to a U-Net's weights, so that it costs nothing afterwards.

    Raises PriorError when it is missing or damaged, or when a layer that it corrects is not there or has another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise PriorError(f"--diffusion-lora {path} is not there or no safetensors file: give the path of a LoRA") from error
    layers = {name.replace(".", "_"): module for name, module in unet.named_modules() if hasattr(module, "weight")}
    names = {key.rpartition(".lora_")[0] for key in tensors if ".lora_" in key}
    if not names:
        raise PriorError(f"--diffusion-lora {path} holds no LoRA: its tensors are called otherwise")
    for name in sorted(names):
        layer = layers.get(name.removeprefix(PREFIX))
        if layer is None or not name.startswith(PREFIX):
            raise PriorError(f"--diffusion-lora {path} corrects {name}, which this U-Net does not have")
        weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
        try:
            change = _change(tensors, name)
        except (KeyError, RuntimeError) as error:
            raise PriorError(f"--diffusion-lora {path} is incomplete at {name}: fetch it again") from error
        if change.shape != weight.flatten(1).shape:
            raise PriorError(
                f"--diffusion-lora {path} is of another model: {name} has {tuple(change.shape)} weights there, "
                f"{tuple(weight.flatten(1).shape)} here"
            )
        weight += change.view_as(weight).to(weight)


def _change(tensors: dict[str, Tensor], name: str) -> Tensor:
    """Multiply a layer's two factors, scaled by alpha over their rank; kernels of convolutions come out flat."""
    up, down = tensors[f"{name}.lora_up.weight"].float(), tensors[f"{name}.lora_down.weight"].float()
    alpha = tensors.get(f"{name}.alpha")
    scale = 1.0 if alpha is None else float(alpha) / len(down)
    return scale * up.flatten(1) @ down.flatten(1)
