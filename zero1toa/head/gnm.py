"""Google's GNM Head v3 (Apache-2.0), downloaded once, in the linear form that Anny and FLAME have too.

Its file has teeth, gums, tongue and eyes, texture coordinates, named groups of vertices and four joints, but no jaw: the jaw
moves within its 383 expressions, which have no ARKit names. Those, landmarks and finer parts are found as for FLAME, see
`zero1toa.head.complete`. Metres, +x to the subject's left, +y up and +z out of the face are its axes as they are ours.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zero1toa.assets import GNM, cache_folder, kept_tensors
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.complete import complete_head
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import PARTS, InputError, Surface

FORMAT = 2  # raise it when the built tensors change, so that stale caches are built again
SHAPES = 4  # people to measure landmarks on
GNM_JOINTS = ("neck", "head", "left_eye", "right_eye")
# Its groups that tell parts, in this order; the rest is skin.
GROUPS = {
    "mouth_sock": "mouth", "upper_teeth_and_gums": "teeth", "lower_teeth_and_gums": "teeth", "tongue": "tongue",
    "left_eye": "eyes", "right_eye": "eyes",
}  # fmt: skip
CORNEAS = "eye_exteriors"  # they are clear: what is seen lies behind
# Arrays that are read, by how their shapes hang together: V vertices, S identities, E expressions, J joints.
SHAPES_OF = {
    "template_vertex_positions": ("V", 3), "vertex_identity_basis": ("S", "V", 3), "expression_basis": ("E", "V", 3),
    "template_joint_positions": ("J", 3), "joint_identity_basis": ("S", "J", 3), "skinning_weights": ("J", "V"),
    "pose_correctives_regressor": ("P", "C"), "triangles": ("F", 3), "triangle_uvs": ("F", 3, 2), "mirror_indices": ("V",),
    "vertex_groups": ("G", "V"), "vertex_group_names": ("G",), "joint_names": ("J",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GnmFile:
    """The arrays of the file that are used; joints are those of `GNM_JOINTS`, in this order."""

    template: Float[np.ndarray, "V 3"]
    identities: Float[np.ndarray, "S V 3"]
    expressions: Float[np.ndarray, "E V 3"]
    joints: Float[np.ndarray, "4 3"]
    joint_identities: Float[np.ndarray, "S 4 3"]
    weights: Float[np.ndarray, "4 V"]
    correctives: Float[np.ndarray, "4 9 V 3"]
    triangles: Int[np.ndarray, "F 3"]
    uvs: Float[np.ndarray, "F 3 2"]
    mirror: Int[np.ndarray, "V"]
    groups: dict[str, np.ndarray]


def load_gnm() -> LinearHead:
    """Load the downloaded GNM head; the first time takes a minute, and what it finds is kept in the cache.

    Raises InputError, with the command that fetches it, when it is not here, and when it is not what it should be.
    """
    path = GNM.files[0].place
    if not path.is_file():
        raise InputError(
            f"the head gnm is not on this machine ({GNM.size / 1e6:.0f} MB): fetch it with `zero1toa fetch gnm`, "
            "or use --head anny"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    built = cache_folder() / f"gnm-{digest[:16]}-{FORMAT}.safetensors"
    return LinearHead.from_tensors("gnm", kept_tensors(built, lambda: build_tensors(read_gnm(path))))


def build_tensors(file: GnmFile) -> dict[str, Tensor]:
    """Turn the file into the tensors of a `LinearHead`."""
    expressions = torch.from_numpy(file.expressions.astype(np.float32))
    return complete_head(bare_head(file), expressions, shapes=SHAPES).tensors()


def read_gnm(path: Path) -> GnmFile:
    """Read the arrays of a GNM file; nothing in it is unpickled. Raises InputError when it is damaged or something else."""
    again = "delete it and run `zero1toa fetch gnm`"
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in SHAPES_OF}
    except KeyError as error:
        raise InputError(f"{path} is no GNM head ({error}): {again}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged, or holds Python objects instead of plain arrays: {again}") from error
    known: dict[str | int, int] = {}
    for name, shape in SHAPES_OF.items():
        if len(shape) != arrays[name].ndim or any(
            known.setdefault(side, size if isinstance(side, str) else side) != size
            for side, size in zip(shape, arrays[name].shape, strict=True)
        ):
            raise InputError(f"{path} is no GNM head ({name} has the shape {arrays[name].shape}): {again}")
    names = [str(name) for name in arrays["joint_names"]]
    groups = {str(name): group > 0.5 for name, group in zip(arrays["vertex_group_names"], arrays["vertex_groups"], strict=True)}
    lacking = [*(set(GNM_JOINTS) - set(names)), *({*GROUPS, CORNEAS} - set(groups))]
    vertices = known["V"]
    if lacking or (known["P"], known["C"]) != (9 * len(names), 3 * vertices):
        raise InputError(f"{path} is no GNM head of version 3 ({', '.join(sorted(lacking)) or 'correctives'}): {again}")
    order = [names.index(name) for name in GNM_JOINTS]
    correctives = arrays["pose_correctives_regressor"].astype(np.float32).reshape(len(names), 9, vertices, 3)
    return GnmFile(
        arrays["template_vertex_positions"].astype(np.float64), arrays["vertex_identity_basis"], arrays["expression_basis"],
        arrays["template_joint_positions"][order].astype(np.float64), arrays["joint_identity_basis"][:, order],
        arrays["skinning_weights"][order].astype(np.float64), correctives[order], arrays["triangles"].astype(np.int64),
        arrays["triangle_uvs"], arrays["mirror_indices"].astype(np.int64), groups,
    )  # fmt: skip


def bare_head(file: GnmFile) -> LinearHead:
    """Bring the file into our origin, joints and parts; landmarks and actions are still unknown."""
    origin = file.joints[2:].mean(0)
    keep = ~file.groups[CORNEAS][file.triangles].all(1)
    triangles = file.triangles[keep]
    parts = np.full(len(triangles), PARTS.index("skin"))
    for group, part in GROUPS.items():
        parts[file.groups[group][triangles].all(1)] = PARTS.index(part)
    uvs, uv_faces = np.unique(file.uvs[keep].reshape(-1, 2).round(7), axis=0, return_inverse=True)
    # Regions may lie on tiles beside each other; ours lie on one.
    uvs = uvs / np.maximum(1, np.ceil(uvs.max(0)))
    # Ours: a root below the neck, which nothing follows, and a jaw, which its expressions move.
    place = [JOINTS.index(name) for name in GNM_JOINTS]
    neck, head = file.joints[0], file.joints[1]
    joints = np.stack([neck, neck, head, head, file.joints[2], file.joints[3]]) - origin
    joint_basis = file.joint_identities[:, [0, 0, 1, 1, 2, 3]]
    weights = np.zeros((len(file.template), len(JOINTS)))
    weights[:, place] = (file.weights / file.weights.sum(0)).T
    correctives = np.zeros((len(JOINTS), 9, *file.template.shape), np.float32)
    correctives[place] = file.correctives

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    surface = Surface(
        faces=torch.from_numpy(triangles),
        uvs=tensor(uvs),
        uv_faces=torch.from_numpy(uv_faces.reshape(-1, 3)),
        parts=torch.from_numpy(parts),
        mirror=torch.from_numpy(file.mirror),
    )
    return LinearHead(
        name="gnm",
        template=tensor(file.template - origin),
        shape_basis=tensor(file.identities),
        expression_basis=torch.zeros(len(ARKIT_NAMES), *file.template.shape),
        joints=tensor(joints),
        joint_basis=tensor(joint_basis),
        weights=tensor(weights),
        surface=surface,
        landmark_faces=torch.zeros(478, dtype=torch.long),
        landmark_weights=torch.full((478, 3), 1 / 3),
        pose_basis=tensor(correctives[1:].reshape(-1, *file.template.shape)),
    )
