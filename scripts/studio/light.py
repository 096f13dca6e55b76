"""Light of a photographer's studio: softboxes and walls, with the soft shadows that the head casts on itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scripts.studio.shapes import fibonacci, unit
from zero1toa.render.mesh import rasterize_triangles

DIRECTIONS, MAP, BIAS = 220, 320, 0.0025


@dataclass(frozen=True)
class Lamp:
    """A softbox: where it is seen from the head, how sharp its edge is, and its colour times strength."""

    direction: tuple[float, float, float]
    sharpness: float
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Setup:
    """Lamps, and walls that brighten from floor to ceiling."""

    lamps: tuple[Lamp, ...]
    floor: tuple[float, float, float]
    ceiling: tuple[float, float, float]

    def radiance(self, directions: np.ndarray) -> np.ndarray:
        """Give the light that comes from directions (N, 3)."""
        up = directions[:, 1:2] * 0.5 + 0.5
        light = np.array(self.floor) * (1 - up) + np.array(self.ceiling) * up
        for lamp in self.lamps:
            near = np.exp(lamp.sharpness * (directions @ unit(np.array(lamp.direction)) - 1))
            light = light + near[:, None] * np.array(lamp.color)
        return light


class HairVolume:
    """How much hair there is in each cubic cell, which is what dims light on its way."""

    def __init__(self, points: np.ndarray, weights: np.ndarray, cell: float = 0.006) -> None:
        self.cell = cell
        if not len(points):
            self.low, self.grid = np.zeros(3), np.zeros((1, 1, 1), np.float32)
            return
        self.low = points.min(0) - 2 * cell
        shape = np.ceil((points.max(0) - self.low) / cell).astype(int) + 3
        self.grid = np.zeros(shape, np.float32)
        index = ((points - self.low) / cell).astype(int)
        np.add.at(self.grid, tuple(index.T), weights.astype(np.float32))
        # Strands are few and cells are small: spread them a little.
        for axis in range(3):
            self.grid = (np.roll(self.grid, 1, axis) + 2 * self.grid + np.roll(self.grid, -1, axis)) / 4

    def at(self, points: np.ndarray) -> np.ndarray:
        index = np.floor((points - self.low) / self.cell).astype(int)
        inside = ((index >= 0) & (index < self.grid.shape)).all(-1)
        index = np.where(inside[..., None], index, 0)
        return np.where(inside, self.grid[index[..., 0], index[..., 1], index[..., 2]], 0)

    def transmittance(self, points: np.ndarray, direction: np.ndarray, reach: float = 0.09, steps: int = 9) -> np.ndarray:
        """Give what is left of light that comes to the points from a direction."""
        distances = reach * (np.arange(steps) + 0.8) / steps
        depth = sum(self.at(points + direction * d) for d in distances) * (reach / steps / self.cell)
        return np.exp(-np.maximum(depth, 0))


def light_vertices(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, setup: Setup, hair: HairVolume):
    """Give the light on every vertex (V, 3) for red, green and blue, and how much of the sky each sees (V,).

    Light wraps around edges, red farthest, as it does under skin.
    """
    wrap = np.array([0.30, 0.14, 0.08])
    directions = fibonacci(DIRECTIONS)
    radiance = setup.radiance(directions)
    total, sky, norm = np.zeros((len(vertices), 3)), np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction, light in zip(directions, radiance, strict=True):
        cosine = normals @ direction
        seen = visibility(vertices, normals, faces, direction) * hair.transmittance(vertices + 0.003 * normals, direction)
        total += light * np.maximum((cosine[:, None] + wrap) / (1 + wrap), 0) / (1 + wrap) * seen[:, None]
        sky += np.maximum(cosine, 0) * seen
        norm += np.maximum(cosine, 0)
    return total * (4 / DIRECTIONS), sky / np.maximum(norm, 1e-6)


def visibility(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Say how far each vertex is seen from a far-away direction, in [0, 1]."""
    side = unit(np.cross([0.0, 1.0, 0.2], direction))
    up = np.cross(direction, side)
    low, high = vertices.min(0), vertices.max(0)
    size = np.linalg.norm(high - low)
    centred = vertices - (low + high) / 2
    scale = MAP / size
    points = np.stack([centred @ side * scale + MAP / 2, centred @ up * scale + MAP / 2, -(centred @ direction)], 1)
    depth = rasterize_triangles(torch.from_numpy(points), torch.from_numpy(faces), MAP, MAP)
    image = np.where(depth.face[0].numpy() >= 0, depth.depth[0].numpy(), 1e9)
    # Looked up a little off the surface, so that it does not shade itself.
    off = points + np.stack([normals @ side * scale, normals @ up * scale, -(normals @ direction)], 1) * 0.002
    x, y = off[:, 0] - 0.5, off[:, 1] - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    seen = np.zeros(len(vertices))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - (x - x0)) * np.abs(1 - dy - (y - y0))
            sample = image[(y0 + dy).clip(0, MAP - 1), (x0 + dx).clip(0, MAP - 1)]
            seen += weight * np.clip(1 - (off[:, 2] - BIAS - sample) / 0.004, 0, 1)
    return seen
