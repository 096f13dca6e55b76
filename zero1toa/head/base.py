"""What every head model offers; fitting, avatars and training know heads only through this."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from zero1toa.types import HeadState, Identity, Surface

ARKIT_NAMES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip


class HeadModel(Protocol):
    """A rigged head whose vertices follow from who it is and what it does."""

    @property
    def name(self) -> str:
        """What `load_head` calls it."""
        ...

    @property
    def expression_names(self) -> tuple[str, ...]:
        """Name the entries of `HeadState.expression`."""
        ...

    @property
    def surface(self) -> Surface:
        """Give the triangles, which never change."""
        ...

    def neutral_identity(self) -> Identity:
        """Give the average person."""
        ...

    def rest_state(self, frames: int = 1) -> HeadState:
        """Give a relaxed, straight-looking state, `frames` times."""
        ...

    def vertices(self, identity: Identity, state: HeadState) -> Float[Tensor, "B V 3"]:
        """Pose the head: metres, in the world axes of `zero1toa.types`. Differentiable in both arguments."""
        ...

    def blink(self, identity: Identity) -> Float[Tensor, "E"]:
        """Give what every weight is multiplied by for this person: 1, but for blinks, of which 1 is to shut the eyes."""
        ...

    def landmarks(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B L 3"]:
        """Give where MediaPipe's 478 face landmarks lie on posed vertices."""
        ...
