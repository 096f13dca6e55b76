"""Draw facial landmarks the way the landmark-driven video priors were trained to see them.

Canvas, colours and groups are those of AniPortrait (Wei et al. 2024): black, lines two pixels thick at 512, no irises, no
forehead, the lips in eight strokes. EchoMimic (Chen et al. 2024) leaves out the oval and marks nose and pupils by squares;
a ControlNet for Stable Diffusion sees the whole oval.
Indices name MediaPipe's 478 landmarks; left and right are the subject's. Colours are in the order in which the networks
read their channels.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# One stroke: a colour in 0..255 and the landmarks it runs through.
Stroke = tuple[tuple[int, int, int], tuple[int, ...]]
# One square: its colour and the landmark in its middle.
Dot = tuple[tuple[int, int, int], int]

OVAL = (10, 200, 10)
RIGHT_EYE, RIGHT_BROW = (10, 200, 180), (10, 220, 180)
LEFT_EYE, LEFT_BROW = (180, 200, 10), (180, 220, 10)

STROKES: tuple[Stroke, ...] = (
    # The face oval from temple to temple under the chin; MediaPipe's runs over the forehead as well.
    (OVAL, (389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)),
    (OVAL, (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21)),
    (OVAL, (251, 389)),
    (RIGHT_EYE, (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    (RIGHT_EYE, (33, 246, 161, 160, 159, 158, 157, 173, 133)),
    (RIGHT_BROW, (46, 53, 52, 65, 55)),
    (RIGHT_BROW, (70, 63, 105, 66, 107)),
    (LEFT_EYE, (263, 249, 390, 373, 374, 380, 381, 382, 362)),
    (LEFT_EYE, (263, 466, 388, 387, 386, 385, 384, 398, 362)),
    (LEFT_BROW, (276, 283, 282, 295, 285)),
    (LEFT_BROW, (300, 293, 334, 296, 336)),
    ((10, 180, 20), (61, 146, 91, 181, 84, 17)),
    ((20, 10, 180), (17, 314, 405, 321, 375, 291)),
    ((100, 100, 30), (78, 95, 88, 178, 87, 14)),
    ((100, 150, 50), (14, 317, 402, 318, 324, 308)),
    ((20, 80, 100), (61, 185, 40, 39, 37, 0)),
    ((80, 100, 20), (0, 267, 269, 270, 409, 291)),
    ((120, 100, 200), (78, 191, 80, 81, 82, 13)),
    ((150, 120, 100), (13, 312, 311, 310, 415, 308)),
)

# What ControlNetMediaPipeFace (CrucibleAI 2023) saw: the whole oval, one colour for the lips, and pupils; its authors drew as
# above and then turned the order of the channels around.
_FOREHEAD = (OVAL, (389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21))
_MOUTH = (10, 180, 10)
_LIPS = tuple((_MOUTH, line) for color, line in STROKES[-8:])
CONTROLNET_STROKES: tuple[Stroke, ...] = tuple(
    ((c, b, a), line) for (a, b, c), line in (*STROKES[:2], _FOREHEAD, *STROKES[3:-8], *_LIPS)
)
CONTROLNET_DOTS: tuple[Dot, ...] = (((250, 200, 10), 468), ((10, 200, 250), 473))

# The bones of a head in the skeletons that Wan-Animate is driven by, in OpenPose's colours: from the nose over each eye to
# the ear. A portrait has no others.
SKELETON_STROKES: tuple[Stroke, ...] = (
    ((85, 0, 255), (1, 468)), ((170, 0, 255), (468, 234)), ((255, 0, 255), (1, 473)), ((255, 0, 170), (473, 454)),
)  # fmt: skip

# EchoMimic's squares: the tip of the nose, the right and the left pupil.
DOTS: tuple[Dot, ...] = (((10, 200, 250), 468), ((250, 200, 10), 473), ((200, 200, 200), 4))


def draw_landmarks(
    points: Float[Tensor, "T 478 3"],
    height: int,
    width: int,
    *,
    strokes: tuple[Stroke, ...] = STROKES,
    dots: tuple[Dot, ...] = (),
    dot_width: int = 6,
) -> Float[Tensor, "T H W 3"]:
    """Draw landmark maps in [0, 1] from projected landmarks (pixel x, pixel y, depth in metres).

    Squares are `dot_width` pixels wide at 512. As in the original, a line with an end outside the picture is left out; so
    is one that ends behind the camera.
    """
    import cv2

    thickness = max(1, round(2 * height / 512))
    maps = np.zeros((len(points), height, width, 3), np.uint8)
    array = points.detach().cpu().numpy()
    size = np.array([width, height])
    inside = ((array[..., :2] >= 0) & (array[..., :2] <= size)).all(-1) & (array[..., 2] > 0)
    pixels = np.minimum(np.floor(np.where(inside[..., None], array[..., :2], 0)), size - 1).astype(np.int32)
    reach = max(1, round(dot_width / 2 * height / 512))
    for canvas, spots, seen in zip(maps, pixels, inside, strict=True):
        for color, landmarks in strokes:
            for a, b in pairwise(landmarks):
                if seen[a] and seen[b]:
                    cv2.line(canvas, spots[a].tolist(), spots[b].tolist(), color, thickness)
        for color, landmark in dots:
            x, y = spots[landmark].tolist()
            if seen[landmark]:
                canvas[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = color
    return (torch.from_numpy(maps).to(points) / 255).contiguous()
