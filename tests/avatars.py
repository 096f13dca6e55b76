"""Avatars for tests: one of a sphere, made by hand, and one of a real photo, made once by the program itself."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
import torch

from tests.heads import SphereHead
from zero1toa.avatar.rigged import Avatar
from zero1toa.geometry.camera import orbit_camera
from zero1toa.geometry.mesh import face_frames
from zero1toa.geometry.rotation import matrix_to_quaternion
from zero1toa.types import FitReport, Portrait

HEAD = SphereHead()
# Flags of the smallest run that goes through all stages.
TINY = (
    "--iterations", "6", "--splats", "3200", "--size", "64", "--frames", "2", "--portrait-size", "192",
    "--density-rounds", "0",
)  # fmt: skip


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Give what lies under a name for all workers that run the tests; the first who asks makes it."""
    path = Path(os.environ["ZERO1TOA_TESTS"], name)
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="Fotos für später ")


@functools.cache
def astronaut_photo() -> Path:
    """Give a public-domain photo of Eileen Collins (NASA), under a name that tries what names may hold."""
    from PIL import Image

    path = Path(_folder().name) / "Raumfahrerin 宇宙飛行士 (1).png"
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save(path)
    return path


@functools.cache
def astronaut_avatar() -> Path:
    """Give the folder of a tiny avatar of her, made by the command line; tests leave it as it is."""
    from zero1toa import cli

    def make(folder: Path) -> None:
        assert cli.main(["create", str(astronaut_photo()), "-o", str(folder), *TINY, "--seed", "3"]) == 0

    # A copy of our own: who looks whether it is being written to puts a file there for a moment.
    return shutil.copytree(made_once("avatar", make), Path(_folder().name) / "My Avatar ☺")


def of_tomorrow(folder: Path) -> None:
    """Date everything in a folder a day ahead, as it is after the clock went back."""
    tomorrow = time.time() + 86_400
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (tomorrow, tomorrow))


def sphere_avatar() -> Avatar:
    """Lay a disc on every triangle, coloured by where it is."""
    state, identity = HEAD.rest_state(), HEAD.neutral_identity()
    origin, rotation, size = face_frames(HEAD.vertices(identity, state)[0], HEAD.surface.faces)
    return Avatar.bind(
        HEAD, identity, state,
        face=torch.arange(len(origin)), means=origin, quats=matrix_to_quaternion(rotation),
        scales=size[:, None] * torch.tensor([0.45, 0.4, 0.05]), opacities=torch.linspace(0.3, 0.95, len(origin)),
        colors=(0.5 + 3 * (origin - HEAD.centre)).clamp(0.1, 0.9),
    )  # fmt: skip


def sphere_portrait(size: int = 48) -> Portrait:
    """Give a photo in eight bits of the sphere from its front, with an expression."""
    camera = orbit_camera(
        torch.zeros(1), torch.zeros(1), target=HEAD.centre, distance=0.6, focal=100.0, width=size, height=size
    )
    state = HEAD.rest_state()
    state.expression[:, 3] = 0.25
    chance = torch.Generator().manual_seed(0)
    return Portrait(
        image=torch.randint(256, (size, size, 3), generator=chance) / 255,
        alpha=torch.randint(256, (size, size), generator=chance) / 255,
        points=torch.rand(478, 2, generator=chance) * size,
        camera=camera,
        identity=HEAD.neutral_identity(),
        state=state,
        report=FitReport(rmse_px=1.25, yaw=10.0, pitch=-2.0, roll=0.5, expressions=(("jawOpen", 0.25),)),
        crop=(3.0, -4.0, 0.5),
        notes=("The face is only 99 px wide.",),
    )
