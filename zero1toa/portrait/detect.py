"""Find faces and their 478 landmarks, in one photo or frame by frame in a video.

The models are those inside the `mediapipe` wheel (Apache-2.0): BlazeFace short and full range propose faces,
the attention face mesh (https://arxiv.org/abs/2006.10962) places landmarks. No network is used.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from zero1toa.types import Detection, PortraitError

# Below 64 px the mesh still answers but the eyes and lips it draws are guesses; below 128 px the avatar is soft.
MIN_FACE_WIDTH = 64
GOOD_FACE_WIDTH = 128

# Tuned on the eight portraits and three non-portraits of LivePortrait's example assets. On the whole image the
# better of the two detectors scores 0.91 to 0.97 on the portraits (also on paintings, a cartoon and a face of
# 87 px) and at most 0.68 on the dog, the cat and the lama. Scores fall in tiles and crops, so a proposal needs
# only 0.5 and the mesh has the last word.
PROPOSAL_SCORE = 0.5
MESH_SCORE = 0.5

# The mesh is asked in ten crops of the same face (scale relative to the face, shift in face sizes), spread out on
# a spiral. Averaging them lowers the jitter under small shifts of the photo from 0.23-0.39 % of the face size to
# 0.07-0.12 %. On the portraits all ten answer, and their landmarks spread by 0.002 to 0.005 face sizes. On the cat
# at most five answer with a spread of 0.020, on the dog two; a fold of cloth in s8.jpg answers eight times, 0.029.
MESH_CROPS = tuple((1.6 + 0.13 * turn, 0.1 * math.cos(2.4 * turn), 0.1 * math.sin(2.4 * turn)) for turn in range(10))
MIN_AGREEING_CROPS = 8
MAX_SPREAD = 0.01

CROP_SIZE = 512


class _Square(NamedTuple):
    """A square window of an image in pixels: centre and side."""

    x: float
    y: float
    side: float


# ---------------------------------------------------------------------------------------------------- mediapipe

_stderr_lock = threading.Lock()
_face_seen = threading.Event()


@contextlib.contextmanager
def _silence_native_logs() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: mediapipe's C++ logs ignore every documented switch."""
    with _stderr_lock:
        try:
            saved = os.dup(2)
        except OSError:  # a windowed program has no stderr
            yield
            return
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(sink)


def open_solution(name: str, **options: Any) -> Any:
    """Start one of mediapipe's solutions, such as `"face_mesh"`; the caller closes it.

    Starting one costs about 40 ms, so they are opened per call and shared by nobody: they are not safe across
    threads. Feed them square images, because landmarks are projected wrongly from others.
    """
    with _silence_native_logs():
        import mediapipe as mp

        module = getattr(mp.solutions, name)
        (class_name,) = (n for n in ("FaceDetection", "FaceMesh", "SelfieSegmentation") if hasattr(module, n))
        solution = getattr(module, class_name)(**options)
        solution.process(np.zeros((64, 64, 3), np.uint8))  # models load, and talk, at the first image
    return solution


def _open_mesh(stack: contextlib.ExitStack, *, video: bool) -> Any:
    mesh = open_solution(
        "face_mesh",
        static_image_mode=not video,
        max_num_faces=1,
        refine_landmarks=True,
        min_detection_confidence=MESH_SCORE,
        min_tracking_confidence=MESH_SCORE,
    )
    stack.callback(mesh.close)
    return mesh


# ------------------------------------------------------------------------------------------------------ photos


def detect_faces(image: UInt8[np.ndarray, "H W 3"], *, thorough: bool = True) -> list[Detection]:
    """Find every face in an RGB photo, the largest first.

    `thorough` also searches quarter-size tiles when the larger ones hold nobody, which costs about half a
    second. Landmarks are averages over several crops. Faces that the mesh cannot confirm are dropped.
    """
    height, width = image.shape[:2]
    with contextlib.ExitStack() as stack:
        detectors = [
            open_solution("face_detection", model_selection=model, min_detection_confidence=PROPOSAL_SCORE) for model in (0, 1)
        ]
        for detector in detectors:
            stack.callback(detector.close)
        mesh = _open_mesh(stack, video=False)

        long, short = max(height, width), min(height, width)
        # A window larger than the photo finds faces that fill it; one half its size finds the small ones.
        levels = [[_Square(width / 2, height / 2, side) for side in (1.6 * long, long)], _tiles(width, height, short / 2)]
        if thorough:
            levels.append(_tiles(width, height, short / 4))
        found: list[Detection] = []
        for level, windows in enumerate(levels):
            if level == 2 and found:
                break
            proposals = [face for window in windows for face in _propose(detectors, image, window)]
            for face in _suppress(proposals):
                if not any(_same_face(face, _square_of(known)) for known in found):
                    detection = _confirm(mesh, image, face)
                    if detection is not None and not any(
                        _same_face(_square_of(detection), _square_of(known)) for known in found
                    ):
                        found.append(detection)
    return sorted(found, key=lambda detection: -detection.width)


def choose_face(detections: Sequence[Detection], face: int | None = None) -> tuple[Detection, tuple[str, ...]]:
    """Pick the face to work on, and say in sentences what the user should know about the choice.

    `face` counts from 1, the largest first; `None` takes the largest. Raises `PortraitError` when there is no
    face, when `face` is out of range, or when the face is too small to model.
    """
    count = len(detections)
    if count == 0:
        raise PortraitError(
            f"no face found: use a photo of one person, facing the camera, whose face is at least {MIN_FACE_WIDTH} px wide"
        )
    if face is not None and not 1 <= face <= count:
        available = "one face was found: use --face 1" if count == 1 else f"{count} faces were found: use --face 1 to {count}"
        raise PortraitError(f"there is no face {face}; {available}, where 1 is the largest")
    notes = []
    if count > 1 and face is None:
        notes.append(f"{count} faces were found and the largest was taken; --face 2 takes the next largest, and so on.")
    chosen = detections[(face or 1) - 1]
    pixels = round(chosen.width)
    if chosen.width < MIN_FACE_WIDTH:
        raise PortraitError(
            f"the face is {pixels} px wide, which is too small: use a photo in which it is at least {MIN_FACE_WIDTH} px wide"
        )
    if chosen.width < GOOD_FACE_WIDTH:
        notes.append(
            f"The face is only {pixels} px wide, so the avatar will look soft; {GOOD_FACE_WIDTH} px or more looks sharper."
        )
    return chosen, tuple(notes)


def _tiles(width: int, height: int, side: float) -> list[_Square]:
    """Cover an image with squares that overlap by half; none if a face worth finding could not fit in."""
    if side < MIN_FACE_WIDTH:
        return []
    xs, ys = (
        np.linspace(side / 2, length - side / 2, max(1, math.ceil((length - side) / (side / 2) - 1e-6) + 1))
        for length in (width, height)
    )
    return [_Square(float(x), float(y), side) for y in ys for x in xs]


def _cut(image: UInt8[np.ndarray, "H W 3"], window: _Square, size: int = CROP_SIZE) -> UInt8[np.ndarray, "S S 3"]:
    """Resample a square window, black beyond the border of the image."""
    import cv2

    # Shrinking by linear interpolation would alias, so whole factors are averaged away first.
    factor = int(window.side // size)
    if factor >= 2:
        height, width = image.shape[:2]
        x0, y0 = max(0, int(window.x - window.side / 2)), max(0, int(window.y - window.side / 2))
        x1, y1 = min(width, math.ceil(window.x + window.side / 2)), min(height, math.ceil(window.y + window.side / 2))
        small = ((x1 - x0) // factor, (y1 - y0) // factor)
        if min(small) > 0:
            image = cv2.resize(
                image[y0 : y0 + small[1] * factor, x0 : x0 + small[0] * factor], small, interpolation=cv2.INTER_AREA
            )
            window = _Square((window.x - x0) / factor, (window.y - y0) / factor, window.side / factor)
    scale = size / window.side
    # Pixel centres lie at +0.5 here and at integers in OpenCV.
    shift_x = (window.side / 2 - window.x) * scale + (scale - 1) / 2
    shift_y = (window.side / 2 - window.y) * scale + (scale - 1) / 2
    to_crop = np.array([[scale, 0, shift_x], [0, scale, shift_y]])
    return cv2.warpAffine(image, to_crop, (size, size), flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR)


def _propose(detectors: Sequence[Any], image: UInt8[np.ndarray, "H W 3"], window: _Square) -> list[tuple[float, _Square]]:
    """List (score, face) that either detector sees in the window."""
    crop = _cut(image, window)
    left, top = window.x - window.side / 2, window.y - window.side / 2
    faces = []
    for detector in detectors:
        for detection in detector.process(crop).detections or []:
            box = detection.location_data.relative_bounding_box
            centre = (left + (box.xmin + box.width / 2) * window.side, top + (box.ymin + box.height / 2) * window.side)
            faces.append((detection.score[0], _Square(*centre, max(box.width, box.height) * window.side)))
    return faces


def _suppress(proposals: list[tuple[float, _Square]]) -> list[_Square]:
    """Keep the best of all proposals that mean the same face."""
    kept: list[_Square] = []
    for _, face in sorted(proposals, key=lambda proposal: -proposal[0]):
        if not any(_same_face(face, other) for other in kept):
            kept.append(face)
    return kept


def _same_face(a: _Square, b: _Square) -> bool:
    """Say whether the centre of the smaller square lies well inside the larger one."""
    return max(abs(a.x - b.x), abs(a.y - b.y)) < 0.4 * max(a.side, b.side)


def _square_of(detection: Detection) -> _Square:
    x0, y0, x1, y1 = detection.box
    return _Square((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0))


def _mesh_points(mesh: Any, image: UInt8[np.ndarray, "H W 3"], window: _Square) -> Float[np.ndarray, "478 2"] | None:
    # The first face that a process sees draws one more warning, about windows that are not square; ours are.
    with contextlib.nullcontext() if _face_seen.is_set() else _silence_native_logs():
        faces = mesh.process(_cut(image, window)).multi_face_landmarks
    if not faces:
        return None
    _face_seen.set()
    unit = np.array([(point.x, point.y) for point in faces[0].landmark])
    return unit * window.side + (window.x - window.side / 2, window.y - window.side / 2)


def _detection(points: Float[np.ndarray, "478 2"]) -> Detection:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Detection((float(x0), float(y0), float(x1), float(y1)), points)


def _confirm(mesh: Any, image: UInt8[np.ndarray, "H W 3"], face: _Square) -> Detection | None:
    """Average the mesh over several crops of a proposed face; `None` when the crops disagree."""
    # Detector boxes differ in size and offset, so a first look with the mesh itself centres the crops.
    for scale in (2.0, 1.6, 2.5):
        points = _mesh_points(mesh, image, face._replace(side=scale * face.side))
        if points is not None:
            break
    else:
        return None
    face = _square_of(_detection(points))
    answers = [
        _mesh_points(mesh, image, _Square(face.x + dx * face.side, face.y + dy * face.side, scale * face.side))
        for scale, dx, dy in MESH_CROPS
    ]
    found = np.array([points for points in answers if points is not None])
    if len(found) < MIN_AGREEING_CROPS:
        return None
    spread = np.linalg.norm(found - np.median(found, axis=0), axis=-1).mean() / face.side
    if spread > MAX_SPREAD:
        return None
    return _detection(found.mean(axis=0))


# ------------------------------------------------------------------------------------------------------- video


# Crops a tracked face is looked at in. Against the ten crops of a photo, on every eighth frame of three clips: one crop
# is off by 0.28 % of the face's width, these two by 0.21 %, and mediapipe's own video mode, which smooths over time and
# lags behind fast motion, by 0.65 %.
TRACKED_CROPS = ((1.8, 0.06, 0.05), (2.2, -0.06, -0.02))


class FaceTracker:
    """Follow the largest face through the frames of a video; use as a context manager, or close it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._mesh = _open_mesh(self._stack, video=False)
        self._face: _Square | None = None

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the models."""
        self._stack.close()

    def track(self, frame: UInt8[np.ndarray, "H W 3"]) -> Detection | None:
        """Find the face in the next RGB frame, near where it was; `None` where there is none."""
        found = self._look(frame) if self._face is not None else None
        if found is None:
            faces = detect_faces(frame, thorough=False)
            found = faces[0] if faces else None
        self._face = None if found is None else _square_of(found)
        return found

    def _look(self, frame: UInt8[np.ndarray, "H W 3"]) -> Detection | None:
        """Ask the mesh in two crops around the last place, and average; `None` unless both answer."""
        face, looks = self._face, []
        assert face is not None
        for scale, dx, dy in TRACKED_CROPS:
            window = _Square(face.x + dx * face.side, face.y + dy * face.side, scale * face.side)
            points = _mesh_points(self._mesh, frame, window)
            if points is None:
                return None
            looks.append(points)
        return _detection(np.mean(looks, axis=0))
