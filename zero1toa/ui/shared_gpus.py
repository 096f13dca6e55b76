"""What a Space with shared GPUs (ZeroGPU) asks of us: short turns, each in a forked process of which nothing stays but files.

Numbers are those of its documentation and of the package `spaces` 0.51, in August 2026.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from zero1toa.symgen.events import Event

# What a visitor has a day, seconds; and how many of these the platform counts for a second on its present cards.
QUOTA_S = {"without an account": 120, "with a free account": 300, "with a PRO account": 2400}
COUNTED = 1.5
# The most that may be asked for without an account is 120 / 1.5 = 80 s. Less than the least, and a turn is all set-up.
MOST_S, LEAST_S = 75, 30
# What is kept back of a turn to write the avatar and its pictures: 3 s on two cores, and the platform may be busier.
END_S = 12.0
# Seconds between checkpoints, as a turn that takes too long is cut off.
CHECKPOINT_S = 15.0

ROOT = Path(__file__).parents[2]
# Kernels of the last step of a creation: where they are compiled, all are.
LAST_COMPILED = "blend.blend_backward*.nbi"


def on_shared_gpus() -> bool:
    """Say whether this is a Space with shared GPUs, as the package `spaces` does."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def turn_seconds(expected: float) -> int:
    """Give the seconds of GPU to ask for, for work that is expected to take so many on two CPU cores.

    Nobody has measured the platform: the same again is for the way there and back.
    """
    return round(min(max(2 * expected, LEAST_S), MOST_S))


def quota_lines(turn: int) -> list[str]:
    """Say what a turn costs a visitor."""
    allowed = ", ".join(f"{seconds / 60:.0f} minutes {who}" for who, seconds in QUOTA_S.items())
    return [
        f"These count as {COUNTED * turn:.0f} seconds of the GPU time you have a day: {allowed}.",
        "What is not done by then is kept, and “Go on” asks for as much again. The gallery and playing cost nothing.",
    ]


@dataclass(slots=True)
class Turn:
    """One turn on a GPU: `seconds` from now, at the end of which the platform may kill the process."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    _first: int = 0
    _last: float = 0.0
    _longest: float = 0.0

    def over(self, event: Event) -> bool:
        """Say whether to stop at this event, because another piece of work as long as the longest may not end in time.

        No turn is over before it has brought the avatar forward, so that turns come to an end.
        """
        now = time.monotonic()
        if not self._first:
            # What comes before the first iteration comes once, so it says nothing about the pieces that follow.
            self._first, self._last = event.iteration, now
            return False
        self._longest, self._last = max(self._longest, now - self._last), now
        return event.iteration > self._first and now + self._longest + END_S > self.began + self.seconds


@functools.cache
def survive_forks() -> None:
    """Let numba's kernels work in forked processes; call it before the first kernel runs.

    GNU OpenMP, numba's usual threads, refuses to run in the child of a process that used it: it raises SIGTERM, which
    the package `spaces` catches, and the kernel returns without having done anything. numba's own work queue starts
    new threads instead. Locks that another thread holds while we fork would stay closed in the child for ever.
    """
    from numba.core import config
    from numba.core.compiler_lock import global_compiler_lock

    from zero1toa.render.base import PARALLEL

    config.THREADING_LAYER = "workqueue"  # pyright: ignore[reportAttributeAccessIssue]
    for lock in (global_compiler_lock, PARALLEL):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


@functools.cache
def compiling() -> subprocess.Popen[bytes] | None:
    """Start a program that compiles all kernels for good, unless they are; the first visitor's turn is too short for that.

    It makes a small avatar on the CPU. Gives the same program whenever it is called again.
    """
    if any((ROOT / "zero1toa" / "render" / "__pycache__").glob(LAST_COMPILED)):
        return None
    folder = Path(tempfile.mkdtemp(prefix="compiling-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "zero1toa", "create", str(ROOT / "examples" / "maya.jpg"), "-o", str(folder / "avatar")]
    plain = {name: value for name, value in os.environ.items() if name != "SPACES_ZERO_GPU"}
    program = subprocess.Popen(
        [*command, "--preset", "preview", "--iterations", "20", "--device", "cpu", "--i-have-consent"], cwd=ROOT, env=plain
    )
    atexit.register(program.terminate)
    return program
