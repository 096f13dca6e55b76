"""The first avatar: splats laid onto the fitted mesh and into the photo's hair, coloured by what the photo knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn.functional import normalize

from zero1toa.avatar.hair import HairConfig, hair_layers
from zero1toa.avatar.layer import Layer, discs
from zero1toa.avatar.rigged import Avatar
from zero1toa.geometry.camera import center, project, unproject
from zero1toa.geometry.mesh import face_areas, face_normals, of_parts, on_surface
from zero1toa.head.base import HeadModel
from zero1toa.render.photo import PhotoSurface
from zero1toa.types import PARTS, HeadState, Identity


@dataclass(frozen=True, slots=True)
class SeedConfig:
    """How finely the first avatar is laid."""

    splats: int = field(default=75_000, metadata={"help": "splats to start with, about", "range": (2_000, 200_000)})
    hair: HairConfig = field(default_factory=HairConfig)


# Distance between neighbouring splats on each part of the resting surface, in metres, for a budget of 75,000. Lids, lips
# and teeth are small and looked at; the bust is large and seldom seen from behind.
SPACING = {
    "skin": 0.0024, "scalp": 0.003, "lips": 0.0008, "eyelids": 0.0012, "eyes": 0.0013, "teeth": 0.0009, "tongue": 0.003,
    "mouth": 0.003, "neck": 0.0036, "bust": 0.008,
}  # fmt: skip

# What people look at gets a finer grid of pixels; and where lips meet, a coarse one would hang over an opening mouth as a rim.
LOOKED_AT, FINER = ("lips", "eyelids", "eyes"), 2.0
# By how many times a triangle of a lid grows at least when eyes shut if it lies in a fold now, and at most if it does not.
FOLDED, UNFOLDED = 2.5, 2.0
# How near samples may be to each other, in spacings: so near that none of 8 candidates leaves a gap.
CLOSEST = 0.64
# How far behind the lips the lining of the mouth begins, as a share of how far behind them it may be coarse, in metres.
LINED_FROM, BACK_OF_LIPS = 0.5, 0.012
# How far heads, and necks and chests, are drawn in at most to lie within the person's outline, and in how many rounds.
NARROWEST_HEAD, NARROWEST_BODY, ROUNDS = 0.82, 0.5, 8


def seed_avatar(
    photo: PhotoSurface,
    head: HeadModel,
    identity: Identity,
    state: HeadState,
    config: SeedConfig,
    generator: torch.Generator,
) -> Avatar:
    """Lay splats where the photo's pixels see the mesh, over the rest of the mesh, and through the hair off the mesh.

    A quarter of the budget follows the pixels, a half lines the surface and the rest fills the hair, a little more or less
    by how the photo is framed. A surface sample that would show outside the person's outline in the photo is left out,
    and so is every background pixel.
    """
    matte = photo.reference.alpha
    stride = float(np.sqrt((matte > 0.5).sum().item() / (config.splats * 0.27)))
    coarseness = (75_000 / config.splats) ** 0.5
    pixels = _pixel_grid(matte, stride)
    shut = head.vertices(identity, _with_eyes_shut(state[:1], head.expression_names))[0]
    growth, looked_at = photo.lids_growth(shut), of_parts(photo.parts_seen(), *LOOKED_AT)
    layers = [
        _seen_splats(photo, _inside(~looked_at, pixels), stride, growth),
        _seen_splats(photo, _inside(looked_at, _pixel_grid(matte, stride / FINER)), stride / FINER, growth),
        _surface_splats(photo, coarseness, shut, generator),
        *hair_layers(photo, pixels, stride, coarseness, config.hair, generator),
    ]
    splats = Layer(*(torch.cat([getattr(layer, name) for layer in layers]) for name in Layer.__slots__))
    return Avatar.bind(
        head, identity, state, face=splats.face, means=splats.means, quats=splats.quats, scales=splats.scales,
        opacities=splats.opacities, colors=splats.colors,
    )  # fmt: skip


def _pixel_grid(matte: Float[Tensor, "H W"], stride: float) -> Float[Tensor, "P 2"]:
    """Give pixel positions `stride` apart, every other row shifted by half, where the matte is the person."""
    height, width = matte.shape
    rows = torch.arange(stride / 2, height, stride * 0.866)
    columns = torch.arange(stride / 2, width, stride)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    x = x + (torch.arange(len(rows)) % 2)[:, None] * stride / 2
    inside = (x < width) & (matte[y.long(), x.long().clamp_max(width - 1)] > 0.4)
    return torch.stack([x[inside], y[inside]], -1)


def _inside(mask: Bool[Tensor, "H W"], pixels: Float[Tensor, "P 2"]) -> Float[Tensor, "Q 2"]:
    """Give those pixel positions that lie within a mask."""
    x, y = pixels.long().unbind(-1)
    return pixels[mask[y, x]]


def _with_eyes_shut(state: HeadState, names: Sequence[str]) -> HeadState:
    """Give the photo's pose with both eyes shut."""
    expression = state.expression.clone()
    for index, name in enumerate(names):
        if name.startswith("eye"):
            expression[:, index] = float(name.startswith("eyeBlink"))
    return replace(state, expression=expression)


def _seen_splats(photo: PhotoSurface, pixels: Float[Tensor, "P 2"], stride: float, growth: Float[Tensor, "F"]) -> Layer:
    """Lay one splat on the mesh under every pixel of the grid, as large as the grid's spacing seen from the camera.

    `growth` says by how many times triangles grow when eyes shut: see `_off_drawn_out_lids`.
    """
    x, y = pixels.long().unbind(-1)
    face = photo.fragments.face[0, y, x].long()
    on_mesh = face >= 0
    x, y, face, pixels = x[on_mesh], y[on_mesh], face[on_mesh], pixels[on_mesh]
    barycentric, depth = photo.fragments.barycentric[0, y, x], photo.fragments.depth[0, y, x]
    means = unproject(torch.cat([pixels, depth[:, None]], -1)[None], photo.reference.camera)[0]
    spacing = stride * depth / photo.reference.camera.intrinsics[0, 0, 0]
    normals = normalize((photo.normals[photo.faces[face]] * barycentric[..., None]).sum(-2), dim=-1)
    view = normalize(center(photo.reference.camera) - means, dim=-1)
    # At a grazing angle the grid tears when the head turns; the even lining of the surface does better there.
    keep = (normals * view).sum(-1) > 0.35
    color, alpha = photo.reference.image[y, x], photo.reference.alpha[y, x].clamp(0.05, 0.95)
    means, face, spacing, normals, color, alpha, view = (t[keep] for t in (means, face, spacing, normals, color, alpha, view))
    face = _off_drawn_out_lids(photo, face, means, growth)
    return discs(photo, face, means, spacing * 0.55, color, alpha, normals, view=view)


def _off_drawn_out_lids(
    photo: PhotoSurface, face: Int[Tensor, "N"], means: Float[Tensor, "N 3"], growth: Float[Tensor, "F"]
) -> Int[Tensor, "N"]:
    """Bind what lies on a raised lid's fold to the nearest triangle that keeps its size when the lid falls.

    As in life, the crease stays below the brow and the lashes' strip goes down with them. Drawn out with the mesh, a
    crease of a millimetre would be a shadow over the whole shut eye; this way it uncovers the lining, which is skin.
    """
    folded = growth[face] > FOLDED
    if not folded.any():
        return face
    calm = (of_parts(photo.parts, "eyelids", "skin") & (growth < UNFOLDED)).nonzero()[:, 0]
    _, nearest = KDTree(photo.reference.vertices[photo.faces[calm]].mean(1).numpy()).query(means[folded].numpy())
    return face.masked_scatter(folded, calm[torch.from_numpy(nearest)])


def _surface_splats(photo: PhotoSurface, coarseness: float, shut: Float[Tensor, "V 3"], generator: torch.Generator) -> Layer:
    """Line the whole surface evenly, just under the skin: sides, back, closed mouth, folded eyelids.

    Lids are lined with what they show in `shut`, the mesh with shut eyes.
    """
    vertices, faces = photo.reference.vertices, photo.faces
    face, barycentric, spacing = _even_samples(photo, coarseness, generator)
    color, confidence = photo.colors(face, barycentric, shut)
    means, inside = _into_outline(photo, on_surface(vertices, faces, face, barycentric), photo.parts[face])
    face, barycentric, spacing = face[inside], barycentric[inside], spacing[inside]
    color, confidence, means = color[inside], confidence[inside], means[inside]
    # An eyelid folded open is smaller now than at rest; its splats must cover it when it closes, so they are sized by
    # the resting triangle through the triangle's own frame.
    posed, rest = face_areas(vertices, faces)[face], face_areas(photo.reference.rest_vertices, faces)[face]
    spacing = spacing * (posed / rest.clamp_min(1e-12)).sqrt().clamp(0.05, 1.0)
    normals = normalize((photo.normals[faces[face]] * barycentric[..., None]).sum(-2), dim=-1)
    # Where the photo's own pixels lie on top, the lining stays a splat's width below them, or it would veil them on
    # slopes; the lining of the mouth stays clear of the cheeks from inside.
    lift = torch.where(
        photo.parts[face] == PARTS.index("mouth"), 0.002 * _from_lips(photo)[face], -0.0003 - 0.0015 * confidence
    )
    opacity = torch.full((len(face),), 0.95)
    return discs(photo, face, means + lift[:, None] * normals, spacing * 0.75, color, opacity, normals)


def _from_lips(photo: PhotoSurface) -> Float[Tensor, "F"]:
    """Say from 0 to 1 how far triangles of the mouth's lining are from the lips; 1 for all others.

    The mesh's lining begins as the back of the lips and is drawn out when they part: splats there grow with it and narrow
    the opening by some millimetres. Coarse ones farther back, or such as stand off, hang into it like a curtain.
    """
    rest, mouth = photo.reference.rest_vertices, photo.parts == PARTS.index("mouth")
    lips = rest[photo.faces[photo.parts == PARTS.index("lips")].unique()]
    gap = torch.ones(len(photo.faces))
    gap[mouth] = (torch.cdist(rest[photo.faces[mouth]].mean(1), lips).amin(1) / BACK_OF_LIPS).clamp_max(1)
    return gap


def _even_samples(
    photo: PhotoSurface, coarseness: float, generator: torch.Generator
) -> tuple[Int[Tensor, "P"], Float[Tensor, "P 3"], Float[Tensor, "P"]]:
    """Sample triangles, barycentric weights and spacings: many at random, of which none too near to another is kept."""
    rest, faces, parts = photo.reference.rest_vertices, photo.faces, photo.parts
    wanted = torch.tensor([SPACING[part] for part in PARTS])[parts] * coarseness
    gap = _from_lips(photo)
    wanted = torch.lerp(wanted.clamp_max(SPACING["lips"] * coarseness), wanted, gap)
    density = face_areas(rest, faces) / wanted**2 * (gap > LINED_FROM)
    count = int(8 * density.sum())
    face = torch.multinomial(density, count, replacement=True, generator=generator)
    corner = torch.rand(count, 2, generator=generator)
    root = corner[:, :1].sqrt()
    barycentric = torch.cat([1 - root, root * (1 - corner[:, 1:]), root * corner[:, 1:]], -1)
    places = on_surface(rest, faces, face, barycentric)
    # Which way the surface faces keeps apart the two sides of what is thin, such as an ear or a lid.
    apart = [places / wanted[face, None], face_normals(rest, faces)[face], 10.0 * parts[face, None]]
    kept = torch.from_numpy(_with_distance(torch.cat(apart, -1).numpy(), CLOSEST))
    return face[kept], barycentric[kept], wanted[face][kept]


def _with_distance(points: Float[np.ndarray, "N D"], distance: float) -> Int[np.ndarray, "P"]:
    """Pick points, the first ones first, of which no two are nearer than a distance: a Poisson disk (Cook 1986).

    One of each cell of a grid would draw the grid's cuts through the surface as rings.
    """
    earlier, later = np.sort(KDTree(points).query_pairs(distance, output_type="ndarray"), 1).T
    order = np.argsort(later, kind="stable")
    rivals = np.split(earlier[order], np.searchsorted(later[order], np.arange(1, len(points))))
    kept = np.zeros(len(points), bool)
    for index, before in enumerate(rivals):
        kept[index] = not kept[before].any()
    return np.flatnonzero(kept)


def _into_outline(
    photo: PhotoSurface, points: Float[Tensor, "N 3"], parts: Int[Tensor, "N"]
) -> tuple[Float[Tensor, "N 3"], Bool[Tensor, "N"]]:
    """Draw points that the photo shows outside the person a way in; say which are inside the outline then.

    A point counts whether or not something hides it in the photo: on the far side of the head it would show as a rim.
    Heads are drawn a little towards their middle, necks and chests, which are as wide on nobody as on the mesh, towards the
    neck's axis. Left out instead, shoulders beyond the picture's border would be holes from the side.
    """
    camera, alpha = photo.reference.camera, photo.reference.alpha
    height, width = alpha.shape
    body = of_parts(parts, "neck", "bust")[:, None]
    base, vertical = photo.middle("neck"), camera.viewmats[0, 1, :3]
    aim = torch.where(body, base + ((points - base) @ vertical)[:, None] * vertical, photo.middle("skin", "scalp"))
    share = torch.where(body, NARROWEST_BODY, NARROWEST_HEAD) ** (1 / ROUNDS)
    for _ in range(ROUNDS):
        pixels = project(points[None], camera)[0]
        x, y = pixels[:, 0].long(), pixels[:, 1].long()
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        inside = inside & (alpha[y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0.6)
        points = torch.where(inside[:, None], points, torch.lerp(aim, points, share))
    return points, inside
