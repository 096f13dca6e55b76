import errno
import io
import os
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from zero1toa import media
from zero1toa.provenance import Provenance
from zero1toa.types import InputError, MotionError, PortraitError


def gradient(height=40, width=60):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // (height - 1), columns * 255 // (width - 1), np.full_like(rows, 90)], axis=-1).astype(
        np.uint8
    )


def saved(folder: Path, name: str, image: Image.Image, **options) -> Path:
    image.save(folder / name, **options)
    return folder / name


# ---------------------------------------------------------------------------------------------------- photos


@pytest.mark.parametrize("name", ["plain.png", "plain.webp", "mit Leerzeichen und Ümlaut 写真.png"])
def test_what_was_written_is_read_back(tmp_path, name):
    media.write_image(tmp_path / name, gradient())
    image, alpha = media.read_image(tmp_path / name)
    np.testing.assert_array_equal(image, gradient())
    assert alpha is None
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_jpeg_is_read_back_almost(tmp_path):
    media.write_image(tmp_path / "a.jpg", gradient())
    image, _ = media.read_image(str(tmp_path / "a.jpg"))
    assert np.abs(image.astype(int) - gradient()).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    upright = Image.fromarray(gradient())
    # What a camera stores so that the given orientation turns it upright: the inverse operation.
    turn = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, [])
    stored = upright
    for operation in turn:
        stored = stored.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, _ = media.read_image(saved(tmp_path, "turned.png", stored, exif=exif))
    np.testing.assert_array_equal(image, gradient())


def test_alpha_is_returned_only_where_it_hides_something(tmp_path):
    matte = np.zeros((40, 60), np.uint8)
    matte[10:30] = 200
    path = saved(tmp_path, "rgba.png", Image.fromarray(np.dstack([gradient(), matte])))
    image, alpha = media.read_image(path)
    np.testing.assert_array_equal(alpha, matte)
    np.testing.assert_array_equal(image, gradient())
    opaque = saved(tmp_path, "opaque.png", Image.fromarray(np.dstack([gradient(), np.full_like(matte, 255)])))
    assert media.read_image(opaque)[1] is None


def test_palette_transparency_becomes_alpha(tmp_path):
    indices = np.zeros((8, 8), np.uint8)
    indices[:, 4:] = 1
    palette = Image.fromarray(indices).convert("P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    image, alpha = media.read_image(saved(tmp_path, "palette.png", palette, transparency=0))
    assert alpha is not None
    np.testing.assert_array_equal(alpha[0], [0] * 4 + [255] * 4)
    np.testing.assert_array_equal(image[0, 7], [200, 100, 50])


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    image, _ = media.read_image(saved(tmp_path, "deep.png", Image.fromarray(deep)))
    np.testing.assert_array_equal(image[0, :, 0], np.arange(256))
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_sixteen_bit_colour_is_scaled(tmp_path):
    cv2 = pytest.importorskip("cv2")
    deep = np.zeros((4, 4, 3), np.uint16)
    deep[:] = (1000, 20000, 60000)  # OpenCV writes blue first
    (tmp_path / "deep.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    image, _ = media.read_image(tmp_path / "deep.png")
    assert np.abs(image[0, 0].astype(int) - [233, 78, 4]).max() <= 1


def test_grey_becomes_colour(tmp_path):
    grey = gradient()[..., 0]
    image, _ = media.read_image(saved(tmp_path, "grey.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(image, grey[..., None].repeat(3, axis=-1))


@pytest.mark.parametrize(
    ("ink", "colour"), [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), (255,) * 3)]
)
def test_cmyk_jpeg_keeps_its_colours(tmp_path, ink, colour):
    image, _ = media.read_image(saved(tmp_path, "print.jpg", Image.new("CMYK", (32, 32), ink), quality=100))
    assert np.abs(image[16, 16].astype(int) - colour).max() <= 3


def test_profiles_that_say_nothing_change_nothing(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = Image.fromarray(gradient())
    same, _ = media.read_image(saved(tmp_path, "srgb.png", plain, icc_profile=srgb.tobytes()))
    assert np.abs(same.astype(int) - gradient()).max() <= 1
    unfit, _ = media.read_image(saved(tmp_path, "unfit.png", plain, icc_profile=lab.tobytes()))
    np.testing.assert_array_equal(unfit, gradient())
    broken, _ = media.read_image(saved(tmp_path, "broken.png", plain, icc_profile=b"no profile at all"))
    np.testing.assert_array_equal(broken, gradient())


def test_profile_of_another_rgb_space_changes_colours(tmp_path):
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Exchanging the names of two primaries in the tag table plants a profile in which red means green.
    red, green = swapped.index(b"rXYZ", 128), swapped.index(b"gXYZ", 128)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    path = saved(tmp_path, "swapped.png", Image.new("RGB", (8, 8), (250, 10, 10)), icc_profile=bytes(swapped))
    image, _ = media.read_image(path)
    assert image[0, 0, 1] > 200 > 100 > image[0, 0, 0]


def test_large_photo_is_reduced(tmp_path):
    path = saved(tmp_path, "large.jpg", Image.new("L", (9000, 3000), 77))
    image, _ = media.read_image(path)
    assert image.shape == (1365, 4096, 3)
    assert np.abs(image.astype(int) - 77).max() <= 1


def test_huge_photo_is_refused_before_it_is_decoded(tmp_path):
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "PNG")
    header = bytearray(data.getvalue())
    header[16:24] = (30000).to_bytes(4, "big") + (30000).to_bytes(4, "big")
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(bytes(header))
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(PortraitError, match=r"900 megapixels.*smaller copy"):
        media.read_image(tmp_path / "huge.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_black_photo_is_a_photo(tmp_path):
    image, _ = media.read_image(saved(tmp_path, "black.png", Image.new("RGB", (30, 20))))
    assert image.shape == (20, 30, 3)
    assert image.max() == 0


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.jpg", None, "there is no file"),
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"I am not a photo, whatever my name says.", "save it as jpg or png"),
        ("short.png", b"\x89PNG\r\n\x1a\n\x00\x00", "save it as jpg or png"),
        ("phone.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00" + bytes(64), "HEIC"),
    ],
)
def test_what_is_not_a_photo_is_refused(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PortraitError, match=sentence):
        media.read_image(tmp_path / name)


def test_folder_is_refused(tmp_path):
    with pytest.raises(PortraitError, match="is a folder"):
        media.read_image(tmp_path)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_truncated_file_is_refused(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    whole = saved(tmp_path, f"whole.{kind}", Image.fromarray(noise)).read_bytes()
    (tmp_path / f"half.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PortraitError, match=r"damaged or incomplete|save it as"):
        media.read_image(tmp_path / f"half.{kind}")


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animation_is_refused(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 120, 240)]
    path = saved(tmp_path, f"moving.{kind}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(PortraitError, match=r"animation.*jpg or png"):
        media.read_image(path)


def test_still_gif_is_read(tmp_path):
    image, _ = media.read_image(saved(tmp_path, "still.gif", Image.new("RGB", (16, 16), (240, 0, 0))))
    assert tuple(image[0, 0]) == (240, 0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_of_any_depth_are_images(dtype):
    full = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    image, alpha = media.as_image((gradient() * np.float64(full)).astype(dtype))
    np.testing.assert_array_equal(image, gradient())
    assert alpha is None


def test_as_image_takes_pil_images_and_paths(tmp_path):
    picture = Image.fromarray(np.dstack([gradient(), np.full((40, 60), 9, np.uint8)]))
    image, alpha = media.as_image(picture)
    np.testing.assert_array_equal(image, gradient())
    assert alpha is not None
    assert alpha.max() == 9
    np.testing.assert_array_equal(media.as_image(saved(tmp_path, "a.png", picture))[0], gradient())


@pytest.mark.parametrize(
    "value", [None, np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4, 3)), np.full((4, 4, 3), np.nan), np.array("x")]
)
def test_as_image_refuses_what_is_no_photo(value):
    with pytest.raises(PortraitError):
        media.as_image(value)


def test_metadata_is_stored(tmp_path):
    media.write_image(tmp_path / "a.png", gradient(), metadata={"Hinweis": "künstlich"})
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.info["Hinweis"] == "künstlich"
    media.write_image(tmp_path / "a.jpg", gradient(), metadata={"Software": "zero1toa"})
    with Image.open(tmp_path / "a.jpg") as image:
        assert b"zero1toa" in image.info["comment"]


@pytest.mark.parametrize(
    ("name", "channels", "sentence"),
    [("a.txt", 3, "ends in .png"), ("a.jpg", 4, "transparency"), ("nowhere/a.png", 3, "create it first")],
)
def test_images_that_cannot_be_written_are_refused(tmp_path, name, channels, sentence):
    with pytest.raises(InputError, match=sentence):
        media.write_image(tmp_path / name, np.zeros((4, 4, channels), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "sentence"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "not allowed")])
def test_failed_writing_leaves_the_old_file(tmp_path, monkeypatch, code, sentence):
    media.write_image(tmp_path / "a.png", gradient())

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match=sentence):
        media.write_image(tmp_path / "a.png", gradient() // 2)
    monkeypatch.undo()
    np.testing.assert_array_equal(media.read_image(tmp_path / "a.png")[0], gradient())
    assert len(list(tmp_path.iterdir())) == 1


# ----------------------------------------------------------------------------------------------------- video


def clip(frames=10, height=48, width=64):
    """Frames of one flat colour each, so that compression cannot hide which frame is which."""
    return np.stack([np.full((height, width, 3), (20 * index, 128, 220 - 20 * index), np.uint8) for index in range(frames)])


def test_video_is_read_back(tmp_path):
    path = tmp_path / "ein Clip 動画.mp4"
    media.write_video(path, iter(clip()), 25.0, provenance=Provenance(prior="projection"))
    video = media.read_video(path)
    assert video.fps == 25.0
    assert video.frames.shape == clip().shape
    assert np.abs(video.frames.astype(int) - clip()).max() <= 6
    assert b"made by zero1toa" in path.read_bytes()
    assert b"prior projection" in path.read_bytes()
    assert media.probe_video(path).duration == pytest.approx(0.4, abs=0.05)


def test_stride_and_limit(tmp_path):
    media.write_video(tmp_path / "a.mp4", clip(), 30.0)
    video = media.read_video(tmp_path / "a.mp4", stride=3, max_frames=2)
    assert video.fps == pytest.approx(10.0)
    assert len(video.frames) == 2
    assert np.abs(video.frames[1].astype(int) - clip()[3]).max() <= 6


def test_odd_sizes_are_padded(tmp_path):
    media.write_video(tmp_path / "odd.mp4", clip(3, 47, 63), 25.0)
    assert media.read_video(tmp_path / "odd.mp4").frames.shape == (3, 48, 64, 3)


def test_large_video_is_reduced(tmp_path):
    media.write_video(tmp_path / "a.mp4", clip(3, 48, 96), 25.0)
    assert media.read_video(tmp_path / "a.mp4", max_side=48).frames.shape == (3, 24, 48, 3)


def test_rotation_of_a_phone_is_undone(tmp_path):
    media.write_video(tmp_path / "a.mp4", clip(3, 48, 64), 25.0)
    turned = tmp_path / "turned.mp4"
    command = [
        *media._ffmpeg(),
        "-v",
        "error",
        "-display_rotation",
        "90",
        "-i",
        str(tmp_path / "a.mp4"),
        "-c",
        "copy",
        str(turned),
    ]
    subprocess.run(command, check=True)
    assert media.read_video(turned).frames.shape == (3, 64, 48, 3)


@pytest.mark.parametrize(("name", "content"), [("missing.mp4", None), ("empty.mp4", b""), ("text.mp4", b"not a video at all")])
def test_what_is_not_a_video_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MotionError, match=name):
        media.read_video(tmp_path / name)


def test_folder_is_no_video(tmp_path):
    with pytest.raises(MotionError, match="is a folder"):
        media.read_video(tmp_path)


def test_cut_off_video_is_refused(tmp_path):
    media.write_video(tmp_path / "a.mp4", clip(), 25.0)
    whole = (tmp_path / "a.mp4").read_bytes()
    # The index comes first, so the header still promises frames that are not there.
    (tmp_path / "cut.mp4").write_bytes(whole[: whole.index(b"mdat") + 8])
    with pytest.raises(MotionError, match="no frame"):
        media.read_video(tmp_path / "cut.mp4")


def test_photo_is_no_video(tmp_path):
    media.write_image(tmp_path / "photo.png", gradient())
    with pytest.raises(MotionError, match="single picture"):
        media.read_video(tmp_path / "photo.png")


def test_failing_frames_leave_nothing_behind(tmp_path):
    def frames():
        yield from clip(3)
        raise RuntimeError("the renderer fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        media.write_video(tmp_path / "a.mp4", frames(), 25.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "count", "sentence"),
    [("a.png", 3, "ends in .mp4"), ("a.mp4", 0, "no frames"), ("nowhere/a.mp4", 3, "create it first")],
)
def test_videos_that_cannot_be_written_are_refused(tmp_path, name, count, sentence):
    with pytest.raises(InputError, match=sentence):
        media.write_video(tmp_path / name, list(clip(count)) if count else [], 25.0)
    assert list(tmp_path.iterdir()) == []


def test_ffmpeg_names_the_reason_of_the_system():
    assert media._os_error(f"av_interleaved_write_frame(): {os.strerror(errno.ENOSPC)}").errno == errno.ENOSPC
    assert "stopped" in str(media._os_error(""))
