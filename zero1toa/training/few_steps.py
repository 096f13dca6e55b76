"""Teach the network to take few steps: target-driven distillation (Wang et al. 2024), and consistency beside it.

Both ask of the student that it lands in the same place from two neighbouring noise levels, the second reached by one step of
the teacher. What differs is the place: consistency models (Luo et al. 2023) always jump to the clean picture, TDD to the levels
that samplings of 4 to 8 steps really visit. The teacher is a network trained by `zero1toa.training.train`.

Landing where oneself would have landed holds nobody to the truth, and students drift off together with their targets. So both
also learn what the teacher learnt, the clean picture, as in consistency trajectory models (Kim et al. 2024).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from zero1toa.priors.embedded.model import CopyUNet
from zero1toa.training.batches import Batch
from zero1toa.training.train import add_options, angles, config_of, denoising_loss, load_network, predict, train

# Levels that the teacher steps between, of 1000.
GRID = 250
SKIP = 1000 // GRID
# Samplings whose levels are aimed at, how far below the nearest of these, and how far below each by chance.
SAMPLINGS, WINDOW, BELOW = range(4, 9), 260, 0.3
# Share of clips that are told nothing, so that guidance can be set afterwards.
UNTOLD = 0.1
HUBER = 1e-3
# How much landing apart counts beside missing the truth.
LANDING = 100.0


def targets() -> Int[Tensor, "M"]:
    """Merge the levels of all samplings, ascending, the clean picture (0) first and pure noise left out."""
    merged = {0}
    for steps in SAMPLINGS:
        merged |= {SKIP * (GRID - (k * GRID) // steps) - 1 for k in range(1, steps)}
    return torch.tensor(sorted(merged))


def tdd_target(lower: Tensor, chance: torch.Generator) -> Tensor:
    """Draw the level to aim at from each level that the teacher stepped to."""
    merged = targets()
    drawn = []
    for level in lower.tolist():
        nearest = int(merged[merged <= level].max())
        near = merged[(merged <= nearest) & (merged >= nearest - WINDOW)]
        chosen = int(near[int(torch.randint(len(near), (), generator=chance))])
        drawn.append(int((1 - float(torch.rand((), generator=chance)) * BELOW) * chosen))
    return torch.tensor(drawn)


def clean_target(lower: Tensor, chance: torch.Generator) -> Tensor:
    """Aim at the clean picture from everywhere, as consistency models do."""
    return torch.zeros_like(lower)


# Draws the levels to aim at from those that the teacher stepped to.
Aim = Callable[[Tensor, torch.Generator], Tensor]


def distillation_loss(student: CopyUNet, batch: Batch, chance: torch.Generator, *, teacher: CopyUNet, aim: Aim) -> Tensor:
    """Give the loss of a batch: how far apart the student lands from two neighbouring levels, and how far from the truth."""
    return LANDING * landing_loss(student, batch, chance, teacher=teacher, aim=aim) + denoising_loss(student, batch, chance)


def landing_loss(student: CopyUNet, batch: Batch, chance: torch.Generator, *, teacher: CopyUNet, aim: Aim) -> Tensor:
    """Say how far apart the student lands from two neighbouring levels (TDD, algorithm 1)."""
    clean, told = batch.clean, batch.conditions
    untold = torch.rand(len(clean), generator=chance) < UNTOLD
    told = replace(told, told=told.told * (~untold)[:, None])
    upper = SKIP * torch.randint(1, GRID + 1, (len(clean),), generator=chance) - 1
    lower = (upper - SKIP).clamp_min(0)
    aimed = aim(lower, chance)
    noise, angle = torch.randn(clean.shape, generator=chance).to(clean), angles(upper, clean)
    noisy = angle.cos() * clean + angle.sin() * noise
    landed = _jump(noisy, predict(student, told, noisy, upper)[0], upper, aimed)
    with torch.no_grad():
        stepped = _jump(noisy, predict(teacher, told, noisy, upper)[0], upper, lower)
        wanted = _jump(stepped, predict(student, told, stepped, lower)[0], lower, aimed)
    error = ((landed - wanted).square() + HUBER**2).sqrt() - HUBER
    return (batch.weights * error).mean() / batch.weights.mean()


def _jump(noisy: Tensor, clean: Tensor, level: Tensor, aimed: Tensor) -> Tensor:
    """Go from a level to a lower one along a straight line to the clean picture (DDIM)."""
    here, there = angles(level, noisy), angles(aimed, noisy)
    noise = (noisy - here.cos() * clean) / here.sin().clamp_min(1e-3)
    return there.cos() * clean + there.sin() * noise


AIMS: dict[str, Aim] = {"tdd": tdd_target, "consistency": clean_target}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zero1toa.training.few_steps", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the trained network's weights")
    parser.add_argument("--method", choices=AIMS, default="tdd")
    asked = parser.parse_args(arguments)
    teacher = load_network(asked.teacher).eval().requires_grad_(False)
    loss = partial(distillation_loss, teacher=teacher, aim=AIMS[asked.method])
    train(asked.data, asked.output, replace(config_of(asked), start=asked.teacher), loss)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
