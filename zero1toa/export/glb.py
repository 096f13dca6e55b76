"""avatar.glb: the rigged avatar in one standard file, for players that know nothing of this program.

Binary glTF 2.0 in this program's axes (metres, +y up, +z out of the face), which are glTF's own. In the scene:

mesh and node "head"     Triangles with the vertex and triangle order of the head model. POSITION float32: the person at
                         rest. JOINTS_0 u8 and WEIGHTS_0 float32: the four largest skinning weights. 52 morph targets of
                         POSITION, sparse float32 that share two buffer views; one that moves nothing is an accessor
                         without bytes, so that all keep their places. `mesh.extras.targetNames` names them (ARKit). No
                         `mesh.weights`: the splats lie on the resting head.
skin                     Joints root, neck, head, jaw, left_eye, right_eye; nodes that translate; inverse bind matrices
                         are pure translations by minus the joint's resting place. The node of joint "head" and that of
                         the mesh share a name.
mesh and node "splats"   Points with KHR_gaussian_splatting (used, not required), in the world, on the resting head:
                             POSITION              float32 x 3   metres
                             ...:ROTATION          i16n x 4      unit quaternion x, y, z, w
                             ...:SCALE             u16n x 3      standard deviations, 65535 being one metre (15 um apart)
                             ...:OPACITY           u8n           the very bytes of COLOR_0's alpha, see below
                             ...:SH_DEGREE_0_COEF_0 float32 x 3  (rgb - 0.5) / 0.28209479177387814, rgb as displayed
                             COLOR_0               u8n x 4       rgb made linear and opacity, for viewers without splats
                             _FACE                 u16           the triangle of mesh "head" on which the splat lives;
                                                                 float32 beyond 65536 triangles, as glTF forbids u32 here
                         `primitive.extras.splatBinding` = {"mesh": 0, "primitive": 0, "face": "_FACE", "version": 1}.

To play it, pose the mesh as glTF says. For each splat take the frame of its triangle on the resting mesh (origin T0,
rotation R0, size k0, as in `zero1toa.geometry.mesh.face_frames`, k0 at least `SMALLEST_TRIANGLE`) and on the posed one
(T, R, k): the splat has then the centre T + (k / k0) R R0' (POSITION - T0), the rotation R R0' ROTATION and the scale
(k / k0) SCALE, where R0' undoes R0. Rotations of triangles come from all three corners, so the rig costs two bytes a splat.

Rows of attributes begin every 4 bytes, as glTF demands: `byteStride` is always there, 4 for u8n and u16 scalars and 8 for
three u16n. The buffer view of OPACITY begins 3 bytes into that of COLOR_0, which is not a multiple of 4 (a view's own
offset need not be); storing opacity once keeps 40,000 splats below 3 MB.

`asset.extras.zero1toa` is what a player needs besides:

    version      1
    head         "anny": which head model the mesh is
    photo        {"expression": [one per morph target], "neck": [3], "head": [3], "eyes": [[3], [3]]}: the photo's pose;
                 turns of the joints as axis-angle in radians; eyes left, right. Root and jaw never turn.
    camera       {"viewmat": 4 rows of 4, "intrinsics": 3 rows of 3, "width", "height"}: the photo's (OpenCV axes: x right,
                 y down, z forward; pixels)
    target       [3]: the point that cameras go around
    yaw          degrees round the head from which the face is seen straight on, 0 being the photo's own view
    background   the grey in [0, 1] that the avatar was trained over
    confidence   {"yaw": [[degrees, share], ...], "expression": {name: share}}: how far the photo knew each view and each
                 expression at its end, in [0, 1]; see `zero1toa.export.confidence`
    provenance   lines for people: what this is and how it was made
    origin       the same for programs: {"statement", "digitalSourceType" (IPTC's term), "generator", "created", ...}
    made         {"preset", "prior", "seed", "iteration", "iterations", "version", "created"}
    landmarks    {"triangles": [478], "weights": [[a, b] of each]}: where MediaPipe's landmarks lie, at a, b and 1 - a - b

The photo is not in the file. Only heads that are blend shapes and skinning and nothing else fit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa import __version__
from zero1toa.avatar.rigged import SH0
from zero1toa.export.confidence import confidence
from zero1toa.export.gltf import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, POINTS, TRIANGLES, Builder, bounds
from zero1toa.export.saved import SavedAvatar
from zero1toa.export.views import Viewer
from zero1toa.head.linear import JOINTS, PARENTS, LinearHead
from zero1toa.media import explain_writing, replacing
from zero1toa.types import Gaussians, HeadState, Identity, InputError

FORMAT = 1
SPLATS = "KHR_gaussian_splatting"
FACE = "_FACE"
BINDING = {"mesh": 0, "primitive": 0, "face": FACE, "version": 1}
MADE = ("preset", "prior", "seed", "iteration", "iterations", "version", "created")


def write_glb(path: str | Path, saved: SavedAvatar) -> Path:
    """Write an avatar as one rigged glb, all at once or not at all.

    Raises InputError when the name or the place cannot be used, or when the avatar does not fit into a glb.
    """
    path = Path(path)
    if path.suffix.lower() != ".glb":
        raise InputError(f"cannot write {path.name} as a rigged avatar: use a name that ends in .glb")
    data = glb_bytes(saved)
    with replacing(path) as partial, explain_writing(path):
        partial.write_bytes(data)
    return path


def glb_bytes(saved: SavedAvatar, *, rate: bool = True) -> bytes:
    """Give the rigged glb of an avatar; without `rate` that is quick, but the file says nothing of confidence.

    Raises InputError when the head is more than the file can say: FLAME moves its skin with pose correctives, and turns
    joints with expressions.
    """
    return _describe(saved, rate=rate).to_bytes()


@torch.no_grad()
def _describe(saved: SavedAvatar, *, rate: bool) -> Builder:
    head, identity = _linear(saved.avatar.head), saved.avatar.identity
    joints = (head.joints + torch.tensordot(identity.shape, head.joint_basis, 1)).cpu().numpy().astype(np.float32)
    own = [place - joints[parent] if parent >= 0 else place for place, parent in zip(joints, PARENTS, strict=True)]
    nodes: list[dict[str, Any]] = [{"name": name, "translation": _plain(move)} for name, move in zip(JOINTS, own, strict=True)]
    for joint, node in enumerate(nodes):
        if children := [child for child, parent in enumerate(PARENTS) if parent == joint]:
            node["children"] = children
    first = len(nodes)
    nodes += [{"name": "head", "mesh": 0, "skin": 0}, {"name": "splats", "mesh": 1}]
    builder = Builder(
        {
            "asset": {
                "version": "2.0",
                "generator": f"zero1toa {__version__}",
                "extras": {"zero1toa": _record(saved, head, rate=rate)},
            },
            "extensionsUsed": [SPLATS],
            "scene": 0,
            "scenes": [{"nodes": [0, first, first + 1]}],
            "nodes": nodes,
        }
    )
    posed = saved.avatar.pose(head.rest_state())
    builder.document["meshes"] = [
        _head_mesh(builder, head, identity),
        _splat_mesh(builder, posed, saved.avatar.face.cpu().numpy(), len(head.surface.faces)),
    ]
    binds = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    binds[:, 3, :3] = -joints  # glTF keeps matrices column by column
    skin = {"joints": list(range(len(JOINTS))), "skeleton": 0, "inverseBindMatrices": builder.rows(binds)}
    builder.document["skins"] = [skin]
    return builder


def _linear(head: Any) -> LinearHead:
    """Refuse heads that glTF's blend shapes and skinning cannot move."""
    if not isinstance(head, LinearHead) or head.pose_basis is not None or head.expression_turns is not None:
        raise InputError(
            f"the head model {head.name!r} does more than blend shapes and skinning, which is all that a glb can hold: "
            "export the avatar as ply or mp4, or create it with --head anny"
        )
    return head


def _head_mesh(builder: Builder, head: LinearHead, identity: Identity) -> dict[str, Any]:
    rest = head.vertices(identity, head.rest_state())[0].cpu().numpy()
    morphs = (head.expression_basis * head.blink(identity)[:, None, None]).cpu().numpy()
    faces = head.surface.faces.cpu().numpy()
    weights = head.weights.cpu().numpy()
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(weights, joints, 1)
    weights = weights / weights.sum(1, keepdims=True)
    joints[weights == 0] = 0  # glTF wants it so
    attributes = {
        "POSITION": builder.rows(rest.astype(np.float32), target=ARRAY_BUFFER, **bounds(rest)),
        "JOINTS_0": builder.rows(joints.astype(np.uint8), target=ARRAY_BUFFER),
        "WEIGHTS_0": builder.rows(weights.astype(np.float32), target=ARRAY_BUFFER),
    }
    # The highest number of a type would restart a strip of triangles.
    corners = faces.astype(np.uint16 if len(rest) < 1 << 16 else np.uint32)
    primitive = {
        "attributes": attributes,
        "indices": builder.rows(corners.reshape(-1), target=ELEMENT_ARRAY_BUFFER),
        "mode": TRIANGLES,
        "targets": [{"POSITION": index} for index in builder.sparse(list(morphs))],
    }
    return {"name": "head", "primitives": [primitive], "extras": {"targetNames": list(head.expression_names)}}


def _splat_mesh(builder: Builder, posed: Gaussians, face: np.ndarray, faces: int) -> dict[str, Any]:
    means, quats, scales, opacities, colors = (getattr(posed, name)[0].cpu().numpy() for name in Gaussians.__slots__)
    quats = quats[:, [1, 2, 3, 0]] / np.linalg.norm(quats, axis=-1, keepdims=True)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    rgba = _steps(np.concatenate([linear, opacities[:, None]], 1), np.uint8)
    # Four more bytes, so that the rows of the view that begins at alpha are complete, too.
    color = builder.view(rgba.tobytes() + bytes(4), target=ARRAY_BUFFER, byteStride=4)
    byte, count = np.dtype(np.uint8), len(means)
    attributes = {
        "POSITION": builder.rows(means, target=ARRAY_BUFFER, **bounds(means)),
        "COLOR_0": builder.accessor(color, byte, 4, count, normalized=True),
        f"{SPLATS}:ROTATION": builder.rows(_steps(quats, np.int16), target=ARRAY_BUFFER, normalized=True),
        f"{SPLATS}:SCALE": builder.rows(_steps(scales, np.uint16), target=ARRAY_BUFFER, normalized=True),
        f"{SPLATS}:OPACITY": builder.accessor(builder.overlay(color, 3), byte, 1, count, normalized=True),
        f"{SPLATS}:SH_DEGREE_0_COEF_0": builder.rows(((colors - 0.5) / SH0).astype(np.float32), target=ARRAY_BUFFER),
        FACE: builder.rows(face.astype(np.uint16 if faces <= 1 << 16 else np.float32), target=ARRAY_BUFFER),
    }
    primitive = {
        "attributes": attributes,
        "mode": POINTS,
        "extensions": {SPLATS: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
        "extras": {"splatBinding": BINDING},
    }
    return {"name": "splats", "primitives": [primitive]}


def _record(saved: SavedAvatar, head: LinearHead, *, rate: bool) -> dict[str, Any]:
    viewer, details, state, camera = Viewer.of(saved), saved.details, saved.state, saved.camera
    return {
        "version": FORMAT,
        "head": head.name,
        "photo": {name: _plain(getattr(state, name)[0]) for name in HeadState.__slots__},
        "camera": {
            "viewmat": _plain(camera.viewmats[0]),
            "intrinsics": _plain(camera.intrinsics[0]),
            "width": camera.width,
            "height": camera.height,
        },
        "target": _plain(viewer.target),
        "yaw": viewer.front(),
        "background": details.background,
        "confidence": confidence(viewer) if rate else {},
        "provenance": list(saved.provenance().lines()),
        "origin": saved.provenance().record(),
        "made": {name: getattr(details, name) for name in MADE},
        "landmarks": {"triangles": head.landmark_faces.tolist(), "weights": _plain(head.landmark_weights[:, :2], 4)},
    }


def _steps(values: Float[np.ndarray, "..."], kind: type) -> np.ndarray:
    """Turn values into whole numbers of which the highest means 1."""
    return np.rint(values.clip(-1, 1) * np.iinfo(kind).max).astype(kind)


def _plain(values: Tensor | np.ndarray, digits: int = 7) -> list[Any]:
    """Turn numbers into nested lists; seven digits are a tenth of a micron and of a microradian."""
    return np.round(np.asarray(values, np.float64), digits).tolist()
