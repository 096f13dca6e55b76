"""Tables of what trained networks are worth on people they have not seen: in how many steps, and begun in which way.

`python -m zero1toa.training.tables UNSEEN name=WEIGHTS ...` compares networks in few steps and in many, from pure noise;
with `--starts`, the ways to begin from an avatar's render (SDEdit and two inversions) at several strengths.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from skimage.metrics import structural_similarity
from torch import Tensor

from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.embedded.model import CopyUNet
from zero1toa.priors.noise import STARTS, Schedule, Velocity, begin, denoise, zero_snr_schedule
from zero1toa.training.batches import conditions_of, faces_of
from zero1toa.training.clips import ClipExample
from zero1toa.training.dataset import example_files, load_example
from zero1toa.training.scores import mean_scores, score
from zero1toa.training.train import load_network, predict


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a clip is painted: steps of the whole way, and from where; `start` None is pure noise."""

    steps: int
    start: str | None = None
    strength: float = 1.0

    def __str__(self) -> str:
        return str(self.steps) if self.start is None else f"{self.steps}, {self.start}, strength {self.strength:g}"


@torch.no_grad()
def table(networks: Mapping[str, CopyUNet], folder: Path, samplings: Sequence[Sampling]) -> Iterator[str]:
    """Give the lines of a markdown table: how near networks come to the truth, and the seconds a clip takes.

    The first line of numbers is what `projection` makes of the same conditions.
    """
    yield "| network | steps | face, dB | hidden of it, dB | mouth, dB | eyes, dB | SSIM | seconds a clip |"
    yield "|---" * 8 + "|"
    examples = [faces_of(load_example(file)) for file in example_files(folder)]
    projected = [torch.lerp(one.render, one.warp, one.confidence[..., None]) for one in examples]
    yield _line("`projection`", "", examples, projected, [0.0])
    for name, network in networks.items():
        for sampling in samplings:
            painted, seconds = [], []
            for example in examples:
                began = time.monotonic()
                painted.append(sample_clip(network, example, sampling))
                seconds.append(time.monotonic() - began)
            yield _line(name, str(sampling), examples, painted, seconds)


def _line(name: str, how: str, examples: Sequence[ClipExample], painted: Sequence[Tensor], seconds: Sequence[float]) -> str:
    pairs = list(zip(painted, examples, strict=True))
    scores = mean_scores([score(frames, example) for frames, example in pairs])
    likeness = float(np.mean([ssim(frames, example.frames) for frames, example in pairs]))
    cells = [scores.get(region, math.nan) for region in ("face", "hidden_face", "mouth", "eyes")]
    written = [*(f"{value:.2f}" for value in cells), f"{likeness:.3f}", f"{np.mean(seconds):.2f}"]
    return f"| {name} | {how} | " + " | ".join(written) + " |"


def sample_clip(network: CopyUNet, example: ClipExample, sampling: Sampling) -> Float[Tensor, "T H W 3"]:
    """Paint an example's clip; frames in [0, 1]."""
    told, chance = conditions_of(example), torch.Generator().manual_seed(example.seed)
    schedule = zero_snr_schedule(sampling.steps).last(sampling.strength)
    studied = network.study(told.photo)

    def velocity(sample: Tensor, timestep: float, step: int) -> Tensor:
        angle, level = schedule.angles[step], torch.tensor([int(timestep)])
        clean = predict(network, told, sample, level, studied)[0]
        return (math.cos(angle) * sample - clean) / math.sin(angle)

    painted = denoise(velocity, _noisy(sampling, velocity, told.render * 2 - 1, schedule, chance), schedule)
    return (painted[0].movedim(1, -1) + 1).clamp(0, 2) / 2


def _noisy(sampling: Sampling, velocity: Velocity, render: Tensor, schedule: Schedule, chance: torch.Generator) -> Tensor:
    if sampling.start is None:
        return torch.randn(render.shape, generator=chance)
    return begin(sampling.start, velocity, render, schedule, passes=DiffusionConfig().passes, generator=chance)


def ssim(painted: Float[Tensor, "T H W 3"], truth: Float[Tensor, "T H W 3"]) -> float:
    """Give the structural similarity of clips, a mean over their frames."""
    pairs = zip(painted.numpy(), truth.numpy(), strict=True)
    return float(np.mean([structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in pairs]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zero1toa.training.tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of examples of unseen people, or of real clips")
    parser.add_argument("networks", nargs="+", metavar="NAME=WEIGHTS", help="networks by name, with their folders of weights")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--starts", action="store_true", help="compare ways to begin from the render instead")
    asked = parser.parse_args(arguments)
    named = (entry.split("=", 1) for entry in asked.networks)
    networks = {name: load_network(Path(folder)).eval().requires_grad_(False) for name, folder in named}
    samplings = [Sampling(steps) for steps in asked.steps]
    if asked.starts:
        strengths = (0.25, 0.5, 0.75)
        samplings = [Sampling(steps, start, share) for steps in asked.steps for start in STARTS for share in strengths]
    for line in table(networks, asked.folder, samplings):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
