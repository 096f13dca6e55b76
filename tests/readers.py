"""Every reader of a user's file, a valid file for each, and ways to spoil it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.avatars import HEAD, sphere_avatar, sphere_portrait
from tests.flame_file import write_pickle
from tests.heads import linear_sphere
from tests.test_export_glb import avatar_on
from zero1toa.config import PRESETS
from zero1toa.export.glb import write_glb
from zero1toa.export.motion import read_motion, write_motion
from zero1toa.export.package import load_avatar, save_avatar
from zero1toa.geometry.camera import orbit_camera
from zero1toa.head.flame_file import read_flame
from zero1toa.media import read_image, read_video, write_video
from zero1toa.types import HeadState, Motion

# What stands in for a value of JSON. Deep nesting has crashed many a parser.
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, -1e308, math.nan, math.inf, 2**70, "", "x" * 5000, "../../etc/passwd", "\x00", [], {}, [[]],
    {"a": 1}, json.loads("[" * 200 + "]" * 200),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader, a valid file (or a folder of files) for it, and which of them to spoil."""

    name: str
    read: Callable[[Path], Any]
    valid: Path
    spoilt: tuple[str, ...] = ("",)


def write_valid_files(folder: Path) -> list[Reader]:
    """Write a small valid file for every reader."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    picture = Image.fromarray(chance.integers(0, 256, (24, 32, 3), np.uint8))
    readers = []
    for kind in ("png", "jpg", "webp", "gif", "tiff", "bmp"):
        file = folder / f"photo.{kind}"
        picture.save(file)
        readers.append(Reader(kind, read_image, file))
    clip = folder / "clip.mp4"
    write_video(clip, chance.integers(0, 256, (4, 32, 32, 3), np.uint8), 10.0)
    readers.append(Reader("mp4", read_video, clip))
    motion = write_motion(folder / "motion.json", _motion())
    readers.append(Reader("motion", read_motion, motion))
    avatar = save_avatar(folder / "avatar", sphere_avatar(), sphere_portrait(), PRESETS["preview"])
    load_sphere: Any = partial(load_avatar, head=HEAD)
    readers.append(Reader("avatar", load_sphere, avatar, ("avatar.json", "avatar.safetensors")))
    glb = write_glb(folder / "avatar.glb", avatar_on(linear_sphere(), 60))
    readers.append(Reader("glb", load_avatar, glb))
    # Not a whole one, which has 50 MB: what opens it is what may be led astray.
    shapes = {
        "v_template": (50, 3),
        "shapedirs": (50, 3, 4),
        "posedirs": (50, 3, 36),
        "J_regressor": (5, 50),
        "weights": (50, 5),
    }
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()} | {"f": np.zeros((90, 3), int)}
    flame = write_pickle(folder / "flame.pkl", arrays)
    readers.append(Reader("flame", lambda path: read_flame(path, path.read_bytes()), flame))
    return readers


def _motion() -> Motion:
    """Give three frames of a performance with cameras."""
    camera = orbit_camera(torch.zeros(3), torch.zeros(3), target=torch.zeros(3), distance=1.0, focal=50.0, width=32, height=32)
    states = HeadState(torch.rand(3, 52), torch.zeros(3, 3), torch.zeros(3, 3), torch.zeros(3, 2, 3))
    return Motion(states, camera, 25.0, (True, True, False))


def spoil(data: bytes, chance: np.random.Generator) -> bytes:
    """Spoil a file in one of the ways that disks, networks and enemies have."""
    if chance.random() < 0.4 and (spoilt := _spoil_json(data, chance)) is not None:
        return spoilt
    out = bytearray(data)
    at = int(chance.integers(len(out)))
    run = int(chance.integers(1, max(2, len(out) // 8)))
    match int(chance.integers(7)):
        case 0:
            return bytes(out[:at])
        case 1:
            for place in chance.integers(len(out), size=int(chance.integers(1, 20))):
                out[place] ^= 1 << int(chance.integers(8))
        case 2:
            out[at : at + run] = bytes([int(chance.choice([0, 255]))]) * len(out[at : at + run])
        case 3:
            out[at : at + run] = chance.bytes(len(out[at : at + run]))
        case 4:
            del out[at : at + run]
        case 5:
            out[at:at] = out[at : at + run]
        case _:
            # Lengths and counts mostly stand in the first bytes.
            head = min(len(out), 64)
            out[int(chance.integers(head))] = int(chance.integers(256))
    return bytes(out)


def _spoil_json(data: bytes, chance: np.random.Generator) -> bytes | None:
    """Replace or remove one value of a JSON text; None for what is none."""
    try:
        root = json.loads(data)
    except ValueError:
        return None
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                collect(node[key])

    if not isinstance(root, (dict, list)):
        return None
    collect(root)
    node, key = places[int(chance.integers(len(places)))]
    if chance.random() < 0.2:
        del node[key]
    else:
        node[key] = ODD[int(chance.integers(len(ODD)))]
    return json.dumps(root).encode()
