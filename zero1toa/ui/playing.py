"""What happens around finished avatars: choosing one, driving it, setting others beside it, and deleting them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from zero1toa.driving import track_clip
from zero1toa.evaluation.contact_sheet import contact_sheet
from zero1toa.export.motion import read_motion, write_motion
from zero1toa.head import load_head
from zero1toa.media import write_image
from zero1toa.provenance import Provenance
from zero1toa.types import InputError
from zero1toa.ui.pictures import message, stage_strip
from zero1toa.ui.session import Session, Shown, Uploads

DELETED = "Your photo and your avatars are deleted."
WELCOME = "maya"
MOST_BESIDE = 3
GRID_SIZE = 256


@dataclass(frozen=True, slots=True)
class Playing:
    """The events of the steps Play and Compare. The gallery is there for everybody, as are the example photos."""

    gallery: Sequence[Shown] = ()
    photos: Sequence[Path] = ()

    def welcome(self, request: gr.Request) -> tuple[Any, Any]:
        """Put an avatar of the gallery on the stage, that which a link names if it does: (avatar, shown)."""
        if not self.gallery:
            return gr.skip(), gr.skip()
        asked = request.query_params.get("avatar", "")
        shown = next((one for one in self.gallery if one.source.stem == asked), self.gallery[0])
        return str(shown.glb), shown

    def pick(self, event: gr.EventData) -> tuple[Any, Any, Any]:
        """Put the avatar that was clicked in the gallery on the stage: (avatar, shown, steps)."""
        shown = next((one for one in self.gallery if one.name == event.name), None)
        if shown is None:
            raise gr.Error("This avatar is not in the gallery: reload the page.", print_exception=False)
        return str(shown.glb), shown, gr.update(selected="play")

    def drive(self, file: str | None, session: Session | None, uploads: Uploads) -> tuple[Any, Any, Any, Any]:
        """Turn a video or a motion file into a motion for the stage: (motion, status, session, uploads)."""
        if file is None:
            return gr.skip(), "", gr.skip(), gr.skip()
        session, uploads = Session.of(session), uploads.add(file)
        path = Path(file)
        try:
            motion = read_motion(path) if path.suffix.lower() == ".json" else track_clip(path, load_head())
            written = write_motion(session.file("motion.json"), motion)
        except InputError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        lost = motion.found.count(False)
        detail = [f"in {lost} of {len(motion.found)} frames no face was seen"] if lost else []
        return str(written), message(f"Playing {path.name}.", detail=detail), session, uploads

    def choices(self, session: Session | None, shown: Shown | None) -> Any:
        """List what can stand beside the avatar on the stage."""
        return gr.update(choices=[one.name for one in self._all(session) if shown is None or one.name != shown.name])

    def beside(self, names: Sequence[str], session: Session | None) -> Any:
        """Give the files of the avatars that are to stand beside the one on the stage."""
        chosen = [one for one in self._all(session) if one.name in names][:MOST_BESIDE]
        return [str(one.glb) for one in chosen] or None

    def grid(self, names: Sequence[str], session: Session | None, shown: Shown | None) -> tuple[Any, Any]:
        """Draw the avatars being compared from all sides with all faces: (file, session)."""
        rows = [*([shown] if shown else []), *(one for one in self._all(session) if one.name in names)]
        if not rows:
            raise gr.Error("Choose an avatar first.", print_exception=False)
        session = Session.of(session)
        try:
            picture = contact_sheet([(one.name, one.viewer()) for one in rows], size=GRID_SIZE)
            path = session.file("grid.png")
            write_image(path, picture, provenance=Provenance(settings=f"avatars beside each other: {len(rows)}"))
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return str(path), session

    def wipe(self, session: Session | None, uploads: Uploads, photo: str | None) -> tuple[Any, ...]:
        """Delete everything of this visitor's and clear the page.

        Gives (session, shown, order, prepared, photo, consent, seen, stages, status, clip, curves, resume, avatar, motion,
        beside, download, against, driving).
        """
        if session is not None:
            session.stop()
            session.close(Path(get_upload_folder()))
        if photo is not None:
            uploads.add(photo)
        uploads.delete(self.photos)
        gr.Info(DELETED)
        first = self.gallery[0] if self.gallery else None
        glb = str(first.glb) if first else None
        cleared = stage_strip(), message(DELETED), "", "", gr.update(visible=False)
        return (None, first, None, None, None, False, "", *cleared, glb, None, None, None, None, None)

    def _all(self, session: Session | None) -> list[Shown]:
        own = session.avatars() if session is not None else []
        return [*reversed(own), *self.gallery]


def find_gallery(examples: Path) -> list[Shown]:
    """List the finished avatars that come with the program, that which is to welcome visitors first."""
    found = sorted(examples.glob("avatars/*.glb"), key=lambda path: (path.stem != WELCOME, path.stem))
    return [Shown(path.stem.title(), path, path) for path in found]
