"""Train the embedded prior: `python -m zero1toa.training.train DATA -o RUN`, or the same under `accelerate launch`.

DATA is a folder of examples (`zero1toa.training.dataset`), into which more may be written meanwhile. The run is kept in RUN
and goes on from its last checkpoint whenever the command is given again. Validation prints how well one step from pure noise
does on unseen synthetic people and, given some (`zero1toa.training.real`), on real clips, beside the photo's warp alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from zero1toa.priors.embedded.model import SURE, Conditions, CopyUNet, Recipe, compose
from zero1toa.priors.noise import TRAIN_STEPS, alphas_kept
from zero1toa.priors.pictures import load_pretrained
from zero1toa.training.batches import Batch, batch_of, conditions_of, draw_frames, faces_of, stack, vary, withhold
from zero1toa.training.dataset import example_files, load_example
from zero1toa.training.scores import Scores, mean_scores, score

# Frames of a clip that a step looks at, and the share of such steps: few of many people mostly, all of few to learn motion.
FRAMES = ((2, 0.8), (4, 0.1), (8, 0.1))
# Share of steps at pure noise, where every denoising starts and all has to come from the conditions.
FROM_NOISE = 0.8
# Ruined drafts would rule all others, so errors count as shares of those of `projection`, which are taken for at least this.
LEAST_ERROR = 0.004
# What is copied need not be painted.
RESIDUAL_PENALTY = 0.02
# Steps in which the learning rate rises to its own, the share of the training in which it falls to nothing, and seconds
# between checkpoints.
WARM_UP, FADE_OUT, KEEP_S = 100, 0.5, 300
CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights"


class Batches(IterableDataset):
    """Batches without end; every one draws its examples from what the folder holds by then."""

    def __init__(self, folder: Path, frames: int, seed: int) -> None:
        self.folder, self.frames, self.seed = folder, frames, seed

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, time.time_ns()))
        torch.set_num_threads(1)
        while True:
            files = example_files(self.folder)
            for _ in range(100):
                each = min(rng.choice([count for count, _ in FRAMES], p=[share for _, share in FRAMES]), self.frames)
                drawn = [files[k] for k in rng.integers(len(files), size=self.frames // each)]
                choose = lambda frames, each=each: draw_frames(frames, each, rng)
                examples = [vary(faces_of(load_example(file, choose)), rng) for file in drawn]
                yield stack([batch_of(example, withhold(rng)) for example in examples])


# Gives the loss of a batch; chance is for noise and its levels.
Loss = Callable[[CopyUNet, Batch, torch.Generator], Tensor]


def denoising_loss(model: CopyUNet, batch: Batch, chance: torch.Generator) -> Tensor:
    """Give the loss of a batch at random noise levels: the squared error of the clean picture.

    That of v is this over sigma², which counts most where little noise is left and the network is least needed. It is
    relative to the error of what the untrained network gives, as decibels are.
    """
    clean = batch.clean
    level = torch.randint(0, TRAIN_STEPS, (len(clean),), generator=chance)
    level = torch.where(torch.rand(len(clean), generator=chance) < FROM_NOISE, TRAIN_STEPS - 1, level)
    angle = angles(level, clean)
    noise = torch.randn(clean.shape, generator=chance).to(clean)
    painted, recipe = predict(model, batch.conditions, angle.cos() * clean + angle.sin() * noise, level)
    told = batch.conditions
    projected = torch.lerp(told.render, told.warp, told.confidence) * 2 - 1
    # Where the warp is sure it is the picture, and there is nothing to learn.
    weights = batch.weights * (told.confidence < SURE)
    of_clip = lambda frames: (weights * (frames - clean) ** 2).mean((1, 2, 3, 4)) / weights.mean((1, 2, 3, 4))
    error = (of_clip(painted) / (of_clip(projected) + LEAST_ERROR)).mean()
    return error + RESIDUAL_PENALTY * recipe[:, -3:].pow(2).mean()


def predict(
    model: CopyUNet,
    told: Conditions,
    sample: Float[Tensor, "B T 3 H W"],
    level: Int[Tensor, "B"],
    studied: tuple[Tensor, ...] | None = None,
) -> tuple[Float[Tensor, "B T 3 H W"], Recipe]:
    """Give the clean frames, in [-1, 1], that the network composes from noisy ones, and by which recipe."""
    angle = angles(level, sample)
    recipe = model(sample, level.to(sample), angle.flatten(), told, studied)
    flat = lambda pictures: pictures.flatten(0, 1)
    left = (angle.cos() * sample + 1) / 2
    return (compose(recipe, flat(told.warp), flat(told.render), flat(left)) * 2 - 1).unflatten(0, sample.shape[:2]), recipe


def angles(level: Int[Tensor, "B"], like: Tensor) -> Float[Tensor, "B 1 1 1 1"]:
    """Give the angles of noise levels (see `zero1toa.priors.noise`)."""
    return torch.acos(alphas_kept()[level].sqrt())[:, None, None, None, None].to(like)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How long and how fast to learn, and what to judge by."""

    steps: int = 100_000
    minutes: float = math.inf
    rate: float = 1e-3
    frames: int = 16  # that a step looks at
    every: int = 500
    seed: int = 0
    validation: Path | None = None
    real: Path | None = None
    network: Mapping[str, Any] = field(default_factory=dict)  # what differs from `CopyUNet`'s own sizes
    start: Path | None = None  # weights to begin with


def train(data: Path, run: Path, config: TrainingConfig, loss: Loss = denoising_loss) -> None:
    """Train until the steps have been taken or the minutes are over; see the module's docstring."""
    accelerator = Accelerator()
    torch.manual_seed(config.seed)
    run.mkdir(parents=True, exist_ok=True)
    learner = Learner.begin(run, config, accelerator)
    chance = torch.Generator().manual_seed(config.seed + learner.done)
    began = kept_at = time.monotonic()
    recent: list[float] = []
    for batch in DataLoader(Batches(data, config.frames, config.seed), batch_size=None, num_workers=1, prefetch_factor=4):
        elapsed = time.monotonic() - began
        left = 1 - max(learner.done / config.steps, elapsed / (60 * config.minutes))
        recent.append(learner.step(loss(learner.model, batch.to(accelerator.device), chance), left))
        elapsed = time.monotonic() - began
        over = learner.done >= config.steps or elapsed > 60 * config.minutes
        if accelerator.is_main_process:
            if learner.done % 50 == 0:
                mean, recent = sum(recent) / len(recent), []
                _tell(run, step=learner.done, loss=round(mean, 5), seconds=round(elapsed), clips=len(example_files(data)))
            if over or learner.done % config.every == 0:
                _tell(run, step=learner.done, **learner.validate(config))
            if over or time.monotonic() - kept_at > KEEP_S:
                learner.keep(run)
                kept_at = time.monotonic()
        if over:
            break


@dataclass(slots=True)
class Learner:
    """The network, its running average, its optimizer, and how many steps they have taken."""

    model: CopyUNet
    average: EMAModel
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    rate: float
    done: int = 0

    @classmethod
    def begin(cls, run: Path, config: TrainingConfig, accelerator: Accelerator) -> Learner:
        """Begin anew, or where the run's checkpoint is."""
        model = CopyUNet(**config.network) if config.start is None else load_network(config.start)
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]: torch's own overloads lack it
        average = EMAModel(model.parameters(), decay=0.997, use_ema_warmup=True, power=0.75)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.rate, betas=(0.9, 0.99), weight_decay=0.01)
        done = 0
        if (run / CHECKPOINT).exists():
            saved = torch.load(run / CHECKPOINT, weights_only=True)
            model.load_state_dict(saved["model"])
            average.load_state_dict(saved["average"])
            optimizer.load_state_dict(saved["optimizer"])
            done = saved["step"]
        model, optimizer = accelerator.prepare(model, optimizer)
        average.to(accelerator.device)
        return cls(model, average, optimizer, accelerator, config.rate, done)

    def step(self, loss: Tensor, left: float = 1.0) -> float:
        """Take one step down a loss, and give it; a share of the training is `left`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (self.done + 1) / WARM_UP, max(left, 0.01) / FADE_OUT)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.step(self.model.parameters())
        self.done += 1
        return loss.item()

    @contextmanager
    def averaged(self) -> Iterator[CopyUNet]:
        """Lend the network with the running average of its weights."""
        self.average.store(self.model.parameters())
        self.average.copy_to(self.model.parameters())
        yield self.accelerator.unwrap_model(self.model)
        self.average.restore(self.model.parameters())

    def validate(self, config: TrainingConfig) -> dict[str, dict[str, float]]:
        """Score the averaged network on both kinds of clips it has not seen."""
        folders = {"synthetic": config.validation, "real": config.real}
        with self.averaged() as model:
            return {name: score_all(model, folder) for name, folder in folders.items() if folder is not None}

    def keep(self, run: Path) -> None:
        """Write a checkpoint aside and move it to its place; and the averaged network, as the prior loads it."""
        state = {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.done,
        }
        torch.save(state, run / f"{CHECKPOINT}.aside")
        (run / f"{CHECKPOINT}.aside").replace(run / CHECKPOINT)
        with self.averaged() as model:
            copy.deepcopy(model).half().save_pretrained(run / WEIGHTS)


@torch.no_grad()
def score_all(model: CopyUNet, folder: Path) -> dict[str, float]:
    """Score one step from pure noise on every example of a folder, beside what `projection` makes of it."""
    rows: list[Scores] = []
    for file in example_files(folder):
        example = faces_of(load_example(file))
        told = conditions_of(example)
        noise = torch.randn(told.warp.shape, generator=torch.Generator().manual_seed(example.seed))
        painted = predict(model, told, noise, torch.tensor([TRAIN_STEPS - 1]))[0]
        rows.append(score((painted[0].movedim(1, -1) + 1).clamp(0, 2) / 2, example))
    return {name: round(value, 2) for name, value in mean_scores(rows).items()}


def _tell(run: Path, **values) -> None:
    """Write a line to the run's log and to the terminal."""
    line = json.dumps(values) + "\n"
    with (run / "log.jsonl").open("a") as log:
        log.write(line)
    sys.stdout.write(line)
    sys.stdout.flush()


def load_network(folder: Path) -> CopyUNet:
    """Load the weights that a run has kept, in 32 bits, to learn on."""
    kept = load_pretrained(CopyUNet, folder, torch.device("cpu"), torch.float32)
    # A new one, because that loaded remembers the path, which would be kept with what it learns.
    network = CopyUNet(**{name: value for name, value in kept.config.items() if not name.startswith("_")})
    network.load_state_dict(kept.state_dict())
    return network.train()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what all trainings want to know."""
    parser.add_argument("data", type=Path, help="folder of examples to learn from")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--validation", type=Path, help="folder of examples of unseen people")
    parser.add_argument("--real", type=Path, help="folder of real clips as examples, only to judge by")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--frames", type=int, default=16, help="frames that a step looks at")
    parser.add_argument("--start", type=Path, help="folder of weights to begin with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=500, help="steps between validations")


def config_of(asked: argparse.Namespace) -> TrainingConfig:
    """Turn the options into settings."""
    return TrainingConfig(
        asked.steps, asked.minutes, asked.rate, asked.frames, asked.every, asked.seed,
        validation=asked.validation, real=asked.real, start=asked.start,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zero1toa.training.train", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    asked = parser.parse_args(arguments)
    train(asked.data, asked.output, config_of(asked))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
