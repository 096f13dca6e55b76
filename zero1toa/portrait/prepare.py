"""The front door of this room: a photo goes in, a portrait that the head model explains comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import UInt8

from zero1toa.head.base import HeadModel
from zero1toa.portrait.detect import choose_face, detect_faces
from zero1toa.portrait.fit import fit_portrait, raise_scalp
from zero1toa.portrait.matting import estimate_foreground, matte_person
from zero1toa.portrait.teeth import place_teeth
from zero1toa.types import Detection, FitReport, Portrait, PortraitError

PROFILE, TURNED = 60.0, 45.0  # degrees of yaw: refused, warned about


@dataclass(frozen=True, slots=True)
class PortraitConfig:
    """How a photo is prepared."""

    size: int = field(default=512, metadata={"help": "working size in pixels a side", "range": (128, 1024)})
    face: int | None = field(default=None, metadata={"help": "which face to take, the largest being 1"})
    margin: float = field(default=3.0, metadata={"help": "side of the crop in face widths", "range": (2.0, 5.0)})


def prepare_portrait(
    image: UInt8[np.ndarray, "H W 3"],
    head: HeadModel,
    *,
    config: PortraitConfig,
    alpha: UInt8[np.ndarray, "H W"] | None = None,
) -> Portrait:
    """Find the face, crop head and shoulders, matte the person, and fit the head model to all of it.

    `alpha` is the file's own matte and wins over the estimated one. Raises PortraitError when there is no face, when it
    is too small, or when it is turned away by more than 60 degrees.
    """
    detection, notes = choose_face(detect_faces(image), config.face)
    x0, y0, side = _window(detection, image.shape, config.margin)
    scale = config.size / side
    crop = _crop(image, x0, y0, side, config.size)
    points = (detection.points - [x0, y0]) * scale
    inside = _crop(np.full(image.shape[:2], 255, np.uint8), x0, y0, side, config.size) >= 128
    if alpha is None:
        matte = matte_person(crop, points.astype(np.float32), valid=inside)
    else:
        matte = _crop(alpha, x0, y0, side, config.size).astype(np.float32) / 255
    matte[~inside] = 0
    foreground = estimate_foreground(crop, matte)

    identity, state, camera, report = fit_portrait(points, head, width=config.size, height=config.size)
    notes = (*notes, *judge_turn(report))
    coverage = torch.from_numpy(np.ascontiguousarray(matte, np.float32))
    shown = torch.from_numpy(np.ascontiguousarray(foreground)).float() / 255
    identity = raise_scalp(head, identity, state, camera, coverage)
    identity = place_teeth(head, identity, state, camera, shown)
    return Portrait(
        image=shown,
        alpha=coverage,
        points=torch.from_numpy(points).float(),
        camera=camera,
        identity=identity,
        state=state,
        report=report,
        crop=(x0, y0, scale),
        notes=notes,
    )


def judge_turn(report: FitReport) -> tuple[str, ...]:
    """Give a note on a face that is turned far; raises PortraitError for one that is nearly a profile."""
    turned = abs(report.yaw)
    if turned > PROFILE:
        raise PortraitError(f"the face is turned away by {turned:.0f} degrees: use a photo in which it is within {PROFILE:.0f}")
    return (f"the face is turned by {turned:.0f} degrees: its far side will be guessed",) if turned > TURNED else ()


def _window(detection: Detection, shape: tuple[int, ...], margin: float) -> tuple[float, float, float]:
    """Give the square (x0, y0, side) around head and shoulders, moved into the image as far as it goes."""
    height, width = shape[:2]
    face = float(np.ptp(detection.points[:, 0]))
    # The outline of a turned face is narrower than the head; its height does not shrink.
    face = max(face, 0.8 * float(np.ptp(detection.points[:, 1])))
    side = min(margin * face, float(max(height, width)))
    x, y = detection.points.mean(0)
    y += 0.25 * face

    def placed(middle: float, length: int) -> float:
        return (length - side) / 2 if side > length else min(max(middle - side / 2, 0.0), length - side)

    return math.floor(placed(x, width)), math.floor(placed(y, height)), side


def _crop(image: np.ndarray, x0: float, y0: float, side: float, size: int) -> np.ndarray:
    """Cut a square window out and resize it; outside the image it is black."""
    import cv2

    scale = size / side
    if scale < 1:
        # A warp alone would alias: blur to the new pixel's size first.
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / scale)
    shift = np.array([[scale, 0, -x0 * scale + (scale - 1) / 2], [0, scale, -y0 * scale + (scale - 1) / 2]])
    return cv2.warpAffine(image, shift, (size, size), flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR)
