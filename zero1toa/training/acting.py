"""What people do before the camera: every ARKit action in natural and extreme mixtures, glances, turns; and the cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.geometry.camera import orbit_about, orbit_camera
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.symgen.performances import CHANNELS, PERFORMANCES, ease, perform, relax, to_states
from zero1toa.types import Camera, HeadState

# A face's width in metres, of which the program's crops are three wide or less; what cameras look at and go around.
FACE_WIDTH, TARGET = 0.135, (0.0, -0.03, -0.06)


@dataclass(frozen=True, slots=True)
class Take:
    """One photo and one clip of a person; `path` is the clip's yaw and pitch from the photo's view, degrees."""

    kind: str
    photo_state: HeadState
    photo_camera: Camera
    states: HeadState
    path: Float[Tensor, "T 2"]
    target: Float[Tensor, "3"]

    def cameras(self, photo_camera: Camera) -> Camera:
        """Go along the path from a photo's view, at the photo's size."""
        return orbit_about(photo_camera, self.path[:, 0], self.path[:, 1], target=self.target)


def draw_take(rng: np.random.Generator, frames: int, size: int) -> Take:
    """Draw a take whose pictures are `size` pixels wide: half of the clips go round to a side, half perform."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 40)))
    kind = str(rng.choice(["side", "relaxed", "exaggerated", "mixture", "eyes"], p=[0.36, 0.14, 0.2, 0.2, 0.1]))
    yaw = float(np.clip(rng.normal() * 14, -45, 45))
    camera = _photo_camera(rng, yaw, size)
    states = _states(kind, rng, frames, generator)
    if kind == "side":
        end = rng.choice([-1, 1]) * rng.uniform(0.35, 1.0) * 95 - yaw
        part = torch.linspace(0, 1, frames) if frames > 1 else torch.ones(1)
        if rng.random() < 0.35:
            # The loop unrolls its paths pose by pose: later frames repeat the last one that is in use.
            part = part.clamp_max(rng.uniform(0.1, 1.0))
        elif rng.random() < 0.3:
            part = 1 - (1 - part) * rng.uniform(0, 0.3)
        path = torch.stack([end * part, rng.normal() * 9 * (math.pi * part).sin()], -1)
    else:
        path = torch.tensor([[-yaw * rng.random() + rng.normal() * 7, rng.normal() * 3]]).repeat(frames, 1)
    return Take(kind, _photo_state(rng, generator), camera, states, path.float(), torch.tensor(TARGET))


def _photo_camera(rng: np.random.Generator, yaw: float, size: int) -> Camera:
    """Stand before a face as photographers do: near or far, not quite centred, not quite level."""
    width = FACE_WIDTH * float(np.clip(rng.normal(2.75, 0.4), 1.9, 3.6))
    distance = float(np.exp(rng.uniform(math.log(0.45), math.log(2.5))))
    pitch = float(np.clip(rng.normal() * 6, -18, 18))
    camera = orbit_camera(
        torch.tensor([yaw]), torch.tensor([pitch]), target=torch.tensor(TARGET) - torch.tensor([0.0, 0.012, 0.0]),
        distance=distance, focal=size * distance / width, width=size, height=size,
    )  # fmt: skip
    roll = math.radians(float(rng.normal() * 4))
    turn = torch.tensor([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1.0]])
    viewmats, intrinsics = camera.viewmats.clone(), camera.intrinsics.clone()
    viewmats[:, :3] = turn @ viewmats[:, :3]
    intrinsics[:, :2, 2] += torch.from_numpy(rng.normal(size=2) * 0.025 * size).float()
    return Camera(viewmats, intrinsics, size, size)


def _photo_state(rng: np.random.Generator, generator: torch.Generator) -> HeadState:
    """Look as people look in photos: mostly a calm face or a smile, now and then anything."""
    kind = rng.random()
    if kind < 0.45:
        state = relax(4, 12.0, generator=generator)[:1]
        state = HeadState(state.expression * rng.random(), state.neck, state.head, state.eyes * 0.5)
        state.expression[:, [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eyeBlink")]] = 0
        return state
    if kind < 0.75:
        smile = rng.beta(1.5, 1.5)
        shares = {
            "mouthSmile": 1.0,
            "cheekSquint": 0.5,
            "mouthUpperUp": 0.5 * rng.random(),
            "jawOpen": 0.25 * rng.random(),
            "mouthDimple": 0.3,
        }
        return _from_weights({name: share * smile for name, share in shares.items()}, rng)
    if kind < 0.9:
        return _performance(rng, 16, generator, rng.uniform(0.3, 0.8))[6:7]
    return _mixture(rng, 1)


def _states(kind: str, rng: np.random.Generator, frames: int, generator: torch.Generator) -> HeadState:
    match kind:
        case "relaxed":
            return relax(frames, 12.0, generator=generator)
        case "exaggerated":
            start = int(rng.integers(0, 8))
            return _performance(rng, frames + start, generator, rng.uniform(0.7, 1.25))[start:]
        case "mixture":
            return _mixture(rng, frames)
        case "eyes":
            return _glances(rng, frames)
        case _:
            still = _mixture(rng, 1) if rng.random() < 0.6 else _performance(rng, 16, generator, rng.uniform(0.3, 1.1))[7:8]
            hold = lambda part: part.expand(frames, *part.shape[1:]).clone()
            return HeadState(hold(still.expression), hold(still.neck), hold(still.head), hold(still.eyes))


def _performance(rng: np.random.Generator, frames: int, generator: torch.Generator, intensity: float) -> HeadState:
    chosen = PERFORMANCES[int(rng.integers(len(PERFORMANCES)))]
    return perform(chosen, frames, 12.0, intensity=float(intensity), generator=generator)


def _mixture(rng: np.random.Generator, frames: int) -> HeadState:
    """Go between random mixtures of actions: a few at a time, mild or at their limits, mostly on both sides of the face."""
    keys = 3 if frames > 1 else 1
    rows = np.zeros((keys + 1, len(CHANNELS)))
    for row in rows:
        strength = rng.choice([0.5, 1.0], p=[0.6, 0.4])
        for index in rng.choice(len(ARKIT_NAMES), int(rng.integers(1, 10)), replace=False):
            name, value = ARKIT_NAMES[index], strength * rng.random() ** 0.7
            row[index] = value
            twin = name.replace("Left", "Right") if name.endswith("Left") else name.replace("Right", "Left")
            if twin in ARKIT_NAMES and not name.startswith(("jaw", "mouthLeft", "mouthRight")) and rng.random() < 0.65:
                row[ARKIT_NAMES.index(twin)] = value * rng.uniform(0.8, 1)
        if rng.random() < 0.35:
            row[ARKIT_NAMES.index("jawOpen")] = rng.random()
        row[len(ARKIT_NAMES) :] = rng.normal(size=5) * [6, 9, 5, 7, 12] * strength
    seconds = torch.linspace(0, 1, frames) * (keys if frames > 1 else 0) * rng.uniform(0.35, 1.0)
    return to_states(ease(seconds, torch.arange(keys + 1.0), torch.from_numpy(rows).float()))


def _glances(rng: np.random.Generator, frames: int) -> HeadState:
    """Blink and look about: what lids and eyeballs do."""
    seconds = np.arange(frames) / 12
    rows = np.zeros((frames, len(CHANNELS)))
    at, wide = rng.uniform(0.05, 0.6), rng.uniform(0.1, 0.3)
    closing = np.clip(1.2 - np.abs(seconds - at) / wide, 0, 1) * rng.choice([1.0, rng.random()])
    sides = rng.choice(["both", "Left", "Right"], p=[0.7, 0.15, 0.15])
    direction = rng.normal(size=2) * [9, 16]
    for index, name in enumerate(ARKIT_NAMES):
        if name.startswith("eyeBlink") and (sides == "both" or name.endswith(sides)):
            rows[:, index] = closing
        if name.startswith(("eyeLook", "eyeWide", "eyeSquint", "cheekSquint", "browDown")):
            rows[:, index] = rng.random() * (rng.random() < 0.2)
    moved = (seconds > rng.uniform(0, 0.5))[:, None]
    rows[:, -2:] = np.where(moved, direction, -0.5 * direction)
    return to_states(torch.from_numpy(rows).float())


def _from_weights(shares: dict[str, float], rng: np.random.Generator) -> HeadState:
    """Make one frame of named actions, on both sides of the face, with a small turn of the head."""
    row = np.zeros((1, len(CHANNELS)))
    for index, name in enumerate(ARKIT_NAMES):
        stem = name.removesuffix("Left").removesuffix("Right")
        row[0, index] = shares.get(stem, 0.0) * rng.uniform(0.85, 1)
    row[0, len(ARKIT_NAMES) :] = rng.normal(size=5) * [4, 6, 4, 3, 5]
    return to_states(torch.from_numpy(row).float())
