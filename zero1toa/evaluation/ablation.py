"""The paper's comparison (Zero-1-to-A, table 2): the same prior, the same number of steps, one idea less at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from zero1toa.config import Config
from zero1toa.evaluation.contact_sheet import contact_sheet
from zero1toa.evaluation.methods import Method
from zero1toa.evaluation.metrics import score_views
from zero1toa.evaluation.subjects import Subject
from zero1toa.export.package import RECORD, load_avatar, save_avatar
from zero1toa.export.video import FPS, demo, write_rendering
from zero1toa.export.views import Viewer
from zero1toa.media import write_image
from zero1toa.pipeline import create_avatar, render
from zero1toa.progress import Story
from zero1toa.symgen.events import Event

# The video: frames, and pixels of each method's picture.
FRAMES, SIZE = 100, 256


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method made of one subject: the saved avatar, its scores, and its pictures of the subject's views."""

    subject: Subject
    method: Method
    folder: Path
    scores: dict[str, float]
    pictures: UInt8[np.ndarray, "V H W 3"]


def compare(subjects: Iterable[Subject], methods: Sequence[Method], config: Config, folder: Path) -> Iterator[Event | Outcome]:
    """Make an avatar of every subject by every method, telling how it goes, and score it against the truth.

    Avatars are kept in `folder`, in SUBJECT/METHOD; one that is there already is only scored.
    """
    for subject in subjects:
        for method in methods:
            place = folder / subject.name / method.name
            if not (place / RECORD).exists():
                story, settings = Story(), method.change(config)
                for event in create_avatar(subject.portrait, settings):
                    story.add(event)
                    yield event
                assert story.avatar is not None
                save_avatar(place, story.avatar, subject.portrait, settings, timings=story.timings(), force=True)
            avatar = load_avatar(place, head=config.head).avatar
            shown = torch.cat([render(avatar, view.state, view.camera).color for view in subject.views]).clamp(0, 1)
            scores = score_views(shown, subject.views)
            yield Outcome(subject, method, place, scores, (shown * 255 + 0.5).byte().numpy())


def mean_scores(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Average the scores of every method over its subjects."""
    table: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(outcome.method.title for outcome in outcomes):
        rows = [outcome.scores for outcome in outcomes if outcome.method.title == method]
        names = dict.fromkeys(name for row in rows for name in row)
        table[method] = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return table


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """Write a table of methods and mean scores.

    Behind each mean is what the method differs by from the first, with the standard error of that over the subjects, if
    there are several.
    """
    table = mean_scores(outcomes)
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    first, each = next(iter(table)), {(one.method.title, one.subject.name): one.scores for one in outcomes}
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for title, row in table.items():
        pairs = [(scores, each.get((first, subject), {})) for (method, subject), scores in each.items() if method == title]
        cells = []
        for name in names:
            ahead = [ours[name] - theirs[name] for ours, theirs in pairs if name in ours and name in theirs]
            known = title != first and len(ahead) > 1
            cells.append((f"{row[name]:.2f}" if name in row else "") + (f" ({_mean_and_error(ahead)})" if known else ""))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _mean_and_error(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.2f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"


def write_results(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table (table.md, scores.json) and for every subject a sheet and a short video, methods side by side."""
    (folder / "table.md").write_text(as_markdown(outcomes))
    each = [{"subject": outcome.subject.name, "method": outcome.method.name, **outcome.scores} for outcome in outcomes]
    (folder / "scores.json").write_text(json.dumps({"mean": mean_scores(outcomes), "each": each}, indent=1))
    for name in dict.fromkeys(outcome.subject.name for outcome in outcomes):
        of_subject = [outcome for outcome in outcomes if outcome.subject.name == name]
        write_image(folder / f"{name}.png", _views_sheet(of_subject))
        viewers = [Viewer.of(load_avatar(outcome.folder)) for outcome in of_subject]
        titled = [(outcome.method.title, viewer) for outcome, viewer in zip(of_subject, viewers, strict=True)]
        write_image(folder / f"{name}-poses.png", contact_sheet(titled))
        demos = (demo(viewer, FRAMES, size=SIZE, fps=FPS) for viewer in viewers)
        beside = (np.concatenate(frames, 1) for frames in zip(*demos, strict=True))
        write_rendering(folder / f"{name}.mp4", beside, FPS, viewers[0].saved)


def _views_sheet(outcomes: Sequence[Outcome]) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the true views in the first row and every method's below, in the order of the table."""
    truth = (torch.stack([view.picture for view in outcomes[0].subject.views]).clamp(0, 1) * 255 + 0.5).byte().numpy()
    return np.concatenate([np.concatenate(list(row), 1) for row in (truth, *(outcome.pictures for outcome in outcomes))])
