"""What became of a batch: report.json for machines, report.html for people, beside the avatars."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zero1toa import __version__
from zero1toa.batch.work import Outcome
from zero1toa.export.package import PORTRAIT, PREVIEW
from zero1toa.media import explain_writing, read_image
from zero1toa.progress import duration
from zero1toa.types import InputError

# Beyond so many the page would only be slow; the json holds them all.
ROWS = 1000
THUMBNAIL = 96
ORDER = ("failed", "stopped", "waiting", "made", "kept")

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem; border-top: 1px solid #8886; overflow-wrap: anywhere; }
img { height: 96px; border-radius: 6px; }
.failed td:first-child { border-left: 4px solid #c33; }
.stopped td:first-child, .waiting td:first-child { border-left: 4px solid #c80; }
"""


def write_report(output: Path, outcomes: Sequence[Outcome], *, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Write both reports into `output` and give what the json holds. `seconds` is how long the batch took."""
    output = output.absolute()
    outcomes = sorted(outcomes, key=lambda outcome: (ORDER.index(outcome.status), outcome.photo.name))
    record = {
        "version": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "counts": {status: sum(outcome.status == status for outcome in outcomes) for status in ORDER},
        "mean_seconds": {stage: round(mean, 2) for stage, mean in _means(outcomes).items()},
        "settings": settings,
        "portraits": [facts(outcome) for outcome in outcomes],
    }
    _write(output / "report.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    _write(output / "report.html", _page(outcomes, record))
    return record


def summary(record: dict[str, Any]) -> str:
    """Sum up in one line."""
    counts = ", ".join(f"{count} {status}" for status, count in record["counts"].items() if count)
    return f"{len(record['portraits'])} portraits: {counts} ({duration(record['seconds'])})"


def facts(outcome: Outcome) -> dict[str, Any]:
    """Give an outcome for machines."""
    return {
        "photo": outcome.photo.name,
        "folder": outcome.folder.name,
        "status": outcome.status,
        "said": outcome.message,
        "fault": outcome.fault,
        "attempts": outcome.attempt,
        "seconds": round(outcome.seconds, 2),
        "splats": outcome.splats,
        "iteration": outcome.iteration,
        "timings": dict(outcome.timings),
        "notes": list(outcome.notes),
    }


def _means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Give the mean seconds of every stage over the avatars that were made, now or before."""
    done = [dict(outcome.timings) for outcome in outcomes if outcome.status in ("made", "kept")]
    total: Counter[str] = Counter()
    for timings in done:
        total.update(timings)
    return {stage: seconds / len(done) for stage, seconds in total.items()}


def _page(outcomes: Sequence[Outcome], record: dict[str, Any]) -> str:
    rows = "\n".join(_row(outcome) for outcome in outcomes[:ROWS])
    more = f"<p>{len(outcomes) - ROWS} more are in report.json.</p>" if len(outcomes) > ROWS else ""
    means = ", ".join(f"{html.escape(stage)} {duration(mean)}" for stage, mean in record["mean_seconds"].items())
    means = f"Mean times: {means}." if means else ""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(summary(record))}</title><style>{_STYLE}</style>
<h1>{html.escape(summary(record))}</h1>
<p>Zero-1-to-A {__version__}, {record["created"]}. The avatars are AI-generated. {means}</p>
<table><thead><tr><th>Photo</th><th>Avatar</th><th>Name</th><th>Outcome</th><th>Time</th></tr></thead><tbody>
{rows}
</tbody></table>{more}</html>
"""


def _row(outcome: Outcome) -> str:
    name, folder = html.escape(outcome.photo.name), quote(outcome.folder.name)
    files = [outcome.folder / PORTRAIT, outcome.folder / PREVIEW]
    if all(file.is_file() for file in files) and outcome.status != "failed":
        pictures = [
            f'<img loading="lazy" src="{folder}/{file.name}" alt="{alt} {name}">'
            for file, alt in zip(files, ("photo", "avatar of"), strict=True)
        ]
    else:
        pictures = [_thumbnail(outcome.photo), ""]
    said = " ".join([outcome.message, *(f"Note: {note}" for note in outcome.notes)]).strip()
    again = f" (attempt {outcome.attempt})" if outcome.attempt > 1 else ""
    times = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.timings if stage != "total")
    cells = [
        *pictures, name, f"<b>{outcome.status}</b>{again} {html.escape(said)}",
        f"{duration(outcome.seconds)}<br><small>{html.escape(times)}</small>",
    ]  # fmt: skip
    return f'<tr class="{outcome.status}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _thumbnail(photo: Path) -> str:
    """Draw a photo small, inside the page, if it can be read at all."""
    from PIL import Image

    try:
        image = Image.fromarray(read_image(photo)[0])
    except InputError:
        return "(unreadable)"
    image.thumbnail((2 * THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    address = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    return f'<img src="{address}" alt="photo {html.escape(photo.name)}">'


def _write(path: Path, text: str) -> None:
    """Write a file aside and give it its name."""
    partial = path.with_name(f".{path.name}.partial")
    with explain_writing(path):
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
