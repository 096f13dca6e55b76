"""The app on a Space with shared GPUs, on the stand-in of `shared_gpus.py`: short turns, forked processes, files that stay."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import pytest
from shared_gpus import CHANGED, SETTINGS, Platform, environment
from test_app import LIMIT_S, TINY

from zero1toa.config import PRESETS
from zero1toa.export.package import load_avatar
from zero1toa.pipeline import create_avatar
from zero1toa.ui import shared_gpus
from zero1toa.ui.build import gpu_seconds
from zero1toa.ui.shared_gpus import COUNTED, MOST_S, QUOTA_S

APP = Path(__file__).parent / "shared_gpus.py"


@pytest.fixture(scope="module")
def hosting(tmp_path_factory):
    """Start app.py on the platform's stand-in: (platform, address, a function that changes the settings of its turns)."""
    folder = tmp_path_factory.mktemp("space")
    platform, log = Platform(), folder / "log.txt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with platform.listening() as device, log.open("w") as output:
        command = [sys.executable, str(APP), str(port)]
        program = subprocess.Popen(
            command, env=environment(device, folder), stdin=subprocess.PIPE, stdout=output, stderr=output, text=True
        )
        address, asked = f"http://127.0.0.1:{port}", 0

        def change(settings: dict[str, float]) -> None:
            nonlocal asked
            asked += 1
            assert program.stdin is not None
            print(json.dumps(settings), file=program.stdin, flush=True)
            _wait(lambda: log.read_text().count(CHANGED) == asked, "the settings to be changed")

        try:
            _wait(lambda: program.poll() is not None or _answers(address), "the app")
            assert program.poll() is None, log.read_text()
            yield platform, address, change
        finally:
            program.terminate()
            program.communicate()


@pytest.fixture
def hosted(hosting):
    """Give a function that has the app take turns with some settings, on a platform that knows nothing of earlier tests."""
    platform, address, change = hosting

    def begin(**settings: float) -> tuple[Platform, str]:
        platform.forget()
        change({name: getattr(shared_gpus, name) for name in SETTINGS} | settings)
        return platform, address

    return begin


@pytest.fixture
def visit():
    """Give a function that opens one more visitor's client at an address; all leave with the test."""
    gradio_client = pytest.importorskip("gradio_client")
    with contextlib.ExitStack() as stack:

        def open_client(address: str):
            client = gradio_client.Client(address, verbose=False)
            stack.callback(client.close)
            return client

        yield open_client


def test_an_avatar_made_in_several_turns_is_the_one_made_at_once(hosted, visit, astronaut_file, tmp_path):
    from gradio_client import handle_file

    # Every turn is over as soon as it has brought the avatar forward.
    platform, address = hosted(LEAST_S=LIMIT_S, MOST_S=LIMIT_S, END_S=LIMIT_S)
    answer = visit(address).predict(handle_file(str(astronaut_file)), "tiny", 0, True, api_name="/generate")
    assert len(platform.asked) >= 2, "one turn was enough"
    assert set(platform.asked) == {LIMIT_S}
    assert len(set(platform.processes)) == len(platform.asked), "a turn had a process that was not its own"
    assert platform.killed == []
    zipfile.ZipFile(answer[2]).extractall(tmp_path / "zip")
    made = load_avatar(tmp_path / "zip" / "avatar")
    assert made.details.finished
    *_, last = create_avatar(astronaut_file, TINY)
    assert last.avatar is not None
    for name, values in last.avatar.state_arrays().items():
        assert made.avatar.state_arrays()[name].equal(values), name


def test_a_turn_ends_in_time_and_going_on_is_another(hosted, visit, astronaut_file):
    platform, address = hosted(MOST_S=LIMIT_S, END_S=LIMIT_S)
    client = visit(address)
    first = _watch(client, astronaut_file, "endless")
    assert "The time on the GPU is over" in first
    assert "this is the avatar so far" in first
    assert len(platform.asked) == 1
    job = client.submit(api_name="/resume")
    job.result(timeout=LIMIT_S)
    second = str(job.outputs())
    ends = [int(found) for told in (first, second) for found in re.findall(r"Ended after (\d+) of 100000", told)]
    assert 0 < ends[0] <= min(map(int, re.findall(r"iteration (\d+) of 100000", second))), "it began from nothing"
    assert ends[0] < ends[1]
    assert len(platform.asked) == 2
    assert platform.killed == []
    # All that follows runs on the CPU and costs a visitor nothing.
    client.predict("{}", api_name="/picture")
    client.predict(api_name="/rigged")
    client.predict([], api_name="/beside")
    httpx.get(address)
    assert len(platform.asked) == 2


def test_who_is_cut_off_goes_on_from_what_is_on_disk(hosted, visit, astronaut_file):
    # A turn that never thinks it is over is ended by the platform.
    platform, address = hosted(MOST_S=LIMIT_S, END_S=-1000, CHECKPOINT_S=0.0)
    client = visit(address)
    job = _submit(client, astronaut_file, "endless")
    _wait(lambda: re.search(r"iteration ([3-9]|\d\d+) of 100000", str(job.outputs())), "the third iteration")
    platform.cut_off()
    with pytest.raises(Exception, match="aborted"):
        job.result(timeout=LIMIT_S)
    assert platform.killed == platform.processes
    again = client.submit(api_name="/resume")
    _wait(lambda: "of 100000" in str(again.outputs()), "more iterations")
    client.predict(api_name="/stop")
    again.result(timeout=LIMIT_S)
    numbers = [int(found) for found in re.findall(r"iteration (\d+) of 100000", str(again.outputs()))]
    assert min(numbers) > 0, "it began from nothing"
    assert "this is the avatar so far" in str(again.outputs())


def test_who_has_no_time_left_is_told_and_loses_nothing(hosted, visit, astronaut_file):
    platform, address = hosted()
    platform.generous = False
    client = visit(address)
    with pytest.raises(Exception, match="limit"):
        _watch(client, astronaut_file, "tiny")
    assert platform.processes == []
    platform.generous = True
    job = client.submit(api_name="/resume")
    job.result(timeout=LIMIT_S)
    assert "Your avatar is ready" in str(job.outputs())


def test_everybody_can_ask_for_a_turn_of_every_preset():
    turns = {name: gpu_seconds(config) for name, config in PRESETS.items()}
    assert max(turns.values()) == MOST_S
    assert min(QUOTA_S.values()) >= MOST_S * COUNTED
    assert turns["preview"] < turns["best"], "a short creation asks for less, and waits less"


def _submit(client, photo: Path, preset: str):
    """Begin to create an avatar as the page does."""
    from gradio_client import handle_file

    return client.submit(handle_file(str(photo)), True, preset, 0, 3.0, api_name="/watch")


def _watch(client, photo: Path, preset: str) -> str:
    """Create an avatar as the page does, and give all that the page was sent."""
    job = _submit(client, photo, preset)
    job.result(timeout=LIMIT_S)
    return str(job.outputs())


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(done, what: str, seconds: float = LIMIT_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)
