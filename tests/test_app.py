"""The app as visitors meet it: through the client library, and in a browser where there is one."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero1toa.avatar.seed import SeedConfig
from zero1toa.config import Config
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.portrait.prepare import PortraitConfig
from zero1toa.symgen.curriculum import CurriculumConfig
from zero1toa.symgen.trainer import TrainerConfig
from zero1toa.types import HeadState

TINY = Config(
    preset="tiny",
    portrait=PortraitConfig(size=192),
    seed=SeedConfig(splats=3_200),
    trainer=TrainerConfig(
        curriculum=CurriculumConfig(
            iterations=6, spatial_clips=1, relaxed_clips=1, exaggerated_clips=1, frames=2,
            relaxed_from=2, exaggerated_from=4, unroll_every=1, update_every=3,
        ),
        size=64, preview_s=0.0,
    ),
)  # fmt: skip
# So long that only stopping ends it within a test.
ENDLESS = Config(
    preset="endless", portrait=TINY.portrait, seed=TINY.seed,
    trainer=TrainerConfig(curriculum=CurriculumConfig(iterations=100_000, frames=2), size=64, preview_s=0.0),
)  # fmt: skip
LIMIT_S = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory, astronaut_file):
    """Serve the app on the loopback with tiny presets, its files in a folder of this test."""
    from zero1toa.ui.layout import build_app, launch_options

    folder = tmp_path_factory.mktemp("server")
    examples = folder / "examples"
    examples.mkdir()
    shutil.copy(astronaut_file, examples / "a.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
    (folder / "visits").mkdir()
    patch.setattr(tempfile, "tempdir", str(folder / "visits"))
    patch.setenv("GRADIO_IS_E2E_TEST", "1")  # forget visitors a second after they leave, not an hour
    app = build_app({"tiny": TINY, "endless": ENDLESS}, examples)
    app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_options())
    yield app
    # Work for visitors who left ends by itself; a thread that is cut off in the middle of it may end the program badly.
    _wait(lambda: not _folders(), "the last visitor's folder to be deleted")
    time.sleep(2)
    app.close()
    patch.undo()


@pytest.fixture
def visit(server):
    """Give a function that opens one more visitor's client; all leave with the test, and nothing of them stays."""
    gradio_client = pytest.importorskip("gradio_client")
    clients = []

    def open_client():
        clients.append(gradio_client.Client(server.local_url, verbose=False))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def create(client, photo: Path, *, consent: bool = True, preset: str = "tiny") -> list:
    """Create an avatar as the page does, and give what the page was sent last."""
    from gradio_client import handle_file

    job = client.submit(handle_file(str(photo)), consent, preset, 0, api_name="/watch")
    job.result(timeout=LIMIT_S)
    return job.outputs()


def picture(client, **moved: float) -> bytes:
    """Move sliders as the page does, and give the picture that comes back."""
    from zero1toa.ui.handlers import FACE

    view = {"yaw": 0.0, "pitch": 0.0, "zoom": 1.0} | {name: moved[name] for name in ("yaw", "pitch", "zoom") if name in moved}
    face = [moved.get(name, 0.0) for name in FACE]
    answer = client.predict(*view.values(), *face, api_name="/show")
    return answer.encode() if isinstance(answer, str) else b""


def test_the_app_builds_without_a_network():
    import app

    assert app.demo.blocks
    assert app.demo.analytics_enabled is False


def test_two_visitors_do_not_see_each_other(visit, server, astronaut_file):
    first, second = visit(), visit()
    screens = create(first, astronaut_file)
    stages = " ".join(str(screen) for screen in screens)
    assert "data:image/webp" in stages, "no regenerated clip was shown"
    assert "data:image/jpeg" in stages, "no render was shown"
    front, turned, open_mouth = picture(first), picture(first, yaw=40.0), picture(first, jaw=1.0)
    assert json.loads(front)["src"].startswith("data:image/jpeg")
    assert json.loads(turned)["yaw"] == 40.0
    assert len({front, turned, open_mouth}) == 3
    # The other visitor has nothing to turn, nothing to download, and may not reach into the first one's folder.
    assert not picture(second, yaw=40.0).startswith(b'{"src": "data')
    offered = first.submit(api_name="/offer")
    offered.result(timeout=LIMIT_S)
    # Each output says only what is new, so the last path of each button is the one that counts.
    paths = [
        [Path(item["value"]) for item in column if item.get("value")][-1] for column in zip(*offered.outputs(), strict=True)
    ]
    assert [path.name for path in paths] == ["avatar.ply", "avatar.zip", "avatar.mp4"]
    assert "avatar/avatar.safetensors" in zipfile.ZipFile(paths[1]).namelist()
    assert not list(second.submit(api_name="/offer").outputs())
    folders = _folders()
    assert len(folders) == 1, "the second visitor has none"
    assert folders[0].stat().st_mode & 0o077 == 0, "others on this computer can read a visitor's folder"
    assert _status(server, f"/gradio_api/file={folders[0]}/avatar/portrait.png") in (403, 404)
    # Deleting means deleting.
    first.predict(None, None, None, None, api_name="/wipe")
    assert not folders[0].exists()


def test_stopping_keeps_the_avatar_so_far(visit, astronaut_file):
    from gradio_client import handle_file

    client = visit()
    job = client.submit(handle_file(str(astronaut_file)), True, "endless", 0, api_name="/watch")
    _wait(lambda: "data:image/jpeg" in str(job.outputs()), "the first render")
    client.predict(api_name="/stop")
    job.result(timeout=LIMIT_S)
    assert "this is the avatar so far" in str(job.outputs())
    assert json.loads(picture(client))["play"]
    client.predict(None, None, None, None, api_name="/wipe")


@pytest.mark.parametrize("name", ["black", "text"])
def test_a_bad_photo_gives_a_sentence(visit, tmp_path, name):
    from gradio_client.exceptions import AppError

    photo = tmp_path / f"{name}.jpg"
    if name == "black":
        Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(photo)
    else:
        photo.write_text("this is no photo")
    with pytest.raises(AppError) as caught:
        create(visit(), photo)
    message = str(caught.value)
    assert "Traceback" not in message
    assert ("face" if name == "black" else name) in message.lower()


def test_consent_is_asked_for(visit, astronaut_file):
    from gradio_client import handle_file

    with pytest.raises(Exception, match="may use this photo"):
        visit().predict(handle_file(str(astronaut_file)), False, "tiny", 0, api_name="/create")


def test_one_call_makes_the_files(visit, astronaut_file):
    from gradio_client import handle_file

    splats, packed = visit().predict(handle_file(str(astronaut_file)), True, "tiny", 3, api_name="/create")
    assert Path(splats).read_bytes().startswith(b"ply")
    assert zipfile.is_zipfile(packed)
    _wait(lambda: not _folders(), "the folder to be deleted")


def test_sliders_go_from_the_photo_to_their_ends_without_a_jump():
    from zero1toa.ui.handlers import towards

    weights = torch.zeros(1, 52)
    smile = ARKIT_NAMES.index("mouthSmileLeft")
    weights[0, smile] = 0.6
    photo = HeadState(weights, torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 2, 3))
    at = lambda value: float(towards(photo, {"smile": value}, ARKIT_NAMES).expression[0, smile])
    assert at(0.0) == pytest.approx(0.6)
    assert at(0.01) == pytest.approx(0.6, abs=0.02)
    assert at(1.0) == pytest.approx(1.0)
    assert at(-1.0) == pytest.approx(0.0)


def test_deleting_copies_spares_the_examples(tmp_path):
    from zero1toa.ui.session import delete_copies

    cache, outside = tmp_path / "cache", tmp_path / "mine.png"
    (cache / "x").mkdir(parents=True)
    own, example, original = cache / "x" / "own.png", cache / "x" / "example.png", tmp_path / "example.png"
    for path, text in ((own, "a"), (example, "b"), (original, "b"), (outside, "c")):
        path.write_text(text)
    delete_copies([str(own), str(example), str(outside), None], cache, [original])
    assert [path.exists() for path in (own, example, original, outside)] == [False, True, True, True]


# ------------------------------------------------------------------------------------------------------ a browser


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_loads_cleanly(server, browser, width):
    with _page(server, browser, width) as (page, complaints, elsewhere):
        page.wait_for_selector("#photo img")
        page.wait_for_timeout(1000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
        assert complaints == []
        assert elsewhere == [], "the page asked other hosts for something"


def test_a_visitor_makes_an_avatar_and_plays_with_it(server, browser, astronaut_file):
    with _page(server, browser, 1280) as (page, _, elsewhere):
        page.locator("#photo button[aria-label=Clear], #photo button[title=Clear], #photo button").first.click()
        page.locator("#photo input[type=file]").set_input_files(str(astronaut_file))
        page.wait_for_selector("#photo img")
        page.click("#create")
        page.get_by_text("Please confirm this first.").wait_for()
        page.check("#consent input")
        page.click("#create")
        page.wait_for_selector("#yaw", timeout=LIMIT_S * 1000)
        page.get_by_text("Your avatar is ready.").wait_for()
        page.wait_for_selector("#view .z-view.play")
        shown = lambda: page.eval_on_selector("#view img", "image => image.src")
        before = shown()
        page.locator("#face-jaw input[type=range]").focus()
        page.keyboard.press("End")
        _wait(lambda: shown() != before, "a new picture from a slider")
        before, box = shown(), page.locator("#view .z-view").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - box["width"] / 3, y, steps=5)
        page.mouse.up()
        _wait(lambda: page.locator("#yaw input[type=range]").input_value() == "40", "the drag to arrive at 40 degrees")
        assert shown() != before
        page.wait_for_selector("#ply:not([disabled])")
        with page.expect_download() as download:
            page.click("#ply")
        assert download.value.suggested_filename == "avatar.ply"
        page.click("#wipe")
        page.get_by_text("Your photo and your avatar are deleted.").wait_for()
        assert elsewhere == []
    _wait(lambda: not _folders(), "the visitor's folder to be deleted")


def test_a_bad_photo_gives_a_sentence_on_the_page(server, browser, tmp_path):
    photo = tmp_path / "nobody.png"
    Image.fromarray(np.full((300, 300, 3), 128, np.uint8)).save(photo)
    with _page(server, browser, 390) as (page, _, _):
        page.locator("#photo button[aria-label=Clear], #photo button[title=Clear], #photo button").first.click()
        page.locator("#photo input[type=file]").set_input_files(str(photo))
        page.wait_for_selector("#photo img")
        page.check("#consent input")
        page.click("#create")
        page.get_by_text("No face found").first.wait_for(timeout=LIMIT_S * 1000)
        page.wait_for_selector("#create:not([disabled])")
    _wait(lambda: not _folders(), "the folder of a visitor who closed the page to be deleted")


@contextlib.contextmanager
def _page(server, browser, width: int):
    """Open the page, and note what it complains about and whom else it asks."""
    page = browser.new_page(viewport={"width": width, "height": 850})
    page.set_default_timeout(60_000)
    complaints, elsewhere = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def note(request) -> None:
        if not request.url.startswith((server.local_url, "data:", "blob:")):
            elsewhere.append(request.url)

    page.on("request", note)
    try:
        page.goto(server.local_url, wait_until="domcontentloaded")
        page.wait_for_selector("#create")
        yield page, complaints, elsewhere
    finally:
        page.close()


def _folders() -> list[Path]:
    """List the folders of visitors."""
    return sorted(Path(tempfile.gettempdir()).glob("zero1toa-*"))


def _status(server, path: str) -> int:
    import httpx

    return httpx.get(server.local_url.rstrip("/") + path).status_code


def _wait(done, what: str, seconds: float = LIMIT_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
