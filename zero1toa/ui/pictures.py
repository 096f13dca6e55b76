"""Pictures and small pieces of page for the browser. Pictures travel inside the page and leave no files behind."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from zero1toa.symgen.events import STAGES, Event

if TYPE_CHECKING:
    from jaxtyping import UInt8

CLIP_SIZE = 176
STAGE_NAMES = {
    "prepare": ("Prepare", "find the face, cut it out, fit a head"),
    "front": ("Front", "begin from the view of the photo"),
    "side": ("Side", "walk round to the profiles"),
    "relaxed": ("Relaxed", "small movements of an idle face"),
    "exaggerated": ("Exaggerated", "laugh, shout, wink, speak"),
}


def jpeg(picture: UInt8[np.ndarray, "H W 3"], *, quality: int = 88) -> str:
    """Encode a picture as a data URL."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return _data_url("image/jpeg", stream)


def webp_loop(
    left: UInt8[np.ndarray, "T H W 3"], right: UInt8[np.ndarray, "T H W 3"], *, fps: float = 8.0, size: int = CLIP_SIZE
) -> str:
    """Encode two clips side by side as one looping picture, so that they cannot fall out of step."""
    from PIL import Image

    frames = [Image.fromarray(frame).resize((2 * size, size)) for frame in np.concatenate([left, right], axis=2)]
    stream = io.BytesIO()
    frames[0].save(
        stream, "WEBP", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, quality=70, method=0
    )
    return _data_url("image/webp", stream)


def view_value(source: str, *, yaw: float = 0.0, pitch: float = 0.0, play: bool = False) -> str:
    """Give what the view on the page shows: a picture, where it was seen from, and whether it can be turned."""
    return json.dumps({"src": source, "yaw": yaw, "pitch": pitch, "play": play})


def stage_strip(stage: str = "", *, share: float = 0.0) -> str:
    """Draw the stages of the curriculum: those behind us, the one we are in, and how much of all is done."""
    stage = "prepare" if stage == "seed" else stage
    now = STAGES.index(stage) if stage else -1
    items = []
    for name, (title, hint) in STAGE_NAMES.items():
        place = STAGES.index(name)
        kind = "done" if place < now else "now" if place == now else "next"
        items.append(f'<li class="{kind}" title="{hint}"><i></i><b>{title}</b></li>')
    percent = 100 if stage == "done" else round(100 * share)
    return (
        f'<ol class="z-stages">{"".join(items)}</ol>'
        f'<div class="z-bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100">'
        f'<i style="width:{percent}%"></i></div>'
    )


def status_line(event: Event) -> str:
    """Say in a line where the work is: time left, and the losses for those who read them."""
    if event.stage in ("prepare", "seed"):
        text, numbers = "Reading the photo and fitting a head to it", ""
    else:
        text = f"About {_duration(event.remaining_s)} left" if event.remaining_s else "Looking how fast this computer is"
        losses = " · ".join(f"{name} {value:.3f}" for name, value in event.losses)
        numbers = f"iteration {event.iteration} of {event.iterations} · {event.splats:,} splats" + (
            f" · {losses}" if losses else ""
        )
    return f'<p class="z-status"><b>{escape(text)}</b><span>{escape(numbers)}</span></p>'


def message(text: str, *, detail: Sequence[str] = ()) -> str:
    """Say something in the place of the status line."""
    more = "".join(f"<span>{escape(line)}</span>" for line in detail)
    return f'<p class="z-status"><b>{escape(text)}</b>{more}</p>'


def clip_figure(source: str, name: str) -> str:
    """Show a regenerated clip beside the render it came from."""
    return (
        f'<figure class="z-clip"><img src="{source}" alt="{escape(name)}: render and regenerated clip">'
        f"<figcaption><span>what the avatar renders</span><span>what the prior makes of it: {escape(name)}</span></figcaption>"
        "</figure>"
    )


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min" if whole < 5400 else f"{whole / 3600:.1f} h"


def _data_url(kind: str, stream: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
