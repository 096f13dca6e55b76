"""Glasses, earrings and chains: threads on a resting head."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from zero1toa.training.threads import Threads, lines
from zero1toa.training.wardrobe import Wardrobe

THREAD_LABEL, LENS_LABEL = 21, 22


def worn_threads(
    wardrobe: Wardrobe, rest: Float[np.ndarray, "V 3"], marks: Float[np.ndarray, "478 3"], eyes: Float[np.ndarray, "2 3"]
) -> list[Threads]:
    """Build frames of glasses and earrings on a resting head, which they follow."""
    parts = []
    if wardrobe.glasses:
        parts += _frames(wardrobe, marks, eyes)
    metal = lambda points, radius: lines(points, np.array(wardrobe.jewel), radius, label=THREAD_LABEL, gloss=6.0)
    # The lobe is the lowest place of the ear.
    for side in (-1, 1):
        ear = rest[
            (rest[:, 0] * side > 0.06) & (rest[:, 2] < -0.045) & (rest[:, 2] > -0.1) & (rest[:, 1] > -0.06) & (rest[:, 1] < 0)
        ]
        if not wardrobe.earrings or not len(ear):
            continue
        lobe = ear[ear[:, 1].argmin()] + [side * 0.002, 0.002, 0.002]
        match wardrobe.earrings:
            case "stud":
                parts.append(metal((lobe + np.array([[0, 0.0006, 0], [0, -0.0006, 0]]))[None], 0.0028))
            case "hoop":
                angle, size = np.linspace(0, 2 * np.pi, 28), 0.012 + 0.01 * wardrobe.lens_size
                ring = np.stack([0.15 * side * np.sin(angle), np.cos(angle) - 1, np.sin(angle)], 1) * size
                parts.append(metal((lobe + ring)[None], 0.001))
            case _:
                parts.append(metal((lobe + np.array([[0, 0, 0], [0, -0.02, 0]]))[None], 0.0006))
                parts.append(metal((lobe + np.array([[0, -0.022, 0], [0, -0.027, 0]]))[None], 0.0042))
    return parts


def necklace(wardrobe: Wardrobe, rest: Float[np.ndarray, "V 3"]) -> list[Threads]:
    """Lay a chain around the base of the neck; it follows the bust."""
    if not wardrobe.necklace or wardrobe.collar in ("turtle", "hood", "shirt"):
        return []
    angle = np.linspace(-1.9, 1.9, 60)
    ring = np.stack(
        [
            0.068 * np.sin(angle),
            -0.178 + 0.03 * (1 - np.cos(angle * 0.8)) - 0.02 * np.cos(angle),
            -0.06 + 0.075 * np.cos(angle),
        ],
        1,
    )
    near = [rest[((rest - point) ** 2).sum(1).argmin()] for point in ring]
    chain = gaussian_filter1d(0.3 * ring + 0.7 * np.array(near), 4, axis=0, mode="nearest")
    chain[:, 2] += 0.006
    return [lines(chain[None], np.array(wardrobe.jewel), 0.0011, label=THREAD_LABEL, gloss=5.0)]


def lens_outline(
    wardrobe: Wardrobe, marks: Float[np.ndarray, "478 3"], eye: Float[np.ndarray, "3"], steps: int = 40
) -> Float[np.ndarray, "S 3"]:
    """Give the rim of a lens before a resting eye."""
    angle = np.linspace(0, 2 * np.pi, steps)
    power = {"round": 1.0, "square": 0.55, "cat": 0.75, "rimless": 0.7}[wardrobe.glasses]
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * 0.0245 * wardrobe.lens_size
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * (0.0225 if power == 1.0 else 0.0175) * wardrobe.lens_size
    side = np.sign(eye[0])
    if wardrobe.glasses == "cat":
        y = y + 0.25 * np.maximum(x * side, 0)
    front = max(marks[[6, 168, 9, 107, 336, 105, 334], 2].max(), eye[2] + 0.024) + 0.002
    # Frames are bowed around the face.
    return np.stack([eye[0] + 0.002 * side + x, eye[1] - 0.004 + y, front - 0.12 * np.maximum(x * side, 0) + 0.1 * y], 1)


def _frames(wardrobe: Wardrobe, marks: np.ndarray, eyes: np.ndarray) -> list[Threads]:
    radius = wardrobe.frame_radius * (0.5 if wardrobe.glasses == "rimless" else 1.0)
    draw = lambda points: lines(np.asarray(points)[None], np.array(wardrobe.frame), radius, label=THREAD_LABEL, gloss=2.0)
    rims = [lens_outline(wardrobe, marks, eye) for eye in eyes]
    parts = [draw(rim) for rim in rims]
    inner = [rim[np.abs(rim[:, 0]).argmin()] for rim in rims]
    middle = (inner[0] + inner[1]) / 2 + [0, 0.004, 0.002]
    parts.append(draw([inner[0], middle, inner[1]]))
    for rim, temple in zip(rims, marks[[234, 454]], strict=True):
        hinge = rim[np.abs(rim[:, 0]).argmax()]
        ear = np.array([temple[0] * 1.13, hinge[1] - 0.002, -0.088])
        course = np.linspace(0, 1, 12)[:, None]
        parts.append(
            draw(hinge + (ear - hinge) * course + np.array([np.sign(hinge[0]) * 0.005, 0, 0]) * np.sin(course * np.pi))
        )
    return parts
