"""How pictures look: grading, paint and scrambled colours that photo and truth share; backgrounds and damage of photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from zero1toa.training.noise import noise_at

Image = Float[np.ndarray, "*T H W 3"]


@dataclass(frozen=True, slots=True)
class ColorMap:
    """A map of colours, pixel by pixel: out = clip(clip(in)^gamma @ matrix.T + shift)."""

    gamma: Float[np.ndarray, "3"]
    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, image: Image) -> Image:
        """Map pictures in [0, 1]."""
        if self is IDENTITY:
            return image
        image = np.clip(image, 0, 1)
        # Powers are slow, and most maps have none.
        image = image if (self.gamma == 1).all() else image**self.gamma
        return np.clip(image @ self.matrix.T + self.shift, 0, 1)


IDENTITY = ColorMap(np.ones(3), np.eye(3), np.zeros(3))
LUMA = np.array([0.299, 0.587, 0.114])


def draw_grade(rng: np.random.Generator) -> ColorMap:
    """Draw how a photographer or a century has coloured a picture: mostly hardly, else a cast, faded, sepia or grey."""
    kind = rng.choice(["plain", "cast", "faded", "vivid", "grey", "sepia"], p=[0.54, 0.18, 0.08, 0.07, 0.08, 0.05])
    grey = np.outer(np.ones(3), LUMA)
    match kind:
        case "cast":
            gains = np.exp(rng.normal(size=3) * 0.12)
            return ColorMap(np.exp(rng.normal(size=3) * 0.06), np.diag(gains / gains.max()), np.zeros(3))
        case "faded":
            lift = rng.uniform(0.02, 0.15)
            keep = rng.uniform(0.3, 0.9)
            return ColorMap(
                np.ones(3), (keep * np.eye(3) + (1 - keep) * grey) * (1 - 1.6 * lift), lift * rng.uniform(0.6, 1.2, 3)
            )
        case "vivid":
            more = rng.uniform(1.1, 1.6)
            return ColorMap(np.full(3, rng.uniform(0.9, 1.2)), more * np.eye(3) + (1 - more) * grey, np.zeros(3))
        case "grey":
            mix = rng.dirichlet(LUMA * 8)
            return ColorMap(np.full(3, np.exp(rng.normal() * 0.2)), np.outer(np.ones(3), mix), np.zeros(3))
        case "sepia":
            return ColorMap(
                np.ones(3), np.outer(np.array([1.0, rng.uniform(0.78, 0.9), rng.uniform(0.5, 0.75)]), LUMA), np.zeros(3)
            )
        case _:
            return IDENTITY


@dataclass(frozen=True, slots=True)
class Look:
    """What a whole picture has been through after it was lit: grading and, for a `radius` over 0, paint on a canvas."""

    grade: ColorMap
    radius: int
    canvas: float
    seed: int

    def __call__(self, image: Image, larger: float = 1.0) -> Image:
        """Give pictures in [0, 1] this look; strokes of pictures with more pixels are wider in pixels."""
        image = self.grade(image)
        return paint(image, max(1, round(self.radius * larger)), self.canvas, self.seed) if self.radius else image


def draw_look(rng: np.random.Generator, painted: float) -> Look:
    """Draw the look of an example; a share of them is `painted`."""
    grade = draw_grade(rng)
    radius = int(rng.integers(1, 4)) if rng.random() < painted else 0
    return Look(grade, radius, float(rng.choice([0.0, rng.uniform(0.01, 0.1)])), int(rng.integers(1 << 20)))


def draw_scramble(rng: np.random.Generator) -> ColorMap:
    """Draw a map that forgets what colours mean but keeps pictures legible: hue, channels, gamma and sign at random."""
    base = np.eye(3)[rng.permutation(3)]
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.ones(3) / 3**0.5
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    hue = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    mixed = hue @ base + rng.normal(size=(3, 3)) * 0.15
    signs = np.where(rng.random(3) < 0.25, -1.0, 1.0) * (-1.0 if rng.random() < 0.25 else 1.0)
    mixed = signs[:, None] * mixed
    # Squeezed so that hardly anything is clipped: what is clipped could not be copied.
    low, high = np.minimum(mixed, 0).sum(1), np.maximum(mixed, 0).sum(1)
    scale = np.minimum(1.15 / (high - low), 1.6)
    return ColorMap(np.exp(rng.normal(size=3) * 0.35), mixed * scale[:, None], 0.5 - scale * (low + high) / 2)


def paint(image: Image, radius: int, canvas: float, seed: int) -> Image:
    """Paint pictures: each pixel takes the calmest of the four squares beside it (Kuwahara 1976), over a canvas's grain."""
    if radius < 1:
        return image
    import cv2

    out = np.empty_like(image)
    height, width = image.shape[-3:-1]
    y, x = np.mgrid[0:height, 0:width]
    grain = noise_at(np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1), 2.5, seed, 2).reshape(height, width, 1)
    side = 2 * radius + 1
    for source, target in zip(image.reshape(-1, height, width, 3), out.reshape(-1, height, width, 3), strict=True):
        source32 = np.ascontiguousarray(source, np.float32)
        mean = cv2.blur(source32, (side, side))
        spread = (cv2.blur(source32**2, (side, side)) - mean**2).sum(-1)
        best, calmest = mean, np.full((height, width), np.inf, np.float32)
        for dy in (-radius, radius):
            for dx in (-radius, radius):
                here = np.roll(spread, (dy, dx), (0, 1))
                better = here < calmest
                calmest = np.where(better, here, calmest)
                best = np.where(better[..., None], np.roll(mean, (dy, dx), (0, 1)), best)
        target[:] = np.clip(best * (1 + canvas * grain), 0, 1)
    return out


def draw_background(rng: np.random.Generator, size: int) -> Float[np.ndarray, "H W 3"]:
    """Draw what is behind a person in a photo: a wall, a gradient, leaves, lights out of focus, stripes."""
    import cv2

    kind = rng.choice(["plain", "gradient", "blobs", "leaves", "lights", "stripes"], p=[0.2, 0.2, 0.25, 0.15, 0.1, 0.1])
    # Walls and landscapes are muted; a green screen is not.
    first, second = rng.random(3) ** rng.uniform(0.5, 2.5), rng.random(3) ** rng.uniform(0.5, 2.5)
    muted = rng.choice([0.0, rng.uniform(0.5, 0.95)], p=[0.25, 0.75])
    first, second = (color + muted * (color.mean() - color) for color in (first, second))
    y, x = np.mgrid[0:96, 0:96] / 96
    places = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.3)], 1)
    seed = int(rng.integers(1 << 30))
    if kind == "plain":
        share = 0.1 * y
    elif kind == "gradient":
        share = np.hypot(x - rng.random(), y - rng.random())
    elif kind == "stripes":
        angle, wide = rng.uniform(0, np.pi), rng.uniform(0.03, 0.3)
        share = (np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / wide) > rng.uniform(-0.6, 0.6)).astype(float)
    else:
        scale = {"blobs": rng.uniform(0.1, 0.5), "leaves": 0.06, "lights": 0.08}[kind]
        share = 0.5 + 0.9 * noise_at(places, scale, seed, 5 if kind == "leaves" else 2).reshape(x.shape)
        share = (share > 0.78).astype(float) if kind == "lights" else share
    image = first + (second - first) * np.clip(share, 0, 1)[..., None]
    image = image + 0.12 * noise_at(places, 0.25, seed + 1, 3).reshape(x.shape)[..., None]
    image = cv2.resize(np.clip(image, 0, 1).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    soft = rng.choice([0.0, rng.uniform(0.5, 6)]) * size / 256
    return np.clip(cv2.GaussianBlur(image, (0, 0), soft) if soft > 0.2 else image, 0, 1)


def damage(image: Float[np.ndarray, "H W 3"], rng: np.random.Generator, amount: float) -> Float[np.ndarray, "H W 3"]:
    """Do to a photo what cameras, scanners and the internet do: blur, low resolution, noise, vignettes, halos, JPEG.

    `amount` of 0 leaves it as it is, 1 is the usual mixture.
    """
    import cv2

    if amount <= 0:
        return image
    size = image.shape[1]
    image = np.ascontiguousarray(image, np.float32)
    often = lambda share: rng.random() < share * amount
    if often(0.35):
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.8)) * size / 512)
    if often(0.08):
        reach = max(3, round(9 * size / 512))
        kernel = np.zeros((reach, reach), np.float32)
        cv2.line(kernel, (int(rng.integers(reach)), 0), (int(rng.integers(reach)), reach - 1), (1.0,))
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if often(0.3):
        # Faces narrower than 64 pixels are refused, a third of the crop.
        small = int(size * (0.4 + 0.55 * rng.random() ** 0.6))
        image = cv2.resize(
            cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size), interpolation=int(rng.choice([1, 2]))
        )
    if often(0.2):
        soft = cv2.GaussianBlur(image, (0, 0), 1.5)
        image = image + float(rng.uniform(0.3, 1.2)) * (image - soft)
    if often(0.15):
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        image = image * (1 - rng.uniform(0.1, 0.5) * (x**2 + y**2) / 2)[..., None]
    if often(0.5):
        sigma = rng.exponential(0.011)
        grain = rng.normal(size=image.shape) if rng.random() < 0.6 else rng.normal(size=(size, size, 1)).repeat(3, 2)
        if rng.random() < 0.4:
            grain = cv2.GaussianBlur(grain, (0, 0), 0.8) * 1.7
        image = image + sigma * grain
    image = np.clip(image, 0, 1)
    if often(0.6):
        quality = int(rng.uniform(25, 96))
        encoded = cv2.imencode(".jpg", (image[..., ::-1] * 255 + 0.5).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    return image
