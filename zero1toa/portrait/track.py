"""Read a performance off a video: what a face does in every frame, for a head that is known already."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float, UInt8

from zero1toa.head.base import ARKIT_NAMES, HeadModel
from zero1toa.portrait.appearance import Appearance
from zero1toa.portrait.detect import FaceTracker
from zero1toa.portrait.fit import compose, decompose, landmark_weights
from zero1toa.portrait.landmark_fit import LandmarkBasis, Pose, expression_basis, expression_ridges, fit, project
from zero1toa.types import Motion, MotionError, Portrait

log = logging.getLogger(__name__)

# Measured on six clips: who the person is is known, so expressions may answer the landmarks more freely than in a single
# photo. Half beyond either end of the ARKit range, mouths open wide and brows that started raised can come down: the
# mean landmark distance falls from 0.67 % of the face's width to 0.52 %, on eyes and lips from 0.83 % to 0.60 %.
# Ridges are this share of a photo's.
FREER, ITERATIONS = 0.5, 4
# Brows may rise by three units: one of browInnerUp is 3 mm, and those who cannot lift the inner ends look angry.
LOWEST, HIGHEST, HIGHEST_BROWS = -0.5, 1.5, 3.0
RAISED = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")
# Less than a closed mouth would open the lips before teeth that stay where they are.
LIPS_PRESSED = "mouthClose"
EXPRESSION_RANGE = (
    np.array([0.0 if name == LIPS_PRESSED else LOWEST for name in ARKIT_NAMES]),
    np.array([HIGHEST_BROWS if name in RAISED else HIGHEST for name in ARKIT_NAMES]),
)

# How a face looks says more than its landmarks do, which then count for a thirtieth. On five clips faces gain 0.6 dB by it,
# mouths 0.7 and eyes 0.6, and landmarks come 0.05 % of the face's width nearer (1,500 points: 0.5, 0.6, 0.2 and 0.03).
LANDMARKS_THEN, ITERATIONS_THEN = 0.03, 5


def track(frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float, portrait: Portrait, head: HeadModel) -> Motion:
    """Follow the person of `portrait` through a clip whose first frame it was made of; cameras are in clip pixels.

    The first frame's landmarks, tracked as all others are, define what the portrait's own expression looks like, so
    that neither the detector's nor the model's bias moves the face; its colours, what the face looks like. Frames without a
    face hold the pose before them. Raises MotionError when no frame shows a face.
    """
    x0, y0, scale = portrait.crop
    start = compose(portrait.state, portrait.camera, head, portrait.identity)
    start = replace(start, focal=start.focal / scale, centre=(start.centre[0] / scale + x0, start.centre[1] / scale + y0))
    start = replace(start, shape=np.zeros(0))
    width = height = 0
    appearance, follower, poses, found = None, None, [], []
    with FaceTracker() as tracker:
        for frame in frames:
            height, width = frame.shape[:2]
            if not found:
                face_width = float(np.ptp(portrait.points[:, 0].numpy())) / scale
                appearance = Appearance.of(head, portrait.identity, start, frame, face_width)
            detection = tracker.track(frame)
            found.append(detection is not None)
            if detection is not None:
                follower = follower or Follower(_person(head, portrait, start, detection.points), start)
                poses.append(follower.next(detection.points, frame, appearance))
            else:
                poses.append(poses[-1] if poses else start)
    if not any(found):
        raise MotionError("no face was found in any frame of the clip: use one in which a face is visible")
    torso = portrait.camera.viewmats[0, :3, :3]
    states, cameras = decompose(poses, head, portrait.identity, torso, width, height)
    if lost := found.count(False):
        log.warning("%d of %d frames show no face; the pose before is held there", lost, len(found))
    return Motion(states, cameras, fps, tuple(found))


def _person(head: HeadModel, portrait: Portrait, start: Pose, points: Float[np.ndarray, "478 2"]) -> LandmarkBasis:
    """Give the landmarks of one person, moved in the picture's plane so that the first frame is met exactly."""
    basis = expression_basis(head, portrait.identity, head.landmarks)
    pixels, seen = project(basis, start)
    shift = np.concatenate([(points - pixels) * (seen[:, 2:] / start.focal), np.zeros((478, 1))], 1)
    return replace(basis, mean=basis.mean + shift @ start.rotation)


class Follower:
    """Fits frame after frame, expressions drawn to those of the first pose.

    Landmarks lead from frame to frame. What a face's looks add is not handed on to the next frame: errors would add up.
    """

    def __init__(self, basis: LandmarkBasis, start: Pose) -> None:
        self._basis, self._start, self._pose = basis, start, start
        self._weights = landmark_weights()

    def next(
        self, points: Float[np.ndarray, "478 2"], frame: UInt8[np.ndarray, "H W 3"] | None = None,
        appearance: Appearance | None = None,
    ) -> Pose:  # fmt: skip
        """Give the pose in the next frame by its landmarks, and if both are given, by how the face looks in it."""
        drawn = partial(
            fit, self._basis, points, expression_prior=self._start.expression,
            expression_ridge=FREER * expression_ridges(ARKIT_NAMES), expression_range=EXPRESSION_RANGE,
        )  # fmt: skip
        self._pose = drawn(self._weights, self._pose, iterations=ITERATIONS)
        if frame is None or appearance is None:
            return self._pose
        evidence = appearance.evidence(frame, self._pose)
        return drawn(LANDMARKS_THEN * self._weights, self._pose, iterations=ITERATIONS_THEN, evidence=evidence)
