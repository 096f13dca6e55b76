"""The prior that ships with the program: a small video diffusion model that copies what the photo knows and invents the rest.

It looks at every frame's face, 96 pixels wide, and what it decides there (where to take colours from, how to shade them) is
then applied to the request's own pixels, so that what is copied stays as sharp as the photo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.priors.embedded.conditions import PAINTED, SIZE, photo_input, pictures_first
from zero1toa.priors.embedded.model import Conditions, CopyUNet, Recipe, compose, known_share
from zero1toa.priors.embedded.windows import Windows, cut, face_windows, lay, move, see
from zero1toa.priors.noise import TRAIN_STEPS, Schedule, alphas_kept, begin, chosen_start, denoise, zero_snr_schedule
from zero1toa.priors.pictures import keep_background, load_pretrained
from zero1toa.priors.projection import FILLED, ProjectionPrior
from zero1toa.priors.tuning import precision, tune
from zero1toa.priors.windows import blend, windows
from zero1toa.render.mesh import rasterize_mesh
from zero1toa.types import PARTS, Reference, on_device

WEIGHTS = Path(str(files("zero1toa.priors.embedded"))) / "weights"
# One, from pure noise: more add grain and no likeness, and what is begun from the render stays too near to it.
STEPS = 1
# Frames that were learnt from at once, and how many of them windows of longer clips share.
WINDOW, OVERLAP = 8, 2
# Pixels of the soft rim inside what it may paint.
RIM = 7
# From the first confidence of the warp on, what the network paints gives way to what `projection` gives, and has from the
# second; a mirror image is at 0.6 at most. Tuned on six real clips (0.02 dB above `projection` on faces, 0.25 on hidden skin;
# without it 0.04 below and 0.23 above), where unseen synthetic people lose 0.08 of 1.28 dB on hidden skin.
GIVES_WAY = (0.4, 0.7)
# Guidance compares with what the network gives without landmarks and photo, but with warp and render.
UNGUIDED = (0.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Sight:
    """A clip as the network sees it, where its faces are, and what `projection` knows of it in the clip's own pixels."""

    conditions: Conditions
    windows: Windows
    warp: Float[Tensor, "T H W 3"]
    trust: Float[Tensor, "T H W"]


class EmbeddedPrior:
    """Regenerate clips by the embedded network. Raises PriorError for settings that mean nothing or damaged weights."""

    def __init__(self, config: DiffusionConfig, device: torch.device, *, weights: Path = WEIGHTS) -> None:
        self._start = chosen_start(config.start, own="sdedit")
        self._config, self._device, self._dtype = config, device, precision(config, device)
        self._net = cast("CopyUNet", load_pretrained(CopyUNet, weights, device, self._dtype))
        tune(self._net, config)
        self._steps, self._guidance = config.steps or STEPS, config.guidance or 1.0
        self._projection = ProjectionPrior()
        self._studied: tuple[Reference, Tensor, tuple[Tensor, ...]] | None = None
        self.name = f"embedded ({self._steps} step{'s' * (self._steps > 1)}, guidance {self._guidance:g}, {self._start})"

    @torch.no_grad()
    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give the clip as the network composes it on the skin of face and neck, elsewhere as `projection` does."""
        schedule = zero_snr_schedule(self._steps).last(request.strength)
        return self._painted(request, schedule, self._start) if len(schedule) else request.frames

    @torch.no_grad()
    def predict_clean(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Noise the clip to the level `strength` of the whole and give, by one pass of the network, the clean clip."""
        timestep = max(1, round(request.strength * (TRAIN_STEPS - 1)))
        angle = math.acos(math.sqrt(float(alphas_kept()[timestep])))
        return self._painted(request, Schedule((timestep,), (angle, 0.0)), "sdedit")

    def _painted(self, request: ClipRequest, schedule: Schedule, start: str) -> Float[Tensor, "T H W 3"]:
        """Begin a clip in one of the ways in `STARTS`, denoise it, and bring it to the request's own pixels."""
        sight = self._look(request)
        clean = sight.conditions.render[0] * 2 - 1
        config, chance = self._config, request.generator
        # Guidance leads away from the render, so it has no part in finding the render's noise.
        plain, velocity = (_Painter(self, sight, schedule, guidance) for guidance in (1.0, self._guidance))
        noisy = begin(start, plain, clean, schedule, passes=config.passes, generator=chance)
        painted = denoise(velocity, noisy, schedule, eta=config.eta, generator=chance)
        projected = torch.lerp(request.frames, sight.warp, (sight.trust * request.strength)[..., None])
        faces = velocity.enlarged(painted, request.frames)
        whole = lay(faces, projected, sight.windows)
        inside = lay([torch.ones(face.shape[:2]) for face in faces], torch.zeros_like(sight.trust), sight.windows)
        # The network's own answer is coarser than the request's pixels, and no better where the photo is to be trusted.
        paints = _softened(_skin(request, sight.trust) * inside) * (1 - known_share(sight.trust, *GIVES_WAY))
        return keep_background(torch.lerp(projected, whole, paints[..., None]), request)

    def recipe(self, sample: Float[Tensor, "T 3 S S"], timestep: float, angle: float, conditions: Conditions) -> Tensor:
        """Say how to compose the clean pictures of a noisy sample, window by window."""
        assert self._studied is not None
        studied = self._studied[2]
        level = lambda value: torch.tensor([value], device=self._device, dtype=self._dtype)

        def see(part_of_sample: Tensor, part: slice) -> Tensor:
            seen = part_of_sample[None, :, :3].to(self._dtype)
            recipe = self._net(seen, level(timestep), level(angle), conditions.of(part), studied)
            return recipe.float()

        # Windows are blended in what the network says, which has more channels than the sample.
        wide = torch.cat([sample, sample.new_zeros(len(sample), 10, *sample.shape[2:])], 1)
        config = self._config
        overlap = OVERLAP if config.overlap is None else config.overlap
        return blend(see, wide, windows(len(sample), config.window or WINDOW, overlap))

    def _look(self, request: ClipRequest) -> _Sight:
        """Gather what the network is told of a clip."""
        warp, trust = self._projection.project(request)
        windows = face_windows(request.landmarks)
        small = lambda pictures: pictures_first(see(pictures, windows, SIZE))[None]
        conditions = Conditions(
            warp=small(warp),
            confidence=small(trust[..., None]),
            render=small(request.frames),
            coverage=small(request.alpha[..., None]),
            landmarks=pictures_first(draw_landmarks(move(request.landmarks, windows, SIZE), SIZE, SIZE))[None],
            photo=self._study(request),
            told=torch.ones(1, 4),
        )
        return _Sight(conditions.to(self._device, self._dtype), windows, warp, trust)

    def _study(self, request: ClipRequest) -> Tensor:
        """Look at a photo once, however many clips it serves."""
        reference = request.reference
        if self._studied is None or self._studied[0] is not reference:
            photo = photo_input(reference.image, reference.alpha, reference.landmarks, SIZE)[None]
            photo = photo.to(self._device, self._dtype)
            self._studied = reference, photo, self._net.study(photo)
        return self._studied[1]


def _skin(request: ClipRequest, trust: Float[Tensor, "T H W"]) -> Float[Tensor, "T H W"]:
    """Mark what the network may paint: face and neck where no hair hangs before them.

    Everywhere else the loop would add up what it is unsure of: it draws outlines soft and teeth grey, a little more in every
    round, until heads are wrapped in smoke and clothes in fog.
    """
    surface, cpu = request.reference.surface, torch.device("cpu")
    here = on_device(request, cpu)
    face = rasterize_mesh(here.vertices, surface.faces.to(cpu), here.cameras).face.long()
    painted = torch.tensor([PARTS.index(part) for part in PAINTED])
    skin = (face >= 0) & torch.isin(surface.parts.to(cpu)[face.clamp_min(0)], painted)
    return skin.to(trust) * (trust / FILLED).clamp(0, 1)


def _softened(mask: Float[Tensor, "T H W"]) -> Float[Tensor, "T H W"]:
    """Let a mask fade out before its rim."""
    inner = -max_pool2d(-mask[:, None], RIM, 1, RIM // 2)
    return avg_pool2d(inner, RIM, 1, RIM // 2, count_include_pad=False)[:, 0]


class _Painter:
    """Make the network a velocity of the sample (see `zero1toa.priors.noise`), and remember its last recipe."""

    def __init__(self, prior: EmbeddedPrior, sight: _Sight, schedule: Schedule, guidance: float) -> None:
        self._prior, self._sight, self._schedule, self._guidance = prior, sight, schedule, guidance
        told = sight.conditions
        self._warp, self._render = told.warp[0].float(), told.render[0].float()
        self._untold = replace(told, told=told.told * told.told.new_tensor(UNGUIDED))

    def __call__(self, sample: Float[Tensor, "T 3 S S"], timestep: float, step: int) -> Float[Tensor, "T 3 S S"]:
        """Give v of a noisy sample."""
        angle = self._schedule.angles[step]
        left = (math.cos(angle) * sample + 1) / 2
        see = lambda told: self._prior.recipe(sample, timestep, angle, told)
        self._recipe, self._left = see(self._sight.conditions), left
        clean = self._composed()
        if self._guidance != 1:
            untold = compose(see(self._untold), self._warp, self._render, left)
            clean = untold + self._guidance * (clean - untold)
        return (math.cos(angle) * sample - (2 * clean - 1)) / math.sin(angle)

    def enlarged(self, painted: Float[Tensor, "T 3 S S"], frames: Float[Tensor, "T H W 3"]) -> list[Float[Tensor, "s s 3"]]:
        """Give the painted faces, in [0, 1], in the pixels of the clip: composed of its own sources by the last recipe.

        What was painted otherwise than by that recipe, by guidance, is added.
        """
        beyond = (painted + 1) / 2 - self._composed()
        sources = (cut(pictures, self._sight.windows) for pictures in (self._sight.warp, frames))
        each = zip(self._recipe.split(1), self._left.split(1), beyond.split(1), *sources, strict=True)
        return [_in_own_pixels(*parts) for parts in each]

    def _composed(self) -> Float[Tensor, "T 3 S S"]:
        return compose(self._recipe, self._warp, self._render, self._left)


def _in_own_pixels(
    recipe: Recipe, left: Tensor, beyond: Tensor, warp: Float[Tensor, "s s 3"], render: Float[Tensor, "s s 3"]
) -> Float[Tensor, "s s 3"]:
    """Compose a face of larger sources, and add what lies beyond its recipe."""
    larger = lambda picture: interpolate(picture, warp.shape[:2], mode="bilinear")
    own = lambda square: pictures_first(square)[None].to(recipe)
    face = compose(recipe, own(warp), own(render), larger(left)) + larger(beyond)
    return face[0].movedim(0, -1).clamp(0, 1).to(render)
