"""The record of a saved avatar: what loading gives, and what everything that shows or exports an avatar takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zero1toa import __version__
from zero1toa.avatar.rigged import Avatar
from zero1toa.provenance import Provenance
from zero1toa.types import Camera, HeadState, Portrait


@dataclass(frozen=True, slots=True)
class Details:
    """What is known about a saved avatar besides its tensors.

    `head` is the name that `load_head` takes; `background` the grey it was trained over; `config` the settings as
    nested plain values; `timings` pairs of stage and seconds. An avatar that was stopped early is not `finished`.
    """

    head: str
    splats: int
    preset: str = ""
    prior: str = ""
    seed: int = 0
    background: float = 0.5
    iteration: int = 0
    iterations: int = 0
    finished: bool = True
    timings: tuple[tuple[str, float], ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    version: str = __version__
    created: str = ""

    def provenance(self) -> Provenance:
        """Say what an avatar is and where it comes from, for files that are handed on; paths of this machine stay here."""
        head, steps = self.head.partition(":")[0], f"{self.iteration} of {self.iterations} iterations"
        settings = f"head {head}, seed {self.seed}, {steps}, {self.splats} splats"
        return Provenance(self.version, self.created, self.prior, self.preset, settings)


@dataclass(frozen=True, slots=True)
class SavedAvatar:
    """An avatar with the portrait it was made of; `portrait` holds the camera and the pose of the photo."""

    avatar: Avatar
    portrait: Portrait
    details: Details

    @property
    def camera(self) -> Camera:
        """The photo's camera."""
        return self.portrait.camera

    @property
    def state(self) -> HeadState:
        """What the head does in the photo."""
        return self.portrait.state

    def provenance(self) -> Provenance:
        """Say what this is and where it comes from, for files that are handed on."""
        return self.details.provenance()
