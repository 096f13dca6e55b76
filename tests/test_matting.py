from functools import cache
from pathlib import Path

import numpy as np
import pytest

from zero1toa.portrait.detect import detect_faces
from zero1toa.portrait.matting import estimate_foreground, matte_person

data = pytest.importorskip("skimage.data", reason="needs scikit-image's public-domain astronaut")
cv2 = pytest.importorskip("cv2", reason="needs OpenCV, which comes with mediapipe")
pytest.importorskip("mediapipe", reason="needs mediapipe's segmentation model")

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "portraits"


@cache
def astronaut():
    (face,) = detect_faces(data.astronaut())
    return face.points


@cache
def astronaut_matte():
    return matte_person(data.astronaut(), astronaut())


def test_matte_keeps_the_person_and_drops_the_wall():
    alpha = astronaut_matte()
    assert alpha.shape == (512, 512)
    assert alpha.dtype == np.float32
    assert alpha.min() == 0
    assert alpha.max() == 1
    columns, rows = astronaut().round().astype(int).T
    assert alpha[rows, columns].mean() > 0.99  # the outline of the mesh may lie a pixel outside
    assert alpha[60, 200] > 0.9  # hair above the forehead
    assert alpha[400:, 100:300].min() > 0.9  # the suit
    for place in (np.s_[:100, :100], np.s_[:100, 330:420], np.s_[200:300, :40]):
        assert alpha[place].mean() < 0.01


def test_edge_is_narrow_and_where_the_photo_changes():
    alpha = astronaut_matte()
    assert ((alpha > 0.05) & (alpha < 0.95)).mean() < 0.03
    steepness = np.hypot(*np.gradient(data.astronaut().mean(axis=-1)))
    solid = (alpha > 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    assert steepness[(distance > 0) & (distance < 2)].mean() > 4 * steepness[(distance > 5) & (distance < 8)].mean()


def test_person_is_found_again_on_another_background():
    """Plant the answer: paste the astronaut on a wall of her own making, and look for her again."""
    truth = astronaut_matte()[..., None]
    rows, columns = np.mgrid[:512, :512]
    wall = np.stack([60 + rows / 8, 110 + columns / 10, np.full((512, 512), 90.0)], axis=-1)
    clean = estimate_foreground(data.astronaut(), truth[..., 0])
    scene = (clean * truth + wall * (1 - truth)).round().astype(np.uint8)
    alpha = matte_person(scene, astronaut())
    overlap = np.minimum(alpha, truth[..., 0]).sum() / np.maximum(alpha, truth[..., 0]).sum()
    assert overlap > 0.97


def test_only_the_person_with_the_face_is_kept():
    photo = cv2.resize(data.astronaut()[:, :400], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    scene = np.full((photo.shape[0], 700, 3), 200, np.uint8)
    scene[:, : photo.shape[1]] = photo
    scene[:, -photo.shape[1] :] = photo
    alpha = matte_person(scene, astronaut() * 0.6)
    assert alpha[:, :240].mean() > 0.4
    assert alpha[:, 460:].max() == 0


def test_large_photos_keep_their_size_and_edges():
    large = cv2.resize(data.astronaut(), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    alpha = matte_person(large, astronaut() * 2)
    assert alpha.shape == (1024, 1024)
    assert np.abs(cv2.resize(alpha, (512, 512), interpolation=cv2.INTER_AREA) - astronaut_matte()).mean() < 0.02


def test_padding_is_never_person():
    photo = data.astronaut()[:, 100:]
    padded = cv2.copyMakeBorder(photo, 0, 80, 0, 0, cv2.BORDER_CONSTANT)
    valid = np.zeros(padded.shape[:2], bool)
    valid[:512] = True
    points = astronaut() - [100, 0]
    alpha = matte_person(padded, points, valid=valid)
    assert alpha[512:].max() == 0
    np.testing.assert_array_equal(alpha[:512], matte_person(np.ascontiguousarray(photo), points))


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"the test photos are not at {PHOTOS}")
@pytest.mark.parametrize("name", sorted(path.name for path in PHOTOS.glob("*.jpg")))
def test_portraits_are_cut_out_whole(name):
    from zero1toa.media import read_image

    image, _ = read_image(PHOTOS / name)
    face = detect_faces(image)[0]
    x0, y0, x1, y1 = face.box
    side = 1.3 * max(x1 - x0, y1 - y0)
    left, top = max(0, int((x0 + x1) / 2 - side)), max(0, int((y0 + y1) / 2 - side))
    crop = np.ascontiguousarray(image[top : int((y0 + y1) / 2 + side), left : int((x0 + x1) / 2 + side)])
    points = face.points - [left, top]
    alpha = matte_person(crop, points)
    columns, rows = points.round().astype(int).clip(0, [crop.shape[1] - 1, crop.shape[0] - 1]).T
    assert alpha[rows, columns].mean() > 0.95
    assert 0.2 < alpha.mean() < 0.8
    assert ((alpha > 0.05) & (alpha < 0.95)).mean() < 0.08
    assert alpha[: len(alpha) // 4, : len(alpha) // 8].mean() < 0.05


def test_foreground_colours_lose_the_planted_background():
    rows, columns = np.mgrid[:128, :128].astype(np.float32)
    truth = np.stack([60 + rows / 2, 200 - columns / 2, np.full_like(rows, 120)], axis=-1)
    alpha = (1 / (1 + np.exp((np.hypot(rows - 64, columns - 64) - 40) / 2))).astype(np.float32)
    alpha[alpha > 0.99] = 1
    alpha[alpha < 0.01] = 0
    photo = (truth * alpha[..., None] + np.float32([255, 0, 255]) * (1 - alpha[..., None])).round().astype(np.uint8)
    estimate = estimate_foreground(photo, alpha)
    band = (alpha > 0.05) & (alpha < 0.9)
    before = np.abs(photo[band] - truth[band]).mean()
    after = np.abs(estimate[band] - truth[band]).mean()
    assert before > 40
    assert after < 8
    np.testing.assert_array_equal(estimate[alpha == 1], photo[alpha == 1])


def test_the_rim_of_dark_hair_is_dark_though_face_and_wall_are_bright():
    """Plant the answer: a bright face in a frame of dark hair before a bright wall."""
    rows, columns = np.mgrid[:128, :128].astype(np.float32)
    from_middle = np.hypot(rows - 64, columns - 64)
    truth = np.where(from_middle[..., None] < 36, np.float32([220, 180, 160]), np.float32([40, 25, 20]))
    alpha = np.clip((48 - from_middle) / 8 + 0.5, 0, 1).astype(np.float32)
    photo = truth * alpha[..., None] + np.float32([230, 230, 240]) * (1 - alpha[..., None])
    estimate = estimate_foreground(photo.round().astype(np.uint8), alpha)
    band = (alpha > 0.1) & (alpha < 0.95)
    assert np.abs(photo[band] - truth[band]).mean() > 50
    assert np.abs(estimate[band] - truth[band]).mean() < 6


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_foreground_of_flat_alpha_is_finite(alpha):
    photo = data.astronaut()[:37, :53]
    estimate = estimate_foreground(photo, np.full((37, 53), alpha, np.float32))
    assert estimate.shape == photo.shape
    assert estimate.dtype == np.uint8
    if alpha < 0.95:
        np.testing.assert_array_equal(estimate, photo)
