"""What every video prior offers: a rendered clip goes in, a better one comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.types import Camera, Reference


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One clip to regenerate (SymGEN, step 1).

    `frames`, `alpha` and `depth` are the avatar's own renders over `background`; `landmarks` are MediaPipe's 478 on the
    mesh as each camera sees them (pixel x, pixel y, depth in metres), from which a prior makes the drawings that it was
    trained on; `vertices` is the posed mesh of each frame.
    `kept` in [0, 1] says how much of each pixel must stay as it is; None is nothing.
    `strength` in [0, 1] says how far the prior may move away from the render: 0 keeps it, 1 starts from noise.
    """

    frames: Float[Tensor, "T H W 3"]
    alpha: Float[Tensor, "T H W"]
    depth: Float[Tensor, "T H W"]
    landmarks: Float[Tensor, "T 478 3"]
    cameras: Camera
    vertices: Float[Tensor, "T V 3"]
    reference: Reference
    background: Float[Tensor, "3"]
    strength: float
    generator: torch.Generator
    kept: Float[Tensor, "T H W"] | None = None


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """How the diffusion priors work; what is None is left to each model.

    `steps` are those of a whole denoising from noise, of which `strength` of a request are taken.
    """

    steps: int | None = field(default=None, metadata={"help": "denoising steps from noise to picture", "range": (1, 100)})
    guidance: float | None = field(default=None, metadata={"help": "classifier-free guidance, 1 for none", "range": (1, 20)})
    # Ours: guidance shapes what is decided while much noise is left, and costs a second pass of the network.
    guided: float = field(default=0.5, metadata={"help": "share of the steps, the first, with guidance", "range": (0.0, 1.0)})
    compare_every: int = field(default=2, metadata={"help": "steps for which what guidance adds is believed", "range": (1, 10)})
    eta: float = field(default=0.0, metadata={"help": "noise drawn anew at each step: 1 with an LCM LoRA", "range": (0.0, 1.0)})
    start: str = field(
        default="auto", metadata={"help": "where denoising starts: sdedit, invert, invert_fp, or auto by the prior"}
    )
    passes: int = field(default=2, metadata={"help": "network passes a step of invert_fp", "range": (1, 10)})
    # TAESD's errors in a render are small beside the noise that is added to it; in pictures to learn from they show.
    autoencoder: str = field(
        default="mixed", metadata={"help": "autoencoder: full, tiny (TAESD, for previews), or mixed (tiny in, full out)"}
    )
    lora: str = field(default="", metadata={"help": "few-step LoRA of Stable Diffusion 1.5 for animatediff, a path"})
    precision: str = field(
        default="auto", metadata={"help": "of the networks: float16, bfloat16, float32, or auto by device and model"}
    )
    channels_last: bool = field(default=False, metadata={"help": "lay kernels out channels last: quicker on some GPUs"})
    compile: bool = field(default=False, metadata={"help": "compile repeated blocks: minutes first, then quicker steps"})
    storage: str = field(
        default="auto", metadata={"help": "weights of wan-animate and wan-vace: full (16 bits), float8, offload, or auto"}
    )
    pose_norm: str = field(default="batch", metadata={"help": "statistics of AniPortrait's pose network: batch or running"})
    size: int = field(default=512, metadata={"help": "width of the pictures the model sees, pixels", "range": (64, 1024)})
    window: int | None = field(default=None, metadata={"help": "frames the model sees at once", "range": (2, 32)})
    overlap: int | None = field(default=None, metadata={"help": "frames that neighbouring windows share", "range": (0, 31)})


@runtime_checkable
class ClipBatches(Protocol):
    """A prior that is quicker with several clips at once."""

    def regenerate_all(self, requests: Sequence[ClipRequest]) -> list[Float[Tensor, "T H W 3"]]:
        """Give several clips of one person again, all of one length and strength."""
        ...


def regenerate_all(prior: VideoPrior, requests: Sequence[ClipRequest]) -> list[Float[Tensor, "T H W 3"]]:
    """Regenerate clips at once by a prior that can, where they are of one length, and else one by one."""
    if isinstance(prior, ClipBatches) and len({len(request.frames) for request in requests}) == 1:
        return prior.regenerate_all(requests)
    return [prior.regenerate(request) for request in requests]


@runtime_checkable
class Critic(Protocol):
    """A prior that can say in one step what it would rather see, as score distillation asks."""

    def predict_clean(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Noise the clip to the level `strength` of the whole and give, by one pass of the network, the clean clip."""
        ...


class VideoPrior(Protocol):
    """A model of how portrait videos look. `name` says which and, where there are settings, with which."""

    name: str

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the clip again, as the prior believes it should look, over the same background."""
        ...
