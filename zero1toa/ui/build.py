"""Make the avatar of one visitor, and tell the page about it in plain records."""

from __future__ import annotations

import contextlib
import ctypes
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import spaces
import torch

from zero1toa.avatar.rigged import Avatar
from zero1toa.config import Config
from zero1toa.export.glb import glb_bytes
from zero1toa.export.package import describe, save_avatar
from zero1toa.export.saved import SavedAvatar
from zero1toa.pipeline import create_avatar, read_portrait, render, settle_prior
from zero1toa.portrait.kept import load_portrait, save_portrait
from zero1toa.symgen.events import Event
from zero1toa.types import InputError, Portrait
from zero1toa.ui.pictures import clip_figure, curves, message, sentence, stage_strip, status_line, webp_loop
from zero1toa.ui.session import Session, Shown
from zero1toa.ui.shared_gpus import CHECKPOINT_S, Turn, compiling, on_shared_gpus, turn_seconds

# What a creation takes on two cores of 2026: seconds to begin with, and for an iteration at 512 x 512.
BEGIN_S, STEP_S = 12.0, 0.19
# Seconds between avatars to play with while they grow, and the share of the time that writing them may take.
LIVE_S, LIVE_SHARE = 5.0, 0.1
CURVE_S, SMOOTH = 1.0, 0.15


@dataclass(frozen=True, slots=True)
class Progress:
    """What has changed on the page; what is empty has not. `glb` is the avatar as it is now, for browsers."""

    stages: str = ""
    status: str = ""
    glb: str = ""
    clip: str = ""
    curves: str = ""
    note: str = ""
    error: str = ""
    done: Shown | None = None


def usual_seconds(config: Config) -> float:
    """Estimate what a creation takes on two CPU cores."""
    trainer = config.trainer
    return BEGIN_S + STEP_S * trainer.curriculum.iterations * (trainer.size / 512) ** 2


def build(photo: str | Portrait, config: Config, session: Session, *, resume: bool = False) -> Iterator[Progress]:
    """Make an avatar in the session's folder, or go on with one; stopping, closing and failing all keep what there is.

    On shared GPUs it ends after one turn, and whoever wants more asks to go on. What is wrong with the photo comes as
    the `error` of the last record.
    """
    if not (resume and session.portrait.is_file()):
        # Looking at the photo needs no GPU, so nobody's time on one is spent on it.
        try:
            portrait = photo if isinstance(photo, Portrait) else read_portrait(Path(photo), config)
        except InputError as error:
            yield Progress(error=sentence(str(error)))
            return
        if not session.alive:
            return
        session.run.mkdir(exist_ok=True)
        save_portrait(session.portrait, portrait)
    if on_shared_gpus() and (program := compiling()) is not None:
        while program.poll() is None and not session.stopping:
            yield Progress(status=message("This Space has just started: compiling, which takes a minute or two…"))
            time.sleep(1)
    yield from work(config, session, resume=resume)


def gpu_seconds(config: Config, *rest: Any, **options: Any) -> int:
    """Say how long `work` may need a shared GPU; it gets the same arguments."""
    return turn_seconds(usual_seconds(config))


# Records and paths go in, records of text come out: on shared GPUs this runs in a forked process, and what it has made
# of its memory is lost; only the session's folder stays.
@spaces.GPU(duration=gpu_seconds)
def work(config: Config, session: Session, *, resume: bool = False) -> Iterator[Progress]:
    """Make an avatar of the portrait in the session's folder; on shared GPUs, for as long as a turn lasts."""
    if not session.alive:
        return  # whoever asked for it has left while it waited for a GPU
    turn = Turn(math.inf)
    if on_shared_gpus():
        turn = Turn(gpu_seconds(config))
        config = replace(config, trainer=replace(config.trainer, checkpoint_s=min(config.trainer.checkpoint_s, CHECKPOINT_S)))
    try:
        config, _ = settle_prior(config)  # so that the avatar is saved with the name of the prior that made it
    except InputError as error:
        yield Progress(error=sentence(str(error)))
        return
    portrait = load_portrait(session.portrait)
    events: Any = create_avatar(portrait, config, folder=session.run, resume=resume)  # an iterator that can be closed
    growing, event = Growing(config, session), None
    try:
        for event in events:
            growing.note(event)
            if event.stage == "done" or session.stopping or turn.over(event):
                break
            yield growing.progress(event)
        if not growing.finished:
            why = "Stopped." if session.stopping else "The time on the GPU is over."
            yield Progress(status=message(f"{why} Keeping what there is…"))
        events.close()
        yield _end(growing, event)
    except InputError as error:
        yield Progress(error=sentence(str(error)))
    finally:
        events.close()
        with contextlib.suppress(InputError):
            growing.keep()
        _return_memory()


def _return_memory() -> None:
    """Hand what was freed back to the system: glibc keeps it, for each of the threads that took turns, up to a gigabyte."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other systems have no such call, nor the habit
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(slots=True)
class Growing:
    """The avatar while it grows: what to keep of it, and what to show."""

    config: Config
    session: Session
    avatar: Avatar | None = None
    portrait: Portrait | None = None
    iteration: int = 0
    finished: bool = False
    kept: Shown | None = None
    began: float = field(default_factory=time.monotonic)
    next_glb: float = 0.0
    next_point: float = 0.0
    history: list[tuple[float, float, float]] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Remember what an event brought; training goes on in the same avatar."""
        self.avatar, self.portrait = event.avatar or self.avatar, event.portrait or self.portrait
        self.iteration, self.finished = event.iteration, event.stage == "done"

    def progress(self, event: Event) -> Progress:
        """Turn an event into what the page shows."""
        clip = ""
        if event.clip is not None and event.clip_before is not None:
            clip = clip_figure(webp_loop(event.clip_before, event.clip), event.message.removeprefix("regenerated clip "))
        fresh = event.portrait
        return Progress(
            stages=stage_strip(event.stage, share=event.iteration / max(event.iterations, 1)),
            status=status_line(event),
            glb=self._glb(),
            clip=clip,
            curves=self._curves(event),
            note=sentence(" ".join(fresh.notes)) if fresh is not None and fresh.notes else "",
        )

    def keep(self) -> Shown | None:
        """Save what there is, once, if there is anything and anybody to keep it for."""
        if self.kept is not None or self.avatar is None or self.portrait is None or not self.session.alive:
            return self.kept
        place = self.session.next_avatar()
        timings = {"total": time.monotonic() - self.began}
        iteration = None if self.finished else self.iteration
        save_avatar(place.source, self.avatar, self.portrait, self.config, timings=timings, iteration=iteration, force=True)
        place.glb.write_bytes(glb_bytes(self._saved()))
        self.kept = place
        return place

    def _glb(self) -> str:
        """Write the avatar as it is now, if it is time for that."""
        began = time.monotonic()
        if self.avatar is None or self.portrait is None or began < self.next_glb:
            return ""
        path = self.session.file("growing.glb")
        path.write_bytes(glb_bytes(self._saved(), rate=False))
        now = time.monotonic()
        self.next_glb = now + max(LIVE_S, (now - began) / LIVE_SHARE)
        return str(path)

    def _saved(self) -> SavedAvatar:
        """Give the avatar as it is now, as one that was saved."""
        assert self.avatar is not None
        assert self.portrait is not None
        details = describe(self.avatar, self.config, iteration=None if self.finished else self.iteration)
        return SavedAvatar(self.avatar, self.portrait, details)

    def _curves(self, event: Event) -> str:
        """Draw how loss and likeness went, if there is a new point."""
        now = time.monotonic()
        if self.avatar is None or self.portrait is None or not event.losses or now < self.next_point:
            return ""
        self.next_point = now + CURVE_S
        # A step looks at one picture, and some are harder than others: an average over some ten seconds.
        loss = sum(value for _, value in event.losses)
        loss = self.history[-1][1] + SMOOTH * (loss - self.history[-1][1]) if self.history else loss
        self.history.append((event.iteration / event.iterations, loss, likeness(self.avatar, self.portrait)))
        return curves(self.history)


@torch.no_grad()
def likeness(avatar: Avatar, portrait: Portrait) -> float:
    """Give the PSNR, in dB, between the person in the photo and the avatar in the same view with the same face."""
    grey = 0.5
    drawn = render(avatar, portrait.state, portrait.camera, background=grey).color[0]
    alpha = portrait.alpha[..., None]
    error = (drawn - (portrait.image * alpha + grey * (1 - alpha))) ** 2 * alpha
    return -10 * math.log10(max(float(error.sum() / (3 * alpha.sum()).clamp_min(1)), 1e-10))


def _end(growing: Growing, event: Event | None) -> Progress:
    """Save the avatar and say so, or say that there is nothing to save."""
    kept = growing.keep()
    if kept is None:
        return Progress(stages=stage_strip(), status=message("Stopped before there was anything to keep."))
    done = (
        "Your avatar is ready."
        if growing.finished
        else f"Ended after {growing.iteration} of {event.iterations if event else 0} iterations; this is the avatar so far."
    )
    took = f"made in {time.monotonic() - growing.began:.0f} s, {event.splats if event else 0:,} splats"
    stage = "done" if growing.finished else event.stage if event else ""
    return Progress(stages=stage_strip(stage), status=message(done, detail=[took]), glb=str(kept.glb), done=kept)
