"""Read avatar.glb back, whose format `zero1toa.export.glb` describes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero1toa import __version__
from zero1toa.avatar.rigged import SH0, Avatar
from zero1toa.export.glb import BINDING, FACE, FORMAT, MADE, SPLATS
from zero1toa.export.gltf import Glb, indices, numbers, whole
from zero1toa.export.saved import Details, SavedAvatar
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import AvatarError, Camera, FitReport, Gaussians, HeadState, Portrait, Surface

# Heads have ten thousand vertices and 52 expressions; a small file could ask for far more memory than it holds.
MOST_VERTICES, MOST_TARGETS, LARGEST_FILE = 100_000, 128, 1 << 28


def read_glb(path: str | Path) -> SavedAvatar:
    """Read an avatar that `write_glb` wrote.

    Its head poses, and its landmarks follow, but what the file does not hold is empty: texture coordinates, parts and
    twins of the surface, shapes of other people, and of the portrait the image, its matte and its landmarks. Of the fit
    report only the yaw is known. Raises AvatarError when the file is missing, damaged or of a newer version.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_FILE else b""
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise AvatarError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if size > LARGEST_FILE:
        raise AvatarError(f"{path.name} holds {size >> 20} MB, more than any avatar: give one that `export --to glb` wrote")
    try:
        return _read(Glb.from_bytes(data))
    except AvatarError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise AvatarError(f"{path.name} is no whole avatar ({reason}): copy the file again, or export it again") from error


def _read(glb: Glb) -> SavedAvatar:
    record = glb.document["asset"]["extras"]["zero1toa"]
    if whole(record["version"], 1 << 31, "versions") > FORMAT:
        made = record["made"]["version"]
        raise AvatarError(f"this avatar was exported by zero1toa {made}: update this program, which is {__version__}")
    splats = glb.item("meshes", 1)["primitives"][0]
    if splats["extras"]["splatBinding"] != BINDING:
        raise ValueError("its splats are bound in an unknown way")
    head = _read_head(glb, record)
    identity, posed, face = head.neutral_identity(), *_read_splats(glb, splats["attributes"])
    face = torch.from_numpy(indices(face, len(head.surface.faces), "triangles"))
    details = Details(head=head.name, splats=len(face), background=_number(record, "background"), **_made(record["made"]))
    camera = _read_camera(record["camera"])
    width = {"expression": (len(head.expression_names),), "neck": (3,), "head": (3,), "eyes": (2, 3)}
    photo = {name: torch.from_numpy(numbers(record["photo"][name], shape, name))[None] for name, shape in width.items()}
    unknown = float("nan")
    portrait = Portrait(
        image=torch.zeros(0, 0, 3),
        alpha=torch.zeros(0, 0),
        points=torch.zeros(0, 2),
        camera=camera,
        identity=identity,
        state=HeadState(**photo),
        report=FitReport(unknown, _number(record, "yaw"), unknown, unknown, ()),
        crop=(0.0, 0.0, 1.0),
    )
    values = {name: getattr(posed, name)[0] for name in Gaussians.__slots__}
    avatar = Avatar.bind(head, identity, head.rest_state(), face=face, **values)
    if not all(bool(torch.isfinite(values).all()) for values in avatar.state_arrays().values()):
        raise ValueError("its splats lie too far away")
    return SavedAvatar(avatar, portrait, details)


def _read_head(glb: Glb, record: dict[str, Any]) -> LinearHead:
    mesh, skin = glb.item("meshes", 0), glb.item("skins", 0)
    primitive, names = mesh["primitives"][0], tuple(str(name) for name in mesh["extras"]["targetNames"])
    rest = glb.rows(primitive["attributes"]["POSITION"], types=("VEC3",)).astype(np.float32)
    count, targets = whole(len(rest), MOST_VERTICES, "vertices"), primitive["targets"]
    if whole(len(targets), MOST_TARGETS, "expressions") != len(names) or len(set(names)) < len(names):
        raise ValueError("its expressions and their names are not the same in number")
    if [glb.item("nodes", node)["name"] for node in skin["joints"]] != list(JOINTS):
        raise ValueError("its joints are not those of a head")
    basis = np.stack([glb.rows(target["POSITION"], types=("VEC3",), count=count) for target in targets]).astype(np.float32)
    joints = indices(glb.rows(primitive["attributes"]["JOINTS_0"], types=("VEC4",), count=count), len(JOINTS), "joints")
    amounts = glb.rows(primitive["attributes"]["WEIGHTS_0"], types=("VEC4",), count=count)
    weights = np.zeros((count, len(JOINTS)), np.float32)
    np.add.at(weights, (np.arange(count)[:, None], joints), amounts)
    if not np.allclose(weights.sum(1), 1, atol=0.01):
        raise ValueError("its skinning weights do not add up to one")
    binds = glb.rows(skin["inverseBindMatrices"], types=("MAT4",), count=len(JOINTS)).reshape(-1, 4, 4)
    corners = indices(glb.rows(primitive["indices"], types=("SCALAR",)), count, "vertices")
    faces = torch.from_numpy(corners.reshape(-1, 3))
    marks = record["landmarks"]
    places = indices(numbers(marks["triangles"], (len(marks["triangles"]),), "landmarks"), len(faces), "triangles")
    shares = numbers(marks["weights"], (len(places), 2), "landmarks")
    nothing = torch.zeros(0, dtype=torch.long)
    return LinearHead(
        name=str(record["head"]),
        template=torch.from_numpy(rest),
        shape_basis=torch.zeros(0, count, 3),
        expression_basis=torch.from_numpy(basis),
        joints=torch.from_numpy(-binds[:, 3, :3].astype(np.float32)),
        joint_basis=torch.zeros(0, len(JOINTS), 3),
        weights=torch.from_numpy(weights),
        surface=Surface(faces, torch.zeros(0, 2), nothing.view(0, 3), nothing, nothing),
        landmark_faces=torch.from_numpy(places),
        landmark_weights=torch.from_numpy(np.concatenate([shares, 1 - shares.sum(1, keepdims=True)], 1)),
        expression_names=names,
    )


def _read_splats(glb: Glb, attributes: dict[str, Any]) -> tuple[Gaussians, np.ndarray]:
    """Give the splats on the resting head, and the triangle of each."""
    means = glb.rows(attributes["POSITION"], types=("VEC3",))

    def rows(name: str, kind: str) -> Tensor:
        return torch.from_numpy(glb.rows(attributes[name], types=(kind,), count=len(means)).astype(np.float32))[None]

    scales, opacities = rows(f"{SPLATS}:SCALE", "VEC3"), rows(f"{SPLATS}:OPACITY", "SCALAR")[..., 0]
    quats = rows(f"{SPLATS}:ROTATION", "VEC4")[..., [3, 0, 1, 2]]
    turns = (quats.norm(dim=-1) - 1).abs() > 0.01
    if bool((scales < 0).any() or (opacities < 0).any() or (opacities > 1).any() or turns.any()):
        raise ValueError("its splats have impossible sizes, opacities or rotations")
    posed = Gaussians(
        means=torch.from_numpy(means.astype(np.float32))[None],
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=0.5 + SH0 * rows(f"{SPLATS}:SH_DEGREE_0_COEF_0", "VEC3"),
    )
    return posed, rows(FACE, "SCALAR")[0, :, 0].numpy()


def _read_camera(record: dict[str, Any]) -> Camera:
    viewmat = numbers(record["viewmat"], (4, 4), "the camera's place")
    intrinsics = numbers(record["intrinsics"], (3, 3), "the camera's lens")
    width, height = (whole(record[name], 1 << 14, "pixels") for name in ("width", "height"))
    turn, focal = viewmat[:3, :3], np.diag(intrinsics)
    if not width or not height or focal.min() <= 0 or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3):
        raise ValueError("its camera sees nothing")
    return Camera(torch.from_numpy(viewmat)[None], torch.from_numpy(intrinsics)[None], width, height)


def _made(record: dict[str, Any]) -> dict[str, Any]:
    """Check how the avatar was made: each entry is of the type that `Details` gives it."""
    kinds = {field.name: type(field.default) for field in fields(Details) if field.name in MADE}
    return {name: kind(record[name]) for name, kind in kinds.items()}


def _number(record: dict[str, Any], name: str) -> float:
    numbers(record[name], (), name)
    return float(record[name])
