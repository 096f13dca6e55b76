"""What happens when something on the page is touched; the page itself is in `layout`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
from gradio.utils import get_upload_folder

from zero1toa.config import Config
from zero1toa.export.package import RECORD
from zero1toa.export.ply import write_ply
from zero1toa.export.video import talk, turntable
from zero1toa.export.views import Viewer
from zero1toa.expressions import CONTROLS, with_expressions
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.media import write_video
from zero1toa.types import HeadState, InputError
from zero1toa.ui.build import Progress, build
from zero1toa.ui.pictures import jpeg, message, stage_strip, view_value
from zero1toa.ui.session import Session, delete_copies, open_viewer

SIZE = 384
VIDEO_FPS, VIDEO_SECONDS = 20.0, 8.0
# The sliders for the face, in the order in which the page hands them over.
FACE = (*(control.name for control in CONTROLS), *ARKIT_NAMES)

CONSENT = "Please confirm this first."
NO_PHOTO = "Choose a photo first: upload one, take one, or click an example."
EXPIRED = "This avatar was deleted because the page was idle for hours: create it again."


class Screen(NamedTuple):
    """What a step of the creation puts on the page."""

    session: Any
    stages: Any = gr.skip()
    status: Any = gr.skip()
    view: Any = gr.skip()
    clip: Any = gr.skip()
    create: Any = gr.skip()
    stop: Any = gr.skip()
    play: Any = gr.skip()


@dataclass(frozen=True, slots=True)
class Handlers:
    """The page's events. Presets by name; the folder of an avatar for everybody to play with, if there is one."""

    presets: Mapping[str, Config]
    examples: Sequence[Path] = ()
    demo: Path | None = None

    def check(self, photo: str | None, consent: bool, *rest: Any) -> list[Any]:
        """Look at what was entered before any work is queued."""
        return [
            gr.validate(photo is not None, NO_PHOTO),
            gr.validate(bool(consent), CONSENT),
            *(gr.validate(True, "") for _ in rest),
        ]

    def create(self, photo: str, consent: bool, preset: str, seed: float, session: Session | None) -> Iterator[Screen]:
        """Make an avatar while the page watches."""
        session = session if session is not None and session.folder.is_dir() else Session.open()
        session.start()
        yield Screen(
            session,
            stages=stage_strip("prepare"),
            status=message("Reading the photo and fitting a head to it"),
            create=gr.update(interactive=False),
            stop=gr.update(visible=True, interactive=True, value="Stop and keep this"),
            play=gr.update(visible=False),
            clip="",
        )
        idle: dict[str, Any] = {"create": gr.update(interactive=True), "stop": gr.update(visible=False), "clip": ""}
        for step in build(photo, self._config(preset, seed), session):
            if step.note:
                gr.Info(step.note, duration=12)
            if step.error:
                yield Screen(session, stages=stage_strip(), status=message(step.error), **idle)
                raise gr.Error(step.error, duration=None, print_exception=False)
            yield Screen(session, **_shown(step))
        yield Screen(session, play=gr.update(visible=session.ready), **idle)

    def stop(self, session: Session | None) -> Any:
        """Ask the creation to end with what there is."""
        if session is not None:
            session.stop()
        return gr.update(interactive=False, value="Stopping…")

    def welcome(self) -> tuple[Any, ...]:
        """Put the shared avatar on the page, if there is one: (view, play, status)."""
        if self.demo is None:
            return gr.skip(), gr.skip(), gr.skip()
        said = message("This is an example.", detail=["Drag the picture, move the sliders, then make one of yourself."])
        return self._draw(open_viewer(self.demo)), gr.update(visible=True), said

    def show(self, session: Session | None, yaw: float, pitch: float, zoom: float, *face: float) -> Any:
        """Draw the avatar as the sliders say."""
        viewer = self._viewer(session)
        return gr.skip() if viewer is None else self._draw(viewer, yaw, pitch, zoom, face)

    def turn(
        self, event: gr.EventData, session: Session | None, yaw: float, pitch: float, zoom: float, *face: float
    ) -> tuple[Any, Any, Any]:
        """Draw the avatar as a drag across the picture says: (view, yaw, pitch)."""
        yaw, pitch = float(event.yaw), float(event.pitch)
        return self.show(session, yaw, pitch, zoom, *face), yaw, pitch

    def reset(self, session: Session | None) -> tuple[Any, ...]:
        """Bring view and face back to the photo's: (view, yaw, pitch, zoom, face sliders)."""
        return (self.show(session, 0.0, 0.0, 1.0), 0.0, 0.0, 1.0, *(0.0 for _ in FACE))

    def offer(self, session: Session | None) -> Iterator[tuple[Any, Any, Any]]:
        """Write the files to download: (splats, folder, video). The video takes a while and comes last."""
        if session is None or not session.ready:
            return
        wait = gr.update(value=None, interactive=False, label="Video…")
        yield gr.update(value=None, interactive=False), gr.update(value=None, interactive=False), wait
        try:
            viewer = session.viewer()
            splats, packed = write_files(session, viewer)
            ready = gr.update(value=splats, interactive=True), gr.update(value=packed, interactive=True)
            yield *ready, wait
            video = session.folder / "avatar.mp4"
            half = round(VIDEO_SECONDS * VIDEO_FPS / 2)
            frames = chain(turntable(viewer, half, size=SIZE, fps=VIDEO_FPS), talk(viewer, half, size=SIZE, fps=VIDEO_FPS))
            # Nobody waits for the film of a visitor who has left.
            wanted = takewhile(lambda _: session.folder.is_dir(), frames)
            write_video(video, wanted, VIDEO_FPS, comment=" ".join(viewer.saved.provenance()))
            yield *ready, gr.update(value=str(video), interactive=True, label="Video")
        except InputError as error:
            if session.folder.is_dir():
                raise gr.Error(str(error), print_exception=False) from error

    def create_files(self, photo: str, consent: bool, preset: str = "preview", seed: float = 0) -> Iterator[tuple[str, str]]:
        """Make an avatar of the person in a photo: its splats as a ply file, and the avatar's folder as a zip file.

        `consent` says that you may use the photo. Nothing is kept on the server.
        """
        problem = NO_PHOTO if photo is None else "" if consent else "Please say that you may use this photo."
        if problem:
            raise gr.Error(problem, print_exception=False)
        session = Session.open()
        try:
            for step in build(photo, self._config(preset, seed), session):
                if step.error:
                    raise gr.Error(step.error, print_exception=False)
            yield write_files(session, session.viewer())
        finally:
            session.close()

    def wipe(self, session: Session | None, *files: str | None) -> tuple[Any, ...]:
        """Delete everything of this visitor's and clear the page: (session, photo, consent, view, play, stages, status)."""
        if session is not None:
            session.stop()
            session.close()
        delete_copies(files, Path(get_upload_folder()), self.examples)
        said = message("Your photo and your avatar are deleted.")
        return None, None, False, view_value(""), gr.update(visible=False), stage_strip(), said

    def _config(self, preset: str, seed: float) -> Config:
        if preset not in self.presets:
            raise gr.Error(f"No preset is called {preset!r}: use one of {', '.join(self.presets)}.", print_exception=False)
        return self.presets[preset].with_seed(int(seed or 0))

    def _viewer(self, session: Session | None) -> Viewer | None:
        """Give the visitor's avatar, or the shared one before there is any."""
        if session is not None and session.ready:
            return session.viewer()
        if session is not None and not session.folder.is_dir():
            raise gr.Error(EXPIRED, print_exception=False)
        return open_viewer(self.demo) if self.demo is not None else None

    def _draw(self, viewer: Viewer, yaw: float = 0.0, pitch: float = 0.0, zoom: float = 1.0, face: Sequence[float] = ()) -> str:
        state = towards(viewer.state(), dict(zip(FACE, face, strict=False)), viewer.saved.avatar.head.expression_names)
        picture = viewer.draw(state, viewer.camera(yaw, pitch, zoom=zoom, size=SIZE))
        return view_value(jpeg(picture), yaw=yaw, pitch=pitch, play=True)


def towards(state: HeadState, values: Mapping[str, float], names: Sequence[str]) -> HeadState:
    """Move a state's face towards the ends of sliders.

    A slider in the middle leaves the photo's own face alone and one at its end replaces it, with no jump in between.
    """
    for name, value in values.items():
        if value:
            end = with_expressions(state, {name: math.copysign(1.0, value)}, names)
            share = min(abs(value), 1.0)
            state = replace(
                state,
                expression=torch.lerp(state.expression, end.expression, share),
                eyes=torch.lerp(state.eyes, end.eyes, share),
            )
    return state


def write_files(session: Session, viewer: Viewer) -> tuple[str, str]:
    """Write the splats as a ply file and the avatar's folder as a zip file, and give their paths."""
    splats = write_ply(
        session.folder / "avatar.ply", viewer.saved.avatar.pose(viewer.state()), comments=viewer.saved.provenance()
    )
    packed = shutil.make_archive(str(session.folder / "avatar"), "zip", session.avatar.parent, session.avatar.name)
    return str(splats), packed


def find_demo(examples: Path) -> Path | None:
    """Give the first saved avatar that comes with the examples."""
    return next((record.parent for record in sorted(examples.glob(f"*/{RECORD}"))), None)


def find_photos(examples: Path) -> list[Path]:
    """List the example photos: the project's own, and the astronaut of scikit-image if that is installed."""
    photos = sorted(path for path in examples.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    try:
        import skimage
    except ImportError:
        return photos
    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return [*photos, astronaut] if astronaut.is_file() else photos


def _shown(step: Progress) -> dict[str, Any]:
    """Give the parts of the screen that a step changes."""
    shown: dict[str, Any] = {"stages": step.stages, "status": step.status, "clip": step.clip}
    if step.picture:
        shown["view"] = view_value(step.picture)
    return {name: value for name, value in shown.items() if value}
