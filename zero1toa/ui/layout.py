"""The page: what is on it, and which handler each part calls. What happens then is in `handlers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Soft

from zero1toa.config import PRESETS, Config
from zero1toa.expressions import CONTROLS
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.ui.handlers import Handlers, Screen, find_demo, find_photos
from zero1toa.ui.pictures import stage_strip, view_value
from zero1toa.ui.session import close_session

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
KEEP_S = 4 * 3600
TITLE = "Zero-1-to-A: one photo, one living head"
HERO = """<div class="z-hero"><h1>One photo. A head you can turn and make smile.</h1><p>Zero-1-to-A builds a 3D avatar
out of one portrait. Watch it learn its sides and its expressions, then play with it.</p></div>"""
VIEW = """<div class="z-view empty"><img alt="the avatar" draggable="false"><span class="z-hint">drag to turn</span>
<div class="z-empty"><h3>Your avatar appears here</h3><ol>
<li>Take the example, or a photo of your own.</li><li>Say that you may use it.</li>
<li>Press <b>Create avatar</b> and watch.</li><li>Turn the head, make it smile.</li></ol></div></div>"""
CONSENT = "I may use this photo: it shows me, or the person agreed, or it is one of the examples."
FOOT = """<p class="z-foot">Your photo and your avatar lie in a folder of your visit that nobody else can see. They are deleted
at most four hours after you leave, or right now with the button below. An avatar is a computer-generated likeness: say so
wherever you show it, and make none of people who did not agree.</p>"""
REGIONS = (
    ("Eyes", "eye"),
    ("Brows, cheeks, nose, tongue", "brow", "cheek", "nose", "tongue"),
    ("Jaw", "jaw"),
    ("Mouth", "mouth"),
)


def build_app(presets: Mapping[str, Config] = PRESETS, examples: Path = EXAMPLES) -> gr.Blocks:
    """Build the page."""
    photos = find_photos(examples)
    handlers = Handlers(presets, photos, find_demo(examples))
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, KEEP_S), fill_width=False) as app:
        session = gr.State(None, time_to_live=KEEP_S, delete_callback=close_session)
        gr.HTML(HERO, padding=False)
        # One grid of three: style.css keeps the picture in sight beside the sliders on a desk, above them on a phone.
        with gr.Row(elem_id="table"):
            with gr.Column(elem_id="entry"):
                photo, consent, preset, seed, create, stop = _entry(presets, photos)
            with gr.Column(elem_id="stage"):
                stages = gr.HTML(stage_strip(), elem_id="stages", padding=False)
                view = gr.HTML(
                    view_value(""), html_template=VIEW, js_on_load=(HERE / "view.js").read_text("utf-8"),
                    elem_id="view", padding=False, apply_default_css=False,
                )  # fmt: skip
                status, clip = gr.HTML(elem_id="status", padding=False), gr.HTML(elem_id="clip", padding=False)
            with gr.Column(visible=False, elem_id="play") as play:
                angles, face, reset, downloads = _controls()
        gr.HTML(FOOT, padding=False)
        wipe = gr.Button("Delete my data now", size="sm", elem_id="wipe")

        for component in (photo, *downloads):
            _hand_over_files(component)
        sliders = [*angles, *face]
        entered = [photo, consent, preset, seed]
        shown = Screen(session, stages, status, view, clip, create, stop, play)
        live: dict[str, Any] = {"queue": False, "trigger_mode": "always_last", "show_progress": "hidden"}
        hidden: dict[str, Any] = {"api_visibility": "undocumented"}
        created = create.click(
            handlers.create, [*entered, session], list(shown), validator=handlers.check, concurrency_limit=1,
            concurrency_id="create", show_progress="minimal", show_progress_on=status, api_name="watch", **hidden,
        )  # fmt: skip
        created.success(
            handlers.reset, session, [view, *sliders], queue=False, show_progress="hidden", api_name="reset", **hidden
        )
        created.success(handlers.offer, session, downloads, show_progress="hidden", api_name="offer", **hidden)
        stop.click(handlers.stop, session, stop, queue=False, show_progress="hidden", api_name="stop", **hidden)
        reset.click(handlers.reset, session, [view, *sliders], queue=False, show_progress="hidden", api_visibility="private")
        gr.on([slider.input for slider in sliders], handlers.show, [session, *sliders], view, api_name="show", **live, **hidden)
        live["trigger_mode"] = "multiple"  # view.js asks one question at a time by itself
        view.turn(handlers.turn, [session, *sliders], [view, *angles[:2]], api_visibility="private", **live)
        wipe.click(
            handlers.wipe, [session, photo, *downloads], [session, photo, consent, view, play, stages, status],
            queue=False, api_name="wipe", **hidden,
        )  # fmt: skip
        app.load(handlers.welcome, None, [view, play, status], queue=False, show_progress="hidden", api_visibility="private")
        files = [gr.File(visible=False, label="Splats (ply)"), gr.File(visible=False, label="Avatar (zip)")]
        gr.Button(visible=False).click(
            handlers.create_files, entered, files, concurrency_limit=1, concurrency_id="create", api_name="create"
        )
    # Without a size, a Space with shared GPUs lets one visitor wait and turns the rest away.
    return app.queue(max_size=20)


def _entry(
    presets: Mapping[str, Config], photos: list[Path]
) -> tuple[gr.Image, gr.Checkbox, gr.Radio, gr.Number, gr.Button, gr.Button]:
    """Lay out what goes in: (photo, consent, preset, seed, create, stop)."""
    first = str(photos[0]) if photos else None
    photo = gr.Image(
        first, label="Portrait", sources=["upload", "webcam"], type="filepath", image_mode=None, height=250, elem_id="photo",
        buttons=[], placeholder="Drop a photo here, or click to choose one\n\none face, looking at the camera",
    )  # fmt: skip
    if photos:
        gr.Examples(
            [[str(path)] for path in photos], photo, label="Or one of these", cache_examples=False, api_visibility="private"
        )
    consent = gr.Checkbox(label=CONSENT, elem_id="consent")
    with gr.Row(elem_classes="z-tight"):
        create = gr.Button("Create avatar", variant="primary", size="lg", elem_id="create")
        stop = gr.Button("Stop and keep this", variant="stop", size="lg", visible=False, elem_id="stop")
    with gr.Accordion("Settings", open=False):
        choices = [(f"{name} · {config.trainer.curriculum.iterations:,} iterations", name) for name, config in presets.items()]
        preset = gr.Radio(choices, value=choices[0][1], label="Preset", info="More iterations, cleaner sides and expressions.")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, info="The same seed gives the same avatar.")
    return photo, consent, preset, seed, create, stop


def _controls() -> tuple[list[gr.Slider], list[gr.Slider], gr.Button, list[gr.DownloadButton]]:
    """Lay out what can be done with an avatar: (view sliders, face sliders, reset, downloads)."""
    with gr.Row(elem_classes="z-tight"):
        angles = [
            gr.Slider(-90, 90, 0, step=1, label="Turn", elem_id="yaw", buttons=[], min_width=120),
            gr.Slider(-30, 30, 0, step=1, label="Tilt", elem_id="pitch", buttons=[], min_width=120),
            gr.Slider(0.6, 2.5, 1, step=0.05, label="Zoom", elem_id="zoom", buttons=[], min_width=120),
        ]
    with gr.Row(elem_classes="z-tight"):
        face = [
            gr.Slider(c.low, 1, 0, step=0.02, label=c.label, elem_id=f"face-{c.name}", buttons=[], min_width=190)
            for c in CONTROLS
        ]
    with gr.Accordion("Advanced: all 52 ARKit expressions", open=False):
        by_name = {}
        for title, *starts in REGIONS:
            gr.HTML(f'<p class="z-step">{title}</p>', padding=False)
            with gr.Row(elem_classes="z-tight"):
                for name in (name for name in ARKIT_NAMES if name.startswith(tuple(starts))):
                    by_name[name] = gr.Slider(0, 1, 0, step=0.02, label=name, buttons=[], min_width=190)
    with gr.Row(elem_classes="z-tight"):
        reset = gr.Button("Reset", size="md", min_width=100)
        splats = gr.DownloadButton("Splats", interactive=False, size="md", min_width=100, elem_id="ply")
        packed = gr.DownloadButton("Avatar", interactive=False, size="md", min_width=100, elem_id="zip")
        video = gr.DownloadButton("Video", interactive=False, size="md", min_width=100, elem_id="mp4")
    return angles, [*face, *(by_name[name] for name in ARKIT_NAMES)], reset, [splats, packed, video]


def _hand_over_files(component: Any) -> None:
    """Let a component give handlers the path of its file as it is.

    Images would be opened first, with errors that nobody understands; downloads would be copied. A subclass would do
    as well, but Gradio writes a stub file beside every module that has one.
    """
    component.preprocess = lambda payload: None if payload is None else payload.path


def launch_options() -> dict[str, Any]:
    """Give what `launch` needs for this page: its looks, and that nothing of a visitor is kept or sent anywhere."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = Soft(
        primary_hue="violet", neutral_hue="slate", radius_size="lg", font=system, font_mono=["ui-monospace", "monospace"]
    )
    theme.set(
        block_title_background_fill="transparent", block_title_background_fill_dark="transparent", block_title_padding="0",
        block_title_text_color="*body_text_color", block_title_text_color_dark="*body_text_color",
        block_title_text_weight="500", block_title_text_size="*text_sm", block_border_width="1px",
        checkbox_border_color="*neutral_400", checkbox_border_color_dark="*neutral_500",
    )  # fmt: skip
    return {
        "theme": theme,
        "css": (HERE / "style.css").read_text("utf-8"),
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": "40mb",
        "footer_links": [],
        "show_error": True,
        "ssr_mode": False,
    }
