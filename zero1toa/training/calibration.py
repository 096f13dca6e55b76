"""Are the made examples like real ones? Statistics of what the network is told, synthetic beside real, in one table.

`python -m zero1toa.training.calibration name=FOLDER ...`; folders are of `zero1toa.training.dataset` and `.real`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from zero1toa.priors.embedded.model import SURE, UNSURE
from zero1toa.training.batches import faces_of
from zero1toa.training.clips import ClipExample
from zero1toa.training.dataset import example_files, load_example
from zero1toa.training.scores import LIPS, hulls

# Fewer pixels say nothing.
FEWEST = 30
LUMA = (0.299, 0.587, 0.114)
UNITS = {
    "warp where it is sure": "dB",
    "warp where it is a mirror image or filled in": "dB",
    "render": "dB",
    "shift of the warp": "% of the face",
    "outline missed": "% of the person",
    "sure of": "% of the person",
    "hidden": "% of the person",
    "width of what is hidden": "% of the face",
    "light of the hidden, by that of the seen": "",
    "mouth's brightness, by the face's": "",
    "mouth's contrast": "",
    "noise of the photo": "",
}


def statistics(example: ClipExample) -> dict[str, float]:
    """Measure one example of faces; what it does not show is left out. See `UNITS`."""
    person, sure = example.alpha > 0.5, example.confidence > SURE
    guessed = (example.confidence > 0.1) & (example.confidence < UNSURE)
    hidden, seen = (example.hidden > 0.5) & person, sure & person
    mouth, width = hulls(example, (LIPS,)) & person, _width(example)
    luma = lambda pictures: pictures @ pictures.new_tensor(LUMA)
    bright = luma(example.frames)
    share = lambda part: 100 * float(part.float().sum() / person.float().sum())
    found = {
        "warp where it is sure": _psnr(example.warp, example.frames, seen),
        "warp where it is a mirror image or filled in": _psnr(example.warp, example.frames, guessed & person),
        "render": _psnr(example.render, example.frames, person),
        "shift of the warp": 100 * _shift(luma(example.warp), bright, seen) / width,
        "outline missed": share((example.alpha - example.render_alpha).abs()),
        "sure of": share(seen),
        "hidden": share(hidden),
        "width of what is hidden": 100 * _thickness(hidden) / width,
        "light of the hidden, by that of the seen": _mean(bright, hidden) / _mean(bright, seen),
        "mouth's brightness, by the face's": _mean(bright, mouth) / _mean(bright, seen),
        "mouth's contrast": _deviation(bright, mouth),
        "noise of the photo": _noise(luma(example.photo), example.matte > 0.9),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def table(folders: Mapping[str, Path]) -> Iterator[str]:
    """Give the lines of a markdown table: the median, and from the tenth to the ninetieth of a hundred."""
    columns = {
        name: [statistics(faces_of(load_example(file))) for file in example_files(folder)] for name, folder in folders.items()
    }
    yield "| | " + " | ".join(f"{name} ({len(rows)})" for name, rows in columns.items()) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, unit in UNITS.items():
        cells = []
        for rows in columns.values():
            values = [row[name] for row in rows if name in row]
            low, middle, high = np.percentile(values, [10, 50, 90]) if values else [math.nan] * 3
            cells.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
        yield f"| {name}{', ' + unit if unit else ''} | " + " | ".join(cells) + " |"


def _psnr(told: Tensor, truth: Tensor, region: Bool[Tensor, "T H W"]) -> float:
    return -10 * math.log10(max(_mean((told - truth).square().mean(-1), region), 1e-6))


def _mean(values: Float[Tensor, "T H W"], region: Bool[Tensor, "T H W"]) -> float:
    return float(values[region].mean()) if region.sum() >= FEWEST else math.nan


def _deviation(values: Float[Tensor, "T H W"], region: Bool[Tensor, "T H W"]) -> float:
    return float(values[region].std()) if region.sum() >= FEWEST else math.nan


def _width(example: ClipExample) -> float:
    """Give the width of the faces in pixels, in the view in which they are widest."""
    points = example.landmarks[..., 0]
    return float((points.amax(1) - points.amin(1)).max())


def _shift(told: Float[Tensor, "T H W"], truth: Float[Tensor, "T H W"], region: Bool[Tensor, "T H W"]) -> float:
    """Give by how many pixels the warp lies beside the truth, in the median frame (phase correlation)."""
    shifts = []
    for a, b, mask in zip(told.numpy(), truth.numpy(), region.numpy(), strict=True):
        if mask.sum() >= FEWEST:
            flat = lambda picture, mask=mask: np.where(mask, picture - picture[mask].mean(), 0).astype(np.float64)
            (x, y), _ = cv2.phaseCorrelate(flat(a), flat(b))
            shifts.append(math.hypot(x, y))
    return float(np.median(shifts)) if shifts else math.nan


def _thickness(region: Bool[Tensor, "T H W"]) -> float:
    """Give how wide a region is, in pixels: four times the mean way to its rim, which is its width were it a band."""
    ways = [cv2.distanceTransform(mask.numpy().astype(np.uint8), cv2.DIST_L2, 3)[mask.numpy()] for mask in region]
    all_ways = np.concatenate(ways)
    return 4 * float(all_ways.mean()) if len(all_ways) >= FEWEST else math.nan


def _noise(photo: Float[Tensor, "P P"], person: Bool[Tensor, "P P"]) -> float:
    """Give the standard deviation of what is finer than a pixel or two (Immerkær 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    fine = cv2.filter2D(photo.numpy().astype(np.float32), -1, kernel)[person.numpy()]
    return math.sqrt(math.pi / 2) * float(np.abs(fine).mean()) / 6 if len(fine) >= FEWEST else math.nan


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zero1toa.training.calibration", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER", help="folders of examples by name")
    asked = parser.parse_args(arguments)
    named = (entry.split("=", 1) for entry in asked.folders)
    for line in table({name: Path(folder) for name, folder in named}):
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
