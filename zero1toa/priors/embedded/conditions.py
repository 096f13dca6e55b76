"""Bring what a request knows into the form in which the embedded prior's network was trained to see it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.priors.embedded.windows import face_windows, move, see

# Pixels a side of the faces that the network sees.
SIZE = 96
# What it may paint. The head model has teeth of its own, finer than these pixels; hair, clothes and outlines come out soft.
PAINTED = ("skin", "lips", "eyelids", "eyes", "neck")


def pictures_first(pictures: Float[Tensor, "T H W C"]) -> Float[Tensor, "T C H W"]:
    """Put channels before rows and columns."""
    return pictures.movedim(-1, -3)


def photo_input(
    photo: Float[Tensor, "P P 3"], matte: Float[Tensor, "P P"], landmarks: Float[Tensor, "478 3"], size: int
) -> Float[Tensor, "7 S S"]:
    """Give the photo's face as the network sees it: colours times matte, matte, and the fitted mesh's landmarks drawn.

    `landmarks` are in the photo's pixels.
    """
    window = face_windows(landmarks[None])
    matted = torch.cat([photo * matte[..., None], matte[..., None]], -1)
    drawn = draw_landmarks(move(landmarks[None], window, size), size, size)
    return pictures_first(torch.cat([see(matted[None], window, size), drawn], -1))[0]
