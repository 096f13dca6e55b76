"""Smooth noise in space, compiled: the grain of everything procedural, fixed to the template so that it moves with the skin."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, inline="always")
def lattice(x, y, z, seed):
    """Give the random number in [-1, 1] of a grid point."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791) ^ (seed * 2654435761)
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    h = ((h ^ (h >> 16)) * 668265263) & 0x7FFFFFFF
    return ((h >> 7) & 0xFFFF) / 32767.5 - 1.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def noise(x, y, z, seed):
    """Give smooth noise in [-1, 1] whose features are one unit wide."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v), w * w * (3.0 - 2.0 * w)
    a = lattice(i, j, k, seed) * (1 - u) + lattice(i + 1, j, k, seed) * u
    b = lattice(i, j + 1, k, seed) * (1 - u) + lattice(i + 1, j + 1, k, seed) * u
    c = lattice(i, j, k + 1, seed) * (1 - u) + lattice(i + 1, j, k + 1, seed) * u
    d = lattice(i, j + 1, k + 1, seed) * (1 - u) + lattice(i + 1, j + 1, k + 1, seed) * u
    return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def slope(x, y, z, seed):
    """Give the gradient of `noise`."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    p, q, r = x - fx, y - fy, z - fz
    u, v, w = p * p * (3.0 - 2.0 * p), q * q * (3.0 - 2.0 * q), r * r * (3.0 - 2.0 * r)
    n000, n100 = lattice(i, j, k, seed), lattice(i + 1, j, k, seed)
    n010, n110 = lattice(i, j + 1, k, seed), lattice(i + 1, j + 1, k, seed)
    n001, n101 = lattice(i, j, k + 1, seed), lattice(i + 1, j, k + 1, seed)
    n011, n111 = lattice(i, j + 1, k + 1, seed), lattice(i + 1, j + 1, k + 1, seed)
    along_x = ((n100 - n000) * (1 - v) + (n110 - n010) * v) * (1 - w) + ((n101 - n001) * (1 - v) + (n111 - n011) * v) * w
    a, b = n000 + (n100 - n000) * u, n010 + (n110 - n010) * u
    c, d = n001 + (n101 - n001) * u, n011 + (n111 - n011) * u
    along_y = (b - a) * (1 - w) + (d - c) * w
    along_z = (c * (1 - v) + d * v) - (a * (1 - v) + b * v)
    return 6 * p * (1 - p) * along_x, 6 * q * (1 - q) * along_y, 6 * r * (1 - r) * along_z


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def fractal(x, y, z, octaves, seed):
    """Add octaves of noise, each half as wide and half as strong; in [-1, 1]."""
    total, strength, whole = 0.0, 1.0, 0.0
    for octave in range(octaves):
        total += strength * noise(x, y, z, seed + 31 * octave)
        whole += strength
        x, y, z, strength = 2 * x, 2 * y, 2 * z, strength * 0.5
    return total / whole


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def ramp(value, low, high):
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def _fill(points, scale, octaves, seed, out):
    for i in range(len(points)):
        out[i] = fractal(points[i, 0] / scale, points[i, 1] / scale, points[i, 2] / scale, octaves, seed)


def noise_at(points: Float[np.ndarray, "N 3"], scale: float, seed: int, octaves: int = 1) -> Float[np.ndarray, "N"]:
    """Give fractal noise at places in metres whose widest features are `scale` metres wide."""
    out = np.empty(len(points))
    _fill(np.ascontiguousarray(points, np.float64), scale, octaves, seed, out)
    return out


def ramp_at(values: Float[np.ndarray, "*N"] | float, low: float, high: float) -> Float[np.ndarray, "N"]:
    """Rise smoothly from 0 at `low` to 1 at `high`, for arrays."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
