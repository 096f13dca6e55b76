"""A person made of triangles and threads, at rest and posed: the head model, what is worn over it, and hair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from zero1toa.geometry.mesh import face_areas, vertex_normals
from zero1toa.head.linear import LinearHead
from zero1toa.training.facial_hair import HAIR_LABEL, FacialHair, facial_threads, grow_facial_hair
from zero1toa.training.features import Features, hairline
from zero1toa.training.growth import Strands, grow
from zero1toa.training.jewellery import lens_outline, necklace, worn_threads
from zero1toa.training.noise import noise_at, ramp_at, unit
from zero1toa.training.recipe import Person
from zero1toa.training.skin import COLUMNS
from zero1toa.training.surface import CLOTH
from zero1toa.training.threads import Threads, joined, lines
from zero1toa.training.wardrobe import Piece, dress
from zero1toa.types import PARTS, HeadState

# Hats under which big hair is pressed flat, and those that hide it.
PRESSING, HIDING = ("beanie", "cap", "brim", "turban", "veil", "headband"), ("hijab", "turban")
OUTSIDE = tuple(PARTS.index(name) for name in ("skin", "scalp", "lips", "eyelids", "neck", "bust"))


@dataclass(frozen=True, slots=True)
class Posed:
    """One frame of a person: vertices, normals, threads, lenses, how head and eyeballs are turned, and vertex attributes."""

    vertices: Float[np.ndarray, "U 3"]
    normals: Float[np.ndarray, "U 3"]
    threads: Threads
    lenses: Float[np.ndarray, "K 3"]
    turns: Float[np.ndarray, "3 3 3"]
    attributes: Float[np.ndarray, "U 12"]


class Body:
    """Everything of a person that is built once. The first V vertices and F faces are the head model's own."""

    def __init__(self, person: Person, head: LinearHead, features: Features) -> None:
        rng = np.random.default_rng((person.seed, 2))
        self.person, self.head, self.features = person, head, features
        rest = head.vertices(person.identity, head.rest_state())
        self.rest = rest[0].double().numpy()
        self.rest_marks = head.landmarks(rest)[0].double().numpy()
        own = head.surface.faces.numpy()
        covered = ramp_at(self._cloth(), -0.001, 0.004)
        self.cloth_offset = 0.004 * covered[:, None]
        self.solid = np.unique(own[np.isin(head.surface.parts.numpy(), OUTSIDE)])
        normals = vertex_normals(torch.from_numpy(self.rest), head.surface.faces).numpy()
        hat, thickness = person.wardrobe.hat, person.hair.thickness
        flat = hat in PRESSING
        self.hair = self._grow_hair(normals, rng, flat) if hat not in HIDING else None
        self.pieces: list[Piece] = dress(person.wardrobe, self.rest, 0.006 if flat else thickness)
        self.facial: FacialHair = grow_facial_hair(person, head, features, rng)
        ends = np.cumsum([len(self.rest), *(len(piece.vertices) for piece in self.pieces)])
        self.faces: Int[np.ndarray, "G 3"] = np.concatenate(
            [own, *(piece.faces + end for piece, end in zip(self.pieces, ends, strict=False))]
        )
        worn = [np.full(len(piece.faces), CLOTH + piece.fabric) for piece in self.pieces]
        self.material: Int[np.ndarray, "G"] = np.concatenate([head.surface.parts.numpy(), *worn])
        self.places = np.concatenate([features.places, *(piece.vertices for piece in self.pieces)])
        eyes = self.eye_rows()
        self.eyeballs = np.stack([features.places[rows].mean(0) for rows in eyes])
        rest_eyes = np.stack([self.rest[rows].mean(0) for rows in eyes])
        self.worn = worn_threads(person.wardrobe, self.rest, self.rest_marks, rest_eyes)
        self.chain = necklace(person.wardrobe, self.rest)
        glasses = bool(person.wardrobe.glasses)
        rims = [lens_outline(person.wardrobe, self.rest_marks, eye) for eye in rest_eyes] if glasses else []
        self.lenses = np.concatenate([*rims, np.zeros((0, 3))])
        self.attributes = self._attributes(rng)
        self._rest_area = _vertex_areas(self.rest, own)

    def eye_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the vertices of the right and of the left eyeball."""
        eyes = self.features.part == PARTS.index("eyes")
        side = self.features.places[:, 0]
        return np.flatnonzero(eyes & (side < 0)), np.flatnonzero(eyes & (side > 0))

    def _cloth(self) -> Float[np.ndarray, "V"]:
        """Say how far below the neckline each vertex of the head model lies, in metres."""
        wardrobe, (x, y, z) = self.person.wardrobe, self.features.places.T
        depth = self.features.below_neckline - wardrobe.neckline * (1.25 if wardrobe.collar == "wide" else 1.0)
        if wardrobe.collar == "vee":
            depth = depth - 0.055 * np.exp(-((x / 0.035) ** 2)) * (z > -0.06)
        body = np.isin(self.features.part, [PARTS.index(name) for name in ("skin", "neck", "bust")])
        return np.where(body & (y < -0.1), depth, -1.0)

    def _grow_hair(self, normals: np.ndarray, rng: np.random.Generator, flat: bool) -> Strands | None:
        """Grow the hair that this identity's head and the person's hat leave room for."""
        style = self.person.hair
        if not style.guides:
            return None
        if flat:
            style = replace(
                style, thickness=min(style.thickness, 0.005), lift=0.08, fringe=0.0, gravity=max(style.gravity, 0.35)
            )
            if style.kind in ("afro", "curly", "spiky"):
                style = replace(style, length=min(style.length, 0.03))
        own = self.head.surface.faces.numpy()
        parts = [PARTS.index("scalp"), PARTS.index("skin")]
        growing = np.flatnonzero(np.isin(self.head.surface.parts.numpy(), parts))
        corners = self.rest[own[growing]]
        density = hairline(
            self.features.places[own[growing]].mean(1), recession=style.recession, low=style.low, seed=self.person.seed % 999
        )
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) * (density + 1e-9)
        chosen = growing[rng.choice(len(growing), style.guides, p=area / area.sum())]
        weights = rng.dirichlet((1, 1, 1), style.guides)[..., None]
        roots = (self.rest[own[chosen]] * weights).sum(1)
        out = unit((normals[own[chosen]] * weights).sum(1))
        return grow(style, roots, out, self.rest[self.solid], normals[self.solid], rng)

    def _attributes(self, rng: np.random.Generator) -> Float[np.ndarray, "U 12"]:
        """Fill the table of `zero1toa.training.skin.COLUMNS` for the resting face."""
        p, f = self.person, self.features
        style = p.hair
        grown = hairline(f.places, recession=style.recession, low=style.low, seed=p.seed % 999)
        inside = np.isin(f.part, [PARTS.index(name) for name in ("teeth", "tongue", "mouth")])
        uneven = 1 + 0.12 * noise_at(f.places, 0.05, p.seed + 9, 2)
        stubble = p.stubble * np.maximum(f.beard, f.moustache)
        stubble = stubble + 0.5 * (p.beard.kind == "full") * np.maximum(f.beard, f.moustache)
        own = {
            "lips": f.lips,
            "melanin": (1 + 0.25 * f.under_eyes + 0.12 * f.lids - 0.06 * f.flush) * uneven,
            "blood": (1 + (0.5 + p.blush) * f.flush + 0.35 * f.under_eyes + 0.25 * f.lids) * uneven,
            "stubble": np.clip(stubble, 0, 0.9) * (1 - f.lips),
            "scalp": grown * (0.0 if not style.guides else 0.9),
            "wrinkles": f.creases, "forehead": f.forehead * p.skin.wrinkles * 0.6,
            "cloth": self._cloth(),
            "shadow": p.eye_shadow * f.lids * (f.places[:, 1] > -0.002), "liner": f.liner,
            "freckled": p.freckled, "inside": inside.astype(float),
        }  # fmt: skip
        table = np.zeros((len(self.places), len(COLUMNS)))
        table[:, COLUMNS.index("cloth")] = -1.0
        table[: len(f.places)] = np.stack([own[name] for name in COLUMNS], 1)
        return table

    def pose(self, state: HeadState) -> Posed:
        """Pose everything for the one frame of `state`."""
        model = self.head.vertices(self.person.identity, state)
        marks = self.head.landmarks(model)[0].double().numpy()
        bare = model[0].double().numpy()
        count = len(bare)
        own_normals = vertex_normals(torch.from_numpy(bare), self.head.surface.faces).numpy()
        scalp = self.features.part == PARTS.index("scalp")
        turn, shift = _rigid(self.rest[scalp], bare[scalp])
        worn = [_follow(piece.vertices, piece.follows_head, turn, shift) for piece in self.pieces]
        vertices = np.concatenate([self._drawn(bare, own_normals, turn), *worn])
        normals = vertex_normals(torch.from_numpy(vertices), torch.from_numpy(self.faces)).numpy()
        eyes = self.eye_rows()
        turns = np.stack([turn, *(_rigid(self.features.places[rows], bare[rows])[0] for rows in eyes)])
        attributes = self.attributes.copy()
        # Where an expression shortens the skin, it folds.
        pressed = np.clip(1 - _vertex_areas(bare, self.head.surface.faces.numpy()) / self._rest_area, 0, 0.5)
        attributes[:count, COLUMNS.index("wrinkles")] *= 1 + 5 * pressed
        attributes[:count, COLUMNS.index("forehead")] += self.features.forehead * pressed * 2.2
        threads = self._threads(bare, marks, turn, shift, np.stack([bare[rows].mean(0) for rows in eyes]))
        return Posed(vertices, normals, threads, self.lenses @ turn.T + shift, turns, attributes)

    def _drawn(self, bare: np.ndarray, normals: np.ndarray, turn: np.ndarray) -> Float[np.ndarray, "V 3"]:
        """Give the model's vertices as they are drawn: cloth stands off, teeth stay clear of lips and narrow chins."""
        drawn = bare + self.cloth_offset * normals
        teeth = self.features.part == PARTS.index("teeth")
        middle = drawn[teeth].mean(0) - 0.012 * turn[:, 2]
        away = (drawn[teeth] - middle) @ turn
        drawn[teeth] = middle + (away * [0.88, 1.0, 0.93]) @ turn.T
        # The model's throat is long enough to come through the nape.
        throat = (self.features.part == PARTS.index("mouth")) * np.maximum(-0.07 - self.features.places[:, 2], 0)
        drawn += 0.75 * throat[:, None] * turn[:, 2]
        return drawn

    def _threads(self, bare, marks, turn, shift, eyes) -> Threads:
        """Pose hair with the head, its lower part with the bust; jewellery with what it hangs on."""
        parts = facial_threads(self.facial, self.person, self.head, bare, marks, turn, eyes)
        if self.hair is not None:
            points = self.hair.points
            hold = ramp_at(points[..., 1], -0.24, -0.09)
            moved = _follow(points.reshape(-1, 3), hold.reshape(-1), turn, shift).reshape(points.shape)
            parts.append(
                lines(
                    moved,
                    self.hair.colors,
                    self.hair.radius,
                    label=HAIR_LABEL,
                    open=self.hair.open,
                    opacity=0.8,
                    gloss=self.person.hair.gloss,
                )
            )
        for thread in self.worn:
            parts.append(replace(thread, points=(thread.points @ turn.T + shift).astype(np.float32)))
        return joined([*parts, *self.chain, lines(np.full((1, 2, 3), 99.0), 0.0, 0.0, label=0)])


def _follow(points: np.ndarray, hold: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move points with the head as far as `hold` says, and leave the rest where the bust is."""
    return points + hold[:, None] * (points @ turn.T + shift - points)


def _rigid(before: np.ndarray, after: np.ndarray) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Give the rotation and shift that take points to others best (Kabsch 1976)."""
    a, b = before - before.mean(0), after - after.mean(0)
    left, _, right = np.linalg.svd(b.T @ a)
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    return turn, after.mean(0) - turn @ before.mean(0)


def _vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> Float[np.ndarray, "V"]:
    """Give the area of the triangles around each vertex."""
    area = face_areas(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()
    total = np.full(len(vertices), 1e-12)
    for corner in range(3):
        np.add.at(total, faces[:, corner], area)
    return total
