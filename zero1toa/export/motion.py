"""A performance as a JSON file, so that it can be kept, edited, or made by another program.

{"format": "zero1toa-motion", "version": 1, "fps": 25.0,
 "names": ["browDownLeft", ...],              any of the 52 ARKit names, in any order
 "weights": [[0.0, ...], ...],                one row per frame, one column per name, about [0, 1]
 "neck": [[x, y, z], ...], "head": ...,       optional: turns as axis-angle, radians
 "eyes": [[[x, y, z], [x, y, z]], ...],       optional: left, right
 "found": [true, ...],                        optional: whether a face was seen in the frame
 "cameras": {"width": 512, "height": 512, "viewmats": [...], "intrinsics": [...]}}    optional
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero1toa.head.base import ARKIT_NAMES
from zero1toa.media import explain_writing, replacing
from zero1toa.types import Camera, HeadState, Motion, MotionError

log = logging.getLogger(__name__)

FORMAT, VERSION = "zero1toa-motion", 1
# An hour and more at any usual rate; beyond it a file is a mistake.
MOST_FRAMES = 500_000
# Our own tracker goes half beyond either end, where mouths open wide; farther out they are not ARKit weights.
SLACK = 1.0


def write_motion(path: str | Path, motion: Motion, *, names: tuple[str, ...] = ARKIT_NAMES) -> Path:
    """Write a motion, all at once or not at all; `names` are those of its expression weights."""
    path = Path(path)
    states, cameras = motion.states, motion.cameras
    record: dict[str, Any] = {"format": FORMAT, "version": VERSION, "fps": motion.fps, "names": list(names)}
    for key, tensor in (("weights", states.expression), ("neck", states.neck), ("head", states.head), ("eyes", states.eyes)):
        record[key] = _plain(tensor)
    if motion.found:
        record["found"] = list(motion.found)
    if len(cameras):
        record["cameras"] = {"width": cameras.width, "height": cameras.height}
        record["cameras"] |= {"viewmats": _plain(cameras.viewmats), "intrinsics": _plain(cameras.intrinsics)}
    text = json.dumps(record, allow_nan=False)
    with replacing(path) as partial, explain_writing(path):
        partial.write_text(text, encoding="utf-8")
    return path


def read_motion(path: str | Path, *, names: tuple[str, ...] = ARKIT_NAMES) -> Motion:
    """Read a motion; its expression weights come in the order of `names`, those it lacks at 0.

    A file without cameras gives a motion whose cameras are none (`len(motion.cameras) == 0`). Raises MotionError for
    files that are not complete, whose parts do not fit each other, or that hold NaN or infinite values.
    """
    path = Path(path)
    record = _read(path)
    try:
        return _motion(record, path.name, names)
    except (KeyError, TypeError, AttributeError) as error:
        raise MotionError(f"{path.name} is not a complete motion ({error} is missing or wrong): save it again") from error


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise MotionError(f"{path} is a folder: give the name of one motion file or video")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MotionError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise MotionError(f"{path.name} is no motion file: it is not complete JSON") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise MotionError(f'{path.name} is no motion file: it does not say "format": "{FORMAT}"')
    if not isinstance(record.get("version"), int) or record["version"] > VERSION:
        raise MotionError(f"{path.name} was written by a newer version of this program: update it")
    return record


def _motion(record: dict[str, Any], name: str, names: tuple[str, ...]) -> Motion:
    fps = record["fps"]
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not (math.isfinite(fps) and 0 < fps <= 1000):
        raise MotionError(f"{name} says {fps!s:.40} frames per second: write a number above 0")
    theirs = list(record["names"])
    known = [column for column in theirs if column in names]
    if not known or len(set(known)) < len(known):
        raise MotionError(f"{name} names no ARKit weights, or one of them twice: use names such as jawOpen, each once")
    frames = len(record["weights"])
    if not 1 <= frames <= MOST_FRAMES:
        raise MotionError(f"{name} holds {frames} frames: a motion has 1 to {MOST_FRAMES}")
    weights = _tensor(record["weights"], (frames, len(theirs)), "weights", name)
    if float(weights.min()) < -SLACK or float(weights.max()) > 1 + SLACK:
        raise MotionError(f"{name} holds weights far out of [0, 1]: ARKit weights go from 0 (rest) to 1")
    expression = torch.zeros(frames, len(names))
    for column in known:
        expression[:, names.index(column)] = weights[:, theirs.index(column)]
    if ignored := sorted(set(theirs) - set(known), key=str):
        log.warning("%s: unknown weights are left out: %s", name, ", ".join(map(str, ignored)))
    turns = {
        key: _tensor(record[key], (frames, *tail), key, name) if key in record else torch.zeros(frames, *tail)
        for key, tail in (("neck", (3,)), ("head", (3,)), ("eyes", (2, 3)))
    }
    found = tuple(bool(seen) for seen in record.get("found", ()))
    if found and len(found) != frames:
        raise MotionError(f"{name} says for {len(found)} frames whether a face was found, but holds {frames}: save it again")
    return Motion(HeadState(expression, **turns), _cameras(record.get("cameras"), frames, name), float(fps), found)


def _cameras(record: dict[str, Any] | None, frames: int, name: str) -> Camera:
    if record is None:
        return Camera(torch.zeros(0, 4, 4), torch.zeros(0, 3, 3), 0, 0)
    width, height = record["width"], record["height"]
    if not all(isinstance(side, int) and 1 <= side <= 16_384 for side in (width, height)):
        raise MotionError(f"{name} has cameras of {width} x {height} pixels: use 1 to 16384 a side")
    viewmats = _tensor(record["viewmats"], (frames, 4, 4), "viewmats", name)
    return Camera(viewmats, _tensor(record["intrinsics"], (frames, 3, 3), "intrinsics", name), width, height)


def _tensor(values: Any, shape: tuple[int, ...], key: str, name: str) -> Tensor:
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise MotionError(f"{name}: {key} is not an even table of numbers: save the motion again") from None
    if array.shape != shape:
        raise MotionError(f"{name}: {key} has the shape {array.shape} instead of {shape}: save the motion again")
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise MotionError(f"{name}: {key} holds a value that is not a number in frame {frame}: mend or cut that frame")
    return torch.from_numpy(array)


def _plain(tensor: Tensor) -> list[Any]:
    """Turn a tensor into nested lists with six digits, enough for a micron and a microradian."""
    if not bool(torch.isfinite(tensor).all()):
        raise MotionError("the motion holds values that are not numbers, so it was not written")
    return np.round(tensor.detach().cpu().double().numpy(), 6).tolist()
