"""Which clips the avatar learns from, and when (Zero-1-to-A, section 3.4): views first, then relaxed, then strong motion.

A spatial clip holds one expression and goes from the photo's view to a side. At iteration k its frame i shows the pose
p_i = p_min(i, j) of the path with j = min(floor(k / d_s) + 1, n_f), so the path unrolls while the avatar learns. Temporal
clips hold a near-frontal camera; the relaxed ones join at iteration k_s and the exaggerated ones after 8,000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zero1toa.geometry.camera import orbit_about
from zero1toa.head.base import ARKIT_NAMES, HeadModel
from zero1toa.symgen.performances import PERFORMANCES, perform, relax
from zero1toa.types import Camera, Clip, HeadState, Motion, Portrait


@dataclass(frozen=True, slots=True)
class CurriculumConfig:
    """The paper's schedule. It leaves n_f and d_s open: 16 frames are a window of the AniPortrait prior, and with 300
    iterations a step the path is all unrolled when the relaxed clips join."""

    iterations: int = field(default=10_000, metadata={"help": "training steps", "range": (0, 100_000)})
    spatial_clips: int = field(default=20, metadata={"help": "n_s, clips that go round to a side", "range": (0, 100)})
    relaxed_clips: int = field(default=10, metadata={"help": "n_syn, clips of idle faces", "range": (0, 100)})
    exaggerated_clips: int = field(default=10, metadata={"help": "n_real, clips of strong expressions", "range": (0, 100)})
    frames: int = field(default=16, metadata={"help": "n_f, frames of a clip", "range": (1, 128)})
    relaxed_from: int = field(default=5_000, metadata={"help": "k_s, iteration at which the relaxed clips join"})
    exaggerated_from: int = field(default=8_000, metadata={"help": "iteration after which the exaggerated clips join"})
    unroll_every: int = field(default=300, metadata={"help": "d_s, iterations per step of the camera path", "range": (1, 9999)})
    update_every: int = field(default=30, metadata={"help": "iterations between regenerated clips", "range": (1, 1000)})
    # Ours: the paper shows side views but gives no angle; past 75 degrees a portrait video model has seen little.
    max_yaw: float = field(default=75.0, metadata={"help": "how far round the camera goes, degrees", "range": (0.0, 120.0)})
    max_pitch: float = field(default=12.0, metadata={"help": "how far up and down it goes, degrees", "range": (0.0, 45.0)})
    fps: float = field(default=12.0, metadata={"help": "frames per second of the temporal clips", "range": (1.0, 60.0)})
    # Ours, for the comparison in the paper's ablation: everything at once, all paths unrolled.
    progressive: bool = field(default=True, metadata={"help": "from easy to hard, as in the paper"})

    @property
    def clips(self) -> int:
        """How many clips the data set holds when all have joined."""
        return self.spatial_clips + self.relaxed_clips + self.exaggerated_clips

    def scaled(self, factor: float) -> CurriculumConfig:
        """Give the same schedule with `factor` times the iterations.

        Clips get fewer with the square root, and never fewer than 2 of a kind: half of a smaller budget goes into having
        fewer clips, half into updating each less often. Updates stay as far apart as they are (30 iterations) unless
        that leaves fewer than two for each clip.
        """
        iterations = max(1, round(self.iterations * factor))
        few = lambda count: min(count, max(2, round(count * math.sqrt(min(factor, 1.0)))))
        shorter = replace(
            self,
            iterations=iterations,
            spatial_clips=few(self.spatial_clips),
            relaxed_clips=few(self.relaxed_clips),
            exaggerated_clips=few(self.exaggerated_clips),
            relaxed_from=round(self.relaxed_from * factor),
            exaggerated_from=round(self.exaggerated_from * factor),
            unroll_every=max(1, round(self.unroll_every * factor)),
        )
        enough = max(1, iterations // max(1, 2 * shorter.clips))
        return replace(shorter, update_every=min(self.update_every, enough))


@dataclass(frozen=True, slots=True)
class Curriculum:
    """The clips of one run and the schedule that lets them in."""

    config: CurriculumConfig
    clips: tuple[Clip, ...]

    @classmethod
    def build(
        cls,
        config: CurriculumConfig,
        head: HeadModel,
        portrait: Portrait,
        *,
        generator: torch.Generator,
        motions: Sequence[Motion] = (),
    ) -> Curriculum:
        """Make the clips around the photo's own camera, so that they are framed as the photo is.

        `motions` are performances of the user's; when there are any, the exaggerated clips are windows of them.
        """
        stage = _Stage(head, portrait, config, generator, middle_of_head(head, portrait))
        spatial = [stage.spatial(i) for i in range(config.spatial_clips)]
        relaxed = [
            stage.temporal(f"relaxed {i}", "relaxed", relax(config.frames, config.fps, generator=generator))
            for i in range(config.relaxed_clips)
        ]
        exaggerated = [stage.exaggerated(i, motions) for i in range(config.exaggerated_clips)]
        return cls(config, (*spatial, *relaxed, *exaggerated))

    def active(self, iteration: int) -> tuple[int, ...]:
        """List the clips that take part at an iteration."""
        joins = {"side": 0, "relaxed": self.config.relaxed_from, "exaggerated": self.config.exaggerated_from}
        return tuple(i for i, clip in enumerate(self.clips) if iteration >= joins[clip.stage] or not self.config.progressive)

    def unrolled(self, iteration: int) -> int:
        """Give j, how many poses of a spatial path are in use at an iteration."""
        if not self.config.progressive:
            return self.config.frames
        return min(iteration // self.config.unroll_every + 1, self.config.frames)

    def order(self, clip: Clip, unrolled: int) -> Int[Tensor, "T"]:
        """Give which pose of its path each frame of a clip shows when `unrolled` of them are in use: min(i, j)."""
        frame = torch.arange(len(clip.cameras))
        return frame.clamp_max(unrolled - 1) if clip.stage == "side" else frame

    def poses_at(self, clip: Clip, iteration: int) -> Camera:
        """Give the cameras of a clip's frames at an iteration."""
        return pick(clip.cameras, self.order(clip, self.unrolled(iteration)))

    def stage(self, iteration: int) -> str:
        """Name the stage for the app's strip: front, side, relaxed or exaggerated."""
        if self.config.exaggerated_clips and iteration >= self.config.exaggerated_from:
            return "exaggerated"
        if self.config.relaxed_clips and iteration >= self.config.relaxed_from:
            return "relaxed"
        # A quarter of the way round the cheeks begin to hide; until then it looks like the front.
        return "front" if self.unrolled(iteration) <= self.config.frames / 4 else "side"


def pick(camera: Camera, frames: Int[Tensor, "T"]) -> Camera:
    """Choose cameras by index, in any order and as often as wanted."""
    frames = frames.to(camera.viewmats.device)
    return Camera(camera.viewmats[frames], camera.intrinsics[frames], camera.width, camera.height)


def middle_of_head(head: HeadModel, portrait: Portrait) -> Float[Tensor, "3"]:
    """Give the point that cameras go around: as high as the face, in the middle of all that is as high as the face."""
    with torch.no_grad():
        vertices = head.vertices(portrait.identity, portrait.state[:1])
        face = head.landmarks(vertices)[0].mean(0)
    around = vertices[0, (vertices[0, :, 1] - face[1]).abs() < 0.05]
    middle = (around.amin(0) + around.amax(0)) / 2
    return torch.stack([middle[0], face[1], middle[2]])


@dataclass(frozen=True, slots=True)
class _Stage:
    """What all clips of a run share while they are made."""

    head: HeadModel
    portrait: Portrait
    config: CurriculumConfig
    generator: torch.Generator
    target: Float[Tensor, "3"]

    def chance(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def choose(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def cameras(self, yaw: Float[Tensor, "T"], pitch: Float[Tensor, "T"]) -> Camera:
        """Move the photo's camera by degrees around the middle of the head."""
        return orbit_about(self.portrait.camera, yaw.to(self.target), pitch.to(self.target), target=self.target)

    def spatial(self, index: int) -> Clip:
        """Make a clip that goes from the photo's view to a side, sides in turn, with one expression.

        The first two keep the photo's own expression: there the frontal picture is known.
        """
        frames = self.config.frames
        side = 1 if index % 2 == 0 else -1
        # The end is an angle to the face, not to the photo: one already turned by report.yaw goes that much farther to
        # one side. A face turned to its own left (yaw > 0) is seen from its right.
        yaw = side * self.chance(0.6, 1.0) * self.config.max_yaw + self.portrait.report.yaw
        pitch = self.chance(-1, 1) * self.config.max_pitch
        part = torch.linspace(0, 1, frames) if frames > 1 else torch.zeros(1)
        # Pitch comes and goes on the way, so that the path ends level and not every side view is from above.
        cameras = self.cameras(yaw * part, pitch * (math.pi * part).sin())
        state = self.portrait.state[:1]
        if index >= 2:
            state = replace(state, expression=self._expressions(self._expression()[None]))
        return Clip(f"side {index}", "side", cameras, _repeat(state, frames))

    def _expression(self) -> Float[Tensor, "52"]:
        """Draw one expression out of the ARKit set, or a moment of a performance: a natural mixture."""
        weights = torch.zeros(len(ARKIT_NAMES))
        if self.chance(0, 1) < 0.5:
            name = ARKIT_NAMES[self.choose(len(ARKIT_NAMES))]
            stem = name.removesuffix("Left").removesuffix("Right")
            strength = self.chance(0.4, 1.0)
            # Mostly both sides at once: a lone eyelid or mouth corner teaches less than its pair.
            both = self.chance(0, 1) < 0.7
            for i, other in enumerate(ARKIT_NAMES):
                if other == name or (both and other in (f"{stem}Left", f"{stem}Right") and stem not in ("jaw", "mouth")):
                    weights[i] = strength
            return weights
        performance = PERFORMANCES[self.choose(len(PERFORMANCES))]
        played = perform(performance, 16, 12.0, intensity=self.chance(0.5, 1.0), generator=self.generator)
        return played.expression[4 + self.choose(8)]

    def _expressions(self, arkit: Float[Tensor, "T 52"]) -> Float[Tensor, "T E"]:
        """Order ARKit weights as the head model wants them; what it does not know is left out."""
        expression = self.portrait.state.expression.new_zeros(len(arkit), len(self.head.expression_names))
        for i, name in enumerate(self.head.expression_names):
            if name in ARKIT_NAMES:
                expression[:, i] = arkit[:, ARKIT_NAMES.index(name)]
        return expression

    def temporal(self, name: str, stage: str, played: HeadState, *, arkit: bool = True) -> Clip:
        """Make a clip of a performance before a fixed camera within 8 degrees of the front of the face.

        Turns are added to those of the photo, which are small or, where large, are looked at from their own front.
        """
        frames, state = len(played), self.portrait.state
        yaw = torch.full((frames,), self.portrait.report.yaw + self.chance(-8, 8))
        pitch = torch.full((frames,), self.chance(-4, 4))
        states = HeadState(
            self._expressions(played.expression) if arkit else played.expression,
            state.neck[:1] + played.neck,
            state.head[:1] + played.head,
            state.eyes[:1] + played.eyes,
        )
        return Clip(name, stage, self.cameras(yaw, pitch), states)

    def exaggerated(self, index: int, motions: Sequence[Motion]) -> Clip:
        """Make a clip of a strong expression: a window of a given motion, else one of our performances."""
        frames = self.config.frames
        usable = [m for m in motions if len(m.states) >= frames]
        if usable:
            motion = usable[index % len(usable)]
            # As many frames a second as the other clips, if the motion is long enough for that.
            step = max(1, min(round(motion.fps / self.config.fps), len(motion.states) // frames))
            start = self._window(motion, step * (frames - 1) + 1)
            played, first = motion.states[start : start + step * (frames - 1) + 1 : step], motion.states[:1]
            # The motion's own way of holding the head is its actor's; only how it moves is taken over.
            played = replace(played, neck=played.neck - first.neck, head=played.head - first.head)
            return self.temporal(f"motion {index}", "exaggerated", played, arkit=False)
        performance = PERFORMANCES[index % len(PERFORMANCES)]
        played = perform(performance, frames, self.config.fps, intensity=self.chance(0.8, 1.1), generator=self.generator)
        return self.temporal(performance.name, "exaggerated", played)

    def _window(self, motion: Motion, length: int) -> int:
        """Draw where a window starts, among those in which a face was found throughout if there are any."""
        starts = range(len(motion.states) - length + 1)
        whole = [s for s in starts if all(motion.found[s : s + length])] or list(starts)
        return whole[self.choose(len(whole))]


def _repeat(state: HeadState, frames: int) -> HeadState:
    """Hold the first frame of a state for `frames` frames."""
    hold = lambda part: part[:1].expand(frames, *part.shape[1:])
    return HeadState(hold(state.expression), hold(state.neck), hold(state.head), hold(state.eyes))
