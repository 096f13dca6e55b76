"""Clips that are longer than a model can see: overlapping windows, whose predictions are averaged where they overlap."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from zero1toa.types import InputError


def windows(frames: int, size: int, overlap: int) -> tuple[slice, ...]:
    """Cover `frames` frames by windows of `size`; neighbours share `overlap` frames, the last two perhaps more."""
    if overlap >= size:
        raise InputError(f"windows of {size} frames cannot overlap by {overlap}: choose a smaller overlap")
    if frames <= size:
        return (slice(0, frames),)
    starts = [*range(0, frames - size, size - overlap), frames - size]
    return tuple(slice(start, start + size) for start in starts)


def blend(
    predict: Callable[[Tensor, slice], Tensor], sample: Float[Tensor, "T *S"], parts: tuple[slice, ...]
) -> Float[Tensor, "T *S"]:
    """Predict every window of a sample and give each frame the mean of its windows' predictions."""
    total = sample.new_zeros(sample.shape)
    count = sample.new_zeros(len(sample))
    for part in parts:
        total[part] += predict(sample[part], part)
        count[part] += 1
    return total / count.view(-1, *[1] * (sample.ndim - 1))
