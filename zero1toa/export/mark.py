"""The mark in the corner of rendered videos, which says to everybody who watches that nobody was filmed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from zero1toa.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

TEXT = "AI-generated"
# Shares of the shorter side: small enough not to hide the face, large enough to be read on a phone.
LETTERS, MARGIN = 0.042, 0.02


def check_mark(mark: bool, consent: bool) -> None:
    """Raise InputError when the mark is to be left out without the word that the person shown agreed to that."""
    if not mark and not consent:
        raise InputError("to leave out the mark, confirm that the person shown agreed to that (on the command line: --consent)")


def marked(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Give a copy of a frame with the mark in its lower right corner."""
    height, width = frame.shape[:2]
    light, cover = _plate(height, width)
    rows, columns = light.shape[:2]
    edge = _margin(height, width)
    corner = np.s_[height - edge - rows : height - edge, width - edge - columns : width - edge]
    frame = frame.copy()
    frame[corner] = (frame[corner] * (1 - cover) + light * cover + 0.5).astype(np.uint8)
    return frame


@functools.lru_cache(maxsize=4)
def _plate(height: int, width: int) -> tuple[Float[np.ndarray, "h w 1"], Float[np.ndarray, "h w 1"]]:
    """Draw white letters on a dark plate: grey in [0, 255], and how much it covers in [0, 1]. It fits any frame."""
    from PIL import Image, ImageDraw, ImageFont

    letters = max(10, round(LETTERS * min(height, width)))
    font, inset = ImageFont.load_default(letters), round(letters / 2)
    left, top, right, bottom = font.getbbox(TEXT)
    size = round(right - left) + 2 * inset, round(bottom - top) + inset
    plate = Image.new("LA", size, (0, 0))
    draw = ImageDraw.Draw(plate)
    draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=inset, fill=(16, 150))
    draw.text((inset - left, inset / 2 - top), TEXT, font=font, fill=(255, 255))
    edge = _margin(height, width)
    plate.thumbnail((max(1, width - 2 * edge), max(1, height - 2 * edge)))
    pixels = np.asarray(plate, np.float32)
    return pixels[..., :1], pixels[..., 1:] / 255


def _margin(height: int, width: int) -> int:
    return round(MARGIN * min(height, width))
