"""Let many visitors use the app for a while and see that it stays well: python -m scripts.soak [--clients 20] [--minutes 15]

Starts app.py on the loopback. Each visitor loads the page, makes an avatar of a photo in a colour of their own, stops some of
these half-way, downloads the folder, deletes everything or simply vanishes, and comes again; who waits for too long goes. Once
a crowd comes that the queue cannot hold. Watched are the server's memory, its threads and open files, the length of the queue,
whether anybody gets somebody else's photo, whether a photo that is too large is refused, what the server's log says, and what
is left on disk in the end. Prints the figures, and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
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
# A visitor waits this long for an avatar and then goes.
PATIENCE_S = 300.0
# Any other answer has to come within this time, on however busy a machine.
CALL_S = 60.0
# As many may wait (ui/layout.py), and as many come at once when the crowd does.
QUEUE, CROWD = 20, 40
# What a visitor may be told when there are too many; anything else is a fault.
TURNED_AWAY = "Queue is full"


@dataclass(slots=True)
class Tally:
    """What happened, counted by many threads."""

    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    queue: int = 0
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
        looks: list[Look] = []
        watcher = threading.Thread(target=watch, args=(program, address, deadline, looks, tally), daemon=True)
        watcher.start()
        refuse_the_large(address, Path(place), tally)
        visitors = [
            threading.Thread(target=visit_again, args=(address, asked.photo, Path(place), number, deadline, tally), daemon=True)
            for number in range(asked.clients)
        ]
        for visitor in visitors:
            visitor.start()
        time.sleep(max(0.0, (deadline - time.monotonic()) / 2))
        come_in_a_crowd(address, asked.photo, tally)
        for visitor in visitors:
            visitor.join(max(0.0, deadline - time.monotonic()) + 2 * PATIENCE_S)
        watcher.join(2 * LOOK_S)
        if any(visitor.is_alive() for visitor in visitors):
            tally.accuse("a visitor waits for ever")
        if program.poll() is not None:
            tally.accuse("the server has ended")
        end(program)
        if said := [line for line in (Path(place) / "log.txt").read_text().splitlines() if re.search("Error|Exception", line)]:
            for line, times in Counter(said).most_common():
                tally.accuse(f"the server's log says {times} times: {line}")
        if left := [path.name for path in (Path(place) / "tmp").glob("zero1toa*")]:
            tally.accuse(f"when the server had ended, this was left: {left}")
        report(looks, tally)
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
        # In a session of its own, so that Linux gives it a share of the processor beside all its visitors.
        program = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(address)
                    break
                time.sleep(0.2)
            yield program, address
        finally:
            end(program)


def end(program: subprocess.Popen) -> None:
    """Press Ctrl-C."""
    if program.poll() is None:
        program.send_signal(signal.SIGINT)
    program.wait(60)


@dataclass(frozen=True, slots=True)
class Look:
    """The server at one moment: memory in MB, its children's included, threads, and open files."""

    memory: float
    threads: int
    files: int


def watch(program: subprocess.Popen, address: str, deadline: float, looks: list[Look], tally: Tally) -> None:
    """Look at the server again and again."""
    while time.monotonic() < deadline and program.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(program.pid)
            memory = sum(process.memory_info().rss for process in (server, *server.children(recursive=True))) / 1e6
            looks.append(Look(memory, server.num_threads(), server.num_fds()))
        with contextlib.suppress(httpx.HTTPError):
            waiting = httpx.get(f"{address}/gradio_api/queue/status", timeout=LOOK_S).json()["queue_size"]
            tally.queue = max(tally.queue, waiting)
        time.sleep(LOOK_S)
    if tally.queue > QUEUE:
        tally.accuse(f"{tally.queue} waited in a queue for {QUEUE}")


def refuse_the_large(address: str, place: Path, tally: Tally) -> None:
    """Upload more than is allowed."""
    large = place / "large.png"
    large.write_bytes(np.random.default_rng(0).bytes(45 * 2**20))
    with large.open("rb") as stream:
        answer = httpx.post(f"{address}/gradio_api/upload", files={"files": stream}, timeout=CALL_S)
    if answer.status_code < 400:
        tally.accuse("a photo of 45 MB was taken")
    tally.add("too large refused")


def come_in_a_crowd(address: str, photo: Path, tally: Tally) -> None:
    """Ask for more avatars at once than the queue holds, and go again."""
    client = Client(address, verbose=False, httpx_kwargs={"timeout": CALL_S})
    jobs = [client.submit(handle_file(str(photo)), True, "preview", 0, 3.0, api_name="/watch") for _ in range(CROWD)]
    time.sleep(3 * LOOK_S)
    answers = [str(job.exception()) for job in jobs if job.done()]
    refused = sum(TURNED_AWAY in answer for answer in answers)
    if refused < CROWD - QUEUE - 1:
        tally.accuse(f"of a crowd of {CROWD} only {refused} were turned away: {Counter(answers)}")
    tally.add(f"of a crowd of {CROWD} turned away: {refused}")
    for job in jobs:
        job.cancel()
    client.close()


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
            if TURNED_AWAY in str(error):
                tally.add("turned away, the queue being full")
            else:
                tally.accuse(f"visitor {number}: {type(error).__name__}: {str(error)[:300]}")
                traceback.print_exc()
        time.sleep(chance.uniform(0, 5))


def visit(address: str, own: Path, downloads: Path, chance: random.Random, deadline: float, tally: Tally) -> None:
    """Visit once."""
    httpx.get(address, timeout=CALL_S).raise_for_status()
    tally.add("page loaded")
    client = Client(address, verbose=False, download_files=str(downloads), httpx_kwargs={"timeout": CALL_S})
    if chance.random() < 0.3:
        vanish(client, address, own, chance.uniform(0, 40), tally)
        return
    job = client.submit(handle_file(str(own)), True, "preview", 0, 3.0, api_name="/watch")
    stops, stopped = chance.random() < 0.5, 0.0
    began = time.monotonic()
    while not job.done():
        working = re.search(r"iteration \d", str(job.outputs()[-1:])) is not None
        if stops and working:
            client.predict(api_name="/stop")
            stops, stopped = False, time.monotonic()
        if time.monotonic() > min(deadline + PATIENCE_S / 2, began + PATIENCE_S):
            with contextlib.suppress(httpx.ReadTimeout):  # this waits for 5 s, and what is under way is kept first
                job.cancel()
            client.close()
            tally.add("gave up waiting")
            return
        time.sleep(0.5)
    job.result()
    tally.add("avatar stopped" if stopped else "avatar made")
    if stopped:
        tally.stops.append(time.monotonic() - stopped)
    tally.waits.append(time.monotonic() - began)
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


def vanish(client: Client, address: str, own: Path, seconds: float, tally: Tally) -> None:
    """Ask for an avatar and be gone, as a browser that is closed: the connection breaks in the middle."""
    with own.open("rb") as stream:
        stored = httpx.post(f"{address}/gradio_api/upload", files={"files": stream}, timeout=CALL_S).json()[0]
    number = next(one["id"] for one in client.config["dependencies"] if one["api_name"] == "watch")
    session = f"vanishing{own.stem}{time.monotonic_ns()}"
    photo = {"path": stored, "meta": {"_type": "gradio.FileData"}}
    asked = {"data": [photo, True, "preview", 0, None, 3.0, None, None, None], "fn_index": number, "session_hash": session}
    client.close()
    answer = httpx.post(f"{address}/gradio_api/queue/join", json=asked, timeout=CALL_S)
    if TURNED_AWAY in answer.text:
        raise RuntimeError(answer.text)
    answer.raise_for_status()
    alive = httpx.Client(timeout=CALL_S)
    with alive, alive.stream("GET", f"{address}/gradio_api/heartbeat/{session}"):
        # Some wait for their turn and go in the middle of it.
        patient, working, leaves = seconds > 20, False, time.monotonic() + seconds
        with alive.stream("GET", f"{address}/gradio_api/queue/data", params={"session_hash": session}) as told:
            for line in told.iter_lines():
                working = working or "iteration" in line
                if time.monotonic() > (leaves + PATIENCE_S if patient and not working else leaves):
                    break
    tally.add("vanished while it was made" if working else "vanished while waiting")


def _files(answer) -> list[str]:
    if isinstance(answer, (list, tuple)):
        return [path for part in answer for path in _files(part)]
    if isinstance(answer, dict):
        return [path for part in answer.values() for path in _files(part)]
    return [answer] if isinstance(answer, str) and Path(answer).is_file() else []


def report(looks: list[Look], tally: Tally) -> None:
    """Print what there is to say, and judge what may not grow."""
    third = max(1, len(looks) // 3)
    for what in ("memory", "threads", "files"):
        values = [getattr(look, what) for look in looks]
        early, late = np.median(values[third : 2 * third] or values), np.median(values[2 * third :] or values)
        told = f"{values[0]:.0f} at first, {early:.0f} in the second third, {late:.0f} in the last, most {max(values):.0f}"
        print(f"{what}{', MB' if what == 'memory' else ''}: {told}")
        if late > early * (1 + GROWTH) + (0 if what == "memory" else 10):
            tally.accuse(f"the server's {what} grows" if what == "memory" else f"the server's {what} grow")
    print(f"longest queue: {tally.queue}")
    if tally.waits:
        print(f"seconds until an avatar was there: {np.median(tally.waits):.0f} in the median, {max(tally.waits):.0f} at most")
    if tally.stops:
        print(f"seconds from Stop to the end: {np.median(tally.stops):.1f} in the median, {max(tally.stops):.1f} at most")
    for what, count in sorted(tally.counts.items()):
        print(f"{what}: {count}")
    print(f"{len(tally.wrong)} wrong")


if __name__ == "__main__":
    sys.exit(main())
