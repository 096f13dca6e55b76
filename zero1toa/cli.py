"""The command line: `python -m zero1toa COMMAND`. It says what the rooms do; it does nothing itself.

Exit status: 0 done, 2 something handed over cannot be used, 1 a fault of this program, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero1toa import __version__
from zero1toa.progress import Interrupts, Story, claim_stdout, duration, lack_of_files, reporting, system_reason
from zero1toa.types import InputError

if TYPE_CHECKING:
    from zero1toa.config import Config
    from zero1toa.export.signing import Credentials
    from zero1toa.provenance import Provenance

REPORT_TO = "the project's issue tracker"
STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if reason := lack_of_files():
            raise InputError(reason)
        _refuse_early(words)
        options = build_parser(words).parse_args(words)
    except InputError as error:
        return _fail(argparse.Namespace(json="--json" in words, debug=False), 2, str(error))
    except SystemExit as stop:  # argparse says what is wrong itself, and exits with 2
        return int(stop.code or 0)
    options.words = words
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    for name in ("absl", "jax", "numba", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return options.run(options) or 0
    except InputError as error:
        return _fail(options, 2, str(error))
    except KeyboardInterrupt:
        return _fail(options, STOPPED, "stopped")
    except BrokenPipeError:  # whoever read our lines went away
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # else Python complains when it flushes at exit
        return 1
    except Exception as error:
        if reason := system_reason(error):
            return _fail(options, 2, reason)
        return _fail(options, 1, f"this should not have happened: {type(error).__name__}: {error}")


def _refuse_early(words: Sequence[str]) -> None:
    """Say that a prior's weights are not here before seconds go into loading what would use them."""
    from zero1toa.assets import TABLE, require

    if words and words[0] in ("create", "reenact", "batch"):
        asked = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        asked.add_argument("--prior", default="")
        with contextlib.suppress(argparse.ArgumentError):
            name = asked.parse_known_args(words[1:])[0].prior
            if name in {entry.name for entry in TABLE}:
                require(name)


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Describe the commands; the many settings are added only for the commands that take them."""
    parser = argparse.ArgumentParser(
        "zero1toa", allow_abbrev=False, description="One portrait photo becomes an animatable 3D-Gaussian head."
    )
    parser.add_argument("--version", action="version", version=f"zero1toa {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        made.add_argument("--json", action="store_true", help="print JSON for machines")
        made.add_argument("--verbose", action="store_true", help="print what the program notes along the way")
        made.add_argument("--debug", action="store_true", help="print the traceback of a fault")
        made.set_defaults(run=run)
        return made

    create = command("create", run_create, "make an avatar out of a portrait photo")
    create.add_argument("portrait", type=Path, metavar="PORTRAIT", help="a photo of one person")
    create.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the new avatar's folder")
    create.add_argument("--face", type=int, metavar="N", help="which of several faces, 1 being the largest")
    create.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    create.add_argument("--force", action="store_true", help="replace the avatar that is there")

    reenact = command("reenact", run_reenact, "make an avatar of a clip's first frame, or another, and drive it by all")
    reenact.add_argument("clip", type=Path, metavar="CLIP")
    reenact.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="gets frames/NNNNN.png, RGBA")
    reenact.add_argument("--frame", type=int, default=0, metavar="N", help="which frame to make the avatar of, from 0 on")
    reenact.add_argument("--stride", type=int, default=1, metavar="N", help="every how many frames to draw")
    reenact.add_argument("--force", action="store_true", help="replace the frames that are there")
    batch = command("batch", run_batch, "make an avatar of every portrait in a folder, and a report")
    batch.add_argument("photos", type=Path, metavar="IN", help="the folder of photos")
    batch.add_argument("output", type=Path, metavar="OUT", help="gets a folder for every avatar; what is there already is kept")
    batch.add_argument("--face", type=int, metavar="N", help="which of several faces, 1 being the largest")
    batch.add_argument("--force", action="store_true", help="make avatars again that are there")
    crew = batch.add_mutually_exclusive_group()
    crew.add_argument("--workers", type=int, default=1, metavar="N", help="so many portraits at once (1)")
    crew.add_argument("--ray", metavar="ADDRESS", help="work on a Ray cluster: its address, auto, or local for this machine")
    compare = command("compare", run_compare, "make avatars by each method of the comparison of the paper, and score them")
    compare.add_argument("subjects", nargs="+", metavar="SUBJECT", help="a clip of somebody, or person:SEED, somebody drawn")
    compare.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="gets tables, sheets, videos, avatars")
    compare.add_argument("--method", action="append", default=[], metavar="NAME", help="only some methods, `full` among them")
    for made in (create, reenact, batch, compare):
        agreed = "confirm that the people shown are you, agreed, or never were; remembered, so that once is enough"
        made.add_argument("--i-have-consent", action="store_true", help=agreed)
        _add_config_flags(made, words)

    render = command("render", run_render, "draw a saved avatar from any side, with any face")
    _add_saved(render)
    render.add_argument("-o", "--output", type=Path, required=True, metavar="PICTURE", help="a png, jpg or webp")
    render.add_argument("--yaw", type=float, default=0.0, help="degrees round the head, 0 being the photo's own view")
    render.add_argument("--pitch", type=float, default=0.0, help="degrees up")
    render.add_argument("--zoom", type=float, default=1.0, help="enlarge the head")
    render.add_argument("--size", type=int, default=512, help="pixels")
    render.add_argument(
        "--expression", action="append", default=[], metavar="NAME=VALUE,...",
        help="smile, jaw, blink, blink-left, blink-right, brows, pucker, gaze-x, gaze-y, or any of the 52 ARKit names",
    )  # fmt: skip
    render.add_argument("--neutral", action="store_true", help="begin with a relaxed face, not with the photo's")
    render.add_argument("--transparent", action="store_true", help="leave out the background")
    _add_signing(render)

    animate = command("animate", run_animate, "let a clip or a motion file drive a saved avatar")
    _add_saved(animate)
    animate.add_argument("--driving", type=Path, required=True, metavar="CLIP_OR_MOTION", help="a video, or motion as .json")
    animate.add_argument("-o", "--output", type=Path, required=True, metavar="VIDEO", help="an mp4")
    animate.add_argument("--size", type=int, default=512, help="pixels of the video")
    animate.add_argument("--save-motion", type=Path, metavar="FILE", help="also keep the tracked motion, as .json")
    _add_mark(animate)
    _add_signing(animate)

    export = command("export", run_export, "write a saved avatar as splats, a rigged glb, a page to share, or a video")
    _add_saved(export)
    export.add_argument("--to", choices=("ply", "glb", "html", "mp4"), required=True)
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: beside the avatar's other files")
    export.add_argument("--size", type=int, default=512, help="pixels of the video")
    export.add_argument("--name", default="", help="what the page is called")
    _add_mark(export)
    _add_signing(export)

    command("bench", run_bench, "measure how fast this machine draws, each figure beside plain PyTorch")
    doctor = command("doctor", run_doctor, "say what is installed, what works, and how to get what is missing")
    doctor.add_argument("--prior", metavar="NAME", help="look at one video prior: files, size, memory, licence")
    fetch = command("fetch", run_fetch, "download the weights of a video prior")
    fetch.add_argument("name", metavar="PRIOR", help="which prior")
    return parser


def _add_saved(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("avatar", type=Path, metavar="DIR", help="a saved avatar, or one that was exported as .glb")
    parser.add_argument("--head", metavar="HEAD", help="where the head model is here, such as flame:PATH")


def _add_mark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-mark", action="store_true", help="leave the visible mark off the video or page; needs --consent")
    parser.add_argument("--consent", action="store_true", help="confirm that the person shown agreed to its being left out")


def _add_signing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--c2pa-certificate", type=Path, metavar="PEM", help="sign by C2PA, with your chain of certificates")
    parser.add_argument("--c2pa-key", type=Path, metavar="PEM", help="the private key of the first of those")


def _add_config_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags that make a config; the rest of its settings are shown by --help-all."""
    parser.add_argument("--preset", default="standard", metavar="NAME", help="preview, standard or best")
    parser.add_argument("--prior", metavar="NAME", help="video prior that regenerates the clips (auto)")
    parser.add_argument("--head", metavar="NAME", help="head model: anny, or flame:PATH with your own FLAME file")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or cuda")
    parser.add_argument("--iterations", type=int, metavar="N", help="scale the paper's schedule to so many steps")
    if words and words[0] == parser.prog.split()[-1]:
        from zero1toa.settings import list_settings

        parser.add_argument("--help-all", action="help", help="show every setting")
        group = parser.add_argument_group("settings (defaults of the paper; presets change some)")
        for setting in list_settings():
            text = f"{setting.help} ({setting.default})" if "--help-all" in words else argparse.SUPPRESS
            kind: dict[str, Any] = {"type": setting.kind, "metavar": setting.kind.__name__.upper()}
            if setting.kind is bool:
                kind = {"action": argparse.BooleanOptionalAction}
            if setting.path == "seed.splats":
                text = setting.help
            group.add_argument(setting.flag, dest=setting.path, default=None, help=text, **kind)


def make_config(options: argparse.Namespace) -> Config:
    """Turn flags into a config; raises InputError for what cannot be."""
    from zero1toa.config import preset
    from zero1toa.settings import list_settings, with_iterations, with_settings

    config = preset(options.preset)
    if options.iterations is not None:
        config = with_iterations(config, options.iterations)
    given = {setting.path: getattr(options, setting.path) for setting in list_settings()}
    config = with_settings(config, {path: value for path, value in given.items() if value is not None})
    for name in ("prior", "head", "device"):
        if getattr(options, name) is not None:
            config = replace(config, **{name: getattr(options, name)})
    if options.seed is not None:
        if not 0 <= options.seed < 2**63:
            raise InputError(f"--seed {options.seed} is out of range: use a whole number from 0 on")
        config = config.with_seed(options.seed)
    if getattr(options, "face", None) is not None:
        config = replace(config, portrait=replace(config.portrait, face=options.face))
    return config


# ------------------------------------------------------------------------------------------------------ create


def run_create(options: argparse.Namespace) -> int:
    """Make an avatar; Ctrl-C keeps what there is."""
    from zero1toa.export.package import WORK, check_output, save_avatar
    from zero1toa.pipeline import create_avatar, settle_prior

    _require_consent(options)
    config, why = settle_prior(make_config(options))
    folder: Path = options.output
    if not _alone():
        # Begun by `accelerate launch`: all processes train one avatar, and the first one tells and saves.
        claim_stdout()
        if os.environ.get("RANK", "0") != "0":
            for _ in create_avatar(options.portrait, config, folder=folder / WORK, resume=options.resume):
                pass
            return 0
    check_output(folder, force=options.force, resume=options.resume)
    work = folder / WORK
    with _output_folder(folder, work), reporting(machine=options.json) as reporter, Interrupts() as stop:
        # Again, now that nobody else can write there.
        check_output(folder, force=options.force, resume=options.resume)
        _check_work(work, folder, options)
        if why:
            reporter.say("prior", why, prior=config.prior)
        story = Story()
        events = create_avatar(options.portrait, config, folder=work, resume=options.resume)
        try:
            for event in events:
                story.add(event)
                reporter.event(event)
                stop.armed = story.avatar is not None
                if stop.asked:
                    break
        finally:
            events.close()  # pyright: ignore[reportAttributeAccessIssue]  # a generator, which stops the work
        assert story.avatar is not None
        assert story.portrait is not None
        finished = not stop.asked or story.last.stage == "done"
        iteration = None if finished else story.last.iteration
        timings = story.timings()
        save_avatar(folder, story.avatar, story.portrait, config, timings=timings, iteration=iteration, force=True)
        if finished:
            shutil.rmtree(work, ignore_errors=True)
            reporter.say(
                "saved", f"the avatar is in {folder} ({duration(timings['total'])}, {len(story.avatar)} splats)",
                folder=str(folder), seconds=timings["total"], splats=len(story.avatar), finished=True,
            )  # fmt: skip
            return 0
        again = shlex.join(["zero1toa", *(w for w in options.words if w not in ("--resume", "--force")), "--resume"])
        reporter.say(
            "saved", f"stopped at iteration {iteration}; the avatar so far is in {folder}. Go on with\n    {again}",
            folder=str(folder), iteration=iteration, splats=len(story.avatar), finished=False, resume=again,
        )  # fmt: skip
        return STOPPED


def _require_consent(options: argparse.Namespace) -> None:
    """Ask a person at a terminal for what was not said; one of several processes, or a machine, cannot be asked."""
    from zero1toa.consent import require_consent

    require_consent(options.i_have_consent, may_ask=_alone() and not options.json)


def _alone() -> bool:
    """Say whether this is the only process of the run."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1


def _check_work(work: Path, folder: Path, options: argparse.Namespace) -> None:
    """Decide what happens to an unfinished run in the folder."""
    if options.resume:
        return
    if any(work.glob("checkpoint-*")) and not options.force:
        raise InputError(f"{folder} holds an unfinished avatar: add --resume to go on with it, or --force to start again")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(exist_ok=True)


@contextlib.contextmanager
def _output_folder(folder: Path, work: Path) -> Iterator[None]:
    """Make the output folder before minutes of work go into it, and take it away again if nothing came of them.

    Raises InputError when another process is writing there.
    """
    from zero1toa.export.claim import claimed
    from zero1toa.media import explain_writing

    made = [path for path in (work, *work.parents) if not path.exists()]
    try:
        with explain_writing(folder):
            work.mkdir(parents=True, exist_ok=True)
        with claimed(folder):
            with explain_writing(folder):
                # Root may make folders where nothing can be written, and network disks lie.
                probe = work / ".probe"
                probe.write_bytes(b"0" * 4096)
                probe.unlink()
            try:
                yield
            finally:
                for leftover in work.glob(".partial-*"):  # of a checkpoint that did not fit on the disk
                    shutil.rmtree(leftover, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):  # what is not empty stays
            for path in made:
                path.rmdir()


# ------------------------------------------------------------------------------------------------------- batch


def run_batch(options: argparse.Namespace) -> int:
    """Make many avatars; Ctrl-C keeps what there is, and the same command goes on."""
    from zero1toa.batch import make_avatars
    from zero1toa.batch.crews import Processes, Ray
    from zero1toa.batch.report import facts, summary, write_report
    from zero1toa.batch.work import exit_status, plan_jobs
    from zero1toa.export.claim import claimed
    from zero1toa.head import load_head
    from zero1toa.pipeline import settle_prior

    _require_consent(options)
    config, why = make_config(options), ""
    if options.ray is None:  # machines of a cluster settle this themselves: they may have what this one has not
        config, why = settle_prior(config)
    if config.head != "anny":
        load_head(config.head)  # so that a missing file is said once
    processes = Processes(options.workers)  # which begin when they get work
    jobs = plan_jobs(options.photos, options.output, config, force=options.force)
    began, outcomes = time.monotonic(), []
    with claimed(options.output), reporting(machine=options.json) as reporter, Interrupts() as stop:
        if why:
            reporter.say("prior", why, prior=config.prior)
        crew = processes if options.ray is None else Ray(options.ray, options.output, config.device)
        stop.armed = True
        for outcome in make_avatars(jobs, crew, lambda: stop.asked):
            outcomes.append(outcome)
            if outcome.status != "waiting":
                message = f"{outcome.photo.name}: {outcome.status}" + (f" - {outcome.message}" if outcome.message else "")
                reporter.say("portrait", message, **facts(outcome))
                reporter.count("portraits", len(outcomes), len(jobs))
        record = write_report(options.output, outcomes, settings=asdict(config), seconds=time.monotonic() - began)
        page = options.output / "report.html"
        reporter.say("report", f"{summary(record)}; see {page}", file=str(page), counts=record["counts"])
    return exit_status(outcomes, stopped=STOPPED)


def run_compare(options: argparse.Namespace) -> int:
    """Make avatars by several methods and score them; what is there already is not made again."""
    from zero1toa.evaluation.ablation import Outcome, as_markdown, compare, write_results
    from zero1toa.evaluation.methods import methods_named
    from zero1toa.evaluation.subjects import load_subjects
    from zero1toa.head import load_head

    if not all(name.startswith("person:") for name in options.subjects):
        _require_consent(options)
    config = make_config(options)
    methods = methods_named(options.method)
    subjects = load_subjects(options.subjects, load_head(config.head))
    outcomes: list[Outcome] = []
    with _output_folder(options.output, options.output), reporting(machine=options.json) as reporter:
        for told in compare(subjects, methods, config, options.output):
            if not isinstance(told, Outcome):
                reporter.event(told)
                continue
            outcomes.append(told)
            scores = ", ".join(f"{name} {value:.2f}" for name, value in told.scores.items())
            reporter.say(
                "scored", f"{told.subject.name}, {told.method.title}: {scores}", method=told.method.name, **told.scores
            )
        write_results(options.output, outcomes)
        text = f"the comparison is in {options.output}\n{as_markdown(outcomes)}"
        reporter.say("saved", text, folder=str(options.output))
    return 0


# ----------------------------------------------------------------------------------- what is done with avatars


def run_reenact(options: argparse.Namespace) -> int:
    """Make an avatar of one frame and write the others as it would show them."""
    from zero1toa.export.package import describe
    from zero1toa.export.sidecar import write_sidecar
    from zero1toa.media import write_image
    from zero1toa.pipeline import reenact, settle_prior
    from zero1toa.provenance import Provenance

    _require_consent(options)
    if options.stride < 1:
        raise InputError(f"--stride {options.stride} is out of range: use 1 or more")
    config, why = settle_prior(make_config(options))
    frames = options.output / "frames"
    old = [path for path in frames.glob("*.png") if path.stem.isdigit()] if frames.is_dir() else []
    if old and not options.force:
        raise InputError(f"{frames} holds frames already: choose another folder, or add --force to replace them")
    with _output_folder(options.output, frames), reporting(machine=options.json) as reporter:
        if why:
            reporter.say("prior", why, prior=config.prior)
        began, drawn, provenance = time.monotonic(), list[Path](), Provenance()
        for step in reenact(options.clip, config, frame=options.frame, stride=options.stride):
            if not isinstance(step, tuple):
                reporter.event(step)
                if step.avatar is not None:
                    provenance = describe(step.avatar, config).provenance()
                continue
            if not drawn:
                for path in old:
                    path.unlink()
            index, picture = step
            drawn.append(frames / f"{index:05d}.png")
            write_image(drawn[-1], picture, provenance=provenance)
            reporter.count("frames", len(drawn), None)
        write_sidecar(options.output, drawn, provenance)
        seconds = time.monotonic() - began
        message = f"{len(drawn)} frames are in {frames} ({duration(seconds)})"
        reporter.say("saved", message, folder=str(frames), frames=len(drawn), seconds=seconds)
    return 0


def run_render(options: argparse.Namespace) -> int:
    """Draw one picture."""
    from zero1toa.export.package import load_avatar
    from zero1toa.export.views import Viewer
    from zero1toa.expressions import parse_expressions
    from zero1toa.media import write_image
    from zero1toa.pipeline import cut_out

    credentials = _credentials(options, options.output)
    values = parse_expressions(",".join(options.expression))
    viewer = Viewer.of(load_avatar(options.avatar, head=options.head))
    camera = viewer.camera(options.yaw, options.pitch, zoom=options.zoom, size=options.size)
    state = viewer.state(values, neutral=options.neutral)
    picture = cut_out(viewer.saved.avatar, state, camera) if options.transparent else viewer.draw(state, camera)
    write_image(options.output, picture, provenance=viewer.saved.provenance())
    _sign(options.output, viewer.saved.provenance(), credentials)
    _say(options, "saved", f"the picture is in {options.output}", file=str(options.output))
    return 0


def run_animate(options: argparse.Namespace) -> int:
    """Write a video of an avatar that does what a clip or a motion does."""
    from zero1toa.driving import animate, track_clip
    from zero1toa.export.mark import check_mark
    from zero1toa.export.motion import read_motion, write_motion
    from zero1toa.export.package import load_avatar
    from zero1toa.export.video import write_rendering
    from zero1toa.export.views import Viewer

    check_mark(not options.no_mark, options.consent)
    credentials = _credentials(options, options.output)
    viewer = Viewer.of(load_avatar(options.avatar, head=options.head))
    head = viewer.saved.avatar.head
    with reporting(machine=options.json) as reporter:
        if options.driving.suffix.lower() == ".json":
            motion = read_motion(options.driving, names=head.expression_names)
        else:
            motion = track_clip(options.driving, head)
        if options.save_motion:
            write_motion(options.save_motion, motion, names=head.expression_names)
        total = len(motion.states)

        def frames() -> Iterator[Any]:
            for index, frame in enumerate(animate(viewer, motion, size=options.size)):
                reporter.count("frames", index + 1, total)
                yield frame

        mark, consent = not options.no_mark, options.consent
        write_rendering(options.output, frames(), motion.fps, viewer.saved, mark=mark, consent=consent)
        _sign(options.output, viewer.saved.provenance(), credentials)
        lost = motion.found.count(False)
        held = f"; {lost} of {total} frames show no face, the pose before is held there" if lost else ""
        reporter.say("saved", f"the video is in {options.output}{held}", file=str(options.output), frames=total, lost=lost)
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Write splats, a rigged avatar or a video."""
    from zero1toa.export.glb import write_glb
    from zero1toa.export.package import load_avatar
    from zero1toa.export.ply import write_ply
    from zero1toa.export.video import write_demo
    from zero1toa.export.views import Viewer
    from zero1toa.export.web import write_html

    saved = load_avatar(options.avatar, head=options.head)
    beside = options.avatar / (options.avatar.resolve().name or "avatar") if options.avatar.is_dir() else options.avatar
    output = options.output or beside.with_name(f"{beside.name.removesuffix('.glb')}.{options.to}")
    credentials, mark = _credentials(options, output), not options.no_mark
    match options.to:
        case "ply":
            write_ply(output, saved.avatar.pose(saved.state), comments=saved.provenance().lines())
        case "glb":
            write_glb(output, saved)
        case "html":
            write_html(output, saved, name=options.name, mark=mark, consent=options.consent)
        case _:
            write_demo(output, Viewer.of(saved), size=options.size, mark=mark, consent=options.consent)
    _sign(output, saved.provenance(), credentials)
    _say(options, "saved", f"{options.to} written to {output}", file=str(output))
    return 0


def run_bench(options: argparse.Namespace) -> int:
    """Measure."""
    from zero1toa.evaluation.bench import run_benchmarks

    measured = run_benchmarks()
    if options.json:
        print(json.dumps([asdict(measurement) for measurement in measured]))
        return 0
    for m in measured:
        print(f"{m.name}: {m.value:.1f} {m.unit} (plain PyTorch {m.reference:.0f} {m.unit}, {m.reference / m.value:.0f}x)")
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    """Examine the installation; the status is 1 when the main job cannot run."""
    from zero1toa.doctor import examine, examine_prior

    findings = examine_prior(options.prior) if options.prior else examine()
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.status:<8} {finding.name:<{width}}  {finding.text}")
            if finding.remedy:
                print(f"{'':<8} {'':<{width}}  -> {finding.remedy}")
    return 1 if any(finding.status == "missing" and finding.needed for finding in findings) else 0


def run_fetch(options: argparse.Namespace) -> int:
    """Download what a prior needs and has not got."""
    from zero1toa.assets import fetch, weights

    with reporting(machine=options.json) as reporter:
        for file, done in fetch(options.name):
            verb = "fetched" if done else "fetching"
            message = f"{verb} {file.path} of {file.repo} ({file.size / 1e6:.0f} MB)"
            reporter.say(verb, message, file=file.path, repo=file.repo, size=file.size)
        entry = weights(options.name)
        reporter.say("ready", f"the prior {entry.name} is here. Licence: {entry.licence}", prior=entry.name)
    return 0


# ------------------------------------------------------------------------------------------------------ the end


def _say(options: argparse.Namespace, kind: str, message: str, **facts: Any) -> None:
    with reporting(machine=options.json) as reporter:
        reporter.say(kind, message, **facts)


def _credentials(options: argparse.Namespace, output: Path) -> Credentials | None:
    """Read what to sign with, if anything, before work goes into what is to be signed."""
    from zero1toa.export.signing import check_signable, read_credentials

    if options.c2pa_certificate is None and options.c2pa_key is None:
        return None
    if options.c2pa_certificate is None or options.c2pa_key is None:
        raise InputError("a signature needs both: --c2pa-certificate and --c2pa-key")
    check_signable(output)
    return read_credentials(options.c2pa_certificate, options.c2pa_key)


def _sign(output: Path, provenance: Provenance, credentials: Credentials | None) -> None:
    from zero1toa.export.signing import sign

    if credentials is not None:
        sign(output, provenance, credentials)


def _fail(options: argparse.Namespace, status: int, message: str) -> int:
    """Tell why a command ends, to people and to machines, and give the status."""
    if options.json:
        kind = {2: "input", STOPPED: "stopped"}.get(status, "fault")
        print(json.dumps({"type": "error", "kind": kind, "message": message}, ensure_ascii=False), flush=True)
    if options.debug and status == 1:
        logging.getLogger(__name__).exception("the fault")
    print(f"zero1toa: {message}" if status == STOPPED else f"error: {message}", file=sys.stderr)
    if status == 1:
        hint = "" if options.debug else " (run again with --debug to see where)"
        print(f"Please report it on {REPORT_TO}, with the command and `zero1toa doctor`{hint}.", file=sys.stderr)
    return status
