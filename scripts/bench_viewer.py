"""Measure the browser viewer: `python -m scripts.bench_viewer DIR` with a saved avatar, in a headless Chromium without a GPU.

Prints the bytes of the exported page and of what is in it besides the avatar, the milliseconds until the page shows the
avatar, and the milliseconds of JavaScript for a frame in which face and view move, for 60,000 splats on a canvas so
small that drawing costs nothing. A phone is 4 to 6 times slower than a desktop core.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from zero1toa.avatar.rigged import Avatar
from zero1toa.export.glb import glb_bytes
from zero1toa.export.package import load_avatar
from zero1toa.export.saved import SavedAvatar
from zero1toa.export.web import write_html

SPLATS = 60_000
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
FRAMES = """async (glb) => {
    viewer.destroy();
    const place = document.body.appendChild(document.createElement("div"));
    place.style.width = "64px";
    const bytes = Uint8Array.from(atob(glb), (letter) => letter.charCodeAt(0)).buffer;
    const measured = await Zero1toA.mount(place, { glb: bytes, idle: false, ratio: 1, fixed: true });
    const times = [];
    for (let i = 0; i < 300; i++) {
        const began = performance.now();
        measured.set({ jaw: (i % 30) / 30, smile: (i % 17) / 17, blink: (i % 11) / 11, brows: (i % 7) / 7 });
        measured.view(i % 60);
        measured.draw();
        times.push(performance.now() - began);
        await new Promise(requestAnimationFrame);
    }
    return times.slice(60);
}"""


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path, metavar="DIR")
    saved = load_avatar(parser.parse_args().avatar)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_html(Path(folder) / "avatar.html", saved)
        text = page.read_text("utf-8")
        packed = re.search(r'id="avatar">([^<]*)<', text)
        assert packed is not None
        print(f"page: {len(text):,} bytes for {len(saved.avatar):,} splats, {len(text) - len(packed[1]):,} without the avatar")
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        ready = []
        tab = browser.new_page()
        for _ in range(5):
            tab.close()
            tab = browser.new_page(viewport={"width": 1280, "height": 800})
            tab.goto(page.as_uri())
            tab.wait_for_selector("[data-ready]")
            ready.append(float(tab.evaluate("document.documentElement.dataset.ready")))
        print(f"ready: {statistics.median(ready):.0f} ms, slowest {max(ready):.0f} ms of {len(ready)}")
        times = tab.evaluate(FRAMES, base64.b64encode(glb_bytes(_grown(saved))).decode())
        quick, middle, slow = statistics.quantiles(times, n=20)[::9]
        print(f"JavaScript a frame, {SPLATS:,} splats: median {middle:.1f} ms, 5 % {quick:.1f} ms, 95 % {slow:.1f} ms")
        browser.close()


@torch.no_grad()
def _grown(saved: SavedAvatar) -> SavedAvatar:
    """Repeat an avatar's splats until they are as many as are to be measured."""
    rows = torch.arange(SPLATS) % len(saved.avatar)
    arrays = {name: values[rows] for name, values in saved.avatar.state_arrays().items()}
    return replace(saved, avatar=Avatar.from_arrays(saved.avatar.head, saved.avatar.identity, arrays))


if __name__ == "__main__":
    main()
