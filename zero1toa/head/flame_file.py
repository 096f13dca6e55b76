"""Read a FLAME model file without trusting it: `.npz`, or the original pickle with nothing in it but arrays.

Unpickling calls whatever the file names. The original files name numpy arrays, scipy's sparse matrices and the
arrays of chumpy, a library that no longer installs. So these three are admitted, the last two as stand-ins that
only keep what the file says about them, and any other name ends the reading.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from zero1toa.types import InputError

WHERE_TO_GET = (
    "a FLAME file comes from https://flame.is.tue.mpg.de under a licence of its own, "
    "as generic_model.pkl or flame2023.pkl; the default head, anny, needs none"
)
SHAPES, EXPRESSIONS = 300, 100
LAYOUT = {
    "v_template": (5023, 3), "shapedirs": (5023, 3, SHAPES + EXPRESSIONS), "posedirs": (5023, 3, 36),
    "J_regressor": (5, 5023), "weights": (5023, 5), "f": (9976, 3), "kintree_table": (2, 5),
}  # fmt: skip
PARENTS = [0, 1, 1, 1]  # of neck, jaw, left eye, right eye; the root has none


@dataclass(frozen=True, slots=True)
class FlameFile:
    """What a FLAME file holds, in its own axes (metres, y up, z out of the face, x to the subject's left).

    Joints: root, neck, jaw, left eye, right eye.
    """

    template: Float[np.ndarray, "5023 3"]
    shapes: Float[np.ndarray, "300 5023 3"]
    expressions: Float[np.ndarray, "100 5023 3"]
    pose_basis: Float[np.ndarray, "36 5023 3"]
    joint_regressor: Float[np.ndarray, "5 5023"]
    weights: Float[np.ndarray, "5023 5"]
    faces: Int[np.ndarray, "9976 3"]


def read_flame(path: Path, data: bytes) -> FlameFile:
    """Read the bytes of a FLAME 2020, 2023 or 2023 Open file; raises InputError when they are anything else."""
    content = _read_npz(path, data) if data.startswith(b"PK") else _read_pickle(path, data)
    missing = [key for key in LAYOUT if key not in content]
    if missing:
        raise InputError(f"{path.name} lacks {', '.join(missing)}, so it is no FLAME head model: {WHERE_TO_GET}")
    arrays = {key: _array(path, key, content[key]) for key in LAYOUT}
    faces = arrays["f"].astype(np.int64)
    if faces.min() < 0 or faces.max() >= LAYOUT["v_template"][0] or arrays["kintree_table"][0, 1:].tolist() != PARENTS:
        raise InputError(f"{path.name} is damaged, or no FLAME head model: {WHERE_TO_GET}")
    directions = np.moveaxis(arrays["shapedirs"], 2, 0).astype(np.float32)
    return FlameFile(
        template=arrays["v_template"],
        shapes=directions[:SHAPES],
        expressions=directions[SHAPES:],
        pose_basis=np.moveaxis(arrays["posedirs"], 2, 0),
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=faces,
    )


def _array(path: Path, key: str, value: Any) -> np.ndarray:
    """Turn one entry into an array of numbers of the right shape."""
    if isinstance(value, _StandIn):
        try:
            value = value.array()
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{key} of {path.name} is damaged: download the file again") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.shape != LAYOUT[key]:
        shape = getattr(value, "shape", None) or type(value).__name__
        raise InputError(f"{path.name} is no FLAME head model: {key} is {shape} instead of {LAYOUT[key]}; {WHERE_TO_GET}")
    value = np.asarray(value, np.float64)
    if not np.isfinite(value).all():
        raise InputError(f"{key} of {path.name} holds values that are not numbers: download the file again")
    return value


def _read_npz(path: Path, data: bytes) -> Mapping[str, Any]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {key: archive[key] for key in LAYOUT if key in archive}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        raise InputError(
            f"{path.name} is damaged, or holds Python objects instead of plain arrays: use the original pickle"
        ) from error


def _read_pickle(path: Path, data: bytes) -> Mapping[str, Any]:
    try:
        content = _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path.name} {error}") from None
    except Exception as error:  # damaged pickles raise anything
        raise InputError(f"{path.name} is damaged, or no FLAME file: {WHERE_TO_GET}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name} is no FLAME file: {WHERE_TO_GET}")
    return content


class _StandIn:
    """Something of another library that the file describes: its state is kept, none of its code exists here."""

    def array(self) -> np.ndarray:
        """Work out the array that the real thing would be."""
        raise NotImplementedError


class _Ch(_StandIn):
    """Stands in for `chumpy.ch.Ch`, an array `x`."""

    x: np.ndarray

    def array(self) -> np.ndarray:
        return self.x


class _Select(_StandIn):
    """Stands in for `chumpy.reordering.Select`, some entries of another array."""

    a: np.ndarray | _StandIn
    idxs: np.ndarray
    preferred_shape: tuple[int, ...]

    def array(self) -> np.ndarray:
        source = self.a.array() if isinstance(self.a, _Ch) else np.asarray(self.a)
        return source.ravel()[self.idxs].reshape(self.preferred_shape)


class _Csc(_StandIn):
    """Stands in for `scipy.sparse.csc_matrix`: by columns, `indices` are rows."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray

    def array(self) -> np.ndarray:
        # The shape is what it must be: a few bytes in a file must not ask for any amount of memory.
        return self._dense(LAYOUT["J_regressor"])

    def _dense(self, shape: tuple[int, ...]) -> np.ndarray:
        columns = np.repeat(np.arange(shape[1]), np.diff(self.indptr))
        dense = np.zeros(shape)
        np.add.at(dense, (self.indices, columns), self.data)
        return dense


class _Csr(_Csc):
    """Stands in for `scipy.sparse.csr_matrix`: by rows, `indices` are columns."""

    def array(self) -> np.ndarray:
        return self._dense(LAYOUT["J_regressor"][::-1]).T


class _ArrayKind:
    """Stands in for the name `numpy.ndarray`, which is only ever handed to `_reconstruct`."""


def _new_array(kind: type, shape: tuple[int, ...], code: Any) -> np.ndarray:
    """Stand in for numpy's `_reconstruct`: an empty array, which the file fills afterwards."""
    if kind is not _ArrayKind:
        raise TypeError(kind)
    return np.ndarray((0,), np.dtype("b"))


def _new_object(kind: type, base: type, state: Any) -> _StandIn:
    """Stand in for `copy_reg._reconstructor`, by which Python 2 pickles objects of new-style classes."""
    if not issubclass(kind, _StandIn) or base is not object:
        raise TypeError(kind)
    return kind()


def _latin1(text: str, codec: str) -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 writes bytes into old pickles."""
    if codec not in ("latin1", "latin-1"):
        raise LookupError(codec)
    return text.encode("latin1")


def _scalar(code: np.dtype, data: Any = b"") -> Any:
    """Stand in for numpy's `scalar`."""
    if code.hasobject:
        raise TypeError(code)
    return np.frombuffer(data if isinstance(data, bytes) else data.encode("latin1"), code, 1)[0]


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows arrays and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return _new_array
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "scalar"):
                return _scalar
            case "numpy", "ndarray":
                return _ArrayKind
            case "numpy", "dtype":
                return np.dtype
            case (("scipy.sparse.csc" | "scipy.sparse._csc"), "csc_matrix"):
                return _Csc
            case (("scipy.sparse.csr" | "scipy.sparse._csr"), "csr_matrix"):
                return _Csr
            case (("chumpy.ch" | "chumpy"), "Ch"):
                return _Ch
            case "chumpy.reordering", "Select":
                return _Select
            case (("copy_reg" | "copyreg"), "_reconstructor"):
                return _new_object
            case (("__builtin__" | "builtins"), "object"):
                return object
            case (("__builtin__" | "builtins"), "set"):  # chumpy's arrays remember what changed in one
                return set
            case "_codecs", "encode":
                return _latin1
        raise InputError(f"names {module}.{name}, which no FLAME file needs: it was not read, because it might run anything")

    def persistent_load(self, pid: Any) -> Any:
        raise InputError("refers to something outside itself, which no FLAME file does: it was not read")
