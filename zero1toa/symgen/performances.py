"""A small repertoire of facial performances, authored by us as keyframes of ARKit weights.

The paper takes exaggerated expressions from talk shows and relaxed ones from a speech-driven generator; neither can
be shipped. These were written from how the muscles act: brows and eyes lead, the mouth follows, the head overshoots
last, and both sides of a face never move quite alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.head.base import ARKIT_NAMES
from zero1toa.types import HeadState

# Channels of a performance: the 52 weights, head pitch, yaw, roll and gaze pitch, yaw, in degrees.
TURNS = ("pitch", "yaw", "roll", "gaze_pitch", "gaze_yaw")
CHANNELS = (*ARKIT_NAMES, *TURNS)


class Key(NamedTuple):
    """A pose at a moment: seconds from the start, and a row of channels."""

    seconds: float
    row: tuple[float, ...]


def key(seconds: float, **channels: float) -> Key:
    """Write a keyframe; a name without its side, such as mouthSmile, means both sides. What is not named is at rest."""
    row = dict.fromkeys(CHANNELS, 0.0)
    for name, value in channels.items():
        for side in (name,) if name in row else (f"{name}Left", f"{name}Right"):
            assert side in row, side
            row[side] = value
    return Key(seconds, tuple(row.values()))


@dataclass(frozen=True, slots=True)
class Performance:
    """A named sequence of keyframes that is played once, or over and over while it lasts."""

    name: str
    keys: tuple[Key, ...]
    loops: bool = False


REST = key(0.0)

PERFORMANCES = (
    Performance("laugh", (
        REST,
        key(0.25, mouthSmile=0.7, cheekSquint=0.4, eyeSquint=0.3, jawOpen=0.15),
        key(0.5, mouthSmile=1, cheekSquint=0.8, eyeSquint=0.6, jawOpen=0.6, mouthUpperUp=0.4, noseSneer=0.2, pitch=-9),
        key(0.68, mouthSmile=0.95, cheekSquint=0.8, eyeSquint=0.7, jawOpen=0.4, mouthUpperUp=0.35, pitch=-6, roll=2),
        key(0.86, mouthSmile=1, cheekSquint=0.9, eyeSquint=0.8, eyeBlink=0.3, jawOpen=0.65, mouthUpperUp=0.4,
            pitch=-11, roll=3),
        key(1.1, mouthSmile=0.8, cheekSquint=0.6, eyeSquint=0.4, jawOpen=0.3, pitch=-3),
        key(1.6, mouthSmile=0.4, cheekSquint=0.2),
    )),
    Performance("shout", (
        REST,
        key(0.2, browInnerUp=0.4, mouthClose=0.05, pitch=4),
        key(0.4, jawOpen=0.95, mouthStretch=0.5, mouthLowerDown=0.6, mouthUpperUp=0.5, browDown=0.7, noseSneer=0.5,
            eyeSquint=0.3, pitch=-6),
        key(0.9, jawOpen=0.85, mouthStretch=0.6, mouthLowerDown=0.7, mouthUpperUp=0.5, browDown=0.8, noseSneer=0.6,
            eyeSquint=0.4, pitch=-3, yaw=4),
        key(1.3, jawOpen=0.2, browDown=0.3),
    )),
    Performance("surprise", (
        REST,
        key(0.16, browInnerUp=0.7, browOuterUp=0.6, eyeWide=0.7),
        key(0.34, browInnerUp=1, browOuterUp=0.9, eyeWide=1, jawOpen=0.5, mouthFunnel=0.3, pitch=-5),
        key(0.9, browInnerUp=0.9, browOuterUp=0.8, eyeWide=0.8, jawOpen=0.55, mouthFunnel=0.25, pitch=-4),
        key(1.1, browInnerUp=0.5, browOuterUp=0.4, eyeBlink=1, jawOpen=0.3),
        key(1.4, browInnerUp=0.2, jawOpen=0.1),
    )),
    Performance("speech", (
        REST,
        key(0.12, jawOpen=0.45, mouthLowerDown=0.3, mouthUpperUp=0.15, browInnerUp=0.2),
        key(0.24, mouthClose=0.1, mouthPress=0.4, mouthRollLower=0.3, mouthRollUpper=0.3),
        key(0.38, jawOpen=0.25, mouthFunnel=0.6, mouthPucker=0.4, yaw=2),
        key(0.52, jawOpen=0.3, mouthSmile=0.3, mouthStretch=0.4, mouthLowerDown=0.35, pitch=2),
        key(0.66, jawOpen=0.1, mouthRollLower=0.5, mouthUpperUp=0.25, browOuterUp=0.3),
        key(0.8, jawOpen=0.6, mouthLowerDown=0.35, mouthUpperUp=0.2, pitch=-3),
        key(0.94, jawOpen=0.12, mouthPucker=0.8, mouthFunnel=0.2, yaw=-2),
        key(1.08, jawOpen=0.35, mouthStretch=0.3, mouthSmile=0.15, mouthLowerDown=0.3),
        key(1.2, jawOpen=0.05, mouthPress=0.2),
    ), loops=True),
    Performance("wink", (
        REST,
        key(0.2, mouthSmileLeft=0.4, browDownLeft=0.3),
        key(0.34, eyeBlinkLeft=1, cheekSquintLeft=0.9, mouthSmileLeft=0.9, mouthSmileRight=0.5, browDownLeft=0.5,
            browOuterUpRight=0.4, roll=6),
        key(0.62, eyeBlinkLeft=1, cheekSquintLeft=0.9, mouthSmileLeft=0.9, mouthSmileRight=0.5, roll=7),
        key(0.9, mouthSmile=0.6, cheekSquint=0.3, roll=3),
    )),
    Performance("disgust", (
        REST,
        key(0.3, noseSneer=0.7, browDown=0.5, mouthUpperUp=0.4),
        key(0.6, noseSneer=1, browDown=0.8, mouthUpperUp=0.8, mouthFrown=0.5, eyeSquint=0.7, mouthShrugLower=0.4,
            pitch=-5, yaw=9),
        key(1.1, noseSneer=0.9, browDown=0.7, mouthUpperUp=0.7, mouthFrown=0.6, eyeSquint=0.6, mouthShrugLower=0.5, yaw=12),
        key(1.5, mouthFrown=0.3),
    )),
    Performance("pout", (
        REST,
        key(0.35, mouthShrugLower=0.7, mouthPucker=0.5, browInnerUp=0.5),
        key(0.7, mouthShrugLower=1, mouthPucker=0.7, mouthFrown=0.6, browInnerUp=0.9, pitch=7, gaze_pitch=8),
        key(1.2, mouthShrugLower=0.9, mouthPucker=0.6, mouthFrown=0.5, browInnerUp=0.8, pitch=8, roll=-4),
    )),
    Performance("anger", (
        REST,
        key(0.3, browDown=0.9, eyeSquint=0.3, mouthPress=0.6, noseSneer=0.3, pitch=5),
        key(0.7, browDown=1, eyeWide=0.3, jawForward=0.5, mouthLowerDown=0.5, mouthStretch=0.4, jawOpen=0.15, noseSneer=0.6,
            pitch=7),
        key(1.2, browDown=1, mouthPress=0.8, jawForward=0.4, noseSneer=0.4, pitch=6),
    )),
    Performance("sadness", (
        REST,
        key(0.5, browInnerUp=0.8, mouthFrown=0.5, pitch=4),
        key(1.0, browInnerUp=1, mouthFrown=0.9, mouthShrugLower=0.5, eyeSquint=0.3, eyeBlink=0.25, pitch=9, gaze_pitch=-12),
        key(1.6, browInnerUp=0.9, mouthFrown=0.8, mouthShrugLower=0.6, eyeBlink=0.2, pitch=10, gaze_pitch=-12),
    )),
    Performance("kiss", (
        REST,
        key(0.4, mouthPucker=0.8, mouthFunnel=0.2, eyeBlink=0.3),
        key(0.7, mouthPucker=1, mouthFunnel=0.3, eyeBlink=1, cheekSquint=0.2, pitch=-4),
        key(0.95, mouthPucker=0.4, jawOpen=0.15, eyeBlink=0.2),
        key(1.3, mouthSmile=0.5, cheekSquint=0.3),
    )),
    Performance("puff", (
        REST,
        key(0.35, cheekPuff=0.8, mouthPress=0.5, browOuterUp=0.4),
        key(0.8, cheekPuff=1, mouthPress=0.6, mouthPucker=0.3, eyeWide=0.4, browOuterUp=0.6),
        key(1.0, mouthFunnel=0.7, jawOpen=0.25, cheekPuff=0.2),
        key(1.4, mouthFunnel=0.3),
    )),
    Performance("skeptic", (
        REST,
        key(0.3, browOuterUpLeft=0.8, browDownRight=0.5, mouthLeft=0.3),
        key(0.7, browOuterUpLeft=1, browInnerUp=0.3, browDownRight=0.7, mouthLeft=0.6, mouthPressRight=0.5, eyeSquintRight=0.5,
            yaw=-7, roll=-5, gaze_yaw=7),
        key(1.3, browOuterUpLeft=0.9, browDownRight=0.6, mouthRight=0.4, yaw=-8, gaze_yaw=8),
    )),
    Performance("chew", (
        REST,
        key(0.2, jawOpen=0.25, jawLeft=0.5, mouthClose=0.2),
        key(0.4, jawLeft=0.3, mouthPress=0.4, cheekPuff=0.2),
        key(0.6, jawOpen=0.25, jawRight=0.5, mouthClose=0.2),
        key(0.8, jawRight=0.2, mouthPress=0.5, mouthRollLower=0.3),
    ), loops=True),
    Performance("tongue", (
        REST,
        key(0.3, jawOpen=0.35, mouthSmile=0.3),
        key(0.55, jawOpen=0.5, tongueOut=1, eyeSquint=0.7, noseSneer=0.5, cheekSquint=0.6, roll=6),
        key(1.0, jawOpen=0.5, tongueOut=1, eyeBlink=0.9, noseSneer=0.6, cheekSquint=0.7, roll=-6),
        key(1.4, mouthSmile=0.7, cheekSquint=0.4),
    )),
    Performance("look around", (
        REST,
        key(0.3, gaze_yaw=22, browOuterUp=0.2),
        key(0.6, gaze_yaw=20, yaw=14, eyeBlink=0.1),
        key(0.8, eyeBlink=1, yaw=8),
        key(1.0, gaze_yaw=-24, yaw=-4),
        key(1.3, gaze_yaw=-18, yaw=-14, gaze_pitch=6),
    )),
)  # fmt: skip


def perform(
    performance: Performance, frames: int, fps: float, *, intensity: float = 1.0, generator: torch.Generator
) -> HeadState:
    """Play a performance over `frames` frames, never twice quite alike; weights stay in [0, 1].

    `intensity` scales every weight and turn. Chance sets the tempo within 15 %, and one side 10 % stronger.
    """
    tempo, lopsided = 1 + 0.15 * (2 * torch.rand(2, generator=generator) - 1)
    seconds = torch.arange(frames) / fps * tempo
    times = torch.tensor([k.seconds for k in performance.keys])
    rows = torch.tensor([k.row for k in performance.keys])
    if performance.loops:
        # From the last key back to the second: speech does not return to rest between syllables.
        times, rows = torch.cat([times, times[-1:] + 0.14]), torch.cat([rows, rows[1:2]])
        start, end = times[1], times[-1]
        seconds = torch.where(seconds > start, start + (seconds - start) % (end - start), seconds)
    channels = ease(seconds, times, rows) * intensity
    sides = torch.tensor([lopsided if n.endswith("Left") else 2 - lopsided if n.endswith("Right") else 1.0 for n in CHANNELS])
    return to_states(channels * sides)


def relax(frames: int, fps: float, *, generator: torch.Generator) -> HeadState:
    """Synthesise an idle, relaxed face: slow drifts of small weights, gaze that jumps, blinks, a breathing head."""
    channels = torch.zeros(frames, len(CHANNELS))
    seconds = torch.arange(frames) / fps
    amplitudes = {
        "mouthSmile": 0.35, "browInnerUp": 0.3, "browOuterUp": 0.25, "browDown": 0.2, "cheekSquint": 0.15, "eyeSquint": 0.2,
        "jawOpen": 0.22, "mouthPress": 0.25, "mouthPucker": 0.2, "mouthFunnel": 0.2, "mouthShrugLower": 0.2,
        "mouthStretch": 0.15, "mouthFrown": 0.15, "mouthLowerDown": 0.2, "mouthUpperUp": 0.15,
    }  # fmt: skip
    # Half of them at a time: a face that moves everything a little moves nothing.
    for name, amplitude in amplitudes.items():
        curve = amplitude * drift(seconds, every=0.45, generator=generator).clamp_min(0)
        if torch.rand((), generator=generator) < 0.5:
            channels[:, _columns(name)] = curve[:, None]
    for name, amplitude, every in (("pitch", 3.0, 0.7), ("yaw", 4.0, 0.8), ("roll", 2.0, 1.0)):
        channels[:, _columns(name)] = amplitude * drift(seconds, every=every, generator=generator)[:, None]
    # Eyes do not drift, they jump and rest; a jump lasts about 50 ms, less than a frame.
    fixations = torch.randn(frames, 2, generator=generator) * torch.tensor([4.0, 8.0])
    held = (torch.rand(frames, generator=generator) < 1 / (0.6 * fps)).cumsum(0)
    channels[:, -2:] = fixations[held.clamp_max(frames - 1)]
    blink = blinks(seconds, generator=generator)
    channels[:, _columns("eyeBlink")] = torch.maximum(channels[:, _columns("eyeBlink")], blink[:, None])
    return to_states(channels)


def blinks(seconds: Float[Tensor, "T"], *, every: float = 2.5, generator: torch.Generator) -> Float[Tensor, "T"]:
    """Give the eyelids' closing over time: shut within 0.1 s, open again within 0.2 s, at random every few seconds."""
    closing = torch.zeros_like(seconds)
    at = every * float(torch.rand((), generator=generator))
    while at < float(seconds[-1]) + 0.3:
        since = seconds - at
        closing = torch.maximum(closing, torch.where(since < 0, 1 + since / 0.1, 1 - since / 0.2).clamp(0, 1))
        at += every * (0.5 + float(torch.rand((), generator=generator)))
    return closing.square() * (3 - 2 * closing)


def drift(seconds: Float[Tensor, "T"], *, every: float, generator: torch.Generator) -> Float[Tensor, "T"]:
    """Draw a smooth random curve in [-1, 1] that changes its mind every so many seconds."""
    knots = 3 + math.ceil(float(seconds[-1]) / every)
    times = every * (torch.arange(knots) - torch.rand((), generator=generator))
    return ease(seconds, times, 2 * torch.rand(knots, 1, generator=generator) - 1)[:, 0]


def ease(seconds: Float[Tensor, "T"], times: Float[Tensor, "K"], rows: Float[Tensor, "K C"]) -> Float[Tensor, "T C"]:
    """Go from key to key, leaving and arriving with no speed, as muscles do; hold the last."""
    right = torch.searchsorted(times, seconds, right=True).clamp(1, len(times) - 1)
    part = ((seconds - times[right - 1]) / (times[right] - times[right - 1])).clamp(0, 1)
    part = (part * part * (3 - 2 * part))[:, None]
    return rows[right - 1] * (1 - part) + rows[right] * part


def to_states(channels: Float[Tensor, "T C"]) -> HeadState:
    """Turn rows of channels into head states in the order of `ARKIT_NAMES`; the neck takes a third of every turn."""
    expression = channels[:, : len(ARKIT_NAMES)].clamp(0, 1)
    pitch, yaw, roll, gaze_pitch, gaze_yaw = torch.deg2rad(channels[:, len(ARKIT_NAMES) :]).unbind(-1)
    # A positive pitch here nods down, about the +x axis; gaze_pitch > 0 looks up, gaze_yaw > 0 to the subject's left.
    turn = torch.stack([pitch, yaw, -roll], -1)
    eye = torch.stack([-gaze_pitch, gaze_yaw, torch.zeros_like(gaze_yaw)], -1)
    return HeadState(expression, turn / 3, turn * 2 / 3, torch.stack([eye, eye], 1))


def _columns(name: str) -> list[int]:
    return [i for i, channel in enumerate(CHANNELS) if channel in (name, f"{name}Left", f"{name}Right")]
