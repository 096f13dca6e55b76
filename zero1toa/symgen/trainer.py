"""SymGEN: the avatar and its data set grow together (Zero-1-to-A, section 3.3). The loop is `train`; the rest serves it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from zero1toa.avatar.density import DensityConfig, DensityControl
from zero1toa.avatar.rigged import Avatar
from zero1toa.priors.base import ClipRequest, VideoPrior, regenerate_all
from zero1toa.render import rasterize
from zero1toa.symgen.checkpoint import TrainingState, latest_checkpoint, load_checkpoint, save_checkpoint
from zero1toa.symgen.clock import Clock
from zero1toa.symgen.curriculum import Curriculum, CurriculumConfig
from zero1toa.symgen.dataset import ClipDataset
from zero1toa.symgen.events import Event
from zero1toa.symgen.losses import LossConfig, l1, load_perceptual, position_loss, scale_loss
from zero1toa.symgen.perceptual import Perceptual
from zero1toa.symgen.scene import Frame, Scene, to_bytes
from zero1toa.types import Camera, Motion, Portrait, PriorError, on_device

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """How the avatar is trained. Learning rates are those of GaussianAvatars, whose lengths are triangle sizes too."""

    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    density: DensityConfig = field(default_factory=DensityConfig)
    size: int = field(default=512, metadata={"help": "width of the pictures, pixels", "range": (32, 1024)})
    # From coarse to fine does not pay here, so it is off: splats laid one a pixel shrink until only the rasterizer's low-pass
    # closes the gaps at half the size, and the full picture is speckled (384 px, 80k splats, 105 steps: L1 to the photo
    # 0.0091 against 0.0044, and no less time, since most of a step goes with the splats).
    coarse: float = field(default=0.5, metadata={"help": "size of the pictures in the coarse part", "range": (0.1, 1.0)})
    coarse_share: float = field(default=0.0, metadata={"help": "share of the run that is coarse", "range": (0.0, 1.0)})
    batch: int = field(default=1, metadata={"help": "pictures per step and process", "range": (1, 16)})
    # Ours: the photo is the one picture that is true, so every fourth step looks at it; 0 is the paper.
    photo_share: float = field(default=0.25, metadata={"help": "share of steps on the photo itself", "range": (0.0, 1.0)})
    distill: bool = field(default=False, metadata={"help": "score distillation instead of a data set, to compare with"})
    strength: float = field(default=0.6, metadata={"help": "how far the prior may move from the render", "range": (0.0, 1.0)})
    clips_per_update: int = field(
        default=1, metadata={"help": "clips that the prior redraws at once, as much more rarely", "range": (1, 16)}
    )
    background: float = field(default=0.5, metadata={"help": "grey behind the head", "range": (0.0, 1.0)})
    lr_centre: float = field(default=5e-3, metadata={"help": "learning rate of positions at the start"})
    lr_centre_end: float = field(default=5e-5, metadata={"help": "learning rate of positions at the end"})
    lr_quaternion: float = field(default=1e-3, metadata={"help": "learning rate of rotations"})
    lr_log_scale: float = field(default=1.7e-2, metadata={"help": "learning rate of sizes"})
    lr_opacity_logit: float = field(default=5e-2, metadata={"help": "learning rate of opacities"})
    lr_color: float = field(default=2.5e-3, metadata={"help": "learning rate of colours"})
    seed: int = field(default=0, metadata={"help": "seed of everything random"})
    memory_mb: float = field(default=512.0, metadata={"help": "memory for frames; the rest goes to disk"})
    # Eight pictures of 512 pixels, the photo among them, which every fourth step looks at.
    features_mb: float = field(default=1024.0, metadata={"help": "memory for what LPIPS saw in pictures", "range": (0.0, 1e5)})
    checkpoint_s: float = field(default=60.0, metadata={"help": "seconds between checkpoints"})
    preview_s: float = field(default=2.0, metadata={"help": "seconds between previews"})
    report_s: float = field(default=0.5, metadata={"help": "seconds between reports"})


# Adam's eps by parameter, a hundredth of the median gradient of splats that pictures show. 3DGS has 1e-15, with which
# teeth behind closed lips, whose gradients are ten thousand times smaller, move as fast as lips do and turn teal.
EPS = {"centre": 1e-7, "quaternion": 3e-8, "log_scale": 3e-8, "opacity_logit": 1e-9, "color": 1e-7}
# Settings that change what is told and kept, not what is learned; a run may be resumed with others.
OUTWARD = ("memory_mb", "features_mb", "checkpoint_s", "preview_s", "report_s")


def train(
    avatar: Avatar,
    portrait: Portrait,
    prior: VideoPrior,
    config: TrainerConfig,
    *,
    accelerator: Accelerator,
    folder: Path | None = None,
    resume: bool = False,
    motions: Sequence[Motion] = (),
    kind: type[Run] | None = None,
) -> Generator[Event, None, None]:
    """Train `avatar` in place and tell how it goes; the last event carries it.

    Close the iterator to stop: the avatar stays as it is then. With a `folder`, checkpoints are kept there, one more is
    written when the iterator is closed, and `resume` goes on from the last to the very result an uninterrupted run has
    had (on one kind of device). Another `kind` of run takes its pictures from elsewhere than a data set.
    Raises InputError if the folder belongs to another run, PriorError if the prior gives unusable frames.
    """
    run = (kind or Run)(avatar, portrait, prior, config, accelerator, motions)
    state, schedule = run.state, run.scene.curriculum
    kept = folder if accelerator.is_main_process else None
    if folder is not None and resume and (checkpoint := latest_checkpoint(folder)) is not None:
        load_checkpoint(checkpoint, state, settings=run.settings)
        yield run.event(f"resumed at iteration {state.iteration}")
    try:
        while state.iteration < run.iterations:
            k, redrawn = state.iteration, []
            if clips := run.due_clips():
                yield run.event(f"regenerating clip {', '.join(schedule.clips[clip].name for clip in clips)}")
                redrawn = run.regenerate_clips(clips)
            run.step()
            if state.density.due(k, run.iterations):
                change = state.density.apply(avatar, run.optimizer)
                log.info("iteration %d: %d cloned, %d split, %d pruned", k, change.cloned, change.split, change.pruned)
            state.iteration += 1
            for clip, (before, after) in zip(clips, redrawn, strict=True):
                yield run.event(f"regenerated clip {schedule.clips[clip].name}", clip_before=before, clip=after)
            if kept is not None and run.every("checkpoint", config.checkpoint_s):
                yield run.event("saved", avatar=avatar, checkpoint=run.save(kept))
            if run.every("preview", config.preview_s):
                yield run.event(preview=run.scene.preview(avatar, run.elapsed_s))
            elif run.every("report", config.report_s):
                yield run.event()
    except GeneratorExit:
        # Every event is told between two iterations, so what is saved here is whole.
        if kept is not None:
            run.save(kept)
        raise
    final = run.save(kept) if kept is not None else None
    preview = run.scene.preview(avatar, 0.0)
    yield run.event("done", stage="done", preview=preview, avatar=avatar, checkpoint=final)


class Run:
    """One training run: what it knows, what it has so far, and the two halves of SymGEN."""

    def __init__(
        self,
        avatar: Avatar,
        portrait: Portrait,
        prior: VideoPrior,
        config: TrainerConfig,
        accelerator: Accelerator,
        motions: Sequence[Motion],
    ) -> None:
        self.prior, self.config, self.accelerator = prior, config, accelerator
        self.iterations = config.curriculum.iterations
        chance = torch.Generator().manual_seed(config.seed)
        # Clips are made on the CPU, where chance is the same on all machines, and go where the avatar is.
        device = avatar.centre.device
        head = on_device(avatar.head, torch.device("cpu"))
        curriculum = Curriculum.build(config.curriculum, head, portrait, generator=chance, motions=motions)
        self.scene = Scene.build(
            avatar.head, on_device(portrait, device), on_device(curriculum, device), size=config.size,
            background=config.background,
        )  # fmt: skip
        self.perceptual: Perceptual = load_perceptual(config.losses.kind, avatar.centre.device, memory_mb=config.features_mb)
        self.settings = _settings(config, avatar, portrait, prior, motions)
        metres = self.scene.metres_per_half_image()
        groups = [{"params": [value], "name": name, "eps": EPS[name]} for name, value in avatar.named_parameters()]
        # The model itself is not prepared: wrappers for many processes cannot follow splats that come and go, so
        # `step` averages gradients instead.
        self.optimizer = accelerator.prepare(torch.optim.Adam(groups, lr=0.0, fused=True))
        self.state = TrainingState(
            avatar=avatar,
            optimizer=self.optimizer,
            density=DensityControl(avatar, config.density, metres_per_half_image=metres),
            dataset=ClipDataset(len(curriculum.clips), memory_mb=config.memory_mb),
            generator=chance,
        )
        self.clock = Clock()
        self.losses: dict[str, Tensor] = {}
        self._began, self._last = time.monotonic(), {}

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self.state.elapsed_s + time.monotonic() - self._began

    def due_clips(self) -> list[int]:
        """Choose the clips to regenerate before this iteration: some that have no frames yet, else the stalest in turn."""
        k, dataset, count = self.state.iteration, self.state.dataset, self.config.clips_per_update
        active = self.scene.curriculum.active(k)
        if missing := [clip for clip in active if dataset.age(clip, k) is None]:
            return missing[:count]
        return [] if k % (count * self.config.curriculum.update_every) else dataset.stalest(active, count)

    def regenerate_clips(self, clips: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Make the data set better with the avatar: render clips, have the prior redraw them, write them back (step 1).

        Gives the renders and the new frames, which are the same in all processes.
        """
        began, state = time.monotonic(), self.state
        unrolled = self.scene.curriculum.unrolled(state.iteration)
        requests = [
            self.scene.request(state.avatar, clip, unrolled, strength=self.config.strength, generator=chance)
            for clip, chance in zip(clips, self._chances(len(clips)), strict=True)
        ]
        redrawn = self._redraw(requests)
        for clip, request, frames in zip(clips, requests, redrawn, strict=True):
            if frames.shape != request.frames.shape or not bool(torch.isfinite(frames).all()):
                raise PriorError(
                    f"the prior {self.prior.name!r} gave frames that cannot be learned from "
                    f"(shape {tuple(frames.shape)}): choose another prior or a lower strength"
                )
            state.dataset.write(clip, frames, iteration=state.iteration, unrolled=unrolled)
        self.clock.update((time.monotonic() - began) / len(clips))
        return [(to_bytes(request.frames), to_bytes(frames)) for request, frames in zip(requests, redrawn, strict=True)]

    def _chances(self, count: int) -> list[torch.Generator]:
        """Give every clip random numbers of its own, without drawing from the run's.

        So a run draws the same frames in the same order whatever its prior draws and in however many processes, and what
        two priors differ in is no matter of chance.
        """
        fork = torch.Generator().set_state(self.state.generator.get_state())
        return [torch.Generator().manual_seed(seed) for seed in torch.randint(2**62, (count,), generator=fork).tolist()]

    def _redraw(self, requests: list[ClipRequest]) -> list[Tensor]:
        """Have the prior redraw clips; of several processes each does its share and gets the rest from the others."""
        first, count = self.accelerator.process_index, self.accelerator.num_processes
        with torch.no_grad():
            mine = regenerate_all(self.prior, requests[first::count])
        if count == 1:
            return mine
        redrawn = [torch.zeros_like(request.frames) for request in requests]
        for blank, frames in zip(redrawn[first::count], mine, strict=True):
            # What cannot be used must be seen by all, or the others wait for ever.
            blank.copy_(frames) if frames.shape == blank.shape else blank.fill_(torch.nan)
        return [self.accelerator.reduce(frames, "sum") for frames in redrawn]  # pyright: ignore[reportReturnType]

    def step(self) -> None:
        """Make the avatar better with the data set: one step of Adam on a few of its frames (step 2)."""
        began, scale = time.monotonic(), self.scale(self.state.iteration)
        self._set_rates()
        frames = self._draw(scale)
        self.losses = self._losses(frames)
        self.accelerator.backward(sum(self.losses.values()))
        if self.accelerator.num_processes > 1:
            for parameter in self.state.avatar.parameters():
                assert parameter.grad is not None
                parameter.grad.copy_(self.accelerator.reduce(parameter.grad, "mean"))  # pyright: ignore[reportArgumentType]
        self.state.density.observe(self.state.avatar)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.clock.step(scale, time.monotonic() - began)

    def scale(self, iteration: int) -> float:
        """Give the size of the pictures at an iteration, 1 being the full size."""
        return self.config.coarse if iteration < self.config.coarse_share * self.iterations else 1.0

    def _set_rates(self) -> None:
        c = self.config
        share = self.state.iteration / max(self.iterations, 1)
        for group in self.optimizer.param_groups:
            rate = getattr(c, f"lr_{group['name']}")
            group["lr"] = rate * (c.lr_centre_end / rate) ** share if group["name"] == "centre" else rate

    def _draw(self, scale: float) -> list[Frame]:
        """Draw the pictures of a step; every process draws all and takes its own."""
        state, chance = self.state, self.state.generator
        clips = state.dataset.filled(self.scene.curriculum.active(state.iteration))
        drawn = []
        for _ in range(self.config.batch * self.accelerator.num_processes):
            photo, clip, frame = torch.rand(3, generator=chance).tolist()
            if photo < self.config.photo_share or not clips:
                drawn.append(self.scene.photo(scale))
                continue
            clip = clips[int(clip * len(clips))]
            drawn.append(self.scene.frame(state.dataset, clip, int(frame * len(state.dataset.frames(clip))), scale))
        return drawn[self.accelerator.process_index :: self.accelerator.num_processes]

    def _losses(self, frames: list[Frame]) -> dict[str, Tensor]:
        """Compare the avatar with pictures (eq. 6), term by term and weighted."""
        avatar, weights = self.state.avatar, self.config.losses
        posed = avatar.on_vertices(torch.cat([frame.vertices for frame in frames]))
        cameras = [frame.camera for frame in frames]
        camera = Camera(
            torch.cat([c.viewmats for c in cameras]),
            torch.cat([c.intrinsics for c in cameras]),
            cameras[0].width,
            cameras[0].height,
        )
        render = rasterize(posed, camera, background=self.scene.background)
        target = torch.stack([frame.picture for frame in frames])
        losses = self._difference(render.color, target, frames)
        losses |= {
            "position": weights.position * position_loss(avatar.centre, avatar.reach, weights.position_threshold),
            "scale": weights.scale * scale_loss(avatar.log_scale, weights.scale_threshold),
        }
        matted = [i for i, frame in enumerate(frames) if frame.alpha is not None]
        if matted:
            alpha = torch.stack([frames[i].alpha for i in matted])  # pyright: ignore[reportArgumentType]
            losses["alpha"] = weights.alpha * (render.alpha[matted] - alpha).abs().mean()
        return losses

    def _difference(self, color: Tensor, target: Tensor, frames: list[Frame]) -> dict[str, Tensor]:
        """Compare renders with the pictures of frames."""
        weights = self.config.losses
        return {
            "l1": weights.l1 * l1(color, target),
            "perceptual": weights.perceptual * self.perceptual(color, target, [frame.mark for frame in frames]),
        }

    def save(self, folder: Path) -> Path:
        """Write a checkpoint."""
        self.state.elapsed_s, self._began = self.elapsed_s, time.monotonic()
        return save_checkpoint(folder, self.state, settings=self.settings)

    def every(self, what: str, seconds: float) -> bool:
        """Say whether something that happens every so many seconds is due, and count from now if it is."""
        now = time.monotonic()
        if now - self._last.setdefault(what, now) < seconds:
            return False
        self._last[what] = now
        return True

    def remaining_s(self) -> float:
        """Estimate the seconds left, the clips that have yet to join included."""
        k, dataset = self.state.iteration, self.state.dataset
        middle = min(max(round(self.config.coarse_share * self.iterations), k), self.iterations)
        steps = {self.config.coarse: middle - k}
        steps[1.0] = steps.get(1.0, 0) + self.iterations - middle
        missing = len(dataset) - len(dataset.filled(range(len(dataset))))
        updates = missing + (self.iterations - k) // self.config.curriculum.update_every
        return self.clock.remaining(steps, updates)

    def event(self, message: str = "", *, stage: str | None = None, **pictures) -> Event:
        """Tell the outside where the run is."""
        state = self.state
        return Event(
            stage=stage or self.scene.curriculum.stage(state.iteration),
            iteration=state.iteration,
            iterations=self.iterations,
            elapsed_s=self.elapsed_s,
            remaining_s=0.0 if stage == "done" else self.remaining_s(),
            message=message,
            losses=tuple((name, float(value.detach())) for name, value in self.losses.items()),
            splats=len(state.avatar),
            **pictures,
        )


def _settings(config: TrainerConfig, avatar: Avatar, portrait: Portrait, prior: VideoPrior, motions: Sequence[Motion]) -> str:
    """Describe a run so that a checkpoint of another one is not mistaken for its own."""
    picture = hashlib.sha256()
    for part in (portrait.image, portrait.alpha, portrait.camera.viewmats, portrait.camera.intrinsics):
        picture.update(part.detach().cpu().contiguous().numpy().tobytes())
    for motion in motions:
        picture.update(motion.states.expression.detach().cpu().contiguous().numpy().tobytes())
    settings = {"head": avatar.head.name, "prior": prior.name, "picture": picture.hexdigest()[:16]}
    for name, value in asdict(config).items():
        if isinstance(value, dict):
            settings |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif name not in OUTWARD:
            settings[name] = value
    return json.dumps(settings)
