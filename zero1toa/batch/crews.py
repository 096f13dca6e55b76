"""Who does the work of a batch: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from zero1toa.batch.work import Job, Outcome, make
from zero1toa.media import explain_writing
from zero1toa.types import InputError

CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker in the middle of a job."""

    reason: str

    def sentence(self, attempts: int) -> str:
        """Say it, and what to do."""
        return (
            f"the worker died {attempts} times at it ({self.reason}); often that is for lack of memory: "
            "use fewer --workers or a smaller --preset, then run again"
        )


class Crew(Protocol):
    """Some workers."""

    def has_room(self) -> bool:
        """Say whether another job can be given."""
        ...

    def give(self, job: Job) -> None:
        """Hand over a job."""
        ...

    def wait(self, seconds: float) -> Sequence[tuple[Job, Outcome | Death]]:
        """Give what came of jobs, as soon as anything did, or nothing after so many seconds."""
        ...

    def halt(self) -> None:
        """Ask all workers to keep what they have and stop."""
        ...

    def close(self) -> None:
        """End all workers, those in the middle of a job, too."""
        ...


# ------------------------------------------------------------------------------------------------- this machine


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


class Processes:
    """Processes of this machine. They are begun afresh, not forked, because CUDA and threads do not survive that.

    Workers take jobs from a pipe. Whatever is in the pipe while one is at work means stop; so does its end, which
    comes when this process dies.
    """

    def __init__(self, workers: int) -> None:
        if not 1 <= workers <= 256:
            raise InputError(f"--workers {workers} is out of range: use 1 to 256")
        self._count = workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = max(1, cores // workers)
        self._workers: list[_Worker] = []

    def has_room(self) -> bool:
        """Say whether a worker is idle, or could be begun."""
        return sum(worker.job is not None for worker in self._workers) < self._count

    def give(self, job: Job) -> None:
        """Hand a job to an idle worker that lives, or to a new one."""
        self._workers = [worker for worker in self._workers if worker.job is not None or worker.process.is_alive()]
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._begin()
        worker.job = job
        with contextlib.suppress(OSError):  # it died just now, and `wait` will notice
            worker.pipe.send(job)

    def wait(self, seconds: float) -> list[tuple[Job, Outcome | Death]]:
        """Collect what workers sent, and who is dead."""
        busy = [worker for worker in self._workers if worker.job is not None]
        multiprocessing.connection.wait([worker.pipe for worker in busy], seconds)
        results: list[tuple[Job, Outcome | Death]] = []
        for worker in busy:
            job, alive = worker.job, worker.process.is_alive()  # before we look: it may send its last word and go
            assert job is not None
            try:
                if worker.pipe.poll():
                    results.append((job, worker.pipe.recv()))
                    worker.job = None
                elif not alive:
                    raise EOFError
            except (EOFError, OSError):
                worker.process.join(CLOSE_S)
                results.append((job, Death(_ending(worker.process.exitcode))))
                self._workers.remove(worker)
                worker.pipe.close()
        return results

    def halt(self) -> None:
        """Put the word into all pipes."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)

    def close(self) -> None:
        """End them."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.job is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(CLOSE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _begin(self) -> _Worker:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, self._threads), daemon=True)
        # Ctrl-C reaches all processes of a terminal; what it means is for this one to say.
        with _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]


def _serve(pipe: Connection, threads: int) -> None:
    """Do jobs until there are no more."""
    import numba
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    numba.set_num_threads(min(threads, numba.get_num_threads()))
    with contextlib.suppress(EOFError, OSError):
        while (job := pipe.recv()) is not None:
            pipe.send(make(job, pipe.poll))


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that begin now ignore SIGINT."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, where no Ctrl-C arrives
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"


# ---------------------------------------------------------------------------------------------------- a cluster


class Ray:
    """A Ray cluster, one task per portrait; `local` is a cluster of this machine alone.

    Every machine needs this program with ray, and the folders of photos and avatars under the same paths. Where there
    are GPUs a task gets one, else one CPU core: that gives the most portraits per hour.
    """

    def __init__(self, address: str, output: Path, device: str) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            remedy = "`pip install -r requirements-cluster.txt`, here and on every machine of the cluster"
            raise InputError(f"--ray needs the package ray: {remedy}; or leave --ray out") from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that we start tells nobody
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"no Ray cluster answers at {address!r} ({reason}): check the address, start one with `ray start --head` "
                "and use auto, or use local"
            ) from error
        self._ray: Any = ray
        self._stop = output.absolute() / f".stop-{uuid.uuid4().hex[:8]}"
        resources = ray.cluster_resources()
        gpu = device == "cuda" or (device == "auto" and resources.get("GPU", 0) >= 1)
        self._task: Any = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=0)(_on_ray)
        self._jobs: dict[Any, Job] = {}

    def has_room(self) -> bool:
        """Say whether fewer than two jobs per slot are out: as many as show a cluster that may grow that it should."""
        resources = self._ray.cluster_resources()
        return len(self._jobs) < 2 * max(1, int(resources.get("CPU", 1)))

    def give(self, job: Job) -> None:
        """Hand a job to the cluster."""
        self._jobs[self._task.remote(job, self._stop)] = job

    def wait(self, seconds: float) -> list[tuple[Job, Outcome | Death]]:
        """Collect one result."""
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=seconds)
        results: list[tuple[Job, Outcome | Death]] = []
        for task in ready:
            job = self._jobs.pop(task)
            try:
                results.append((job, self._ray.get(task)))
            except self._ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                results.append((job, Death(reason[0] if len(reason) == 1 else f"{reason[0]} {reason[-1].strip()}")))
        return results

    def halt(self) -> None:
        """Leave a sign that all machines see."""
        with explain_writing(self._stop):
            self._stop.touch()

    def close(self) -> None:
        """Leave the cluster, which ends what it does for us."""
        self._ray.shutdown()
        self._stop.unlink(missing_ok=True)


def _on_ray(job: Job, stop: Path) -> Outcome:
    """Do a job on some machine of the cluster."""
    import numba
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
        numba.set_num_threads(1)
    return make(job, stop.exists)
