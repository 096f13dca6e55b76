"""Cut a person out of a portrait: who covers each pixel, and with which colour.

A small segmentation network (MediaPipe selfie segmentation, Apache-2.0, inside the `mediapipe` wheel, 256 px)
says roughly where the person is; closed-form matting (Levin, Lischinski and Weiss, "A Closed-Form Solution to
Natural Image Matting", 2008) finds the edge to the pixel, because it follows the colours of the photo itself.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zero1toa.portrait.detect import open_solution

# Closed-form matting costs about linearly in the length of the outline; 512 px keep it well below a second.
SOLVE_SIDE = 512

# Tuned by eye on eight portraits and six video frames of LivePortrait's example assets, at 512 px.
BAND = 0.045  # half-width of the searched band around the rough outline, in face sizes
COLOUR_NOISE = 1e-5  # epsilon of the colour lines: larger follows the photo less
ROUGH_WEIGHT = 3e-3  # how strongly the network's opinion pulls inside the band


def matte_person(
    image: UInt8[np.ndarray, "H W 3"],
    points: Float32[np.ndarray, "L 2"],
) -> Float32[np.ndarray, "H W"]:
    """Return how much of each pixel the person with these face landmarks (in pixels) covers, in [0, 1].

    Give a crop of head and shoulders without padding: black bars look like a dark wall, not like the end of the
    photo. Only what hangs together with the face is kept.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, SOLVE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    face = np.asarray(points, np.float32) * scale
    face_size = float(np.ptp(face, axis=0).max())

    rough = _segment(small, face)
    inside, outside = _certain(rough, face, face_size)
    alpha = _closed_form(small, rough, inside, outside)
    alpha = _one_body(alpha, rough, face, face_size)
    if scale < 1:
        alpha = _guided_upsample(image, alpha)
    return alpha


# ---------------------------------------------------------------------------------------------- where, roughly


def _segment(image: UInt8[np.ndarray, "H W 3"], face: Float32[np.ndarray, "L 2"]) -> Float32[np.ndarray, "H W"]:
    """Average the network's answers for the whole image and for closer looks at the head."""
    import cv2

    height, width = image.shape[:2]
    centre = (face.min(axis=0) + face.max(axis=0)) / 2
    face_size = float(np.ptp(face, axis=0).max())
    total = np.zeros((height, width), np.float32)
    weights = np.full((height, width), 1e-6, np.float32)
    models = [open_solution("selfie_segmentation", model_selection=model) for model in (0, 1)]
    try:
        for model, zoom in ((0, math.inf), (1, math.inf), (0, 3.4), (0, 2.4)):
            side = min(zoom * face_size, max(height, width))
            # A look that would reach beyond the photo moves inside it: bars of padding are taken for a body.
            x, y = (
                length / 2 if side >= length else float(np.clip(at, side / 2, length - side / 2))
                for at, length in zip(centre, (width, height), strict=True)
            )
            to_crop = np.array([[256 / side, 0, 128 - x * 256 / side], [0, 256 / side, 128 - y * 256 / side]])
            flags = cv2.INTER_AREA if side > 256 else cv2.INTER_LINEAR
            crop = cv2.warpAffine(image, to_crop, (256, 256), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            answer = sum(
                cv2.flip(models[model].process(view).segmentation_mask, 1) if mirrored else models[model].process(view).segmentation_mask
                for mirrored, view in ((False, crop), (True, cv2.flip(crop, 1)))
            )
            # Near the rim of a closer look the network misses what lies beyond, so its word fades there.
            ramp = np.clip(np.minimum(np.arange(256), np.arange(256)[::-1]) / 48, 0.02, 1).astype(np.float32)
            horizontal = np.ones(256, np.float32) if side >= width else ramp
            vertical = np.ones(256, np.float32) if side >= height else ramp
            weight = vertical[:, None] * horizontal
            back = cv2.invertAffineTransform(to_crop)
            total += cv2.warpAffine(answer / 2 * weight, back, (width, height), flags=cv2.INTER_LINEAR)
            weights += cv2.warpAffine(weight, back, (width, height), flags=cv2.INTER_LINEAR)
    finally:
        for model in models:
            model.close()
    return np.clip(total / weights, 0, 1)


def _certain(
    rough: Float32[np.ndarray, "H W"], face: Float32[np.ndarray, "L 2"], face_size: float
) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Name the pixels that surely belong to the person, and those that surely do not."""
    import cv2

    reach = max(2, round(BAND * face_size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    # Replicating borders: the person goes on beyond the photo.
    inside = cv2.erode((rough > 0.9).astype(np.uint8), disc, borderType=cv2.BORDER_REPLICATE) > 0
    outside = cv2.dilate((rough > 0.1).astype(np.uint8), disc, borderType=cv2.BORDER_REPLICATE) == 0
    hull = cv2.convexHull(face.astype(np.int32))
    skin = cv2.fillConvexPoly(np.zeros(rough.shape, np.uint8), hull, 1)
    return inside | (cv2.erode(skin, disc) > 0), outside & (skin == 0)


# ------------------------------------------------------------------------------------------------- to the pixel


def _closed_form(
    image: UInt8[np.ndarray, "H W 3"],
    rough: Float32[np.ndarray, "H W"],
    inside: Bool[np.ndarray, "H W"],
    outside: Bool[np.ndarray, "H W"],
) -> Float32[np.ndarray, "H W"]:
    """Solve for alpha where it is unknown: locally linear in colour, near `rough`, and meeting the certain pixels."""
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import cg

    height, width = rough.shape
    unknown = ~(inside | outside)
    alpha = inside.astype(np.float64)
    if not unknown.any() or min(height, width) < 3:
        return alpha.astype(np.float32)
    import cv2

    # Windows of 3 x 3 whose centre has an unknown neighbour.
    active = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    rows, columns = np.nonzero(active)
    offsets = (np.arange(3)[:, None] * width + np.arange(3)).ravel()
    members = (rows * width + columns)[:, None] + offsets  # K x 9 pixel numbers
    colours = image.reshape(-1, 3).astype(np.float64)[members] / 255
    centred = colours - colours.mean(axis=1, keepdims=True)
    covariance = np.einsum("kni,knj->kij", centred, centred) / 9 + COLOUR_NOISE / 9 * np.eye(3)
    whitened = np.linalg.solve(covariance, centred.transpose(0, 2, 1))
    block = np.eye(9) - (1 + centred @ whitened) / 9

    # Each unknown pixel gets a row; certain pixels move to the right-hand side.
    number = np.full(height * width, -1)
    wanted = np.flatnonzero(unknown.ravel())
    number[wanted] = np.arange(len(wanted))
    left = np.repeat(members, 9, axis=1).ravel()
    right = np.tile(members, (1, 9)).ravel()
    values = block.ravel()
    mine = number[left] >= 0
    left, right, values = number[left[mine]], right[mine], values[mine]
    known = number[right] < 0
    count = len(wanted)
    target = -np.bincount(left[known], values[known] * alpha.ravel()[right[known]], minlength=count)
    matrix = csr_matrix((values[~known], (left[~known], number[right[~known]])), shape=(count, count))
    opinion = rough.ravel()[wanted].astype(np.float64)
    matrix = matrix + diags(np.full(count, ROUGH_WEIGHT))
    target += ROUGH_WEIGHT * opinion
    jacobi = diags(1 / matrix.diagonal())
    solution, _ = cg(matrix, target, x0=opinion, rtol=1e-4, maxiter=400, M=jacobi)
    alpha.ravel()[wanted] = solution
    # The solution over- and undershoots by a few per cent; what is nearly certain becomes certain.
    return np.clip((alpha - 0.04) / 0.92, 0, 1).astype(np.float32)


def _one_body(
    alpha: Float32[np.ndarray, "H W"],
    rough: Float32[np.ndarray, "H W"],
    face: Float32[np.ndarray, "L 2"],
    face_size: float,
) -> Float32[np.ndarray, "H W"]:
    """Keep what hangs together with the face, and close holes that the network did not see."""
    import cv2

    height, width = alpha.shape
    _, labels = cv2.connectedComponents((alpha > 0.5).astype(np.uint8), connectivity=4)
    hull = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), cv2.convexHull(face.astype(np.int32)), 1)
    under_face = labels[(hull > 0) & (labels > 0)]
    if len(under_face) == 0:
        return alpha
    body = labels == np.bincount(under_face).argmax()
    reach = max(1, round(0.02 * face_size))
    halo = cv2.dilate(body.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    alpha = alpha * halo

    count, labels, stats, _ = cv2.connectedComponentsWithStats((~body).astype(np.uint8), connectivity=4)
    for hole in range(1, count):
        x, y, w, h, area = stats[hole]
        if x > 0 and y > 0 and x + w < width and y + h < height:
            pixels = labels == hole
            if area < (0.05 * face_size) ** 2 or rough[pixels].mean() > 0.5:
                around = cv2.dilate(pixels.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                alpha[around] = 1
    return alpha


def _guided_upsample(
    image: UInt8[np.ndarray, "H W 3"], alpha: Float32[np.ndarray, "h w"], *, radius: int = 2, epsilon: float = 1e-4
) -> Float32[np.ndarray, "H W"]:
    """Enlarge alpha along the edges of the image: a colour guided filter (He, Sun and Tang, 2010)."""
    import cv2

    height, width = image.shape[:2]
    guide = image.astype(np.float32) / 255
    size = alpha.shape[1], alpha.shape[0]
    small = cv2.resize(guide, size, interpolation=cv2.INTER_AREA)
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, window, borderType=cv2.BORDER_REFLECT)

    mu = mean(small)
    products = mean((small[..., :, None] * small[..., None, :]).reshape(*alpha.shape, 9)[..., [0, 1, 2, 4, 5, 8]])
    covariance = products[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*alpha.shape, 3, 3) - mu[..., :, None] * mu[..., None, :]
    covariance += epsilon * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(covariance, (mean(small * alpha[..., None]) - mu * mean(alpha)[..., None])[..., None])[..., 0]
    level = mean(alpha) - (slope * mu).sum(axis=-1)
    slope = cv2.resize(mean(slope.astype(np.float32)), (width, height), interpolation=cv2.INTER_LINEAR)
    level = cv2.resize(mean(level), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip((slope * guide).sum(axis=-1) + level, 0, 1)


# ----------------------------------------------------------------------------------------------- which colour


def estimate_foreground(
    image: UInt8[np.ndarray, "H W 3"], alpha: Float32[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Replace colours that the background shines into by colours of the person nearby.

    Where alpha is above 0.95 the photo is kept.
    """
    import cv2

    solid = (alpha > 0.95).astype(np.float32)
    colours = image.astype(np.float32)
    # Push: ever coarser averages of solid pixels. Pull: fill each level's gaps from the next coarser one.
    levels = [(colours * solid[..., None], solid)]
    while min(levels[-1][1].shape) > 1:
        below, weight = levels[-1]
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        levels.append(tuple(cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in (below, weight)))
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-6)[..., None]
    for below, weight in reversed(levels[:-1]):
        enlarged = cv2.resize(filled, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        trust = np.minimum(weight, 1)[..., None]
        filled = below + (1 - trust) * enlarged
    return np.where(solid[..., None] > 0, image, filled.round().clip(0, 255).astype(np.uint8))
