"""Hair grows: a few hundred guide strands that are combed, fall and slide off the head, and locks around them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from zero1toa.training.hairstyle import Hairdo
from zero1toa.training.noise import noise_at, ramp_at, unit

STEPS = 18


@dataclass(frozen=True, slots=True)
class Strands:
    """Grown hair on the resting head: N strands of S points, colours, and how deep in the hair each point lies (1 outside)."""

    points: Float[np.ndarray, "N S 3"]
    colors: Float[np.ndarray, "N S 3"]
    open: Float[np.ndarray, "N S"]
    radius: float


def grow(
    style: Hairdo,
    roots: Float[np.ndarray, "G 3"],
    normals: Float[np.ndarray, "G 3"],
    solid: Float[np.ndarray, "U 3"],
    solid_normals: Float[np.ndarray, "U 3"],
    rng: np.random.Generator,
) -> Strands:
    """Grow hair from roots over a solid head at rest. Strands at the forehead become the fringe if there is one."""
    tree = KDTree(solid)
    if style.ties:
        # Gathered just above the skin of this very head, not of the template.
        near = tree.query(np.array(style.ties))[1]
        style = replace(style, ties=tuple(map(tuple, solid[near] + 0.008 * solid_normals[near])))
    height = np.clip((roots[:, 1] - 0.02) / 0.06, 0, 1)
    length = style.length * (style.sides + (1 - style.sides) * height) * (1 - 0.2 * rng.random(len(roots)))
    front = np.zeros(len(roots), bool)
    if style.fringe:
        front = (roots[:, 2] > -0.045) & (np.abs(roots[:, 0]) < 0.05) & (roots[:, 1] > 0.04)
        length = np.where(
            front, style.fringe * (1.25 - 0.3 * rng.random(len(roots))) * (1 + 4 * np.maximum(-roots[:, 2], 0)), length
        )
    guides = _guides(style, roots, normals, length, front, tree, solid_normals, rng)
    if style.ties:
        guides = np.concatenate([guides, *_gathered(style, rng)])
    points, shade = _locks(style, guides, rng)
    along = np.linspace(0, 1, points.shape[1])[None, :, None]
    colors = np.array(style.color) * np.exp(style.spread * shade)[:, None, None] * (1 + (style.tips - 1) * along**1.5)
    return Strands(points.astype(np.float32), colors.astype(np.float32), _openness(points).astype(np.float32), style.radius)


def _guides(style, roots, normals, length, front, tree: KDTree, solid_normals, rng) -> Float[np.ndarray, "G S 3"]:
    """Walk along each guide: combed near the root, falling farther out, pushed out of the head all the way."""
    step = (length / (STEPS - 1))[:, None]
    layer = style.thickness * (0.1 + 0.9 * rng.random(len(roots)))
    points = np.empty((len(roots), STEPS, 3))
    points[:, 0] = roots
    own_normal = normals
    direction = unit(
        normals * style.lift + _combed(style, roots, normals, front) * (1 - style.lift) + 0.1 * rng.normal(size=roots.shape)
    )
    for i in range(1, STEPS):
        share = i / (STEPS - 1)
        here = points[:, i - 1]
        comb = _combed(style, here, own_normal, front)
        weight = 1.5 if style.ties else 0.35 * max(0.0, 1 - share / 0.5) * (1 - style.lift)
        fall = np.where(front[:, None], 0.5, style.gravity) * np.minimum(share * length[:, None] / 0.03, 1.6)
        waver = np.stack([noise_at(here, 0.035, seed) for seed in (1, 2, 3)], 1)
        # Out of the face: aside and back, wherever a strand hangs before it.
        before = (
            ramp_at(here[:, 2], -0.05, -0.01) * ramp_at(0.062 - np.abs(here[:, 0]), 0, 0.02) * (here[:, 1] < 0.075) * ~front
        )
        aside = np.stack([np.sign(here[:, 0] + 1e-9), 0 * before, -0.7 + 0 * before], 1)
        comb = comb + 2.2 * style.aside * before[:, None] * aside
        direction = unit(direction + weight * comb + fall * [0, -1, 0] + 0.1 * waver)
        ahead = here + step * direction
        gap, nearest = tree.query(ahead)
        own_normal = solid_normals[nearest]
        out = ((ahead - tree.data[nearest]) * own_normal).sum(1)
        push = np.where(gap < 0.05, np.maximum(layer * min(1.0, 3 * share) - out, 0), 0)[:, None]
        ahead = ahead + push * own_normal
        if style.ties:
            ahead = _stopped(style, here, ahead, front)
        direction = unit(ahead - here)
        points[:, i] = ahead
    return points


def _combed(style: Hairdo, points: np.ndarray, normals: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Give the direction of the comb, along the surface."""
    if style.ties:
        to = np.array(style.ties)[None] - points[:, None]
        near = np.linalg.norm(to, axis=-1).argmin(1)
        way = to[np.arange(len(points)), near]
    elif style.part is not None:
        side = np.tanh((points[:, :1] - style.part) / 0.006)
        way = np.concatenate([side * 0.9, np.full_like(side, -0.25), np.full_like(side, style.comb[2])], 1)
    else:
        way = np.broadcast_to(np.array(style.comb), points.shape)
    forward = np.stack(
        [0.4 * np.sign(points[:, 0]) * np.abs(points[:, 0]) / 0.05, np.full(len(points), -0.3), np.ones(len(points))], 1
    )
    way = np.where(front[:, None], forward, way)
    return unit(way - (way * normals).sum(1, keepdims=True) * normals * 0.9 + 1e-9)


def _stopped(style: Hairdo, here: np.ndarray, ahead: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Stop strands where they are gathered."""
    ties = np.array(style.ties)
    arrived = (np.linalg.norm(here[:, None] - ties, axis=-1).min(1) < 0.02) & ~front
    return np.where(arrived[:, None], here, ahead)


def _gathered(style: Hairdo, rng: np.random.Generator) -> list[Float[np.ndarray, "G S 3"]]:
    """Wind a ball of hair at each tie for a bun, or let a tail hang from it."""
    found = []
    for tie in style.ties:
        count, course = 130, np.linspace(0, 1, STEPS)[None, :]
        if style.kind == "bun":
            size = rng.uniform(0.022, 0.04)
            turn, tilt = 2 * np.pi * rng.random((count, 1)), rng.normal(size=(count, 1)) * 0.5
            angle = turn + course * rng.uniform(2.0, 4.5)
            ring = np.stack([np.cos(angle), np.sin(angle), tilt + 0.6 * np.sin(angle * 2 + turn)], -1)
            centre = np.array(tie) + 0.4 * size * unit(np.array(tie) - [0, 0.01, -0.09])
            found.append(centre + size * unit(ring) * (0.75 + 0.25 * rng.random((count, 1, 1))))
            continue
        out = unit(np.array(tie) - [0, 0.0, -0.08])
        length, wide = rng.uniform(0.12, 0.3), rng.uniform(0.008, 0.02)
        spot = unit(rng.normal(size=(count, 3))) * rng.random((count, 1)) ** 0.4
        course = course[..., None]
        middle = np.array(tie) + out * 0.05 * np.sin(np.minimum(course * 3, 1.6)) + np.array([0, -1, 0]) * length * course**1.6
        belly = wide * (0.5 + 1.6 * course * (1.25 - course))
        found.append(middle + spot[:, None] * belly + style.curl * np.sin(course * 14 + 6 * rng.random((count, 1, 1))))
    return found


def _locks(style: Hairdo, guides: Float[np.ndarray, "G S 3"], rng) -> tuple[Float[np.ndarray, "N S 3"], Float[np.ndarray, "N"]]:
    """Surround each guide by strands that draw together towards its end, and curl them; give a shade for each, too."""
    count, children = len(guides), style.children
    along = unit(np.gradient(guides, axis=1))
    side = unit(np.cross(along, [0.3, 1.0, 0.2]))
    other = np.cross(along, side)
    spot = rng.normal(size=(2, count, children, 1)) * 0.0042 * (650 / max(count, 1)) ** 0.5
    course = np.linspace(0, 1, guides.shape[1])
    narrow = np.clip(1 - style.clump * course**0.8, 0.12, 1) * np.minimum(1, 0.5 + 3 * course)
    # Locks are flatter than wide, and every strand strays a little.
    stray = rng.normal(size=(2, count, children, 1)) * 0.0025 * course**2 * (1.3 - min(style.clump, 1.0))
    u, v = spot[0] * narrow + stray[0], 0.55 * spot[1] * narrow + stray[1]
    if style.curl:
        arc = np.linalg.norm(np.diff(guides, axis=1), axis=-1).sum(1)[:, None, None]
        phase = 6.28 * rng.random((count, 1, 1)) + (1.3 - min(style.clump, 1.0)) * rng.random((count, children, 1)) * 4
        angle = phase + course * arc / style.curl_length * 2 * np.pi
        width = style.curl * np.minimum(1, 3 * course)
        u, v = u + width * np.cos(angle), v + width * np.sin(angle)
        # Curls tighter than the steps of a strand cannot be wound; hair of that kind is frizz.
        frizz = width * float(ramp_at(0.022 - style.curl_length, 0.0, 0.008))
        u, v = u + frizz * rng.normal(size=u.shape), v + frizz * rng.normal(size=v.shape)
    shorter = 1 - 0.25 * rng.random((count, children, 1)) ** 2
    at = np.clip(course * shorter * (len(course) - 1), 0, len(course) - 1.001)
    low, part = at.astype(int), (at % 1)[..., None]
    rows = np.arange(count)[:, None, None]
    centre = guides[rows, low] * (1 - part) + guides[rows, low + 1] * part
    points = centre + u[..., None] * side[:, None] + v[..., None] * other[:, None]
    shade = rng.normal(size=(count, 1)) * 0.6 + rng.normal(size=(count, children))
    return points.reshape(-1, guides.shape[1], 3), shade.reshape(-1)


def _openness(points: Float[np.ndarray, "N S 3"]) -> Float[np.ndarray, "N S"]:
    """Say how near to the outside of the hair points lie, seen from the middle of the skull: 1 outside, 0 at the scalp."""
    away = points.reshape(-1, 3) - [0, 0.01, -0.075]
    radius = np.linalg.norm(away, axis=1)
    azimuth = ((np.arctan2(away[:, 0], away[:, 2]) / (2 * np.pi) + 0.5) * 24).astype(int).clip(0, 23)
    height = ((away[:, 1] / np.maximum(radius, 1e-6) * 0.5 + 0.5) * 14).astype(int).clip(0, 13)
    cell = height * 24 + azimuth
    farthest, nearest = np.full(24 * 14, 1e-3), np.full(24 * 14, 9.0)
    np.maximum.at(farthest, cell, radius)
    np.minimum.at(nearest, cell, radius)
    depth = np.maximum(farthest - nearest, 0.004)
    return np.clip((radius - nearest[cell]) / depth[cell], 0, 1).reshape(points.shape[:2])
