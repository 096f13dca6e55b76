"""Video priors behind one door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zero1toa.assets import missing, require, weights
from zero1toa.types import PriorError

if TYPE_CHECKING:
    import torch

    from zero1toa.priors.base import DiffusionConfig, VideoPrior

# From the best to the one that learns nothing. The last two are always here.
NAMES = ("aniportrait", "wan-animate", "echomimic", "wan-vace", "animatediff", "embedded", "projection")


def load_prior(name: str, config: DiffusionConfig, device: torch.device) -> VideoPrior:
    """Load a video prior by name onto a device.

    Raises PriorError with the names there are when it is unknown, and with what to do when its weights cannot be used.
    """
    match name:
        case "projection":
            from zero1toa.priors.projection import ProjectionPrior

            return ProjectionPrior()
        case "embedded":
            from zero1toa.priors.embedded.prior import EmbeddedPrior

            return EmbeddedPrior(config, device)
        case "aniportrait":
            require(name)
            from zero1toa.priors.aniportrait import AniPortrait
            from zero1toa.priors.diffusion import DiffusionPrior

            return DiffusionPrior(AniPortrait(config, device), config)
        case "wan-animate":
            require(name)
            from zero1toa.priors.diffusion import DiffusionPrior
            from zero1toa.priors.wan_animate import WanAnimate

            return DiffusionPrior(WanAnimate(config, device), config)
        case "echomimic":
            require(name)
            from zero1toa.priors.diffusion import DiffusionPrior
            from zero1toa.priors.echomimic import EchoMimic

            return DiffusionPrior(EchoMimic(config, device), config)
        case "wan-vace":
            require(name)
            from zero1toa.priors.diffusion import DiffusionPrior
            from zero1toa.priors.repair import MaskedRepair
            from zero1toa.priors.wan_vace import WanVace

            return MaskedRepair(DiffusionPrior(WanVace(config, device), config))
        case "animatediff":
            require(name)
            from zero1toa.priors.animatediff import AnimateDiff
            from zero1toa.priors.diffusion import DiffusionPrior

            return DiffusionPrior(AnimateDiff(config, device), config)
        case _:
            raise _unknown(name)


def choose_prior(name: str, device: torch.device) -> tuple[str, str]:
    """Turn `auto` into the best prior that is present and fits the device, with a sentence that says why.

    Any other name is kept, after a glance at whether its weights are here. Raises PriorError when they are not.
    """
    if name != "auto":
        if name not in NAMES:
            raise _unknown(name)
        require(name)
        return name, ""
    reasons = []
    for candidate in NAMES:
        if not (reason := _hindrance(candidate, device)):
            because = f" ({'; '.join(reasons)})" if reasons else ""
            return candidate, f"the prior is {candidate}, the best that can be used here{because}"
        reasons.append(f"{candidate}: {reason}")
    raise AssertionError("the last priors can always be used")


def _unknown(name: str) -> PriorError:
    """Say which names there are."""
    return PriorError(f"no video prior is called {name!r}: use auto, {', '.join(NAMES)}")


def _hindrance(name: str, device: torch.device) -> str:
    """Say why a prior is not for this device, or nothing."""
    needed = weights(name)
    if not needed.files:
        return ""
    if device.type != "cuda":
        return "too slow without a GPU"
    if missing(name):
        return "its weights are not here"
    import torch

    free = torch.cuda.mem_get_info(device)[0] / 1e9
    return f"needs {needed.memory_gb:g} GB of GPU memory, {free:.0f} are free" if free < needed.memory_gb else ""
