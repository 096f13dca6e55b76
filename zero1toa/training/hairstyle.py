"""How hair and beards are worn: every style as ranges of lengths, lifts and curls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Span = float | tuple[float, float]  # a number, or the least and the most

# What sets a style apart from a plain `Hairdo`.
STYLES: dict[str, dict[str, Span]] = {
    "bald": {"guides": 0, "recession": (0.03, 0.06)},
    "buzz": {
        "length": (0.003, 0.012), "lift": 0.7, "gravity": 0.0, "guides": 1400, "children": 9, "thickness": 0.004, "clump": 0.2,
    },
    "short": {
        "length": (0.025, 0.06), "sides": (0.2, 0.9), "lift": (0.15, 0.5), "thickness": (0.008, 0.02), "gravity": (0.05, 0.3),
        "curl": (0, 0.003),
    },
    "spiky": {
        "length": (0.03, 0.07), "sides": (0.15, 0.5), "lift": (0.6, 0.9), "gravity": (0, 0.1), "clump": 0.9, "guides": 380,
        "children": 22,
    },
    "parted": {"length": (0.06, 0.1), "sides": (0.25, 0.6), "lift": (0.2, 0.5), "thickness": (0.012, 0.02)},
    "bowl": {"length": (0.08, 0.11), "lift": 0.15, "thickness": 0.012, "gravity": 0.4, "fringe": (0.055, 0.075), "clump": 0.4},
    "bob": {
        "length": (0.14, 0.2), "lift": (0.1, 0.3), "thickness": (0.012, 0.025), "gravity": 0.5, "curl": (0, 0.006),
    },
    "long": {"length": (0.24, 0.42), "lift": 0.12, "thickness": (0.008, 0.02), "gravity": 0.6, "clump": (0.4, 0.8)},
    "wavy": {
        "length": (0.18, 0.38), "lift": 0.25, "thickness": (0.015, 0.03), "gravity": 0.5, "curl": (0.005, 0.012),
        "curl_length": (0.035, 0.07), "guides": 420, "children": 22,
    },
    "curly": {
        "length": (0.08, 0.22), "lift": 0.5, "thickness": (0.02, 0.045), "gravity": 0.25, "curl": (0.005, 0.009),
        "curl_length": (0.014, 0.028), "clump": 0.9, "guides": 700,
    },
    "afro": {
        "length": (0.03, 0.11), "lift": 0.95, "gravity": 0.0, "thickness": 0.02, "curl": (0.003, 0.005), "clump": 0.8,
        "curl_length": (0.01, 0.016), "sides": (0.6, 1.0), "guides": 1000, "children": 10,
    },
    "locks": {
        "length": (0.08, 0.3), "lift": 0.4, "gravity": 0.45, "thickness": 0.02, "clump": 1.15, "guides": 230, "children": 36,
        "curl": (0, 0.004),
    },
    "bun": {"length": 0.22, "thickness": (0.003, 0.012), "lift": 0.05, "gravity": 0.0},
    "ponytail": {"length": 0.24, "thickness": (0.003, 0.01), "lift": 0.05, "gravity": 0.0, "curl": (0, 0.006)},
    "pigtails": {"length": 0.2, "thickness": 0.006, "lift": 0.05, "gravity": 0.0},
}  # fmt: skip
KINDS = tuple(STYLES)
PARTED = ("parted", "bowl", "bob", "long", "wavy", "curly", "locks", "pigtails")
FRINGED = ("bob", "long", "wavy", "bun", "ponytail", "pigtails", "short")
WHOLE = ("guides", "children")


@dataclass(frozen=True, slots=True)
class Hairdo:
    """How hair is worn. Lengths in metres."""

    kind: str
    color: tuple[float, float, float]
    tips: float  # brightness of the ends, of that of the roots
    spread: float  # how much strands differ in brightness
    gloss: float
    length: float = 0.05
    sides: float = 1.0  # length at the sides and the nape, of that on top
    lift: float = 0.4  # of the way along the normal that a strand starts
    gravity: float = 0.25
    part: float | None = None  # x of the parting; None to comb along `comb`
    comb: tuple[float, float, float] = (0.0, 0.2, -0.6)
    thickness: float = 0.010  # of the layer over the scalp
    curl: float = 0.0
    curl_length: float = 0.02
    clump: float = 0.6
    guides: int = 650
    children: int = 14
    fringe: float = 0.0  # length of hair that falls over the forehead
    ties: tuple[tuple[float, float, float], ...] = ()  # where it is gathered, on the template
    aside: float = 1.0  # how far hair is kept out of the face
    recession: float = 0.0
    low: float = 0.0
    radius: float = 0.0004


@dataclass(frozen=True, slots=True)
class Beard:
    """A beard's hairs: how many, how long (metres) and where; `kind` is none, full, goatee, moustache or chin."""

    kind: str
    color: tuple[float, float, float]
    length: float
    count: int
    curl: float


def draw_hairdo(rng: np.random.Generator, color: tuple[float, float, float], male: bool, age: float, ancestry: str) -> Hairdo:
    """Draw a hairstyle; every kind may fall to everyone, some more to some."""
    odds = dict.fromkeys(KINDS, 1.0)
    if male:
        odds |= {"short": 4.0, "parted": 3.0, "buzz": 2.0, "spiky": 1.5, "bald": 1.5}
    else:
        odds |= {"long": 4.0, "wavy": 3.0, "bob": 3.0, "bun": 2.5}
    if ancestry == "african":
        odds |= {"afro": 5.0, "locks": 3.0, "buzz": 3.0, "curly": 3.0}
    weights = np.array([odds[kind] for kind in KINDS])
    kind = str(rng.choice(KINDS, p=weights / weights.sum()))
    u = lambda low, high: float(rng.uniform(low, high))
    drawn: dict = {
        "tips": float(np.exp(0.25 * rng.normal() + (0.4 if rng.random() < 0.15 else 0.0))),
        "spread": u(0.08, 0.35), "gloss": float(rng.beta(1.6, 1.6)), "low": u(0, 0.012),
        "recession": u(0.01, 0.05) * (male and rng.random() < 0.25 + 0.5 * age),
        "aside": 1.0 if rng.random() < 0.8 else u(0, 0.7),
        "comb": (u(-0.5, 0.5), u(-0.1, 0.4), u(-0.8, 0.4)),
    }  # fmt: skip
    if kind in PARTED:
        drawn["part"] = float(rng.choice([-1, 1])) * u(0.0, 0.035) * (kind not in ("bowl", "pigtails"))
    if kind in FRINGED and rng.random() < 0.35:
        drawn["fringe"] = u(0.05, 0.075)
    match kind:
        case "bun":
            drawn["ties"] = ((0.0, u(0.01, 0.11), -u(0.13, 0.18)),)
        case "ponytail":
            drawn["ties"] = ((0.0, u(-0.04, 0.09), -0.175),)
        case "pigtails":
            height, behind = u(-0.06, 0.06), -u(0.08, 0.13)
            drawn["ties"] = ((-0.085, height, behind), (0.085, height, behind))
        case _:
            pass
    for name, span in STYLES[kind].items():
        value = u(*span) if isinstance(span, tuple) else span
        drawn[name] = int(value) if name in WHOLE else value
    return Hairdo(kind=kind, color=color, **drawn)


def draw_beard(rng: np.random.Generator, color: tuple[float, float, float], male: bool) -> Beard:
    """Draw a beard, or none."""
    kind = rng.choice(["none", "full", "goatee", "moustache", "chin"], p=[0.6, 0.2, 0.08, 0.08, 0.04]) if male else "none"
    tint = np.clip(np.array(color) * rng.uniform(0.5, 1.3) + 0.02 * rng.random() * np.array([1, 0.4, 0.2]), 0.004, 0.6)
    length = rng.uniform(0.02, 0.06) if rng.random() < 0.2 else rng.uniform(0.003, 0.014)
    red, green, blue = tint.tolist()
    return Beard(str(kind), (red, green, blue), length, int(rng.uniform(1500, 5000)), rng.random() * 0.0015)
