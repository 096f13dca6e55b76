"""Cut a person out of a portrait: who covers each pixel, and with which colour.

A small segmentation network (MediaPipe selfie segmentation, Apache-2.0, inside the `mediapipe` wheel, 256 px)
says roughly where the person is; closed-form matting (Levin, Lischinski and Weiss, "A Closed-Form Solution to
Natural Image Matting", 2008) finds the edge to the pixel, because it follows the colours of the photo itself.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from zero1toa.portrait.detect import open_solution

# Closed-form matting costs about linearly in the length of the outline; 512 px keep it well below a second.
SOLVE_SIDE = 512

# Tuned by eye on eight portraits and six video frames of LivePortrait's example assets, at 512 px.
BAND = 0.045  # half-width of the searched band around the rough outline, in face sizes
COLOUR_NOISE = 3e-5  # epsilon of the colour lines: larger follows the photo less
PLACE_WEIGHT = 40.0  # one face size weighs as much as this difference in Lab
COLOUR_GRAIN = 5.0  # differences in Lab below this mean little
COLOUR_TRUST = 3.0  # exponent on the ratio of distances
SMALL, SWEEPS_SMALL, SWEEPS = 32, 20, 4  # pixels of small levels, and steps on these and on larger ones
ALIKE = 1e-4  # how much neighbours are alike where alpha does not change
ROUGH_WEIGHT = 3e-3  # how strongly the network's opinion pulls inside the band


def matte_person(
    image: UInt8[np.ndarray, "H W 3"],
    points: Float[np.ndarray, "L 2"],
    *,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> Float32[np.ndarray, "H W"]:
    """Return how much of each pixel the person with these face landmarks (in pixels) covers, in [0, 1].

    `image` is a crop of head and shoulders; `valid` is False where it was padded, because black bars look like a
    dark wall, not like the end of the photo. Only what hangs together with the face is kept.
    """
    import cv2

    if valid is not None and not valid.all():
        alpha = np.zeros(valid.shape, np.float32)
        rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
        if len(rows):
            photo = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            alpha[photo] = matte_person(np.ascontiguousarray(image[photo]), points - [columns[0], rows[0]])
        return alpha * valid
    height, width = image.shape[:2]
    scale = min(1.0, SOLVE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    face = np.asarray(points, np.float32) * scale
    face_size = float(np.ptp(face, axis=0).max())

    rough = _segment(small, face)
    rough = _judge_by_colour(small, rough, *_certain(rough > 0.9, rough > 0.1, face, face_size), face_size)
    body = _one_body(rough, face, face_size)
    inside, outside = _certain(body, body, face, face_size)
    alpha = _closed_form(small, rough, inside, outside)
    alpha = _without_specks(alpha, rough, face, face_size)
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
            answer = models[model].process(crop).segmentation_mask
            answer = answer + cv2.flip(models[model].process(cv2.flip(crop, 1)).segmentation_mask, 1)
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
    surely: Bool[np.ndarray, "H W"], maybe: Bool[np.ndarray, "H W"], face: Float32[np.ndarray, "L 2"], face_size: float
) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Shrink what is surely the person, and what is not even maybe, by the width of the band searched for the edge."""
    import cv2

    reach = max(2, round(BAND * face_size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    # Replicating borders: the person goes on beyond the photo.
    inside = cv2.erode(surely.astype(np.uint8), disc, borderType=cv2.BORDER_REPLICATE) > 0
    outside = cv2.dilate(maybe.astype(np.uint8), disc, borderType=cv2.BORDER_REPLICATE) == 0
    skin = _hull(face, surely.shape)
    return inside | (cv2.erode(skin, disc) > 0), outside & (skin == 0)


def _hull(face: Float32[np.ndarray, "L 2"], shape: tuple[int, ...]) -> UInt8[np.ndarray, "H W"]:
    import cv2

    return cv2.fillConvexPoly(np.zeros(shape, np.uint8), cv2.convexHull(face.round().astype(np.int32)), (1,))


def _judge_by_colour(
    image: UInt8[np.ndarray, "H W 3"],
    rough: Float32[np.ndarray, "H W"],
    inside: Bool[np.ndarray, "H W"],
    outside: Bool[np.ndarray, "H W"],
    face_size: float,
) -> Float32[np.ndarray, "H W"]:
    """Settle what the network leaves open by the colours of certain pixels nearby.

    The odds of the network are multiplied by those of colour: how much closer, in colour and place, the nearest
    certain pixels of the person are than those of the background.
    """
    import cv2
    from scipy.spatial import KDTree

    height, width = rough.shape
    unknown = ~(inside | outside)
    if not unknown.any() or not inside.any() or not outside.any():
        return rough
    # Half the resolution is enough to decide on regions, and averages the grain of photos and canvases away.
    size = ((width + 1) // 2, (height + 1) // 2)
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.float32)
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    place = np.stack([columns, rows], axis=-1) * (2 * PLACE_WEIGHT / face_size)
    features = np.concatenate([lab, place], axis=-1)
    inside, outside, unknown = (
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in (inside, outside, unknown)
    )
    near = cv2.distanceTransform((~unknown).astype(np.uint8), cv2.DIST_L2, 3) < 0.25 * face_size
    distances = []
    for certain in (inside & near, outside & near):
        samples = features[certain]
        if len(samples) < 8:
            return rough
        tree = KDTree(samples[:: max(1, len(samples) // 3000)])
        distances.append(tree.query(features[unknown], k=3)[0].mean(axis=1))
    evidence = np.zeros(size[::-1], np.float32)
    evidence[unknown] = COLOUR_TRUST * np.log((distances[1] + COLOUR_GRAIN) / (distances[0] + COLOUR_GRAIN))
    evidence = cv2.resize(cv2.GaussianBlur(evidence, (0, 0), 1.0), (width, height), interpolation=cv2.INTER_LINEAR)
    odds = rough.clip(0.01, 0.99)
    # Doubled, because the average of several blurred looks doubts more than the looks together should.
    odds = 2 * (np.log(odds / (1 - odds)) + evidence)
    return np.where(cv2.resize(unknown.astype(np.uint8), (width, height)) > 0, 1 / (1 + np.exp(-odds)), rough)


def _one_body(rough: Float32[np.ndarray, "H W"], face: Float32[np.ndarray, "L 2"], face_size: float) -> Bool[np.ndarray, "H W"]:
    """Decide region by region, and keep the one that hangs together with the face."""
    import cv2

    smooth = cv2.GaussianBlur(rough, (0, 0), max(0.5, 0.01 * face_size), borderType=cv2.BORDER_REPLICATE)
    reach = max(1, round(0.015 * face_size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    body = (smooth > 0.7).astype(np.uint8)
    # Opening first cuts the threads by which pieces of background hang on to the person.
    body = _part_under(cv2.morphologyEx(body, cv2.MORPH_OPEN, disc) > 0, face)
    return _fill_holes(body, (0.12 * face_size) ** 2)


def _part_under(mask: Bool[np.ndarray, "H W"], face: Float32[np.ndarray, "L 2"]) -> Bool[np.ndarray, "H W"]:
    """Keep the connected part that covers most of the face; all of the face's own outline belongs to it."""
    import cv2

    hull = _hull(face, mask.shape) > 0
    _, labels = cv2.connectedComponents((mask | hull).astype(np.uint8), connectivity=4)
    if not hull.any():
        return mask
    return labels == np.bincount(labels[hull]).argmax()


def _fill_holes(mask: Bool[np.ndarray, "H W"], largest: float) -> Bool[np.ndarray, "H W"]:
    """Fill holes of up to `largest` pixels that do not touch the border of the image."""
    import cv2

    height, width = mask.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    x, y, w, h, area = stats.T
    small = (x > 0) & (y > 0) & (x + w < width) & (y + h < height) & (area <= largest)
    small[0] = True  # label 0 is the mask itself
    return small[labels] if count > 1 else mask


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
    # Inverting by cofactors; a symmetric 3 x 3 matrix is too small for a solver to pay.
    a, b, c = covariance[:, 0], covariance[:, 1], covariance[:, 2]
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    inverse = cofactors / np.einsum("ki,ki->k", a, cofactors[:, 0])[:, None, None]
    whitened = inverse @ centred.transpose(0, 2, 1)
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
    solution, _ = cg(matrix, target, x0=opinion, rtol=1e-3, maxiter=200, M=jacobi)
    alpha.ravel()[wanted] = solution
    # Locally linear colours leave a haze over flat regions; what is nearly certain becomes certain.
    return np.clip((alpha - 0.1) / 0.8, 0, 1).astype(np.float32)


def _without_specks(
    alpha: Float32[np.ndarray, "H W"],
    rough: Float32[np.ndarray, "H W"],
    face: Float32[np.ndarray, "L 2"],
    face_size: float,
) -> Float32[np.ndarray, "H W"]:
    """Drop what floats beside the person, and close pinholes through which no background shows."""
    import cv2

    body = _part_under(alpha > 0.5, face)
    reach = max(1, round(0.02 * face_size))
    halo = cv2.dilate(body.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    pinholes = _fill_holes(body, (0.03 * face_size) ** 2) & ~body & (rough > 0.8)
    return np.where(pinholes, 1, alpha * halo).astype(np.float32)


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


def estimate_foreground(image: UInt8[np.ndarray, "H W 3"], alpha: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Take the background's light out of the colours of the rim, and fill those beyond it in from the person nearby.

    Finds the smoothest foreground F and background B that mix to the photo, alpha F + (1 - alpha) B, from coarse to fine
    (Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation", 2020, eq. 4): smooth above all where
    alpha changes. Where alpha is above 0.95, or nowhere is, the photo is kept.
    """
    import cv2

    if not (alpha > 0.95).any():
        return image.copy()
    photo, height, width = image.astype(np.float32) / 255, *alpha.shape
    front = behind = photo.mean((0, 1), keepdims=True)
    levels = math.ceil(math.log2(max(height, width)))
    for level in range(levels + 1):
        size = tuple(max(1, round(length ** (level / levels))) for length in (width, height))
        mixed, share = (cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (photo, alpha))
        front, behind = (cv2.resize(values, size, interpolation=cv2.INTER_NEAREST) for values in (front, behind))
        for _ in range(SWEEPS if max(size) > SMALL else SWEEPS_SMALL):
            front, behind = _smoother(front, behind, mixed, share)
    return np.where(alpha[..., None] > 0.95, image, (front * 255).round().clip(0, 255).astype(np.uint8))


def _smoother(
    front: Float32[np.ndarray, "H W 3"], behind: Float32[np.ndarray, "H W 3"], photo: Float32[np.ndarray, "H W 3"],
    alpha: Float32[np.ndarray, "H W"],
) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W 3"]]:  # fmt: skip
    """Bring every pixel's foreground and background nearer to its neighbours' and to the photo's mixture (a Jacobi step)."""
    around = np.pad(np.concatenate([front, behind, alpha[..., None]], -1), ((1, 1), (1, 1), (0, 0)), "edge")
    near = np.stack([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
    pulls = ALIKE + np.abs(near[..., 6:] - alpha[..., None])
    total, wanted = pulls.sum(0), (pulls * near[..., :6]).sum(0)
    share, rest = alpha[..., None], 1 - alpha[..., None]
    a, b, c = share**2 + total, share * rest, rest**2 + total
    p, q = share * photo + wanted[..., :3], rest * photo + wanted[..., 3:]
    determinant = a * c - b * b
    return np.clip((c * p - b * q) / determinant, 0, 1), np.clip((a * q - b * p) / determinant, 0, 1)
