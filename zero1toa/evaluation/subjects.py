"""People to compare methods on, with the truth of what they look like from elsewhere.

Synthetic people are drawn by `zero1toa.training`, their seeds among those nothing learns from; the program is handed their true
head and camera, so that a comparison is of methods and not of the fit. Clips are real, and their later frames are the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.geometry.camera import orbit_about, project, resize
from zero1toa.head.base import ARKIT_NAMES, HeadModel
from zero1toa.head.linear import LinearHead
from zero1toa.portrait.matting import estimate_foreground
from zero1toa.training.acting import TARGET, Take, draw_take
from zero1toa.training.body import Body
from zero1toa.training.dataset import VALIDATION
from zero1toa.training.features import find_features
from zero1toa.training.looks import draw_background
from zero1toa.training.picture import develop, exposure_gain, take_picture
from zero1toa.training.real import GREY, true_frames
from zero1toa.training.recipe import draw_person
from zero1toa.training.seen import seen_in_photo
from zero1toa.types import Camera, FitReport, HeadState, InputError, Portrait

YAWS = (0.0, 30.0, 60.0, 90.0)
# What the face does in a cell, by ARKit weights; both sides alike.
FACES: dict[str, dict[str, float]] = {
    "neutral": {},
    "relaxed": {"mouthSmile": 0.5, "eyeBlink": 0.35, "jawOpen": 0.1, "browInnerUp": 0.2},
    "extreme": {"jawOpen": 0.8, "eyeBlink": 1.0, "mouthSmile": 0.4, "browDown": 0.6},
}


@dataclass(frozen=True, slots=True)
class View:
    """One true picture of a subject, over grey: from where, with which face, and what of it the photo does not show.

    Views of a `clip` are its frames in their order.
    """

    face: str
    yaw: float
    clip: bool
    state: HeadState
    camera: Camera
    picture: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    hidden: Float[Tensor, "H W"]


@dataclass(frozen=True, slots=True)
class Subject:
    """Someone with a portrait and the truth about other views."""

    name: str
    portrait: Portrait
    views: tuple[View, ...]


def load_subjects(names: Sequence[str], head: HeadModel) -> Iterator[Subject]:
    """Give subjects by name, person:SEED or the path of a clip, one at a time; names are checked before the first.

    Raises InputError for names that are neither, and for people drawn on another head than Anny.
    """
    for name in names:
        if not (seed := re.fullmatch(r"person:(\d+)", name)) and not Path(name).is_file():
            raise InputError(f"{name} is neither a clip nor person:SEED, such as person:{VALIDATION}")
        if seed and not isinstance(head, LinearHead):
            raise InputError("people are drawn on the head Anny: leave --head out")
    return (_subject(name, head) for name in names)


def _subject(name: str, head: HeadModel) -> Subject:
    if name.startswith("person:"):
        assert isinstance(head, LinearHead)
        return synthetic_subject(int(name.removeprefix("person:")), head)
    return clip_subject(Path(name), head)


def synthetic_subject(seed: int, head: LinearHead, *, size: int = 512) -> Subject:
    """Draw a person as a portrait and in every cell of `YAWS` and `FACES`."""
    features = find_features(head)
    person = draw_person(seed, head, features)
    body, rng = Body(person, head, features), np.random.default_rng((seed, 0))
    take = draw_take(rng, 1, size)
    photo, posed = take_picture(body, take.photo_state, take.photo_camera)
    gain = exposure_gain(photo, person.exposure)
    colors = lambda picture: develop(picture.light / np.maximum(picture.alpha[..., None], 1e-3), gain, person.contrast)
    shown = colors(photo) * photo.alpha[..., None] + draw_background(rng, size) * (1 - photo.alpha[..., None])
    alpha = torch.from_numpy(photo.alpha).float()
    image = estimate_foreground((shown * 255 + 0.5).astype(np.uint8), photo.alpha.astype(np.float32))
    vertices = head.vertices(person.identity, take.photo_state)
    points = project(head.landmarks(vertices), take.photo_camera)[0, :, :2]
    portrait = Portrait(
        image=torch.from_numpy(image).float() / 255, alpha=alpha, points=points, camera=take.photo_camera,
        identity=person.identity, state=take.photo_state, report=_report(take), crop=(0.0, 0.0, 1.0),
    )  # fmt: skip
    views = []
    for face, state, yaw, camera in _cells(take):
        # Four samples a pixel, as a lens has many.
        picture, _ = take_picture(body, state, camera)
        hidden = picture.alpha * (1 - seen_in_photo(body, picture, photo, posed, take.photo_camera))
        flat = colors(picture) * picture.alpha[..., None] + GREY * (1 - picture.alpha[..., None])
        halved = (_halved(values) for values in (flat, picture.alpha, hidden))
        views.append(View(face, yaw, False, state, resize(camera, 0.5), *halved))
    return Subject(f"person-{seed}", portrait, tuple(views))


def clip_subject(clip: Path, head: HeadModel, *, frames: int = 12, size: int = 256) -> Subject:
    """Take a clip's first frame as the portrait and some later ones, evenly spaced, as the truth.

    Where nobody knows what the photo has not seen, `hidden` is nothing.
    """
    true = true_frames(clip, head, frames, size)
    views = [
        View("clip", 0.0, True, true.states[i : i + 1], true.cameras[i : i + 1], true.frames[i], true.alpha[i],
             torch.zeros_like(true.alpha[i]))
        for i in range(frames)
    ]  # fmt: skip
    return Subject(clip.stem, true.portrait, tuple(views))


def _cells(take: Take) -> Iterator[tuple[str, HeadState, float, Camera]]:
    """Go through the cells of the table; sides are in turn, by the person's own front."""
    front = _front(take)
    for face, weights in FACES.items():
        state = replace(take.photo_state, expression=_expression(weights)) if weights else _resting(take.photo_state)
        for number, yaw in enumerate(YAWS):
            side = 1 if number % 2 else -1
            turn = torch.tensor([side * yaw - front])
            camera = orbit_about(take.photo_camera, turn, torch.zeros(1), target=torch.tensor(TARGET))
            yield face, state, yaw, camera


def _halved(image: np.ndarray) -> Tensor:
    height, width = (side // 2 for side in image.shape[:2])
    return torch.from_numpy(image.reshape(height, 2, width, 2, *image.shape[2:]).mean((1, 3))).float()


def _resting(state: HeadState) -> HeadState:
    return replace(state, expression=torch.zeros_like(state.expression))


def _expression(weights: dict[str, float]) -> Float[Tensor, "1 52"]:
    stems = [name.removesuffix("Left").removesuffix("Right") for name in ARKIT_NAMES]
    return torch.tensor([[weights.get(name, weights.get(stem, 0.0)) for name, stem in zip(ARKIT_NAMES, stems, strict=True)]])


def _front(take: Take) -> float:
    """Give the yaw of the photo's camera around the head, degrees."""
    place = -take.photo_camera.viewmats[0, :3, :3].T @ take.photo_camera.viewmats[0, :3, 3] - torch.tensor(TARGET)
    return float(torch.rad2deg(torch.atan2(place[0], place[2])))


def _report(take: Take) -> FitReport:
    return FitReport(rmse_px=0.0, yaw=-_front(take), pitch=0.0, roll=0.0, expressions=())
