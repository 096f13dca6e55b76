"""Turn examples into what the network is told: conditions, clean frames, and how much each pixel weighs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.priors.embedded.conditions import PAINTED, SIZE, photo_input, pictures_first
from zero1toa.priors.embedded.model import Conditions
from zero1toa.priors.embedded.windows import cut, face_windows, move, see
from zero1toa.training.clips import ClipExample, scrambled
from zero1toa.types import PARTS

# Colours that mean something are learnt from the rest.
SCRAMBLED = 0.5
# How often each of landmarks, warp, render and photo is withheld, so that guidance can be set for each.
WITHHELD = (0.1, 0.1, 0.15, 0.1)
# How much a pixel counts of what the prior may paint and the photo shows, and of all else; 1 more if the photo hides it.
KNOWN, ELSEWHERE = 0.1, 0.003


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


def faces_of(example: ClipExample, size: int = SIZE) -> ClipExample:
    """Give an example of nothing but the faces, as the network sees them."""
    windows = face_windows(example.landmarks)
    seen = lambda pictures: see(pictures, windows, size)
    channels = lambda flat: seen(flat[..., None])[..., 0]
    places = (torch.arange(size) + 0.5) / size
    nearest = [(places * len(square)).long() for square in cut(example.parts, windows)]
    return replace(
        example,
        frames=seen(example.frames), alpha=channels(example.alpha), hidden=channels(example.hidden),
        parts=torch.stack([square[at][:, at] for square, at in zip(cut(example.parts, windows), nearest, strict=True)]),
        landmarks=move(example.landmarks, windows, size),
        warp=seen(example.warp), confidence=channels(example.confidence),
        render=seen(example.render), render_alpha=channels(example.render_alpha),
    )  # fmt: skip


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
    """Say how much every pixel counts: nearly all is for the skin that the photo hides, for which alone the prior is asked."""
    painted = shows(example, PAINTED).float() * (example.render_alpha > 0.5)
    return (ELSEWHERE + painted * (KNOWN + example.hidden))[None, :, None]


def shows(example: ClipExample, parts: tuple[str, ...]) -> Bool[Tensor, "T H W"]:
    """Mark the pixels that show one of some `PARTS` (see `zero1toa.training.picture.Picture.label`)."""
    return torch.isin(example.parts, torch.tensor([1 + PARTS.index(part) for part in parts], dtype=torch.uint8))


def stack(batches: list[Batch]) -> Batch:
    """Put batches side by side."""
    told = [batch.conditions for batch in batches]
    conditions = Conditions(*(torch.cat([getattr(one, entry.name) for one in told]) for entry in fields(Conditions)))
    return Batch(torch.cat([b.clean for b in batches]), conditions, torch.cat([b.weights for b in batches]))
