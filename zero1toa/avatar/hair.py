"""What stands off the head model: hair, hats, collars; a photo shows their front, their far side is a guess.

In every row of the picture, hair is taken to lie around the head as a hull: it leaves the mesh's outline, curves back to
the person's outline, which it touches beside the middle of the skull, and closes behind. The front has the photo's
pixels; the back continues them as a mirror at the outline would. What hangs before or beside the body lies flat.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_opening, distance_transform_edt, gaussian_filter, gaussian_filter1d, maximum_filter1d
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn.functional import normalize

from zero1toa.avatar.layer import Layer, discs
from zero1toa.geometry.camera import project, unproject
from zero1toa.geometry.mesh import face_frames, of_parts
from zero1toa.render.hair import SKULL_BEHIND_EYES
from zero1toa.render.lookup import strand_lights
from zero1toa.render.photo import PhotoSurface, ramp
from zero1toa.types import PARTS


@dataclass(frozen=True, slots=True)
class HairConfig:
    """How hair is laid."""

    layers: int = field(default=3, metadata={"help": "splats through the hair behind each pixel", "range": (1, 7)})
    thickness: float = field(
        default=0.03, metadata={"help": "half the depth of what hangs beside the body, metres", "range": (0.0, 0.1)}
    )


# Distance between the splats of the hull, in metres, for a budget of 75,000.
SPACING = 0.004
# A strip of hair thinner than this share of the face's height needs no hull, one wider than this many is no hair;
# through a gap this wide hair is still that of the same row.
THINNEST, WIDEST, WIDEST_GAP = 0.04, 1.6, 0.25
# What stands off the mesh over fewer rows than this share of the face's height, such as a beard at the jaw, stays beside it.
SHORTEST = 0.1
# How far before the ears hair beside the cheeks may hang, in metres.
BEFORE_EARS = 0.02
# How deep hair that hangs behind is at the bottom of the picture, as a share of the back of the head.
FALL = 0.7
# Width of the rim beside the face in which skin is taken for the mesh's, as a share of the face's height.
RIM = 0.04
# Points of the hull this near to the mesh, in metres, are the mesh's business.
CLEAR = 0.003
# Points this far from the scalp, in metres, have none of its colour.
APART = 0.02
# A strip this wide, as a share of the face's height, is mirrored with all its detail.
MIRRORED_WHOLE = 0.3
# What is left of a strip on the way round, as a share, where its detail is gone and where it begins to go.
DETAIL = (0.5, 0.95)
# Over how many rows strips have one colour.
TONE_ROWS = 12
# How far the hull may part from the mesh at the height of the chin, in metres; at that of the eyes it follows the mesh.
PARTING = 0.06


@dataclass(frozen=True, slots=True)
class _Hull:
    """The hull by rows and sides (left, right) of the picture, in pixels and metres of depth."""

    axis: float  # column of the skull's middle
    inner: Float[np.ndarray, "H 2"]  # where the mesh ends
    begin: Float[np.ndarray, "H 2"]  # where hair begins: there, or beyond a gap that shows the background
    outer: Float[np.ndarray, "H 2"]  # where the person ends
    wraps: Bool[np.ndarray, "H 2"]  # where hair goes round behind
    middle: float  # depth of the skull's middle
    back: Float[np.ndarray, "H"]  # depth to which hair reaches behind


def hair_layers(
    photo: PhotoSurface,
    pixels: Float[Tensor, "P 2"],
    stride: float,
    coarseness: float,
    config: HairConfig,
    generator: torch.Generator,
) -> list[Layer]:
    """Lay the person's pixels that are off the mesh, some layers deep, and the hull around them.

    Each splat is bound to the nearest triangle of scalp, neck or bust, and never to the face: hair follows the head,
    clothes follow the shoulders, and neither follows the jaw.
    """
    x, y = pixels.long().unbind(-1)
    off = _off_mesh(photo)[y, x]
    if not off.any():
        return []
    outline = _outline_depth(photo)
    hull = _find_hull(photo)
    return [
        *_pixel_layers(photo, hull, outline, pixels[off], stride, config, generator),
        *_lining(photo, hull, outline, SPACING * coarseness),
    ]


def _off_mesh(photo: PhotoSurface) -> Bool[Tensor, "H W"]:
    """Mark the pixels that are off the mesh, but for a rim of skin beside the face: that is the fit's error, not hair.

    Laid in the air, such a rim would cross the cheek as a line when the head turns.
    """
    part = photo.parts_seen().numpy()
    row, column = np.asarray(distance_transform_edt(part < 0, return_distances=False, return_indices=True))
    distance = np.asarray(distance_transform_edt(part < 0))
    top, chin = photo.face_rows()
    beside_face = (distance < RIM * (chin - top)) & (part[row, column] == PARTS.index("skin"))
    skin_like = True if photo.unlike_skin is None else photo.unlike_skin.numpy() < 0.5
    return torch.from_numpy((part < 0) & ~(beside_face & skin_like))


def _pixel_layers(
    photo: PhotoSurface,
    hull: _Hull,
    outline: Float[Tensor, "H W"],
    pixels: Float[Tensor, "P 2"],
    stride: float,
    config: HairConfig,
    generator: torch.Generator,
) -> list[Layer]:
    """Lay a splat on the front of the hair at every pixel, and others anywhere behind, so that hair has body."""
    x, y = pixels.long().unbind(-1)
    camera = photo.reference.camera
    focal = camera.intrinsics[0, 0, 0].item()
    side = (x > hull.axis).long().numpy()
    inner, outer, wraps = (table[y.numpy(), side] for table in (hull.inner, hull.outer, hull.wraps))
    share = (x.numpy() - inner) / np.where(np.abs(outer - inner) < 1, np.nan, outer - inner)
    wraps = torch.from_numpy(wraps & (share >= 0) & (share <= 1.02))
    share = torch.from_numpy(np.nan_to_num(share)).float().clamp(0, 1)
    front, back = outline[y, x], torch.from_numpy(hull.back).float()[y]
    round_back = (hull.middle - front).clamp_min(0) * (1 - (1 - share**2).sqrt())
    # What hangs flat closes at the rim.
    rim = distance_transform_edt(photo.reference.alpha.numpy() > 0.4)
    half = (torch.from_numpy(rim).float()[y, x] * front / focal).clamp_max(config.thickness)
    nearest = torch.where(wraps, front + round_back, front - 0.5 * half)
    deep = torch.where(wraps, torch.minimum((back - nearest).clamp_min(0) * (1 - share**2).sqrt(), 2 * half), 1.6 * half)
    spacing = stride * front / focal
    alpha, color = photo.reference.alpha[y, x].clamp(0.05, 0.95), photo.reference.image[y, x]
    toward = -normalize(camera.viewmats[0, 2, :3], dim=0)
    layers = []
    for layer in range(config.layers):
        depth = nearest if layer == 0 else nearest + torch.rand(len(deep), generator=generator) * 0.85 * deep
        means = unproject(torch.cat([pixels, depth[:, None]], -1)[None], camera)[0]
        radius = spacing * 0.6
        # Seen from the side, thin ones would stand apart like beads.
        thick = radius * 2.0 if layer == 0 else (0.5 * deep / config.layers).maximum(radius).clamp_max(0.006)
        layers.append(_bind(photo, means, radius, color, alpha, toward.expand(len(means), 3), thick))
    return layers


def _lining(photo: PhotoSurface, hull: _Hull, outline: Float[Tensor, "H W"], spacing: float) -> list[Layer]:
    """Line the hull evenly: from the mesh round to the person's outline, and on to the middle of the back."""
    camera = photo.reference.camera
    scale = hull.middle / camera.intrinsics[0, 0, 0].item()  # metres a pixel, beside the skull's middle
    found = []
    for y in np.arange(0, len(outline), spacing / scale):
        row = int(y)
        for side in np.flatnonzero(hull.wraps[row]):
            begin = float(outline[row, int(hull.inner[row, side].clip(0, outline.shape[1] - 1))])
            points = _around(hull, row, side, begin, scale, spacing, phase=len(found) % 2)
            found.append(np.insert(points, 1, y, axis=1))
    if not found:
        return []
    x, y, depth, across, behind, source, side, strip, reach = torch.from_numpy(np.concatenate(found)).float().unbind(-1)
    means = unproject(torch.stack([x, y, depth], -1)[None], camera)[0]
    # Beside the eyes the head itself is the back of the hair; from there down the hull may part from it more and more.
    top, chin = photo.face_rows()
    below_eyes = ((y - (top + chin) / 2) / (chin - top) * 2).clamp_min(0)
    means, clear = _drawn_to_mesh(photo, means, 1.2 * scale * reach + PARTING * below_eyes**2)
    normals = normalize(torch.stack([across, torch.zeros_like(x), behind], -1) @ camera.viewmats[0, :3, :3], dim=-1)
    rows, columns = y.long(), source.long().clamp(0, outline.shape[1] - 1)
    mirrored, alpha = photo.reference.image[rows, columns], photo.reference.alpha[rows, columns].clamp_max(0.95)
    clear &= _inside(photo, means) & (alpha > 0.6)
    # A narrow strip seen again and again would look like beads, and what a wide one shows beside the neck, shadows and skin,
    # has no place behind it: farther round there are strands of its mean colour. The two sides meet behind.
    rest = reach / strip.clamp_min(1)
    detail = ((strip / (MIRRORED_WHOLE * (chin - top))).clamp_max(1.0) * ramp(rest, *DETAIL))[:, None]
    tones, side = _strip_colors(photo, hull)[rows], side.long()
    tone, other = tones[torch.arange(len(side)), side], tones[torch.arange(len(side)), 1 - side]
    both = torch.from_numpy(gaussian_filter1d(hull.wraps.all(1).astype(np.float32), 4))[rows]
    strands = torch.lerp(tone, other, (both * (1 - rest) / 2)[:, None]) * _strand_lights(photo, means)[:, None]
    color = torch.lerp(strands, mirrored, detail).clamp(0, 1)
    color = _like_scalp(photo, means, color)
    radius = torch.full_like(x, 0.65 * spacing)
    return [_bind(photo, *(t[clear] for t in (means, radius, color, alpha, normals)))]


def _around(
    hull: _Hull, row: int, side: int, begin: float, scale: float, spacing: float, *, phase: int
) -> Float[np.ndarray, "N 8"]:
    """Go round one side of the hull in a row, in even steps, from the depth `begin` at the mesh to the middle of the back.

    Gives for every step: column, depth, the outward normal's share across and behind, the column of the photo to take the
    colour from, the side, the width of the strip in the photo, and the width that is left of it on the way round.
    """
    inner, first, outer, back = hull.inner[row, side], hull.begin[row, side], hull.outer[row, side], hull.back[row]
    quarter = np.linspace(0, np.pi / 2, 48)
    front_x = inner + (outer - inner) * np.sin(quarter)
    front_z = hull.middle + min(begin - hull.middle, 0.0) * np.cos(quarter)
    back_x = hull.axis + (outer - hull.axis) * np.cos(quarter)
    back_z = hull.middle + (back - hull.middle) * np.sin(quarter)
    x, z = np.concatenate([front_x, back_x]), np.concatenate([front_z, back_z])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x) * scale, np.diff(z)))])
    stops = np.arange(spacing * (0.25 + 0.5 * phase), length[-1], spacing)
    column, depth, along_x, along_z, left = (
        np.interp(stops, length, values)
        for values in (x, z, np.gradient(x) * scale, np.gradient(z), np.concatenate([np.ones(48), np.cos(quarter)]))
    )
    # Behind the outline the strip is seen again from its rim inwards, then outwards, and so on.
    inwards = np.sign(inner - outer)
    rim = outer + 2 * inwards
    strip = max(abs(rim - first), 1.0)
    passed = np.maximum(stops - length[48], 0) / scale
    mirrored = rim + inwards * np.abs((passed + strip) % (2 * strip) - strip)
    source = np.where(passed > 0, mirrored, column.clip(min(first, rim), max(first, rim)))
    same = np.ones_like(column)
    return np.stack([column, depth, -inwards * along_z, inwards * along_x, source, side * same, strip * same, strip * left], 1)


def _bind(
    photo: PhotoSurface, means: Tensor, radius: Tensor, color: Tensor, alpha: Tensor, normals: Tensor, thick=None
) -> Layer:
    """Make splats of hair or cloth, bound to the nearest triangle of scalp, neck or bust."""
    anchors = of_parts(photo.parts, "scalp", "neck", "bust").nonzero()[:, 0]
    origins, _, _ = face_frames(photo.reference.vertices, photo.faces)
    face = anchors[torch.from_numpy(KDTree(origins[anchors].numpy()).query(means.numpy())[1])]
    return discs(photo, face, means, radius, color, alpha, normals, thick)


def _strip_colors(photo: PhotoSurface, hull: _Hull) -> Float[Tensor, "H 2 3"]:
    """Give the mean colour of each row's strips, smooth from row to row; skin that shows through them is left out."""
    image, alpha = photo.reference.image.numpy(), photo.reference.alpha.numpy()
    columns = np.arange(image.shape[1]) + 0.5
    hair = (alpha > 0.9) * (1.0 if photo.unlike_skin is None else photo.unlike_skin.numpy())
    means = np.zeros((len(image), 2, 3), np.float32)
    for side in range(2):
        low = np.minimum(hull.begin[:, side], hull.outer[:, side])[:, None]
        high = np.maximum(hull.begin[:, side], hull.outer[:, side])[:, None]
        weight = ((columns >= low) & (columns <= high)) * hair * hull.wraps[:, side, None] + 1e-6
        summed = gaussian_filter1d(np.einsum("hw,hwc->hc", weight, image), TONE_ROWS, axis=0)
        means[:, side] = summed / gaussian_filter1d(weight.sum(1), TONE_ROWS)[:, None]
    return torch.from_numpy(means)


def _strand_lights(photo: PhotoSurface, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Say by what to multiply the colour of hair: the strands of the scalp go on in what hangs from it."""
    if photo.band is None:
        return torch.ones(len(points))
    places = (points.numpy() - photo.band.centre) @ (photo.band.axes.T * [1, 1, -1])
    return torch.from_numpy(strand_lights(places, photo.band.contrast))


def _like_scalp(photo: PhotoSurface, points: Float[Tensor, "N 3"], color: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Give what lies close to the scalp the scalp's own colour: there the hull ends, and its last splats would be spots."""
    scalp = photo.scalp.nonzero()[:, 0]
    if not len(scalp):
        return color
    origins, _, _ = face_frames(photo.reference.vertices, photo.faces)
    distance, nearest = KDTree(origins[scalp].numpy()).query(points.numpy())
    under, _ = photo.colors(scalp[torch.from_numpy(nearest)], torch.full((len(points), 3), 1 / 3))
    away = ((torch.from_numpy(distance).float() - CLEAR) / (APART - CLEAR)).clamp(0, 1)
    return torch.lerp(under, color, away[:, None])


def _inside(photo: PhotoSurface, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
    """Say which points the photo shows inside the person's outline."""
    height, width = photo.reference.alpha.shape
    x, y, _ = project(points[None], photo.reference.camera)[0].long().unbind(-1)
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return seen & (photo.reference.alpha[y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0.6)


def _drawn_to_mesh(
    photo: PhotoSurface, points: Float[Tensor, "N 3"], farthest: Float[Tensor, "N"]
) -> tuple[Float[Tensor, "N 3"], Bool[Tensor, "N"]]:
    """Draw points to the mesh until they are as near as they may be; say which are clear of it, on its outer side."""
    vertices = photo.reference.vertices
    nearest = KDTree(vertices.numpy()).query(points.numpy())[1]
    away = points - vertices[nearest]
    distance = away.norm(dim=-1)
    outside = (away * photo.normals[nearest]).sum(-1) > 0
    drawn = vertices[nearest] + away * (farthest / distance.clamp_min(1e-6)).clamp_max(1.0)[:, None]
    return drawn, outside & (distance.minimum(farthest) > CLEAR)


def _find_hull(photo: PhotoSurface) -> _Hull:
    """Measure, row by row, where hair begins and ends, whether it goes round behind, and how far."""
    part = photo.parts_seen().numpy()
    person = photo.reference.alpha.numpy() > 0.4
    unlike_skin = np.ones(person.shape) if photo.unlike_skin is None else photo.unlike_skin.numpy()
    height, width = person.shape
    top, chin = photo.face_rows()
    axis, middle = _skull(photo)
    column = min(max(int(axis), 0), width - 1)
    closed = _without_gaps(person, round(WIDEST_GAP * (chin - top)))
    inner, first, outer = (np.full((height, 2), axis) for _ in range(3))
    wraps = np.zeros((height, 2), bool)
    for row in np.flatnonzero(person[:, column]):
        for side, line in enumerate((slice(column, None, -1), slice(column, None))):
            ends = np.flatnonzero(~closed[row, line])
            end = ends[0] if len(ends) else len(closed[row, line])
            meshed = np.flatnonzero(part[row, line][:end] >= 0)
            mesh_ends = meshed[-1] if len(meshed) else 0
            gaps = np.flatnonzero(~person[row, line][mesh_ends:end])
            begin = mesh_ends + gaps[-1] + 1 if len(gaps) else mesh_ends
            inner[row, side], first[row, side], outer[row, side] = axis + (2 * side - 1) * np.array([mesh_ends, begin, end])
            on_body = len(meshed) > 0 and part[row, line][mesh_ends] == PARTS.index("bust")
            bare = unlike_skin[row, line][begin:end].mean() < 0.5 if end > begin else True
            wraps[row, side] = not on_body and not bare and end < WIDEST * (chin - top)
    inner, first, outer = (gaussian_filter1d(edge, 5, axis=0) for edge in (inner, first, outer))
    wraps = gaussian_filter1d(wraps.astype(float), 4, axis=0) > 0.5
    thick = gaussian_filter1d(np.abs(outer - first), 4, axis=0) > THINNEST * (chin - top)
    wraps = binary_opening(wraps & thick, np.ones((max(1, round(SHORTEST * (chin - top))), 1)))
    return _Hull(axis, inner, first, outer, wraps, middle, _back(photo, middle, height))


def _skull(photo: PhotoSurface) -> tuple[float, float]:
    """Give the column and the depth of the skull's middle, where the ears are."""
    skull = photo.middle("eyes") + SKULL_BEHIND_EYES * photo.reference.camera.viewmats[0, 2, :3]
    column, _, depth = project(skull[None, None], photo.reference.camera)[0, 0].tolist()
    return column, depth


def _without_gaps(person: Bool[np.ndarray, "H W"], widest: int) -> Bool[np.ndarray, "H W"]:
    """Close the gaps in every row that are no wider than so many pixels, such as those between neck and hair."""
    columns = np.arange(person.shape[1])
    before = np.maximum.accumulate(np.where(person, columns, -person.shape[1]), axis=1)
    after = np.minimum.accumulate(np.where(person, columns, 2 * person.shape[1])[:, ::-1], axis=1)[:, ::-1]
    return after - before <= widest + 1


def _back(photo: PhotoSurface, middle: float, height: int) -> Float[np.ndarray, "H"]:
    """Give how deep hair reaches behind in every row: as deep as the head, and below it nearly straight down."""
    behind = of_parts(photo.parts, "scalp", "skin", "neck")
    seen = project(photo.reference.vertices[photo.faces[behind].unique()][None], photo.reference.camera)[0].numpy()
    inside = (seen[:, 1] >= 0) & (seen[:, 1] < height)
    back = np.full(height, middle)
    np.maximum.at(back, seen[inside, 1].astype(int), seen[inside, 2])
    back = gaussian_filter1d(maximum_filter1d(back, max(3, height // 25)), height / 60)
    deepest = int(back.argmax())
    falling = middle + (back[deepest] - middle) * np.linspace(1.0, FALL, height - deepest)
    back[deepest:] = np.maximum(back[deepest:], falling)
    return back


def _outline_depth(photo: PhotoSurface) -> Float[Tensor, "H W"]:
    """Continue the depth of the mesh beyond its outline: the head's above the mouth, below it the farther of head and body.

    A collar that rises beside the jaw belongs around the neck, not on the chin; and what hangs beside the cheeks belongs to the
    ears, not on the cheeks' outline, which lies some centimetres before them.
    """
    part = photo.parts_seen()
    body = of_parts(part, "neck", "bust")
    head = (part >= 0) & ~body
    rows = torch.arange(len(part), dtype=torch.float32)[:, None]
    fields = []
    for region in (head, body):
        if not region.any():
            region = part >= 0
        row, column = np.asarray(distance_transform_edt(~region.numpy(), return_distances=False, return_indices=True))
        fields.append(torch.from_numpy(gaussian_filter(photo.fragments.depth[0].numpy()[row, column], 6)))
    top, chin = photo.face_rows()
    below = ((rows - chin) / (0.25 * (chin - top)) + 1.0).clamp(0, 1)
    # From the brows down to the eyes ever more.
    beside = ((rows - top) / (chin - top) * 6 - 2).clamp(0, 1)
    cheeks = torch.lerp(fields[0], fields[0].clamp_min(_skull(photo)[1] - BEFORE_EARS), beside.expand_as(fields[0]))
    return torch.lerp(cheeks, torch.maximum(fields[0], fields[1]), below.expand_as(fields[0]))
