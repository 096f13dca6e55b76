"""The steps of the page: which parts each has, and how they are laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from zero1toa.evaluation.methods import USUAL
from zero1toa.portrait.prepare import PortraitConfig
from zero1toa.ui.making import Making
from zero1toa.ui.pictures import stage_strip
from zero1toa.ui.sharing import VIDEOS
from zero1toa.ui.words import words

PANEL = '<div class="z-panel"></div>'
ON_POINT = """element.addEventListener("click", (event) => {
    const face = event.target.closest("[data-face]")?.dataset.face;
    if (face) trigger("point", { face });
});"""


class Photo(NamedTuple):
    """The parts of the first step."""

    photo: gr.Image
    seen: gr.HTML
    consent: gr.Checkbox
    preset: gr.Radio
    seed: gr.Number
    margin: gr.Slider
    estimate: gr.HTML
    create: gr.Button


class Build(NamedTuple):
    """The parts of the second step."""

    stages: gr.HTML
    status: gr.HTML
    stop: gr.Button
    resume: gr.Button
    clip: gr.HTML
    curves: gr.HTML


class Play(NamedTuple):
    """The parts of the third step."""

    driving: gr.File
    said: gr.HTML
    against: gr.ImageSlider


class Share(NamedTuple):
    """The parts of the fourth step."""

    name: gr.Textbox
    mark: gr.Checkbox
    consent: gr.Checkbox
    page: gr.Button
    glb: gr.Button
    ply: gr.Button
    zip: gr.Button
    png: gr.Button
    what: gr.Dropdown
    from_here: gr.Checkbox
    mp4: gr.Button
    copy: gr.Button
    link: gr.Textbox
    said: gr.HTML


class Compare(NamedTuple):
    """The parts of the last step."""

    tab: gr.Tab
    beside: gr.CheckboxGroup
    grid: gr.Button
    methods: gr.CheckboxGroup
    make: gr.Button
    said: gr.HTML


class Files(NamedTuple):
    """What the browser is handed: each changes only to start something there."""

    avatar: gr.File
    motion: gr.File
    beside: gr.File
    download: gr.File


def photo_step(making: Making, photos: list[Path]) -> Photo:
    """Lay out the first step: what goes in."""
    photo = gr.Image(
        label=words("portrait"), sources=["upload", "webcam"], type="filepath", image_mode=None, height=250,
        elem_id="photo", buttons=[], placeholder=words("drop"),
    )  # fmt: skip
    hand_over_files(photo)
    if photos:
        rows = [[str(path)] for path in photos]
        gr.Examples(rows, photo, label=words("examples"), cache_examples=False, api_visibility="private", elem_id="examples")
    seen = gr.HTML(elem_id="seen", padding=False, js_on_load=ON_POINT)
    consent = gr.Checkbox(label=words("consent"), elem_id="consent")
    create = gr.Button(words("create"), variant="primary", size="lg", elem_id="create")
    estimate = gr.HTML(making.estimate(next(iter(making.presets))), elem_id="estimate", padding=False)
    with gr.Accordion(words("settings"), open=False):
        choices = [
            (f"{name} · {config.trainer.curriculum.iterations:,} iterations", name) for name, config in making.presets.items()
        ]
        preset = gr.Radio(choices, value=choices[0][1], label=words("preset"), info=words("preset-info"), elem_id="preset")
        usual = PortraitConfig().margin
        margin = gr.Slider(2.0, 5.0, usual, step=0.1, label=words("crop"), info=words("crop-info"), elem_id="crop", buttons=[])
        seed = gr.Number(0, label=words("seed"), precision=0, minimum=0, info=words("seed-info"))
    return Photo(photo, seen, consent, preset, seed, margin, estimate, create)


def build_step() -> Build:
    """Lay out the second step: the work, watched."""
    stages = gr.HTML(stage_strip(), elem_id="stages", padding=False)
    status = gr.HTML(words("idle"), elem_id="status", padding=False)
    with gr.Row(elem_classes="z-tight"):
        stop = gr.Button(words("stop"), variant="stop", size="lg", visible=False, elem_id="stop")
        resume = gr.Button(words("resume"), variant="primary", size="lg", visible=False, elem_id="resume")
    clip = gr.HTML(elem_id="clip", padding=False)
    curves = gr.HTML(elem_id="curves", padding=False)
    return Build(stages, status, stop, resume, clip, curves)


def play_step() -> Play:
    """Lay out the third step: sliders, driving, the photo beside its avatar."""
    gr.HTML(PANEL, js_on_load="Zero1toApp.panel(element)", elem_id="panel", padding=False, apply_default_css=False)
    driving = gr.File(label=words("drive"), file_types=["video", ".json"], type="filepath", elem_id="driving", height=120)
    hand_over_files(driving)
    said = gr.HTML(elem_id="driven", padding=False)
    with gr.Accordion(words("against"), open=False):
        against = gr.ImageSlider(show_label=False, type="numpy", interactive=False, elem_id="against", buttons=["fullscreen"])
    return Play(driving, said, against)


def share_step() -> Share:
    """Lay out the fourth step: what can be taken away."""
    gr.HTML(words("download-title"), padding=False)
    gr.HTML(words("page-info"), padding=False)
    name = gr.Textbox(label=words("page-name"), max_length=120, elem_id="page-name")
    with gr.Row(elem_classes="z-tight"):
        mark = gr.Checkbox(True, label=words("mark"), elem_id="mark", min_width=200)
        consent = gr.Checkbox(label=words("mark-consent"), elem_id="mark-consent", min_width=200, visible=False)
    page = gr.Button(words("page"), variant="primary", elem_id="get-page")
    with gr.Row(elem_classes="z-tight"):
        glb, ply, packed, png = (
            gr.Button(words(kind), size="md", min_width=210, elem_id=f"get-{kind}") for kind in ("glb", "ply", "zip", "png")
        )
    gr.HTML(words("video-title"), padding=False)
    with gr.Row(elem_classes="z-tight"):
        what = gr.Dropdown(
            [(video.capitalize(), video) for video in VIDEOS], label=words("video"), elem_id="video", min_width=150
        )
        from_here = gr.Checkbox(label=words("from-here"), elem_id="from-here", min_width=150)
    mp4 = gr.Button(words("mp4"), elem_id="get-mp4")
    said = gr.HTML(elem_id="handed", padding=False)
    gr.HTML(words("link-title"), padding=False)
    gr.HTML(words("link-info"), padding=False)
    copy = gr.Button(words("link"), elem_id="copy-link")
    link = gr.Textbox(label=words("link-label"), interactive=False, elem_id="link")
    return Share(name, mark, consent, page, glb, ply, packed, png, what, from_here, mp4, copy, link, said)


def compare_step(tab: gr.Tab) -> Compare:
    """Lay out the last step: others beside the one on the stage."""
    beside = gr.CheckboxGroup([], label=words("beside"), info=words("beside-info"), elem_id="beside")
    grid = gr.Button(words("grid"), elem_id="get-grid")
    with gr.Accordion(words("methods-title"), open=False):
        choices = [(method.title, method.name) for method in USUAL]
        methods = gr.CheckboxGroup(choices, label=words("methods"), info=words("methods-info"), elem_id="methods")
        make = gr.Button(words("methods-make"), elem_id="make-methods")
        said = gr.HTML(elem_id="compared", padding=False)
    return Compare(tab, beside, grid, methods, make, said)


def hand_over_files(component: Any) -> None:
    """Let a component give handlers the path of its file as it is.

    Images would be opened first, with errors that nobody understands, and files would leave an empty one behind. A subclass
    would do as well, but Gradio writes a stub file beside every module that has one.
    """
    component.preprocess = lambda payload: None if payload is None else payload.path
