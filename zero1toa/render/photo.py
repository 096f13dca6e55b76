"""What one photo knows about a surface: the colour of every point of the mesh, and how far to trust it.

A point that the photo sees head-on has the colour of its pixel. One that it does not see borrows from its mirror
twin on the other side of the face; the back of a head of hair borrows from the hair in front of it; what is left
is filled in along the surface, from vertex to vertex. Inpainting on the mesh itself instead of in a texture has no
seams and needs no unwrapping.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, normalize

from zero1toa.geometry.camera import center, project
from zero1toa.geometry.mesh import vertex_normals
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import PARTS, Reference

# How far the surface may lie behind what the photo sees there and still count as seen, in metres: half a millimetre
# where skin folds over skin, as at the eyelids and in the mouth, and more where only the fit is in doubt.
SEEN_WITHIN, SEEN_WITHIN_FOLDS = 0.005, 0.0005
# Cosines between surface normal and view at which a texel starts to count, and counts in full.
GRAZING, HEAD_ON = 0.15, 0.45
# A mirrored colour is lit from the wrong side, one seen through the head is hair like that hair; both beat a fill.
MIRRORED, THROUGH = 0.6, 0.35
# Colours of what a closed mouth hides, in the light of a face whose skin has the brightness of `SKIN_LUMA`.
HIDDEN = {"teeth": (0.86, 0.82, 0.76), "tongue": (0.68, 0.36, 0.36), "mouth": (0.28, 0.11, 0.11), "eyes": (0.82, 0.80, 0.79)}
SKIN_LUMA = 0.62


class PhotoSurface:
    """Colours of the surface of a reference portrait's mesh; see the module's docstring."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.faces = reference.surface.faces
        self.parts = reference.surface.parts
        self.normals = vertex_normals(reference.vertices, self.faces)
        self.fragments = rasterize_mesh(reference.vertices[None], self.faces, reference.camera)
        self.matte = _eroded(reference.alpha)
        folds = torch.tensor([PARTS.index(part) for part in ("eyelids", "lips", "mouth", "teeth", "tongue", "eyes")])
        self.tolerance = torch.where(torch.isin(self.parts, folds), SEEN_WITHIN_FOLDS, SEEN_WITHIN)
        self.hair = self._hair_pixels()
        self.fill = self._fill_vertices()

    def colors(
        self, face: Int[Tensor, "P"], barycentric: Float[Tensor, "P 3"]
    ) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P"]]:
        """Give colours in [0, 1] and confidences in [0, 1] of surface points: 1 seen head-on, near 0 filled in."""
        corners = self.faces[face]
        color, seen = self._seen(corners, barycentric, self.tolerance[face])
        mirror, mirror_seen = self._seen(self.reference.surface.mirror[corners], barycentric, self.tolerance[face])
        through, through_seen = self._through(corners, barycentric)
        through_seen = through_seen * (self.parts[face] == PARTS.index("scalp"))
        hidden = torch.isin(self.parts[face], torch.tensor([PARTS.index(part) for part in ("teeth", "tongue", "mouth")]))
        mirror_seen = mirror_seen * ~hidden
        filled = (self.fill[corners] * barycentric[..., None]).sum(-2)
        for source, weight in ((through, through_seen), (mirror, mirror_seen), (color, seen)):
            filled = torch.lerp(filled, source, weight[:, None])
        confidence = torch.maximum(seen, torch.maximum(mirror_seen * MIRRORED, through_seen * THROUGH))
        return filled, confidence

    def _seen(
        self, corners: Int[Tensor, "P 3"], barycentric: Float[Tensor, "P 3"], tolerance: Float[Tensor, "P"]
    ) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P"]]:
        """Look surface points up in the photo; the weight is 0 where it does not see them and 1 where it does well."""
        points = (self.reference.vertices[corners] * barycentric[..., None]).sum(-2)
        normals = normalize((self.normals[corners] * barycentric[..., None]).sum(-2), dim=-1)
        pixels = project(points[None], self.reference.camera)[0]
        view = normalize(center(self.reference.camera) - points, dim=-1)
        facing = _ramp((normals * view).sum(-1), GRAZING, HEAD_ON)
        depth = _sample(self.fragments.depth[0][..., None], pixels, mode="nearest")[:, 0]
        visible = (pixels[:, 2] < depth + tolerance) & (depth > 0)
        weight = facing * visible * _sample(self.matte[..., None], pixels)[:, 0]
        return _sample(self.reference.image, pixels), weight

    def _through(
        self, corners: Int[Tensor, "P 3"], barycentric: Float[Tensor, "P 3"]
    ) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P"]]:
        """Look through the head: the colour of the hair that lies in front of points on its far side."""
        points = (self.reference.vertices[corners] * barycentric[..., None]).sum(-2)
        pixels = project(points[None], self.reference.camera)[0]
        return _sample(self.reference.image, pixels), _sample(self.hair[..., None], pixels)[:, 0]

    def _hair_pixels(self) -> Float[Tensor, "H W"]:
        """Mark where the photo shows hair (or a hat): the person off the mesh above the chin, and the scalp."""
        face = self.fragments.face[0].long()
        part = torch.where(face >= 0, self.parts[face.clamp_min(0)], -1)
        _, chin = self.face_rows()
        above = torch.arange(len(part))[:, None] < chin
        off_mesh = (part < 0) & above
        return self.matte * (off_mesh | (part == PARTS.index("scalp"))).float()

    def face_rows(self) -> tuple[float, float]:
        """Give the pixel rows between which the skin of the face lies."""
        skin = torch.isin(self.parts, torch.tensor([PARTS.index(part) for part in ("skin", "lips", "eyelids")]))
        rows = project(self.reference.vertices[None], self.reference.camera)[0, self.faces[skin].unique(), 1]
        return rows.min().item(), rows.max().item()

    def _fill_vertices(self) -> Float[Tensor, "V 3"]:
        """Colour every vertex: known ones as seen, the others smoothly from their neighbours along the surface."""
        count = len(self.reference.vertices)
        color, weight = torch.zeros(count, 3), torch.zeros(count)
        unit = torch.eye(3)
        for corner in range(3):
            bary = unit[corner].expand(len(self.faces), 3)
            seen, how = self._seen(self.faces, bary, self.tolerance)
            mirror, mirror_how = self._seen(self.reference.surface.mirror[self.faces], bary, self.tolerance)
            better = torch.where((how >= 0.3)[:, None], seen, mirror)
            color[self.faces[:, corner]] = better
            weight[self.faces[:, corner]] = torch.where(how >= 0.3, how, mirror_how * MIRRORED)
        default, inside = self._defaults(color, weight)
        weight = torch.where(inside, 0.0, weight)
        return _diffuse(color, weight, default, self.faces, self.parts)

    def _defaults(self, color: Tensor, weight: Tensor) -> tuple[Float[Tensor, "V 3"], Bool[Tensor, "V"]]:
        """Give each vertex the typical colour of its part, and mark those inside the mouth, where no colour spreads."""
        known = weight > 0.5
        vertex_part = torch.zeros(len(color), dtype=torch.long)
        vertex_part[self.faces.flatten()] = self.parts.repeat_interleave(3)
        skin = _median(color[known & (vertex_part == PARTS.index("skin"))], (0.7, 0.55, 0.47))
        hair = _median(self.reference.image[self.hair > 0.9], skin.tolist())
        light = (skin.mean() / SKIN_LUMA).clamp(0.25, 1.2)
        default = skin.repeat(len(color), 1)
        default[vertex_part == PARTS.index("scalp")] = hair
        bust = vertex_part == PARTS.index("bust")
        default[bust] = _median(color[known & bust], skin.tolist())
        for part, rgb in HIDDEN.items():
            default[vertex_part == PARTS.index(part)] = (torch.tensor(rgb) * light).clamp(0, 0.97)
        inside = torch.isin(vertex_part, torch.tensor([PARTS.index(part) for part in ("teeth", "tongue", "mouth")]))
        return default, inside


def _eroded(alpha: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Shrink a matte by about 1.5 % of the picture, softly, so that no rim pixel counts as the person."""
    radius = max(1, round(0.006 * max(alpha.shape)))
    shrunk = -max_pool2d(-alpha[None, None], 2 * radius + 1, 1, radius)
    return avg_pool2d(shrunk, 2 * radius + 1, 1, radius, count_include_pad=False)[0, 0].pow(2)


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _sample(image: Float[Tensor, "H W C"], pixels: Float[Tensor, "P 3"], mode: str = "bilinear") -> Float[Tensor, "P C"]:
    """Look pixel coordinates up in an image; zero outside."""
    size = torch.tensor([image.shape[1], image.shape[0]])
    grid = (pixels[:, :2] / size * 2 - 1)[None, None]
    return grid_sample(image.permute(2, 0, 1)[None], grid, mode=mode, align_corners=False)[0, :, 0].T


def _median(colors: Float[Tensor, "P 3"], otherwise: tuple[float, ...] | list[float]) -> Float[Tensor, "3"]:
    """Give the median colour, or another one when there are too few to tell."""
    return colors.median(0).values if len(colors) >= 20 else torch.tensor(otherwise)


def _diffuse(color: Tensor, weight: Tensor, default: Tensor, faces: Tensor, parts: Tensor) -> Float[Tensor, "V 3"]:
    """Fill colours in along mesh edges: known ones stay, others become the mean of their neighbours.

    Minimises the squared differences along edges (a hundred times weaker across parts), plus the known colours'
    weights, plus a breath of the default that decides where nothing is known.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import factorized

    count = len(color)
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).numpy()
    vertex_part = torch.zeros(count, dtype=torch.long)
    vertex_part[faces.flatten()] = parts.repeat_interleave(3)
    label = vertex_part.numpy()
    strength = np.where(label[ends[:, 0]] == label[ends[:, 1]], 1.0, 0.01)
    graph = coo_matrix((strength, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    graph = graph + graph.T
    laplacian = diags(np.asarray(graph.sum(1)).ravel()) - graph
    known, breath = weight.double().numpy() * 20, np.full(count, 2e-3)
    solve = factorized((laplacian + diags(known + breath)).tocsc())
    right = known[:, None] * color.double().numpy() + breath[:, None] * default.double().numpy()
    return torch.from_numpy(np.stack([solve(right[:, channel]) for channel in range(3)], 1)).float().clamp(0, 1)
