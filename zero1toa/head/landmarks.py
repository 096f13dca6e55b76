"""What MediaPipe's 478 landmarks say about a head's surface: which triangles are lips and lids, and what lies nearest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

# Closed outlines in MediaPipe's numbering: the red of the lips, and each eye as far as the fold of the upper lid and
# the rim of the orbit under the lower one.
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
RIGHT_LIDS = (130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25)
LEFT_LIDS = (359, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255)
# The rims between which a mouth opens, without its corners.
UPPER_RIM = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_RIM = (95, 88, 178, 87, 14, 317, 402, 318, 324)
# The twin of each landmark of the face on its other side, itself in the middle; the mesh that MediaPipe draws maps onto
# itself under this.
TWINS = (
    0, 1, 2, 248, 4, 5, 6, 249, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 250, 251, 252, 253, 254, 255, 256, 257,
    258, 259, 260, 261, 262, 263, 264, 265, 266, 267, 268, 269, 270, 271, 272, 273, 274, 275, 276, 277, 278, 279, 280,
    281, 282, 283, 284, 285, 286, 287, 288, 289, 290, 291, 292, 293, 294, 295, 296, 297, 298, 299, 300, 301, 302, 303,
    304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 320, 321, 322, 323, 94, 324, 325,
    326, 327, 328, 329, 330, 331, 332, 333, 334, 335, 336, 337, 338, 339, 340, 341, 342, 343, 344, 345, 346, 347, 348,
    349, 350, 351, 352, 353, 354, 355, 356, 357, 358, 359, 360, 361, 362, 363, 364, 365, 366, 367, 368, 369, 370, 371,
    372, 373, 374, 375, 376, 377, 378, 379, 151, 152, 380, 381, 382, 383, 384, 385, 386, 387, 388, 389, 390, 164, 391,
    392, 393, 168, 394, 395, 396, 397, 398, 399, 175, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412,
    413, 414, 415, 416, 417, 418, 195, 419, 197, 420, 199, 200, 421, 422, 423, 424, 425, 426, 427, 428, 429, 430, 431,
    432, 433, 434, 435, 436, 437, 438, 439, 440, 441, 442, 443, 444, 445, 446, 447, 448, 449, 450, 451, 452, 453, 454,
    455, 456, 457, 458, 459, 460, 461, 462, 463, 464, 465, 466, 467, 3, 7, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58,
    59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86,
    87, 88, 89, 90, 91, 92, 93, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112,
    113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135,
    136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148, 149, 150, 153, 154, 155, 156, 157, 158, 159, 160,
    161, 162, 163, 165, 166, 167, 169, 170, 171, 172, 173, 174, 176, 177, 178, 179, 180, 181, 182, 183, 184, 185, 186,
    187, 188, 189, 190, 191, 192, 193, 194, 196, 198, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 213,
    214, 215, 216, 217, 218, 219, 220, 221, 222, 223, 224, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 235, 236,
    237, 238, 239, 240, 241, 242, 243, 244, 245, 246, 247,
)  # fmt: skip


def inside_outline(
    places: Float[np.ndarray, "P 3"], outline: Float[np.ndarray, "N 3"], *, depth: float = 0.02
) -> Bool[np.ndarray, "P"]:
    """Say which places lie inside an outline seen from the front, and at most `depth` metres behind its mean or before."""
    (x, y), inside = places[:, :2].T, np.zeros(len(places), bool)
    # Crossing number: a ray to +x enters or leaves at every edge that spans its height.
    for (x0, y0), (x1, y1) in zip(outline[:, :2], np.roll(outline[:, :2], -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside & (np.abs(places[:, 2] - outline[:, 2].mean()) < depth)


def nearest_on_triangles(
    corners: Float[np.ndarray, "F 3 3"], places: Float[np.ndarray, "P 3"], *, candidates: int = 24
) -> tuple[Int[np.ndarray, "P"], Float[np.ndarray, "P 3"], Float[np.ndarray, "P"]]:
    """Give the nearest triangle to each place, barycentric weights of the nearest point on it, and the distance to it.

    Only the triangles whose centres are nearest are looked at. Works in any number of dimensions.
    """
    near = KDTree(corners.mean(1)).query(places, k=min(candidates, len(corners)))[1].reshape(len(places), -1)
    triangles = corners[near]
    options = np.stack([_foot_points(triangles, places[:, None]), *_edge_points(triangles, places[:, None])], -2)
    gaps = np.linalg.norm(np.einsum("pkoc,pkcd->pkod", options, triangles) - places[:, None, None], axis=-1)
    # A foot point outside its triangle is no point of it.
    gaps[options.min(-1) < 0] = np.inf
    best = gaps.reshape(len(places), -1).argmin(1)
    rows, (triangle, option) = np.arange(len(places)), np.unravel_index(best, gaps.shape[1:])
    return near[rows, triangle], options[rows, triangle, option], gaps[rows, triangle, option]


def _foot_points(triangles: Float[np.ndarray, "P K 3 D"], places: Float[np.ndarray, "P 1 D"]) -> Float[np.ndarray, "P K 3"]:
    """Give the barycentric weights of the foot of each place on the plane of each triangle."""
    a, b, c = np.moveaxis(triangles, -2, 0)
    ab, ac, ap = b - a, c - a, places - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    scale = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / scale, (d00 * d21 - d01 * d20) / scale
    return np.stack([1 - v - w, v, w], -1)


def _edge_points(
    triangles: Float[np.ndarray, "P K 3 D"], places: Float[np.ndarray, "P 1 D"]
) -> list[Float[np.ndarray, "P K 3"]]:
    """Give the barycentric weights of the nearest point on each edge of each triangle."""
    points = []
    for start in range(3):
        end = (start + 1) % 3
        edge = triangles[..., end, :] - triangles[..., start, :]
        along = ((places - triangles[..., start, :]) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-18)
        weights = np.zeros(triangles.shape[:-1])
        weights[..., end] = np.clip(along, 0, 1)
        weights[..., start] = 1 - weights[..., end]
        points.append(weights)
    return points
