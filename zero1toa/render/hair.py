"""The hair that a photo shows, and a guess at the rest: what lies behind the outline mirrors what lies before it.

Seen from the middle of the face, hair is a band between the hairline and the person's outline. The scalp behind the
outline continues that band as a mirror would: strands meet themselves at the outline, so there is no seam. A mirror of
a mirror would draw rings, so farther behind are the band's mean colours, from one side of the head over to the other, in
strands that part at the crown and differ in brightness as the photo's do. Directions in which the photo shows no hair,
below the ears of most people, are mirrored into those in which it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d, median_filter, uniform_filter1d
from torch import Tensor

BINS = 256
# A band thinner than this share of the face's height shows skin through; an arc narrower than this, in radians, is a tuft.
THINNEST, NARROWEST, RIM, MOSTLY = 0.1, 1.0, 0.06, 0.9
# Share of the band at the hairline that is left out.
HAIRLINE = 0.3
# How much of the circle, in bins, goes into one mean colour and into one lock; most that strands may differ in brightness.
TONE_BINS, STRAND_BINS, STRONGEST = 20.0, 9, 0.3
# How far behind the eyes the middle of the skull lies, in metres.
SKULL_BEHIND_EYES = 0.09


@dataclass(frozen=True, slots=True)
class HairBand:
    """Where a photo shows hair, in polar coordinates around the middle of the face; angles count from straight down."""

    middle: Float[np.ndarray, "2"]  # x, y in pixels
    inner: Float[np.ndarray, "B"]  # radius of the hairline in pixels, by angle
    outer: Float[np.ndarray, "B"]  # radius of the outline
    first: float  # the angles between which the band is thick enough
    last: float
    centre: Float[np.ndarray, "3"]  # middle of the skull in the world, metres
    axes: Float[np.ndarray, "3 3"]  # the camera's right, up and backward, as rows
    radius: float  # of the skull, in pixels
    tones: Float[np.ndarray, "B 3"]  # the mean colour by angle, smooth
    contrast: float  # how much strands differ in brightness, as a share of it

    def as_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give middle with arc, radius and contrast (6), the radii (B, 2), centre, axes and tones, for compiled code."""
        numbers = np.array([*self.middle, self.first, self.last, self.radius, self.contrast])
        arrays = numbers, np.stack([self.inner, self.outer], 1), self.centre, self.axes, self.tones
        return tuple(np.ascontiguousarray(array, np.float32) for array in arrays)  # pyright: ignore[reportReturnType]


NO_HAIR = HairBand(
    np.zeros(2), np.zeros(BINS), np.ones(BINS), 0.0, 1.0, np.zeros(3), np.eye(3), 1.0, np.zeros((BINS, 3)), 0.0
)  # fmt: skip


def find_hair_band(
    image: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W"],
    hair: Float[Tensor, "H W"],
    *,
    middle: Float[Tensor, "2"],
    face_height: float,
    centre: Float[Tensor, "3"],
    axes: Float[Tensor, "3 3"],
) -> HairBand | None:
    """Measure the band of hair around a face in a picture; None where there is next to none."""
    angles = (np.arange(BINS) + 0.5) / BINS * 2 * np.pi
    steps = np.arange(round(2.5 * face_height))
    x = (float(middle[0]) - np.sin(angles)[:, None] * steps).astype(int)
    y = (float(middle[1]) + np.cos(angles)[:, None] * steps).astype(int)
    height, width = alpha.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    solid = inside & (alpha.numpy()[y, x] > 0.5)
    is_hair = solid & (uniform_filter1d(hair.numpy()[y, x], 5, axis=1) > 0.5)
    # The person ends at the first gap beyond the face.
    ends = np.argmax(~solid & (steps > 0.35 * face_height), axis=1)
    ends = np.where(ends == 0, len(steps), ends)
    # The band reaches inwards as far as it is mostly hair. At the rim the marks are weak: the matte is soft there.
    sure = steps < ends[:, None] - RIM * face_height
    outwards = np.cumsum((is_hair & sure)[:, ::-1], 1)[:, ::-1] / np.cumsum(sure[:, ::-1], 1)[:, ::-1].clip(1)
    begins = np.where(sure & (outwards > MOSTLY), steps, ends[:, None]).min(1)
    thick = uniform_filter1d(((ends - begins) > THINNEST * face_height).astype(float), 9, mode="wrap") > 0.5
    first, last = _longest_run(thick)
    if angles[last] - angles[first] < NARROWEST:
        return None
    arc = slice(first, last + 1)
    inner, outer = np.zeros(BINS), np.zeros(BINS)
    inner[arc] = gaussian_filter1d(median_filter(begins[arc].astype(float), 9, mode="nearest"), 2, mode="nearest")
    smooth = gaussian_filter1d(ends[arc].astype(float), 2, mode="nearest")
    outer[arc] = np.minimum(smooth, ends[arc]) - max(0.012 * face_height, 2.0)
    # Skin shows through at the hairline, and a mirror there would draw rings of it.
    inner[arc] += HAIRLINE * (outer - inner)[arc]
    inner = np.minimum(inner, outer - 2)
    shown = is_hair & (steps >= inner[:, None]) & (steps <= outer[:, None])
    shown[:first], shown[last + 1 :] = False, False
    tones, contrast = _tones(image.numpy()[y, x], shown)
    return HairBand(
        middle.numpy(), inner, outer, float(angles[first]), float(angles[last]), centre.numpy(), axes.numpy(),
        float(np.mean(outer[arc])) if last > first else math.inf, tones, contrast,
    )  # fmt: skip


def _tones(colors: Float[np.ndarray, "B R 3"], shown: Bool[np.ndarray, "B R"]) -> tuple[Float[np.ndarray, "B 3"], float]:
    """Give the mean colour of hair by angle, and how much neighbouring strands differ in brightness, as a share of it."""
    blur = lambda values: gaussian_filter1d(values, TONE_BINS, axis=0, mode="wrap")
    total = np.where(shown[..., None], colors, 0.0).sum(1)
    tones = blur(total) / blur(shown.sum(1).astype(float))[:, None].clip(1e-6)
    brightness = np.where(shown, colors.mean(-1), 0.0)
    near = lambda values: uniform_filter1d(values, STRAND_BINS, axis=0, mode="wrap")
    around = near(brightness) / near(shown.astype(float)).clip(1e-6)
    apart = (brightness - around)[shown].std() / max(brightness[shown].mean(), 1e-3) if shown.any() else 0.0
    return tones, min(2 * float(apart), STRONGEST)


def _longest_run(marks: Bool[np.ndarray, "B"]) -> tuple[int, int]:
    """Give the first and last index of the longest row of marks."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(int)))
    begins, ends = edges[::2], edges[1::2] - 1
    if not len(begins):
        return 0, 0
    longest = int(np.argmax(ends - begins))
    return int(begins[longest]), int(ends[longest])
