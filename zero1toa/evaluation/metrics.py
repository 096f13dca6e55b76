"""How near an avatar's pictures come to the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zero1toa.evaluation.subjects import View
from zero1toa.portrait.detect import detect_faces

# A region of fewer pixels says nothing.
FEWEST = 20


def score_views(shown: Float[Tensor, "V H W 3"], views: Sequence[View]) -> dict[str, float]:
    """Score pictures of an avatar in [0, 1] beside the true ones; a mean over the views.

    `psnr` and `ssim` are of the person, `hidden` of what the photo does not show, each in dB but SSIM; `front`, `turned`
    and `profile` are PSNR by yaw; `akd` is the distance of face landmarks in % of the face's width, where both pictures
    show a face; `flicker` is how differently neighbouring frames of a clip change, in 0..255.
    """
    rows: dict[str, list[float]] = {}
    add = lambda name, value: rows.setdefault(name, []).append(value)
    for picture, view in zip(shown, views, strict=True):
        person = view.alpha > 0.5
        add("psnr", psnr(picture, view.picture, person))
        add("ssim", _ssim(picture, view.picture, person))
        if (hidden := (view.hidden > 0.5) & person).sum() >= FEWEST:
            add("hidden", psnr(picture, view.picture, hidden))
        if not view.clip:
            add("front" if abs(view.yaw) < 15 else "turned" if abs(view.yaw) < 75 else "profile", rows["psnr"][-1])
        if (distance := landmark_distance(picture, view.picture)) is not None:
            add("akd", distance)
    if views[0].clip:
        truth = torch.stack([view.picture for view in views])
        person = torch.stack([view.alpha for view in views])[1:] > 0.5
        add("flicker", 255 * float(((shown.diff(dim=0) - truth.diff(dim=0)).abs().mean(-1))[person].mean()))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def psnr(picture: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"], region: Bool[Tensor, "H W"]) -> float:
    """Give the peak signal-to-noise ratio inside a region, in dB, 100 at most."""
    return -10 * float(np.log10(max(float((picture - truth)[region].square().mean()), 1e-10)))


def landmark_distance(picture: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"]) -> float | None:
    """Give the mean distance of face landmarks in % of the true face's width; None unless both pictures show a face."""
    found = [detect_faces((image * 255 + 0.5).byte().numpy(), thorough=False) for image in (picture, truth)]
    if not all(found):
        return None
    ours, true = (faces[0].points for faces in found)
    return float(np.linalg.norm(ours - true, axis=1).mean() / np.ptp(true[:, 0]) * 100)


def _ssim(picture: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"], region: Bool[Tensor, "H W"]) -> float:
    from skimage.metrics import structural_similarity

    everywhere = structural_similarity(picture.numpy(), truth.numpy(), channel_axis=2, data_range=1.0, full=True)[1]
    return float(everywhere.mean(2)[region.numpy()].mean())
