"""Tell people, logs or machines how a run goes: a bar on a terminal, plain lines elsewhere, JSON on request."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from zero1toa.avatar.rigged import Avatar
    from zero1toa.symgen.events import Event
    from zero1toa.types import FitReport, Portrait

# Files that a command may have to have open at once: tried were 9 for a video and 14 for a batch.
LEAST_FILES = 64


class Reporter(Protocol):
    """Whoever listens to a command."""

    def event(self, event: Event) -> None:
        """Take one step of `create_avatar`."""
        ...

    def count(self, what: str, done: int, total: int | None) -> None:
        """Take note that so many of something are done."""
        ...

    def say(self, kind: str, message: str, **facts: Any) -> None:
        """Tell a finished thing; machines get the facts, people the message."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


@contextmanager
def reporting(*, machine: bool) -> Iterator[Reporter]:
    """Choose who listens: machines, a terminal, or a log."""
    reporter: Reporter
    if machine:
        reporter = JsonLines()
    elif sys.stdout.isatty():
        reporter = Bar()
    else:
        reporter = Lines()
    try:
        yield reporter
    finally:
        reporter.close()


def claim_stdout() -> None:
    """Keep standard output for what we tell, and send what libraries print below Python to standard error.

    gloo, in torch 2.8, says there that it is connected.
    """
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding)
    os.dup2(2, 1)


class JsonLines:
    """One JSON object per line."""

    def event(self, event: Event) -> None:
        facts: dict[str, Any] = {
            "stage": event.stage,
            "iteration": event.iteration,
            "iterations": event.iterations,
            "elapsed_s": round(event.elapsed_s, 3),
            "remaining_s": round(event.remaining_s, 3),
            "message": event.message,
            "splats": event.splats,
            "losses": dict(event.losses),
        }
        if event.portrait is not None:
            facts["fit"] = fit_facts(event.portrait.report)
            facts["notes"] = list(event.portrait.notes)
        if event.checkpoint is not None:
            facts["checkpoint"] = str(event.checkpoint)
        self._write({"type": "event", **facts})

    def count(self, what: str, done: int, total: int | None) -> None:
        self._write({"type": "count", "what": what, "done": done, "total": total})

    def say(self, kind: str, message: str, **facts: Any) -> None:
        self._write({"type": kind, "message": message, **facts})

    def close(self) -> None:
        pass

    def _write(self, record: dict[str, Any]) -> None:
        print(json.dumps(record, ensure_ascii=False), flush=True)


class Lines:
    """Plain lines, one for every stage and one every few seconds between."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        self._stage = ""
        self._last = -self.EVERY_S

    def event(self, event: Event) -> None:
        told = event.portrait is not None or event.stage in ("prepare", "seed")
        if told and event.message:
            for line in describe_portrait(event) or [event.message]:
                print(f"{event.stage}: {line}", flush=True)
        elif event.stage != self._stage or time.monotonic() - self._last >= self.EVERY_S:
            print(progress_line(event), flush=True)
        else:
            return
        self._stage, self._last = event.stage, time.monotonic()

    def count(self, what: str, done: int, total: int | None) -> None:
        if done != total and time.monotonic() - self._last < self.EVERY_S:
            return
        self._last = time.monotonic()
        print(f"{what} {done}" + (f" of {total}" if total else ""), flush=True)

    def say(self, kind: str, message: str, **facts: Any) -> None:
        print(message, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """A bar with the stage and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
        self._progress = Progress(*columns, console=Console(highlight=False), transient=True)
        self._task = self._progress.add_task("", total=None, left="")
        self._started = False

    def event(self, event: Event) -> None:
        self._start()
        for line in describe_portrait(event):
            self._print(line)
        self._progress.update(
            self._task,
            description=event.stage,
            completed=event.iteration,
            total=event.iterations if event.stage not in ("prepare", "seed") else None,
            left=_status(event),
        )

    def count(self, what: str, done: int, total: int | None) -> None:
        self._start()
        self._progress.update(self._task, description=what, completed=done, total=total, left="")

    def say(self, kind: str, message: str, **facts: Any) -> None:
        self.close()
        self._print(message)

    def close(self) -> None:
        if self._started:
            self._progress.stop()
            self._started = False

    def _start(self) -> None:
        if not self._started:
            self._progress.start()
            self._started = True

    def _print(self, text: str) -> None:
        self._progress.console.print(text, markup=False)


class Story:
    """What the events of a run leave behind."""

    def __init__(self) -> None:
        self.portrait: Portrait | None = None
        self.avatar: Avatar | None = None
        self.last: Event
        self._began = time.monotonic()
        self._stages: dict[str, float] = {}

    def add(self, event: Event) -> None:
        self._stages.setdefault(event.stage, time.monotonic() - self._began)
        self.portrait = event.portrait or self.portrait
        self.avatar = event.avatar if event.avatar is not None else self.avatar
        self.last = event

    def timings(self) -> dict[str, float]:
        """Give the seconds spent in every stage, and in total."""
        total = time.monotonic() - self._began
        starts = [*self._stages.items(), ("", total)]
        spent = {stage: starts[i + 1][1] - start for i, (stage, start) in enumerate(starts[:-1]) if stage != "done"}
        return {**spent, "total": total}


class Interrupts:
    """Ctrl-C as a request: between two events the run stops and keeps what it has; the second Ctrl-C stops at once.

    Until `armed` there is nothing to keep, and the first one already stops. Use as a context manager.
    """

    def __init__(self) -> None:
        self.asked = False
        self.armed = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        try:
            self._before = signal.signal(signal.SIGINT, self._asked)
        except ValueError:  # not the main thread, where no Ctrl-C arrives
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.armed:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping; the avatar so far will be kept", file=sys.stderr, flush=True)


def describe_portrait(event: Event) -> list[str]:
    """Sum up in sentences what was found in the photo, if that is what an event tells."""
    if event.portrait is None:
        return []
    report = event.portrait.report
    lines = [
        f"the head fits the photo to {report.rmse_px:.1f} px; "
        f"yaw {report.yaw:.0f}, pitch {report.pitch:.0f}, roll {report.roll:.0f} degrees"
    ]
    return lines + [f"note: {note}" for note in event.portrait.notes]


def fit_facts(report: FitReport) -> dict[str, Any]:
    """Give a fit report for machines."""
    return {
        "rmse_px": report.rmse_px,
        "yaw": report.yaw,
        "pitch": report.pitch,
        "roll": report.roll,
        "expressions": dict(report.expressions),
    }


def progress_line(event: Event) -> str:
    """Sum up an event of training in one line."""
    parts = [f"{event.stage}: {event.iteration}/{event.iterations}"]
    if event.splats:
        parts.append(f"{event.splats} splats")
    if event.losses:
        parts.append(f"loss {sum(value for _, value in event.losses):.3f}")
    if event.remaining_s > 0 and event.stage != "done":
        parts.append(f"{duration(event.remaining_s)} left")
    return ", ".join(parts)


def _status(event: Event) -> str:
    if event.portrait is not None or event.stage == "done":
        return ""
    return f"{duration(event.remaining_s)} left" if event.remaining_s > 0 else event.message


def duration(seconds: float) -> str:
    """Write seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def lack_of_files(least: int = LEAST_FILES) -> str:
    """Say in a sentence that fewer files may be open at once than a command needs, or nothing.

    To be asked first: libraries that lack them say that models or programs of theirs are missing.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return ""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < least:
        return f"only {allowed} files may be open at once: allow more with `ulimit -n 1024`, and try again"
    return ""


def system_reason(error: Exception) -> str:
    """Say in a sentence what the system refused, if that is what happened; libraries wrap it in errors of their own."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        text in str(error) for text in ("No space left on device", "File too large", "Disk quota exceeded")
    ):
        return "the disk is full: free some space and go on with --resume; what was saved before is still there"
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in str(error):
        return "too many files are open at once: close other programs, or allow more with `ulimit -n 4096`, and try again"
    if isinstance(error, OSError) and number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the system does not allow it: {error}; choose another folder"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "there is not enough memory: close other programs, or use --preset preview"
    return ""
