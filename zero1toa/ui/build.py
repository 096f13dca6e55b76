"""Make the avatar of one visitor, and tell the page about it in plain records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spaces

from zero1toa.config import Config
from zero1toa.export.package import save_avatar
from zero1toa.pipeline import create_avatar, settle_prior
from zero1toa.symgen.events import Event
from zero1toa.types import InputError
from zero1toa.ui.pictures import clip_figure, jpeg, message, stage_strip, status_line, webp_loop
from zero1toa.ui.session import Session

# What a visitor of a Space with shared GPUs asks for; ignored everywhere else.
GPU_SECONDS = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """What has changed on the page; empty text means that nothing has."""

    stages: str = ""
    status: str = ""
    picture: str = ""
    clip: str = ""
    note: str = ""
    error: str = ""
    finished: bool = False


# Records and paths go in, records of text come out: on shared GPUs this runs in another process.
@spaces.GPU(duration=GPU_SECONDS)
def build(photo: str, config: Config, session: Session) -> Iterator[Progress]:
    """Make an avatar in the session's folder; stopping, closing and failing all keep what there is so far.

    What is wrong with the photo comes as the `error` of the last record.
    """
    avatar = portrait = None
    iteration, began = 0, time.monotonic()
    config, _ = settle_prior(config)  # so that the avatar is saved with the name of the prior that made it
    events: Any = create_avatar(Path(photo), config)  # an iterator that can be closed

    def keep(*, finished: bool) -> bool:
        """Save what there is, if anything."""
        if avatar is None or portrait is None or not session.folder.is_dir():
            return False
        timings = {"total": time.monotonic() - began}
        done = None if finished else iteration
        save_avatar(session.avatar, avatar, portrait, config, timings=timings, iteration=done, force=True)
        return True

    saved = False
    try:
        for event in events:
            avatar, portrait, iteration = event.avatar or avatar, event.portrait or portrait, event.iteration
            if event.stage == "done":
                break
            if session.stopping:
                break
            yield _progress(event)
        events.close()
        finished = event.stage == "done"
        saved = keep(finished=finished)
        if not saved:
            yield Progress(stages=stage_strip(), status=message("Stopped before there was anything to keep."))
            return
        said = "Your avatar is ready." if finished else f"Stopped after {iteration} iterations; this is the avatar so far."
        took = f"made in {time.monotonic() - began:.0f} s, {len(avatar):,} splats" if avatar is not None else ""
        yield Progress(stages=stage_strip("done"), status=message(said, detail=[took]), finished=True)
    except InputError as error:
        yield Progress(error=_sentence(str(error)))
    finally:
        events.close()
        if not saved:
            with contextlib.suppress(InputError):
                keep(finished=False)


def _progress(event: Event) -> Progress:
    """Turn an event into what the page shows."""
    clip = ""
    if event.clip is not None and event.clip_before is not None:
        clip = clip_figure(webp_loop(event.clip_before, event.clip), event.message.removeprefix("regenerated clip "))
    return Progress(
        stages=stage_strip(event.stage, share=event.iteration / max(event.iterations, 1)),
        status=status_line(event),
        picture=jpeg(event.preview) if event.preview is not None else "",
        clip=clip,
        note=_sentence(" ".join(event.portrait.notes)) if event.portrait is not None and event.portrait.notes else "",
    )


def _sentence(text: str) -> str:
    """Let a message begin with a capital and end with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""
