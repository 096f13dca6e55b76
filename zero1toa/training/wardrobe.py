"""What people wear: clothes, hats and scarves, built around the resting head of one identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from zero1toa.training.noise import noise_at, ramp_at, unit

HATS = ("none", "beanie", "cap", "brim", "headband", "hijab", "veil", "turban")
# Rings of cloth that falls from the head onto the shoulders: height, half width, half depth, and the middle's z.
DRAPE = (
    (0.02, 0.094, 0.108, -0.085), (-0.03, 0.094, 0.105, -0.085), (-0.09, 0.09, 0.092, -0.075), (-0.125, 0.09, 0.085, -0.07),
    (-0.165, 0.125, 0.1, -0.07), (-0.21, 0.185, 0.125, -0.07), (-0.28, 0.205, 0.14, -0.07),
)  # fmt: skip
SKULL = np.array([0.0, 0.01, -0.075])


@dataclass(frozen=True, slots=True)
class Fabric:
    """A cloth: two linear colours, how they alternate, and its relief.

    Patterns: 0 plain, 1 stripes, 2 checks, 3 blotches, 4 dots, 5 a jacket over a shirt.
    """

    color: tuple[float, float, float]
    second: tuple[float, float, float]
    pattern: int
    scale: float  # metres
    gloss: float
    folds: float
    weave: float
    seed: int

    def as_row(self) -> list[float]:
        """Give the numbers for compiled code."""
        return [*self.color, *self.second, self.pattern, self.scale, self.gloss, self.folds, self.weave, self.seed]


@dataclass(frozen=True, slots=True)
class Wardrobe:
    """What one person wears. Lengths in metres; an empty string means nothing of the kind."""

    collar: str  # crew, vee, wide, bare, shirt, turtle or hood
    neckline: float
    cloth: Fabric
    second: Fabric
    hat: str
    hat_cloth: Fabric
    glasses: str  # round, square, cat or rimless
    frame: tuple[float, float, float]
    frame_radius: float
    lens_size: float
    lens_tint: tuple[float, float, float, float]  # colour and how much of what is behind it hides
    glare: float
    earrings: str  # stud, hoop or drop
    jewel: tuple[float, float, float]
    necklace: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A mesh that is worn: resting vertices, triangles, which fabric, and how far vertices follow the head (else the bust)."""

    vertices: Float[np.ndarray, "N 3"]
    faces: Int[np.ndarray, "M 3"]
    fabric: int
    follows_head: Float[np.ndarray, "N"]


def _draw_fabric(rng: np.random.Generator) -> Fabric:
    color = rng.random(3) ** 2 * rng.uniform(0.05, 0.9) if rng.random() < 0.6 else np.full(3, rng.random() ** 2 * 0.8) + 0.01
    second = (
        np.clip(color * rng.uniform(0.3, 1.8) + rng.normal(size=3) * 0.05, 0.005, 0.85)
        if rng.random() < 0.5
        else rng.random(3) ** 2
    )
    pattern = int(rng.choice(6, p=[0.52, 0.12, 0.09, 0.1, 0.05, 0.12]))
    return Fabric(
        tuple(color),
        tuple(second),
        pattern,
        rng.uniform(0.006, 0.035),
        rng.beta(1, 4),
        rng.random(),
        rng.random(),
        int(rng.integers(1 << 16)),
    )


def draw_wardrobe(rng: np.random.Generator, male: bool, hair: str) -> Wardrobe:
    """Draw what someone wears."""
    collar = str(
        rng.choice(["crew", "vee", "wide", "bare", "shirt", "turtle", "hood"], p=[0.33, 0.16, 0.1, 0.06, 0.2, 0.1, 0.05])
    )
    neckline = {
        "crew": rng.uniform(-0.012, 0.01),
        "vee": rng.uniform(0.0, 0.02),
        "wide": rng.uniform(0.02, 0.05),
        "bare": 0.2,
    }.get(collar, -0.02)
    scarves = 0.5 if not male else 0.1
    weights = np.array([16.0, 0.6, 0.6, 0.5, 0.6 - 0.3 * male, 1.3 * scarves, 1.2 * scarves, 0.5])
    metal = [(0.6, 0.43, 0.16), (0.6, 0.6, 0.62), (0.02, 0.02, 0.02), (0.9, 0.87, 0.8), (0.4, 0.02, 0.02)]
    frames = [(0.01, 0.01, 0.012), (0.12, 0.05, 0.02), (0.5, 0.5, 0.52), (0.5, 0.36, 0.14), (0.3, 0.02, 0.05), (0.6, 0.6, 0.6)]
    dark = rng.random() < 0.15
    tint = (*(rng.random(3) * 0.04), rng.uniform(0.6, 0.97)) if dark else (0.5, 0.5, 0.5, rng.uniform(0.0, 0.06))
    rim = int(rng.integers(6))
    return Wardrobe(
        collar=collar, neckline=float(neckline), cloth=_draw_fabric(rng), second=_draw_fabric(rng),
        hat=str(rng.choice(HATS, p=weights / weights.sum())), hat_cloth=_draw_fabric(rng),
        glasses=str(rng.choice(["", "round", "square", "cat", "rimless"], p=[0.8, 0.07, 0.08, 0.02, 0.03])),
        frame=frames[rim], frame_radius=rng.uniform(0.0005, 0.002 if rim < 2 else 0.0009), lens_size=rng.uniform(0.85, 1.15),
        lens_tint=tint, glare=float(rng.beta(1, 3)),
        earrings=str(rng.choice(["", "stud", "hoop", "drop"], p=[0.9, 0.06, 0.03, 0.01] if male else [0.55, 0.18, 0.17, 0.1])),
        jewel=metal[int(rng.integers(5))], necklace=bool(rng.random() < 0.18),
    )  # fmt: skip


def dress(wardrobe: Wardrobe, rest: Float[np.ndarray, "V 3"], hair_thickness: float) -> list[Piece]:
    """Build the meshes that are worn over a resting head; fabrics are numbered cloth 0, second 1, hat 2."""
    pieces = [_sleeve(side) for side in (-1, 1)] if wardrobe.collar != "bare" else []
    match wardrobe.collar:
        case "turtle":
            pieces.append(_tube(rest, ((-0.105, 0.006), (-0.125, 0.008), (-0.15, 0.009), (-0.185, 0.02)), 0))
        case "hood":
            levels = ((-0.138, 0.012), (-0.142, 0.022), (-0.155, 0.031), (-0.178, 0.034), (-0.215, 0.02))
            pieces.append(_tube(rest, levels, 0, tilt=0.03))
        case "shirt":
            pieces.append(_tube(rest, ((-0.118, 0.006), (-0.14, 0.012), (-0.172, 0.03)), 1, gap=0.32))
        case _:
            pass
    thick = 0.005 + 0.5 * hair_thickness
    match wardrobe.hat:
        case "beanie":
            pieces.append(_dome(rest, thick + 0.002, front=0.052, back=-0.03, crown=0.012))
        case "cap":
            pieces.append(_dome(rest, thick, front=0.058, back=0.0, crown=0.006))
            pieces.append(_brim(rest, thick, front=0.058, back=0.0, reach=0.07, all_round=False))
        case "brim":
            pieces.append(_dome(rest, thick + 0.004, front=0.062, back=0.02, crown=0.03))
            pieces.append(_brim(rest, thick + 0.004, front=0.062, back=0.02, reach=0.075, all_round=True))
        case "headband":
            pieces.append(_dome(rest, thick, front=0.058, back=-0.01, crown=0.0, top=0.03))
        case "turban":
            pieces.append(_dome(rest, thick + 0.008, front=0.055, back=-0.03, crown=0.012, wound=0.009))
        case "hijab":
            pieces += _scarf(rest, thick, rim=0.96, closed=True)
        case "veil":
            pieces += _scarf(rest, thick + 0.006, rim=1.45, closed=False)
        case _:
            pass
    return pieces


def _grid(points: Float[np.ndarray, "R C 3"], *, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Make a mesh of rows that go down and columns that go from front to the subject's left; `closed` joins its ends."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    return points.reshape(-1, 3), faces


def _reach(rest: np.ndarray, directions: Float[np.ndarray, "N 3"], *, lowest: float = -0.06) -> Float[np.ndarray, "N"]:
    """Give how far the head reaches from the middle of the skull in each direction, ears left out."""
    solid = rest[(rest[:, 1] > lowest) & (np.abs(rest[:, 0]) < 0.076)] - SKULL
    distance = np.linalg.norm(solid, axis=1)
    aligned = unit(directions) @ (solid / distance[:, None]).T
    return np.where(aligned > 0.965, distance[None], 0.0).max(1).clip(0.06)


def _dome_rows(front: float, back: float, top: float, columns: int = 48, rows: int = 20) -> Float[np.ndarray, "R C 3"]:
    """Give directions from the pole (or a band's upper edge) down to a hat's rim, whose height is given before and behind."""
    around = np.arange(columns) / columns * 2 * np.pi
    forward = (1 + np.cos(around)) / 2
    rim = np.arctan2(back + (front - back) * forward - SKULL[1], 0.095)
    start = np.pi / 2 - 0.02 if top == 0.0 else rim + top / 0.095
    elevation = start + (rim - start) * np.linspace(0, 1, rows)[:, None]
    shape = np.broadcast_shapes(elevation.shape, around.shape)
    return np.stack(
        [np.cos(elevation) * np.sin(around), np.broadcast_to(np.sin(elevation), shape), np.cos(elevation) * np.cos(around)], -1
    )


def _dome(
    rest: np.ndarray, thick: float, *, front: float, back: float, crown: float, top: float = 0.0, wound: float = 0.0
) -> Piece:
    """Cover the skull from its top to a rim; `wound` metres deep are the folds of a turban."""
    directions = _dome_rows(front, back, top)
    reach = _reach(rest, directions.reshape(-1, 3)).reshape(directions.shape[:2])
    puffed = crown * np.clip(directions[..., 1], 0, 1) ** 2 * 1.5
    across = directions[..., 1] * 14 + 2.5 * np.sin(np.arctan2(directions[..., 0], directions[..., 2]))
    puffed = puffed + wound * np.abs(np.sin(across)) * (1.2 - directions[..., 1])
    points = SKULL + directions * (reach + thick + puffed)[..., None]
    vertices, faces = _grid(points, closed=True)
    return Piece(vertices, faces, 2, np.ones(len(vertices)))


def _brim(rest: np.ndarray, thick: float, *, front: float, back: float, reach: float, all_round: bool) -> Piece:
    """Add a brim to a dome's rim: all round, or before the forehead only."""
    rim = _dome_rows(front, back, 0.0)[-1]
    start = SKULL + rim * (_reach(rest, rim) + thick)[:, None]
    wide = np.full(len(rim), reach) if all_round else reach * ramp_at(rim[:, 2], 0.25, 0.75) + 1e-4
    out = unit(rim * [1, 0, 1]) + np.array([0, -0.22, 0])
    points = np.stack([start + out * (wide * share)[:, None] for share in np.linspace(0, 1, 5)])
    vertices, faces = _grid(points, closed=True)
    return Piece(vertices, faces, 2, np.ones(len(vertices)))


def _tube(
    rest: np.ndarray, levels: tuple[tuple[float, float], ...], fabric: int, gap: float = 0.0, tilt: float = 0.02
) -> Piece:
    """Lay a collar around the neck: heights and how far it stands off there, lower in front by twice the `tilt`.

    `gap` leaves it open in front, in radians.
    """
    around = np.linspace(gap, 2 * np.pi - gap, 36, endpoint=gap > 0)
    rows = []
    for y, off in levels:
        ring = rest[(np.abs(rest[:, 1] - max(y, -0.135)) < 0.014) & (np.abs(rest[:, 0]) < 0.075) & (rest[:, 2] < 0.0)]
        half = np.array([np.abs(ring[:, 0]).max(), 1]) if len(ring) else np.array([0.06, 1])
        z = ring[:, 2] if len(ring) else np.array([-0.12, -0.02])
        middle, deep = (z.max() + z.min()) / 2, np.ptp(z) / 2
        rows.append(
            np.stack([np.sin(around) * (half[0] + off), np.full_like(around, y), middle + np.cos(around) * (deep + off)], 1)
        )
        rows[-1][:, 1] -= tilt * np.cos(around) + 0.006
    vertices, faces = _grid(np.stack(rows), closed=gap == 0)
    return Piece(vertices, faces, fabric, ramp_at(vertices[:, 1], -0.17, -0.08) * 0.6)


def _sleeve(side: int) -> Piece:
    """Round off a shoulder and let an upper arm hang from it."""
    around = np.arange(20) / 20 * 2 * np.pi
    rows = []
    for share in np.linspace(-0.28, 1, 10):
        # The model's own armhole lies around (0.222, -0.265, -0.1), 5 cm wide to each side.
        centre = np.array([side * (0.207 + 0.05 * share), -0.258 - 0.2 * max(share, 0) - 0.03 * min(share, 0), -0.1])
        radius = 0.05 * np.sqrt(max(1 - min(share / 0.3, 0) ** 2, 0.0)) + 0.003
        rows.append(centre + radius * np.stack([np.sin(around), 0.35 * side * np.sin(around) * -1, np.cos(around)], 1))
    vertices, faces = _grid(np.stack(rows), closed=True)
    return Piece(vertices, faces, 0, np.zeros(len(vertices)))


def _scarf(rest: np.ndarray, thick: float, *, rim: float, closed: bool) -> list[Piece]:
    """Wrap the head but for the face, and let cloth fall on the shoulders; `rim` is the opening's half angle in radians."""
    turn = np.arange(40) / 40 * 2 * np.pi
    share = np.linspace(0, 1, 14)[:, None]
    height = np.cos(turn)
    lower = rim * np.where(height < 0, 1 + 0.3 * height**2, 1 - 0.42 * height**2)
    if not closed:
        lower = lower * np.where(height < -0.3, 1.35, 1.0)
    tilt = lower + (np.pi - 0.02 - lower) * share
    forward, up = unit(np.array([0.0, 0.12, 1.0])), unit(np.array([0.0, 1.0, -0.12]))
    across = np.cos(turn)[:, None] * up + np.sin(turn)[:, None] * np.array([1.0, 0, 0])
    directions = np.cos(tilt)[..., None] * forward + np.sin(tilt)[..., None] * across
    reach = _reach(rest, directions.reshape(-1, 3), lowest=-0.125).reshape(directions.shape[:2])
    wobble = 0.004 * noise_at(directions.reshape(-1, 3), 0.35, 5, 2).reshape(reach.shape)
    vertices, faces = _grid(SKULL + directions * (reach + thick + 0.004 + wobble)[..., None], closed=True)
    hood = Piece(vertices, faces[:, ::-1], 2, ramp_at(vertices[:, 1], -0.15, -0.07))
    gap = 0.0 if closed else 0.75
    around = np.linspace(gap, 2 * np.pi - gap, 40, endpoint=not closed)
    rows = []
    for y, wide, deep, middle in DRAPE:
        if closed and y > -0.08:
            continue
        fold = 1 + 0.05 * np.sin(around * 9 + y * 40) + 0.03 * np.sin(around * 17)
        front = 0.022 * np.clip(np.cos(around), 0, 1) if y < -0.1 else 0.0
        rows.append(
            np.stack(
                [np.sin(around) * wide * fold, y - 0.012 * np.cos(around), middle + np.cos(around) * deep * fold - front], 1
            )
        )
    vertices, faces = _grid(np.stack(rows), closed=closed)
    return [hood, Piece(vertices, faces, 2, ramp_at(vertices[:, 1], -0.16, -0.06))]
