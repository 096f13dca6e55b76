"""Whatever is handed over, people get a sentence that says what to do, and nothing of theirs is lost."""

import io
import json
import math
import os
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.avatars import TINY, astronaut_avatar, astronaut_photo, of_tomorrow
from zero1toa import cli
from zero1toa.config import PRESETS
from zero1toa.media import read_video, write_video
from zero1toa.pipeline import create_avatar
from zero1toa.portrait.prepare import PortraitConfig
from zero1toa.types import Portrait
from zero1toa.ui.session import Session

NOT_PORTRAITS = Path(__file__).parents[2] / "shared" / "data" / "not_portraits"


@pytest.fixture
def astronaut():
    return astronaut_photo()


@pytest.fixture
def created():
    return astronaut_avatar()


@pytest.fixture(scope="module")
def face():
    """Pixels of a photo of one person, whose face is 92 px wide."""
    return pytest.importorskip("skimage.data").astronaut()


def saved(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def refused(capsys, photo: Path, folder: Path, *words: str) -> str:
    """Run `create`, which must refuse and leave nothing, and give its sentence."""
    assert cli.main(["create", str(photo), "-o", str(folder), *TINY, *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "Traceback" not in told
    assert not folder.exists()
    return told


def prepared(photo) -> Portrait:
    """Prepare a photo as `create` does, and stop there."""
    for event in create_avatar(photo, replace(PRESETS["preview"], portrait=PortraitConfig(size=192))):
        if event.portrait is not None:
            return event.portrait
    raise AssertionError("no portrait was told of")


# ------------------------------------------------------------------------------------------------- who is on it


def test_no_face_a_cat_and_black(capsys, tmp_path):
    data = pytest.importorskip("skimage.data")
    for pixels in (data.coffee()[100:300, 200:400], data.chelsea(), np.zeros((100, 100, 3), np.uint8)):
        assert "no face found" in refused(capsys, saved(tmp_path / "a.png", pixels), tmp_path / "out")


def test_of_two_faces_the_largest_is_taken_and_that_is_said(capsys, tmp_path, face):
    small = np.asarray(Image.fromarray(face).resize((400, 400)))
    pair = np.concatenate([np.pad(small, ((112, 0), (0, 0), (0, 0)), mode="edge"), face], 1)
    portrait = prepared(pair)
    assert any("2 faces" in note and "largest" in note for note in portrait.notes)
    assert portrait.crop[0] > 400, "the one on the right"
    assert "1 to 2" in refused(capsys, saved(tmp_path / "two.png", pair), tmp_path / "out", "--face", "3")


def test_a_small_face_is_refused_and_a_smallish_one_warned_about(capsys, tmp_path, face):
    tiny = np.asarray(Image.fromarray(face).resize((300, 300), Image.Resampling.LANCZOS))
    told = refused(capsys, saved(tmp_path / "tiny.png", tiny), tmp_path / "out")
    assert "too small" in told or "no face" in told
    assert "64 px" in told
    assert any("will look soft" in note for note in prepared(face).notes)


@pytest.mark.skipif(not NOT_PORTRAITS.is_dir(), reason="the project's test photos are not on this machine")
@pytest.mark.parametrize("name", ["s23.jpg", "s33.jpg", "s39.jpg"])
def test_what_is_no_portrait_is_refused(capsys, tmp_path, name):
    assert "no face found" in refused(capsys, NOT_PORTRAITS / name, tmp_path / "out")


# --------------------------------------------------------------------------------------------------- what it is


def png_header(width: int, height: int) -> bytes:
    """Give the beginning of a PNG of any size, without the pixels that would take gigabytes."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def test_sixty_megapixels_are_scaled_down(tmp_path, face):
    large = Image.fromarray(face).resize((7746, 7746), Image.Resampling.NEAREST)
    large.save(tmp_path / "large.jpg", quality=60)
    portrait = prepared(tmp_path / "large.jpg")
    assert portrait.report.rmse_px < 4
    assert not portrait.notes


def test_more_than_200_megapixels_are_refused_by_the_header(capsys, tmp_path):
    (tmp_path / "vast.png").write_bytes(png_header(20_000, 20_000))
    assert "400 megapixels" in refused(capsys, tmp_path / "vast.png", tmp_path / "out")


@pytest.mark.parametrize("name", ["cut short", "text", "animation", "nothing", "folder", "missing"])
def test_files_that_are_no_photo(capsys, tmp_path, face, name):
    path = tmp_path / f"{name}.jpg"
    match name:
        case "cut short":
            path.write_bytes(jpeg(face)[:9000])
            message = "damaged or incomplete"
        case "text":
            path.write_text("This is my photo, trust me.\n" * 20)
            message = "not a photo this program can read"
        case "animation":
            path = tmp_path / "animation.gif"
            frames = [Image.fromarray(face).resize((64, 64)), Image.new("RGB", (64, 64), "red")]
            frames[0].save(path, save_all=True, append_images=frames[1:])
            message = "is an animation"
        case "nothing":
            path.write_bytes(b"")
            message = "is empty"
        case "folder":
            path.mkdir()
            message = "is a folder"
        case _:
            message = "there is no file"
    assert message in refused(capsys, path, tmp_path / "out")


# -------------------------------------------------------------------------------------------- where it is written


def test_places_that_cannot_be_written(capsys, tmp_path, astronaut):
    (tmp_path / "file").write_text("mine")
    for folder in ("/proc/avatar", str(tmp_path / "file" / "avatar"), str(tmp_path / "file")):
        assert cli.main(["create", str(astronaut), "-o", folder, *TINY]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert folder in told
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(capsys, tmp_path, astronaut):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert cli.main(["create", str(astronaut), "-o", str(tmp_path / "locked" / "a"), *TINY]) == 2
    assert "not allowed" in capsys.readouterr().err


def test_an_existing_folder_keeps_everything(capsys, tmp_path, astronaut):
    (tmp_path / "holiday.txt").write_text("precious")
    assert cli.main(["create", str(astronaut), "-o", str(tmp_path), *TINY]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


@contextmanager
def small_disk(folder: Path, kilobytes: int):
    """Mount a tiny disk where that is allowed; else give the folder and a limit on the size of every file."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        try:
            yield None
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 512, kilobytes * 512))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="small disks are made as on Linux")
def test_a_full_disk_is_named_and_other_files_survive(tmp_path, created):
    script = (
        "import sys; from pathlib import Path\n"
        "from zero1toa.export.package import load_avatar, save_avatar\n"
        "from zero1toa.config import PRESETS\n"
        "from zero1toa import cli\n"
        "avatar, disk, photo, *tiny = sys.argv[1:]\n"
        "saved = load_avatar(avatar)\n"
        "try: save_avatar(disk + '/a', saved.avatar, saved.portrait, PRESETS['preview'])\n"
        "except cli.InputError as error: print(error)\n"
        "print(sorted(path.name for path in Path(disk).iterdir()))\n"
        "print(cli.main(['create', photo, '-o', disk + '/b', *tiny, '--json']))\n"
        "print(cli.main(['export', avatar, '--to', 'ply', '-o', disk + '/a.ply']))\n"
        "print(sorted(path.name for path in Path(disk).iterdir()))\n"
    )
    disk = tmp_path / "disk"
    with small_disk(disk, 200) as limit:
        (disk / "mine.txt").write_text("precious")
        command = [sys.executable, "-c", script, str(created), str(disk), str(astronaut_photo()), *TINY]
        done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=limit)
        assert (disk / "mine.txt").read_text() == "precious"
    sentence, after_saving, *told, created_status, exported_status, after_all = done.stdout.splitlines()
    assert "disk is full" in sentence or "too large" in sentence
    assert after_saving == "['mine.txt']"
    assert "the disk is full" in json.loads(told[-1])["message"]
    assert after_all == "['mine.txt']"
    assert created_status == exported_status == "2"
    assert "error: " in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read-only disks are made as on Linux")
def test_a_disk_that_may_only_be_read_is_named(capsys, tmp_path, astronaut, created):
    disk = tmp_path / "disk"
    (tmp_path / "photos").mkdir()
    Image.open(astronaut).save(tmp_path / "photos" / "a.png")
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount disks")
    try:
        for words in (
            ("create", str(astronaut), "-o", str(disk / "a"), *TINY),
            ("batch", str(tmp_path / "photos"), str(disk / "out"), *TINY),
            ("batch", str(tmp_path / "photos"), str(disk), *TINY),
            ("render", str(created), "-o", str(disk / "a.png"), "--size", "64"),
            *(("export", str(created), "--to", kind, "-o", str(disk / f"a.{kind}")) for kind in ("ply", "glb", "html", "mp4")),
        ):
            assert cli.main(words) == 2, words
            told = capsys.readouterr().err
            assert told.startswith(f"error: cannot write {disk}"), told
            assert "not allowed" in told
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="limits on open files are set as on POSIX")
@pytest.mark.parametrize(
    "words", [("create", "PHOTO", "-o", "OUT", *TINY), ("export", "AVATAR", "--to", "mp4", "-o", "OUT.mp4")]
)
@pytest.mark.parametrize("allowed", [7, 20])
def test_a_limit_on_open_files_is_named(tmp_path, astronaut, created, words, allowed):
    places = {"PHOTO": str(astronaut), "AVATAR": str(created), "OUT": str(tmp_path / "a"), "OUT.mp4": str(tmp_path / "a.mp4")}
    command = [sys.executable, "-m", "zero1toa", *(places.get(word, word) for word in words)]
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 2
    assert f"only {allowed} files may be open" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="limits on open files are set as on POSIX")
def test_the_app_names_a_limit_on_open_files():
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    command = [sys.executable, str(Path(__file__).parents[1] / "app.py"), "--server-port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=240)
    assert done.returncode == 1
    assert done.stderr == "error: only 100 files may be open at once: allow more with `ulimit -n 1024`, and try again\n"


def test_files_that_run_out_on_the_way_are_named(tmp_path, created):
    script = (
        "import os, sys\n"
        "from zero1toa import cli\n"
        "assert cli.main(['export', sys.argv[1], '--to', 'ply', '-o', sys.argv[2]]) == 0  # so that all is loaded\n"
        "os.unlink(sys.argv[2])\n"
        "try:\n"
        "    while True: os.open(os.devnull, os.O_RDONLY)\n"
        "except OSError: pass\n"
        "sys.exit(cli.main(['export', sys.argv[1], '--to', 'ply', '-o', sys.argv[2]]))\n"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    command = [sys.executable, "-c", script, str(created), str(tmp_path / "a.ply")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "too many" in done.stderr.lower()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------- when the clock goes back


def test_a_visitor_of_tomorrow_keeps_and_deletes_everything(tmp_path):
    session, cache = Session.open(), tmp_path / "cache"
    for number, name in enumerate(("growing.glb", "1.glb")):
        copy = cache / str(number) / session.file(name).name
        copy.parent.mkdir(parents=True)
        copy.write_text("a copy")
    session.start()
    of_tomorrow(session.folder)
    of_tomorrow(cache)
    session.forget_copies(cache, older_s=60)
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 2, "it may still be fetched"
    session.close(cache)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert not session.folder.exists()


# ------------------------------------------------------------------------------------------------- what drives it


def animate(capsys, avatar: Path, driving: Path, output: Path) -> tuple[int, str]:
    status = cli.main(["animate", str(avatar), "--driving", str(driving), "-o", str(output), "--size", "64"])
    out, err = capsys.readouterr()
    return status, out + err


def test_a_motion_with_not_numbers_is_refused(capsys, tmp_path, created):
    record = {"format": "zero1toa-motion", "version": 1, "fps": 25, "names": ["jawOpen"], "weights": [[0.1], [math.nan]]}
    (tmp_path / "nan.json").write_text(json.dumps(record))
    status, told = animate(capsys, created, tmp_path / "nan.json", tmp_path / "x.mp4")
    assert (status, "not a number in frame 1" in told) == (2, True)
    assert not (tmp_path / "x.mp4").exists()
    record["weights"] = [[0.1], [0.9], [0.4]]
    (tmp_path / "fine.json").write_text(json.dumps(record))
    assert animate(capsys, created, tmp_path / "fine.json", tmp_path / "x.mp4")[0] == 0
    assert len(read_video(tmp_path / "x.mp4").frames) == 3


def test_a_clip_without_a_face_is_refused_and_gaps_are_held_and_told(capsys, tmp_path, created, face):
    grey = np.full_like(face, 90)
    write_video(tmp_path / "empty.mp4", [grey] * 3, 10)
    status, told = animate(capsys, created, tmp_path / "empty.mp4", tmp_path / "x.mp4")
    assert (status, "no face was found" in told) == (2, True)
    assert not (tmp_path / "x.mp4").exists()

    write_video(tmp_path / "gaps.mp4", [grey, face, face, face, face, face, face, grey], 10)
    status, told = animate(capsys, created, tmp_path / "gaps.mp4", tmp_path / "x.mp4")
    assert status == 0, told
    assert "of 8 frames show no face" in told
    assert len(read_video(tmp_path / "x.mp4").frames) == 8


@pytest.mark.parametrize("name", ["text.mp4", "nothing.mp4", "missing.mp4", "folder", "photo.png"])
def test_what_cannot_drive(capsys, tmp_path, created, name, face):
    path = tmp_path / name
    match name:
        case "text.mp4":
            path.write_text("la la la")
        case "nothing.mp4":
            path.write_bytes(b"")
        case "folder":
            path.mkdir()
        case "photo.png":
            saved(path, face)
    status, told = animate(capsys, created, path, tmp_path / "x.mp4")
    assert status == 2
    assert told.count("error: ") == 1
    assert not (tmp_path / "x.mp4").exists()


def test_reenact_refuses_what_it_cannot_use(capsys, tmp_path):
    write_video(tmp_path / "empty.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 3, 10)
    assert cli.main(["reenact", str(tmp_path / "empty.mp4"), "-o", str(tmp_path / "out"), *TINY]) == 2
    assert "no face found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
