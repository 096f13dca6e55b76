"""Read and write photos and video; the only file that touches Pillow's decoders and ffmpeg.

Everything inside the program is upright sRGB, uint8. Whatever a camera, a scanner or a paint program may hand
over instead is turned into that here, or refused with a sentence that says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import struct
import subprocess
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from zero1toa.types import InputError, MotionError, PortraitError, Video

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from PIL import Image

    from zero1toa.provenance import Provenance

log = logging.getLogger(__name__)

# No face needs more: the portrait is cropped and resampled to a fraction of this.
MAX_IMAGE_SIDE = 4096
# Phones take 200 million pixels. More is a mistake or an attack, and would not fit into a laptop's memory.
MAX_IMAGE_PIXELS = 201_000_000
MAX_VIDEO_SIDE = 1280

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")

# What Pillow's decoders raise for damaged files, depending on the format and on where the damage lies.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error, zlib.error)


# ------------------------------------------------------------------------------------------------ reading photos


def read_image(path: str | Path) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"] | None]:
    """Read a photo as upright sRGB, with its alpha channel if that hides anything.

    Images longer than 4096 px are reduced to that. Raises `PortraitError` for whatever is not one readable photo.
    """
    path = Path(path)
    data = _read_bytes(path, PortraitError, "photo")
    try:
        with _open_image(io.BytesIO(data), path.name) as image:
            return _decode(image, path.name)
    except MemoryError as error:
        raise PortraitError(f"{path.name} does not fit into memory: save a smaller copy of the photo") from error


def as_image(value: Any) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"] | None]:
    """Take a photo as a path, a PIL image or an array, and return it as `read_image` would.

    Arrays are grey, RGB or RGBA; integers span their type's range, floats [0, 1].
    """
    from PIL import Image

    if value is None:
        raise PortraitError("no photo was given: choose a jpg or png file")
    if isinstance(value, (str, Path)):
        return read_image(value)
    if isinstance(value, Image.Image):
        return _decode(value, "the photo")
    return _decode(_image_from_array(np.asarray(value)), "the photo")


def _read_bytes(path: Path, error: type[InputError], noun: str) -> bytes:
    _check_file(path, error, noun)
    try:
        return path.read_bytes()
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}") from cause


def _check_file(path: Path, error: type[InputError], noun: str) -> None:
    """Refuse what cannot be a media file before any decoder sees it."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as cause:  # ValueError: a null character in the name
        raise error(f"there is no file {path}: check the name and the folder") from cause
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a file"
        raise error(f"{path} is {kind}: give the name of one {noun}")
    if size == 0:
        raise error(f"{path.name} is empty: copy or download the {noun} again")


def _open_image(stream: IO[bytes], name: str) -> Image.Image:
    """Read the header of an image, without Pillow's limit on pixels, which is global and differs from ours."""
    from PIL import Image, JpegImagePlugin

    Image.init()
    prefix = stream.read(16)
    for kind in IMAGE_FORMATS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory is None or (accept is not None and accept(prefix) is not True):
            continue
        if kind == "JPEG":
            factory = JpegImagePlugin.JpegImageFile  # Pillow's own factory may answer with a multi-picture file
        stream.seek(0)
        try:
            image = factory(stream, name)
            animated = kind != "TIFF" and getattr(image, "n_frames", 1) > 1
        except _DAMAGE:
            break
        except Image.DecompressionBombError as error:  # its limit is lower than ours, and only some formats ask for it here
            raise PortraitError(
                f"{name} says that it has far too many pixels: save it again, smaller, as jpg or png"
            ) from error
        if animated:
            raise PortraitError(f"{name} is an animation: save one of its frames as jpg or png and use that")
        return image
    if prefix[4:8] == b"ftyp" and prefix[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim"):
        raise PortraitError(f"{name} is a HEIC photo, which this program cannot read: export it as jpg or png")
    raise PortraitError(f"{name} is not a photo this program can read, whatever its name says: save it as jpg or png")


def _decode(image: Image.Image, name: str) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"] | None]:
    from PIL import Image

    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        megapixels = width * height / 1e6
        raise PortraitError(f"{name} has {megapixels:.0f} megapixels, more than 200: save a smaller copy of the photo")
    scale = min(1.0, MAX_IMAGE_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    profile = image.info.get("icc_profile")
    try:
        if scale < 1:
            image.draft(None, size)  # type: ignore[arg-type]  # JPEG decodes at a half, quarter or eighth
        image.load()
        image = _upright(image)
        image = _eight_bits(image)
        transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
        if transparent:
            image = image.convert("RGBA")
        elif image.mode not in ("RGB", "L", "CMYK"):
            image = image.convert("RGB")
        if scale < 1:
            image.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise PortraitError(f"{name} is damaged or incomplete: copy or download the photo again") from error
    alpha = np.asarray(image.getchannel("A")) if transparent else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if transparent:
        image = image.convert("RGB")
    return np.array(_to_srgb(image, profile)), alpha


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:  # a photo with broken EXIF is still a photo
        log.warning("The EXIF data is damaged, so the orientation it may hold is ignored.")
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep grey images, which Pillow would clip; it scales deep colour itself."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        top = values.max(initial=0.0)
        if image.mode == "F":
            full = 1.0 if top <= 1.0 else max(top, 255.0)
        elif image.mode == "I":  # 32 bits, used by older Pillow for 16-bit files
            full = 65535.0 if top <= 65535.0 else 2.0**31 - 1
        else:
            full = 65535.0
        return Image.fromarray((values / full * 255).round().clip(0, 255).astype(np.uint8))
    return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB, by the embedded profile if there is one that fits the image."""
    from PIL import ImageCms

    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return image.convert("RGB") if converted is None else converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            log.warning("The embedded colour profile does not fit the photo and is ignored.")
    return image.convert("RGB")


def _image_from_array(array: np.ndarray) -> Image.Image:
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        shape = " x ".join(map(str, array.shape))
        raise PortraitError(f"an array of shape {shape} is no photo: use height x width x 3")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = (array.astype(np.float32) / 257).round().astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise PortraitError("the photo holds values that are not numbers: use floats in [0, 1] or uint8")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise PortraitError(f"an array of {array.dtype} is no photo: use uint8, or floats in [0, 1]")
    return Image.fromarray(np.ascontiguousarray(array))


# ------------------------------------------------------------------------------------------------ writing photos


def write_image(
    path: str | Path,
    image: UInt8[np.ndarray, "H W C"],
    *,
    provenance: Provenance | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write RGB or RGBA pixels as png, jpg or webp, whichever the name asks for, all at once or not at all.

    `provenance` is told in an XMP packet, and for people as `metadata` is, which becomes text entries of a png, or one
    comment in a jpg. Raises `InputError` when the name or the place cannot be used.
    """
    from PIL import Image, PngImagePlugin

    path = Path(path)
    assert image.dtype == np.uint8, "pixels are uint8"
    options: dict[str, Any] = {}
    metadata = dict(metadata or {})
    if provenance is not None:
        metadata |= {"Software": provenance.generator, "Comment": provenance.comment()}
        options["xmp"] = provenance.xmp().encode()
    match path.suffix.lower():
        case ".png":
            kind = "PNG"
            text = PngImagePlugin.PngInfo()
            for key, value in metadata.items():
                text.add_itxt(key, value)
            if provenance is not None:
                text.add_itxt("XML:com.adobe.xmp", provenance.xmp())
            options = {"pnginfo": text}
        case ".jpg" | ".jpeg":
            kind = "JPEG"
            if image.ndim == 3 and image.shape[2] == 4:
                raise InputError(f"{path.name} cannot hold transparency: use a name that ends in .png")
            options |= {"quality": 95, "subsampling": 0}
            if metadata:
                options["comment"] = "; ".join(f"{key}: {value}" for key, value in metadata.items()).encode()
        case ".webp":
            kind = "WEBP"
            options |= {"lossless": True}
        case _:
            raise InputError(f"cannot write {path.name} as an image: use a name that ends in .png, .jpg or .webp")
    with replacing(path) as partial, explain_writing(path):
        Image.fromarray(image).save(partial, format=kind, **options)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a name beside `path`, and move it there once all went well; what is left of a failure is removed."""
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give a file name")
    partial = path.with_name(f".{path.stem[:80]}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield partial
        with explain_writing(path):
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def explain_writing(path: Path) -> Iterator[None]:
    """Turn the system's reasons not to write into sentences."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                reason = "the disk is full; free some space or choose another folder"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                reason = "writing there is not allowed; choose another folder"
            case errno.ENOENT | errno.ENOTDIR if path.parent.is_dir():
                reason = "nothing can be kept there; choose another folder"
            case errno.ENOENT | errno.ENOTDIR:
                reason = f"there is no folder {path.parent}; create it first"
            case _:
                reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}") from error


# ------------------------------------------------------------------------------------------------- reading video


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the header of a video says: frames per second, and seconds (0 where it does not say)."""

    fps: float
    duration: float


def probe_video(path: str | Path) -> VideoInfo:
    """Read the header of a video; raises `MotionError` when the file is none."""
    path = Path(path)
    _check_file(path, MotionError, "video")
    header = subprocess.run(
        [*_ffmpeg(), "-protocol_whitelist", "file", "-i", str(path.absolute())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    ).stderr.decode(errors="replace")
    stream = re.search(r"Stream #.* Video: .*", header)
    if stream is None:
        raise MotionError(f"{path.name} is not a video this program can read: use an mp4 or mov file")
    rate = re.search(r"([\d.]+) fps", stream[0]) or re.search(r"([\d.]+) tbr", stream[0])
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", header)
    fps = float(rate[1]) if rate else 0.0
    return VideoInfo(
        fps=fps if 0 < fps <= 1000 else 25.0,
        duration=int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3]) if duration else 0.0,
    )


def iter_video(path: str | Path, *, stride: int = 1, max_side: int = MAX_VIDEO_SIDE) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield every `stride`-th frame of a video, upright, at a constant rate of `probe_video(path).fps / stride`.

    Frames longer than `max_side` are reduced to that. Raises `MotionError` when nothing can be decoded.
    """
    path = Path(path)
    info = probe_video(path)
    # ffmpeg turns frames upright by itself. Phones record at a varying rate and some cameras in oblong pixels;
    # the filters make both even.
    filters = [
        f"fps={info.fps}",
        "scale='max(1,trunc(iw*sar))':ih",
        "setsar=1",
        f"scale='min(iw,{max_side})':'min(ih,{max_side})':force_original_aspect_ratio=decrease",
    ]
    command = [*_ffmpeg(), "-v", "error", "-protocol_whitelist", "file,pipe", "-i", str(path.absolute())]
    command += ["-map", "0:v:0", "-vf", ",".join(filters), "-f", "image2pipe", "-c:v", "ppm", "-"]
    count = 0
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        while (frame := _read_ppm(process.stdout)) is not None:
            if count % stride == 0:
                yield frame
            count += 1
    finally:
        process.kill()
        process.communicate()
    if count == 0:
        raise MotionError(f"{path.name} holds no frame that can be decoded: copy or export the video again")


def read_video(
    path: str | Path,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    max_side: int = MAX_VIDEO_SIDE,
) -> Video:
    """Read every `stride`-th frame of a video, at most `max_frames` of them, upright and at a constant rate.

    Raises `MotionError` when the file is not a video or holds a single picture.
    """
    info = probe_video(path)
    frames = []
    stream = iter_video(path, stride=stride, max_side=max_side)
    with contextlib.closing(stream):  # type: ignore[type-var]
        for frame in stream:
            frames.append(frame)
            if len(frames) == max_frames:
                break
        else:
            if len(frames) == 1 and stride == 1:
                raise MotionError(f"{Path(path).name} holds a single picture: use a video")
    return Video(np.stack(frames), info.fps / stride)


def _read_ppm(stream: IO[bytes]) -> UInt8[np.ndarray, "H W 3"] | None:
    """Read one picture of ffmpeg's portable pixmaps, which say their own size; `None` at the end."""
    if stream.readline().strip() != b"P6":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()
    data = stream.read(width * height * 3)
    if len(data) < width * height * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _ffmpeg() -> list[str]:
    import imageio_ffmpeg

    return [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin"]


# ------------------------------------------------------------------------------------------------- writing video


def write_video(
    path: str | Path,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    fps: float,
    *,
    provenance: Provenance | None = None,
) -> None:
    """Write RGB frames of one size as H.264 in an mp4, all at once or not at all.

    Odd sizes grow by repeating the last row or column, because the pixel format that every player knows needs
    even ones. `provenance` is told in a comment and in an XMP packet. Raises `InputError` when nothing can be
    written; an error raised by `frames` itself comes through.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ".mov", ".m4v"):
        raise InputError(f"cannot write {path.name} as a video: use a name that ends in .mp4")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InputError(f"there are no frames to write to {path.name}: choose a longer clip")
    shape = first.shape
    height, width = (side + side % 2 for side in shape[:2])
    command = [*_ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(Fraction(fps).limit_denominator(1001)), "-i", "-"]
    # Players guess the colour matrix from the size unless the file says it.
    command += ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709"]
    command += ["-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    command += ["-c:v", "libx264", "-preset", "medium", "-crf", "17", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    if provenance is not None:
        command += ["-metadata", f"comment={provenance.comment()}"]
    with replacing(path) as partial, tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [*command, str(partial.absolute())], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages
        )
        assert process.stdin is not None
        try:
            frame: Any = first
            while frame is not None:
                assert frame.dtype == np.uint8, "frames are uint8"
                assert frame.shape == shape, "frames share one size"
                padded = np.pad(frame, ((0, height - shape[0]), (0, width - shape[1]), (0, 0)), mode="edge")
                try:
                    process.stdin.write(padded.tobytes())
                except OSError:  # ffmpeg gave up; it says why
                    break
                frame = next(frames, None)
            with contextlib.suppress(OSError):
                process.stdin.close()
            failed = process.wait() != 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if failed:
            messages.seek(0)
            with explain_writing(path):
                raise _os_error(messages.read().decode(errors="replace"))
        if provenance is not None:
            with explain_writing(path), partial.open("ab") as file:
                file.write(_xmp_box(provenance.xmp().encode()))


def _xmp_box(packet: bytes) -> bytes:
    """Pack an XMP packet as mp4 files carry it: in a box of their outermost level, marked by this UUID (ISO 16684-3)."""
    return struct.pack(">I4s", 24 + len(packet), b"uuid") + bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet


def _os_error(text: str) -> OSError:
    """Find the system's error in what ffmpeg printed."""
    for code in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        if os.strerror(code) in text:
            return OSError(code, os.strerror(code))
    return OSError(text.strip().splitlines()[-1] if text.strip() else "ffmpeg stopped without a message")
