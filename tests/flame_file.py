"""A synthetic file of the exact FLAME layout, built from Anny: 5,023 vertices, 9,976 faces, 400 directions, 5 joints.

None of it is FLAME's; what is true of FLAME (units, axes, which joint turns what, sparse joint regressor, chumpy
arrays in a Python 2 pickle) is true of it.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import types
from collections import Counter
from pathlib import Path
from typing import ClassVar
from unittest import mock

import numpy as np
from scipy import sparse

from tests.avatars import made_once
from tests.heads import copy_anny
from zero1toa.geometry.rotation import axis_angle_to_matrix
from zero1toa.head.anny import load_anny
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.linear import LinearHead
from zero1toa.types import PARTS

VERTICES, FACES = 5023, 9976
JAW_OPEN = 0.35  # radians about +x
ORIGIN = np.array([0.001, 0.034, -0.021])  # between the eyes; FLAME's own origin lies elsewhere too


@functools.cache
def flame_arrays() -> dict[str, np.ndarray]:
    """Build the arrays of the file."""
    anny, generator = load_anny(), np.random.default_rng(0)
    parts = np.array(PARTS)[anny.surface.parts.numpy()]
    faces = anny.surface.faces.numpy()
    faces = faces[~np.isin(parts, ("teeth", "tongue")) & (anny.template.numpy()[faces].mean(1)[:, 1] > -0.2)]
    kept, faces = np.unique(faces, return_inverse=True)
    faces, rows = _grown(faces.reshape(-1, 3), anny.template.numpy()[kept])
    kept = kept[rows]  # (V, 2): a new vertex lies in the middle between two old ones

    def lift(basis) -> np.ndarray:
        return basis.double().numpy()[..., kept, :].mean(-2)

    template, actions, shapes = lift(anny.template), lift(anny.expression_basis), lift(anny.shape_basis)
    weights = anny.weights.double().numpy()[kept].mean(1)
    eyes = weights[:, 4:] > 0.5
    joints = anny.joints.double().numpy()[[0, 2, 3, 4, 5]]

    turn = axis_angle_to_matrix(anny.template.new_tensor([JAW_OPEN, 0, 0])).double().numpy() - np.eye(3)
    reach = (template - joints[2]) @ turn.T
    opened = actions[ARKIT_NAMES.index("jawOpen")]
    jaw = np.clip((opened * reach).sum(1) / np.maximum((reach**2).sum(1), 1e-6), 0, 1)
    jaw[(np.linalg.norm(opened, axis=1) < 2e-3) | eyes.any(1)] = 0
    skull = weights[:, 1:4].sum(1)
    weights = np.stack([weights[:, 0], skull * (1 - jaw), skull * jaw, weights[:, 4], weights[:, 5]], 1)

    # What the joints do is not also in the expressions; the rest becomes principal directions, about as large as
    # FLAME's are per standard deviation, and some noise.
    own = actions.copy()
    own[:, eyes.any(1)] = 0
    own[ARKIT_NAMES.index("jawOpen")] -= jaw[:, None] * reach
    _, sizes, right = np.linalg.svd(own.reshape(52, -1), full_matrices=False)
    expressions = (sizes[:, None] / 3 * right).reshape(52, -1, 3)
    local = shapes[8:]
    noise = np.tensordot(generator.normal(size=(48, len(local))) * 0.005, local, 1)
    expressions = np.concatenate([expressions, noise])
    more = np.tensordot(generator.normal(size=(300 - len(shapes), len(local))) * 0.02, local, 1)
    shapes = np.concatenate([shapes * 0.3, more])
    poses = np.tensordot(generator.normal(size=(36, len(local))) * 0.01, local, 1)
    for directions in (expressions, poses):
        directions[:, eyes.any(1)] = 0
    template = template + ORIGIN
    return {
        "v_template": template,
        "shapedirs": np.moveaxis(np.concatenate([shapes, expressions]), 0, 2),
        "posedirs": np.moveaxis(poses, 0, 2),
        "J_regressor": _regressor(template, joints + ORIGIN, eyes),
        "weights": weights,
        "f": faces.astype(np.uint32),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
    }


def _grown(faces: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the longest edges until there are as many vertices and faces as FLAME has; give the parents of each vertex."""
    faces = [tuple(map(int, face)) for face in faces]
    parents = [(v, v) for v in range(len(vertices))]
    # Splitting an edge adds one vertex, and one face for each face beside it.
    inner = (FACES - len(faces)) - (VERTICES - len(parents))
    counts = Counter(tuple(sorted(edge)) for f in faces for edge in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0])))
    by_length = sorted(counts, key=lambda edge: -np.linalg.norm(vertices[edge[0]] - vertices[edge[1]]))
    touched: set[int] = set()
    around: dict[int, set[int]] = {}
    for index, face in enumerate(faces):
        for corner in face:
            around.setdefault(corner, set()).add(index)
    quota = {2: inner, 1: VERTICES - len(parents) - inner}
    for a, b in by_length:
        beside = around[a] & around[b]
        if quota.get(counts[a, b], 0) == 0 or beside & touched:
            continue
        quota[counts[a, b]] -= 1
        new = len(parents)
        parents.append((a, b))
        for index in beside:
            face = faces[index]
            faces[index] = tuple(new if corner == b else corner for corner in face)
            faces.append(tuple(new if corner == a else corner for corner in face))
        touched |= beside
    assert (len(parents), len(faces)) == (VERTICES, FACES)
    return np.array(faces), np.array(parents)


def _regressor(template: np.ndarray, joints: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Give weights of vertices whose sums are the joints: of those around, or of all of an eye."""
    regressor = np.zeros((5, len(template)))
    for joint in range(3):
        near = np.argsort(np.linalg.norm(template - joints[joint], axis=1))[:40]
        system = np.concatenate([template[near].T, np.ones((1, 40))])
        regressor[joint, near] = np.linalg.lstsq(system, np.append(joints[joint], 1), rcond=None)[0]
    regressor[3:] = (eyes / eyes.sum(0)).T
    return regressor


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write the arrays plainly."""
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    return path


def write_pickle(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write the arrays as FLAME's own files are: protocol 2 of Python 2, chumpy arrays, a sparse joint regressor."""
    chumpy, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    ch = type("Ch", (), {"__module__": "chumpy.ch"})
    setattr(module, "Ch", ch)  # noqa: B010
    content = dict(arrays, bs_style="lbs", bs_type="lrotmin", J_regressor=sparse.csc_matrix(arrays["J_regressor"]))
    for key in ("v_template", "shapedirs", "posedirs", "weights"):
        content[key] = ch()
        content[key].__dict__ |= {"x": arrays[key], "_dirty_vars": set(), "_itr": None, "_depends_on_deps": {}}
    sys.modules |= {"chumpy": chumpy, "chumpy.ch": module}
    try:
        with path.open("wb") as stream:
            _Python2Pickler(stream, protocol=2).dump(content)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    return path


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Pickles bytes as the plain strings that Python 2 wrote."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def _save_string(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = _save_string


@functools.cache
def load_synthetic_flame() -> LinearHead:
    """Load the synthetic file as a user's own; landmarks are measured on one person only, to save time."""
    from zero1toa.head import flame

    def make(folder: Path) -> None:
        write_pickle(copy_anny(folder) / "synthetic.pkl", flame_arrays())
        load(folder)

    def load(folder: Path) -> LinearHead:
        with mock.patch.dict(os.environ, ZERO1TOA_CACHE=str(folder)), mock.patch.object(flame, "SHAPES", 1):
            return flame.load_flame(folder / "synthetic.pkl")

    return load(made_once("flame", make))
