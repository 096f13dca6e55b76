"""The squares that the embedded prior looks at: every frame's face, always as large and in the same place."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zero1toa.priors.pictures import resized

# Side of a square in sides of the landmarks' box: room for ears and the upper neck.
ROOM = 1.5
# Left, top and side of the square of each of T pictures, in whole pixels.
Windows = Int[Tensor, "T 3"]


def face_windows(landmarks: Float[Tensor, "T 478 3"]) -> Windows:
    """Give the squares around faces by their landmarks in pixels; they may reach beyond the pictures."""
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    side = (ROOM * (high - low).amax(-1)).round().clamp_min(1)
    corner = ((low + high) / 2 - side[:, None] / 2).round()
    return torch.cat([corner, side[:, None]], -1).long().cpu()


def cut(pictures: Float[Tensor, "T H W *C"], windows: Windows) -> list[Float[Tensor, "s s *C"]]:
    """Cut a square out of every picture; beyond its rim the rim goes on."""
    return [
        picture[_reach(top, side).clamp(0, len(picture) - 1)][:, _reach(left, side).clamp(0, picture.shape[1] - 1)]
        for picture, (left, top, side) in zip(pictures, windows.tolist(), strict=True)
    ]


def see(pictures: Float[Tensor, "T H W C"], windows: Windows, size: int) -> Float[Tensor, "T S S C"]:
    """Cut the squares and make them all `size` pixels wide."""
    return torch.cat([resized(square[None], size, size) for square in cut(pictures, windows)])


def move(landmarks: Float[Tensor, "T 478 3"], windows: Windows, size: int) -> Float[Tensor, "T 478 3"]:
    """Give landmarks in the pixels of squares that are `size` wide; the third coordinate stays."""
    corner, side = windows[:, None, :2].to(landmarks), windows[:, None, 2:].to(landmarks)
    return torch.cat([(landmarks[..., :2] - corner) * (size / side), landmarks[..., 2:]], -1)


def lay(squares: list[Float[Tensor, "s s *C"]], pictures: Float[Tensor, "T H W *C"], windows: Windows) -> Tensor:
    """Lay squares over the pictures where they were cut from."""
    laid = pictures.clone()
    for picture, square, (left, top, side) in zip(laid, squares, windows.tolist(), strict=True):
        height, width = picture.shape[:2]
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
        picture[y0:y1, x0:x1] = square[y0 - top : y1 - top, x0 - left : x1 - left]
    return laid


def _reach(first: int, count: int) -> Int[Tensor, "s"]:
    return torch.arange(first, first + count)
