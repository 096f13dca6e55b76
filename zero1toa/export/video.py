"""Demonstrations of an avatar as video: it looks around you, then it talks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from zero1toa.export.mark import check_mark, marked
from zero1toa.export.saved import SavedAvatar
from zero1toa.export.views import Viewer
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.media import write_video
from zero1toa.symgen.performances import PERFORMANCES, Performance, blinks, perform
from zero1toa.types import Camera, HeadState, InputError

if TYPE_CHECKING:
    from jaxtyping import UInt8

FPS = 25.0
# Far enough to see the profile; behind the ears one photo knows nothing.
SWING = 70.0
LOOP_S, RETURN_S = 4.0, 0.7


def write_rendering(
    path: str | Path,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    fps: float,
    saved: SavedAvatar,
    *,
    mark: bool = True,
    consent: bool = False,
) -> Path:
    """Write frames that show an avatar as an mp4, which says so in its corner and in its metadata.

    The mark in the corner may only be left out by who confirms the `consent` of the person shown. Raises InputError when
    that is missing, or when the name or the place cannot be used.
    """
    check_mark(mark, consent)
    write_video(path, map(marked, frames) if mark else frames, fps, provenance=saved.provenance())
    return Path(path)


def write_demo(
    path: str | Path,
    viewer: Viewer,
    *,
    size: int = 512,
    fps: float = FPS,
    seconds: float = 8.0,
    mark: bool = True,
    consent: bool = False,
) -> Path:
    """Write an mp4 in which the camera swings round the head and the head then talks and laughs.

    Half of the `seconds` go to each. `mark`, `consent` and what is raised are as in `write_rendering`.
    """
    frames = demo(viewer, round(seconds * fps), size=size, fps=fps)
    return write_rendering(path, frames, fps, viewer.saved, mark=mark, consent=consent)


def demo(viewer: Viewer, count: int, *, size: int, fps: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Draw `count` frames, of which one half swings round the head and the other talks."""
    half = max(1, round(count / 2))
    yield from turntable(viewer, half, size=size, fps=fps)
    yield from talk(viewer, half, size=size, fps=fps)


def turntable(viewer: Viewer, count: int, *, size: int, fps: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Draw `count` frames of a camera that goes to one side, to the other, and back, while the eyes blink."""
    shut = blinks(torch.arange(count) / fps, generator=torch.Generator().manual_seed(2))
    for index in range(count):
        part = 2 * math.pi * index / count
        camera = viewer.camera(SWING * math.sin(part), 6 * math.sin(2 * part), size=size)
        yield viewer.draw(viewer.state({"blink": float(shut[index])} if shut[index] > 0 else {}), camera)


def talk(viewer: Viewer, count: int, *, size: int, fps: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Draw `count` frames of speech and, towards the end, laughter, seen from the photo's camera."""
    chance = torch.Generator().manual_seed(2)
    speech, laugh = _performance("speech"), _performance("laugh")
    laughing = min(count // 2, round(1.6 * fps))
    parts = [perform(speech, count - laughing, fps, generator=chance)]
    if laughing:
        parts.append(perform(laugh, laughing, fps, generator=chance))
    states = _from_the_photo(viewer, HeadState(*(torch.cat(column) for column in zip(*map(_columns, parts), strict=True))), fps)
    camera = viewer.camera(size=size)
    for index in range(count):
        yield viewer.draw(states[index : index + 1], camera)


def perform_for(viewer: Viewer, name: str, camera: Camera, *, fps: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Draw a built-in performance from a camera; one that loops lasts four seconds.

    Raises InputError for names that there are not.
    """
    performance = _performance(name)
    seconds = LOOP_S if performance.loops else performance.keys[-1].seconds + RETURN_S
    played = perform(performance, round(seconds * fps), fps, generator=torch.Generator().manual_seed(2))
    states = _from_the_photo(viewer, played, fps)
    for index in range(len(states)):
        yield viewer.draw(states[index : index + 1], camera)


def _performance(name: str) -> Performance:
    known = {performance.name: performance for performance in PERFORMANCES}
    if name not in known:
        raise InputError(f"no performance is called {name!r}: use one of {', '.join(known)}")
    return known[name]


def _columns(state: HeadState) -> tuple[torch.Tensor, ...]:
    return state.expression, state.neck, state.head, state.eyes


def _from_the_photo(viewer: Viewer, played: HeadState, fps: float) -> HeadState:
    """Let a performance start from the photo's pose: turns are added to it, its expression fades within half a second."""
    photo, names = viewer.saved.state[:1], viewer.saved.avatar.head.expression_names
    weights = torch.stack(
        [played.expression[:, ARKIT_NAMES.index(name)] if name in ARKIT_NAMES else played.neck[:, 0] * 0 for name in names], 1
    )
    rest = (1 - torch.arange(len(played)) / (0.5 * fps)).clamp(0, 1)[:, None]
    return replace(
        played,
        expression=torch.maximum(weights, rest * photo.expression),
        neck=photo.neck + played.neck,
        head=photo.head + played.head,
        eyes=photo.eyes + played.eyes,
    )
