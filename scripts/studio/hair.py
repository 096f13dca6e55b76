"""Hair: strands that grow out of the scalp, fall, clump and curl, and are drawn one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from scripts.studio.light import HairVolume, Setup
from scripts.studio.shapes import noise, unit

KEY, SECOND = 70.0, 12.0  # exponents of the two highlights


@dataclass(frozen=True)
class Style:
    """How hair is worn. Lengths in metres; `part` is where the parting lies, x in metres, None to comb back."""

    length: float = 0.05
    strands: int = 26000
    color: tuple[float, float, float] = (0.03, 0.02, 0.014)
    lift: float = 0.5  # of the way along the normal that a strand starts
    gravity: float = 0.25
    combed: float = 0.5  # of a strand, how far from the root the comb is felt
    part: float | None = None
    comb: tuple[float, float, float] = (0.0, 0.3, -0.5)
    thickness: float = 0.010  # of the layer of hair over the scalp
    curl: float = 0.0
    curl_width: float = 0.006
    clump: float = 0.6
    guides: int = 500
    grey: float = 0.0
    sides: float = 1.0  # length at the sides and the nape, of the length on top
    ends: float = 0.15  # how much strands differ in length


STEPS = 22


def grow(style: Style, roots, normals, top, head_points, head_normals, generator) -> np.ndarray:
    """Grow strands (N, STEPS, 3) from roots on the scalp; `top` in [0, 1] says how far up on the head a root is."""
    count = len(roots)
    length = style.length * (style.sides + (1 - style.sides) * top) * (1 - style.ends * generator.random(count))
    step = (length / (STEPS - 1))[:, None]
    tree = cKDTree(head_points)
    layer = style.thickness * (0.15 + 0.85 * generator.random(count))
    direction = unit(normals * style.lift + _combed(style, roots, normals) * (1 - style.lift))
    direction = unit(direction + 0.10 * generator.normal(size=direction.shape))
    points = np.empty((count, STEPS, 3))
    points[:, 0] = roots
    for i in range(1, STEPS):
        share = i / (STEPS - 1)
        # The comb counts near the root; farther out hair only falls.
        comb = _combed(style, points[:, i - 1], normals) * max(0.0, 1 - share / style.combed) * (1 - style.lift)
        travelled = share * length[:, None]
        fall = style.gravity * np.minimum(travelled / 0.03, 1.6)
        direction = unit(direction + 0.35 * comb + fall * [0, -1, 0])
        waver = np.stack([noise(points[:, i - 1], 0.035, seed) for seed in (1, 2, 3)], 1)
        ahead = points[:, i - 1] + step * unit(direction + 0.10 * waver)
        gap, nearest = tree.query(ahead, workers=2)
        out = head_normals[nearest]
        height = ((ahead - head_points[nearest]) * out).sum(1)
        wanted = layer * min(1.0, 3 * share)
        push = np.where(gap < 0.05, np.maximum(wanted - height, 0), 0)[:, None] * out
        ahead = ahead + push
        direction = unit(ahead - points[:, i - 1])
        points[:, i] = ahead
    return _curled(style, _clumped(style, points, generator), length, generator)


def _combed(style: Style, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Give the direction of the comb, along the surface."""
    if style.part is None:
        way = np.broadcast_to(style.comb, points.shape)
    else:
        side = np.tanh((points[:, :1] - style.part) / 0.006)
        way = np.concatenate([side * 0.9, np.full_like(side, -0.25), np.full_like(side, style.comb[2])], 1)
    way = way - (way * normals).sum(1, keepdims=True) * normals * 0.9
    return unit(way + 1e-9)


def _clumped(style: Style, points: np.ndarray, generator) -> np.ndarray:
    """Pull the ends of neighbouring strands together into locks."""
    guides = generator.choice(len(points), min(style.guides, len(points)), replace=False)
    middle = points[:, STEPS // 2]
    own = guides[cKDTree(middle[guides]).query(middle)[1]]
    share = (np.linspace(0, 1, STEPS) ** 1.3)[None, :, None] * style.clump * (0.5 + 0.5 * generator.random((len(points), 1, 1)))
    return points + (points[own] - points) * share


def _curled(style: Style, points: np.ndarray, length: np.ndarray, generator) -> np.ndarray:
    """Wind strands around their own course."""
    if not style.curl:
        return points
    along = unit(np.gradient(points, axis=1))
    side = unit(np.cross(along, [0.3, 1.0, 0.2]))
    other = np.cross(along, side)
    # Neighbours curl together: their phase varies slowly over the scalp.
    phase = 6 * noise(points[:, 0], 0.02, 9)[:, None] + 1.2 * generator.random((len(points), 1))
    turn = phase + np.linspace(0, 1, STEPS)[None] * (length / style.curl_width)[:, None]
    width = style.curl * np.minimum(1, np.linspace(0, 3, STEPS))[None, :, None]
    return points + width * (np.cos(turn)[..., None] * side + np.sin(turn)[..., None] * other)


def volume_of(strands: np.ndarray, strength: float) -> HairVolume:
    """Fill space with hair."""
    points = strands[:, 1:].reshape(-1, 3)
    pieces = np.linalg.norm(np.diff(strands, axis=1), axis=-1).reshape(-1)
    return HairVolume(points, pieces * strength)


def shade(strands: np.ndarray, color: np.ndarray, setup: Setup, hair: HairVolume, eye: np.ndarray, head: cKDTree | None = None):
    """Give the light (N, STEPS, 3) that strands of `color` (N, 3) send to the eye (Kajiya and Kay 1989, two highlights)."""
    flat = strands.reshape(-1, 3)
    along = unit(np.gradient(strands, axis=1)).reshape(-1, 3)
    view = unit(eye - flat)
    tint = np.repeat(color, strands.shape[1], 0)
    light = np.zeros_like(flat)
    crowd = hair.at(flat)
    # Walls: less where hair is dense, and more from above.
    ambient = (np.array(setup.floor) + np.array(setup.ceiling)) / 2
    light += ambient * tint * (1.9 * np.exp(-0.55 * crowd) + 0.2)[:, None]
    for lamp in setup.lamps:
        toward = unit(np.array(lamp.direction))
        # A lobe exp(k (cos - 1)) holds 2 pi / k of solid angle.
        power = np.array(lamp.color) * (2 / lamp.sharpness)
        through = hair.transmittance(flat, toward, reach=0.08)[:, None]
        sine = np.sqrt(np.maximum(1 - (along @ toward) ** 2, 0))[:, None]
        half = unit(toward + view)
        away = (along * half).sum(1, keepdims=True)
        first = np.sqrt(np.maximum(1 - (away + 0.06) ** 2, 0)) ** KEY
        second = np.sqrt(np.maximum(1 - (away - 0.08) ** 2, 0)) ** SECOND
        light += power * through * (tint * sine * 0.9 + 0.022 * first + 0.55 * tint * second)
    return light.reshape(strands.shape)


@njit(cache=False)
def draw(pixels, colors, depth, image, alpha, opacity, width):
    """Draw polylines (N, S, 3) of pixel x, pixel y and depth with colours (N, S, 3) into an image, nearest first."""
    height, columns = depth.shape
    for n in range(pixels.shape[0]):
        for s in range(pixels.shape[1] - 1):
            x0, y0, z0 = pixels[n, s]
            x1, y1, z1 = pixels[n, s + 1]
            steps = int(max(abs(x1 - x0), abs(y1 - y0)) * 1.3) + 1
            for i in range(steps):
                t = i / steps
                x, y, z = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, z0 + (z1 - z0) * t
                taper = opacity * (1.0 - ((s + t) / (pixels.shape[1] - 1)) ** 4 * 0.7)
                for dx in range(width):
                    column, row = int(x) + dx, int(y)
                    if 0 <= row < height and 0 <= column < columns and z < depth[row, column]:
                        if taper >= 0.9:
                            depth[row, column] = z
                        for c in range(3):
                            colour = colors[n, s, c] * (1 - t) + colors[n, s + 1, c] * t
                            image[row, column, c] = image[row, column, c] * (1 - taper) + colour * taper
                        alpha[row, column] = max(alpha[row, column], taper)
