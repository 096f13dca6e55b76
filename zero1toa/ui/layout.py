"""The page: what is on it, and which handler each part calls. What happens then is in `making`, `playing` and `sharing`."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Soft

from zero1toa.config import PRESETS, Config
from zero1toa.ui.making import Making, Screen, find_photos
from zero1toa.ui.pictures import gallery_row
from zero1toa.ui.playing import Playing, find_gallery
from zero1toa.ui.session import Uploads, close_session
from zero1toa.ui.shared_gpus import compiling, on_shared_gpus, survive_forks
from zero1toa.ui.sharing import Sharing
from zero1toa.ui.steps import (
    Build,
    Compare,
    Files,
    Photo,
    Play,
    Share,
    build_step,
    compare_step,
    photo_step,
    play_step,
    share_step,
)
from zero1toa.ui.words import PANEL_CHINESE, TRANSLATIONS, words
from zero1toa.web import viewer_script

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
# Seconds that anything of a visitor is kept, and between two looks for what is older.
KEEP_S, CLEAN_S = 4 * 3600, 600
# So many events may wait for their turn; whoever comes then is told so.
QUEUE = 20
TITLE = "Zero-1-to-A: one photo, one living head"
STAGE = """<div class="z-stage"><div class="z-heads z-empty"></div><span class="z-hint"></span></div>"""
ON_PICK = """element.addEventListener("click", (event) => {
    const name = event.target.closest("[data-name]")?.dataset.name;
    if (name) trigger("pick", { name });
});"""
# Events that are no use to programs; those that tests and curious clients call are merely not in the list.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
HIDDEN: dict[str, Any] = {"api_visibility": "undocumented"}
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}


def build_app(presets: Mapping[str, Config] = PRESETS, examples: Path = EXAMPLES) -> gr.Blocks:
    """Build the page."""
    if on_shared_gpus():
        survive_forks()
        compiling()
    photos, gallery = find_photos(examples), find_gallery(examples)
    gr.set_static_paths([shown.glb for shown in gallery])
    making, playing, sharing = Making(presets), Playing(gallery, photos), Sharing()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CLEAN_S, KEEP_S), fill_width=False) as app:
        session = gr.State(None, time_to_live=KEEP_S, delete_callback=close_session)
        forget = lambda uploads: uploads.delete(photos)
        uploads = gr.State(Uploads(), time_to_live=KEEP_S, delete_callback=forget)
        shown, order = gr.State(None), gr.State(None)
        gr.HTML(words("hero"), padding=False)
        with gr.Row(elem_id="table"):
            with gr.Column(elem_id="left"):
                gr.HTML(STAGE, js_on_load="Zero1toApp.stage(element)", elem_id="stage", padding=False, apply_default_css=False)
                picked = gr.HTML(gallery_row(gallery), js_on_load=ON_PICK, elem_id="gallery", padding=False)
            with gr.Column(elem_id="right"), gr.Tabs(selected="photo", elem_id="steps") as steps:
                with gr.Tab(words("photo"), id="photo"):
                    entry = photo_step(making, photos)
                with gr.Tab(words("build"), id="build"):
                    work = build_step()
                with gr.Tab(words("play"), id="play"):
                    play = play_step()
                with gr.Tab(words("share"), id="share"):
                    share = share_step()
                with gr.Tab(words("compare"), id="compare") as tab:
                    compare = compare_step(tab)
        gr.HTML(words("foot"), padding=False)
        wipe = gr.Button(words("wipe"), size="sm", elem_id="wipe")
        files = Files(*(gr.File(visible="hidden", elem_id=f"to-{name}") for name in Files._fields))

        _on_files(files)
        face, prepared = _on_photo(making, entry, uploads)
        _on_build(making, entry, work, Screen(
            session, steps, work.stages, work.status, files.avatar, work.clip, work.curves, entry.create, work.stop,
            work.resume, shown, order, play.against, uploads,
        ), face, prepared)  # fmt: skip
        compare.make.click(
            making.compare,
            [compare.methods, entry.photo, entry.consent, face, entry.margin, prepared, session],
            [session, compare.said, files.avatar, shown, compare.beside, files.beside],
            concurrency_limit=1, concurrency_id="create", api_name="methods", show_progress="hidden", **HIDDEN,
        )  # fmt: skip
        _on_play(playing, play, compare, files, shown, session, uploads)
        _on_share(sharing, share, files, shown, session)
        picked.pick(playing.pick, None, [files.avatar, shown, steps], **QUIET, **PRIVATE)
        app.load(playing.welcome, None, [files.avatar, shown], **QUIET, **PRIVATE)
        wipe.click(
            playing.wipe, [session, uploads, entry.photo],
            [session, shown, order, prepared, entry.photo, entry.consent, entry.seen, work.stages, work.status, work.clip,
             work.curves, work.resume, *files, play.against, play.driving],
            api_name="wipe", **QUIET, **HIDDEN,
        )  # fmt: skip
    # Without a size, a Space with shared GPUs lets one visitor wait and turns the rest away.
    return app.queue(max_size=QUEUE)


# ------------------------------------------------------------------------------------------------------ what it does


def _on_files(files: Files) -> None:
    """Let the browser take what it is handed."""
    acts = {"avatar": "show", "motion": "play", "beside": "beside", "download": "hand"}
    for name, act in acts.items():
        getattr(files, name).change(None, getattr(files, name), None, js=f"(file) => Zero1toApp.{act}(file)", **PRIVATE)


def _on_photo(making: Making, entry: Photo, uploads: gr.State) -> tuple[gr.State, gr.State]:
    """Look at photos as they are chosen; gives (which face, what was prepared)."""
    face, prepared = gr.State(1), gr.State(None, time_to_live=KEEP_S)
    looked: dict[str, Any] = {
        "fn": making.look, "outputs": [entry.seen, face, prepared, uploads], "show_progress": "hidden",
        "trigger_mode": "always_last", "concurrency_limit": 2, "concurrency_id": "look",
    }  # fmt: skip
    first = gr.State(1)
    again = {**looked, "inputs": [entry.photo, face, entry.margin, uploads]}
    entry.photo.change(**looked, inputs=[entry.photo, first, entry.margin, uploads], **PRIVATE)
    entry.seen.point(making.point, None, face, **QUIET, **PRIVATE).then(**again, **PRIVATE)
    entry.margin.release(**again, **PRIVATE)
    entry.preset.change(making.estimate, entry.preset, entry.estimate, **QUIET, **PRIVATE)
    return face, prepared


def _on_build(making: Making, entry: Photo, work: Build, screen: Screen, face: gr.State, prepared: gr.State) -> None:
    """Create, stop, go on; and the same for programs, in one call."""
    entered = [entry.photo, entry.consent, entry.preset, entry.seed]
    # A place in the queue shows where the button is; once it is our turn, the next step tells how it goes.
    heavy: dict[str, Any] = {
        "concurrency_limit": 1, "concurrency_id": "create", "show_progress": "full", "show_progress_on": entry.estimate,
    }  # fmt: skip
    # Gradio looks whether the queue is full before it runs a validator, so a crowd would come in while validators run:
    # what is validated is an event of its own that does nothing.
    checked = entry.create.click(
        lambda *_: None, [entry.photo, entry.consent], validator=making.check, concurrency_limit=None,
        show_progress="hidden", trigger_mode="once", **PRIVATE,
    )  # fmt: skip
    checked.success(
        making.create, [*entered, face, entry.margin, prepared, screen.session, screen.uploads], list(screen),
        api_name="watch", **heavy, **HIDDEN,
    )  # fmt: skip
    work.resume.click(making.resume, [screen.order, screen.session], list(screen), api_name="resume", **heavy, **HIDDEN)
    work.stop.click(making.stop, screen.session, work.stop, api_name="stop", **QUIET, **HIDDEN)
    asked = [entry.photo, entry.preset, entry.seed, gr.Checkbox(visible=False, label="I may use this photo")]
    answered = [gr.File(visible=False, label=label) for label in ("Rigged avatar (glb)", "Splats (ply)", "Folder (zip)")]
    gr.Button(visible=False).click(
        making.generate, asked, answered, concurrency_limit=1, concurrency_id="create", api_name="generate"
    )


def _on_play(
    playing: Playing, play: Play, compare: Compare, files: Files, shown: gr.State, session: gr.State, uploads: gr.State
) -> None:
    """Drive the avatar, and set others beside it."""
    play.driving.upload(
        playing.drive,
        [play.driving, session, uploads],
        [files.motion, play.said, session, uploads],
        concurrency_limit=1,
        api_name="drive",
        **HIDDEN,
    )
    compare.tab.select(playing.choices, [session, shown], compare.beside, **QUIET, **PRIVATE)
    compare.beside.input(playing.beside, [compare.beside, session], files.beside, api_name="beside", **QUIET, **HIDDEN)
    compare.grid.click(
        playing.grid,
        [compare.beside, session, shown],
        [files.download, session],
        concurrency_limit=1,
        api_name="grid",
        **HIDDEN,
    )


def _on_share(sharing: Sharing, share: Share, files: Files, shown: gr.State, session: gr.State) -> None:
    """Hand out files and links."""
    given = [files.download, session, share.said]
    what = [shown, session]
    seen = gr.Textbox(visible=False)
    light: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": share.said, "concurrency_limit": 2, **HIDDEN}
    page = [*what, share.name, share.mark, share.consent]
    share.mark.change(None, share.mark, share.consent, js="(mark) => ({ visible: !mark, __type__: 'update' })", **PRIVATE)
    share.page.click(sharing.page, page, given, api_name="page", **light)
    share.glb.click(sharing.rigged, what, given, api_name="rigged", **light)
    share.ply.click(sharing.splats, what, given, api_name="splats", **light)
    share.zip.click(sharing.folder, what, given, api_name="folder", **light)
    look = "(...given) => [...given.slice(0, -1), Zero1toApp.seen()]"
    share.png.click(sharing.picture, [*what, seen], given, js=look, api_name="picture", **light)
    film = [*what, share.what, share.from_here, share.mark, share.consent, seen]
    share.mp4.click(sharing.video, film, given, js=look, api_name="video", **light)
    share.copy.click(None, None, share.link, js="() => Zero1toApp.link()", **PRIVATE)


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
        # Dark enough to be read by everybody: WCAG asks for a contrast of 4.5.
        color_accent="*primary_600", button_primary_background_fill="*primary_600", block_label_text_color="*primary_700",
        button_primary_background_fill_hover="*primary_700", body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500", checkbox_border_color="*neutral_400", checkbox_border_color_dark="*neutral_500",
    )  # fmt: skip
    return {
        "theme": theme,
        "css": (HERE / "style.css").read_text("utf-8"),
        "head": f"<script>{_page_script()}</script>",
        "i18n": TRANSLATIONS,
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": "40mb",
        "footer_links": [],
        "show_error": True,
        "ssr_mode": False,
    }


def _page_script() -> str:
    """Give page.js, with where the viewer's script is and what its panel says in Chinese."""
    from rjsmin import jsmin

    record = json.dumps({"viewer": str(_viewer_file()), "words": PANEL_CHINESE}, ensure_ascii=False, separators=(",", ":"))
    script = jsmin((HERE / "page.js").read_text("utf-8"))
    return f"window.Zero1toPage={record.replace('<', chr(92) + 'u003c')};{script}"


@functools.cache
def _viewer_file() -> Path:
    """Write the viewer's script where the web server may hand it out: compressed, and not before it is needed."""
    folder = Path(tempfile.mkdtemp(prefix="zero1toa_viewer_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "viewer.js"
    path.write_text(viewer_script(), encoding="utf-8")
    gr.set_static_paths([path])
    return path
