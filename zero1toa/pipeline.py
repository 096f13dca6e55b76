"""The whole way from a photo to an avatar, and from a clip to a performance; the one file that knows all rooms."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from zero1toa.avatar.rigged import Avatar
from zero1toa.avatar.seed import seed_avatar
from zero1toa.config import Config
from zero1toa.head import load_head
from zero1toa.head.base import HeadModel
from zero1toa.head.reference import portrait_reference
from zero1toa.media import read_image, read_video
from zero1toa.portrait.prepare import prepare_portrait
from zero1toa.portrait.track import track
from zero1toa.priors import choose_prior, load_prior
from zero1toa.render import rasterize
from zero1toa.render.photo import PhotoSurface
from zero1toa.symgen.distill import Distillation
from zero1toa.symgen.events import Event
from zero1toa.symgen.trainer import Run, train
from zero1toa.types import Camera, HeadState, InputError, Motion, Portrait, Render

Photo = Path | UInt8[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W 4"]


def create_avatar(
    photo: Photo | Portrait, config: Config, *, folder: Path | None = None, resume: bool = False, motions: Sequence[Motion] = ()
) -> Iterator[Event]:
    """Make an avatar of the person in a photo (file, RGB or RGBA pixels, or what `read_portrait` gave), telling how it goes.

    Events come in the order prepare, seed, the stages of the curriculum, done; the last carries the avatar. Closing
    the iterator stops the work. With a `folder`, checkpoints are kept in it, and `resume` goes on from the last.
    `motions` are performances that take part in the exaggerated stage.
    Raises InputError, in a sentence that says what to do, for photos and settings that cannot be used.
    """
    from accelerate import Accelerator

    began = time.monotonic()

    def event(stage: str, message: str, **rest) -> Event:
        return Event(stage, 0, config.trainer.curriculum.iterations, time.monotonic() - began, 0.0, message, **rest)

    yield event("prepare", "reading the photo and fitting the head")
    config, why = settle_prior(config)
    if why:
        yield event("prepare", why)
    device = torch.device(_device(config.device))
    accelerator = Accelerator(cpu=device.type == "cpu")
    portrait = photo if isinstance(photo, Portrait) else read_portrait(photo, config)
    yield event("prepare", " ".join(portrait.notes) or "the head is fitted", portrait=portrait)
    prior = load_prior(config.prior, config.diffusion, device)
    avatar = first_avatar(portrait, load_head(config.head), config)
    yield event("seed", f"{len(avatar)} splats laid", splats=len(avatar), preview=snapshot(avatar, portrait), avatar=avatar)
    away = device.type != "cpu"
    trained = avatar.on(accelerator.device) if away else avatar
    training = train(
        trained, portrait, prior, config.trainer, accelerator=accelerator, folder=folder, resume=resume, motions=motions,
        kind=Distillation if config.trainer.distill else Run,
    )  # fmt: skip
    # Closing our iterator closes that of the training, which then keeps what it has.
    with contextlib.closing(training):
        for told in training:
            # Whoever asked has their poses and cameras on the CPU, and an avatar there that does not grow by itself.
            if away and (told.avatar is not None or told.preview is not None):
                arrays = {name: values.cpu() for name, values in trained.state_arrays().items()}
                told = replace(told, avatar=Avatar.from_arrays(avatar.head, avatar.identity, arrays))
            yield told


def read_portrait(photo: Photo, config: Config) -> Portrait:
    """Find the person in a photo and fit the head model; raises InputError for photos that cannot be used."""
    image, alpha = _pixels(photo)
    return prepare_portrait(image, load_head(config.head), config=config.portrait, alpha=alpha)


def settle_prior(config: Config) -> tuple[Config, str]:
    """Replace the prior `auto` by the best that can be used on this machine, and say why; any other must be here.

    Raises PriorError, with the command that fetches them, when the weights of the prior are not.
    """
    name, why = choose_prior(config.prior, torch.device(_device(config.device)))
    return replace(config, prior=name), why


def first_avatar(portrait: Portrait, head: HeadModel, config: Config) -> Avatar:
    """Lay the splats that training starts from."""
    generator = torch.Generator().manual_seed(config.trainer.seed)
    photo = PhotoSurface(portrait_reference(portrait, head))
    return seed_avatar(photo, head, portrait.identity, portrait.state, config.seed, generator)


@torch.no_grad()
def render(avatar: Avatar, state: HeadState, camera: Camera, *, background: float = 0.5) -> Render:
    """Draw an avatar in the poses of `state` from the cameras, over a grey."""
    return rasterize(avatar.pose(state), camera, background=torch.full((3,), background))


def snapshot(avatar: Avatar, portrait: Portrait) -> UInt8[np.ndarray, "H W 3"]:
    """Draw an avatar as the photo shows it."""
    color = render(avatar, portrait.state, portrait.camera).color[0]
    return (color.clamp(0, 1) * 255 + 0.5).byte().numpy()


def _pixels(photo: Photo) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"] | None]:
    """Read a photo, and split off its alpha channel if that says anything."""
    if isinstance(photo, (str, Path)):
        return read_image(Path(photo))
    if photo.ndim != 3 or photo.shape[2] not in (3, 4):
        raise InputError(f"a photo of shape {photo.shape} cannot be read: hand over RGB or RGBA pixels")
    alpha = photo[..., 3] if photo.shape[2] == 4 and photo[..., 3].min() < 255 else None
    return np.ascontiguousarray(photo[..., :3]), alpha


def _device(name: str) -> str:
    """Decide where to work; raises InputError when a GPU is asked for that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available: leave --device out to work on the CPU")
    return name


def reenact(
    clip: Path, config: Config, *, frame: int = 0, stride: int = 1
) -> Iterator[Event | tuple[int, UInt8[np.ndarray, "H W 4"]]]:
    """Make an avatar of a clip's first frame, or of another, and drive it by all of them.

    First come the events of `create_avatar`, then (index, picture) for every `stride`-th frame and the last: the avatar
    with straight alpha, in the clip's own pixels. Raises InputError for a frame that the clip does not have.
    """
    video = read_video(clip)
    if not 0 <= frame < len(video.frames):
        raise InputError(f"there is no frame {frame} in {clip.name}: use 0 to {len(video.frames) - 1}")
    portrait = avatar = None
    for event in create_avatar(video.frames[frame], config):
        portrait, avatar = event.portrait or portrait, event.avatar or avatar
        yield event
    assert portrait is not None
    assert avatar is not None
    # Tracking begins at the frame that the portrait was made of.
    motion = track(chain([video.frames[frame]], video.frames), video.fps, portrait, avatar.head)
    last = len(video.frames) - 1
    for index in sorted({*range(0, last, stride), last}):
        one = slice(index + 1, index + 2)
        yield index, cut_out(avatar, motion.states[one], motion.cameras[one])


def cut_out(avatar: Avatar, state: HeadState, camera: Camera) -> UInt8[np.ndarray, "H W 4"]:
    """Draw an avatar as RGBA with straight alpha."""
    drawn = render(avatar, state, camera, background=0.0)
    color = drawn.color[0] / drawn.alpha[0, ..., None].clamp_min(1e-4)
    return (torch.cat([color, drawn.alpha[0, ..., None]], -1).clamp(0, 1) * 255 + 0.5).byte().numpy()
