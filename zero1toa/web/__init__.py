"""The viewer for browsers: plain JavaScript in a few files that read from top to bottom, joined here into one script.

    glb.js       avatar.glb into arrays, every byte of it checked      splats.js   sorting and drawing with WebGL2
    rig.js       morph targets, skinning, triangle frames              camera.js   the camera and the hands on it
    motion.js    sliders, performances, motion files, breath           viewer.js   what is drawn when; `mount`
    panel.js     sliders and buttons                                   viewer.css  how they look

and page.html, the page that an exported avatar lives in.

There is nothing to build and nothing to install: the script is classic, defines `Zero1toA` and no other name, and loads
nothing. Tables that Python knows already, such as what "smile" means in ARKit weights, are written into it.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from zero1toa.expressions import CONTROLS, FACES, Control
from zero1toa.symgen.performances import CHANNELS, PERFORMANCES, Performance

_FOLDER = Path(__file__).parent
_FILES = ("glb.js", "rig.js", "splats.js", "camera.js", "motion.js", "viewer.js", "panel.js")


@functools.cache
def viewer_script() -> str:
    """Give the viewer as one classic script, which may stand in a `<script>` of any page, without its comments.

    `await Zero1toA.mount(element, {glb, panel: true})` shows an avatar; viewer.js says what else it takes and gives.
    """
    from rjsmin import jsmin

    tables = {
        "CONTROLS": [_control(control) for control in CONTROLS],
        "FACES": FACES,
        "PERFORMANCES": [_performance(performance) for performance in PERFORMANCES],
        "STYLE": (_FOLDER / "viewer.css").read_text("utf-8"),
    }
    lines = [f"const {name} = {json.dumps(table, separators=(',', ':'))};" for name, table in tables.items()]
    parts = [(_FOLDER / name).read_text("utf-8") for name in _FILES]
    offered = "window.Zero1toA = { mount, controls: CONTROLS, performances: PERFORMANCES.map((one) => one.name) };"
    source = "\n".join(['(() => {\n"use strict";', *lines, *parts, offered, "})();", ""])
    return str(jsmin(source)).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def page_template() -> str:
    """Give the page of an exported avatar, with names in double braces where its parts belong."""
    return (_FOLDER / "page.html").read_text("utf-8")


def _control(control: Control) -> dict[str, Any]:
    return {name: getattr(control, name) for name in ("name", "label", "low", "positive", "negative", "gaze")}


def _performance(performance: Performance) -> dict[str, Any]:
    """Write a performance's keys with the channels that are not at rest."""
    keys = [(key.seconds, _channels(dict(zip(CHANNELS, key.row, strict=True)))) for key in performance.keys]
    return {"name": performance.name, "loops": performance.loops, "keys": keys}


def _channels(row: dict[str, float]) -> dict[str, float]:
    """Leave out what is at rest, and say once what both sides of the face do alike."""
    found: dict[str, float] = {}
    for name, value in row.items():
        both, left, _ = name.partition("Left")
        if left and value == row[f"{both}Right"]:
            found[both] = value
        elif not (name.endswith("Right") and value == row[f"{name.removesuffix('Right')}Left"]):
            found[name] = value
    return {name: value for name, value in found.items() if value}
