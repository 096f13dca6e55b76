"""Lashes, brows and beards: hair that rides on the face and must follow every expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from zero1toa.geometry.mesh import face_frames
from zero1toa.head.linear import LinearHead
from zero1toa.training.features import BROWS, LOWER_LIDS, UPPER_LIDS, Features
from zero1toa.training.noise import unit
from zero1toa.training.recipe import Person
from zero1toa.training.threads import Threads, lines

STEPS = 6
HAIR_LABEL = 20


@dataclass(frozen=True, slots=True)
class FacialHair:
    """What was drawn once for a person, so that every frame has the same hairs: see the functions that use it."""

    lash_at: Float[np.ndarray, "2 2 N"]  # eye, upper or lower: where along the rim
    lash_stray: Float[np.ndarray, "2 2 N 3"]
    brow_at: Float[np.ndarray, "2 N 2"]  # side: along and across
    brow_stray: Float[np.ndarray, "2 N 4"]
    beard_face: Int[np.ndarray, "N"]
    beard_weights: Float[np.ndarray, "N 3"]
    beard_course: Float[np.ndarray, "N S 3"]  # in the frame of its triangle


def grow_facial_hair(person: Person, head: LinearHead, features: Features, rng: np.random.Generator) -> FacialHair:
    """Decide where every hair of lashes, brows and beard stands."""
    brows = int(420 * person.brow_density)
    along, across = rng.beta(1.5, 1.2, (2, brows)), rng.beta(1.8, 1.8, (2, brows))
    faces, weights, course = _beard(person, head, features, rng)
    return FacialHair(
        lash_at=rng.random((2, 2, 70)), lash_stray=rng.normal(size=(2, 2, 70, 3)),
        brow_at=np.stack([along, across], -1), brow_stray=rng.normal(size=(2, brows, 4)),
        beard_face=faces, beard_weights=weights, beard_course=course,
    )  # fmt: skip


def _beard(person: Person, head: LinearHead, features: Features, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    beard, faces = person.beard, head.surface.faces.numpy()
    x, y = np.abs(features.places[:, 0]), features.places[:, 1]
    zone = {
        "none": 0 * features.beard,
        "full": np.maximum(features.beard, features.moustache),
        "goatee": np.maximum(features.beard * (x < 0.028), features.moustache),
        "moustache": features.moustache * (y > -0.071),
        "chin": features.beard * (x < 0.022) * (y < -0.08),
    }[beard.kind] * (1 - features.lips)
    density = zone[faces].mean(1) ** 1.5
    corners = features.places[faces]
    density = density * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    count = beard.count if density.sum() > 0 and beard.kind != "none" else 0
    chosen = rng.choice(len(faces), count, p=density / density.sum()) if count else np.zeros(0, int)
    weights = rng.dirichlet((1, 1, 1), count) if count else np.zeros((0, 3))
    rotation = face_frames(head.template, head.surface.faces)[1].double().numpy()
    normal = rotation[chosen][:, :, 2]
    side = np.sign(corners[chosen].mean(1)[:, 0])[:, None] if count else np.zeros((0, 1))
    way = unit(0.6 * normal + [0, -0.9, 0.1] + side * [0.25, 0, 0] + 0.35 * rng.normal(size=(count, 3)))
    s = np.linspace(0, 1, STEPS)[None, :, None]
    length = (beard.length * (0.5 + 0.5 * rng.random(count)))[:, None, None]
    curl = beard.curl * np.sin(s * 8 + 6 * rng.random((count, 1, 1))) * unit(np.cross(way, normal))[:, None]
    course = way[:, None] * s * length + np.array([0, -0.25, 0]) * length * s**2 + curl * s
    return chosen, weights, np.einsum("nsc,ncd->nsd", course, rotation[chosen])


def facial_threads(
    hair: FacialHair, person: Person, head: LinearHead, vertices: Float[np.ndarray, "V 3"], marks: Float[np.ndarray, "478 3"],
    turn: Float[np.ndarray, "3 3"], eyes: Float[np.ndarray, "2 3"],
) -> list[Threads]:  # fmt: skip
    """Put the hairs onto a posed face; `turn` is the head's rotation, `eyes` the centres of the right and the left eye."""
    parts = []
    ink = np.clip(np.array(person.brow_color) * 0.4, 0.004, 0.05)
    if person.lashes > 0.1:
        lashes = np.concatenate([_lashes(hair, person, marks, turn, eyes, eye) for eye in (0, 1)])
        parts.append(lines(lashes, ink, 0.0001 + 0.0001 * person.lashes, label=HAIR_LABEL, opacity=0.75, gloss=0.1))
    if hair.brow_at.shape[1]:
        brows = np.concatenate([_brows(hair, person, marks, turn, side) for side in (0, 1)])
        parts.append(lines(brows, np.array(person.brow_color), 0.00032, label=HAIR_LABEL, opacity=0.7, gloss=0.15))
    if len(hair.beard_face):
        faces = head.surface.faces[torch.from_numpy(hair.beard_face)]
        _, rotation, _ = face_frames(torch.from_numpy(vertices), faces)
        roots = (vertices[faces.numpy()] * hair.beard_weights[..., None]).sum(1)
        course = np.einsum("nsc,ndc->nsd", hair.beard_course, rotation.numpy())
        points = roots[:, None] + course
        opening = np.linspace(0.35, 1, STEPS)[None].repeat(len(points), 0)
        parts.append(lines(points, np.array(person.beard.color), 0.0004, label=HAIR_LABEL, opacity=0.75, open=opening))
    return parts


def _along(marks: np.ndarray, rows: tuple[int, ...], at: np.ndarray) -> np.ndarray:
    """Give points on the line through landmarks, from its first (0) to its last (1)."""
    line = marks[list(rows)]
    return np.stack([np.interp(at, np.linspace(0, 1, len(rows)), line[:, axis]) for axis in range(3)], 1)


def _lashes(hair, person, marks, turn, eyes, eye: int) -> np.ndarray:
    """Set lashes on both rims of an eye: they point away from the eyeball, so they sink with the lid."""
    up, forward, right = turn[:, 1], turn[:, 2], turn[:, 0]
    found = []
    for lower, rims in enumerate((UPPER_LIDS, LOWER_LIDS)):
        at = hair.lash_at[eye, lower] ** 0.8
        # Rims run from the temple to the nose.
        root = _along(marks, rims[eye], 0.06 + 0.84 * (1 - at))
        out = unit(root - eyes[eye])
        temple = right * (-1 if eye == 0 else 1)
        stray = hair.lash_stray[eye, lower]
        length = person.lashes * (0.003 if lower else 0.0065) * (0.6 + 0.5 * at) * (0.8 + 0.15 * stray[:, 0])
        s = np.linspace(0, 1, STEPS)[None, :, None]
        away = unit(0.75 * out + 0.35 * forward + 0.35 * temple * (at - 0.35)[:, None] + 0.12 * stray)
        curl = up * (-0.25 if lower else 0.75)
        points = root[:, None] + length[:, None, None] * (away[:, None] * s + 0.6 * curl * s**2)
        found.append(points[: 26 if lower else None])
    return np.concatenate(found)


def _brows(hair, person, marks, turn, side: int) -> np.ndarray:
    """Lay brows along the landmarks: fanned out at the nose, flat towards the temples."""
    upper, lower = BROWS[side]
    s, t = hair.brow_at[side].T
    stray = hair.brow_stray[side]
    high, low = _along(marks, upper, s), _along(marks, lower, s)
    width = 0.62 * person.brow_width * (0.45 + 0.55 * np.clip(s * 2.2, 0, 1)) * (1 - 0.35 * np.clip((s - 0.85) / 0.15, 0, 1))
    root = low + (high - low) * (0.52 + (t - 0.5) * width)[:, None]
    outward = unit(_along(marks, lower, np.clip(s + 0.1, 0, 1)) - _along(marks, lower, np.clip(s - 0.1, 0, 1)))
    up, forward = unit(high - low), turn[:, 2]
    raised = (0.15 + 1.5 * np.clip((0.28 - s) / 0.28, 0, 1) + 0.5 * (0.5 - t))[:, None]
    way = unit(outward + raised * up + 0.16 * stray[:, :3])
    length = 0.0068 * (0.8 + 0.2 * stray[:, 3])
    course = np.linspace(0, 1, STEPS)[None, :, None]
    points = root[:, None] + way[:, None] * course * length[:, None, None] - up[:, None] * course**2 * 0.0012
    return points + forward * (0.0006 + 0.0008 * course)
