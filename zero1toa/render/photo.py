"""What one photo knows about a surface: the colour of every point of the mesh, and how far to trust it.

A point that the photo sees head-on has the colour of its pixel. One that it does not see borrows from its mirror
twin on the other side of the face; the back of a head of hair mirrors the hair in front (see `hair`); what is left
is filled in along the surface, from vertex to vertex. Inpainting on the mesh itself instead of in a texture has no
seams and needs no unwrapping.
"""

from __future__ import annotations

from dataclasses import fields
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, normalize

from zero1toa.geometry.camera import center, project
from zero1toa.geometry.mesh import face_areas, of_parts, vertex_normals
from zero1toa.render.base import PARALLEL
from zero1toa.render.eyes import Eyes
from zero1toa.render.hair import NO_HAIR, SKULL_BEHIND_EYES, HairBand, find_hair_band
from zero1toa.render.mesh import Fragments, rasterize_mesh
from zero1toa.render.shading import estimate_shading, relighting
from zero1toa.render.teeth import Teeth, in_mouth, whiteness
from zero1toa.types import PARTS, Reference

# How far the surface may lie behind what the photo sees there and still count as seen, in metres: half a millimetre
# where skin folds over skin, as at the eyelids and in the mouth, and more where only the fit is in doubt.
SEEN_WITHIN, SEEN_WITHIN_FOLDS = 0.005, 0.0005
# Cosines between surface normal and view at which a texel starts to count, and counts in full.
GRAZING, HEAD_ON = 0.15, 0.45
# A mirrored colour is lit from the wrong side, hair from before the outline is hair like that behind; both beat a fill.
MIRRORED, COMBED = 0.6, 0.35
# By how many times a lid's area must grow before its pixels count less, and no more.
DRAWN_OUT = (1.5, 3.0)
# How far from lids skin is like theirs, in metres, and how bright beside its median what is no brow and no crease of it.
AROUND_EYES, BARE = 0.005, (0.8, 1.0)
# How far behind the eyes hair may begin, and how far below them it ends on the skin of the model, in metres.
BEHIND_TEMPLES, BELOW_EARS = (0.02, 0.04), (0.05, 0.08)
# Lips are no darker than this, by the skin. An opening is a slit if no pixel of it is farther from the lips than the second
# number, by the face's height, or than one pixel; a wrong fit may part lips as far as the third.
DARK, SLIT, PARTED = 0.3, 0.01, 0.03
# Colours of what a closed mouth hides, in the light of a face as bright as `SKIN_LUMA`. Teeth in daylight are about L* 73,
# a* 2, b* 17 (Joiner 2004), which is (0.76, 0.69, 0.58); they are wet, so they shine, and lips and gums make them redder.
HIDDEN = {"teeth": (0.82, 0.73, 0.64), "tongue": (0.76, 0.50, 0.49), "mouth": (0.48, 0.20, 0.18), "eyes": (0.82, 0.80, 0.79)}
# MediaPipe's landmarks in the middle of the left and of the right iris.
PUPILS = (473, 468)
USUAL_SKIN, SKIN_LUMA = (0.74, 0.60, 0.52), 0.62


class PhotoSurface:
    """Colours of the surface of a reference portrait's mesh; see the module's docstring."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.faces = reference.surface.faces
        self.parts = reference.surface.parts
        self.normals = vertex_normals(reference.vertices, self.faces)
        self.fragments = rasterize_mesh(reference.vertices[None], self.faces, reference.camera)
        # Pixel, depth and cosine to the view of every vertex. Between vertices they are taken as linear: triangles are
        # a few millimetres wide and half a metre away, where perspective bends nothing.
        toward = normalize(center(reference.camera) - reference.vertices, dim=-1)
        cosine = (self.normals * toward).sum(-1, keepdim=True)
        self.vertex_views = torch.cat([project(reference.vertices[None], reference.camera)[0], cosine], -1)
        self.fragments = self._with_lips_closed()
        self.matte = _eroded(reference.alpha)
        folds = of_parts(self.parts, "eyelids", "lips", "mouth", "teeth", "tongue", "eyes")
        self.tolerance = torch.where(folds, SEEN_WITHIN_FOLDS, SEEN_WITHIN)
        self.vertex_part = _vertex_parts(self.faces, self.parts, len(reference.vertices))
        self.teeth = Teeth(reference.rest_vertices, self.faces[self.parts == PARTS.index("teeth")])
        self.scalp = self.parts == PARTS.index("scalp")
        self.hidden = _inside(self.parts)
        self.unlike_skin = self._pixels_unlike_skin()
        self.hair = self._hair_pixels()
        self.band = self._hair_band()
        self.hairy = self._hairy_vertices()
        # Colour and matte side by side, so that a point is looked up once.
        self.lookup = torch.cat([reference.image, self.matte[..., None]], -1)
        self.fill, self.relighting, sclera = self._fill_vertices()
        self.eyes = self._eyes(sclera)

    def colors(
        self, face: Int[Tensor, "P"], barycentric: Float[Tensor, "P 3"], vertices: Float[Tensor, "V 3"] | None = None
    ) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P"]]:
        """Give colours in [0, 1] and confidences in [0, 1] of surface points: 1 seen head-on, near 0 filled in.

        With the `vertices` of another pose, lids that are closed in it are painted as skin where the photo's pixels of
        the raised lid would be drawn out into streaks.
        """
        from zero1toa.render.lookup import as_floats, look_up

        mirror, vertices_then = self.reference.surface.mirror.cpu().numpy(), as_floats(self.reference.vertices)
        stretched = torch.zeros(len(self.hairy)) if vertices is None else self._stretched(vertices)
        color, trust = torch.empty(len(face), 3), torch.empty(len(face))
        with PARALLEL:
            look_up(
                face.cpu().numpy(), as_floats(barycentric), self.faces.cpu().numpy(), mirror, as_floats(self.tolerance),
                self.scalp.numpy(), as_floats(self.hairy), self.hidden.numpy(), as_floats(self.vertex_views),
                as_floats(self.fill), as_floats(self.lookup), as_floats(self.fragments.depth[0]), (GRAZING, HEAD_ON),
                (MIRRORED, COMBED), as_floats(stretched), vertices_then, (self.band or NO_HAIR).as_arrays(),
                as_floats(self.relighting), color.numpy(), trust.numpy(),
            )  # fmt: skip
        return self._with_forms(color, trust, face.cpu(), barycentric.cpu()).to(barycentric), trust.to(barycentric)

    def _with_forms(self, color: Tensor, trust: Tensor, face: Tensor, barycentric: Tensor) -> Float[Tensor, "P 3"]:
        """Tell the teeth apart that the photo does not see, and round off eyes that it sees in part."""
        for part in ("teeth", "eyes"):
            own = (self.parts[face] == PARTS.index(part)).nonzero()[:, 0]
            corners, known = self.faces[face[own]], trust[own, None].clamp(0, 1)
            points = torch.einsum("pc,pcd->pd", barycentric[own], self.reference.rest_vertices[corners])
            if part == "teeth":
                guess = color[own] * self.teeth.light(points, corners[:, 0])
            else:
                guess = color[own] if self.eyes is None else self.eyes.colors(points)
            color = color.index_copy(0, own, torch.lerp(guess, color[own], known))
        return color

    def _eyes(self, sclera: Float[Tensor, "3"]) -> Eyes | None:
        """Learn from the photo what its eyes look like all round; None if it shows none."""
        seen = ((self.parts_seen() == PARTS.index("eyes")) & (self.matte > 0.9)).nonzero()
        if not len(seen):
            return None
        row, column = seen.T
        corners = self.faces[self.fragments.face[0, row, column].long()]
        points = torch.einsum("pc,pcd->pd", self.fragments.barycentric[0, row, column], self.reference.rest_vertices[corners])
        eyes = self._of_part("eyes").nonzero()[:, 0]
        axis = self.reference.rest_vertices[eyes, 0].mean()
        # Where the pupils of the mesh are seen, or as near as lids let them be; a hidden one mirrors the other.
        left = points[:, 0] > axis
        pupils = torch.empty(2, 3)
        for index, own in enumerate((left, ~left)):
            there = own if own.any() else ~own
            middle = self.reference.landmarks[PUPILS[index if own.any() else 1 - index], :2].flip(-1)
            pupils[index] = points[there][(seen[there] + 0.5 - middle).norm(dim=-1).argmin()]
            if not own.any():
                pupils[index, 0] = 2 * axis - pupils[index, 0]
        return Eyes(self.reference.rest_vertices, eyes, pupils, points, self.reference.image[row, column], sclera)

    def lids_growth(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "F"]:
        """Say by how many times the area of each of the lids' triangles grows from the photo to a pose; 1 for all others."""
        lids = self.parts == PARTS.index("eyelids")
        then = face_areas(self.reference.vertices, self.faces[lids]).clamp_min(1e-12)
        growth = torch.ones(len(self.faces))
        growth[lids] = face_areas(vertices, self.faces[lids]) / then
        return growth

    def _stretched(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "V"]:
        """Say from 0 to 1 how far lids are drawn out in a pose, against the photo."""
        growth = self.lids_growth(vertices).repeat_interleave(3)
        return ramp(torch.zeros(len(vertices)).scatter_reduce(0, self.faces.flatten(), growth, "amax"), *DRAWN_OUT)

    def _seen(
        self, corners: Int[Tensor, "P 3"], barycentric: Float[Tensor, "P 3"], tolerance: Float[Tensor, "P"]
    ) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P"]]:
        """Look surface points up in the photo; the weight is 0 where it does not see them and 1 where it does well."""
        seen_at = torch.einsum("pc,pcd->pd", barycentric, self.vertex_views[corners])
        pixels, facing = seen_at[:, :3], ramp(seen_at[:, 3], GRAZING, HEAD_ON)
        depth = self._depth_at(pixels)
        visible = (pixels[:, 2] < depth + tolerance) & (depth > 0)
        looked_up = _sample(self.lookup, pixels)
        return looked_up[:, :3], facing * visible * looked_up[:, 3]

    def _depth_at(self, pixels: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Look up how deep the nearest pixel's surface lies; 0 where there is none."""
        height, width = self.matte.shape
        x, y = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return self.fragments.depth[0][y.clamp(0, height - 1), x.clamp(0, width - 1)] * inside

    def parts_seen(self) -> Int[Tensor, "H W"]:
        """Give the part that each pixel shows; -1 off the mesh."""
        face = self.fragments.face[0].long()
        return torch.where(face >= 0, self.parts[face.clamp_min(0)], -1)

    def _teeth_that_are_lips(self) -> tuple[Bool[Tensor, "H W"], Int[Tensor, "2 H W"]]:
        """Mark pixels where the mesh has teeth and the photo lips; comes with each pixel's nearest pixel of the mesh's lips.

        A slit is a fit that has parted closed lips. In a wider opening it is what is redder than halfway from skin to lips;
        what is merely dark may well be teeth in shadow.
        """
        from scipy.ndimage import distance_transform_edt

        part, image = self.parts_seen(), self.reference.image
        teeth, lips = part == PARTS.index("teeth"), part == PARTS.index("lips")
        if not (teeth.any() and lips.any()):
            return torch.zeros_like(teeth), torch.zeros(2, *teeth.shape, dtype=torch.long)
        gap, nearest = cast("tuple[np.ndarray, np.ndarray]", distance_transform_edt(~lips.numpy(), return_indices=True))
        gap, (top, chin) = torch.from_numpy(gap), self.face_rows()
        skin_color, lip_color = (_median(image[pixels], USUAL_SKIN) for pixels in (part == PARTS.index("skin"), lips))
        red = whiteness(image) < (whiteness(skin_color) + whiteness(lip_color)) / 2
        like_lips = (red & (image.mean(-1) > DARK * skin_color.mean())) | (gap[teeth].max() < max(SLIT * (chin - top), 1.5))
        return teeth & like_lips & (gap < PARTED * (chin - top)), torch.from_numpy(nearest).long()

    def _with_lips_closed(self) -> Fragments:
        """Draw the mesh with lips where it has teeth and the photo lips.

        Otherwise the line between closed lips would be drawn on the teeth, and stay there when the mouth opens.
        """
        closed, nearest = self._teeth_that_are_lips()
        row, column = nearest[:, closed]
        drawn = Fragments(*(getattr(self.fragments, entry.name).clone() for entry in fields(Fragments)))
        for pictures in (drawn.face, drawn.barycentric, drawn.depth):
            pictures[0, closed] = pictures[0, row, column]
        return drawn

    def _pixels_unlike_skin(self) -> Float[Tensor, "H W"] | None:
        """Mark what has the colours of the outline above the brows, hair mostly, and not those of the cheeks.

        None if these do not differ, as for bald people, or show too little.
        """
        part = self.parts_seen()
        top, chin = self.face_rows()
        rows, columns = torch.meshgrid(*(torch.arange(length) for length in part.shape), indexing="ij")
        beside = (columns - self.vertex_views[self._of_part("lips"), 0].mean()).abs() / (chin - top)
        brows = (2 * top + chin) / 3
        from_rim = _distance_inside(self.reference.alpha) / (chin - top)
        above = self.reference.image[(from_rim > 0.02) & (from_rim < 0.1) & (rows < brows)]
        skin = part == PARTS.index("skin")
        cheeks = self.reference.image[skin & (beside < 0.25) & (rows > (top + chin) / 2) & (rows < chin)]
        return _more_like(self.reference.image, above, cheeks) if min(len(above), len(cheeks)) >= 50 else None

    def _hair_pixels(self) -> Float[Tensor, "H W"]:
        """Mark where the photo shows hair (or a hat) above the chin.

        The head model's hairline is nobody's own, so colour decides; where it cannot, the model's scalp and what stands
        off the mesh.
        """
        part = self.parts_seen()
        may_be = (part < 0) | (part == PARTS.index("scalp"))
        above = torch.arange(len(part))[:, None] < self.face_rows()[1]
        if self.unlike_skin is None:
            return self.matte * (may_be & above).float()
        return self.matte * ((may_be | (part == PARTS.index("skin"))) & above).float() * self.unlike_skin

    def _hair_band(self) -> HairBand | None:
        """Measure the band of hair around the face."""
        top, chin = self.face_rows()
        eyes = self._of_part("eyes")
        viewmat = self.reference.camera.viewmats[0, :3, :3]
        between = self.reference.vertices[eyes].mean(0)
        return find_hair_band(
            self.reference.image, self.reference.alpha, self.hair,
            middle=torch.stack([self.vertex_views[eyes, 0].mean(), torch.tensor((top + chin) / 2)]),
            face_height=chin - top,
            centre=between + SKULL_BEHIND_EYES * viewmat[2],
            axes=viewmat * torch.tensor([[1.0], [-1.0], [-1.0]]),
        )  # fmt: skip

    def _hairy_vertices(self) -> Float[Tensor, "V"]:
        """Say how far vertices may be hair: the scalp is, and so are the sides of the head behind the temples."""
        if self.band is None:
            return torch.zeros(len(self.reference.vertices))
        rest, eyes = self.reference.rest_vertices, self._of_part("eyes")
        behind = rest[eyes, 2].mean() - rest[:, 2]
        below = rest[eyes, 1].mean() - rest[:, 1]
        sides = ramp(behind, *BEHIND_TEMPLES) * (1 - ramp(below, *BELOW_EARS)) * self._of_part("skin")
        return torch.maximum(sides, self._of_part("scalp").float())

    def middle(self, *parts: str) -> Float[Tensor, "3"]:
        """Give the middle of some parts of the mesh, in metres."""
        return self.reference.vertices[self.faces[of_parts(self.parts, *parts)]].mean((0, 1))

    def face_rows(self) -> tuple[float, float]:
        """Give the pixel rows of the forehead's top and the chin's bottom, by the proportions of faces."""
        rest = self.reference.rest_vertices
        eyes, lips = (rest[self._of_part(part)].mean(0) for part in ("eyes", "lips"))
        # Leonardo's thirds: from the eyes up to the hairline and from the lips down to the chin, in eye-to-lip lengths.
        length = eyes[1] - lips[1]
        front = self._of_part("skin") & (rest[:, 2] > eyes[2] - 0.03)
        front &= (rest[:, 1] < eyes[1] + 1.1 * length) & (rest[:, 1] > lips[1] - 0.8 * length)
        rows = self.vertex_views[front, 1]
        return rows.min().item(), rows.max().item()

    def _fill_vertices(self) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "V 3"], Float[Tensor, "3"]]:
        """Colour every vertex: known ones as seen, the others smoothly from their neighbours along the surface.

        Comes with what the colours of mirror twins have to be multiplied by, and the colour of the white of an eye.
        """
        count = len(self.reference.vertices)
        # Where parts meet, the strictest decides.
        tolerance = torch.full((count,), SEEN_WITHIN)
        tolerance.scatter_reduce_(0, self.faces.flatten(), self.tolerance.repeat_interleave(3), "amin")
        itself, own_weight = torch.arange(count)[:, None].expand(-1, 3), torch.tensor([1.0, 0.0, 0.0]).expand(count, 3)
        seen, how = self._seen(itself, own_weight, tolerance)
        mirror, mirror_how = self._seen(self.reference.surface.mirror[itself], own_weight, tolerance)
        shading = self._shading(seen, how)
        gain = relighting(shading, shading[self.reference.surface.mirror])
        color = torch.where((how >= 0.3)[:, None], seen, (mirror * gain).clamp(0, 1))
        weight = torch.where(how >= 0.3, how, mirror_how * MIRRORED)
        default, inside = self._defaults(color, weight)
        weight = torch.where(inside, 0.0, weight * self._bare_around_eyes(color, weight))
        # Lids are skin, and so is a neck: what is seen of it may be no more than a collar.
        group = torch.where(of_parts(self.vertex_part, "neck", "eyelids"), PARTS.index("skin"), self.vertex_part)
        sclera = default[self._of_part("eyes")].mean(0) if self._of_part("eyes").any() else torch.ones(3)
        return _diffuse(color, weight, default, inside, self.faces, group), gain, sclera

    def _bare_around_eyes(self, color: Float[Tensor, "V 3"], weight: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """Say from 0 to 1 whether colours may spread over the skin that hides under a raised lid; 1 far from the eyes.

        It is as bright as most of the skin around the eye, unlike lashes, creases and brows.
        """
        rest, lids = self.reference.rest_vertices, self._of_part("eyelids")
        skin = lids | (self.vertex_part == PARTS.index("skin"))
        bare = torch.ones(len(rest))
        if not lids.any():
            return bare
        for own in (rest[:, 0] > rest[lids, 0].mean(), rest[:, 0] <= rest[lids, 0].mean()):
            near = skin & own & (weight > 0)
            near[near.clone()] = torch.cdist(rest[near], rest[lids & own]).amin(1) < AROUND_EYES
            light = color[near].mean(-1)
            if len(light):
                bare[near] = ramp(light / light.median().clamp_min(1e-3), *BARE)
        return bare

    def _shading(self, seen: Float[Tensor, "V 3"], how: Float[Tensor, "V"]) -> Float[Tensor, "V 3"]:
        """Tell the light on every vertex from the skin that the photo sees `how` well."""
        areas = face_areas(self.reference.vertices, self.faces).repeat_interleave(3)
        weights = (
            how * (self.vertex_part == PARTS.index("skin")) * torch.zeros_like(how).index_add(0, self.faces.flatten(), areas)
        )
        if self.unlike_skin is not None:
            weights = weights * (1 - _sample(self.unlike_skin[..., None], self.vertex_views)[:, 0])
        return estimate_shading(seen, weights, self.normals)

    def _of_part(self, part: str) -> Bool[Tensor, "V"]:
        """Mark the vertices of a part's triangles."""
        marked = torch.zeros(len(self.reference.vertices), dtype=torch.bool)
        marked[self.faces[self.parts == PARTS.index(part)].unique()] = True
        return marked

    def _defaults(self, color: Tensor, weight: Tensor) -> tuple[Float[Tensor, "V 3"], Bool[Tensor, "V"]]:
        """Give each vertex the typical colour of its part, and mark those inside the mouth, where no colour spreads."""
        known = weight > 0.5
        vertex_part = self.vertex_part
        skin = _median(color[known & (vertex_part == PARTS.index("skin"))], (0.7, 0.55, 0.47))
        hair = _median(self.reference.image[self.hair > 0.9], skin.tolist())
        # Half of what sets this skin's tint apart is the light's, and falls on teeth as well.
        tint = (skin / skin.mean().clamp_min(1e-3) * SKIN_LUMA / torch.tensor(USUAL_SKIN)).sqrt()
        light = (skin.mean() / SKIN_LUMA).clamp(0.25, 1.2) * tint
        default = skin.repeat(len(color), 1)
        default[vertex_part == PARTS.index("scalp")] = hair
        bust = vertex_part == PARTS.index("bust")
        default[bust] = _median(color[known & bust], skin.tolist())
        for part, rgb in HIDDEN.items():
            default[vertex_part == PARTS.index(part)] = (torch.tensor(rgb) * light).clamp(0, 0.97)
        # Light falls into the mouth through the lips: some centimetres behind them it is nearly dark.
        depth = self.reference.rest_vertices[vertex_part == PARTS.index("lips"), 2].max() - self.reference.rest_vertices[:, 2]
        inside = _inside(vertex_part)
        default[inside] *= in_mouth((1.15 - depth[inside] / 0.09).clamp(0.3, 1.0))
        return default, inside


def _vertex_parts(faces: Int[Tensor, "F 3"], parts: Int[Tensor, "F"], count: int) -> Int[Tensor, "V"]:
    """Give the part of every vertex, in whatever order threads come by.

    Where parts meet it is the last of them in `PARTS`, but the inside of the mouth only where there is nothing else: its
    colours must not reach the lips.
    """
    rank = torch.arange(len(PARTS))
    rank[_inside(rank)] -= len(PARTS)
    vertex_rank = torch.full((count,), -2 * len(PARTS))
    vertex_rank = vertex_rank.scatter_reduce(0, faces.flatten(), rank[parts.long()].repeat_interleave(3), "amax")
    return vertex_rank % len(PARTS)


def _inside(parts: Int[Tensor, "*S"]) -> Bool[Tensor, "*S"]:
    """Mark what a closed mouth hides."""
    return of_parts(parts, "teeth", "tongue", "mouth")


def _more_like(
    image: Float[Tensor, "H W 3"], ours: Float[Tensor, "P 3"], theirs: Float[Tensor, "Q 3"]
) -> Float[Tensor, "H W"] | None:
    """Say from 0 to 1 whether pixels are more like the colours of one group than of another; None if these look alike.

    Fisher's discriminant: the groups' means under their pooled covariance.
    """
    spread = (torch.cov(ours.T) + torch.cov(theirs.T)) / 2 + 1e-3 * torch.eye(3)
    apart = ours.mean(0) - theirs.mean(0)
    across = torch.linalg.solve(spread, apart)
    if (apart * across).sum() < 1.5:
        return None
    position = ((image - theirs.mean(0)) @ across) / (apart * across).sum()
    return ramp(position, 0.3, 0.5)


def _distance_inside(alpha: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Give how many pixels every pixel of the person is from the outline; the picture's own border is none."""
    from scipy.ndimage import distance_transform_edt

    return torch.from_numpy(distance_transform_edt(alpha.numpy() > 0.5)).float()


def _eroded(alpha: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Shrink a matte by about 1.5 % of the picture, softly, so that no rim pixel counts as the person."""
    radius = max(1, round(0.006 * max(alpha.shape)))
    shrunk = -max_pool2d(-alpha[None, None], 2 * radius + 1, 1, radius)
    return avg_pool2d(shrunk, 2 * radius + 1, 1, radius, count_include_pad=False)[0, 0].pow(2)


def ramp(value: Tensor, low: float, high: float) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _sample(image: Float[Tensor, "H W C"], pixels: Float[Tensor, "P D"]) -> Float[Tensor, "P C"]:
    """Look pixel coordinates up in an image; zero outside."""
    size = torch.tensor([image.shape[1], image.shape[0]])
    grid = (pixels[:, :2] / size * 2 - 1)[None, None]
    return grid_sample(image.permute(2, 0, 1)[None], grid, align_corners=False)[0, :, 0].T


def _median(colors: Float[Tensor, "P 3"], otherwise: tuple[float, ...] | list[float]) -> Float[Tensor, "3"]:
    """Give the median colour, or another one when there are too few to tell."""
    return colors.median(0).values if len(colors) >= 20 else torch.tensor(otherwise)


def _diffuse(
    color: Tensor, weight: Tensor, default: Tensor, inside: Tensor, faces: Tensor, group: Tensor
) -> Float[Tensor, "V 3"]:
    """Fill colours in along mesh edges: known ones stay, others become the mean of their neighbours.

    Minimises the squared differences along edges (a hundred times weaker between groups), plus the known colours'
    weights, plus a breath of the default that decides where nothing is known, and alone inside the mouth.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import factorized

    count = len(color)
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).numpy()
    label = group.numpy()
    strength = np.where(label[ends[:, 0]] == label[ends[:, 1]], 1.0, 0.01)
    graph = coo_matrix((strength, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    graph = graph + graph.T
    laplacian = diags(np.asarray(graph.sum(1)).ravel()) - graph
    known, breath = weight.double().numpy() * 20, np.where(inside.numpy(), 100.0, 2e-3)
    solve = factorized((laplacian + diags(known + breath)).tocsc())
    right = known[:, None] * color.double().numpy() + breath[:, None] * default.double().numpy()
    return torch.from_numpy(np.stack([solve(right[:, channel]) for channel in range(3)], 1)).float().clamp(0, 1)
