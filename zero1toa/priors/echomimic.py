"""EchoMimic (Chen et al. 2024), driven by landmarks and distilled to six steps without guidance, on diffusers' networks.

Its denoiser listens to speech as well. It was trained to do without, by zeros in the place of what it hears, and is never told
anything else here: the avatar's own mouth is drawn instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from zero1toa.assets import weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.checkpoint import converted, fill, part, read_tensors, require_same
from zero1toa.priors.conditioning import DOTS, OVAL, STROKES, draw_landmarks
from zero1toa.priors.pictures import LatentSpace
from zero1toa.priors.portrait import PortraitModel
from zero1toa.priors.reference import look_at_references
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.unets import convert_unets, load_unets
from zero1toa.types import PriorError

REPO = "BadToBest/EchoMimic"
FILES = ("denoising_unet_pose_acc.pth", "motion_module_pose_acc.pth", "reference_unet_pose.pth", "face_locator_pose.pth")
# The original adds three times what its cross-attention hears.
HEARING = 3.0
DRAWN = tuple(stroke for stroke in STROKES if stroke[0] != OVAL)


class EchoMimic(PortraitModel):
    """The networks of EchoMimic. Raises PriorError when a file is missing, damaged or another model's."""

    name = "echomimic"
    steps = 6
    guidance = 1.0
    window, overlap = 12, 3
    landmarks_always = False

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        dtype = precision(config, device)
        tensors, kept = converted("echomimic", tuple(weights_path(REPO, file) for file in FILES), convert)
        self.denoiser, self.reference_net = load_unets(tensors, kept, device, dtype, reads=False)
        with torch.device("meta"):
            locator = FaceLocator(locator_widths(part(tensors, "locator")))
        self.locator = fill(locator, part(tensors, "locator"), str(kept), device, torch.float32)
        look_at_references(self.denoiser, token_weight=HEARING)
        tune(self.denoiser, config)
        self.latents = LatentSpace.load(config.autoencoder, device, dtype)

    def tokens(self, photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 1 D"]:
        """Give silence: attending to any number of zeros is attending to one."""
        return torch.zeros(1, 1, self.denoiser.config["cross_attention_dim"])

    def reference_tokens(self, tokens: Float[Tensor, "1 1 D"]) -> None:
        """Give nothing: its reference net reads only the photo."""
        return

    def control(self, landmarks: Float[Tensor, "T 478 3"], height: int, width: int) -> tuple[Tensor, ...]:
        """Draw the landmarks, from 0 to 1, and turn them into the one map that is added after the first layer."""
        drawings = draw_landmarks(landmarks, height, width, strokes=DRAWN, dots=DOTS).movedim(-1, 1)
        return (self.locator(drawings.to(self.denoiser.device)).to(self.denoiser.dtype),)


class FaceLocator(nn.Module):
    """Convolutions that bring a drawing to an eighth of its size; names are those of the published weights."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        *inner, out = widths
        self.conv_in = nn.Conv2d(3, inner[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for a, b in pairwise(inner):
            self.blocks += [nn.Conv2d(a, a, 3, padding=1), nn.Conv2d(a, b, 3, padding=1, stride=2)]
        self.conv_out = nn.Conv2d(inner[-1], out, 3, padding=1)

    def forward(self, drawing: Float[Tensor, "T 3 H W"]) -> Float[Tensor, "T C h w"]:
        """Give the map of each frame's drawing."""
        x = silu(self.conv_in(drawing))
        for block in self.blocks:
            x = silu(block(x))
        return self.conv_out(x)


def locator_widths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Read the widths of a face locator off its weights, (16, 32, 96, 256, 320) in the published ones.

    Raises KeyError when these are no face locator's.
    """
    inner = (len(tensors[f"blocks.{i}.weight"]) for i in (1, 3, 5))
    return len(tensors["conv_in.weight"]), *inner, len(tensors["conv_out.weight"])


def convert() -> dict[str, Tensor]:
    """Read the four published files and make of them what our networks take, checked tensor by tensor."""
    *unets, last = (weights_path(REPO, file) for file in FILES)
    tensors, shape = convert_unets(*unets, reads=False)
    locator = read_tensors(last)
    try:
        widths = locator_widths(locator)
    except (KeyError, IndexError, TypeError) as error:
        raise PriorError(f"{last} is no face locator ({error} is missing): fetch it again") from error
    with torch.device("meta"):
        require_same(FaceLocator(widths), locator, str(last))
    if widths[-1] != shape.channels[0]:
        raise PriorError(f"{last} does not belong to {FILES[0]}: fetch the weights again")
    return tensors | {f"locator.{key}": tensor for key, tensor in locator.items()}
