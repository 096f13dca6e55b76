"""Where what lies on the template of the head: smooth masks per vertex, painted by formula from its landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from zero1toa.head.linear import LinearHead
from zero1toa.training.noise import noise_at, ramp_at
from zero1toa.types import PARTS

UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
# Right and left: the upper and the lower rim of the band of skin that carries the brow, from nose to temple.
BROWS = (((107, 66, 105, 63, 70), (55, 65, 52, 53, 46)), ((336, 296, 334, 293, 300), (285, 295, 282, 283, 276)))
# Share of a row of teeth, from its roots, that gums cover.
GUMS = 0.3


@dataclass(frozen=True, slots=True)
class Features:
    """Masks in [0, 1] per vertex of the template, but for signed distances in metres; `marks` are its 478 landmarks."""

    places: Float[np.ndarray, "V 3"]
    marks: Float[np.ndarray, "478 3"]
    part: Int[np.ndarray, "V"]
    lips: Float[np.ndarray, "V"]  # on teeth: the share that is gum
    flush: Float[np.ndarray, "V"]
    under_eyes: Float[np.ndarray, "V"]
    lids: Float[np.ndarray, "V"]
    liner: Float[np.ndarray, "V"]
    beard: Float[np.ndarray, "V"]
    moustache: Float[np.ndarray, "V"]
    forehead: Float[np.ndarray, "V"]
    creases: Float[np.ndarray, "V"]
    below_neckline: Float[np.ndarray, "V"]  # metres below the neckline of a plain shirt


def find_features(head: LinearHead) -> Features:
    """Measure the template of a head."""
    places = head.template.double().numpy()
    marks = head.landmarks(head.template[None])[0].double().numpy()
    faces, parts = head.surface.faces.numpy(), head.surface.parts.numpy()
    part = np.zeros(len(places), np.int64)
    part[faces.ravel()] = parts.repeat(3)
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    blobs = lambda rows, size, up=0.0: np.sum([_blob(places, marks[row] + [0, up, 0], size) for row in rows], 0)
    lips = np.where(part == PARTS.index("lips"), 1.0, 0.0)
    lips = _softened(lips, faces, rounds=1)
    lips = np.where(part == PARTS.index("mouth"), np.maximum(lips, ramp_at(z, 0.012, 0.02)), lips)
    flush = 0.9 * blobs((50, 280), 0.017) + 0.9 * blobs((4,), 0.011) + 0.4 * blobs((152,), 0.014, 0.008)
    flush += 0.8 * ramp_at(x, 0.064, 0.074) * ramp_at(z, -0.06, -0.04)
    lids = np.where(part == PARTS.index("eyelids"), 1.0, 0.0)
    rims = [marks[list(rows)] for rows in (*UPPER_LIDS, *LOWER_LIDS)]
    to_rim = np.min([_distance_to_line(places, rim) for rim in rims], axis=0)
    skin = np.isin(part, [PARTS.index(name) for name in ("skin", "lips", "neck")])
    forehead = ramp_at(y, 0.014, 0.026) * ramp_at(0.075 - y, 0, 0.02) * ramp_at(z, -0.02, 0.005) * skin
    crow = np.clip(blobs((130, 359), 0.012) + 0.7 * blobs((145, 374), 0.008, -0.006), 0, 1)
    return Features(
        places=places, marks=marks, part=part,
        lips=_gums(lips, places, faces, part),
        flush=flush, under_eyes=blobs((145, 374), 0.008, -0.006),
        lids=np.clip(lids + blobs((159, 386), 0.009, 0.004), 0, 1),
        liner=np.exp(-((to_rim / 0.0014) ** 2)) * (part == PARTS.index("eyelids")),
        beard=_beard(x, y, z) * skin, moustache=_moustache(x, y) * skin * (z > 0),
        forehead=forehead, creases=np.clip(crow + 0.35 * ramp_at(z, -0.02, 0.0), 0, 1) * (1 - forehead),
        below_neckline=(-0.196 - 0.5 * z - y) / 1.12,
    )  # fmt: skip


def hairline(
    places: Float[np.ndarray, "P 3"], *, recession: float = 0.0, low: float = 0.0, seed: int = 3
) -> Float[np.ndarray, "P"]:
    """Say from 0 to 1 how densely hair grows at places of the template: forehead, temples, sideburns, nape.

    `recession` in metres moves the hairline up, `low` brings it down, both as people differ.
    """
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    uneven = 0.008 * noise_at(places, 0.016, seed, 3)
    rise = 0.062 + recession - low + 0.5 * recession * ramp_at(x, 0.01, 0.035)
    forehead = ramp_at(
        y - rise - 0.10 * np.clip(x - 0.03, 0, 0.03) + 0.32 * np.clip(-z - 0.005, 0, 0.2) + uneven, -0.006, 0.016
    )
    temple = ramp_at(-z - 0.052 + 0.4 * np.clip(y, -0.1, 0.06) + uneven, -0.004, 0.016) * ramp_at(y, -0.012, 0.004)
    burns = ramp_at(0.008 - np.abs(z + 0.064), 0, 0.005) * ramp_at(y, -0.03, -0.012) * ramp_at(x, 0.05, 0.06)
    behind = ramp_at(-z - 0.108 + uneven, 0, 0.010) * ramp_at(y, -0.085, -0.065)
    ears = ramp_at(x, 0.066, 0.070) * ramp_at(0.012 - y, 0, 0.006) * ramp_at(z, -0.112, -0.106)
    crown = 1 - ramp_at(recession, 0.02, 0.045) * np.exp(-((x / 0.045) ** 2) - ((z + 0.1) / 0.04) ** 2) * (y > 0.05)
    return np.clip(np.maximum.reduce([forehead, temple, burns, behind]), 0, 1) * (1 - ears) * crown


def _beard(x, y, z) -> np.ndarray:
    """Say where a full beard grows: jaw, chin and the upper neck, below a line from ear to mouth."""
    cheek_line = -0.026 - 0.040 * np.clip((0.066 - x) / 0.036, 0, 1) ** 0.8
    return ramp_at(cheek_line - y, -0.003, 0.008) * ramp_at(z, -0.078, -0.060) * ramp_at(y + 0.25 * z, -0.138, -0.118)


def _moustache(x, y) -> np.ndarray:
    return ramp_at(0.036 - x, 0, 0.010) * ramp_at(y, -0.086, -0.070) * ramp_at(-0.0515 - y, 0, 0.004)


def _gums(lips: np.ndarray, places: np.ndarray, faces: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Write onto each row of teeth how far gums cover it: 1 at the roots, 0 at the edges."""
    edges = coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, 1).ravel())), shape=(len(places),) * 2)
    label = connected_components(edges, directed=False)[1]
    lips, teeth = lips.copy(), part == PARTS.index("teeth")
    rows = [label == index for index in np.unique(label[teeth])]
    rows.sort(key=lambda row: places[row, 1].mean())
    for row, sign in zip(rows, (-1, 1), strict=True):
        height = places[row, 1] * sign
        lips[row] = (height - height.min()) / np.ptp(height)
    return lips


def _blob(places: np.ndarray, centre: np.ndarray, size: float) -> np.ndarray:
    return np.exp(-((places - centre) ** 2).sum(1) / (2 * size**2))


def _distance_to_line(places: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Give the distance of places to a row of joined segments."""
    best = np.full(len(places), np.inf)
    for a, b in pairwise(line):
        along = np.clip((places - a) @ (b - a) / max(((b - a) ** 2).sum(), 1e-12), 0, 1)[:, None]
        best = np.minimum(best, np.linalg.norm(places - a - along * (b - a), axis=1))
    return best


def _softened(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Average vertex values over neighbours."""
    for _ in range(rounds):
        total, count = np.zeros(len(values)), np.zeros(len(values))
        for shift in (0, 1, 2):
            np.add.at(total, faces[:, shift], values[faces].mean(1))
            np.add.at(count, faces[:, shift], 1)
        values = np.where(count > 0, total / np.maximum(count, 1), values)
    return values
