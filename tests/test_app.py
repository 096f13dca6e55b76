"""The app as visitors meet it: through the client library, and in a browser where there is one."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from zero1toa.avatar.seed import SeedConfig
from zero1toa.config import Config
from zero1toa.export.glb_read import read_glb
from zero1toa.export.motion import write_motion
from zero1toa.expressions import CONTROLS, FACES
from zero1toa.media import read_video
from zero1toa.portrait.prepare import PortraitConfig
from zero1toa.symgen.curriculum import CurriculumConfig
from zero1toa.symgen.performances import PERFORMANCES, relax
from zero1toa.symgen.trainer import TrainerConfig
from zero1toa.types import Camera, Motion
from zero1toa.ui.layout import QUEUE
from zero1toa.ui.playing import Playing, find_gallery
from zero1toa.ui.session import delete_upload

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
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory, astronaut_file):
    """Serve the app on the loopback with tiny presets, its files in a folder of this test."""
    from zero1toa.ui.layout import build_app, launch_options

    folder = tmp_path_factory.mktemp("server")
    examples = folder / "examples"
    examples.mkdir()
    shutil.copy(astronaut_file, examples / "a.png")
    (examples / "avatars").symlink_to(EXAMPLES / "avatars")
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
    """Create an avatar as the page does, and give all that the page was sent."""
    from gradio_client import handle_file

    job = client.submit(handle_file(str(photo)), consent, preset, 0, 3.0, api_name="/watch")
    job.result(timeout=LIMIT_S)
    return job.outputs()


def sent(answer) -> list[Path]:
    """Find the files in what the page was sent."""
    if isinstance(answer, (list, tuple)):
        return [path for part in answer for path in sent(part)]
    if isinstance(answer, dict):
        return sent(list(answer.values()))
    return [Path(answer)] if isinstance(answer, str) and answer.startswith("/") and Path(answer).is_file() else []


def idle_motion(folder: Path) -> Path:
    """Write a second of an idle face."""
    states = relax(10, 10.0, generator=torch.Generator().manual_seed(0))
    camera = Camera(torch.zeros(0, 4, 4), torch.zeros(0, 3, 3), 1, 1)
    return write_motion(folder / "idle.json", Motion(states, camera, 10.0))


def kept(cache: Path) -> list[str]:
    """List the files in the web server's cache."""
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def test_the_app_builds_without_a_network():
    import app

    assert app.demo.blocks
    assert app.demo.analytics_enabled is False


@pytest.fixture
def own_photo(astronaut_file, tmp_path):
    """Give a photo that is none of the examples: those stay for everybody."""
    Image.open(astronaut_file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "own.png")
    return tmp_path / "own.png"


def test_two_visitors_do_not_see_each_other(visit, server, own_photo, tmp_path, capfd):
    from gradio_client import handle_file

    first, second = visit(), visit()
    cache = Path(os.environ["GRADIO_TEMP_DIR"])
    before = kept(cache)
    screens = create(first, own_photo)
    told = " ".join(str(screen) for screen in screens)
    assert "data:image/webp" in told, "no regenerated clip was shown"
    assert "likeness to the photo" in told, "no curves were drawn"
    growing = [path for path in sent(screens) if path.name.endswith("growing.glb")]
    assert growing, "nothing could be played with while it grew"
    avatar = next(path for path in sent(screens[-1]) + sent(screens) if path.name.endswith("-1.glb"))
    assert len(read_glb(avatar).avatar)
    # The other visitor has nothing of it, and may not reach into the first one's folder.
    with pytest.raises(Exception, match="no avatar yet"):
        second.predict(api_name="/rigged")
    folders = _folders()
    assert len(folders) == 1, "the second visitor has none"
    assert folders[0].stat().st_mode & 0o077 == 0, "others on this computer can read a visitor's folder"
    inside = [path for path in folders[0].rglob("*") if path.is_file()]
    assert {"portrait.png", "portrait.safetensors"} <= {path.name for path in inside}
    elsewhere = (Path("/etc/passwd"), EXAMPLES.parent / "README.md", EXAMPLES.parent / "app.py", cache, folders[0])
    for path in (*inside, *elsewhere, cache / "x" / ".." / ".." / "visits", f"..{folders[0]}/avatars/1/portrait.png"):
        assert _status(server, f"/gradio_api/file={path}") in (403, 404), path
    assert not sent(second.predict([], api_name="/beside"))
    # Deleting means deleting, in the web server's cache, too.
    assert list(cache.glob(f"*/{folders[0].name}-*"))
    other, dance = own_photo.with_name("other.png"), idle_motion(tmp_path)
    Image.open(own_photo).resize((400, 400)).save(other)
    create(first, other)
    first.predict(handle_file(str(dance)), api_name="/drive")
    assert all(list(cache.glob(f"*/{file.name}")) for file in (own_photo, other, dance)), "nothing was there to be deleted"
    first.predict(None, api_name="/wipe")
    assert not folders[0].exists()
    assert kept(cache) == before
    # Who reads the log learns no address under which anything was.
    assert folders[0].name not in "".join(capfd.readouterr())


def test_after_the_time_limit_nothing_of_a_visitor_is_left(own_photo, tmp_path, monkeypatch):
    from gradio_client import Client, handle_file

    from zero1toa.ui import layout

    cache, visits = tmp_path / "cache", tmp_path / "visits"
    visits.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(visits))
    monkeypatch.setattr(layout, "KEEP_S", 20)  # more than zipping the folder takes beside other tests
    monkeypatch.setattr(layout, "CLEAN_S", 1)
    app = layout.build_app({"tiny": TINY}, tmp_path / "no examples")
    before = kept(cache)
    app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **layout.launch_options())
    try:
        # The page stays open, as it does with people who go to lunch.
        client = Client(app.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
        job = client.submit(handle_file(str(own_photo)), True, "tiny", 0, 3.0, api_name="/watch")
        _wait(lambda: any(own_photo.name in file for file in kept(cache)), "the photo to be uploaded")
        job.result(LIMIT_S)
        client.predict(api_name="/folder")
        assert _folders()
        _wait(lambda: not _folders() and kept(cache) == before, "everything to be deleted", 60)
        with pytest.raises(Exception, match="avatar was deleted"):
            client.predict(api_name="/folder")
        client.close()
    finally:
        app.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM is sent as on POSIX")
def test_a_server_that_is_told_to_end_leaves_nothing_of_visitors(tmp_path):
    from gradio_client import Client, handle_file

    places = {"GRADIO_TEMP_DIR": tmp_path / "cache", "TMPDIR": tmp_path / "visits"}
    places["TMPDIR"].mkdir()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **{name: str(place) for name, place in places.items()}}
    server = subprocess.Popen(
        [sys.executable, "app.py"], cwd=EXAMPLES.parent, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = next(line.split()[-1] for line in server.stdout if "http://" in line)
        client = Client(address, verbose=False, download_files=str(tmp_path / "downloads"))
        client.predict(handle_file(str(idle_motion(tmp_path))), api_name="/drive")
        client.close()
        assert list(places["TMPDIR"].glob("zero1toa-*/files/*"))
        assert any(file.endswith("idle.json") for file in kept(places["GRADIO_TEMP_DIR"]))
        server.terminate()
        assert server.wait(60) == 0
        assert not list(places["TMPDIR"].glob("zero1toa*"))
        assert not [file for file in kept(places["GRADIO_TEMP_DIR"]) if file.endswith(".json")]
    finally:
        server.kill()
        server.communicate()


def test_methods_are_compared_side_by_side(visit, astronaut_file):
    from gradio_client import handle_file

    client, photo = visit(), handle_file(str(astronaut_file))
    for names, agreed, said in ((["unordered"], True, "two to"), (["unordered", "no-temporal"], False, "confirm")):
        with pytest.raises(Exception, match=said):
            client.predict(names, photo, agreed, 3.0, api_name="/methods")
    job = client.submit(["unordered", "no-temporal"], photo, True, 3.0, api_name="/methods")
    said, first, beside, files = job.result(timeout=LIMIT_S)
    assert "1 of 2" in str(job.outputs())
    assert "2 of 2" in str(job.outputs())
    assert len(sent(first)) == len(sent(files)) == 1
    assert sent(first)[0].read_bytes() != sent(files)[0].read_bytes()
    assert "without the temporal stage" in str(beside)


def test_what_is_shared_comes_as_files(visit, astronaut_file):
    client = visit()
    create(client, astronaut_file)
    take = lambda *given, api_name: sent(client.predict(*given, api_name=api_name))[0]
    page = take("Ann <3", True, False, api_name="/page")
    assert page.name.endswith("avatar.html")
    assert "Ann &lt;3" in page.read_text("utf-8")
    with pytest.raises(Exception, match="agreed"):
        client.predict("Ann", False, False, api_name="/page")
    assert len(read_glb(take(api_name="/rigged")).avatar)
    assert take(api_name="/splats").read_bytes().startswith(b"ply")
    packed = zipfile.ZipFile(take(api_name="/folder")).namelist()
    assert {"avatar/avatar.safetensors", "avatar/provenance.json"} <= set(packed)
    front = Image.open(take("{}", api_name="/picture"))
    stands = json.dumps({"view": {"yaw": 30, "pitch": 0, "zoom": 1}, "values": {"jaw": 1}})
    turned = Image.open(take(stands, api_name="/picture"))
    assert front.size == turned.size == (1024, 1024)
    assert np.abs(np.asarray(front, float) - np.asarray(turned, float)).mean() > 2
    assert "computer-generated" in front.text["Comment"]
    with pytest.raises(Exception, match="reload the page"):
        client.predict('{"view": {"yaw": 1e999}}', api_name="/picture")
    with pytest.raises(Exception, match="agreed"):
        client.predict("wink", True, False, False, stands, api_name="/video")
    film = read_video(take("wink", True, True, False, stands, api_name="/video"))
    assert film.frames.shape[1:] == (512, 512, 3)
    assert film.frames.std(0).mean() > 0.1, "it moves"
    grid = Image.open(take([], api_name="/grid"))
    assert grid.width > 5 * grid.height
    client.predict(None, api_name="/wipe")


def test_a_motion_file_drives_and_nonsense_does_not(visit, tmp_path):
    from gradio_client import handle_file

    path = idle_motion(tmp_path)
    client = visit()
    written = [
        one for one in sent(client.predict(handle_file(str(path)), api_name="/drive")) if one.name.endswith("motion.json")
    ]
    assert json.loads(written[0].read_text())["format"] == "zero1toa-motion"
    path.write_text("[1, 2")
    with pytest.raises(Exception, match=r"idle\.json"):
        client.predict(handle_file(str(path)), api_name="/drive")
    client.predict(None, api_name="/wipe")


def test_stopping_keeps_the_avatar_and_going_on_goes_on(visit, astronaut_file):
    from gradio_client import handle_file

    client = visit()
    job = client.submit(handle_file(str(astronaut_file)), True, "endless", 0, 3.0, api_name="/watch")
    _wait(lambda: "growing.glb" in str(job.outputs()), "the first avatar")
    _wait(lambda: "iteration 2 " in str(job.outputs()), "the second iteration")
    began = time.monotonic()
    client.predict(api_name="/stop")
    job.result(timeout=LIMIT_S)
    assert "this is the avatar so far" in str(job.outputs())
    assert time.monotonic() - began < 60
    again = client.submit(api_name="/resume")
    _wait(lambda: "of 100000" in str(again.outputs()), "more iterations")
    numbers = [int(found) for found in re.findall(r"iteration (\d+) of 100000", str(again.outputs()))]
    assert min(numbers) >= 2, "it began from nothing"
    client.predict(api_name="/stop")
    again.result(timeout=LIMIT_S)
    client.predict(None, api_name="/wipe")


def test_links_name_an_avatar_of_the_gallery_or_get_the_first(server):
    gallery = find_gallery(EXAMPLES)
    playing = Playing(gallery)
    ask = lambda **query: playing.welcome(SimpleNamespace(query_params=query))
    assert ask()[1] == gallery[0]
    assert ask(avatar=gallery[2].source.stem)[1] == gallery[2]
    assert ask(avatar="../../etc/passwd")[1] == gallery[0]


def test_the_gallery_plays_and_is_small():
    gallery = find_gallery(EXAMPLES)
    assert len(gallery) >= 6
    for shown in gallery:
        assert shown.glb.stat().st_size < 5e6
        assert 20_000 < len(shown.viewer().saved.avatar) < 60_000
        assert shown.glb.with_suffix(".webp").is_file()


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
        visit().predict(handle_file(str(astronaut_file)), "tiny", 0, False, api_name="/generate")
    with pytest.raises(Exception, match="confirm this first"):
        create(visit(), astronaut_file, consent=False)


def test_the_queue_has_an_end_even_when_all_come_at_once(visit, astronaut_file):
    from gradio_client import handle_file

    client = visit()
    jobs = [
        client.submit(handle_file(str(astronaut_file)), True, "endless", 0, 3.0, api_name="/watch") for _ in range(QUEUE + 5)
    ]
    refused = lambda: [job for job in jobs if job.done() and "Queue is full" in str(job.exception())]
    try:
        _wait(lambda: len(refused()) >= 4, "the last ones to be turned away")
    finally:
        for job in jobs:
            # This waits for 5 s at most, and what is under way is kept first.
            with contextlib.suppress(httpx.ReadTimeout):
                job.cancel()
    client.predict(None, api_name="/wipe")


def test_the_example_for_programs_runs_as_written(server, astronaut_file, tmp_path, monkeypatch):
    text = (EXAMPLES.parent / "README.md").read_text("utf-8")
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "gradio_client" in block)
    assert "http://127.0.0.1:7860" in example
    assert '"preview"' in example
    monkeypatch.chdir(tmp_path)
    shutil.copy(astronaut_file, tmp_path / "portrait.jpg")
    found: dict = {}
    exec(example.replace("http://127.0.0.1:7860", server.local_url).replace('"preview"', '"tiny"'), found)
    glb, ply, folder = found["glb"], found["ply"], found["folder"]
    assert len(read_glb(glb).avatar)
    assert Path(ply).read_bytes().startswith(b"ply")
    assert zipfile.is_zipfile(folder)
    _wait(lambda: not _folders(), "the folder to be deleted")


def test_deleting_an_upload_spares_the_examples(tmp_path):
    cache, outside = tmp_path / "cache", tmp_path / "mine.png"
    (cache / "x").mkdir(parents=True)
    own, example, original = cache / "x" / "own.png", cache / "x" / "example.png", tmp_path / "example.png"
    for path, text in ((own, "a"), (example, "b"), (original, "b"), (outside, "c")):
        path.write_text(text)
    for path in (own, example, outside):
        delete_upload(str(path), cache, [original])
    delete_upload(None, cache, [original])
    assert [path.exists() for path in (own, example, original, outside)] == [False, True, True, True]


def test_every_word_is_in_both_languages():
    from zero1toa.ui import words

    english, chinese = words.TRANSLATIONS.translations["en"], words.TRANSLATIONS.translations["zh-CN"]
    assert english.keys() == chinese.keys()
    assert all(text and text != chinese[key] for key, text in english.items())
    said = {control.label for control in CONTROLS} | {performance.name.capitalize() for performance in PERFORMANCES}
    assert said | {face.capitalize() for face in FACES} <= words.PANEL_CHINESE.keys()


# ------------------------------------------------------------------------------------------------------ a browser


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_loads_cleanly_and_an_avatar_stands_there(server, browser, width):
    with _page(server, browser, width) as (page, complaints, elsewhere):
        page.wait_for_selector("#stage canvas")
        page.wait_for_timeout(1000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
        assert complaints == []
        assert elsewhere == [], "the page asked other hosts for something"


def test_playing_asks_the_server_for_nothing(server, browser):
    with _page(server, browser, 1280) as (page, complaints, _):
        page.wait_for_selector("#stage canvas")
        page.locator("#gallery button").nth(2).click()
        page.wait_for_selector("#panel .z1-panel")
        page.wait_for_timeout(1500)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        seen = lambda: page.evaluate("JSON.parse(Zero1toApp.seen())")
        for label in ("Open the jaw", "Smile", "Turn"):
            slider = page.get_by_label(label, exact=True)
            slider.focus()
            for _ in range(12):
                page.keyboard.press("ArrowRight")
        stands = seen()
        assert stands["values"]["jaw"] == pytest.approx(0.12)
        assert stands["view"]["yaw"] == 12
        box = page.locator("#stage canvas").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 100, steps=8)
        page.mouse.up()
        assert seen()["view"]["yaw"] < 0
        page.get_by_role("button", name="Happy").click()
        assert seen()["values"]["smile"] == pytest.approx(0.9)
        page.get_by_role("button", name="Laugh").click()
        page.wait_for_timeout(500)
        # Gradio itself keeps a heartbeat; nothing else may be asked.
        assert [url for url in asked if "heartbeat" not in url and not url.startswith("data:")] == []
        assert complaints == []


def test_a_link_brings_back_avatar_view_and_face(server, browser):
    with _page(server, browser, 1280) as (page, _, _):
        page.wait_for_selector("#stage canvas")
        page.locator("#gallery button").nth(1).click()
        page.wait_for_selector("#panel .z1-panel")
        page.get_by_label("Open the jaw", exact=True).focus()
        page.keyboard.press("End")
        page.evaluate("1")
        page.get_by_role("tab", name="Share").click()
        page.click("#copy-link")
        page.wait_for_function("document.querySelector('#link textarea, #link input').value.includes('jaw')")
        link = page.locator("#link textarea, #link input").input_value()
        name = page.locator("#gallery button").nth(1).get_attribute("data-name")
        assert link == f"{server.local_url}?avatar={name.lower()}&jaw=1"
        page.goto(link.replace("jaw=1", "jaw=0.5&yaw=20&nonsense=3&smile=x"))
        page.wait_for_selector("#stage canvas")
        stands = page.evaluate("JSON.parse(Zero1toApp.seen())")
        assert stands["values"] == {"jaw": 0.5}
        assert stands["view"]["yaw"] == 20
        page.wait_for_function("name => document.querySelector('.z-name').textContent === name", arg=name)


def test_avatars_side_by_side_move_together(server, browser):
    with _page(server, browser, 1280) as (page, complaints, _):
        page.wait_for_selector("#stage canvas")
        page.get_by_role("tab", name="Compare").click()
        page.locator("#beside input").first.check()
        page.wait_for_function("document.querySelectorAll('#stage canvas').length === 2")
        shots = lambda: [base64.b64encode(canvas.screenshot()).decode() for canvas in page.locator("#stage canvas").all()]
        before = shots()
        second = page.locator("#stage canvas").nth(1)
        second.focus()
        second.press("ArrowLeft")
        second.press("ArrowLeft")
        page.wait_for_timeout(1500)
        assert all(one != other for one, other in zip(before, shots(), strict=True))
        page.locator("#beside input").first.uncheck()
        page.wait_for_function("document.querySelectorAll('#stage canvas').length === 1")
        assert complaints == []


def test_a_visitor_makes_an_avatar_and_plays_with_it(server, browser, astronaut_file):
    with _page(server, browser, 1280) as (page, _, elsewhere):
        page.wait_for_selector("#stage canvas")
        page.locator("#photo input[type=file]").set_input_files(str(astronaut_file))
        page.wait_for_selector("#seen .z-fit")
        page.click("#create")
        page.locator("#consent").get_by_text("Please confirm this first.").wait_for()
        page.check("#consent input")
        page.click("#create")
        page.get_by_text("Your avatar is ready.").wait_for(state="attached", timeout=LIMIT_S * 1000)
        page.wait_for_selector("#panel .z1-panel")
        page.wait_for_function("document.querySelector('.z-name').textContent === '# 1'")
        page.get_by_role("tab", name="Share").click()
        with page.expect_download() as download:
            page.click("#get-page")
        assert download.value.suggested_filename == "avatar.html"
        page.click("#wipe")
        page.get_by_text("Your photo and your avatars are deleted.").first.wait_for(state="attached")
        page.wait_for_function("document.querySelector('.z-name').textContent !== '# 1'")
        assert elsewhere == []
    _wait(lambda: not _folders(), "the visitor's folder to be deleted")


def test_a_bad_photo_gives_a_sentence_on_the_page(server, browser, tmp_path):
    photo = tmp_path / "nobody.png"
    Image.fromarray(np.full((300, 300, 3), 128, np.uint8)).save(photo)
    with _page(server, browser, 390) as (page, _, _):
        page.locator("#photo input[type=file]").set_input_files(str(photo))
        page.locator("#seen").get_by_text("No face found").wait_for(timeout=LIMIT_S * 1000)
        page.check("#consent input")
        page.click("#create")
        page.locator("#status").get_by_text("No face found").wait_for(state="attached", timeout=LIMIT_S * 1000)
    _wait(lambda: not _folders(), "the folder of a visitor who closed the page to be deleted")


def test_the_page_speaks_chinese(server, browser):
    with _page(server, browser, 390, locale="zh-CN") as (page, _, _):
        page.wait_for_selector("#stage canvas")
        assert page.locator("#create").inner_text() == "生成头像"
        page.locator("#gallery button").first.click()
        page.get_by_role("button", name="高兴").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_the_page(server, browser, scheme):
    """The accessibility rules of axe-core, on our own parts of every step."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    with _page(server, browser, 1280, color_scheme=scheme) as (page, _, _):
        page.wait_for_selector("#stage canvas")
        found = {}
        for step in ("Photo", "Build", "Play", "Share", "Compare"):
            page.get_by_role("tab", name=step).click()
            page.wait_for_timeout(1200)
            # Gradio's buttons with example pictures have no names; a page cannot give them any.
            rules = {"include": [["#stage"], ["#gallery"], ["#right"]], "exclude": [["#examples"]]}
            for violation in axe.run(page, context=rules).response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    found[step, violation["id"]] = [node["html"][:200] for node in violation["nodes"]]
        assert not found, "\n".join(f"{place}: {nodes}" for place, nodes in found.items())


@contextlib.contextmanager
def _page(server, browser, width: int, **options):
    """Open the page, and note what it complains about and whom else it asks."""
    page = browser.new_page(viewport={"width": width, "height": 850}, reduced_motion="reduce", **options)
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
    return httpx.get(server.local_url.rstrip("/") + path).status_code


def _wait(done, what: str, seconds: float = LIMIT_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
