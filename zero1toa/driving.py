"""Let somebody else's clip, or a motion file, drive a saved avatar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from zero1toa.export.views import Viewer
from zero1toa.head.base import HeadModel
from zero1toa.media import read_video
from zero1toa.portrait.detect import detect_faces
from zero1toa.portrait.prepare import PortraitConfig, prepare_portrait
from zero1toa.portrait.track import track
from zero1toa.types import HeadState, Motion, MotionError, Portrait, PortraitError

# A face that is there for less than this many frames is no start; looking at every frame of a landscape takes minutes.
LOOK_EVERY = 5


def track_clip(clip: Path, head: HeadModel, *, config: PortraitConfig | None = None) -> Motion:
    """Read the performance of whoever is in a clip; one motion frame per frame, whether a face was found or not.

    Frames before the first face hold its pose. Raises MotionError when the clip cannot be read or shows no face, or when
    the head can only play: one out of a .glb cannot take the shape of the person in the clip.
    """
    if not len(head.surface.parts):
        raise MotionError("a video cannot drive an avatar out of a .glb: use the avatar's folder, or a motion file (.json)")
    video = read_video(clip)
    start, portrait = _first_face(video.frames, head, config or PortraitConfig())
    motion = track(video.frames[start:], video.fps, portrait, head)
    if start == 0:
        return motion
    wait = lambda values: torch.cat([values[:1].expand(start, *values.shape[1:]), values])
    cameras = replace(motion.cameras, viewmats=wait(motion.cameras.viewmats), intrinsics=wait(motion.cameras.intrinsics))
    return replace(motion, states=_each(motion.states, wait), cameras=cameras, found=(False,) * start + motion.found)


def animate(viewer: Viewer, motion: Motion, *, size: int = 512) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Draw an avatar frame by frame as a motion moves it, from the photo's camera.

    Expressions are taken as they are. Of turns only the change since the first frame is taken and added to the photo's
    pose, because how somebody holds the head in front of another camera says nothing about this picture.
    """
    camera = viewer.camera(size=size)
    for state in retarget(motion.states, viewer.saved.state[:1]):
        yield viewer.draw(state, camera)


def retarget(states: HeadState, photo: HeadState) -> Iterator[HeadState]:
    """Give each frame of a performance as the person in the photo would do it."""
    for index in range(len(states)):
        one = states[index : index + 1]
        yield replace(
            one,
            neck=photo.neck + one.neck - states.neck[:1],
            head=photo.head + one.head - states.head[:1],
        )


def _first_face(frames: UInt8[np.ndarray, "T H W 3"], head: HeadModel, config: PortraitConfig) -> tuple[int, Portrait]:
    """Find a frame that shows a face well enough to fit a head to it."""
    reason = "no face was found in any frame"
    for index in range(0, len(frames), LOOK_EVERY):
        if not detect_faces(frames[index], thorough=False):
            continue
        try:
            return index, prepare_portrait(frames[index], head, config=config)
        except PortraitError as error:
            reason = str(error)
    raise MotionError(f"the clip cannot drive an avatar: {reason}; use one in which a face is large and in view")


def _each(states: HeadState, change: Callable[[Tensor], Tensor]) -> HeadState:
    return HeadState(*(change(getattr(states, name)) for name in ("expression", "neck", "head", "eyes")))
