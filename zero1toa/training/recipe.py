"""Who a synthetic person is: shape, skin, eyes, mouth, hair, clothes and light, all drawn from one random generator.

Diverse rather than pretty. Natural draws come first in every choice; a share is outside nature (cartoon eyes, blue hair,
coloured light), because paintings, cartoons and make-up are what people upload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from zero1toa.head.linear import LinearHead
from zero1toa.training.features import Features
from zero1toa.training.hairstyle import Beard, Hairdo, draw_beard, draw_hairdo
from zero1toa.training.light import Light, draw_light
from zero1toa.training.noise import noise_at, ramp_at
from zero1toa.training.wardrobe import Wardrobe, draw_wardrobe
from zero1toa.types import Identity

Color = tuple[float, float, float]  # linear light


class Skin(NamedTuple):
    """What the shader of skin, lips, eyes and mouth needs, for compiled code; amounts in about [0, 1] unless a unit is said."""

    seed: int
    melanin: float
    blood: float
    mottle: float
    freckles: float
    moles: float
    pores: float
    wrinkles: float
    folds: float
    oil: float
    stubble: Color
    lip_color: Color
    lip_paint: float
    lip_gloss: float
    shadow_color: Color
    liner: float
    iris: Color
    iris_radius: float  # metres
    pupil_radius: float  # metres
    sclera: Color
    veins: float
    teeth: Color
    tooth_width: float
    tooth_gaps: float
    gums: Color
    tongue: Color
    scalp: Color


@dataclass(frozen=True, slots=True)
class Person:
    """A synthetic person, complete: everything that stays the same from picture to picture."""

    seed: int
    identity: Identity
    skin: Skin
    freckled: Float[np.ndarray, "V"]
    eye_shadow: float
    blush: float
    brow_color: Color
    brow_density: float
    brow_width: float
    lashes: float
    stubble: float
    hair: Hairdo
    beard: Beard
    wardrobe: Wardrobe
    light: Light
    exposure: float  # what a face's median brightness becomes, in display values
    contrast: float
    mouth_light: float  # 0: as dark as geometry makes it; 1: lit like the lips


def draw_person(seed: int, head: LinearHead, features: Features) -> Person:
    """Draw a person; the same seed gives the same one."""
    rng = np.random.default_rng((seed, 1))
    male, age = rng.random() < 0.5, rng.beta(1.3, 1.6)
    ancestry = rng.choice(["african", "asian", "caucasian", "mixed"], p=[0.25, 0.25, 0.3, 0.2])
    identity = _draw_identity(rng, head, features, male, ancestry)
    hair_color = _hair_color(rng, ancestry, age)
    hair = draw_hairdo(rng, hair_color, male, age, ancestry)
    made_up = (not male and rng.random() < 0.55) or rng.random() < 0.05
    skin = _draw_skin(rng, made_up, age, ancestry, hair_color)
    beard = draw_beard(rng, hair_color, male)
    brow = np.clip(np.array(hair_color) * rng.uniform(0.25, 0.9) * (0.6 if age < 0.8 else 1), 0.004, 0.5)
    return Person(
        seed=seed,
        identity=identity,
        skin=skin,
        freckled=np.clip(features.flush + 0.3 * (features.places[:, 2] > -0.01) + 0.1, 0, 1),
        eye_shadow=made_up * rng.beta(1, 2),
        blush=made_up * rng.beta(1, 3),
        brow_color=tuple(brow),
        brow_density=float(rng.choice([0.0, 1.0], p=[0.03, 0.97]) * rng.uniform(0.35, 1.3)),
        brow_width=rng.uniform(0.5, 1.35),
        lashes=rng.uniform(0.2, 1.0) if not made_up else rng.uniform(0.7, 1.6),
        stubble=rng.choice([0.0, rng.beta(1, 2)], p=[0.4, 0.6]) if male and age > 0.08 else 0.0,
        hair=hair,
        beard=beard,
        wardrobe=draw_wardrobe(rng, male, hair.kind),
        light=draw_light(rng),
        exposure=float(np.clip(rng.normal(0.62, 0.11) - 0.13 * min(skin.melanin, 1.6), 0.16, 0.85)),
        contrast=float(np.exp(0.16 * rng.normal())),
        mouth_light=rng.beta(1.1, 1.6),
    )


def _draw_identity(rng: np.random.Generator, head: LinearHead, features: Features, male: bool, ancestry: str) -> Identity:
    """Draw the shape: phenotype, local shapes, and a little of what no shape of the model can say."""
    count = len(head.shape_basis)
    shape = rng.normal(size=count) * rng.uniform(0.08, 0.3)
    # Most people are nearly symmetric; the model's one-sided shapes are not drawn in pairs.
    shape[8:] *= rng.random(count - 8) < 0.8
    shape[0] = (1 if male else -1) * rng.uniform(0.3, 1.15)
    shape[3:5] = rng.normal(size=2) * 0.45
    shape[5:8] = rng.normal(size=3) * 0.2
    if ancestry != "mixed":
        shape[5 + ("african", "asian", "caucasian").index(ancestry)] += rng.uniform(0.3, 1.0)
    places = features.places
    offsets = np.stack([noise_at(places, 0.07, int(rng.integers(1 << 30)), 2) for _ in range(3)], 1)
    offsets *= rng.uniform(0, 0.004) * ramp_at(places[:, 1], -0.16, -0.11)[:, None]
    offsets[np.isin(features.part, (4, 5, 6, 7))] = 0
    if rng.random() < 0.12:
        offsets = offsets + _cartoon(rng, places)
    return Identity(torch.from_numpy(shape).float(), torch.from_numpy(offsets).float())


def _cartoon(rng: np.random.Generator, places: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """Make the eyes larger and the lower face smaller, as in children and in drawings."""
    grow, moved = rng.uniform(0.05, 0.5), np.zeros_like(places)
    for side in (-1, 1):
        centre = np.array([side * 0.0289, 0.0, 0.0])
        away = places - centre
        near = np.exp(-((np.linalg.norm(away * [1, 1, 0.8], axis=1) / 0.026) ** 4))
        moved += grow * near[:, None] * away * [1, 1, 1]
    below = ramp_at(-places[:, 1], 0.02, 0.1) * ramp_at(places[:, 1], -0.16, -0.11)
    moved[:, 0] -= rng.uniform(0, 0.15) * below * places[:, 0]
    return moved


def _draw_skin(rng: np.random.Generator, made_up: bool, age: float, ancestry: str, hair_color: Color) -> Skin:
    """Draw complexion, eyes and mouth."""
    melanin = {"african": rng.uniform(0.6, 2.4), "asian": rng.uniform(0.15, 0.6), "caucasian": rng.uniform(0.03, 0.4),
               "mixed": rng.uniform(0.1, 1.4)}[ancestry]  # fmt: skip
    eyes = [
        (0.02, 0.011, 0.006),
        (0.07, 0.035, 0.016),
        (0.14, 0.11, 0.05),
        (0.10, 0.14, 0.10),
        (0.12, 0.19, 0.30),
        (0.22, 0.26, 0.28),
    ]
    dark = melanin > 0.45 or ancestry == "asian"
    iris = np.array(eyes[rng.choice(6, p=[0.6, 0.36, 0.02, 0.01, 0.01, 0.0] if dark else [0.12, 0.22, 0.18, 0.16, 0.2, 0.12])])
    if rng.random() < 0.03:
        iris = rng.random(3) * 0.5
    white = np.array([0.60, 0.57, 0.54]) * rng.uniform(0.75, 1.15) * (1 - np.array([0, 0.03, 0.08]) * rng.random())
    enamel = np.array([0.66, 0.61, 0.50]) * rng.uniform(0.65, 1.2) * (1 - np.array([0.0, 0.06, 0.28]) * rng.beta(1, 2))
    paint = [(0.45, 0.02, 0.03), (0.5, 0.12, 0.14), (0.25, 0.02, 0.06), (0.35, 0.12, 0.08), (0.55, 0.2, 0.2)]
    # Lips without paint: the skin's own colour, with blood nearer to the surface.
    bare = np.array([0.9, 0.8, 0.74]) * np.exp(-melanin * np.array([0.85, 1.38, 1.95]))
    natural = bare * np.array([0.62, 0.30, 0.34]) * rng.uniform(0.65, 1.1) + np.array([0.05, 0.012, 0.014]) * rng.random()
    painted = made_up and rng.random() < 0.7
    return Skin(
        seed=int(rng.integers(1 << 20)),
        melanin=melanin, blood=rng.uniform(0.12, 0.5), mottle=rng.uniform(0.2, 1.3),
        freckles=rng.choice([0.0, rng.random()], p=[0.7, 0.3]) * (melanin < 0.6), moles=rng.choice([0.0, 1.0]) * rng.random(),
        pores=rng.uniform(0.2, 1.3), wrinkles=float(age**1.6 * rng.uniform(0.5, 1.3)),
        folds=float(np.clip(0.25 + age, 0, 1) * rng.random()), oil=rng.beta(1.5, 2.5),
        stubble=tuple(np.clip(np.array(hair_color) * 0.6, 0.01, 0.3)),
        lip_color=tuple(np.array(paint[rng.integers(5)]) * rng.uniform(0.7, 1.2)) if painted else tuple(natural),
        lip_paint=rng.uniform(0.4, 1.0) if painted else 0.0, lip_gloss=rng.beta(1.2, 2.5),
        shadow_color=tuple(rng.random(3) * rng.uniform(0.05, 0.5)), liner=rng.beta(1, 1.5) * (1.0 if made_up else 0.25),
        iris=tuple(iris * rng.uniform(0.6, 1.5)), iris_radius=rng.uniform(0.0056, 0.0068),
        pupil_radius=rng.uniform(0.0014, 0.0032), sclera=tuple(np.clip(white, 0, 0.8)), veins=rng.beta(1, 2.5),
        teeth=tuple(np.clip(enamel, 0.05, 0.85)), tooth_width=rng.uniform(0.85, 1.2), tooth_gaps=rng.beta(1.2, 1.5),
        gums=tuple(np.array([0.42, 0.14, 0.14]) * rng.uniform(0.5, 1.2)),
        tongue=tuple(np.array([0.44, 0.15, 0.14]) * rng.uniform(0.6, 1.3)),
        scalp=tuple(np.array(hair_color) * 0.55),
    )  # fmt: skip


def _hair_color(rng, ancestry: str, age: float) -> Color:
    """Draw a hair colour by pigments: black, brown, blond, red, grey, or dyed."""
    if rng.random() < 0.035:
        return tuple(rng.random(3) ** 2 * 0.7)
    brown = {
        "african": rng.uniform(1.6, 3),
        "asian": rng.uniform(1.4, 3),
        "caucasian": rng.uniform(0.05, 2.2),
        "mixed": rng.uniform(0.3, 3),
    }
    red = rng.beta(1, 4) * (1.2 if ancestry == "caucasian" else 0.5)
    color = 0.55 * np.exp(-brown[ancestry] * np.array([0.95, 1.35, 1.9]) - red * np.array([0.1, 0.8, 1.6])) + 0.006
    grey = ramp_at(np.array(age + 0.25 * rng.normal()), 0.6, 1.0) * rng.random() ** 0.5
    return tuple(color * (1 - grey) + grey * np.array([0.42, 0.42, 0.42]) * rng.uniform(0.5, 1.3))
