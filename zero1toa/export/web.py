"""One html file that shows an avatar to anybody with a browser: it opens from a disk or a mail, offline, and asks nobody.

The page, the viewer and the avatar are all inside. The avatar is avatar.glb, gzipped, in base64. The page's
Content-Security-Policy forbids it to load or send anything, which a reader can check in its first lines.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from zero1toa import __version__
from zero1toa.export.glb import glb_bytes
from zero1toa.export.saved import SavedAvatar
from zero1toa.media import explain_writing, replacing
from zero1toa.types import InputError
from zero1toa.web import page_template, viewer_script

NOTICE = "This head is computer-generated."
LICENCE = (
    "The likeness belongs to the person shown: do not use it without their consent, and never to deceive.",
    "The viewer in this file is part of Zero-1-to-A, Apache License 2.0.",
)
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
    `consent` of the person shown; the notice that the head is computer-generated always stays. Raises InputError when
    that is missing, when the name or the place cannot be used, or when the head does not fit into a glb.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write {path.name} as a page: use a name that ends in .html")
    if not mark and not consent:
        raise InputError("to leave out the mark, confirm that the person shown agreed to this page: add --consent")
    name = " ".join(name.split())[:120] or "A head to play with"
    packed = gzip.compress(glb_bytes(saved), 9, mtime=0)
    parts = {
        "name": escape(name),
        "date": escape(saved.details.created[:10]),
        "generator": f"zero1toa {__version__}",
        "description": escape(f"{NOTICE} Turn it, and move its face."),
        "notice": escape(NOTICE) + " How it was made, and what you may do with it",
        "lines": "".join(f"<li>{escape(line)}</li>" for line in (*saved.provenance(), *licence)),
        "mark": MARK if mark else "",
        "label": _script_text(f"{name}: a 3D head. Arrow keys turn it, plus and minus zoom, 0 goes back."),
        "avatar": base64.b64encode(packed).decode("ascii"),
        "viewer": viewer_script(),
    }
    text = _fill(page_template(), parts)
    with replacing(path) as partial, explain_writing(path):
        partial.write_text(text, encoding="utf-8")
    return path


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
