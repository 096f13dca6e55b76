"""Photograph the app, step by step, as visitors see it: `python -m scripts.screenshots PHOTO -o DIR`.

Serves the app on the loopback, walks through it in a headless Chromium on a desk and on a phone, in light and in dark, with
PHOTO made into an avatar on the way, and writes one png for every step. Look at them all.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zero1toa.config import PRESETS
from zero1toa.ui.layout import build_app, launch_options

DEVICES = {"desk": (1280, 900), "phone": (390, 844)}
FLAGS = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
LIMIT_MS = 600_000


def main() -> None:
    """Serve, walk, photograph."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--device", choices=DEVICES, action="append", help="both if left out")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    app = build_app(PRESETS)
    app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_options())
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            for device in options.device or DEVICES:
                width, height = DEVICES[device]
                page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
                page.set_default_timeout(LIMIT_MS)
                page.goto(app.local_url)
                for number, step in enumerate(walk(page, options.photo), 1):
                    for scheme in ("light", "dark"):
                        page.emulate_media(color_scheme=scheme)
                        page.evaluate("scheme => document.body.classList.toggle('dark', scheme === 'dark')", scheme)
                        page.wait_for_timeout(400)
                        page.screenshot(path=options.output / f"{device}-{number}-{step}-{scheme}.png", full_page=True)
                page.close()
            browser.close()
    finally:
        app.close()


def walk(page: Any, photo: Path) -> Iterator[str]:
    """Do what a visitor does, and stop wherever there is something to see."""
    open_step = lambda name: page.get_by_role("tab", name=name).click()
    page.wait_for_selector("#stage canvas")
    yield "welcome"
    page.locator("#photo input[type=file]").set_input_files(str(photo))
    page.wait_for_selector("#seen .z-fit")
    yield "photo"
    page.check("#consent input")
    page.click("#create")
    page.wait_for_selector("#clip figure")
    page.wait_for_selector("#curves figure")
    page.wait_for_timeout(8000)
    yield "build"
    page.get_by_text("Your avatar is ready.").wait_for(state="attached")
    page.wait_for_selector("#panel .z1-panel")
    page.wait_for_timeout(1500)
    yield "play"
    page.get_by_role("button", name="Happy").click()
    page.get_by_label("Turn", exact=True).fill("35")
    page.get_by_text("Photo against avatar").click()
    page.get_by_text("Advanced: all 52 expressions").click()
    page.wait_for_timeout(1500)
    yield "played"
    open_step("Share")
    page.wait_for_timeout(800)
    page.click("#copy-link")
    yield "share"
    open_step("Compare")
    page.wait_for_timeout(800)
    page.locator("#beside input").first.check()
    page.wait_for_function("document.querySelectorAll('#stage canvas').length === 2")
    page.wait_for_timeout(1500)
    yield "compare"


if __name__ == "__main__":
    main()
