"""Hundreds of spoilt files: each is read, or refused in a sentence; nothing hangs, eats the memory, or is changed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.readers import Reader, spoil, write_valid_files
from zero1toa.types import InputError

# Cases of every reader, and what a case may take.
CASES = {"mp4": 40, "motion": 600, "avatar": 200, "glb": 400}
USUAL_CASES, SECONDS, GIGABYTES = 100, 30, 4
KNOWN = Path(__file__).parent / "data" / "naughty"


class TooSlowError(BaseException):
    """Not an `Exception`, so that no reader takes it for its own."""


def _too_slow(*_: object) -> None:
    raise TooSlowError


def judge(reader: Reader, path: Path) -> str:
    """Read a spoilt file; gives what is wrong with how that went, or nothing."""
    before = _digest(path.parent)
    signal.alarm(SECONDS)
    try:
        reader.read(path)
    except InputError as error:
        said = str(error)
        if not said.strip() or "\n" in said or "Traceback" in said or len(said) > 1000:
            return f"says {said[:200]!r}"
    except TooSlowError:
        return f"took more than {SECONDS} s"
    except BaseException:
        return traceback.format_exc(limit=-3)
    finally:
        signal.alarm(0)
    return "" if _digest(path.parent) == before else "changed or wrote files"


def _digest(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.rglob("*")) if file.is_file()}


def _hunt(folder: str, results: Any) -> None:
    """Read all cases in a process of its own with little memory, telling each before it is tried."""
    place = Path(folder)
    readers = write_valid_files(place / "valid")
    signal.signal(signal.SIGALRM, _too_slow)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTES * 2**30, resource.RLIM_INFINITY))
    for reader in readers:
        results.put((reader.name, -1, judge(reader, reader.valid)))
        for number in range(CASES.get(reader.name, USUAL_CASES)):
            results.put((reader.name, number, "was the last thing tried"))
            results.put((reader.name, number, judge(reader, write_case(reader, number, place / "case"))))
    for file in sorted(KNOWN.glob("*-*")):
        reader = next(reader for reader in readers if file.name.startswith(f"{reader.name}-"))
        if file.suffix == ".zip":
            shutil.unpack_archive(file, place / file.stem)
        path = place / file.stem if file.suffix == ".zip" else file
        refused = "" if _refuses(reader, path) else "was read"
        results.put((file.name, 0, judge(reader, path) or refused))
    results.put(None)


def _refuses(reader: Reader, path: Path) -> bool:
    try:
        reader.read(path)
    except InputError:
        return True
    return False


def write_case(reader: Reader, number: int, folder: Path) -> Path:
    """Write a valid file of a reader with one thing spoilt."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / reader.valid.name
    chance = np.random.default_rng((number, len(reader.name), *reader.name.encode()))
    if reader.valid.is_dir():
        shutil.copytree(reader.valid, path)
        victim = path / reader.spoilt[number % len(reader.spoilt)]
        victim.write_bytes(spoil(victim.read_bytes(), chance))
    else:
        path.write_bytes(spoil(reader.valid.read_bytes(), chance))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_spoilt_files_end_in_a_sentence(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    hunter = context.Process(target=_hunt, args=(str(tmp_path), results))
    hunter.start()
    verdicts: dict[tuple[str, int], str] = {}
    try:
        while (result := _next(results, hunter)) is not None:
            verdicts[result[:2]] = result[2]
    finally:
        hunter.kill()
        hunter.join()
    assert hunter.exitcode in (0, -signal.SIGKILL), "the hunter died"
    wrong = {f"{name} {number}": verdict for (name, number), verdict in verdicts.items() if verdict}
    assert not wrong, json.dumps(wrong, indent=1).replace("\\n", "\n")
    assert len(verdicts) > 500


def _next(results: Any, hunter: Any) -> Any:
    """Wait for a result as long as somebody is there to send one."""
    for _ in range(10 * (SECONDS + 60)):
        if not results.empty():
            return results.get()
        if not hunter.is_alive():
            return None
        hunter.join(0.1)
    return None
