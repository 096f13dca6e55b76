"""Keep a folder that is being written to for one process at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from zero1toa.media import explain_writing
from zero1toa.types import InputError

LOCK = ".lock"
# Seconds between two looks at whether a folder is free.
LOOK_S = 0.2


@contextlib.contextmanager
def claimed(folder: str | Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Have a folder that exists to ourselves; raises InputError when another process still has it after `wait_s` seconds.

    The lock is the operating system's, which frees it however its process ends; where one was killed, an empty file stays.
    """
    import filelock

    path = Path(folder) / LOCK
    lock = filelock.FileLock(path)
    with explain_writing(path.parent):
        try:
            lock.acquire(timeout=wait_s, poll_interval=LOOK_S)
        except filelock.Timeout as error:
            raise InputError(
                f"another process is writing to {folder}: wait until it has ended, or choose another folder"
            ) from error
    try:
        yield
    finally:
        # While it is ours: whoever waits for the old file notices that it is gone and makes a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
