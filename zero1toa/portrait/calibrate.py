"""Measure where MediaPipe's 478 face landmarks lie on a head model.

Heads of several shapes are rendered with plain shading from several views, the face mesh is run on the pictures,
and every landmark is carried back through the pixel it falls on to the resting surface. The median over all
pictures is where it lies. The size of the irises is known; where they are seen when the eyes look straight ahead is
measured too.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from zero1toa.geometry.camera import orbit_camera
from zero1toa.geometry.mesh import face_normals, on_surface, vertex_normals
from zero1toa.head.landmarks import LOWER_RIM, TWINS, UPPER_RIM, nearest_on_triangles
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.portrait.detect import open_solution
from zero1toa.render.mesh import Fragments, rasterize_mesh
from zero1toa.types import PARTS, Identity, InputError

log = logging.getLogger(__name__)

YAWS, PITCHES, SIZE = (-35, -24, -12, 0, 12, 24, 35), (-8, 6), 512
IRIS = 0.0058  # metres, the radius of a human iris
COLOURS = {
    "skin": (214, 170, 148), "scalp": (70, 55, 45), "lips": (190, 110, 105), "eyelids": (205, 158, 138),
    "eyes": (235, 232, 228), "teeth": (230, 225, 215), "tongue": (180, 90, 90), "mouth": (120, 50, 50),
    "neck": (205, 160, 138), "bust": (90, 100, 120),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Embedding:
    """Where the landmarks lie: triangle and barycentric weights of each, and the median spread over pictures in metres."""

    faces: Int[np.ndarray, "478"]
    weights: Float[np.ndarray, "478 3"]
    spread: float


def measure_landmarks(head: LinearHead, *, shapes: int = 10, variety: float = 0.12) -> Embedding:
    """Find the landmarks of a head whose own landmarks are not known yet; `head.landmarks` is not used.

    `shapes` people are looked at, the average one and others whose shape coefficients have the standard deviation
    `variety`. Raises InputError when the face mesh finds no face in more than half of the pictures.
    """
    places, spread = _median_places(head, shapes, variety)
    places = np.concatenate([_mirrored(places[:468]), _irises(head, places[468:])])
    return Embedding(*attach(head, places), spread)


def _median_places(head: LinearHead, shapes: int, variety: float) -> tuple[Float[np.ndarray, "478 3"], float]:
    """Give the median resting place of every landmark, and the median over landmarks of the spread about it."""
    generator = torch.Generator().manual_seed(0)
    neutral = head.neutral_identity()
    colours = _paint(head)
    pictures = shapes * len(YAWS) * len(PITCHES)
    found = []
    # The pictures are framed like the crops that `detect` makes, so the mesh is asked directly, once for each.
    mesh = open_solution(
        "face_mesh", static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.5
    )
    try:
        for index in range(shapes):
            shape = torch.randn(neutral.shape.shape, generator=generator) * (variety if index else 0.0)
            vertices = head.vertices(Identity(shape, neutral.offsets), head.rest_state())[0]
            for yaw, pitch in itertools.product(YAWS, PITCHES):
                image, fragments = _picture(head, vertices, colours, yaw, pitch)
                faces = mesh.process(image).multi_face_landmarks
                if faces:
                    points = np.array([(point.x, point.y) for point in faces[0].landmark]) * SIZE
                    found.append(_carry_back(head, points, fragments))
    finally:
        mesh.close()
    log.info("%d of %d pictures show a face", len(found), pictures)
    if len(found) < pictures / 2:
        raise InputError(f"the head model {head.name} does not look like a face: is it turned or scaled unusually?")
    places = np.stack(found)
    median = np.nanmedian(places, 0)
    spread = np.nanmedian(np.linalg.norm(places - median, axis=-1), 0)
    return median, float(np.nanmedian(spread[:468]))


def _paint(head: LinearHead) -> Float[Tensor, "F 3"]:
    """Colour the triangles: plain parts, and dark irises."""
    colours = torch.tensor([COLOURS[part] for part in PARTS], dtype=torch.float32)[head.surface.parts]
    middle = head.template[head.surface.faces].mean(1)
    eye = head.surface.parts == PARTS.index("eyes")
    for joint in (head.joints[JOINTS.index(name)] for name in ("left_eye", "right_eye")):
        near = (middle[:, :2] - joint[:2]).norm(dim=-1)
        in_front = eye & (middle[:, 2] > joint[2])
        colours[in_front & (near < IRIS)] = torch.tensor([70.0, 50, 35])
        colours[in_front & (near < IRIS * 0.45)] = torch.tensor([10.0, 10, 10])
    return colours


def _picture(
    head: LinearHead, vertices: Float[Tensor, "V 3"], colours: Float[Tensor, "F 3"], yaw: float, pitch: float
) -> tuple[UInt8[np.ndarray, "H W 3"], Fragments]:
    """Render a head with soft light from the front."""
    camera = orbit_camera(
        torch.tensor([float(yaw)]), torch.tensor([float(pitch)]), target=torch.tensor([0.0, -0.02, -0.03]),
        distance=0.9, focal=1300.0, width=SIZE, height=SIZE,
    )  # fmt: skip
    fragments = rasterize_mesh(vertices[None], head.surface.faces, camera)
    face, weights = fragments.face[0], fragments.barycentric[0]
    normals = vertex_normals(vertices, head.surface.faces)
    normal = (normals[head.surface.faces[face.clamp_min(0)]] * weights[..., None]).sum(-2)
    light = torch.nn.functional.normalize(torch.tensor([0.25, 0.5, 1.0]), dim=0)
    shade = 0.45 + 0.55 * (normal @ light).clamp_min(0)
    image = torch.where((face >= 0)[..., None], colours[face.clamp_min(0)] * shade[..., None], 60.0)
    return image.clamp(0, 255).byte().numpy(), fragments


def _carry_back(head: LinearHead, points: Float[np.ndarray, "478 2"], fragments: Fragments) -> Float[np.ndarray, "478 3"]:
    """Carry landmarks from pixels to the resting surface of the average head; NaN where no surface is hit."""
    x, y = points.astype(int).clip(0, SIZE - 1).T
    face, weights = fragments.face[0][y, x], fragments.barycentric[0][y, x]
    rest = on_surface(head.template, head.surface.faces, face.clamp_min(0), weights).numpy()
    rest[face.numpy() < 0] = np.nan
    return rest


def _mirrored(places: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "468 3"]:
    """Average every landmark with the mirror image of its twin on the other half of the face."""
    return (places + places[list(TWINS)] * [-1, 1, 1]) / 2


def _irises(head: LinearHead, seen: Float[np.ndarray, "10 3"]) -> Float[np.ndarray, "10 3"]:
    """Place landmarks 468 to 477: centre, then the rim towards +x, up, towards -x, down; right eye first.

    The face mesh sees irises about a millimetre lower than they are, as if a lid that covers an iris pushed it down.
    Their places are shifted by what centres, left and right rims were seen off theirs, both eyes alike; without that
    the fit takes people who look at the camera to look down, at a weight of 0.26 on average instead of 0.11.
    """
    places = []
    eyes = head.template[head.surface.faces[head.surface.parts == PARTS.index("eyes")].unique()]
    for joint in (head.joints[JOINTS.index(name)] for name in ("right_eye", "left_eye")):
        away = (eyes - joint).norm(dim=-1)
        radius = away[away < 0.02].median().item()
        x, y, z = joint.tolist()
        rim = [(IRIS, 0), (0, IRIS), (-IRIS, 0), (0, -IRIS)]
        places.append((x, y, z + radius))
        places += [(x + dx, y + dy, z + (radius**2 - IRIS**2) ** 0.5) for dx, dy in rim]
    places = np.array(places)
    off = (seen - places)[[[0, 1, 3], [5, 6, 8]], :2].mean(1)
    sideways, down = (off[1, 0] - off[0, 0]) / 2, off[:, 1].mean()
    places[:5, :2] += [-sideways, down]
    places[5:, :2] += [sideways, down]
    return places


def attach(head: LinearHead, places: Float[np.ndarray, "478 3"]) -> tuple[Int[np.ndarray, "478"], Float[np.ndarray, "478 3"]]:
    """Put places near the resting surface onto it, irises onto the eyes; give triangles and barycentric weights.

    Closed lips touch, and what is nearest may be the other one: the rim of the upper lip faces down, that of the lower up.
    """
    parts = np.array(PARTS)[head.surface.parts.numpy()]
    corners = head.template.numpy()[head.surface.faces.numpy()]
    upward = face_normals(head.template, head.surface.faces)[:, 1].numpy()
    face = np.isin(parts, ("skin", "eyelids", "lips", "scalp", "mouth"))
    allowed = {
        range(468): face,
        range(468, 478): parts == "eyes",
        UPPER_RIM: face & (upward < 0),
        LOWER_RIM: face & (upward > 0),
    }
    faces, weights = np.zeros(478, np.int64), np.zeros((478, 3), np.float32)
    for rows, here in allowed.items():
        candidates, rows = np.flatnonzero(here), list(rows)
        near, weights[rows], _ = nearest_on_triangles(corners[candidates], places[rows])
        faces[rows] = candidates[near]
    return faces, weights
