"""Measure how soon the app is there and how much of the page is ours: `python -m scripts.bench_app [--rounds N]`.

Each round starts `app.py` and, beside it, a page with nothing but one button by a program that imports torch and Gradio
as well, and prints the seconds until a headless Chromium shows the button.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from zero1toa.ui.layout import EXAMPLES, launch_options
from zero1toa.ui.pictures import gallery_row
from zero1toa.ui.playing import find_gallery
from zero1toa.web import viewer_script

APP = Path(__file__).parent.parent / "app.py"
BARE = """import sys, torch, gradio as gr
with gr.Blocks() as page: gr.Button("x", elem_id="create")
page.launch(server_port=int(sys.argv[2]))
"""
LIMIT_S = 120.0


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    options = launch_options()
    ours = options["head"] + options["css"] + gallery_row(find_gallery(EXAMPLES))
    squeezed, viewer = (len(gzip.compress(text.encode())) for text in (ours, viewer_script()))
    print(f"our part of the page: {len(ours.encode()):,} bytes, {squeezed:,} compressed; the viewer: {viewer:,} compressed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, program in (("a page with one button", bare), ("app.py", APP)):
            times = [seconds_to_page(browser, program) for _ in range(rounds)]
            print(f"{name}: {statistics.median(times):.1f} s, slowest {max(times):.1f} s of {rounds}")
        browser.close()


def seconds_to_page(browser: Any, program: Path) -> float:
    """Start a program that serves a page, and give the seconds until the page can be used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, str(program), "--server-port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()
                break
            except OSError:
                if time.monotonic() - began > LIMIT_S or server.poll() is not None:
                    raise
                time.sleep(0.1)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#create")
        passed = time.monotonic() - began
        page.close()
        return passed
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
