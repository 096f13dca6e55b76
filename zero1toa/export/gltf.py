"""Binary glTF 2.0: a JSON document and one block of numbers in one file, without a word about what they mean.

Written from the specification of the Khronos Group (registry.khronos.org/glTF/specs/2.0). Views of the block begin at
multiples of 4 bytes and rows of vertex attributes are padded to that, as it demands. Files that come in are not trusted:
every length, offset and index is checked before a byte is read, and all that is wrong raises ValueError with the reason.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
POINTS, TRIANGLES = 0, 4
COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
DTYPES = {code: np.dtype(f"<{name}") for name, code in COMPONENTS.items()}
TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
WIDTHS = {name: width for width, name in TYPES.items()}
# Heads have ten thousand vertices and avatars a hundred thousand splats; more than this is a mistake or an attack.
MOST_ROWS = 2_000_000
MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = b"glTF", 2, b"JSON", b"BIN\0"


class Builder:
    """A document that grows along with the block of numbers that it describes."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document: dict[str, Any] = {**document, "accessors": [], "bufferViews": []}
        self._block = bytearray()

    def view(self, data: bytes, **fields: int) -> int:
        """Append bytes and give the index of their view."""
        self._block += bytes(-len(self._block) % 4)
        views = self.document["bufferViews"]
        views.append({"buffer": 0, "byteOffset": len(self._block), "byteLength": len(data), **fields})
        self._block += data
        return len(views) - 1

    def overlay(self, view: int, skip: int) -> int:
        """Give a view that begins `skip` bytes into another one, for an attribute that shares the bytes of a wider one."""
        views = self.document["bufferViews"]
        under = views[view]
        views.append({**under, "byteOffset": under["byteOffset"] + skip, "byteLength": under["byteLength"] - skip})
        return len(views) - 1

    def accessor(self, view: int, dtype: np.dtype, width: int, count: int, **fields: Any) -> int:
        """Describe `count` rows of `width` numbers at the beginning of a view, and give the accessor's index."""
        described = {"bufferView": view, "componentType": COMPONENTS[dtype.str[1:]], "count": count, "type": TYPES[width]}
        return self._add(described | fields)

    def rows(self, array: Shaped[np.ndarray, "N ..."], *, target: int | None = None, **fields: Any) -> int:
        """Append rows of numbers and give their accessor; those of vertices (ARRAY_BUFFER) are padded to 4 bytes."""
        array = np.ascontiguousarray(array.reshape(len(array), -1))
        array = array.astype(array.dtype.newbyteorder("<"))
        data, size = array.view(np.uint8).reshape(len(array), -1), array.dtype.itemsize * array.shape[1]
        layout = {} if target is None else {"target": target}
        if target == ARRAY_BUFFER:
            data = np.pad(data, ((0, 0), (0, -size % 4)))
            layout["byteStride"] = data.shape[1]
        view = self.view(data.tobytes(), **layout)
        return self.accessor(view, array.dtype, array.shape[1], len(array), **fields)

    def sparse(self, tables: Sequence[Float[np.ndarray, "V 3"]]) -> list[int]:
        """Append tables that are mostly zero, of which only the other rows are kept; give their accessors.

        All share two views, one of row numbers and one of rows. A table of zeros takes no bytes at all.
        """
        filled = [np.flatnonzero(table.any(-1)) for table in tables]
        dtype = np.dtype("<u2" if len(tables[0]) <= 1 << 16 else "<u4")
        indices = self.view(np.concatenate(filled).astype(dtype).tobytes())
        values = self.view(np.concatenate([t[f] for t, f in zip(tables, filled, strict=True)]).astype("<f4").tobytes())
        made, done = [], 0
        for table, rows in zip(tables, filled, strict=True):
            described = {"componentType": COMPONENTS["f4"], "count": len(table), "type": "VEC3", **bounds(table)}
            if len(rows):
                described["sparse"] = {
                    "count": len(rows),
                    "indices": {
                        "bufferView": indices,
                        "byteOffset": done * dtype.itemsize,
                        "componentType": COMPONENTS[dtype.str[1:]],
                    },
                    "values": {"bufferView": values, "byteOffset": done * 12},
                }
            made.append(self._add(described))
            done += len(rows)
        return made

    def to_bytes(self) -> bytes:
        """Give the whole file."""
        block = bytes(self._block) + bytes(-len(self._block) % 4)
        document = self.document | {"buffers": [{"byteLength": len(block)}]}
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = b"".join(
            struct.pack("<I4s", len(data), kind) + data for kind, data in ((JSON_CHUNK, text), (BINARY_CHUNK, block))
        )
        return struct.pack("<4sII", MAGIC, VERSION, 12 + len(chunks)) + chunks

    def _add(self, accessor: dict[str, Any]) -> int:
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1


def bounds(rows: Float[np.ndarray, "N D"]) -> dict[str, list[float]]:
    """Give the fields `min` and `max` of an accessor of floats, in the fewest digits that are the same float32."""
    shortest = lambda values: [float(np.format_float_positional(value, unique=True)) for value in values.astype(np.float32)]
    return {"min": shortest(rows.min(0)), "max": shortest(rows.max(0))}


@dataclass(frozen=True, slots=True)
class Glb:
    """A file that was read: its document, and the block of numbers."""

    document: dict[str, Any]
    block: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Glb:
        """Take a file apart; raises ValueError when it is not complete or not binary glTF 2."""
        if len(data) < 20 or data[:4] != MAGIC:
            raise ValueError("it is not binary glTF")
        version, length = struct.unpack_from("<II", data, 4)
        if version != VERSION:
            raise ValueError(f"it is glTF version {version}, not {VERSION}")
        if length > len(data):
            raise ValueError(f"it was cut short: {len(data)} of {length} bytes are there")
        text, end = _chunk(data, 12, JSON_CHUNK)
        block, _ = _chunk(data, end, BINARY_CHUNK)
        try:
            document = json.loads(text)
        except RecursionError:
            raise ValueError("its description is nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError("its description is not an object")
        return cls(document, block)

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """Give one entry of a list of the document, such as a mesh."""
        entries = self.document.get(kind)
        if not isinstance(entries, list) or not isinstance(entry := entries[whole(index, len(entries) - 1, kind)], dict):
            raise ValueError(f"it has no list of {kind}")
        return entry

    def rows(self, index: Any, *, types: Sequence[str] = tuple(WIDTHS), count: int | None = None) -> Shaped[np.ndarray, "N D"]:
        """Give the rows of an accessor: floats where it says normalised, else in the type they are kept in.

        Raises ValueError when they are of another type or number than asked for, or are not all finite.
        """
        accessor = self.item("accessors", index)
        if accessor.get("type") not in types or accessor.get("componentType") not in DTYPES:
            raise ValueError(f"accessor {index} holds {accessor.get('type')}, not {' or '.join(types)}")
        dtype, width = DTYPES[accessor["componentType"]], WIDTHS[accessor["type"]]
        length = whole(accessor.get("count"), MOST_ROWS, "rows")
        if length < 1 or count not in (None, length):
            raise ValueError(f"accessor {index} holds {length} rows instead of {count or 'some'}")
        rows = self._read(accessor, dtype, width, length) if "bufferView" in accessor else np.zeros((length, width), dtype)
        if "sparse" in accessor:
            self._fill(rows, accessor["sparse"], index)
        if accessor.get("normalized"):
            rows = np.maximum(rows.astype(np.float32) / np.iinfo(dtype).max, -1)
        if not np.isfinite(rows).all():
            raise ValueError(f"accessor {index} holds values that are not numbers")
        return rows

    def _fill(self, rows: Shaped[np.ndarray, "N D"], sparse: dict[str, Any], index: int) -> None:
        """Write the rows that a sparse accessor keeps over those that are there."""
        length = whole(sparse["count"], len(rows), "rows")
        kind = DTYPES[sparse["indices"]["componentType"]]
        if kind.kind != "u":
            raise ValueError(f"accessor {index} counts its rows in {kind}")
        places = self._read(sparse["indices"], kind, 1, length)[:, 0].astype(np.int64)
        if length and places.max() >= len(rows):
            raise ValueError(f"accessor {index} fills rows that it does not have")
        rows[places] = self._read(sparse["values"], rows.dtype, rows.shape[1], length)

    def _read(self, place: dict[str, Any], dtype: np.dtype, width: int, count: int) -> Shaped[np.ndarray, "N D"]:
        """Copy rows out of the view that `place` names."""
        view, size, total = self.item("bufferViews", place["bufferView"]), dtype.itemsize * width, len(self.block)
        start, length = whole(view.get("byteOffset", 0), total, "bytes"), whole(view["byteLength"], total, "bytes")
        offset, stride = whole(place.get("byteOffset", 0), total, "bytes"), whole(view.get("byteStride", size), 252, "bytes")
        if stride < size or start + length > total or offset + max(count - 1, 0) * stride + size * (count > 0) > length:
            raise ValueError("a part of it lies beyond its end")
        if not count:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, self.block, start + offset, (stride, dtype.itemsize)).copy()


def whole(value: Any, highest: int, what: str) -> int:
    """Check that a value from outside is a whole number from 0 to `highest`."""
    if type(value) is not int or not 0 <= value <= highest:
        raise ValueError(f"it asks for {value!r} of {highest} {what}")
    return value


def numbers(values: Any, shape: tuple[int, ...], what: str) -> Float[np.ndarray, "..."]:
    """Check that nested lists from outside are numbers, finite and of one shape."""
    array = np.asarray(values, np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{what} is not a table of {' x '.join(map(str, shape)) or 'one'} numbers")
    return array


def indices(rows: Shaped[np.ndarray, "..."], end: int, what: str) -> Int[np.ndarray, "..."]:
    """Check that numbers from outside count entries of something that has `end` of them."""
    if not ((rows >= 0) & (rows < end) & (rows == np.floor(rows))).all():
        raise ValueError(f"it speaks of {what} that are not there")
    return rows.astype(np.int64)


def _chunk(data: bytes, start: int, kind: bytes) -> tuple[bytes, int]:
    """Give the chunk that begins at `start`, and where it ends."""
    if start + 8 > len(data):
        raise ValueError("it was cut short")
    length, found = struct.unpack_from("<I4s", data, start)
    if found != kind or start + 8 + length > len(data):
        raise ValueError(f"its part {kind.decode().strip(chr(0))} is missing or not complete")
    return data[start + 8 : start + 8 + length], start + 8 + length
