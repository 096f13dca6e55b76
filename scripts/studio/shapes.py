"""Geometry that the studio needs: smooth subdivision, noise in space, and colours between display and light."""

from __future__ import annotations

import numpy as np


def subdivide(faces: np.ndarray, count: int):
    """Split every triangle in four by Loop's rules; give the new faces and a function that carries vertex data over.

    The function takes (V, C) and `smooth`; without it new vertices are plain midpoints and old ones stay, as suits
    what must not shrink.
    """
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    unique, index, uses = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    middle = count + index.reshape(3, -1)
    a, b, c = faces.T
    ab, bc, ca = middle
    new_faces = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    inner = uses == 2
    rim = np.unique(unique[uses == 1])
    on_rim = np.zeros(count, bool)
    on_rim[rim] = True
    degree = np.bincount(unique.ravel(), minlength=count)

    def carry(data: np.ndarray, *, smooth: bool) -> np.ndarray:
        data = np.asarray(data, np.float64).reshape(count, -1)
        ends = data[unique].sum(1)
        if not smooth:
            return np.concatenate([data, ends / 2])
        wings = np.zeros_like(ends)
        np.add.at(wings, index, data[opposite])
        added = np.where(inner[:, None], ends * 3 / 8 + wings / 8, ends / 2)
        around = np.zeros_like(data)
        np.add.at(around, unique[:, 0], data[unique[:, 1]])
        np.add.at(around, unique[:, 1], data[unique[:, 0]])
        beta = np.where(degree == 3, 3 / 16, 3 / (8 * np.maximum(degree, 1)))[:, None]
        moved = (1 - degree[:, None] * beta) * data + beta * around
        # Along a rim only the rim counts.
        along = np.zeros_like(data)
        border = unique[uses == 1]
        np.add.at(along, border[:, 0], data[border[:, 1]])
        np.add.at(along, border[:, 1], data[border[:, 0]])
        moved[on_rim] = data[on_rim] * 0.75 + along[on_rim] * 0.125
        return np.concatenate([moved, added])

    return new_faces, carry


def noise(points: np.ndarray, scale: float, seed: int = 0) -> np.ndarray:
    """Give smooth noise in [-1, 1] at points in space, whose features are about `scale` metres wide."""
    at = points / scale + 1000.0
    cell = np.floor(at).astype(np.int64)
    f = at - cell
    f = f * f * (3 - 2 * f)
    total = np.zeros(points.shape[:-1], np.float32)
    for corner in range(8):
        offset = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        weight = np.prod(np.where(offset, f, 1 - f), axis=-1)
        total += weight.astype(np.float32) * _hash(cell + offset, seed)
    return total


def _hash(cell: np.ndarray, seed: int) -> np.ndarray:
    h = (cell[..., 0] * 73856093) ^ (cell[..., 1] * 19349663) ^ (cell[..., 2] * 83492791) ^ (seed * 2654435761)
    h = (h ^ (h >> 13)) * 1274126177 & 0x7FFFFFFF
    h = (h ^ (h >> 16)) * 668265263 & 0x7FFFFFFF
    return ((h >> 7 & 0xFFFF) / 32767.5 - 1).astype(np.float32)


def fractal(points: np.ndarray, scale: float, octaves: int, seed: int = 0) -> np.ndarray:
    """Add octaves of noise, each half as wide and half as strong."""
    return sum(noise(points, scale / 2**i, seed + 31 * i) / 2**i for i in range(octaves)) / (2 - 0.5 ** (octaves - 1))


def to_light(color) -> np.ndarray:
    """Turn sRGB in [0, 1] into linear light."""
    color = np.asarray(color, np.float64)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def to_display(light: np.ndarray) -> np.ndarray:
    """Turn linear light into sRGB, with a soft shoulder for highlights."""
    light = np.maximum(light, 0)
    knee = 0.72
    light = np.where(light > knee, knee + (1 - knee) * np.tanh((light - knee) / (1.15 * (1 - knee))), light)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def fibonacci(count: int) -> np.ndarray:
    """Spread directions evenly over the sphere."""
    i = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], 1)
