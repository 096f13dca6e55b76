"""Light around a head: a sky, a floor and a few lamps, with the shadows that the head and its hair cast on themselves.

Visibility is looked up in small depth maps, one for each direction, so a mouth is dark inside because little of the sky
is seen from there, and a brow shades its eye.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit

from zero1toa.render.mesh import rasterize_triangles
from zero1toa.training.noise import unit

# Directions in which the sky is sampled; pixels of a depth map a side; metres by which a surface does not shade itself.
DIRECTIONS, MAP, BIAS = 14, 112, 0.0035
# Neighbours along a thread are lit alike: so many of them share one look.
THINNED = 3
# Points are looked up so many metres off their surface.
CLEAR = 0.002


@dataclass(frozen=True, slots=True)
class Light:
    """Where light comes from, in linear units: `directions` point from the head to lamps, `size` is their radius in radians."""

    directions: Float[np.ndarray, "L 3"]
    colors: Float[np.ndarray, "L 3"]
    sizes: Float[np.ndarray, "L"]
    floor: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]


@dataclass(frozen=True, slots=True)
class Lit:
    """What reaches points: irradiance, the mean direction of light times its strength, and how far lamps and sky are seen."""

    irradiance: Float[np.ndarray, "V 3"]
    vector: Float[np.ndarray, "V 3"]
    lamps: Float[np.ndarray, "V L"]
    sky: Float[np.ndarray, "V"]
    threads: Float[np.ndarray, "M L"]


def _tint(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Draw a colour of mean 1: mostly between candle and sky, sometimes anything."""
    warm = rng.normal() * strength
    color = np.array([1 + 0.35 * warm, 1.0, 1 - 0.45 * warm])
    if rng.random() < 0.07:
        color = 0.25 + rng.random(3) * 1.5
    return np.clip(color, 0.08, None) / np.clip(color, 0.08, None).mean()


def draw_light(rng: np.random.Generator) -> Light:
    """Draw a light: overcast, window, studio, sun, flash, candle, stage or against the light."""
    kind = rng.choice(
        ["soft", "window", "studio", "sun", "flash", "low", "stage", "rim"], p=[0.2, 0.2, 0.2, 0.1, 0.1, 0.06, 0.07, 0.07]
    )
    side = rng.choice([-1.0, 1.0])
    ambient = {"soft": 0.85, "window": 0.3, "studio": 0.35, "sun": 0.3, "flash": 0.2, "low": 0.2, "stage": 0.15, "rim": 0.5}[
        kind
    ]
    ambient *= math.exp(0.35 * rng.normal())
    sky = ambient * _tint(rng, 0.25)
    floor = sky * rng.uniform(0.25, 0.8) * _tint(rng, 0.2)
    front = np.array([side * rng.uniform(0.1, 0.8), rng.uniform(0.15, 0.9), 1.0])
    lamps: list[tuple[np.ndarray, np.ndarray, float]] = []

    def lamp(direction, strength: float, size: float, tint: float = 0.25) -> None:
        lamps.append((unit(np.asarray(direction, float)), strength * _tint(rng, tint), size))

    match kind:
        case "soft":
            lamp(front, rng.uniform(0.2, 0.6), 0.5)
        case "window":
            lamp([side * rng.uniform(0.7, 1.6), rng.uniform(0.0, 0.6), rng.uniform(0.1, 0.8)], rng.uniform(1.0, 2.0), 0.35)
        case "studio":
            lamp(front, rng.uniform(0.8, 1.5), 0.25)
            lamp([-side, rng.uniform(-0.2, 0.5), 0.8], rng.uniform(0.15, 0.5), 0.3)
            lamp([-side * 0.8, 0.5, -0.8], rng.uniform(0.3, 1.5), 0.2)
        case "sun":
            lamp([side * rng.uniform(0.0, 1.2), rng.uniform(0.5, 1.8), rng.uniform(0.1, 1.0)], rng.uniform(1.2, 2.4), 0.03, 0.1)
        case "flash":
            lamp([0.1 * rng.normal(), 0.1 + 0.1 * rng.normal(), 1.0], rng.uniform(0.8, 1.6), 0.05, 0.1)
        case "low":
            lamp([side * rng.uniform(0, 0.6), rng.uniform(-0.9, -0.3), 1.0], rng.uniform(0.6, 1.4), 0.2, 0.8)
        case "stage":
            lamp([1.0, rng.uniform(0, 0.8), rng.uniform(-0.2, 0.8)], rng.uniform(0.6, 1.6), 0.15, 1.2)
            lamp([-1.0, rng.uniform(0, 0.8), rng.uniform(-0.2, 0.8)], rng.uniform(0.6, 1.6), 0.15, 1.2)
        case "rim":
            lamp([side * 0.7, 0.5, -0.9], rng.uniform(1.0, 3.0), 0.2)
    directions, colors, sizes = (np.array(values) for values in zip(*lamps, strict=True))
    return Light(directions, colors, sizes, floor, sky)


def light_points(
    points: Float[np.ndarray, "V 3"],
    normals: Float[np.ndarray, "V 3"],
    threads: Float[np.ndarray, "M 3"],
    blockers: Float[np.ndarray, "U 3"],
    faces: Int[np.ndarray, "F 3"],
    light: Light,
) -> Lit:
    """Work out what light reaches points with normals and, from lamps, threads, past the triangles of `blockers`."""
    total, vector = np.zeros((len(points), 3)), np.zeros((len(points), 3))
    lifted, few = points + CLEAR * normals, threads[::THINNED]
    sky, whole = np.zeros(len(points)), np.zeros(len(points))
    for direction in _spread(DIRECTIONS):
        up = direction[1] * 0.5 + 0.5
        color = light.floor * (1 - up) + light.sky * up
        cosine = normals @ direction
        (seen,) = visibility((lifted,), blockers, faces, direction)
        _gather(total, vector, cosine, seen, color * (4 / DIRECTIONS), direction)
        sky += np.maximum(cosine, 0) * seen
        whole += np.maximum(cosine, 0)
    lamps, on_threads = np.zeros((len(points), len(light.sizes))), np.zeros((len(few), len(light.sizes)))
    for index, (direction, color, size) in enumerate(zip(light.directions, light.colors, light.sizes, strict=True)):
        # A large lamp is seen in part: a few points of its disc, one for a small one.
        spots = _disc(direction, size)
        for spot in spots:
            seen, seen_threads = visibility((lifted, few), blockers, faces, spot)
            lamps[:, index] += seen / len(spots)
            on_threads[:, index] += seen_threads / len(spots)
        _gather(total, vector, normals @ direction, lamps[:, index], color, direction)
    return Lit(total, vector, lamps, sky / np.maximum(whole, 1e-6), on_threads.repeat(THINNED, 0)[: len(threads)])


@njit(cache=True, nogil=True)
def _gather(total, vector, cosine, seen, color, direction):
    for i in range(len(cosine)):
        strength = 0.0
        for c in range(3):
            wrap = (0.30, 0.15, 0.09)[c]  # light wraps around edges under skin, red farthest
            total[i, c] += color[c] * seen[i] * max(cosine[i] + wrap, 0.0) / (1 + wrap) ** 2
            strength += color[c] / 3
        # Towards lamps behind the surface, relief makes no difference.
        strength *= seen[i] * min(max(cosine[i] * 4 + 0.5, 0.0), 1.0)
        for c in range(3):
            vector[i, c] += strength * direction[c]


def visibility(
    sets: Sequence[Float[np.ndarray, "V 3"]],
    blockers: Float[np.ndarray, "U 3"],
    faces: Int[np.ndarray, "F 3"],
    direction: Float[np.ndarray, "3"],
) -> list[Float[np.ndarray, "V"]]:
    """Say how far each point of some sets is seen from a far-away direction, in [0, 1]."""
    side = unit(np.cross([0.0, 1.0, 0.2], direction))
    axes = np.stack([side, np.cross(direction, side), -direction], 1)
    low, high = blockers.min(0), blockers.max(0)
    scale = MAP / np.linalg.norm(high - low)
    axes *= np.array([scale, scale, 1.0])
    shift = np.array([MAP / 2, MAP / 2, 0.0]) - (low + high) / 2 @ axes
    depth = rasterize_triangles(torch.from_numpy(blockers @ axes + shift), torch.from_numpy(faces), MAP, MAP)
    found = []
    for points in sets:
        out = np.empty(len(points))
        _look_up(depth.face[0].numpy(), depth.depth[0].numpy(), points.astype(np.float64), axes, shift, BIAS, out)
        found.append(out)
    return found


@njit(cache=True, nogil=True)
def _look_up(face, depth, points, axes, shift, bias, out):
    size = len(depth)
    for i in range(len(points)):
        a, b, c = points[i, 0], points[i, 1], points[i, 2]
        x = a * axes[0, 0] + b * axes[1, 0] + c * axes[2, 0] + shift[0] - 0.5
        y = a * axes[0, 1] + b * axes[1, 1] + c * axes[2, 1] + shift[1] - 0.5
        z = a * axes[0, 2] + b * axes[1, 2] + c * axes[2, 2] + shift[2]
        x0, y0 = math.floor(x), math.floor(y)
        total = 0.0
        for dy in range(2):
            for dx in range(2):
                row, column = min(max(int(y0) + dy, 0), size - 1), min(max(int(x0) + dx, 0), size - 1)
                weight = abs(1 - dx - (x - x0)) * abs(1 - dy - (y - y0))
                if face[row, column] < 0:
                    total += weight
                else:
                    total += weight * min(max(1 - (z - bias - depth[row, column]) / 0.005, 0.0), 1.0)
        out[i] = total


def _spread(count: int) -> Float[np.ndarray, "N 3"]:
    """Spread directions evenly over the sphere."""
    i = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], 1)


def _disc(direction: np.ndarray, size: float) -> Float[np.ndarray, "N 3"]:
    """Give directions to points of a lamp."""
    if size < 0.1:
        return direction[None]
    side = unit(np.cross([0.1, 1.0, 0.3], direction))
    other = np.cross(direction, side)
    turns = np.arange(3) * 2 * np.pi / 3 + 0.5
    return unit(direction + 0.7 * size * (np.cos(turns)[:, None] * side + np.sin(turns)[:, None] * other))
