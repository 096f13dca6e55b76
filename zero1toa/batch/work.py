"""One portrait of a batch: skipped, gone on with or begun, and never a reason for the others to stop."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from zero1toa.config import Config
from zero1toa.export.claim import claimed
from zero1toa.export.package import RECORD, WORK, check_output, read_details, save_avatar
from zero1toa.export.saved import Details
from zero1toa.media import explain_writing
from zero1toa.pipeline import create_avatar, settle_prior
from zero1toa.progress import Story, system_reason
from zero1toa.symgen.trainer import OUTWARD
from zero1toa.types import InputError

log = logging.getLogger(__name__)

# What counts as a photo. We cannot read the last two, but whoever has them in the folder should be told.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")
# In the folder of a finished avatar: the hash of the photo it was made of.
PHOTO = ".photo.sha256"
# Seconds that a job waits for whoever is at its folder: workers of a batch that was killed end after what they are at.
WAIT_S = 60.0
# Names that the report takes.
TAKEN = ("report.html", "report.json")


@dataclass(frozen=True, slots=True)
class Job:
    """A photo to be made an avatar in `folder`; with `force`, whatever was made of it before."""

    photo: Path
    folder: Path
    config: Config
    force: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job. `timings` are pairs of stage and seconds; a `fault` is a failure that is this program's.

    An avatar that was there already is `kept`; one that was stopped has an `iteration` to go on from.
    """

    photo: Path
    folder: Path
    status: Literal["made", "kept", "failed", "stopped", "waiting"]
    message: str = ""
    seconds: float = 0.0
    splats: int = 0
    iteration: int = 0
    timings: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    attempt: int = 1
    fault: bool = False


def plan_jobs(source: Path, output: Path, config: Config, *, force: bool = False) -> list[Job]:
    """List the photos of a folder, and the folder in `output` that each one's avatar gets.

    An avatar is named after its photo, with the suffix only where several share the rest. Raises InputError when there
    is nothing to do or nowhere to put it.
    """
    source, output = source.absolute(), output.absolute()
    if not source.is_dir():
        raise InputError(f"there is no folder {source}: give the folder that holds the portraits")
    if output.resolve() == source.resolve():
        raise InputError(f"{output} holds the photos: choose another folder for the avatars")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: choose another name for the folder of the avatars")
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    photos = [path for path in found if not path.is_dir()]
    if not photos:
        raise InputError(f"the folder {source} holds no photos: put portraits there, as jpg, png, webp, tiff, bmp, gif or avif")
    with explain_writing(output):
        output.mkdir(parents=True, exist_ok=True)
    # As disks see names that do not tell capitals from small letters.
    stems = Counter([*TAKEN, *(path.stem.casefold() for path in photos)])
    name = lambda path: path.name if stems[path.stem.casefold()] > 1 else path.stem
    return [Job(path, output / name(path), config, force) for path in photos]


def make(job: Job, halted: Callable[[], bool]) -> Outcome:
    """Do a job until it is done or `halted`; whatever goes wrong becomes a sentence."""
    began, fault = time.monotonic(), False
    try:
        return _make(job, halted)
    except InputError as error:
        message = str(error)
    except Exception as error:
        message = system_reason(error)
        if fault := not message:
            log.info("a fault with %s", job.photo, exc_info=True)
            message = (
                f"this should not have happened: {type(error).__name__}: {error}; "
                "`create` of this photo alone, with --debug, shows where"
            )
    with contextlib.suppress(OSError):
        (job.folder / WORK).rmdir()  # only if there is nothing to keep
        job.folder.rmdir()
    seconds = time.monotonic() - began
    return Outcome(job.photo, job.folder, "failed", message, seconds, attempt=job.attempt, fault=fault)


def _make(job: Job, halted: Callable[[], bool]) -> Outcome:
    config, folder, work = settle_prior(job.config)[0], job.folder, job.folder / WORK
    picture = _hash(job.photo)
    anew = job.force and job.attempt == 1
    if not anew and (kept := _kept(job, config, picture)) is not None:
        return kept
    check_output(folder, force=job.force or any(work.glob("checkpoint-*")), resume=True)
    with explain_writing(folder):
        work.mkdir(parents=True, exist_ok=True)
    with claimed(folder, wait_s=WAIT_S):
        if anew:
            shutil.rmtree(work, ignore_errors=True)
        elif (kept := _kept(job, config, picture)) is not None:  # by whom we waited for
            return kept
        for leftover in folder.glob(".partial-*"):  # of a save that was cut off
            shutil.rmtree(leftover, ignore_errors=True)
        story = Story()
        events = create_avatar(job.photo, config, folder=work, resume=True)
        with contextlib.closing(events):  # pyright: ignore[reportArgumentType]  # a generator, whose end keeps a checkpoint
            for event in events:
                story.add(event)
                if halted():
                    break
        return _keep(job, config, story, picture)


def _kept(job: Job, config: Config, picture: str) -> Outcome | None:
    """Give the outcome of a job that is done already."""
    if (details := _finished(job.folder, config, picture)) is None:
        return None
    seconds = dict(details.timings).get("total", 0.0)
    return Outcome(
        job.photo, job.folder, "kept", "it was there already", seconds, details.splats, details.iteration, details.timings,
    )  # fmt: skip


def _keep(job: Job, config: Config, story: Story, picture: str) -> Outcome:
    """Save what a run came to."""
    done, iteration, timings = story.last.stage == "done", story.last.iteration, story.timings()
    # Before training has begun, or gone on, the avatar is but the first splats: an earlier run may have saved a better one.
    begun = story.last.stage not in ("prepare", "seed")
    if begun:
        assert story.avatar is not None
        assert story.portrait is not None
        left = None if done else iteration
        save_avatar(job.folder, story.avatar, story.portrait, config, timings=timings, iteration=left, force=True)
    if done:
        (job.folder / PHOTO).write_text(picture + "\n")
        shutil.rmtree(job.folder / WORK, ignore_errors=True)
    return Outcome(
        job.photo, job.folder,
        status="made" if done else "stopped",
        message="" if done else f"stopped at iteration {iteration}: run again to go on" if begun else "run again to begin",
        seconds=timings["total"],
        splats=len(story.avatar) if story.avatar is not None else 0,
        iteration=iteration,
        timings=tuple((stage, round(seconds, 2)) for stage, seconds in timings.items()),
        notes=story.portrait.notes if story.portrait is not None else (),
        attempt=job.attempt,
    )  # fmt: skip


def _finished(folder: Path, config: Config, picture: str) -> Details | None:
    """Give what is known about the avatar if it is finished; raises InputError if it is not the one that is wanted."""
    if not (folder / RECORD).is_file() or any((folder / WORK).glob("checkpoint-*")):
        return None
    details = read_details(folder)
    if not details.finished:
        return None
    other = ""
    if (folder / PHOTO).is_file() and (folder / PHOTO).read_text().strip() != picture:
        other = "of another photo of that name"
    # Through JSON, as the record has been.
    old, new = dict(_flat(details.config)), dict(_flat(json.loads(json.dumps(asdict(config)))))
    ignored = {"device", *(f"trainer.{name}" for name in OUTWARD)}
    if changed := [name for name in new if name in old and name not in ignored and old[name] != new[name]]:
        other = f"with {changed[0]} = {old[changed[0]]}, not {new[changed[0]]}"
    if other:
        raise InputError(f"the avatar in {folder} was made {other}: choose another folder, or add --force to replace it")
    return details


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _hash(photo: Path) -> str:
    try:
        return hashlib.sha256(photo.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{photo.name} cannot be read ({error.strerror or error}): check the file") from error


def exit_status(outcomes: Sequence[Outcome], *, stopped: int) -> int:
    """Sum up in the command line's terms: 0 all there, 2 some photos failed, 1 a fault of ours, `stopped` if that it was."""
    if any(outcome.status in ("stopped", "waiting") for outcome in outcomes):
        return stopped
    if any(outcome.fault for outcome in outcomes):
        return 1
    return 2 if any(outcome.status == "failed" for outcome in outcomes) else 0
