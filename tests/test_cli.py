"""The program as people start it: a photo becomes an avatar that is drawn, driven and exported; runs stop and go on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData

from tests.avatars import TINY, astronaut_avatar, astronaut_photo, of_tomorrow
from zero1toa import cli
from zero1toa.export.package import RECORD, TENSORS, WORK, load_avatar, read_details
from zero1toa.media import read_image, read_video, write_video
from zero1toa.types import InputError


@pytest.fixture
def astronaut():
    return astronaut_photo()


@pytest.fixture
def created():
    return astronaut_avatar()


# -------------------------------------------------------------------------------------------------------- create


def test_a_photo_becomes_an_avatar_that_loads(created):
    names = {path.name for path in created.iterdir()}
    assert {TENSORS, RECORD, "portrait.png", "preview.png"} <= names
    assert WORK not in names, "the checkpoints of a finished run are gone"
    saved = load_avatar(created)
    assert saved.details.finished
    assert saved.details.seed == 3
    assert saved.details.iterations == 6
    assert len(saved.avatar) > 1000
    assert dict(saved.details.timings)["total"] > 0
    assert any("px wide" in note for note in saved.portrait.notes), "the astronaut's face is small, and that is said"
    preview, _ = read_image(created / "preview.png")
    photo = saved.portrait.image.numpy()
    height = len(photo)
    shown = np.asarray(Image.fromarray(preview).resize((height, height), Image.Resampling.BOX)) / 255
    inside = saved.portrait.alpha.numpy() > 0.9
    assert np.abs(shown - photo)[inside].mean() < 0.12, "the front view looks like the photo"


def test_the_same_command_twice_changes_nothing(astronaut, created, capsys):
    before = (created / TENSORS).read_bytes()
    assert cli.main(["create", str(astronaut), "-o", str(created), *TINY]) == 2
    assert "--force" in capsys.readouterr().err
    assert (created / TENSORS).read_bytes() == before
    assert cli.main(["create", str(astronaut), "-o", str(created), *TINY, "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err


def start(*words: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "zero1toa", *words, "--json", "--report-s", "0"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def read_until(process: subprocess.Popen, wanted) -> dict:
    assert process.stdout is not None
    deadline = time.monotonic() + 240
    for line in process.stdout:
        told = json.loads(line)
        if wanted(told):
            return told
        assert time.monotonic() < deadline
    raise AssertionError("the program ended early: " + (process.stderr.read() if process.stderr else ""))


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL and SIGINT are sent as on POSIX")
def test_a_run_survives_sigkill_and_ctrl_c_and_goes_on(astronaut, tmp_path, capsys):
    folder = tmp_path / "a"
    words = ["create", str(astronaut), "-o", str(folder), *TINY, "--iterations", "8", "--checkpoint-s", "0"]
    killed = start(*words)
    saved = read_until(killed, lambda told: told.get("checkpoint"))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (folder / RECORD).exists()
    of_tomorrow(folder)

    assert cli.main(words) == 2, "an unfinished run is not thrown away silently"
    assert "--resume" in capsys.readouterr().err
    with pytest.raises(InputError, match="--resume"):
        load_avatar(folder)

    stopped = start(*words, "--resume")
    resumed = read_until(stopped, lambda told: "resumed" in told.get("message", ""))
    assert resumed["iteration"] >= saved["iteration"] > 0
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate()
    assert stopped.returncode == cli.STOPPED, err
    last = json.loads(out.splitlines()[-1])
    assert not last["finished"]
    assert "--resume" in last["resume"]
    assert not read_details(folder).finished
    assert len(load_avatar(folder).avatar) == last["splats"], "the avatar so far is kept"

    assert cli.main(words) == 2
    capsys.readouterr()
    assert cli.main([*words, "--resume", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stages = list(dict.fromkeys(line["stage"] for line in told if line["type"] == "event"))
    assert (stages[:2], stages[-1]) == (["prepare", "seed"], "done")
    assert abs(next(line["fit"]["yaw"] for line in told if "fit" in line)) < 15
    assert (told[-1]["type"], told[-1]["finished"]) == ("saved", True)
    assert read_details(folder).finished
    assert not (folder / WORK).exists()


@pytest.mark.skipif(os.name == "nt", reason="gloo's launcher is tried on POSIX")
def test_two_processes_make_one_avatar_and_one_of_them_tells(astronaut, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "zero1toa"]
    words = ["create", str(astronaut), "-o", str(tmp_path / "a"), *TINY, "--clips-per-update", "2", "--json"]
    ended = subprocess.run([*launch, *words], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line)["type"] for line in ended.stdout.splitlines()].count("saved") == 1
    assert read_details(tmp_path / "a").finished
    assert len(load_avatar(tmp_path / "a").avatar) > 1000


# ------------------------------------------------------------------------------------------- what avatars are for


def test_an_avatar_is_drawn_from_a_side_with_a_face(created, tmp_path):
    draw = lambda name, *words: cli.main(["render", str(created), "-o", str(tmp_path / name), "--size", "128", *words])
    assert draw("front.png") == 0
    assert draw("side.png", "--yaw", "40", "--pitch", "5", "--zoom", "1.5") == 0
    assert draw("face.png", "--expression", "smile=1,jawOpen=0.8", "--expression", "brows=1") == 0
    assert draw("cut.png", "--transparent") == 0
    front, side, face = (read_image(tmp_path / f"{name}.png")[0].astype(int) for name in ("front", "side", "face"))
    assert front.shape == (128, 128, 3)
    assert np.abs(front - side).mean() > 5
    assert np.abs(front - face).max() > 20
    _, alpha = read_image(tmp_path / "cut.png")
    assert alpha is not None
    assert (alpha.min(), alpha.max()) == (0, 255)


def test_an_avatar_is_exported(created, tmp_path):
    assert cli.main(["export", str(created), "--to", "ply", "-o", str(tmp_path / "a.ply")]) == 0
    ply = PlyData.read(str(tmp_path / "a.ply"))
    assert len(ply["vertex"].data) == read_details(created).splats
    assert any("zero1toa" in comment for comment in ply.comments)


@pytest.mark.parametrize(
    "words",
    [
        ["render", "{avatar}", "-o", "{out}/x.png", "--expression", "smirk=1"],
        ["render", "{avatar}", "-o", "{out}/x.png", "--size", "9"],
        ["render", "{avatar}", "-o", "{out}/x.tiff"],
        ["render", "{avatar}", "-o", "{out}/no/x.png"],
        ["render", "{out}", "-o", "{out}/x.png"],
        ["render", "{out}/none", "-o", "{out}/x.png"],
        ["render", "{avatar}"],
        ["export", "{avatar}", "--to", "obj"],
        ["export", "{avatar}", "--to", "ply", "-o", "{out}/x.txt"],
        ["create", "{photo}", "-o", "{out}/a", "--preset", "fastest"],
        ["create", "{photo}", "-o", "{out}/a", "--prior", "magic"],
        ["create", "{photo}", "-o", "{out}/a", "--head", "skull"],
        ["create", "{photo}", "-o", "{out}/a", "--head", "flame:{out}/none.pkl"],
        ["create", "{photo}", "-o", "{out}/a", "--face", "3"],
        ["create", "{photo}", "-o", "{out}/a", "--iterations", "-1"],
        ["create", "{photo}", "-o", "{out}/a", "--splats", "5"],
        ["create", "{photo}", "-o", "{out}/a", "--seed", "-1"],
        ["create", "{photo}", "-o", "{out}/a", "--lr-color", "nan"],
        ["create", "{photo}"],
        ["reenact", "{photo}", "-o", "{out}/a", "--stride", "0"],
        ["conjure"],
        [],
    ],
    ids=lambda words: " ".join(words[:1] + words[-2:]),
)
def test_wrong_words_get_a_sentence_and_leave_nothing(created, astronaut, tmp_path, capsys, words):
    words = [word.format(avatar=created, out=tmp_path, photo=astronaut) for word in words]
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "error: " in told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_a_fault_of_ours_says_how_to_report_it(monkeypatch, capsys):
    def break_down() -> None:
        raise RuntimeError("a screw came loose")

    monkeypatch.setattr("zero1toa.doctor.examine", break_down)
    assert cli.main(["doctor", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["kind"] == "fault"
    assert "a screw came loose" in err
    assert "report" in err
    assert "Traceback" not in err


def test_doctor_knows_this_machine(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["torch"]["status"] == "ok"
    assert found["draws on the CPU"]["status"] == "ok"
    assert cli.main(["doctor"]) == 0
    assert "mediapipe" in capsys.readouterr().out


def test_every_setting_is_a_flag_with_a_help(capsys):
    assert cli.main(["create", "--help-all"]) == 0
    told = capsys.readouterr().out
    for flag in ("--splats", "--losses-perceptual", "--no-progressive", "--max-yaw", "--portrait-margin"):
        assert flag in told
    assert cli.main(["create", "--help"]) == 0
    assert "--losses-perceptual" not in capsys.readouterr().out


def test_demo_video_through_the_command_line(created, tmp_path, monkeypatch):
    monkeypatch.setattr("zero1toa.export.video.write_demo.__kwdefaults__", {"size": 64, "fps": 5.0, "seconds": 1.6})
    assert cli.main(["export", str(created), "--to", "mp4", "-o", str(tmp_path / "a.mp4"), "--size", "64"]) == 0
    assert len(read_video(tmp_path / "a.mp4").frames) == 8


def test_reenact_writes_the_clips_own_pixels(tmp_path, capsys):
    photo = np.asarray(Image.open(astronaut_photo()))[:400, 60:420]
    write_video(tmp_path / "clip.mp4", [np.roll(photo, shift, 1) for shift in (0, 2, 4, 6)], 10)
    words = ["reenact", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "out"), *TINY, "--stride", "2", "--iterations", "1"]
    assert cli.main(words) == 0
    frames = sorted((tmp_path / "out" / "frames").iterdir())
    assert {"00000.png", "00002.png"} <= {path.name for path in frames}
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert "AI-generated" in told["statement"]
    assert told["sha256"] == {f"frames/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in frames}
    with Image.open(frames[0]) as image:
        assert "trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
    first, alpha = read_image(frames[0])
    assert alpha is not None
    assert first.shape == photo.shape
    inside = alpha > 250
    assert 0.1 < inside.mean() < 0.9
    assert np.abs(first.astype(int) - photo)[inside].mean() < 40
    capsys.readouterr()
    assert cli.main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main([*words, "--force", "--frame", "4"]) == 2
    assert "use 0 to 3" in capsys.readouterr().err
    assert sorted((tmp_path / "out" / "frames").iterdir()) == frames


def test_reenact_can_begin_at_any_frame(tmp_path):
    photo = np.asarray(Image.open(astronaut_photo()))[:400, 60:420]
    clip = [np.zeros_like(photo) + 90, np.roll(photo, 6, 1), photo]
    write_video(tmp_path / "clip.mp4", clip, 10)
    words = ["reenact", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "out"), *TINY, "--iterations", "1", "--frame", "2"]
    assert cli.main(words) == 0
    for index in (1, 2):
        drawn, alpha = read_image(tmp_path / "out" / "frames" / f"{index:05d}.png")
        assert alpha is not None
        inside = alpha > 250
        errors = [np.abs(drawn.astype(int) - picture)[inside].mean() for picture in clip]
        assert errors[index] == min(errors)
