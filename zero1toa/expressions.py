"""The facial controls that people think in, above the 52 ARKit weights; the command line and the app share them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from zero1toa.head.base import ARKIT_NAMES
from zero1toa.types import HeadState, InputError

# How far eyes turn from rest to the end of the slider; people turn their heads for more.
GAZE_X, GAZE_Y = math.radians(25), math.radians(10)


@dataclass(frozen=True, slots=True)
class Control:
    """A slider: what it does towards its positive end, and towards its negative end where it has one.

    The ends are pairs of ARKit name and share. `gaze` turns both eyes, by radians about the axes x and y.
    """

    name: str
    label: str
    positive: tuple[tuple[str, float], ...]
    negative: tuple[tuple[str, float], ...] = ()
    gaze: tuple[float, float] = (0.0, 0.0)

    @property
    def low(self) -> float:
        """The slider's left end."""
        return -1.0 if self.negative or any(self.gaze) else 0.0


def _both(*shares: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    return _left(*shares) + _right(*shares)


def _left(*shares: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple((f"{name}Left", share) for name, share in shares)


def _right(*shares: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple((f"{name}Right", share) for name, share in shares)


SHUT = (("eyeBlink", 1.0), ("eyeLookDown", 0.0), ("eyeLookUp", 0.0), ("eyeSquint", 0.0), ("eyeWide", 0.0))


CONTROLS = (
    Control(
        "smile", "Smile",
        _both(("mouthSmile", 1.0), ("cheekSquint", 0.4)), _both(("mouthFrown", 1.0)),
    ),
    Control("jaw", "Open the jaw", (("jawOpen", 1.0),)),
    # A blink of 1 shuts eyes; whatever else the photo does with the lids would take them farther.
    Control("blink", "Close both eyes", _both(*SHUT)),
    Control("blink-left", "Close the left eye", _left(*SHUT)),
    Control("blink-right", "Close the right eye", _right(*SHUT)),
    Control(
        "brows", "Raise or lower the brows",
        (("browInnerUp", 1.0), *_both(("browOuterUp", 1.0))), _both(("browDown", 1.0)),
    ),
    Control("pucker", "Pucker the lips", (("mouthPucker", 1.0),)),
    # Up and down the ARKit weights move the lids too, and the eyeballs by about 11 degrees of their own.
    # Sideways the joints do it all, and the photo's own glance is taken back.
    Control("gaze-x", "Look left or right", _both(("eyeLookIn", 0.0), ("eyeLookOut", 0.0)), gaze=(0.0, GAZE_X)),
    Control("gaze-y", "Look up or down", _both(("eyeLookUp", 1.0)), _both(("eyeLookDown", 1.0)), gaze=(-GAZE_Y, 0.0)),
)  # fmt: skip

# Whole faces to begin from, by name: values of controls and of ARKit weights.
FACES = {
    "happy": {"smile": 0.9, "jaw": 0.22, "eyeSquintLeft": 0.5, "eyeSquintRight": 0.5},
    "surprised": {"brows": 1.0, "jaw": 0.45, "eyeWideLeft": 0.9, "eyeWideRight": 0.9, "mouthFunnel": 0.3},
    "angry": {"brows": -1.0, "noseSneerLeft": 0.5, "noseSneerRight": 0.5, "mouthPressLeft": 0.7, "mouthPressRight": 0.7},
    "sad": {"browInnerUp": 1.0, "smile": -0.8, "mouthShrugLower": 0.4, "blink": 0.2},
    "doubtful": {"browOuterUpLeft": 1.0, "browDownRight": 0.7, "mouthLeft": 0.5, "eyeSquintRight": 0.4},
    "asleep": {"blink": 1.0, "jaw": 0.06},
}


def towards(state: HeadState, values: Mapping[str, float], names: Sequence[str] = ARKIT_NAMES) -> HeadState:
    """Move a state's face towards the ends of sliders.

    A slider in the middle leaves the photo's own face alone and one at its end replaces it, with no jump in between.
    Raises InputError as `with_expressions` does.
    """
    for name, value in values.items():
        if value:
            end = with_expressions(state, {name: math.copysign(1.0, value)}, names)
            share = min(abs(value), 1.0)
            state = replace(
                state,
                expression=torch.lerp(state.expression, end.expression, share),
                eyes=torch.lerp(state.eyes, end.eyes, share),
            )
    return state


def with_expressions(state: HeadState, values: Mapping[str, float], names: Sequence[str] = ARKIT_NAMES) -> HeadState:
    """Set controls and ARKit weights in every frame of a state; what is not named stays as it is.

    `names` are those of the head model's weights. Gaze is from the viewer's side: x > 0 looks to the right of the
    picture (the subject's left), y > 0 up. Raises InputError for unknown names and for values out of range.
    """
    expression, eyes = state.expression.clone(), state.eyes.clone()
    controls = {control.name: control for control in CONTROLS}
    for name, value in values.items():
        control = controls.get(name) or _weight(name)
        if not math.isfinite(value) or not control.low <= value <= 1.0:
            raise InputError(f"{name}={value:g} is out of range: use a number from {control.low:g} to 1")
        for ends, amount in ((control.positive, max(value, 0.0)), (control.negative, max(-value, 0.0))):
            for weight, share in ends:
                if weight in names:
                    expression[:, names.index(weight)] = amount * share
        if any(control.gaze):
            for axis in (0, 1):
                if control.gaze[axis]:
                    eyes[:, :, axis] = value * control.gaze[axis]
    return replace(state, expression=expression, eyes=eyes)


def parse_expressions(text: str) -> dict[str, float]:
    """Read `smile=1,jawOpen=0.6`, or the name of a whole face such as `happy`, or both.

    Raises InputError when it is written otherwise or a name is unknown.
    """
    values: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part in FACES:
            values |= FACES[part]
            continue
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            values[name] = float(number)
        except ValueError:
            hint = "a number is missing" if not equals or not number else f"{number!r} is no number"
            raise InputError(f"cannot read the expression {part!r}: {hint}; write for example smile=1,jawOpen=0.6") from None
        if name not in {control.name for control in CONTROLS}:
            _weight(name)
    return values


def _weight(name: str) -> Control:
    """Make a control of a single ARKit weight."""
    if name not in ARKIT_NAMES:
        known = (*(control.name for control in CONTROLS), *ARKIT_NAMES)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or [control.name for control in CONTROLS]
        raise InputError(f"no expression is called {name!r}: try {', '.join(near)}, or another of the 52 ARKit names")
    return Control(name, name, ((name, 1.0),))
