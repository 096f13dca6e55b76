"""One training example of a video prior: a clip of a synthetic person with everything that the loop would hand the prior.

Conditions are made by the program's own code from a damaged photo and an imperfect fit, so that they are those of a real
run: the photo's warp and its confidence are what the `projection` prior sees, the render is of the avatar it would seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from zero1toa.geometry.camera import project, resize
from zero1toa.head.linear import LinearHead
from zero1toa.head.reference import make_reference
from zero1toa.priors.base import ClipRequest
from zero1toa.priors.projection import project_photo
from zero1toa.render.photo import PhotoSurface
from zero1toa.training.acting import Take, draw_take
from zero1toa.training.body import Body
from zero1toa.training.drafts import draw_spoiling, first_avatar, render_draft
from zero1toa.training.features import find_features
from zero1toa.training.looks import Look, damage, draw_background, draw_look, draw_scramble
from zero1toa.training.misfit import Fit, misfit
from zero1toa.training.picture import Picture, develop, exposure_gain, take_picture
from zero1toa.training.recipe import Person, draw_person
from zero1toa.training.seen import seen_in_photo


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """What examples are like; shares and amounts are of the whole set."""

    frames: int = field(default=8, metadata={"help": "frames of a clip", "range": (1, 64)})
    size: int = field(default=256, metadata={"help": "pixels of a frame a side", "range": (32, 512)})
    photo_size: int = field(default=512, metadata={"help": "pixels of the photo a side", "range": (32, 1024)})
    supersample: int = field(default=2, metadata={"help": "samples of a frame's pixel a side", "range": (1, 4)})
    splats: int = field(default=16_000, metadata={"help": "splats of the draft", "range": (2_000, 100_000)})
    scrambled: float = field(default=0.4, metadata={"help": "share of examples with scrambled colours", "range": (0.0, 1.0)})
    painted: float = field(default=0.12, metadata={"help": "share of examples that are painted", "range": (0.0, 1.0)})
    damage: float = field(default=1.0, metadata={"help": "how much photos are damaged", "range": (0.0, 2.0)})
    misfit: float = field(default=1.0, metadata={"help": "how far the head model misses the photo", "range": (0.0, 3.0)})


@dataclass(frozen=True, slots=True)
class ClipExample:
    """A clip, what the prior is told about it, and where it has to invent. All on the CPU; pictures are in [0, 1].

    Truth: `frames` over `background`, `alpha`, `parts` (see `zero1toa.training.picture.Picture.label`), and `hidden`: 1
    where a pixel shows what the photo does not: the inside of the mouth, closed lids, the far sides of head and hair.
    Told: the `photo` (over its own background, which its `matte` takes away), landmarks (pixel x, pixel y, metres) of
    the fitted mesh, the photo's `warp` with its `confidence`, the draft's `render` with `render_alpha`.
    """

    seed: int
    kind: str
    scrambled: bool
    frames: Float[Tensor, "T H W 3"]
    alpha: Float[Tensor, "T H W"]
    parts: UInt8[Tensor, "T H W"]
    hidden: Float[Tensor, "T H W"]
    photo: Float[Tensor, "P P 3"]
    matte: Float[Tensor, "P P"]
    photo_landmarks: Float[Tensor, "478 3"]
    landmarks: Float[Tensor, "T 478 3"]
    warp: Float[Tensor, "T H W 3"]
    confidence: Float[Tensor, "T H W"]
    render: Float[Tensor, "T H W 3"]
    render_alpha: Float[Tensor, "T H W"]
    background: Float[Tensor, "3"]
    expression: Float[Tensor, "T 52"]


@lru_cache(maxsize=2)
def _features(head: LinearHead):
    return find_features(head)


def make_example(seed: int, head: LinearHead, config: ClipConfig | None = None) -> ClipExample:
    """Make the example of a seed; the same seed and config give the same pixels."""
    config = config or ClipConfig()
    rng = np.random.default_rng((seed, 0))
    person = draw_person(seed, head, _features(head))
    body = Body(person, head, _features(head))
    take = draw_take(rng, config.frames, config.photo_size)
    shot = _shoot(body, take, config)
    look = draw_look(rng, config.painted)
    truth, photo_colors = _developed(shot, person)
    fit = misfit(
        head, person.identity, take.photo_state, take.photo_camera, take.states, config.misfit * _misfit_amount(rng), rng
    )  # fmt: skip
    photo, matte, foreground = _photograph(photo_colors, shot.photo.alpha, look, config, rng)
    gray = rng.uniform(0, 1) if rng.random() < 0.25 else 0.5
    background = torch.full((3,), float(gray))
    frames = _over(look(truth), shot.alpha, background)
    request, surface = _request(head, fit, take, foreground, matte, background, config)
    avatar = first_avatar(surface, head, fit.identity, fit.photo_state, config.splats, rng)
    draft = render_draft(avatar, request.vertices, request.cameras, frames, background, draw_spoiling(rng), rng)
    request = replace(request, frames=draft.color, alpha=draft.alpha, depth=draft.depth)
    warp, confidence = project_photo(surface, request)
    example = ClipExample(
        seed=seed, kind=take.kind, scrambled=False, frames=frames, alpha=shot.alpha, parts=shot.parts, hidden=shot.hidden,
        photo=photo, matte=matte, photo_landmarks=request.reference.landmarks,
        landmarks=request.landmarks, warp=warp, confidence=confidence,
        render=draft.color, render_alpha=draft.alpha, background=background, expression=take.states.expression,
    )  # fmt: skip
    return scrambled(example, rng) if rng.random() < config.scrambled else example


def _misfit_amount(rng: np.random.Generator) -> float:
    """Draw how bad a fit is: a tenth are exact, most are like the program's, few are worse."""
    return 0.0 if rng.random() < 0.1 else float(rng.gamma(3.0, 0.33))


@dataclass(frozen=True, slots=True)
class _Shot:
    """The pictures of a take in linear light over nothing, the clip's already at its own size."""

    photo: Picture
    light: Float[np.ndarray, "T H W 3"]
    alpha: Float[Tensor, "T H W"]
    parts: UInt8[Tensor, "T H W"]
    hidden: Float[Tensor, "T H W"]


def _shoot(body: Body, take: Take, config: ClipConfig) -> _Shot:
    """Photograph the photo and the clip, and find out what of the clip the photo has seen."""
    photo, photo_pose = take_picture(body, take.photo_state, take.photo_camera)
    cameras = resize(take.cameras(take.photo_camera), config.size * config.supersample / config.photo_size)
    light, alpha, parts, hidden = [], [], [], []
    n = config.supersample
    pool = lambda values: values.reshape(config.size, n, config.size, n, *values.shape[2:]).mean((1, 3))
    for frame in range(config.frames):
        picture, _ = take_picture(body, take.states[frame : frame + 1], cameras[frame : frame + 1])
        unseen = 1.0 - seen_in_photo(body, picture, photo, photo_pose, take.photo_camera)
        light.append(pool(picture.light))
        alpha.append(pool(picture.alpha))
        hidden.append(pool(unseen * picture.alpha))
        parts.append(picture.label[::n, ::n])
    as_tensor = lambda values: torch.from_numpy(np.stack(values)).float()
    return _Shot(
        photo, np.stack(light), as_tensor(alpha), torch.from_numpy(np.stack(parts).astype(np.uint8)), as_tensor(hidden)
    )


def _developed(shot: _Shot, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Expose clip and photo alike; gives display colours that are not yet over any background."""
    gain = exposure_gain(shot.photo, person.exposure)
    clip = develop(shot.light / np.maximum(shot.alpha.numpy()[..., None], 1e-3), gain, person.contrast)
    return clip, develop(shot.photo.light / np.maximum(shot.photo.alpha[..., None], 1e-3), gain, person.contrast)


def _photograph(
    colors: np.ndarray, alpha: np.ndarray, look: Look, config: ClipConfig, rng: np.random.Generator
) -> tuple[Float[Tensor, "P P 3"], Float[Tensor, "P P"], Float[Tensor, "P P 3"]]:
    """Put the person before a background, damage the photo, and matte it as well as a matting does; the program's own
    estimate of the person's colours comes third."""
    import cv2

    from zero1toa.portrait.matting import estimate_foreground

    size = config.photo_size
    soft = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), 0.7 * size / 512)
    picture = colors * soft[..., None] + draw_background(rng, size) * (1 - soft[..., None])
    # One sample a pixel is too crisp for a photo.
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.6 * size / 512)
    photo = damage(look(picture, size / config.size), rng, config.damage)
    matte = soft
    if rng.random() < 0.6 * min(config.damage, 1.0):
        matte = cv2.GaussianBlur(matte, (0, 0), rng.uniform(0.5, 3) * size / 512)
        matte = np.clip((matte - 0.5) * rng.uniform(1, 2) + 0.5 + rng.normal() * 0.15, 0, 1).astype(np.float32)
    foreground = estimate_foreground((photo * 255 + 0.5).astype(np.uint8), matte)
    return torch.from_numpy(photo).float(), torch.from_numpy(matte).float(), torch.from_numpy(foreground).float() / 255


def _over(colors: np.ndarray, alpha: Tensor, background: Tensor) -> Float[Tensor, "T H W 3"]:
    """Put a clip over a plain background, in display values as splats are blended."""
    return torch.lerp(background, torch.from_numpy(colors).float(), alpha[..., None])


def _request(
    head: LinearHead, fit: Fit, take: Take, foreground: Tensor, matte: Tensor, background: Tensor, config: ClipConfig
) -> tuple[ClipRequest, PhotoSurface]:
    """Ask for the clip as the loop would, with the fitted head; what the avatar shows is still missing."""
    vertices = lambda state: head.vertices(fit.identity, state)
    reference = make_reference(foreground, matte, fit.photo_camera, head, fit.identity, fit.photo_state)
    cameras = resize(take.cameras(fit.photo_camera), config.size / config.photo_size)
    posed = vertices(fit.states)
    blank = torch.zeros(config.frames, config.size, config.size)
    request = ClipRequest(
        frames=blank[..., None].expand(-1, -1, -1, 3), alpha=blank, depth=blank,
        landmarks=project(head.landmarks(posed), cameras),
        cameras=cameras, vertices=posed, reference=reference, background=background, strength=1.0, generator=torch.Generator(),
    )  # fmt: skip
    return request, PhotoSurface(reference)


def scrambled(example: ClipExample, rng: np.random.Generator) -> ClipExample:
    """Map all colours of an example alike, so that copying is right and remembering what skin looks like is not."""
    scramble = draw_scramble(rng)
    mapped = {}
    for name in ("frames", "photo", "warp", "render", "background"):
        mapped[name] = torch.from_numpy(scramble(getattr(example, name).double().numpy())).float()
    return replace(example, scrambled=True, **mapped)
