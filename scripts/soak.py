"""Let many visitors use the app for a while and see that it stays well: python scripts/soak.py [--clients 20] [--minutes 15]

Starts app.py on the loopback. Each visitor loads the page, makes an avatar of a photo in a colour of their own, stops some of
these half-way, downloads the folder, deletes everything or simply vanishes, and comes again. Watched are the server's memory,
the length of the queue, whether anybody gets somebody else's photo, whether a photo that is too large is refused, and what is
left on disk in the end. Prints the figures, and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from gradio_client import Client, handle_file
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
# What the server may grow by after the first third of the time, as a share, and seconds between looks at it.
GROWTH, LOOK_S = 0.25, 5.0
# A visitor waits this long for an answer and then goes.
PATIENCE_S = 300.0


@dataclass(slots=True)
class Tally:
    """What happened, counted by many threads."""

    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def accuse(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)
        print(f"WRONG: {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "maya.jpg")
    asked = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="soak-") as place, serving(Path(place)) as (program, address):
        deadline = time.monotonic() + 60 * asked.minutes
        memory: list[float] = []
        watcher = threading.Thread(target=watch, args=(program, deadline, memory), daemon=True)
        watcher.start()
        refuse_the_large(address, Path(place), tally)
        visitors = [
            threading.Thread(target=visit_again, args=(address, asked.photo, Path(place), number, deadline, tally), daemon=True)
            for number in range(asked.clients)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(60 * asked.minutes + 2 * PATIENCE_S)
        watcher.join(2 * LOOK_S)
        if any(visitor.is_alive() for visitor in visitors):
            tally.accuse("a visitor waits for ever")
        if program.poll() is not None:
            tally.accuse("the server has ended")
        report(memory, tally)
    return 1 if tally.wrong else 0


@contextlib.contextmanager
def serving(place: Path):
    """Start the app with its files in a folder; gives (program, address)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place / "tmp").mkdir()
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_TEMP_DIR": str(place / "cache"),
        "TMPDIR": str(place / "tmp"),
    }  # fmt: skip
    with (place / "log.txt").open("w") as log:
        program = subprocess.Popen([sys.executable, str(ROOT / "app.py")], env=environment, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(address)
                    break
                time.sleep(0.2)
            yield program, address
        finally:
            program.terminate()
            program.wait(30)


def watch(program: subprocess.Popen, deadline: float, memory: list[float]) -> None:
    """Write the server's memory down, in MB, its children's included."""
    while time.monotonic() < deadline and program.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [psutil.Process(program.pid), *psutil.Process(program.pid).children(recursive=True)]
            memory.append(sum(process.memory_info().rss for process in family) / 1e6)
        time.sleep(LOOK_S)


def refuse_the_large(address: str, place: Path, tally: Tally) -> None:
    """Upload more than is allowed."""
    large = place / "large.png"
    large.write_bytes(np.random.default_rng(0).bytes(45 * 2**20))
    with large.open("rb") as stream:
        answer = httpx.post(f"{address}/gradio_api/upload", files={"files": stream}, timeout=60)
    if answer.status_code < 400:
        tally.accuse("a photo of 45 MB was taken")
    tally.add("too large refused")


def visit_again(address: str, photo: Path, place: Path, number: int, deadline: float, tally: Tally) -> None:
    """Visit until the time is over."""
    chance = random.Random(number)
    own = place / f"photo-{number}.png"
    tint = np.array(Image.open(photo).convert("RGB").resize((384, 384))).astype(np.float32)
    color = np.array([chance.uniform(0.6, 1) for _ in range(3)])
    Image.fromarray((tint * color).astype(np.uint8)).save(own)
    while time.monotonic() < deadline:
        try:
            visit(address, own, place / f"downloads-{number}", chance, deadline, tally)
        except Exception as error:
            if known := next((word for word in ("Queue is full", "queue", "Stopped") if word in str(error)), ""):
                tally.add(f"refused: {known}")
            else:
                tally.accuse(f"visitor {number}: {type(error).__name__}: {str(error)[:300]}")
        time.sleep(chance.uniform(0, 5))


def visit(address: str, own: Path, downloads: Path, chance: random.Random, deadline: float, tally: Tally) -> None:
    """Visit once."""
    httpx.get(address, timeout=60).raise_for_status()
    tally.add("page loaded")
    client = Client(address, verbose=False, download_files=str(downloads))
    job = client.submit(handle_file(str(own)), True, "preview", 0, 3.0, api_name="/watch")
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0, 20))
        job.cancel()
        tally.add("vanished")
        return
    stops = chance.random() < 0.5
    began = time.monotonic()
    while not job.done():
        if stops and re.search(r"iteration \d", str(job.outputs()[-1:])):
            client.predict(api_name="/stop")
            stops = False
            tally.add("stopped")
        if time.monotonic() > max(deadline, began + PATIENCE_S):
            job.cancel()
            tally.add("gave up waiting")
            return
        time.sleep(1)
    job.result()
    tally.add("avatar made")
    tally.add(f"waited {'over' if time.monotonic() - began > 120 else 'under'} two minutes")
    answer = client.predict(api_name="/folder")
    packed = next(Path(part) for part in _files(answer) if str(part).endswith(".zip"))
    with zipfile.ZipFile(packed) as archive:
        name = next(name for name in archive.namelist() if name.endswith("portrait.png"))
        with archive.open(name) as stream:
            kept = np.array(Image.open(stream).convert("RGBA")).astype(np.float32)
    mean = lambda pixels: pixels / pixels.sum()
    person = kept[..., 3] > 200
    theirs, mine = kept[person][:, :3].mean(0), np.array(Image.open(own)).reshape(-1, 3).mean(0)
    if np.abs(mean(theirs) - mean(mine)).max() > 0.08:
        tally.accuse(f"{own.stem} got a photo in other colours: {mean(theirs)} instead of {mean(mine)}")
    tally.add("downloaded")
    if chance.random() < 0.5:
        client.predict(None, api_name="/wipe")
        tally.add("deleted everything")
    client.close()


def _files(answer) -> list[str]:
    if isinstance(answer, (list, tuple)):
        return [path for part in answer for path in _files(part)]
    if isinstance(answer, dict):
        return [path for part in answer.values() for path in _files(part)]
    return [answer] if isinstance(answer, str) and Path(answer).is_file() else []


def report(memory: list[float], tally: Tally) -> None:
    """Print what there is to say, and judge the memory."""
    third = max(1, len(memory) // 3)
    early, late = np.median(memory[third : 2 * third] or memory), np.median(memory[2 * third :] or memory)
    print(
        f"memory, MB: {memory[0]:.0f} at first, {early:.0f} in the second third, {late:.0f} in the last, most {max(memory):.0f}"
    )
    if late > early * (1 + GROWTH):
        tally.accuse("the server's memory grows")
    for what, count in sorted(tally.counts.items()):
        print(f"{what}: {count}")
    print(f"{len(tally.wrong)} wrong")


if __name__ == "__main__":
    sys.exit(main())
