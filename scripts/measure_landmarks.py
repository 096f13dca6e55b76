"""Measure where MediaPipe's 478 face landmarks lie on a head model, and store it beside the model.

    python scripts/measure_landmarks.py [--out zero1toa/head/anny_landmarks.npz]

Heads of several shapes are rendered with plain shading from several views, the face mesh is run on the pictures,
and every landmark is carried back through the pixel it falls on to the resting surface. The median over all
pictures is where it lies; the spread about it is printed. The irises are known from the eyes themselves.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from zero1toa.geometry.camera import orbit_camera
from zero1toa.geometry.mesh import on_surface, vertex_normals
from zero1toa.head.anny import build_tensors
from zero1toa.head.linear import LinearHead
from zero1toa.portrait.detect import detect_faces
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import PARTS, Identity, Surface

YAWS, PITCHES, SHAPES, SIZE = (-35, -24, -12, 0, 12, 24, 35), (-8, 6), 10, 512
IRIS = 0.0058  # metres, the radius of a human iris
COLOURS = {
    "skin": (214, 170, 148), "scalp": (70, 55, 45), "lips": (190, 110, 105), "eyelids": (205, 158, 138),
    "eyes": (235, 232, 228), "teeth": (230, 225, 215), "tongue": (180, 90, 90), "mouth": (120, 50, 50),
    "neck": (205, 160, 138), "bust": (90, 100, 120),
}  # fmt: skip


def bare_head() -> LinearHead:
    """Load the head without landmarks, which are what is to be found."""
    tensors = build_tensors()
    surface = Surface(**{key: tensors.pop(key) for key in ("faces", "uvs", "uv_faces", "parts", "mirror")})
    return LinearHead("anny", surface=surface, landmark_faces=torch.zeros(1).long(), landmark_weights=torch.ones(1, 3), **tensors)


def paint(head: LinearHead, vertices: torch.Tensor) -> torch.Tensor:
    """Colour the triangles: plain parts, dark irises, and brows where browInnerUp and browOuterUp move the skin."""
    colours = torch.tensor([COLOURS[part] for part in PARTS], dtype=torch.float32)[head.surface.parts]
    middle = vertices[head.surface.faces].mean(1)
    for joint in (4, 5):
        eye = head.surface.parts == PARTS.index("eyes")
        near = (middle[:, :2] - head.joints[joint, :2]).norm(dim=-1)
        colours[eye & (near < IRIS) & (middle[:, 2] > head.joints[joint, 2])] = torch.tensor([70.0, 50, 35])
        colours[eye & (near < IRIS * 0.45) & (middle[:, 2] > head.joints[joint, 2])] = torch.tensor([10.0, 10, 10])
    return colours


def picture(head: LinearHead, vertices: torch.Tensor, colours: torch.Tensor, yaw: float, pitch: float):
    """Render a head with soft light from the front; give the picture and its fragments."""
    camera = orbit_camera(
        torch.tensor([float(yaw)]), torch.tensor([float(pitch)]), target=torch.tensor([0.0, -0.02, -0.03]),
        distance=0.9, focal=1300.0, width=SIZE, height=SIZE,
    )  # fmt: skip
    fragments = rasterize_mesh(vertices[None], head.surface.faces, camera)
    face, weights = fragments.face[0], fragments.barycentric[0]
    normals = vertex_normals(vertices, head.surface.faces)
    normal = (normals[head.surface.faces[face.clamp_min(0).long()]] * weights[..., None]).sum(-2)
    light = torch.nn.functional.normalize(torch.tensor([0.25, 0.5, 1.0]), dim=0)
    shade = 0.45 + 0.55 * (normal @ light).clamp_min(0)
    image = torch.where((face >= 0)[..., None], colours[face.clamp_min(0).long()] * shade[..., None], 60.0)
    return image.clamp(0, 255).byte().numpy(), fragments


def measure(head: LinearHead) -> tuple[np.ndarray, float]:
    """Give the median resting place (L, 3) of every landmark and the median over landmarks of the spread, in metres."""
    generator = torch.Generator().manual_seed(0)
    neutral = head.neutral_identity()
    found = []
    for index in range(SHAPES):
        shape = torch.randn(neutral.shape.shape, generator=generator) * (0.12 if index else 0.0)
        vertices = head.vertices(Identity(shape, neutral.offsets), head.rest_state())[0]
        colours = paint(head, vertices)
        for yaw, pitch in itertools.product(YAWS, PITCHES):
            image, fragments = picture(head, vertices, colours, yaw, pitch)
            faces = detect_faces(image)
            if faces:
                found.append(carry_back(head, faces[0].points, fragments))
    logging.info("%d of %d pictures show a face", len(found), SHAPES * len(YAWS) * len(PITCHES))
    places = np.stack(found)
    median = np.nanmedian(places, 0)
    spread = np.nanmedian(np.linalg.norm(places - median, axis=-1), 0)
    return median, float(np.nanmedian(spread[:468]))


def carry_back(head: LinearHead, points: np.ndarray, fragments) -> np.ndarray:
    """Carry landmarks from pixels to the resting surface of the average head; NaN where no surface is hit."""
    x, y = points.astype(int).clip(0, SIZE - 1).T
    face, weights = fragments.face[0][y, x].long(), fragments.barycentric[0][y, x]
    rest = on_surface(head.template, head.surface.faces, face.clamp_min(0), weights).numpy()
    rest[face.numpy() < 0] = np.nan
    return rest


def mirrored(median: np.ndarray) -> np.ndarray:
    """Average every landmark with the mirror image of its twin on the other cheek."""
    flipped = median * [-1, 1, 1]
    twin = cKDTree(flipped).query(median)[1]
    mutual = twin[twin] == np.arange(len(twin))
    return np.where(mutual[:, None], (median + flipped[twin]) / 2, median)


def irises(head: LinearHead) -> np.ndarray:
    """Place landmarks 468 to 477: centre, then the rim towards +x, up, -x, down of the picture, right eye first."""
    places = []
    for joint, side in ((5, 1), (4, -1)):
        x, y, z = head.joints[joint].tolist()
        rim = [(0, 0), (side * IRIS, 0), (0, IRIS), (-side * IRIS, 0), (0, -IRIS)]
        places += [(x + dx, y + dy, z + 0.0125) for dx, dy in rim]
    return np.array(places)


def attach(head: LinearHead, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put places onto the nearest triangles of the allowed parts; give triangles and barycentric weights."""
    parts = np.array(PARTS)[head.surface.parts.numpy()]
    faces = head.surface.faces.numpy()
    result_faces, result_weights = [], []
    for rows, allowed in ((slice(0, 468), ("skin", "eyelids", "lips", "scalp", "mouth")), (slice(468, 478), ("eyes",))):
        candidates = np.flatnonzero(np.isin(parts, allowed))
        corners = head.template.numpy()[faces[candidates]]
        near = cKDTree(corners.mean(1)).query(places[rows], k=24)[1]
        for place, options in zip(places[rows], near, strict=True):
            weights = closest_weights(corners[options], place)
            gaps = np.linalg.norm((corners[options] * weights[..., None]).sum(1) - place, axis=-1)
            best = int(gaps.argmin())
            result_faces.append(candidates[options[best]])
            result_weights.append(weights[best])
    return np.array(result_faces, np.int32), np.array(result_weights, np.float32)


def closest_weights(corners: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Give barycentric weights (K, 3) near the closest point of each triangle: the foot point, clamped inside."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, ap = b - a, c - a, place - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    scale = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / scale, (d00 * d21 - d01 * d20) / scale
    weights = np.clip(np.stack([1 - v - w, v, w], 1), 0, 1)
    return weights / weights.sum(1, keepdims=True)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--out", type=Path, default=Path("zero1toa/head/anny_landmarks.npz"))
    args = cli.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    head = bare_head()
    median, spread = measure(head)
    places = np.concatenate([mirrored(median[:468]), irises(head)])
    faces, weights = attach(head, places)
    measured = replace(head, landmark_faces=torch.from_numpy(faces.astype(np.int64)), landmark_weights=torch.from_numpy(weights))
    gap = np.linalg.norm(measured.landmarks(head.template[None])[0].numpy() - places, axis=-1)
    np.savez_compressed(args.out, faces=faces, weights=weights, spread=np.float32(spread))
    logging.info("median spread %.2f mm, median distance to the surface %.2f mm", spread * 1e3, np.median(gap) * 1e3)


if __name__ == "__main__":
    main()
