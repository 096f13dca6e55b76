"""Thin things: strands of hair, lashes, rims of glasses; lit like cylinders, drawn one by one before a depth buffer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from zero1toa.training.light import Light


@dataclass(frozen=True, slots=True)
class Threads:
    """Polylines one after the other: M points of N lines; line n has the points `starts[n]` to `starts[n + 1]`.

    `open` in [0, 1] says how much light gets to a point past its neighbours; `opacity` and `gloss` belong to lines.
    `label` is what a pixel of the line is called (see `zero1toa.training.picture`).
    """

    points: Float[np.ndarray, "M 3"]
    colors: Float[np.ndarray, "M 3"]
    radius: Float[np.ndarray, "M"]
    open: Float[np.ndarray, "M"]
    starts: Int[np.ndarray, "N1"]
    opacity: Float[np.ndarray, "N"]
    gloss: Float[np.ndarray, "N"]
    label: Int[np.ndarray, "N"]


def lines(points: Float[np.ndarray, "N S 3"], color, radius, *, label: int, open: Any = 1.0, opacity=1.0, gloss=0.3) -> Threads:
    """Make threads of N lines with S points each; what is one number is the same for all."""
    count, steps = points.shape[:2]
    total = count * steps
    fill = lambda value, shape: np.broadcast_to(np.asarray(value, np.float32), shape)
    return Threads(
        points=np.ascontiguousarray(points.reshape(-1, 3), np.float32),
        colors=np.ascontiguousarray(fill(color, (count, steps, 3)).reshape(-1, 3)),
        radius=np.ascontiguousarray(fill(radius, (count, steps)).reshape(-1)),
        open=np.ascontiguousarray(fill(open, (count, steps)).reshape(-1)),
        starts=np.arange(0, total + 1, steps, dtype=np.int64),
        opacity=np.ascontiguousarray(fill(opacity, (count,))),
        gloss=np.ascontiguousarray(fill(gloss, (count,))),
        label=np.full(count, label, np.int64),
    )


def joined(parts: list[Threads]) -> Threads:
    """Put threads one after the other."""
    ends = np.cumsum([0, *(len(part.points) for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Threads.__slots__ if name != "starts"}
    return Threads(starts=np.concatenate([*starts, ends[-1:]]), **fields)


def shade(
    threads: Threads, light: Light, lamps: Float[np.ndarray, "M L"], eye: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "M 3"]:
    """Give the light that lines send to the eye (Kajiya and Kay 1989, with a second, tinted highlight)."""
    out = np.empty_like(threads.points)
    _shade(
        threads.points, threads.colors, threads.open, threads.starts, threads.gloss, lamps, light.directions, light.colors,
        light.sky, light.floor, eye.astype(np.float64), out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _shade(points, colors, opening, starts, gloss, lamps, directions, lights, sky, floor, eye, out):
    for n in range(len(starts) - 1):
        first, end = starts[n], starts[n + 1]
        for i in range(first, end):
            a, b = max(i - 1, first), min(i + 1, end - 1)
            tx, ty, tz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
            s = 1.0 / max(math.sqrt(tx * tx + ty * ty + tz * tz), 1e-9)
            tx, ty, tz = tx * s, ty * s, tz * s
            vx, vy, vz = eye[0] - points[i, 0], eye[1] - points[i, 1], eye[2] - points[i, 2]
            s = 1.0 / max(math.sqrt(vx * vx + vy * vy + vz * vz), 1e-9)
            vx, vy, vz = vx * s, vy * s, vz * s
            deep = 0.22 + 0.78 * opening[i]
            for c in range(3):
                out[i, c] = colors[i, c] * (0.6 * sky[c] + 0.4 * floor[c]) * deep * 0.9
            for k in range(len(directions)):
                x, y, z = directions[k, 0], directions[k, 1], directions[k, 2]
                along = tx * x + ty * y + tz * z
                sine = math.sqrt(max(1.0 - along * along, 0.0))
                hx, hy, hz = x + vx, y + vy, z + vz
                s = 1.0 / max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
                half = (tx * hx + ty * hy + tz * hz) * s
                first_lobe = max(1.0 - (half + 0.06) ** 2, 0.0) ** 40
                second = max(1.0 - (half - 0.08) ** 2, 0.0) ** 8
                power = lamps[i, k] * deep
                for c in range(3):
                    own = colors[i, c] * (0.55 * sine + 0.5 * gloss[n] * second) + 0.05 * gloss[n] * first_lobe
                    out[i, c] += power * lights[k, c] * own


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def draw(pixels, radius, colors, starts, opacity, image, alpha, depth, owner):
    """Draw lines of pixel x, y and depth into an image, nearest first; a line thinner than a pixel is fainter instead.

    `owner` gets the number of the nearest point that covers a pixel by about half.
    """
    height, width = depth.shape
    for n in range(len(starts) - 1):
        for i in range(starts[n], starts[n + 1] - 1):
            x0, y0, z0 = pixels[i, 0], pixels[i, 1], pixels[i, 2]
            x1, y1, z1 = pixels[i + 1, 0], pixels[i + 1, 1], pixels[i + 1, 2]
            if z0 < 0.02 or z1 < 0.02 or max(x0, x1) < -9 or min(x0, x1) > width + 9:
                continue
            if max(y0, y1) < -9 or min(y0, y1) > height + 9:
                continue
            steps = int(max(abs(x1 - x0), abs(y1 - y0)) * 1.2) + 1
            for j in range(steps):
                t = (j + 0.5) / steps
                x, y, z = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, z0 + (z1 - z0) * t
                r = radius[i] * (1 - t) + radius[i + 1] * t
                strength = opacity[n] * min(1.0, 2 * r)
                reach = int(max(r - 0.2, 0.0))
                for dy in range(-reach, reach + 1):
                    for dx in range(-reach, reach + 1):
                        off = (dx * dx + dy * dy) / max(r * r, 0.25)
                        if reach > 0 and off > 1.15:
                            continue
                        column, row = math.floor(x) + dx, math.floor(y) + dy
                        if not (0 <= column < width and 0 <= row < height) or z >= depth[row, column]:
                            continue
                        # Round things are darker at their rims.
                        round_off = 1.0 - 0.35 * off if reach > 0 else 1.0
                        for c in range(3):
                            own = (colors[i, c] * (1 - t) + colors[i + 1, c] * t) * round_off
                            image[row, column, c] += strength * (own - image[row, column, c])
                        alpha[row, column] += strength * (1 - alpha[row, column])
                        # A heap of faint lines owns a pixel that nothing else does.
                        heap = alpha[row, column] > 0.5 and owner[row, column] < 0 and depth[row, column] > 1e6
                        if strength > 0.45 or heap:
                            depth[row, column] = z
                            owner[row, column] = i
