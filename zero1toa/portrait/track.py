"""Read a performance off a video: what a face does in every frame, for a head that is known already."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from zero1toa.head.base import HeadModel
from zero1toa.portrait.detect import FaceTracker
from zero1toa.portrait.fit import compose, decompose, landmark_weights
from zero1toa.portrait.landmark_fit import LandmarkBasis, Pose, fit, landmark_basis, project
from zero1toa.types import Motion, MotionError, Portrait

log = logging.getLogger(__name__)

# Measured on six clips: who the person is is known, so expressions may answer the landmarks more freely than in a single
# photo. Half beyond either end of the ARKit range, mouths open wide and brows that started raised can come down: the
# mean landmark distance falls from 0.67 % of the face's width to 0.52 %, on eyes and lips from 0.83 % to 0.60 %.
EXPRESSION_RIDGE, ITERATIONS = 1.0, 4
EXPRESSION_RANGE = (-0.5, 1.5)


def track(frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float, portrait: Portrait, head: HeadModel) -> Motion:
    """Follow the person of `portrait` through a clip whose first frame it was made of; cameras are in clip pixels.

    The first frame's landmarks, tracked as all others are, define what the portrait's own expression looks like, so
    that neither the detector's nor the model's bias moves the face. Frames without a face hold the pose before them.
    Raises MotionError when no frame shows a face.
    """
    width = height = 0
    found: list[Float[np.ndarray, "478 2"] | None] = []
    with FaceTracker() as tracker:
        for frame in frames:
            height, width = frame.shape[:2]
            detection = tracker.track(frame)
            found.append(None if detection is None else detection.points)
    if all(points is None for points in found):
        raise MotionError("no face was found in any frame of the clip: use one in which a face is visible")
    x0, y0, scale = portrait.crop
    start = compose(portrait.state, portrait.camera, head, portrait.identity)
    start = replace(start, focal=start.focal / scale, centre=(start.centre[0] / scale + x0, start.centre[1] / scale + y0))
    basis = _person(head, portrait, start, next(points for points in found if points is not None))
    poses = follow(basis, found, start)
    torso = portrait.camera.viewmats[0, :3, :3]
    states, cameras = decompose(poses, head, portrait.identity, torso, width, height)
    lost = sum(points is None for points in found)
    if lost:
        log.warning("%d of %d frames show no face; the pose before is held there", lost, len(found))
    return Motion(states, cameras, fps, tuple(points is not None for points in found))


def _person(head: HeadModel, portrait: Portrait, start: Pose, points: Float[np.ndarray, "478 2"]) -> LandmarkBasis:
    """Give the landmarks of one person, moved in the picture's plane so that the first frame is met exactly."""
    basis = replace(landmark_basis(head, portrait.identity), shape=np.zeros((0, 478, 3)))
    pixels, seen = project(basis, replace(start, shape=np.zeros(0)))
    shift = np.concatenate([(points - pixels) * (seen[:, 2:] / start.focal), np.zeros((478, 1))], 1)
    return replace(basis, mean=basis.mean + shift @ start.rotation)


def follow(basis: LandmarkBasis, found: list[Float[np.ndarray, "478 2"] | None], start: Pose) -> list[Pose]:
    """Fit frame after frame, each from the one before, expressions drawn to those of `start`."""
    weights = landmark_weights()
    pose = replace(start, shape=np.zeros(0))
    poses = []
    for points in found:
        if points is not None:
            pose = fit(
                basis,
                points,
                weights,
                pose,
                iterations=ITERATIONS,
                expression_prior=start.expression,
                expression_ridge=EXPRESSION_RIDGE,
                expression_range=EXPRESSION_RANGE,
            )
        poses.append(pose)
    return poses
