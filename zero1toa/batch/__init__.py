"""Many portraits: every photo of a folder becomes an avatar, whatever happens to the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zero1toa.batch.crews import Crew
    from zero1toa.batch.work import Job, Outcome

# Seconds between two looks at whether we are asked to stop.
LOOK_S = 0.2
ATTEMPTS = 2


def make_avatars(jobs: Sequence[Job], crew: Crew, halted: Callable[[], bool]) -> Iterator[Outcome]:
    """Have a crew do all jobs and give the outcome of each as it comes; the crew is closed at the end.

    A job whose worker died is given to another one, once; its checkpoints are still there. As soon as `halted` says so,
    workers keep what they have, and jobs that nobody had begun come out as `waiting`.
    """
    from zero1toa.batch.crews import Death
    from zero1toa.batch.work import Outcome

    waiting, busy, stopping = deque(jobs), 0, False
    try:
        while busy or (waiting and not stopping):
            if halted() and not stopping:
                stopping = True
                crew.halt()
            while waiting and not stopping and crew.has_room():
                crew.give(waiting.popleft())
                busy += 1
            for job, result in crew.wait(LOOK_S):
                busy -= 1
                if isinstance(result, Outcome):
                    yield result
                elif isinstance(result, Death) and stopping:
                    yield Outcome(job.photo, job.folder, "stopped", "run again to go on", attempt=job.attempt)
                elif job.attempt < ATTEMPTS:
                    waiting.appendleft(replace(job, attempt=job.attempt + 1))
                else:
                    yield Outcome(job.photo, job.folder, "failed", result.sentence(job.attempt), attempt=job.attempt)
        for job in waiting:
            yield Outcome(job.photo, job.folder, "waiting", "run again to begin", attempt=job.attempt)
    finally:
        crew.close()
