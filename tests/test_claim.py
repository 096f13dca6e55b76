"""One output folder, several processes: one writes, the others are told, and a killed one stands in nobody's way."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.avatars import TINY, astronaut_photo
from zero1toa import cli
from zero1toa.export.claim import LOCK, claimed
from zero1toa.export.package import WORK, load_avatar
from zero1toa.types import InputError

LIMIT_S = 240
# Long enough to be met in the middle of it.
LONG = (*TINY, "--iterations", "12", "--checkpoint-s", "0")


def start(*words: str) -> subprocess.Popen:
    """Start the program, as from another terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "zero1toa", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(done, process: subprocess.Popen) -> None:
    end = time.monotonic() + LIMIT_S
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def held_still(process: subprocess.Popen):
    """Let a program and its workers do nothing for a while, so that it cannot end before others have come."""
    program = psutil.Process(process.pid)
    family = [program, *program.children(recursive=True)]
    for one in family:
        one.suspend()
    try:
        yield
    finally:
        for one in family:
            one.resume()


def refused(capsys, *words: str) -> None:
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "another process is writing" in told
    assert "Traceback" not in told


def test_who_comes_second_is_told_and_the_first_is_not_disturbed(tmp_path, capsys):
    folder = tmp_path / "a"
    words = ["create", str(astronaut_photo()), "-o", str(folder), *LONG]
    first = start(*words, "--json")
    wait_for(lambda: any(folder.glob(f"{WORK}/checkpoint-*")), first)
    with held_still(first):
        for more in ((), ("--resume",), ("--force",)):
            refused(capsys, *words, *more)
        assert any(folder.glob(f"{WORK}/checkpoint-*")), "the work of the first is gone"
    out, err = first.communicate(timeout=LIMIT_S)
    assert first.returncode == 0, err
    assert len(load_avatar(folder).avatar) == json.loads(out.splitlines()[-1])["splats"]
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is sent as on POSIX")
def test_a_killed_process_locks_nobody_out(tmp_path, capsys):
    folder = tmp_path / "a"
    words = ["create", str(astronaut_photo()), "-o", str(folder), *TINY]
    killed = start(*words)
    wait_for((folder / LOCK).exists, killed)
    refused(capsys, *words)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert (folder / LOCK).exists()
    assert cli.main(words) == 0
    assert load_avatar(folder).details.finished
    assert not (folder / LOCK).exists()


def test_two_batches_do_not_share_a_folder_and_create_does_not_join_one(tmp_path, capsys):
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    shutil.copy(astronaut_photo(), photos / "a.png")
    words = ["batch", str(photos), str(out), *LONG]
    first = start(*words)
    wait_for(lambda: any((out / "a" / WORK).glob("checkpoint-*")), first)
    with held_still(first):
        refused(capsys, *words)
        refused(capsys, "create", str(photos / "a.png"), "-o", str(out / "a"), *LONG, "--resume")
    _, err = first.communicate(timeout=LIMIT_S)
    assert first.returncode == 0, err
    assert json.loads((out / "report.json").read_text())["counts"]["made"] == 1
    assert not list(out.rglob(LOCK))


HOLD = """
import sys
from zero1toa.export.claim import claimed
with claimed(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_waited_for_but_not_for_ever(tmp_path: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    with pytest.raises(InputError, match="another process"), claimed(tmp_path, wait_s=0.5):
        pass
    threading.Timer(0.5, holder.stdin.close).start()
    with claimed(tmp_path, wait_s=60):
        assert holder.wait(60) == 0
    assert list(tmp_path.iterdir()) == []
