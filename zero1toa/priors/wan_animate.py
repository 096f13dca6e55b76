"""Wan-Animate (Wan Team 2025) in diffusers: a transformer over whole clips that is driven by the render itself.

It sees how the render's face moves in crops of it, and where the head is by a few strokes of a skeleton. diffusers' pipeline
makes its inputs; noise and steps are those of all priors here, since a step of flow matching is a rotation too (see
`zero1toa.priors.noise`). The first latent of a clip stands for the photo and is dropped at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.assets import weights_path
from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.conditioning import SKELETON_STROKES, draw_landmarks
from zero1toa.priors.diffusion import Shot
from zero1toa.priors.noise import Schedule, flow_schedule
from zero1toa.priors.pictures import Gaze, face_crops, load_pretrained
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.wan import VideoLatents, as_video, hold, stored_words, velocity_of_flow, whole

REPO = "Wan-AI/Wan2.2-Animate-14B-Diffusers"
# What its authors say when nobody says anything: "the person in the video is making movements".
PROMPT = "视频中的人在做动作"
SHIFT = 5.0
# How weights are held, from the GPU memory in GB that is free: 15.2 billion of 2 bytes, of 1, or of 1 and elsewhere.
STORAGE = {"full": 45.0, "float8": 24.0, "offload": 0.0}


@dataclass(frozen=True, slots=True)
class Studied:
    """What is known of one photo: its latent under a mask (1, 20, 1, h, w), and what CLIP sees in it."""

    latent: Float[Tensor, "1 E 1 h w"]
    seen: Float[Tensor, "1 P D"]


@dataclass(frozen=True, slots=True)
class Driven:
    """What drives `N` clips: the photo and an empty past as latents, what CLIP sees, strokes as latents, and faces."""

    known: Float[Tensor, "1 E t h w"]
    seen: Float[Tensor, "1 P D"]
    strokes: Float[Tensor, "N C t h w"]
    faces: Float[Tensor, "N 3 T S S"]

    def of(self, frames: slice) -> Driven:
        """Take all frames: it sees a clip as a whole."""
        return self


class WanAnimate:
    """The networks behind the prior wan-animate. Raises PriorError when a file is missing, damaged or another model's."""

    name = "wan-animate"
    steps = 20
    guidance = 1.0
    window: int | None = None
    overlap = 0

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        from diffusers.models.transformers.transformer_wan_animate import WanAnimateTransformer3DModel
        from diffusers.pipelines.wan.pipeline_wan_animate import WanAnimatePipeline
        from transformers import CLIPVisionModel

        dtype = precision(config, device, usual=torch.bfloat16)
        folder, home = weights_path(REPO), torch.device("cpu")
        self._words = stored_words(self.name, REPO, ("", PROMPT), device).to(dtype)
        transformer = load_pretrained(WanAnimateTransformer3DModel, folder / "transformer", home, dtype)
        tune(transformer, config)
        self.transformer = hold(transformer, self.name, config.storage, STORAGE, device)
        self.space = VideoLatents(folder / "vae", device)
        encoder = load_pretrained(CLIPVisionModel, folder / "image_encoder", device, dtype)
        self._gaze, self._device, self._dtype = Gaze(encoder), device, dtype
        unused: Any = None
        self.pipeline = WanAnimatePipeline(unused, unused, self.space.net, unused, unused, unused, transformer)

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Start where the share of noise is `strength`: its levels are too crowded near the noise to count steps."""
        return flow_schedule(steps, strength, shift=SHIFT)

    def study(self, photo: Float[Tensor, "H W 3"]) -> Studied:
        """Encode the photo and let CLIP look at it."""
        latent = self.pipeline.prepare_reference_image_latents(as_video(photo[None])[:, :, 0], device=self._device)
        return Studied(latent, self._gaze.patches(photo[None]))

    def encode(self, frames: Float[Tensor, "T H W 3"], studied: Studied, *, exact: bool) -> Float[Tensor, "t C h w"]:
        """Give the photo's latent and those of a clip."""
        channels = len(self.space.mean)
        return torch.cat([studied.latent[0, -channels:], self.space.encode(frames)], 1).transpose(0, 1)

    def decode(self, latents: Float[Tensor, "t C h w"]) -> Float[Tensor, "F H W 3"]:
        """Give the pictures of a clip's latents but the first, four for each but one."""
        return self.space.decode(latents[1:])

    def conditions(self, shots: Sequence[Shot], studied: Studied) -> Driven:
        """Draw where each head is, cut out its faces, and leave the past empty."""
        height, width = shots[0].frames.shape[1:3]
        strokes, faces = [], []
        for shot in shots:
            strokes.append(self.space.encode(draw_landmarks(shot.landmarks, height, width, strokes=SKELETON_STROKES)))
            side = self.transformer.config["motion_encoder_size"]
            faces.append(as_video(whole(face_crops(shot.frames, shot.landmarks, side))))
        past = self.pipeline.prepare_prev_segment_cond_latents(
            segment_frame_length=faces[0].shape[2], height=height, width=width, device=self._device
        )
        kind = {"device": self._device, "dtype": self._dtype}
        return Driven(
            torch.cat([studied.latent, past], 2).to(**kind), studied.seen.to(**kind),
            torch.stack(strokes).to(**kind), torch.cat(faces).to(**kind),
        )  # fmt: skip

    def velocity(
        self, sample: Float[Tensor, "t N C h w"], timestep: float, angle: float, conditions: Driven, *, compare: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Turn the flow that the transformer sees into v; without conditions means no words and black faces."""
        clips, rows = sample.shape[1], 1 + compare
        faces = conditions.faces if not compare else torch.cat([torch.full_like(conditions.faces, -1.0), conditions.faces])

        def flow(x: Tensor) -> Tensor:
            batch = torch.cat([x.to(self._dtype), conditions.known.expand(clips, -1, -1, -1, -1)], 1).repeat(rows, 1, 1, 1, 1)
            return self.transformer(
                batch, torch.full((rows * clips,), timestep, device=self._device),
                self._words[-rows:].repeat_interleave(clips, 0), conditions.seen.expand(rows * clips, -1, -1),
                conditions.strokes.repeat(rows, 1, 1, 1, 1), faces, return_dict=False,
            )[0]  # fmt: skip

        return velocity_of_flow(flow, sample, timestep, angle, compare=compare)
