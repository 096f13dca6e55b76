"""What a visitor can take away: files of the avatar on the stage, pictures and videos of it."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import gradio as gr

from zero1toa.export.ply import write_ply
from zero1toa.export.video import demo, perform_for, turntable, write_rendering
from zero1toa.export.views import Viewer
from zero1toa.export.web import write_html
from zero1toa.expressions import towards
from zero1toa.media import write_image
from zero1toa.symgen.performances import PERFORMANCES
from zero1toa.types import AvatarError, InputError
from zero1toa.ui.pictures import message, sentence
from zero1toa.ui.session import Session, Shown

VIDEO_SIZE, VIDEO_FPS, VIDEO_SECONDS = 512, 20.0, 8.0
PICTURE_SIZE = 1024
# What a video can show, besides the performances.
DEMO, TURNTABLE = "demo", "turntable"
VIDEOS = (DEMO, TURNTABLE, *(performance.name for performance in PERFORMANCES))


@dataclass(frozen=True, slots=True)
class Seen:
    """How the avatar stands on the visitor's stage: view in degrees, zoom, and sliders that are not at rest."""

    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0
    values: Mapping[str, float] | None = None

    @classmethod
    def read(cls, text: str) -> Seen:
        """Read what the page says; raises InputError when it is something else."""
        try:
            record = json.loads(text or "{}")
            view, values = record.get("view", {}), record.get("values", {})
            numbers = {name: float(view.get(name, default)) for name, default in (("yaw", 0.0), ("pitch", 0.0), ("zoom", 1.0))}
            values = {str(name): float(value) for name, value in values.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError("the view on the page cannot be read: reload the page and try again") from error
        if not all(map(math.isfinite, numbers.values())):
            raise InputError("the view on the page cannot be read: reload the page and try again")
        return cls(**numbers, values=values)


class Sharing:
    """The events of the step Share; each gives (file, session, what to say)."""

    def page(self, shown: Shown | None, session: Session | None, name: str, mark: bool, consent: bool) -> tuple[Any, Any, Any]:
        """Write one html file that opens offline."""
        with _sentences():
            session, viewer = _ready(shown, session)
            path = write_html(session.file("avatar.html"), viewer.saved, name=name or "", mark=mark, consent=consent)
        return str(path), session, _said("page", path)

    def rigged(self, shown: Shown | None, session: Session | None) -> tuple[Any, Any, Any]:
        """Hand out the rigged avatar."""
        with _sentences():
            session, _ = _ready(shown, session)
            assert shown is not None
            path = session.file("avatar.glb")
            shutil.copyfile(shown.glb, path)
        return str(path), session, _said("rigged avatar", path)

    def splats(self, shown: Shown | None, session: Session | None) -> tuple[Any, Any, Any]:
        """Write the splats as they stand in the photo."""
        with _sentences():
            session, viewer = _ready(shown, session)
            path = write_splats(session, viewer)
        return str(path), session, _said("splats", path)

    def folder(self, shown: Shown | None, session: Session | None) -> tuple[Any, Any, Any]:
        """Pack the avatar's folder."""
        with _sentences():
            session, _ = _ready(shown, session)
            assert shown is not None
            path = write_zip(session, shown)
        return str(path), session, _said("folder", path)

    def picture(self, shown: Shown | None, session: Session | None, seen: str) -> tuple[Any, Any, Any]:
        """Draw a picture of the avatar as it stands on the stage."""
        with _sentences():
            session, viewer = _ready(shown, session)
            stands, names = Seen.read(seen), viewer.saved.avatar.head.expression_names
            state = towards(viewer.saved.state[:1], stands.values or {}, names)
            camera = viewer.camera(stands.yaw, stands.pitch, zoom=stands.zoom, size=PICTURE_SIZE)
            path = session.file("avatar.png")
            write_image(path, viewer.draw(state, camera), provenance=viewer.saved.provenance())
        return str(path), session, _said("picture", path)

    def video(
        self,
        shown: Shown | None,
        session: Session | None,
        what: str,
        from_here: bool,
        mark: bool,
        consent: bool,
        seen: str,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Draw a video: `from_here` keeps the camera where it stands on the stage."""
        with _sentences():
            session, viewer = _ready(shown, session)
            yield gr.skip(), session, message("Drawing the video…")
            path, frames = session.file("avatar.mp4"), _frames(viewer, what, Seen.read(seen) if from_here else Seen())
            # Nobody waits for the film of a visitor who has left.
            wanted = takewhile(lambda _: session.alive, frames)
            write_rendering(path, wanted, VIDEO_FPS, viewer.saved, mark=mark, consent=consent)
        yield str(path), session, _said("video", path)


def write_files(session: Session, shown: Shown) -> tuple[str, str, str]:
    """Write everything that programs ask for: (rigged glb, splats, folder)."""
    return str(shown.glb), str(write_splats(session, shown.viewer())), str(write_zip(session, shown))


def write_splats(session: Session, viewer: Viewer) -> Path:
    """Write the splats as a ply file, in the photo's pose."""
    return write_ply(
        session.file("avatar.ply"), viewer.saved.avatar.pose(viewer.saved.state[:1]), comments=viewer.saved.provenance().lines()
    )


def write_zip(session: Session, shown: Shown) -> Path:
    """Pack an avatar's folder as a zip file; raises AvatarError for one that never had a folder."""
    if not shown.source.is_dir():
        raise AvatarError("an avatar of the gallery has no folder: take the rigged avatar (glb), which loads like one")
    base = session.file("avatar.zip").with_suffix("")
    packed = session.folder / "packing" / "avatar"
    shutil.copytree(shown.source, packed, dirs_exist_ok=True)
    try:
        return Path(shutil.make_archive(str(base), "zip", packed.parent, packed.name))
    finally:
        shutil.rmtree(packed.parent, ignore_errors=True)


def _frames(viewer: Viewer, what: str, seen: Seen) -> Iterator[Any]:
    """Choose what a video shows."""
    camera = viewer.camera(seen.yaw, seen.pitch, zoom=seen.zoom, size=VIDEO_SIZE)
    count = round(VIDEO_SECONDS * VIDEO_FPS)
    match what:
        case "demo":
            return demo(viewer, count, size=VIDEO_SIZE, fps=VIDEO_FPS)
        case "turntable":
            return turntable(viewer, count, size=VIDEO_SIZE, fps=VIDEO_FPS)
        case _:
            return perform_for(viewer, what, camera, fps=VIDEO_FPS)


def _ready(shown: Shown | None, session: Session | None) -> tuple[Session, Viewer]:
    """Give a folder to write into and the avatar on the stage; raises InputError when there is none any more."""
    if shown is None:
        raise InputError("there is no avatar yet: create one, or click one of the gallery")
    session = Session.of(session)
    if not shown.source.exists():
        raise InputError("this avatar was deleted because the page was idle for hours: create it again")
    return session, shown.viewer()


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn what is wrong with the input into an error that the page shows."""
    try:
        yield
    except InputError as error:
        raise gr.Error(sentence(str(error)), print_exception=False) from error


def _said(what: str, path: Path) -> str:
    return message(f"The {what} is in your downloads.", detail=[f"{path.stat().st_size / 1e6:.1f} MB"])
