"""Pictures and small pieces of page for the browser. Pictures travel inside the page and leave no files behind."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from zero1toa.symgen.events import STAGES, Event

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from zero1toa.ui.session import Shown

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
        f'<div class="z-bar" role="progressbar" aria-label="How much is done" aria-valuenow="{percent}" aria-valuemin="0"'
        f' aria-valuemax="100"><i style="width:{percent}%"></i></div>'
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


def curves(points: Sequence[tuple[float, float, float]]) -> str:
    """Draw loss and likeness over the share of the work that is done, from points (share, loss, dB)."""
    shares = [share for share, *_ in points]
    losses, likenesses = ([point[column] for point in points] for column in (1, 2))
    return (
        '<div class="z-curves">'
        + _curve(shares, losses, "loss", f"{losses[-1]:.2f}")
        + _curve(shares, likenesses, "likeness to the photo", f"{likenesses[-1]:.1f} dB")
        + "</div>"
    )


def _curve(shares: Sequence[float], values: Sequence[float], title: str, now: str) -> str:
    """Draw one curve, from its least to its most."""
    low, high = min(values), max(values)
    line = " ".join(
        f"{100 * share:.1f},{28 - 26 * (value - low) / max(high - low, 1e-9):.1f}"
        for share, value in zip(shares, values, strict=True)
    )
    return (
        f'<figure><svg viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label="{title}: now {now}">'
        f'<polyline points="{line}" /></svg><figcaption>{title}<b>{now}</b></figcaption></figure>'
    )


def faces_figure(
    picture: UInt8[np.ndarray, "H W 3"], boxes: Sequence[tuple[float, float, float, float]], chosen: int, *, scale: float
) -> str:
    """Show a photo with a numbered frame around each face: (x0, y0, x1, y1) in pixels before the photo was scaled."""
    height, width = (side / scale / 100 for side in picture.shape[:2])
    frames = []
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        place = f"left:{x0 / width:.2f}%;top:{y0 / height:.2f}%;width:{(x1 - x0) / width:.2f}%;height:{(y1 - y0) / height:.2f}%"
        pressed = "true" if number == chosen else "false"
        frames.append(
            f'<button type="button" data-face="{number}" aria-pressed="{pressed}" aria-label="Face {number}" style="{place}">'
            f"{number}</button>"
        )
    return f'<div class="z-faces"><img src="{jpeg(picture)}" alt="the photo">{"".join(frames)}</div>'


def fit_figure(pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> str:
    """Show what was read out of the photo."""
    titles = ("landmarks", "cut out", "head fitted")
    items = (
        f'<figure><img src="{jpeg(picture)}" alt="{title}"><figcaption>{title}</figcaption></figure>'
        for picture, title in zip(pictures, titles, strict=True)
    )
    return f'<div class="z-fit">{"".join(items)}</div>'


def gallery_row(gallery: Sequence[Shown]) -> str:
    """Show finished avatars as buttons; each has a picture beside its file."""
    items = []
    for shown in gallery:
        name, picture = escape(shown.name), io.BytesIO(shown.glb.with_suffix(".webp").read_bytes())
        image = f'<img src="{_data_url("image/webp", picture)}" alt="">'
        items.append(f'<button type="button" data-name="{name}">{image}<span>{name}</span></button>')
    return f'<div class="z-gallery">{"".join(items)}</div>' if items else ""


def shrunk(picture: UInt8[np.ndarray, "H W 3"], most: int) -> UInt8[np.ndarray, "h w 3"]:
    """Make a picture no larger than `most` pixels a side."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((most, most))
    return np.asarray(image)


def sentence(text: str) -> str:
    """Let a message begin with a capital and end with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min" if whole < 5400 else f"{whole / 3600:.1f} h"


def _data_url(kind: str, stream: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
