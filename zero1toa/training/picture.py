"""Take pictures of a synthetic person: shade its mesh, draw its threads, and remember what every pixel shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from zero1toa.geometry.camera import center, project
from zero1toa.render.mesh import rasterize_mesh, rasterize_triangles
from zero1toa.training.body import Body, Posed
from zero1toa.training.jewellery import LENS_LABEL
from zero1toa.training.light import light_points
from zero1toa.training.noise import unit
from zero1toa.training.surface import CLOTH, Scene, shade_points
from zero1toa.training.threads import draw, shade
from zero1toa.types import PARTS, Camera, HeadState

# Hair casts shadows as so many small triangles, of this size in metres.
TUFTS, TUFT = 1500, 0.007
SCHLICK = 0.35


@dataclass(frozen=True, slots=True)
class Picture:
    """One view at the resolution of its camera: linear light times coverage, and what each pixel shows.

    `label` is 0 for nothing, 1 + the index into `PARTS`, 11 and more for cloth, 20 hair, 21 frames and jewels, 22 lenses.
    `face` and `weights` say where on the mesh (-1: nowhere), `owner` which point of the threads (-1: none).
    """

    light: Float[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]
    label: Int[np.ndarray, "H W"]
    face: Int[np.ndarray, "H W"]
    weights: Float[np.ndarray, "H W 3"]
    owner: Int[np.ndarray, "H W"]


def take_picture(body: Body, state: HeadState, camera: Camera) -> tuple[Picture, Posed]:
    """Pose a person for one frame and photograph it with one camera, without damage or background."""
    posed = body.pose(state)
    eye = center(camera)[0].double().numpy()
    lit = _light(body, posed)
    fragments = rasterize_mesh(torch.from_numpy(posed.vertices)[None], torch.from_numpy(body.faces), _double(camera))
    face, weights = fragments.face[0].numpy(), fragments.barycentric[0].double().numpy()
    covered = face >= 0
    light = body.person.light
    scene = Scene(
        corners=body.faces, material=body.material, places=body.places, points=posed.vertices, normals=posed.normals,
        attributes=posed.attributes, irradiance=lit.irradiance, vector=lit.vector, lamps=lit.lamps, sky=lit.sky,
        fabrics=_fabrics(body), directions=light.directions, colors=light.colors, sizes=light.sizes,
        above=light.sky + light.colors.sum(0) * 0.35, eye=eye, turns=posed.turns, eyeballs=body.eyeballs,
    )  # fmt: skip
    image = np.zeros((*face.shape, 3))
    image[covered] = shade_points(scene, body.person.skin, face[covered], weights[covered], body.person.mouth_light)
    depth = np.where(covered, fragments.depth[0].double().numpy(), np.inf)
    label = np.where(covered, _labels(body)[face], 0)
    alpha, owner = covered.astype(np.float64), np.full(face.shape, -1, np.int64)
    threads = posed.threads
    seen = project(torch.from_numpy(threads.points).double()[None], _double(camera))[0].numpy()
    focal = float(camera.intrinsics[0, 0, 0])
    radius = threads.radius * focal / np.maximum(seen[:, 2], 0.02)
    colors = shade(threads, light, lit.threads, eye).astype(np.float64)
    draw(seen, radius, colors, threads.starts, threads.opacity.astype(np.float64), image, alpha, depth, owner)
    line = np.searchsorted(threads.starts, owner, side="right") - 1
    label = np.where(owner >= 0, threads.label[line], label)
    if len(posed.lenses):
        _look_through_lenses(body, posed, camera, image, depth, label)
    return Picture(image, alpha, np.where(np.isfinite(depth), depth, 0), label, face, weights, owner), posed


def _light(body: Body, posed: Posed):
    """Light the mesh and the threads; both and tufts of hair cast shadows."""
    rng = np.random.default_rng((body.person.seed, 3))
    blockers, faces = posed.vertices, body.faces
    threads = posed.threads
    inner = np.flatnonzero(
        (threads.open < 0.75)
        & (threads.label[np.searchsorted(threads.starts, np.arange(len(threads.points)), side="right") - 1] == 20)
    )
    if len(inner) > TUFTS:
        middle = threads.points[rng.choice(inner, TUFTS, replace=False)].astype(np.float64)
        tufts = middle[:, None] + TUFT * unit(rng.normal(size=(TUFTS, 3, 3)))
        faces = np.concatenate([faces, np.arange(TUFTS * 3).reshape(-1, 3) + len(blockers)])
        blockers = np.concatenate([blockers, tufts.reshape(-1, 3)])
    return light_points(posed.vertices, posed.normals, threads.points, blockers, faces, body.person.light)


def _look_through_lenses(body: Body, posed: Posed, camera: Camera, image, depth, label) -> None:
    """Tint what is seen through glasses and let them mirror a little of the sky; changes image and label."""
    count = len(posed.lenses) // 2
    seen = project(torch.from_numpy(posed.lenses)[None], _double(camera))[0]
    fan = np.stack([np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], 1)
    flat = rasterize_triangles(seen, torch.from_numpy(np.concatenate([fan, fan + count])), *depth.shape)
    before = (flat.face[0].numpy() >= 0) & (flat.depth[0].numpy() < depth)
    *tint, hides = body.person.wardrobe.lens_tint
    light = body.person.light
    rows = np.linspace(1.0, 0.0, len(depth))[:, None, None]
    mirrored = body.person.wardrobe.glare * 0.3 * (light.sky + 0.2 * light.colors.sum(0)) * rows**2
    through = image * (1 - hides) + np.array(tint) * hides * light.sky + mirrored
    image[before] = through[before]
    label[before] = np.where(hides > 0.3, LENS_LABEL, label[before])


def _fabrics(body: Body) -> Float[np.ndarray, "K 12"]:
    wardrobe = body.person.wardrobe
    return np.array([cloth.as_row() for cloth in (wardrobe.cloth, wardrobe.second, wardrobe.hat_cloth)], np.float64)


def _labels(body: Body) -> Int[np.ndarray, "G"]:
    """Give the label of each face."""
    label = body.material + 1
    return np.where(body.material >= CLOTH, 11, label)


def _double(camera: Camera) -> Camera:
    return Camera(camera.viewmats.double(), camera.intrinsics.double(), camera.width, camera.height)


def develop(light: Float[np.ndarray, "*H 3"], gain: float, contrast: float) -> Float[np.ndarray, "*H 3"]:
    """Turn linear light into display values in [0, 1]: exposure, a soft shoulder for highlights, sRGB, contrast."""
    light = np.maximum(light * gain, 0)
    knee = 0.7
    light = np.where(light > knee, knee + (1 - knee) * np.tanh((light - knee) / (1.2 * (1 - knee))), light)
    display = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return np.clip(display, 0, 1) ** contrast


def exposure_gain(picture: Picture, wanted: float) -> float:
    """Give the gain that brings the median of a picture's skin to a display value."""
    skin = np.isin(picture.label, [1 + PARTS.index(name) for name in ("skin", "lips")])
    bright = picture.light[skin].mean(-1) if skin.any() else np.array([0.2])
    linear = ((wanted + 0.055) / 1.055) ** 2.4
    return float(linear / max(np.median(bright), 1e-4))
