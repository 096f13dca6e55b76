"""The user's own FLAME head (Li et al. 2017: 2020, 2023 or 2023 Open), in the linear form that Anny has too.

FLAME turns the whole skull at one joint, its neck. Here neck and head are two joints in that one place: the head's
turn comes after the neck's and everything above follows both. FLAME's correctives of the neck are linear in R - I of
the whole turn; both joints drive them, which is exact while one of the two is still and right to the first order
otherwise. Joints follow the shape and not the expression, as in the paper; FLAME's published code lets them drift
with the expression by less than a millimetre.

The file has no teeth, no mouth, no texture coordinates and no names: the parts of the surface come from skinning
weights and measured landmarks, texture coordinates from an unwrapping of our own (FLAME's textures do not fit it), and
the 52 ARKit actions from Anny's, see `zero1toa.head.transfer`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from zero1toa.assets import cache_folder, kept_tensors
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.complete import complete_head
from zero1toa.head.flame_file import WHERE_TO_GET, FlameFile, read_flame
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import PARTS, InputError, Surface

FORMAT = 3  # raise it when the built tensors change, so that stale caches are built again
SHAPES = 4  # people to measure landmarks on


def load_flame(path: str | Path) -> LinearHead:
    """Load the user's own FLAME file; the first time takes half a minute, and what it finds is kept in the cache.

    Raises InputError when the file is missing or is not a FLAME head model.
    """
    path = Path(path).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"no FLAME file can be read at {path}: {WHERE_TO_GET}") from error
    built = cache_folder() / f"flame-{hashlib.sha256(data).hexdigest()[:16]}-{FORMAT}.safetensors"
    return LinearHead.from_tensors("flame", kept_tensors(built, lambda: build_tensors(read_flame(path, data))))


def build_tensors(file: FlameFile) -> dict[str, Tensor]:
    """Turn a FLAME file into the tensors of a `LinearHead`."""
    return complete_head(_bare_head(file), torch.from_numpy(file.expressions), shapes=SHAPES).tensors()


def _bare_head(file: FlameFile) -> LinearHead:
    """Bring the file into our axes and joints; landmarks and actions are still unknown, parts are rough."""
    joints = file.joint_regressor @ file.template
    origin = joints[3:].mean(0)
    root, neck, jaw, left, right = range(5)
    order = [root, neck, neck, jaw, left, right]
    weights = file.weights[:, order]
    # Whatever follows FLAME's neck follows our head, which follows the neck.
    weights[:, JOINTS.index("neck")] = 0
    pose_basis = file.pose_basis.reshape(4, 9, *file.template.shape)[[0, 0, 1, 2, 3]].reshape(45, *file.template.shape)
    joint_basis = np.einsum("jv,svd->sjd", file.joint_regressor, file.shapes, optimize=True)
    template = file.template - origin

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    parts = np.full(len(file.faces), PARTS.index("skin"))
    parts[file.weights[file.faces][:, :, [left, right]].sum(-1).mean(1) > 0.5] = PARTS.index("eyes")
    uvs, uv_faces = _unwrap(template, file.faces, parts == PARTS.index("eyes"))
    surface = Surface(
        faces=torch.from_numpy(file.faces),
        uvs=tensor(uvs),
        uv_faces=torch.from_numpy(uv_faces),
        parts=torch.from_numpy(parts),
        mirror=torch.from_numpy(KDTree(template * [-1, 1, 1]).query(template)[1]),
    )
    return LinearHead(
        name="flame",
        template=tensor(template),
        shape_basis=tensor(file.shapes),
        expression_basis=torch.zeros(len(ARKIT_NAMES), *template.shape),
        joints=tensor((joints - origin)[order]),
        joint_basis=tensor(joint_basis[:, order]),
        weights=tensor(weights),
        surface=surface,
        landmark_faces=torch.zeros(478, dtype=torch.long),
        landmark_weights=torch.full((478, 3), 1 / 3),
        pose_basis=tensor(pose_basis),
    )


def _unwrap(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], eyes: np.ndarray
) -> tuple[Float[np.ndarray, "U 2"], Int[np.ndarray, "F 3"]]:
    """Unwrap the head like a globe, split at the back, above two squares that hold the eyes."""
    centre = np.array([0.0, 0.0, vertices[:, 2].mean()])
    x, y, z = (vertices - centre).T
    longitude = np.arctan2(x, z) / (2 * np.pi) + 0.5
    latitude = np.arctan2(y, np.hypot(x, z)) / np.pi + 0.5
    globe = np.stack([longitude, 0.2 + 0.8 * latitude], -1)
    corners = globe[faces]
    # A triangle across the back has corners near both ends; its left ones move one turn on, just beyond the border.
    across = np.ptp(corners[..., 0], axis=1) > 0.5
    corners[across, :, 0] += corners[across, :, 0] < 0.5
    corners[..., 0] = corners[..., 0] / corners[..., 0].max()
    for side in (0, 1):
        own = eyes & ((vertices[faces].mean(1)[:, 0] > 0) == (side == 0))
        if own.any():
            ball = vertices[faces[own]]
            ball = ball - ball.mean((0, 1))
            angle = np.arctan2(np.hypot(ball[..., 0], ball[..., 1]), ball[..., 2])[..., None]
            flat = ball[..., :2] / np.maximum(np.linalg.norm(ball[..., :2], axis=-1, keepdims=True), 1e-9) * angle
            corners[own] = [0.1 + 0.2 * side, 0.1] + 0.03 * flat
    uvs, uv_faces = np.unique(corners.reshape(-1, 2).round(7), axis=0, return_inverse=True)
    return uvs, uv_faces.reshape(-1, 3)
