"""One html file that shows an avatar to anybody with a browser: it opens from a disk or a mail, offline, and asks nobody.

The page, the viewer and the avatar are all inside. The avatar is avatar.glb, rounded to what can be seen, gzipped, in
base64. The page's Content-Security-Policy forbids it to load or send anything, which a reader can check in its first lines.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from zero1toa import __version__
from zero1toa.export.glb import FACE, SPLATS, glb_bytes
from zero1toa.export.gltf import DTYPES, Glb
from zero1toa.export.mark import check_mark
from zero1toa.export.saved import SavedAvatar
from zero1toa.media import explain_writing, replacing
from zero1toa.provenance import DIGITAL_SOURCE_TYPE
from zero1toa.types import InputError
from zero1toa.web import page_template, viewer_script

NOTICE = "This head is AI-generated."
LICENCE = (
    "The likeness belongs to the person shown: do not use it without their consent, and never to deceive.",
    "The viewer in this file is part of Zero-1-to-A, Apache License 2.0.",
)
# The steps to which a page rounds its splats: places to 15 um, rotations to an eighth of a degree, colours to a quarter
# of a display's step. Together they cost less than the 8 bits of the picture do.
STEPS = {"POSITION": 2.0**-16, f"{SPLATS}:ROTATION": 64, f"{SPLATS}:SH_DEGREE_0_COEF_0": 2.0**-7}
MARK = '<p class="mark">made with <b>Zero-1-to-A</b></p>'


def write_html(
    path: str | Path,
    saved: SavedAvatar,
    *,
    name: str = "",
    mark: bool = True,
    consent: bool = False,
    licence: Sequence[str] = LICENCE,
) -> Path:
    """Write an avatar as one html file, all at once or not at all.

    `name` is what the page is called. The mark "made with Zero-1-to-A" may only be left out by who confirms the
    `consent` of the person shown; the notice that the head is AI-generated always stays. Raises InputError when
    that is missing, when the name or the place cannot be used, or when the head does not fit into a glb.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write {path.name} as a page: use a name that ends in .html")
    check_mark(mark, consent)
    name = " ".join(name.split())[:120] or "A head to play with"
    packed = gzip.compress(light_glb(saved), 9, mtime=0)
    parts = {
        "name": escape(name),
        "date": escape(saved.details.created[:10]),
        "generator": f"zero1toa {__version__}",
        "source": DIGITAL_SOURCE_TYPE,
        "description": escape(f"{NOTICE} Turn it, and move its face."),
        "notice": escape(NOTICE) + " How it was made, and what you may do with it",
        "lines": "".join(f"<li>{escape(line)}</li>" for line in (*saved.provenance().lines(), *licence)),
        "mark": MARK if mark else "",
        "label": _script_text(f"{name}: a 3D head. Arrow keys turn it, plus and minus zoom, 0 goes back."),
        "avatar": base64.b64encode(packed).decode("ascii"),
        "viewer": viewer_script(),
    }
    text = _fill(page_template(), parts)
    with replacing(path) as partial, explain_writing(path):
        partial.write_text(text, encoding="utf-8")
    return path


def light_glb(saved: SavedAvatar) -> bytes:
    """Give a glb that gzip shrinks a third more: splats in the order of their triangles, rounded, without point colours.

    Raises InputError as `glb_bytes` does.
    """
    data = glb_bytes(saved)
    glb, light = Glb.from_bytes(data), bytearray(data)
    start = len(data) - len(glb.block)

    def rows(accessor: int) -> np.ndarray:
        """Look at an attribute's numbers where they lie, to change them there."""
        entry = glb.item("accessors", accessor)
        view, dtype = glb.item("bufferViews", entry["bufferView"]), DTYPES[entry["componentType"]]
        shape = (entry["count"], view["byteStride"] // dtype.itemsize)
        return np.ndarray(shape, dtype, light, start + view["byteOffset"])

    attributes = dict(glb.item("meshes", 1)["primitives"][0]["attributes"])
    attributes.pop(f"{SPLATS}:OPACITY")  # lies inside COLOR_0
    order = np.argsort(rows(attributes[FACE])[:, 0], kind="stable")
    for name, accessor in attributes.items():
        values = rows(accessor)
        values[:] = values[order]
        if name in STEPS:
            values[:] = (np.rint(values / STEPS[name]) * STEPS[name]).clip(-32704, 32704)  # 16 bits end soon after
        if name == "COLOR_0":
            values[:, :3] = 0
    return bytes(light)


def _fill(template: str, parts: Mapping[str, str]) -> str:
    """Put parts in their places; what is put in is not looked at again."""
    pieces = template.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _script_text(text: str) -> str:
    """Write a text as JavaScript that may stand in a `<script>`."""
    return json.dumps(text).replace("<", "\\u003c")
