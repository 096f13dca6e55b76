"""Real clips in the form of training examples, to judge by and never to learn from.

The first frame is the photo, the conditions are the program's own, and the clip's later frames are the truth:
`python -m zero1toa.training.real CLIP... -o DIR`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from zero1toa.avatar.seed import SeedConfig, seed_avatar
from zero1toa.geometry.camera import project
from zero1toa.head.anny import load_anny
from zero1toa.head.base import HeadModel
from zero1toa.head.reference import portrait_reference
from zero1toa.media import read_video
from zero1toa.portrait.detect import detect_faces
from zero1toa.portrait.matting import matte_person
from zero1toa.portrait.prepare import PortraitConfig, prepare_portrait
from zero1toa.portrait.track import track
from zero1toa.priors.base import ClipRequest
from zero1toa.priors.projection import project_photo
from zero1toa.render import rasterize
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.render.photo import PhotoSurface
from zero1toa.training.clips import ClipExample
from zero1toa.training.dataset import FRAME_SIZE, save_example, with_small_photo
from zero1toa.types import Camera, HeadState, MotionError, Portrait

# What the photo's warp is less sure of than this, it does not know; a mirror image is at 0.6 at most.
KNOWN = 0.5
GREY = 0.5


@dataclass(frozen=True, slots=True)
class TrueFrames:
    """Frames of a clip over grey, cut as the portrait that its first frame is, and how the portrait's head moves in them."""

    portrait: Portrait
    frames: Float[Tensor, "T H W 3"]
    alpha: Float[Tensor, "T H W"]
    states: HeadState
    cameras: Camera


def true_frames(clip: Path, head: HeadModel, frames: int, size: int) -> TrueFrames:
    """Fit the head to a clip's first frame, follow it, and give later frames, evenly spaced, `size` pixels wide."""
    video = read_video(clip)
    portrait = prepare_portrait(video.frames[0], head, config=PortraitConfig())
    motion = track(video.frames, video.fps, portrait, head)
    chosen = torch.linspace(0, len(video.frames) - 1, frames + 1)[1:].round().long()
    x0, y0, scale = portrait.crop
    zoom = scale * size / portrait.camera.width
    onto_crop = np.array([[zoom, 0, -x0 * zoom], [0, zoom, -y0 * zoom]])
    pictures, alpha = zip(*(_cut(video.frames[index], onto_crop, size) for index in chosen.tolist()), strict=True)
    intrinsics = torch.from_numpy(np.vstack([onto_crop, [0, 0, 1]])).float() @ motion.cameras.intrinsics[chosen]
    cameras = Camera(motion.cameras.viewmats[chosen], intrinsics, size, size)
    states = HeadState(*(getattr(motion.states, name)[chosen] for name in ("expression", "neck", "head", "eyes")))
    return TrueFrames(portrait, torch.stack(pictures), torch.stack(alpha), states, cameras)


def _cut(frame: UInt8[np.ndarray, "H W 3"], onto_crop: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """Matte a frame, cut it, and lay it over grey."""
    faces = detect_faces(frame)
    if not faces:
        raise MotionError("a frame of the clip shows no face: use a clip in which the face is in view throughout")
    matte = matte_person(frame, faces[0].points)
    both = np.concatenate([frame, (matte[..., None] * 255).astype(np.uint8)], -1)
    zoom = onto_crop[0, 0]
    # Many pixels fall on one where the crop is smaller than the clip.
    soft = cv2.GaussianBlur(both, (0, 0), max(0.5 / zoom - 0.5, 0.01)) if zoom < 1 else both
    cut = torch.from_numpy(cv2.warpAffine(soft, onto_crop, (size, size)).astype(np.float32) / 255)
    return torch.lerp(torch.full((3,), GREY), cut[..., :3], cut[..., 3:]), cut[..., 3]


def real_example(clip: Path, head: HeadModel, *, frames: int = 8, size: int = 256) -> ClipExample:
    """Make an example of a clip's first frame and `frames` later ones, evenly spaced.

    Nobody has labelled real people: `hidden` is what the warp does not know, and `parts` are those of the fitted mesh.
    """
    true = true_frames(clip, head, frames, size)
    portrait, states, cameras, covered = true.portrait, true.states, true.cameras, true.alpha
    background = torch.full((3,), GREY)
    reference = portrait_reference(portrait, head)
    surface, generator = PhotoSurface(reference), torch.Generator().manual_seed(0)
    avatar = seed_avatar(surface, head, portrait.identity, portrait.state, SeedConfig(), generator)
    vertices = head.vertices(portrait.identity, states)
    with torch.no_grad():
        render = rasterize(avatar.on_vertices(vertices), cameras, background=background)
    landmarks = project(head.landmarks(vertices), cameras)
    request = ClipRequest(
        frames=render.color, alpha=render.alpha, depth=render.depth, landmarks=landmarks, cameras=cameras, vertices=vertices,
        reference=reference, background=background, strength=1.0, generator=generator,
    )  # fmt: skip
    warp, confidence = project_photo(surface, request)
    return ClipExample(
        seed=0, kind=clip.stem, scrambled=False, frames=true.frames, alpha=covered,
        parts=_parts(surface, request), hidden=(confidence < KNOWN) * covered,
        photo=portrait.image, matte=portrait.alpha,
        photo_landmarks=reference.landmarks, landmarks=landmarks,
        warp=warp, confidence=confidence, render=render.color, render_alpha=render.alpha, background=background,
        expression=states.expression,
    )  # fmt: skip


def _parts(surface: PhotoSurface, request: ClipRequest) -> UInt8[Tensor, "T H W"]:
    """Label pixels by the part of the fitted mesh there (see `zero1toa.training.picture.Picture.label`)."""
    face = rasterize_mesh(request.vertices, surface.faces, request.cameras).face.long()
    return torch.where(face >= 0, 1 + request.reference.surface.parts[face.clamp_min(0)], 0).to(torch.uint8)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zero1toa.training.real", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=FRAME_SIZE, help="pixels of a frame a side")
    asked = parser.parse_args(arguments)
    asked.output.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(asked.clips):
        example = real_example(clip, load_anny(), size=asked.size)
        save_example(with_small_photo(replace(example, seed=number)), asked.output / f"{number}.npz")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
