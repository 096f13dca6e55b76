"""How near regenerated frames come to the truth, in dB, region by region."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.embedded.conditions import PAINTED
from zero1toa.training.batches import shows
from zero1toa.training.clips import ClipExample

# MediaPipe's landmarks around lips and eyes.
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
EYES = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))  # fmt: skip


# Squared errors, summed, and how many pixels they are of, by region.
Scores = dict[str, tuple[float, float]]
# A region of fewer pixels in a clip says nothing.
FEWEST = 20


def mean_scores(rows: list[Scores]) -> dict[str, float]:
    """Give each region's PSNR in dB, the mean over the examples that show it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, (error, pixels) in row.items():
            if pixels >= FEWEST:
                found.setdefault(name, []).append(-10 * np.log10(max(error / pixels, 1e-6)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def score(painted: Float[Tensor, "T H W 3"], example: ClipExample) -> Scores:
    """Compare regenerated frames with the truth, and beside them what `projection` gives."""
    projected = torch.lerp(example.render, example.warp, example.confidence[..., None])
    person = example.alpha > 0.5
    regions = {"all": person, "hidden": (example.hidden > 0.5) & person, "known": (example.hidden < 0.1) & person}
    regions |= {"mouth": hulls(example, (LIPS,)), "eyes": hulls(example, EYES)}
    face = shows(example, PAINTED)
    regions |= {"face": person & face, "hidden_face": regions["hidden"] & face}
    found: Scores = {}
    for name, region in regions.items():
        for whose, frames in (("", painted), ("_projection", projected)):
            error = (frames - example.frames).pow(2).mean(-1)
            found[name + whose] = float(error[region].sum()), float(region.sum())
    return found


def hulls(example: ClipExample, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Mark the hulls of some landmarks, a little wider, in every frame."""
    masks = np.zeros(example.alpha.shape, np.uint8)
    for mask, points in zip(masks, example.landmarks[..., :2].numpy(), strict=True):
        width = np.ptp(points[:, 0])
        for group in groups:
            cv2.fillConvexPoly(mask, cv2.convexHull(points[list(group)].round().astype(np.int32)), (1,))
        reach = max(1, round(0.04 * width))
        mask[:] = cv2.dilate(mask, np.ones((2 * reach + 1,) * 2, np.uint8))
    return torch.from_numpy(masks).bool()
