"""What happens from the photo to the finished avatar; the page itself is in `layout`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from jaxtyping import UInt8
from PIL import Image

from zero1toa.config import Config
from zero1toa.evaluation.fit_sheet import fit_sheet
from zero1toa.evaluation.methods import methods_named
from zero1toa.export.views import Viewer, to_bytes
from zero1toa.head import load_head
from zero1toa.media import read_image
from zero1toa.pipeline import read_portrait
from zero1toa.portrait.detect import choose_face, detect_faces
from zero1toa.portrait.prepare import PortraitConfig
from zero1toa.types import InputError, Portrait
from zero1toa.ui.build import Progress, build, gpu_seconds, usual_seconds
from zero1toa.ui.pictures import faces_figure, fit_figure, message, sentence, shrunk, stage_strip
from zero1toa.ui.session import MOST_AVATARS, Session, Shown, Uploads
from zero1toa.ui.shared_gpus import on_shared_gpus, quota_lines
from zero1toa.ui.sharing import write_files

CONSENT = "Please confirm this first."
NO_PHOTO = "Choose a photo first: upload one, take one, or click an example."
NOTHING_TO_RESUME = "There is nothing to go on with: create an avatar first."
PHOTO_SIZE, FIT_SIZE = 480, 320  # pixels that the page is sent

# After so many seconds every page has fetched what it was given.
FETCHED_S = 60.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A photo that was looked at before its avatar was asked for."""

    photo: str
    config: PortraitConfig
    portrait: Portrait


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for last, to go on with."""

    photo: str | Portrait
    config: Config


class Screen(NamedTuple):
    """What a step of the creation puts on the page."""

    session: Any
    steps: Any = gr.skip()
    stages: Any = gr.skip()
    status: Any = gr.skip()
    avatar: Any = gr.skip()
    clip: Any = gr.skip()
    curves: Any = gr.skip()
    create: Any = gr.skip()
    stop: Any = gr.skip()
    resume: Any = gr.skip()
    shown: Any = gr.skip()
    order: Any = gr.skip()
    against: Any = gr.skip()
    uploads: Any = gr.skip()


class Compared(NamedTuple):
    """What a step of the comparison of methods puts on the page."""

    session: Any
    said: Any
    avatar: Any = gr.skip()
    shown: Any = gr.skip()
    beside: Any = gr.skip()
    files: Any = gr.skip()


@dataclass(slots=True)
class Making:
    """The events of the steps Photo and Build. Presets by name; `pace` is how slow this machine turned out to be."""

    presets: Mapping[str, Config]
    pace: float = 1.0

    # ------------------------------------------------------------------------------------------------ the photo

    def look(self, photo: str | None, face: int, margin: float, uploads: Uploads) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Show what a photo gives, first the faces, then landmarks, matte and fit: (picture, which face, prepared, uploads)."""
        if photo is None:
            yield "", 1, None, gr.skip()
            return
        uploads.add(photo)
        try:
            image, _ = read_image(Path(photo))
            found = detect_faces(image)
            face = face if 1 <= face <= len(found) else 1
            choose_face(found, face)
        except InputError as error:
            yield message(sentence(str(error))), 1, None, uploads
            return
        faces, asked = "", ""
        if len(found) > 1:
            small = shrunk(image, PHOTO_SIZE)
            scale = small.shape[1] / image.shape[1]
            faces = faces_figure(small, [one.box for one in found], face, scale=scale)
            asked = "Click the face you mean."
        yield faces + message("Looking at the photo…", detail=[asked]), face, None, uploads
        usual = next(iter(self.presets.values()))
        config = replace(usual.portrait, face=face, margin=margin)
        try:
            portrait = read_portrait(Path(photo), replace(usual, portrait=config))
        except InputError as error:
            yield faces + message(sentence(str(error))), face, None, uploads
            return
        drawn = fit_figure([shrunk(picture, FIT_SIZE) for picture in fit_sheet(portrait, load_head())])
        said = sentence(" ".join(portrait.notes)) or f"The head fits to {portrait.report.rmse_px:.1f} pixels."
        yield faces + drawn + message(said, detail=[asked]), face, Prepared(photo, config, portrait), uploads

    def point(self, event: gr.EventData) -> int:
        """Give the number of the face that was clicked."""
        return int(event.face)

    def estimate(self, preset: str) -> str:
        """Say how long a creation will take, and on shared GPUs what it will cost the visitor."""
        if on_shared_gpus():
            turn = gpu_seconds(self._config(preset, 0))
            return message(f"Asks for {turn} seconds on a GPU.", detail=quota_lines(turn))
        said = f"Takes about {_spoken(self._seconds(self._config(preset, 0)))} on this computer."
        return message(said, detail=["The very first one takes a minute more."] if self.pace == 1 else [])

    # ----------------------------------------------------------------------------------------------- the avatar

    def check(self, photo: str | None, consent: bool) -> list[Any]:
        """Look at what was entered before any work is queued."""
        return [gr.validate(photo is not None, NO_PHOTO), gr.validate(bool(consent), CONSENT)]

    def create(
        self, photo: str | None, consent: bool, preset: str, seed: float, face: int, margin: float, prepared: Prepared | None,
        session: Session | None, uploads: Uploads,
    ) -> Iterator[Screen]:  # fmt: skip
        """Make an avatar while the page watches."""
        # Programs come here without the page's check.
        if photo is None or not consent:
            raise gr.Error(NO_PHOTO if photo is None else CONSENT, print_exception=False)
        session = Session.of(session)
        yield Screen(session, uploads=uploads.add(photo))
        config = self._config(preset, seed)
        config = replace(config, portrait=replace(config.portrait, face=int(face), margin=margin))
        order = Order(_portrait_or_photo(prepared, photo, config), config)
        session.start()
        yield from self._work(order, session, resume=False)

    def resume(self, order: Order | None, session: Session | None) -> Iterator[Screen]:
        """Go on with the creation that was stopped."""
        if order is None or session is None or not session.alive:
            raise gr.Error(NOTHING_TO_RESUME, print_exception=False)
        session.start(afresh=False)
        yield from self._work(order, session, resume=True)

    def stop(self, session: Session | None) -> Any:
        """Ask the creation to end with what there is."""
        if session is not None:
            session.stop()
        return gr.update(interactive=False, value="Stopping…")

    def generate(
        self, photo: str, preset: str = "preview", seed: float = 0, i_have_consent: bool = False
    ) -> Iterator[tuple[str, str, str]]:
        """Make an avatar of the person in a photo: a rigged glb, its splats as ply, and the avatar's folder as zip.

        `i_have_consent` says that you may use the photo: it shows you, or the person agreed. Nothing is
        kept but the photo and the three files, for four hours at most, so that you can fetch them.
        """
        problem = (
            NO_PHOTO if photo is None else "" if i_have_consent else "Say that you may use this photo: i_have_consent=True."
        )
        if problem:
            raise gr.Error(problem, print_exception=False)
        session = Session.open()
        try:
            yield write_files(session, _whole(photo, self._config(preset, seed), session))
        finally:
            session.close()

    def compare(
        self, names: Sequence[str], photo: str | None, consent: bool, face: int, margin: float, prepared: Prepared | None,
        session: Session | None,
    ) -> Iterator[Compared]:  # fmt: skip
        """Make an avatar by each of some methods, all with the first preset, and set them side by side."""
        problem = NO_PHOTO if photo is None else "" if consent else CONSENT
        if not 2 <= len(names) <= MOST_AVATARS:
            problem = f"Choose two to {MOST_AVATARS} methods."
        if problem or photo is None:
            raise gr.Error(problem, print_exception=False)
        session = Session.of(session)
        usual = self._config(next(iter(self.presets)), 0)
        usual = replace(usual, portrait=replace(usual.portrait, face=int(face), margin=margin))
        source = _portrait_or_photo(prepared, photo, usual)
        made: list[Shown] = []
        for method in methods_named(names):
            heading = f"{len(made) + 1} of {len(names)}: {method.title}"
            yield Compared(session, message(heading))
            session.start()
            for step in build(source, method.change(usual), session):
                if step.error:
                    raise gr.Error(f"{heading}: {step.error}", duration=None, print_exception=False)
                if step.status:
                    yield Compared(session, message(heading) + step.status)
                if step.done is not None:
                    made.append(session.call(step.done, method.title))
        first, *others = made
        files = [str(one.glb) for one in others]
        beside = gr.update(choices=[one.name for one in others], value=[one.name for one in others])
        yield Compared(session, message("Made. They move together."), str(first.glb), first, beside, files)

    def _work(self, order: Order, session: Session, *, resume: bool) -> Iterator[Screen]:
        """Run a creation, or go on with one, and put it on the page."""
        expected, began = self._seconds(order.config), time.monotonic()
        about = (
            f"{gpu_seconds(order.config)} seconds on a GPU at most" if on_shared_gpus() else f"about {_spoken(expected)} in all"
        )
        yield Screen(
            session,
            steps=gr.update(selected="build"),
            stages=stage_strip("prepare"),
            status=message("Reading the photo and fitting a head to it", detail=[about]),
            create=gr.update(interactive=False),
            stop=gr.update(visible=True, interactive=True, value="Stop and keep this"),
            resume=gr.update(visible=False),
            clip="",
            curves=gr.skip() if resume else "",
            order=order,
        )
        idle: dict[str, Any] = {"create": gr.update(interactive=True), "stop": gr.update(visible=False)}
        done: Shown | None = None
        try:
            for step in build(order.photo, order.config, session, resume=resume):
                if step.note:
                    gr.Info(step.note, duration=12)
                if step.error:
                    yield Screen(session, stages=stage_strip())
                    raise gr.Error(step.error, duration=None, print_exception=False)
                done = step.done or done
                session.forget_copies(Path(get_upload_folder()), "growing.glb", older_s=FETCHED_S)
                yield Screen(session, **_shown(step))
        except gr.Error as refused:
            # Shared GPUs refuse who has no time left and cut off who takes too long; what is on disk waits.
            again = gr.update(visible=session.portrait.is_file())
            yield Screen(session, status=message(str(refused.message)), resume=again, **idle)
            raise
        if done is None:
            yield Screen(session, **idle)
            return
        finished = done.viewer().saved.details.finished
        if finished and not resume:
            self.pace = (time.monotonic() - began) / expected * self.pace
        yield Screen(
            session,
            steps=gr.update(selected="play") if finished else gr.skip(),
            resume=gr.update(visible=not finished),
            shown=done,
            against=beside_photo(done.viewer(), session),
            **idle,
        )

    def _config(self, preset: str, seed: float) -> Config:
        if preset not in self.presets:
            raise gr.Error(f"No preset is called {preset!r}: use one of {', '.join(self.presets)}.", print_exception=False)
        return self.presets[preset].with_seed(int(seed or 0))

    def _seconds(self, config: Config) -> float:
        """Estimate what a creation takes."""
        return self.pace * usual_seconds(config)


def _portrait_or_photo(prepared: Prepared | None, photo: str, config: Config) -> str | Portrait:
    """Give what was found in a photo, if it was looked at with these settings, and else the photo."""
    known = prepared is not None and prepared.photo == photo and prepared.config == config.portrait
    return prepared.portrait if known and prepared is not None else photo


def _whole(photo: str, config: Config, session: Session) -> Shown:
    """Make an avatar to the end, on shared GPUs in as many turns as it takes."""
    done: Shown | None = None
    while done is None or not done.viewer().saved.details.finished:
        resume, done = done is not None, None
        for step in build(photo, config, session, resume=resume):
            if step.error:
                raise gr.Error(step.error, print_exception=False)
            done = step.done or done
        if done is None:
            raise gr.Error("The work was stopped before there was anything to keep: try again.", print_exception=False)
    return done


def beside_photo(viewer: Viewer, session: Session) -> tuple[str, str] | None:
    """Draw the photo, over the avatar's grey, and the avatar in the photo's view with the photo's face, into two files.

    They are files of the session, as what Gradio makes of pixels bears nobody's name and could not be found to be deleted.
    """
    portrait = viewer.saved.portrait
    if not portrait.alpha.numel():
        return None
    alpha, size = portrait.alpha[..., None], max(portrait.alpha.shape)
    photo = to_bytes(portrait.image * alpha + viewer.saved.details.background * (1 - alpha))
    drawn = viewer.draw(viewer.saved.state[:1], viewer.camera(size=size))
    return _picture_file(session, "photo.webp", photo), _picture_file(session, "likeness.webp", drawn)


def _picture_file(session: Session, name: str, pixels: UInt8[np.ndarray, "H W 3"]) -> str:
    path = session.file(name)
    Image.fromarray(pixels).save(path, quality=90)
    return str(path)


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
    shown = {"stages": step.stages, "status": step.status, "clip": step.clip, "curves": step.curves, "avatar": step.glb}
    return {name: value for name, value in shown.items() if value}


def _spoken(seconds: float) -> str:
    """Say a time as people do."""
    return f"{round(seconds, -1):.0f} seconds" if seconds < 100 else f"{round(seconds / 60)} minutes"
