"""A folder of portraits as people hand it over: some photos are none, workers are killed, and the same command goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.avatars import TINY, astronaut_avatar, astronaut_photo, of_tomorrow
from zero1toa import cli
from zero1toa.batch.work import Outcome, make, plan_jobs
from zero1toa.config import Config
from zero1toa.export.package import TENSORS, WORK, load_avatar, read_details

# So long that a worker is killed in the middle of it, and so often saved that the next one does not begin anew.
LONG = (*TINY, "--iterations", "24", "--checkpoint-s", "0")
posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL and SIGINT are sent as on POSIX")


def start(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "zero1toa", "batch", *words, "--json", "--report-s", "0"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen, sign, limit_s: float = 240.0):
    """Give what `sign` gives as soon as that is something."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := sign():
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("nothing happened in time")


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    words = lambda child: " ".join(child.cmdline())
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in words(child)]


def ray_workers() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if any("ray::_on_ray" in w for w in p.info["cmdline"] or [])]


def report_of(folder: Path) -> dict[str, dict]:
    return {told["photo"]: told for told in json.loads((folder / "report.json").read_text())["portraits"]}


def read_iteration(folder: Path) -> int:
    """Give the iteration of the newest checkpoint; one may go while we look."""
    for state in sorted(folder.glob(f"{WORK}/checkpoint-*/state.json"), reverse=True):
        try:
            return json.loads(state.read_text())["iteration"]
        except FileNotFoundError:
            continue
    return 0


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(astronaut_photo(), folder / "good & <b>.png")
    return folder


def test_one_failed_photo_never_stops_the_rest_and_nothing_is_made_twice(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no photo")
    (photos / "notes.txt").write_text("not meant")
    out = tmp_path / "out"
    words = ["batch", str(photos), str(out), *TINY]
    assert cli.main(words) == 2
    told = report_of(out)
    assert set(told) == {"broken.jpg", "good & <b>.png"}
    good = told["good & <b>.png"]
    assert good["status"] == "made"
    assert good["timings"]["total"] > 0
    assert len(load_avatar(out / good["folder"]).avatar) == good["splats"] > 1000
    assert not (out / good["folder"] / WORK).exists()
    assert told["broken.jpg"]["status"] == "failed"
    assert "not a photo" in told["broken.jpg"]["said"]
    assert not (out / "broken").exists(), "failures leave nothing behind"
    page = (out / "report.html").read_text()
    assert "<b>.png" not in page, "names are no markup"
    assert "good%20%26%20%3Cb%3E/preview.png" in page
    assert "not a photo" in page

    of_tomorrow(out)
    before = (out / good["folder"] / TENSORS).stat().st_mtime_ns
    (photos / "broken.jpg").unlink()
    assert cli.main(words) == 0
    assert report_of(out)["good & <b>.png"]["status"] == "kept"
    assert (out / good["folder"] / TENSORS).stat().st_mtime_ns == before


@posix
def test_a_killed_worker_is_noticed_and_its_photo_retried_once(photos, tmp_path):
    (photos / "good & <b>.png").rename(photos / "first.png")
    shutil.copy(astronaut_photo(), photos / "second.png")
    out = tmp_path / "out"
    batch = start(str(photos), str(out), *LONG)

    def kill_at_work_on(name: str, *, after: int = 0) -> int:
        iteration = wait_for(batch, lambda: (at := read_iteration(out / name)) > after and at)
        (worker,) = workers_of(batch)
        worker.kill()
        worker.wait(60)
        return iteration

    kill_at_work_on("first")
    kill_at_work_on("second", after=kill_at_work_on("second") + 2)
    _, err = batch.communicate(timeout=240)
    assert batch.returncode == 2, err
    assert "Traceback" not in err
    first, second = (report_of(out)[f"{name}.png"] for name in ("first", "second"))
    assert (first["status"], first["attempts"], first["iteration"]) == ("made", 2, 24)
    assert (second["status"], second["attempts"]) == ("failed", 2)
    assert "SIGKILL" in second["said"]
    assert "memory" in second["said"]
    assert read_iteration(out / "second") > 0, "what it had is there for another run"


@posix
def test_ctrl_c_keeps_what_there_is_and_the_same_command_goes_on(photos, tmp_path):
    shutil.copy(astronaut_photo(), photos / "later.png")
    out = tmp_path / "out"
    words = (str(photos), str(out), *LONG, "--iterations", "2000")
    batch = start(*words)
    wait_for(batch, lambda: list(out.glob(f"*/{WORK}/checkpoint-*")))
    children = workers_of(batch)
    for process in (psutil.Process(batch.pid), *children):  # as a terminal does
        process.send_signal(signal.SIGINT)
    _, err = batch.communicate(timeout=240)
    assert batch.returncode == cli.STOPPED, err
    assert "Traceback" not in err
    assert not any(child.is_running() for child in children)
    told = report_of(out)
    assert {one["status"] for one in told.values()} == {"stopped", "waiting"}
    begun = next(one for one in told.values() if one["status"] == "stopped")
    assert begun["iteration"] > 0
    details = read_details(out / begun["folder"])
    assert not details.finished
    assert details.iteration == begun["iteration"]

    again = start(*words)
    wait_for(again, lambda: read_iteration(out / begun["folder"]) > begun["iteration"])
    again.kill()
    again.communicate()
    # Workers notice that nobody listens, keep a checkpoint and go.
    deadline = time.monotonic() + 120
    while any(str(out) in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline


@posix
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install -r requirements-cluster.txt")
def test_a_local_ray_cluster_survives_a_killed_worker(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no photo")
    out = tmp_path / "out"
    batch = start(str(photos), str(out), *LONG, "--ray", "local")
    wait_for(batch, lambda: list(out.glob(f"*/{WORK}/checkpoint-*")))
    (worker,) = ray_workers()
    worker.kill()
    _, err = batch.communicate(timeout=240)
    assert batch.returncode == 2, err
    told = report_of(out)
    assert told["broken.jpg"]["status"] == "failed"
    assert (told["good & <b>.png"]["status"], told["good & <b>.png"]["attempts"]) == ("made", 2)
    assert not list(out.glob(".stop-*"))


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is here")
def test_without_ray_a_sentence_says_how_to_get_it(photos, tmp_path, capsys):
    assert cli.main(["batch", str(photos), str(tmp_path / "out"), *TINY, "--ray", "auto"]) == 2
    assert "requirements-cluster.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("{in}/none", "{in}/out"), "there is no folder"),
        (("{in}/empty", "{in}/out"), "no photos"),
        (("{in}", "{in}"), "another folder"),
        (("{in}", "{in}/good & <b>.png"), "is a file"),
        (("{in}", "{in}/out", "--workers", "0"), "--workers"),
        (("{in}", "{in}/out", "--workers", "2", "--ray", "auto"), "not allowed"),
        (("{in}", "{in}/out", "--preset", "fastest"), "preset"),
        (("{in}", "{in}/out", "--head", "flame:{in}/none.pkl"), "none.pkl"),
    ],
    ids=lambda words: " ".join(words)[-24:] if isinstance(words, tuple) else "",
)
def test_wrong_words_get_a_sentence_and_leave_nothing(photos, capsys, words, sentence):
    (photos / "empty").mkdir()
    assert cli.main(["batch", *(word.replace("{in}", str(photos)) for word in words)]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert not (photos / "out").exists()


def test_avatars_are_named_so_that_none_meets_another(photos, tmp_path):
    for name in ("a.png", "A.jpg", "b.png", "report.json.png", ".hidden.png", "c.txt"):
        shutil.copy(astronaut_photo(), photos / name)
    names = {job.photo.name: job.folder.name for job in plan_jobs(photos, tmp_path / "out", Config())}
    assert names == {
        "a.png": "a.png", "A.jpg": "A.jpg", "b.png": "b", "report.json.png": "report.json.png", "good & <b>.png": "good & <b>",
    }  # fmt: skip


def test_an_avatar_of_another_photo_or_of_other_settings_is_not_taken_for_this_one(photos, tmp_path):
    out = tmp_path / "out"
    folder = out / "good & <b>"
    shutil.copytree(astronaut_avatar(), folder)

    def outcome(*more: str) -> Outcome:
        words = ["batch", str(photos), str(out), *TINY, "--seed", "3", *more]
        options = cli.build_parser(words).parse_args(words)
        (job,) = plan_jobs(photos, out, cli.make_config(options), force=options.force)
        return make(job, lambda: False)

    assert outcome().status == "kept", "one that `create` made counts, too"
    changed = outcome("--size", "72")
    assert changed.status == "failed"
    assert "trainer.size = 64, not 72" in changed.message
    (folder / ".photo.sha256").write_text("another")
    assert "another photo" in outcome().message
    assert read_details(folder).finished
    assert outcome("--force").status == "made"
    assert outcome().status == "kept"
