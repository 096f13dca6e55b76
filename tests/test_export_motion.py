"""Motions are kept as JSON; what is not a motion is refused in a sentence."""

import json
import math

import pytest
import torch

from zero1toa.export.motion import read_motion, write_motion
from zero1toa.geometry.camera import orbit_camera
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.types import Camera, HeadState, Motion, MotionError


def motion(frames: int = 4) -> Motion:
    chance = torch.Generator().manual_seed(0)
    states = HeadState(
        torch.rand(frames, 52, generator=chance),
        torch.rand(frames, 3, generator=chance) - 0.5,
        torch.rand(frames, 3, generator=chance) - 0.5,
        torch.rand(frames, 2, 3, generator=chance) - 0.5,
    )
    yaw = torch.linspace(-10, 10, frames)
    cameras = orbit_camera(yaw, 0 * yaw, target=torch.zeros(3), distance=0.6, focal=300.0, width=320, height=240)
    return Motion(states, cameras, 29.97, (True,) * (frames - 1) + (False,))


def test_a_motion_is_read_back(tmp_path):
    before = motion()
    after = read_motion(write_motion(tmp_path / "läuft so.json", before))
    for name in ("expression", "neck", "head", "eyes"):
        assert torch.allclose(getattr(before.states, name), getattr(after.states, name), atol=1e-6), name
    assert torch.allclose(before.cameras.viewmats, after.cameras.viewmats, atol=1e-6)
    assert torch.allclose(before.cameras.intrinsics, after.cameras.intrinsics, atol=1e-4)
    assert (after.cameras.width, after.cameras.height) == (320, 240)
    assert (after.fps, after.found) == (29.97, before.found)


def minimal(**changes):
    return {"format": "zero1toa-motion", "version": 1, "fps": 25, "names": ["jawOpen"], "weights": [[0.0], [0.5]], **changes}


def read(folder, record):
    (folder / "m.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return read_motion(folder / "m.json")


def test_a_motion_of_another_program_may_leave_parts_out(tmp_path):
    found = read(tmp_path, minimal(names=["tongueOut", "jawOpen", "eyebrowWiggle"], weights=[[0, 0.25, 9e-1], [1.05, 1, 0]]))
    assert found.states.expression[:, ARKIT_NAMES.index("jawOpen")].tolist() == [0.25, 1.0]
    assert found.states.expression[1, ARKIT_NAMES.index("tongueOut")] == pytest.approx(1.05), "as wide as tracked"
    assert not found.states.neck.any()
    assert len(found.cameras) == 0
    assert found.found == ()


def test_a_motion_without_cameras_is_written_without_them(tmp_path):
    one = motion()
    bare = Motion(one.states, Camera(torch.zeros(0, 4, 4), torch.zeros(0, 3, 3), 0, 0), 25.0)
    assert len(read_motion(write_motion(tmp_path / "m.json", bare)).cameras) == 0


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (minimal(weights=[[0.0], [math.nan]]), "not a number in frame 1"),
        (minimal(weights=[[math.inf], [0.0]]), "not a number in frame 0"),
        (minimal(neck=[[0, 0, 0], [0, math.nan, 0]]), "neck holds a value that is not a number"),
        (minimal(weights=[[0.0], [0.5, 0.5]]), "not an even table"),
        (minimal(weights=[[0.0, 1.0], [0.0, 1.0]]), "shape"),
        (minimal(weights=[["a"], ["b"]]), "not an even table"),
        (minimal(weights=[]), "0 frames"),
        (minimal(weights=3), "not a complete motion"),
        (minimal(weights=[[55.0], [0.0]]), "far out of"),
        (minimal(head=[[0, 0, 0]]), "head has the shape"),
        (minimal(eyes=[[0, 0, 0], [0, 0, 0]]), "eyes has the shape"),
        (minimal(fps=0), "frames per second"),
        (minimal(fps=math.nan), "frames per second"),
        (minimal(fps="25"), "frames per second"),
        (minimal(names=["JawOpen"]), "names no ARKit weights"),
        (minimal(names=["jawOpen", "jawOpen"], weights=[[0, 0], [0, 0]]), "one of them twice"),
        (minimal(found=[True]), "whether a face was found"),
        (minimal(cameras={"width": 10}), "not a complete motion"),
        (minimal(cameras={"width": -1, "height": 5}), "pixels"),
        (minimal(version=2), "newer version"),
        ({"frames": []}, "no motion file"),
        ([1, 2], "no motion file"),
        ("", "not complete JSON"),
        ('{"format": "zero1toa-mo', "not complete JSON"),
        ("[" * 100_000, "not complete JSON"),
        ("\x00\x01", "not complete JSON"),
    ],
)
def test_what_is_no_motion_is_refused(tmp_path, record, message):
    with pytest.raises(MotionError, match=message):
        read(tmp_path, record)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(MotionError, match="cannot read"):
        read_motion(tmp_path / "none.json")
    with pytest.raises(MotionError, match="is a folder"):
        read_motion(tmp_path)


def test_a_motion_with_not_numbers_is_not_written(tmp_path):
    broken = motion()
    broken.states.expression[1, 2] = math.nan
    with pytest.raises(MotionError, match="not numbers"):
        write_motion(tmp_path / "m.json", broken)
    assert not list(tmp_path.iterdir())
