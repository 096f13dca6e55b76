"""Measure where MediaPipe's 478 face landmarks lie on the Anny head, and store it beside the model.

python -m scripts.measure_landmarks [--out zero1toa/head/anny_landmarks.npz]
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch

from zero1toa.head.anny import build_tensors
from zero1toa.head.linear import LinearHead
from zero1toa.portrait.calibrate import measure_landmarks
from zero1toa.types import Surface


def bare_head() -> LinearHead:
    """Load the head without landmarks, which are what is to be found."""
    tensors = build_tensors()
    surface = Surface(**{key: tensors.pop(key) for key in ("faces", "uvs", "uv_faces", "parts", "mirror")})
    return LinearHead(
        "anny", surface=surface, landmark_faces=torch.zeros(1).long(), landmark_weights=torch.ones(1, 3), **tensors
    )


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--out", type=Path, default=Path("zero1toa/head/anny_landmarks.npz"))
    args = cli.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    measured = measure_landmarks(bare_head())
    np.savez_compressed(
        args.out, faces=measured.faces.astype(np.int32), weights=measured.weights, spread=np.float32(measured.spread)
    )
    logging.info("median spread %.2f mm", measured.spread * 1e3)


if __name__ == "__main__":
    main()
