"""The viewer in a real browser: it draws what the rasterizer draws, asks nobody, and survives bad files."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import math
import os
import queue
import random
import shutil
import signal
import struct
import subprocess
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from tests.avatars import astronaut_avatar
from zero1toa.driving import retarget
from zero1toa.export.confidence import confidence
from zero1toa.export.glb import glb_bytes
from zero1toa.export.motion import write_motion
from zero1toa.export.package import load_avatar
from zero1toa.export.views import Viewer
from zero1toa.export.web import write_html
from zero1toa.expressions import towards
from zero1toa.geometry.camera import orbit_camera
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.symgen.performances import PERFORMANCES, ease, to_states
from zero1toa.types import HeadState, InputError, Motion
from zero1toa.web import viewer_script

SIZE = 256
POSES = (
    (0, 0, 1.0, {}),
    (25, 0, 1.0, {"smile": 1.0}),
    (-40, 10, 1.0, {"jaw": 0.8, "smile": -0.4}),
    (60, -10, 1.0, {"blink": 1.0}),
    (-75, 20, 1.0, {"pucker": 0.7}),
    (5, 5, 2.2, {"gaze-x": 0.8, "gaze-y": -0.7}),
    (0, -25, 0.7, {"brows": 1.0, "tongueOut": 0.5}),
    (10, 0, 1.0, {"brows": -1.0, "gaze-x": -1.0, "blink-left": 0.6}),
    (170, 0, 1.0, {"mouthFunnel": 1.0}),
    (0, 30, 1.4, dict.fromkeys(ARKIT_NAMES, 0.3)),
)


@pytest.fixture(scope="module")
def saved():
    """Load a small avatar of a real photo."""
    return load_avatar(astronaut_avatar())


@pytest.fixture(scope="module")
def glb(saved) -> bytes:
    return glb_bytes(saved)


@pytest.fixture
def page(browser, glb):
    """Open an empty page with the viewer, where `window.viewer` shows the avatar, still, at one pixel a pixel."""
    with _page(browser) as (page, complaints):
        page.add_script_tag(content=viewer_script())
        page.evaluate(
            """async ([glb, size]) => {
                window.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
                window.glb = bytes(glb);
                const place = document.body.appendChild(document.createElement("div"));
                place.style.width = `${size}px`;
                window.viewer = await Zero1toA.mount(place, { glb: window.glb, idle: false, ratio: 1, fixed: true });
            }""",
            [base64.b64encode(glb).decode(), SIZE],
        )
        yield page
        assert complaints == []


@pytest.fixture(scope="module")
def html(saved, tmp_path_factory):
    """Export the avatar as a page under a name that tries to break out."""
    path = tmp_path_factory.mktemp("pages") / "Ein Kopf (1).html"
    return write_html(path, saved, name='Ann <b>"Ö"</b> </script><script>alert(1)</script>')


def test_pictures_agree_with_the_rasterizer(page, saved):
    viewer = Viewer.of(saved)
    for yaw, pitch, zoom, values in POSES:
        drawn = _look(page, yaw, pitch, zoom, values)
        state = towards(viewer.state(), values, saved.avatar.head.expression_names)
        wanted = viewer.draw(state, viewer.camera(yaw, pitch, zoom=zoom, size=SIZE))
        assert _psnr(drawn, wanted) >= 40, f"yaw {yaw}, pitch {pitch}, zoom {zoom}, {values}"


def test_pictures_agree_in_firefox_too(saved, glb, tmp_path):
    """Another engine with other drivers. Its page draws by itself and hands its pictures to a server of this test."""
    firefox, screen = shutil.which("firefox-esr") or shutil.which("firefox"), shutil.which("xvfb-run")
    if firefox is None or screen is None:
        pytest.skip("needs Firefox and Xvfb: apt-get install firefox-esr xvfb")
    script = f"""<!doctype html><meta charset="utf-8"><div style="width:{SIZE}px"></div>
        <script>{viewer_script()}</script><script>
        const hand = (what) => fetch("/", {{ method: "POST", body: JSON.stringify(what) }});
        (async () => {{
            const glb = await (await fetch("/glb")).arrayBuffer();
            const options = {{ glb, idle: false, ratio: 1, fixed: true }};
            const viewer = await Zero1toA.mount(document.querySelector("div"), options);
            const pictures = [];
            for (const [yaw, pitch, zoom, values] of {json.dumps(POSES)}) {{
                viewer.values = {{}};
                viewer.set(values);
                viewer.view(yaw, pitch, zoom);
                pictures.push(viewer.snapshot());
            }}
            hand(pictures);
        }})().catch((error) => hand(error.message));
    </script>"""
    pages, handed = {"/": script.encode(), "/glb": glb}, queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in pages else 404)
            self.end_headers()
            self.wfile.write(pages.get(self.path, b""))

        def do_POST(self):
            handed.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            return None

    settings = {"webgl.force-enabled": True, "datareporting.policy.dataSubmissionEnabled": False, "app.update.enabled": False}
    lines = [f'user_pref("{name}", {json.dumps(value)});' for name, value in settings.items()]
    (tmp_path / "user.js").write_text("\n".join(lines))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        command = [screen, "-a", firefox, "--profile", str(tmp_path), "--no-remote", address]
        shown = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            pictures = handed.get(timeout=240)
        finally:
            os.killpg(shown.pid, signal.SIGTERM)
            shown.wait()
            server.shutdown()
    assert isinstance(pictures, list), pictures
    viewer = Viewer.of(saved)
    for picture, (yaw, pitch, zoom, values) in zip(pictures, POSES, strict=True):
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).convert("RGB"))
        state = towards(viewer.state(), values, saved.avatar.head.expression_names)
        wanted = viewer.draw(state, viewer.camera(yaw, pitch, zoom=zoom, size=SIZE))
        assert _psnr(drawn, wanted) >= 40, f"yaw {yaw}, pitch {pitch}, zoom {zoom}, {values}"


def test_another_avatar_takes_the_place_and_a_follower_follows(page, glb):
    """What the app needs: the sliders stay when the avatar is replaced, and two viewers that do the same look the same."""
    assert page.evaluate(
        """async () => {
            const picture = (one) => { one.draw(); return one.snapshot(); };
            viewer.set({ jaw: 0.7 });
            viewer.view(25, 5, 1.2);
            const before = picture(viewer);
            await viewer.load(window.glb);
            if (picture(viewer) !== before) return "a reloaded avatar looks different";
            const place = document.body.appendChild(document.createElement("div"));
            place.style.width = viewer.canvas.clientWidth + "px";
            const other = await Zero1toA.mount(place, { glb: window.glb, idle: false, ratio: 1, fixed: true });
            other.follow(viewer);
            viewer.view(-30, 0, 1);
            viewer.play("laugh");
            viewer.seek(0.5);
            const same = picture(viewer) === other.snapshot();
            other.orbit.move({ yaw: 10 });
            const back = viewer.state().view.yaw;
            other.destroy();
            viewer.draw();
            let refused = "";
            await viewer.load(new ArrayBuffer(30)).catch((error) => { refused = error.message; });
            return [same, back, refused.includes("complete avatar file"), viewer.avatar.count > 0];
        }"""
    ) == [True, 10, True, True]


def test_performances_move_the_face_as_the_package_moves_it(page, saved):
    photo = saved.state
    for performance in PERFORMANCES:
        times, rows = torch.tensor([key.seconds for key in performance.keys]), torch.tensor([k.row for k in performance.keys])
        for seconds in (0.3, 0.77):
            began = float(times[1]) if performance.loops else 0.0
            shown = page.evaluate(
                "([name, at]) => { viewer.play(name); viewer.seek(at); return viewer.pose(); }",
                [performance.name, seconds - began if performance.loops else seconds],
            )
            if performance.loops and seconds < began:
                continue
            wanted = to_states(ease(torch.tensor([seconds]), times, rows))
            assert list(shown["weights"].values()) == pytest.approx(wanted.expression[0].tolist(), abs=1e-5)
            assert shown["neck"] == pytest.approx((photo.neck + wanted.neck)[0].tolist(), abs=1e-5)
            assert shown["head"] == pytest.approx((photo.head + wanted.head)[0].tolist(), abs=1e-5)
            for side, name in enumerate(("left_eye", "right_eye")):
                assert shown[name] == pytest.approx((photo.eyes + wanted.eyes)[0, side].tolist(), abs=1e-5)


def test_a_motion_file_plays_as_the_command_line_plays_it(page, saved, tmp_path):
    chance = torch.Generator().manual_seed(1)
    states = HeadState(
        torch.rand(5, 52, generator=chance),
        *(0.1 * torch.randn(5, *shape, generator=chance) for shape in ((3,), (3,), (2, 3))),
    )
    none = orbit_camera(torch.zeros(0), torch.zeros(0), target=torch.zeros(3), distance=1, focal=1, width=1, height=1)
    record = json.loads(write_motion(tmp_path / "motion.json", Motion(states, none, 25.0)).read_text())
    assert page.evaluate("(record) => viewer.play(record)", record) == pytest.approx(0.2)
    for index, wanted in enumerate(retarget(states, saved.state)):
        shown = page.evaluate("(at) => { viewer.seek(at); return viewer.pose(); }", index / 25)
        assert list(shown["weights"].values()) == pytest.approx(wanted.expression[0].tolist(), abs=1e-5)
        assert shown["head"] == pytest.approx(wanted.head[0].tolist(), abs=1e-5)
        assert shown["right_eye"] == pytest.approx(wanted.eyes[0, 1].tolist(), abs=1e-5)
    page.evaluate("() => { viewer.stop(); viewer.addPanel(document.body); }")
    page.set_input_files(".z1-file input", tmp_path / "motion.json")
    page.wait_for_function("viewer.state().clip?.name === 'motion'")
    (tmp_path / "motion.json").write_text("[1,")
    page.set_input_files(".z1-file input", tmp_path / "motion.json")
    page.get_by_text("motion.json is no motion file.").wait_for()
    said = page.evaluate("() => { try { viewer.play({ fps: 0 }); } catch (error) { return error.message; } }")
    assert "no complete motion" in said


def test_it_draws_only_when_something_changes(page):
    frames = lambda: page.evaluate("viewer.state().frames")
    page.wait_for_timeout(300)
    before = frames()
    page.wait_for_timeout(500)
    assert frames() == before
    page.evaluate("viewer.set({ smile: 1 })")
    page.wait_for_function("(before) => viewer.state().frames > before", arg=before)
    page.evaluate("() => { window.held = viewer.canvas.parentNode.parentNode; held.remove(); viewer.breathe(true); }")
    page.wait_for_timeout(200)
    before = frames()
    page.wait_for_timeout(300)
    assert frames() == before, "it draws for nobody"
    page.evaluate("document.body.append(held)")
    page.wait_for_function("(before) => viewer.state().frames > before + 2", arg=before)


def test_hands_and_keys_turn_the_head(page):
    view = lambda: page.evaluate("viewer.state().view")
    page.mouse.move(150, 100)
    page.mouse.down()
    page.mouse.move(100, 100, steps=4)
    page.mouse.up()
    assert view()["yaw"] == pytest.approx(120 * 50 / SIZE)
    page.mouse.wheel(0, -100)
    page.wait_for_function("viewer.state().view.zoom > 1.1")
    page.mouse.dblclick(100, 100)
    page.wait_for_function("viewer.state().view.yaw === 0 && viewer.state().view.zoom === 1")
    page.focus("canvas")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "+", "f"):
        page.keyboard.press(key)
    assert view() == {"yaw": 10, "pitch": 5, "zoom": pytest.approx(1.15)}
    page.wait_for_function("/fps/.test(document.querySelector('.z1-meter').value)")
    page.keyboard.press("0")
    assert view()["yaw"] == 0


def test_a_lost_context_comes_back(page):
    before = _look(page, 20, 0, 1.0, {"jaw": 0.5})
    page.evaluate("() => { window.loss = viewer.splats.gl.getExtension('WEBGL_lose_context'); loss.loseContext(); }")
    page.wait_for_timeout(100)
    page.evaluate("viewer.set({ smile: 0 })")
    page.evaluate("loss.restoreContext()")
    page.wait_for_timeout(300)
    assert np.array_equal(_look(page, 20, 0, 1.0, {"jaw": 0.5}), before)


def test_memory_stays_steady(page):
    page.evaluate("viewer.canvas.parentNode.style.width = '32px'")
    sizes = page.evaluate(
        """async () => {
            const used = () => { gc(); gc(); return performance.memory.usedJSHeapSize; };
            const turn = async (frames) => {
                for (let i = 0; i < frames; i++) {
                    viewer.set({ jaw: (i % 20) / 20 });
                    viewer.view(i % 60);
                    viewer.draw();
                    if (i % 50 === 0) await new Promise(requestAnimationFrame);
                }
            };
            await turn(200);
            const before = used();
            await turn(600);
            return [before, used()];
        }"""
    )
    assert sizes[1] - sizes[0] < 100_000


def test_an_exported_page_opens_alone(browser, html):
    text = html.read_text("utf-8")
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert f'content="{policy}"' in text
    assert "computer-generated" in text
    assert "made with" in text
    assert text.count("<script") == text.count("</script>") == 3
    asked = []
    for width, scheme in ((1280, "light"), (390, "dark")):
        with _page(browser, width=width, color_scheme=scheme) as (page, complaints):
            page.on("request", lambda request: asked.append(request.url))
            page.goto(html.as_uri())
            page.wait_for_selector("[data-ready]")
            assert page.title() == 'Ann <b>"Ö"</b> </script><script>alert(1)</script>'
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            asked.clear()
            slider = page.get_by_label("Open the jaw")
            slider.focus()
            for key in ("End", "ArrowLeft", "ArrowLeft"):
                slider.press(key)
            assert page.evaluate("viewer.state().values.jaw") == pytest.approx(0.98)
            page.get_by_role("button", name="Surprise", exact=True).click()
            _until(page, "viewer.state().clip?.time > 0.1")
            page.get_by_role("button", name="Pause").click()
            page.get_by_label("Place in the performance").fill("0.5")
            assert page.evaluate("viewer.state().clip.playing") is False
            page.get_by_role("button", name="Reset").click()
            _until(page, "!viewer.state().clip")
            assert slider.input_value() == "0"
            page.get_by_text("Advanced").click()
            assert page.locator("details fieldset input[type=range]").count() == len(ARKIT_NAMES)
            names = page.eval_on_selector_all(
                "input, button", "all => all.map((one) => one.ariaLabel || one.labels?.[0]?.innerText || one.innerText)"
            )
            assert all(name.strip() for name in names), "a control has no name"
            assert asked == []
            assert complaints == []


def test_the_sliders_say_what_is_guesswork(browser, html, saved):
    known = confidence(Viewer.of(saved))
    yaws = dict(known["yaw"])
    assert yaws[0] == 1
    assert 0 <= yaws[90] < yaws[45] < 1
    assert 0 <= yaws[-90] < yaws[-45] < 1
    assert set(known["expression"]) == set(ARKIT_NAMES)
    assert all(0 <= share <= 1 for share in known["expression"].values())
    with _page(browser) as (page, _):
        page.goto(html.as_uri())
        page.wait_for_selector("[data-ready]")
        assert "gradient" in page.eval_on_selector("[aria-label=Turn]", "slider => slider.style.getPropertyValue('--tint')")
        assert "guesswork" in page.get_attribute("[aria-label=Turn]", "aria-description")
        assert page.get_attribute("[aria-label=Zoom]", "aria-description") is None
        page.get_by_text("Amber marks guesswork").wait_for()


def test_the_mark_goes_only_with_consent(saved, tmp_path):
    with pytest.raises(InputError, match="--consent"):
        write_html(tmp_path / "a.html", saved, mark=False)
    page = write_html(tmp_path / "a.html", saved, mark=False, consent=True)
    assert "made with" not in page.read_text("utf-8")
    with pytest.raises(InputError, match=r"\.html"):
        write_html(tmp_path / "a.pdf", saved)


def test_it_respects_who_wants_no_motion(browser, html):
    with _page(browser, reduced_motion="reduce") as (page, _):
        page.goto(html.as_uri())
        page.wait_for_selector("[data-ready]")
        assert page.evaluate("viewer.state().idle") is False
        assert page.get_by_label("Blink and breathe").is_checked() is False


def test_bad_files_give_a_sentence(page, glb):
    length = struct.unpack_from("<I", glb, 12)[0]
    text, block = json.loads(glb[20 : 20 + length]), glb[20 + length :]

    def changed(change) -> bytes:
        copy = json.loads(json.dumps(text))
        change(copy)
        data = json.dumps(copy).encode()
        data += b" " * (-len(data) % 4)
        return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(data) + len(block), len(data), b"JSON") + data + block

    splats = text["meshes"][1]["primitives"][0]["attributes"]
    bad = [
        b"", b"glTF", glb[:1000], glb[:-1], b"\x1f\x8b" + bytes(50), b"<!doctype html>" + bytes(60),
        changed(lambda t: t["accessors"][splats["POSITION"]].update(count=10**9)),
        changed(lambda t: t["accessors"][splats["POSITION"]].update(count=-1)),
        changed(lambda t: t["accessors"][splats["_FACE"]].update(componentType=99)),
        changed(lambda t: t["bufferViews"][0].update(byteOffset=2**40)),
        changed(lambda t: t["bufferViews"][0].update(byteStride=-4)),
        changed(lambda t: t["nodes"][1].update(children=[0])),
        changed(lambda t: t["nodes"][0].update(translation=["x", 0, 0])),
        changed(lambda t: t["skins"][0].update(joints=list(range(100)))),
        changed(lambda t: t["asset"]["extras"]["zero1toa"].update(photo=None)),
        changed(lambda t: t["asset"]["extras"]["zero1toa"].update(version=99)),
        changed(lambda t: t["asset"]["extras"]["zero1toa"]["camera"].update(width=0)),
        changed(lambda t: t["meshes"][0]["extras"].update(targetNames=["__proto__"])),
        changed(lambda t: t.pop("meshes")),
    ]  # fmt: skip
    chance = random.Random(0)
    for _ in range(20):  # anything may stand in the description; what can be read may be shown
        damaged = bytearray(glb)
        for _ in range(3):
            damaged[chance.randrange(20, 20 + length)] = chance.randrange(32, 127)
        bad.append(bytes(damaged))
    try_it = """async (text) => {
        const place = document.body.appendChild(document.createElement("div"));
        try {
            (await Zero1toA.mount(place, { glb: bytes(text), idle: false, ratio: 0.1 })).destroy();
            return "";
        } catch (error) {
            return place.querySelector("[role=alert]").textContent;
        } finally {
            place.remove();
        }
    }"""
    said = [page.evaluate(try_it, base64.b64encode(data).decode()) for data in bad]
    assert all("export the avatar again" in one or "newer" in one for one in said[:-20]), said
    assert all(one == "" or "export the avatar again" in one for one in said[-20:]), said


def test_the_script_brings_one_name(browser):
    with _page(browser) as (page, _):
        before = set(page.evaluate("Object.getOwnPropertyNames(window)"))
        page.add_script_tag(content=viewer_script())
        assert set(page.evaluate("Object.getOwnPropertyNames(window)")) - before == {"Zero1toA"}
    assert "</script" not in viewer_script()


def _look(page, yaw, pitch, zoom, values):
    """Draw a face from a side, and give the pixels."""
    url = page.evaluate(
        """([yaw, pitch, zoom, values]) => {
            viewer.reset();
            viewer.change = null;
            viewer.set(values);
            viewer.view(yaw, pitch, zoom);
            return viewer.snapshot();
        }""",
        [yaw, pitch, zoom, values],
    )
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def _until(page, true: str) -> None:
    """Wait until something is true; Playwright's own way is forbidden by the policy of exported pages."""
    for _ in range(200):
        if page.evaluate(true):
            return
        page.wait_for_timeout(50)
    raise AssertionError(true)


def _psnr(one, other) -> float:
    return -10 * math.log10(max(np.mean((one / 255.0 - other / 255.0) ** 2), 1e-12))


@contextlib.contextmanager
def _page(browser, *, width: int = 600, **options):
    """Open a page, and note what it complains about."""
    page = browser.new_page(viewport={"width": width, "height": 700}, **options)
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page, complaints
    finally:
        page.close()
