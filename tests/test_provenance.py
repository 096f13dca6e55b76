"""Every file that shows an avatar says that it is AI-generated, by what, when and how, to readers that are not ours."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from plyfile import PlyData

from tests.avatars import HEAD, astronaut_avatar, sphere_avatar, sphere_portrait
from zero1toa import __version__, cli, media
from zero1toa.config import PRESETS
from zero1toa.export.glb import glb_bytes
from zero1toa.export.mark import marked
from zero1toa.export.package import load_avatar, save_avatar
from zero1toa.export.ply import write_ply
from zero1toa.export.video import write_demo, write_rendering
from zero1toa.export.views import Viewer
from zero1toa.provenance import DIGITAL_SOURCE_TYPE, Provenance
from zero1toa.types import InputError

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "iptc": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
}
MADE = Provenance("9.8", "2026-01-02T03:04:05+00:00", "projection", "preview", "head anny, seed 3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = replace(PRESETS["preview"].with_seed(7), prior="projection")
    return save_avatar(tmp_path_factory.mktemp("avatars") / "a", sphere_avatar(), sphere_portrait(), config)


@pytest.fixture(scope="module")
def saved(folder):
    return load_avatar(folder, head=HEAD)


def read_xmp(packet: bytes | str) -> dict[str, str]:
    """Read an XMP packet as any program does: {tag without its namespace: text}."""
    text = packet.decode() if isinstance(packet, bytes) else packet
    tree = ElementTree.fromstring(re.sub(r"<\?xpacket.*?\?>", "", text).strip())
    described = tree.find("rdf:RDF/rdf:Description", SPACES)
    assert described is not None
    return {child.tag.partition("}")[2]: "".join(child.itertext()).strip() for child in described}


def check(told: dict[str, str], made: Provenance) -> None:
    assert told["DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert told["AISystemUsed"] == "zero1toa"
    assert told["AISystemVersionUsed"] == made.version
    assert told["CreatorTool"] == f"zero1toa {made.version}"
    assert told.get("CreateDate", "") == made.created
    for said in ("AI-generated", made.prior, made.preset, made.settings, made.created):
        assert said in told["description"]


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """List the outermost boxes of an mp4: (kind, content)."""
    found, place = [], 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        assert size >= head
        found.append((kind, data[place + head : place + size]))
        place += size
    assert place == len(data), "the boxes fill the file"
    return found


def film_xmp(path: Path) -> bytes:
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    (packet,) = [content[16:] for kind, content in boxes(path.read_bytes()) if kind == b"uuid" and content.startswith(uuid)]
    return packet


# --------------------------------------------------------------------------------------------------- the record


def test_the_packet_says_everything():
    check(read_xmp(MADE.xmp()), MADE)
    assert MADE.record()["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert set(MADE.record()) > {"created", "prior", "preset", "settings", "generator"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=5, max_size=5))
def test_nothing_that_a_file_may_name_breaks_the_packet_or_the_lines(values):
    made = Provenance(*values)
    told = read_xmp(made.xmp())
    assert told["DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert len(told) <= 6, "no text becomes a property"
    assert made.comment().isprintable()
    assert "AI-generated" in made.lines()[0]
    json.dumps(made.record())


# ----------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_pictures_say_it(tmp_path, name):
    pixels = np.arange(48 * 32 * 3, dtype=np.uint8).reshape(32, 48, 3)
    media.write_image(tmp_path / name, pixels, provenance=MADE)
    with Image.open(tmp_path / name) as image:
        image.load()
        check(read_xmp(image.info["XML:com.adobe.xmp" if name == "a.png" else "xmp"]), MADE)
        if name == "a.png":
            assert image.text["Comment"] == MADE.comment()
            assert image.text["Software"] == "zero1toa 9.8"
        assert image.size == (48, 32)


def test_png_chunks_say_it_to_who_reads_bytes(tmp_path):
    media.write_image(tmp_path / "a.png", np.zeros((4, 4, 4), np.uint8), provenance=MADE)
    data, place, found = (tmp_path / "a.png").read_bytes(), 8, {}
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"iTXt":
            key, _, rest = data[place + 8 : place + 8 + size].partition(b"\0")
            found[key] = rest[4:]
            assert rest[:4] == bytes(4), "not compressed, no language, no translated key: what XMP in PNG has to be"
        place += 12 + size
    check(read_xmp(found[b"XML:com.adobe.xmp"]), MADE)


def test_the_commands_pictures_say_it(tmp_path):
    avatar = astronaut_avatar()
    assert cli.main(["render", str(avatar), "-o", str(tmp_path / "a.png"), "--size", "64"]) == 0
    made = load_avatar(avatar).provenance()
    with Image.open(tmp_path / "a.png") as image:
        check(read_xmp(image.info["XML:com.adobe.xmp"]), made)
    assert made.version == __version__
    assert made.prior == "embedded"
    assert "seed 3" in made.settings
    assert re.match(r"\d{4}-\d\d-\d\dT", made.created)


# ------------------------------------------------------------------------------------------------------- videos


def test_videos_say_it_and_still_play(tmp_path):
    frames = [np.full((48, 64, 3), 20 * index, np.uint8) for index in range(6)]
    media.write_video(tmp_path / "a.mp4", frames, 25.0, provenance=MADE)
    media.write_video(tmp_path / "plain.mp4", frames, 25.0)
    check(read_xmp(film_xmp(tmp_path / "a.mp4")), MADE)
    ask = [*media._ffmpeg(), "-v", "error", "-i", str(tmp_path / "a.mp4"), "-f", "ffmetadata", "-"]
    heard = subprocess.run(ask, capture_output=True, check=True).stdout.decode()
    assert f"comment={MADE.comment()}" in heard.replace("\\", "").splitlines()
    ours, plain = (media.read_video(tmp_path / name).frames for name in ("a.mp4", "plain.mp4"))
    np.testing.assert_array_equal(ours, plain)
    kinds = [kind for kind, _ in boxes((tmp_path / "a.mp4").read_bytes())]
    assert kinds.index(b"moov") < kinds.index(b"mdat"), "it starts to play before it is there"


def test_a_rendered_video_bears_a_mark_in_its_corner_unless_the_person_agreed(saved, tmp_path):
    viewer = Viewer.of(saved)
    film = lambda name, **how: media.read_video(write_demo(tmp_path / name, viewer, size=256, fps=5, seconds=0.8, **how)).frames
    with pytest.raises(InputError, match="--consent"):
        film("refused.mp4", mark=False)
    assert not (tmp_path / "refused.mp4").exists()
    by_itself, plain = film("marked.mp4").astype(int), film("plain.mp4", mark=False, consent=True).astype(int)
    differs = np.abs(by_itself - plain).max(axis=(0, 3)) > 60
    rows, columns = np.nonzero(differs)
    assert len(rows) > 100, "it can be seen"
    assert rows.min() > 0.9 * 256
    assert columns.min() > 0.6 * 256, "and it leaves the face alone"
    for name in ("marked.mp4", "plain.mp4"):
        check(read_xmp(film_xmp(tmp_path / name)), saved.provenance())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 255))
def test_the_mark_fits_frames_of_any_size_and_leaves_them_as_they_were(height, width, grey):
    frame = np.full((height, width, 3), grey, np.uint8)
    drawn = marked(frame)
    assert drawn.shape == frame.shape
    assert drawn.dtype == np.uint8
    assert (frame == grey).all()


@pytest.mark.parametrize("size", [128, 512, 1080])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_mark_is_light_on_dark_whatever_is_behind_it(size, grey):
    corner = marked(np.full((size, size, 3), grey, np.uint8))[-size // 8 :, -size // 2 :].astype(int)
    assert corner.max() > 240
    letters = corner[..., 0] > 200
    assert (np.median(corner[~letters & (corner[..., 0] != grey)]) < 130) if grey else letters.any()


def test_films_from_other_frames_say_it_too(saved, tmp_path):
    frames = (np.full((32, 32, 3), 90, np.uint8) for _ in range(3))
    check(read_xmp(film_xmp(write_rendering(tmp_path / "a.mp4", frames, 10.0, saved))), saved.provenance())


# --------------------------------------------------------------------------------------------- splats, meshes, pages


def test_splats_say_it(saved, tmp_path):
    path = write_ply(tmp_path / "a.ply", saved.avatar.pose(saved.state), comments=saved.provenance().lines())
    comments = PlyData.read(str(path)).comments
    assert "AI-generated" in comments[0]
    assert any(DIGITAL_SOURCE_TYPE in line for line in comments)
    assert any("prior projection, preset preview" in line and "seed 7" in line for line in comments)
    assert any(saved.details.created in line and f"zero1toa {__version__}" in line for line in comments)


def test_rigged_files_and_pages_say_it(tmp_path):
    avatar = astronaut_avatar()
    made = load_avatar(avatar).provenance()
    data = glb_bytes(load_avatar(avatar), rate=False)
    document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    record = document["asset"]["extras"]["zero1toa"]
    assert record["origin"] == made.record()
    assert record["provenance"] == list(made.lines())
    assert cli.main(["export", str(avatar), "--to", "html", "-o", str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text("utf-8")
    assert f'<meta name="Iptc4xmpExt:DigitalSourceType" content="{DIGITAL_SOURCE_TYPE}">' in text
    for line in ("AI-generated", made.created, f"prior {made.prior}"):
        assert line in text


# ------------------------------------------------------------------------------------------------------ folders


def test_a_folder_says_it_with_checksums_of_all_its_files(folder, saved):
    told = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    hashes = told.pop("sha256")
    assert told == saved.provenance().record()
    assert set(hashes) == {path.name for path in folder.iterdir()} - {"provenance.json"}
    for name, known in hashes.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == known
    for preview in folder.glob("preview*.png"):
        with Image.open(preview) as image:
            check(read_xmp(image.info["XML:com.adobe.xmp"]), saved.provenance())


def test_the_photo_in_the_folder_is_not_called_generated(folder):
    with Image.open(folder / "portrait.png") as image:
        image.load()
        assert "XML:com.adobe.xmp" not in image.info
        assert "photo" in image.text["Comment"]
        assert "AI-generated" not in image.text["Comment"]


def test_no_path_of_this_machine_is_handed_on(saved):
    made = replace(saved.details, head="flame:/home/somebody/secret.pkl").provenance()
    assert not any("secret" in str(getattr(made, field.name)) for field in fields(made))
