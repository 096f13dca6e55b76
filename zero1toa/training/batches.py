"""Turn examples into what the network is told: conditions, clean frames, and how much each pixel weighs."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.priors.embedded.conditions import photo_input, pictures_first
from zero1toa.priors.embedded.model import Conditions
from zero1toa.training.clips import ClipExample, scrambled
from zero1toa.types import PARTS

# Colours that mean something are learnt from the rest.
SCRAMBLED = 0.5
# How often each of landmarks, warp, render and photo is withheld, so that guidance can be set for each.
WITHHELD = (0.1, 0.1, 0.15, 0.1)
# Few pixels, but the ones people look at.
FINE_PARTS = tuple(1 + PARTS.index(name) for name in ("lips", "eyelids", "eyes", "teeth", "tongue", "mouth"))
FINE, HIDDEN, BACKGROUND = 5.0, 3.0, 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """Some clips to learn from: clean frames in [-1, 1], conditions, and what every pixel weighs."""

    clean: Float[Tensor, "B T 3 H W"]
    conditions: Conditions
    weights: Float[Tensor, "B T 1 H W"]

    def to(self, device: torch.device) -> Batch:
        """Give the same on a device."""
        return Batch(self.clean.to(device), self.conditions.to(device), self.weights.to(device))


def draw_frames(frames: int, count: int, rng: np.random.Generator) -> slice:
    """Choose `count` frames of a clip in their order, from neighbours to all spread out; all if it has fewer."""
    count = min(count, frames)
    step = int(rng.integers(1, (frames - 1) // max(count - 1, 1) + 1)) if count > 1 else 1
    first = int(rng.integers(0, frames - step * (count - 1)))
    return slice(first, first + step * (count - 1) + 1, step)


def vary(example: ClipExample, rng: np.random.Generator) -> ClipExample:
    """Change an example in ways that leave it true: scrambled colours for a share."""
    return scrambled(example, rng) if rng.random() < SCRAMBLED else example


def withhold(rng: np.random.Generator) -> Float[Tensor, "4"]:
    """Draw what a clip is told: 1 for each condition it gets."""
    return torch.from_numpy((rng.random(4) >= np.array(WITHHELD)).astype(np.float32))


def conditions_of(example: ClipExample, told: Float[Tensor, "4"] | None = None) -> Conditions:
    """Give the conditions of one example as a batch of one."""
    size = example.frames.shape[1]
    return Conditions(
        warp=pictures_first(example.warp)[None],
        confidence=example.confidence[None, :, None],
        render=pictures_first(example.render)[None],
        coverage=example.render_alpha[None, :, None],
        landmarks=pictures_first(draw_landmarks(example.landmarks, size, size))[None],
        photo=photo_input(example.photo, example.matte, example.photo_landmarks, size)[None],
        told=torch.ones(1, 4) if told is None else told[None],
    )


def batch_of(example: ClipExample, told: Float[Tensor, "4"]) -> Batch:
    """Give a batch of one example."""
    return Batch(pictures_first(example.frames)[None] * 2 - 1, conditions_of(example, told), weights_of(example))


def weights_of(example: ClipExample) -> Float[Tensor, "1 T 1 H W"]:
    """Say how much every pixel counts: what is small, and what the photo hides, counts more than cheeks and walls."""
    fine = torch.isin(example.parts, torch.tensor(FINE_PARTS, dtype=torch.uint8)).float()
    return (BACKGROUND + example.alpha + HIDDEN * example.hidden + FINE * fine)[None, :, None]


def stack(batches: list[Batch]) -> Batch:
    """Put batches side by side."""
    told = [batch.conditions for batch in batches]
    conditions = Conditions(*(torch.cat([getattr(one, entry.name) for one in told]) for entry in fields(Conditions)))
    return Batch(torch.cat([b.clean for b in batches]), conditions, torch.cat([b.weights for b in batches]))
