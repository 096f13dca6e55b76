import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from zero1toa.portrait.detect import FaceTracker, choose_face, detect_faces
from zero1toa.types import Detection, PortraitError

data = pytest.importorskip("skimage.data", reason="needs scikit-image's public-domain astronaut")
cv2 = pytest.importorskip("cv2", reason="needs OpenCV, which comes with mediapipe")
pytest.importorskip("mediapipe", reason="needs mediapipe's face models")

PHOTOS = Path(__file__).parents[2] / "shared" / "data"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"the test photos are not at {PHOTOS}")


def names(folder: str) -> list[str]:
    return sorted(path.name for path in (PHOTOS / folder).glob("*.jpg"))


@cache
def astronaut() -> Detection:
    (face,) = detect_faces(data.astronaut())
    return face


def face_of(width: float) -> Detection:
    return Detection((0.0, 0.0, width, width), np.zeros((478, 2)))


def test_astronaut_is_found_where_she_is():
    face = astronaut()
    assert face.points.shape == (478, 2)
    # Read off the photo by hand: the tip of the nose, then her right and her left pupil.
    for landmark, place in ((4, (225, 126)), (468, (203, 101.5)), (473, (246, 103))):
        assert np.abs(face.points[landmark] - place).max() < 3
    np.testing.assert_allclose(face.box, [*face.points.min(axis=0), *face.points.max(axis=0)])


def test_landmarks_are_steady_under_shifts():
    shifted = cv2.copyMakeBorder(data.astronaut(), 31, 0, 17, 0, cv2.BORDER_REPLICATE)
    (face,) = detect_faces(shifted)
    error = np.linalg.norm(face.points - [17, 31] - astronaut().points, axis=1).mean()
    assert error < 0.005 * face.width


def test_two_faces_come_largest_first():
    photo = data.astronaut()
    small = cv2.resize(photo, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    scene = np.full((512, 1000, 3), 128, np.uint8)
    scene[: small.shape[0], : small.shape[1]] = small
    scene[:, 488:] = photo
    large, little = detect_faces(scene)
    assert large.width == pytest.approx(astronaut().width, rel=0.05)
    assert little.width == pytest.approx(0.75 * astronaut().width, rel=0.05)


def test_small_face_in_a_large_photo_is_found():
    scale = 50 / astronaut().width
    small = cv2.resize(data.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene = np.full((1500, 1100, 3), 100, np.uint8)
    scene[900 : 900 + small.shape[0], 700 : 700 + small.shape[1]] = small
    (face,) = detect_faces(scene)
    assert face.width == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((300, 200, 3), np.uint8),
        np.full((1, 1, 3), 200, np.uint8),
        np.zeros((3, 900, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8),
        data.chelsea(),
        data.coffee(),
    ],
    ids=["black", "pixel", "strip", "noise", "cat", "coffee"],
)
def test_nobody_is_found_where_nobody_is(image):
    with pytest.raises(PortraitError, match="no face found: use a photo"):
        choose_face(detect_faces(image))


@needs_photos
@pytest.mark.parametrize("name", names("portraits"))
def test_every_portrait_holds_one_face(name):
    from zero1toa.media import read_image

    image, _ = read_image(PHOTOS / "portraits" / name)
    (face,) = detect_faces(image)
    assert face.width > 80


@needs_photos
@pytest.mark.parametrize("name", names("not_portraits"))
def test_animals_are_no_portraits(name):
    from zero1toa.media import read_image

    image, _ = read_image(PHOTOS / "not_portraits" / name)
    assert detect_faces(image) == []


def test_largest_face_is_taken_and_said():
    faces = [face_of(300), face_of(200)]
    chosen, notes = choose_face(faces)
    assert chosen is faces[0]
    assert len(notes) == 1
    assert "2 faces" in notes[0]
    assert "--face 2" in notes[0]
    chosen, notes = choose_face(faces, 2)
    assert chosen is faces[1]
    assert notes == ()


@pytest.mark.parametrize("face", [0, 3, -1])
def test_face_out_of_range_is_refused(face):
    with pytest.raises(PortraitError, match=r"--face 1 to 2"):
        choose_face([face_of(300), face_of(200)], face)


def test_small_faces_are_warned_about_and_tiny_ones_refused():
    assert "100 px wide" in choose_face([face_of(100)])[1][0]
    with pytest.raises(PortraitError, match=r"60 px wide, which is too small.*at least 64 px"):
        choose_face([face_of(60)])


def test_tracker_follows_loses_and_finds_again():
    photo = data.astronaut()
    with FaceTracker() as tracker:
        for step in range(0, 160, 16):
            frame = np.roll(photo, (step // 2, step), axis=(0, 1))
            face = tracker.track(frame)
            assert face is not None
            error = np.linalg.norm(face.points - [step, step // 2] - astronaut().points, axis=1).mean()
            assert error < 0.04 * face.width
        assert tracker.track(np.zeros_like(photo)) is None
        assert tracker.track(photo) is not None


def test_nothing_is_printed():
    code = """
from skimage.data import astronaut
from zero1toa.portrait.detect import FaceTracker, detect_faces
detect_faces(astronaut())
with FaceTracker() as tracker:
    tracker.track(astronaut())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == ""
    assert result.stderr == ""
