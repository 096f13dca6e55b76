"""What training tells the outside, one event at a time; the app shows them, the CLI prints them, tests collect them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from zero1toa.avatar.rigged import Avatar
    from zero1toa.types import Portrait

STAGES = ("prepare", "seed", "front", "side", "relaxed", "exaggerated", "done")


@dataclass(frozen=True, slots=True)
class Event:
    """One step of `create_avatar`.

    `remaining_s` is an estimate. Pictures are present only when they are new: `preview` is the avatar now, `clip`
    the frames just regenerated, and `clip_before` the renders they came from. `avatar` is present in the last event
    and whenever a checkpoint was written to `checkpoint`; on a GPU, where it is a copy, with every preview, too.
    """

    stage: str
    iteration: int
    iterations: int
    elapsed_s: float
    remaining_s: float
    message: str = ""
    losses: tuple[tuple[str, float], ...] = ()
    splats: int = 0
    preview: UInt8[np.ndarray, "H W 3"] | None = None
    clip: UInt8[np.ndarray, "T H W 3"] | None = None
    clip_before: UInt8[np.ndarray, "T H W 3"] | None = None
    portrait: Portrait | None = None
    avatar: Avatar | None = None
    checkpoint: Path | None = None
