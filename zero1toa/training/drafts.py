"""Renders of avatars that are not done yet, as the loop feeds them to its prior.

The draft begins as the program's own first avatar of the (damaged, misfitted) photo and is then spoilt as training leaves
it: holes, floaters, swollen splats, patches whose colours disagree from view to view, lids in the colours of eyes. A
share is drawn towards the truth, patch by patch, as avatars are late in training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from zero1toa.avatar.rigged import Avatar
from zero1toa.avatar.seed import SeedConfig, seed_avatar
from zero1toa.head.base import HeadModel
from zero1toa.render import rasterize
from zero1toa.render.photo import PhotoSurface
from zero1toa.training.noise import noise_at
from zero1toa.types import PARTS, Camera, Gaussians, HeadState, Identity, Render


@dataclass(frozen=True, slots=True)
class Spoiling:
    """How a draft is spoilt; every amount is 0 for not at all and about 1 for badly."""

    holes: float
    floaters: float
    swollen: float
    shaken: float
    stained: float
    disagreeing: float
    lids: float
    blur: float
    late: float  # share of the picture that has come near to the truth


def draw_spoiling(rng: np.random.Generator) -> Spoiling:
    """Draw what is wrong with a draft: a few things at a time, sometimes nothing."""
    some = lambda share, worst=1.0: float(rng.beta(1, 2) * worst) if rng.random() < share else 0.0
    return Spoiling(
        holes=some(0.4), floaters=some(0.22), swollen=some(0.4), shaken=some(0.4), stained=some(0.45), disagreeing=some(0.4),
        lids=some(0.3), blur=some(0.4), late=float(rng.random()) if rng.random() < 0.5 else 0.0,
    )  # fmt: skip


def first_avatar(
    photo: PhotoSurface, head: HeadModel, identity: Identity, state: HeadState, splats: int, rng: np.random.Generator
) -> Avatar:
    """Lay the first avatar as the program does, with fewer splats."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 40)))
    return seed_avatar(photo, head, identity, state, SeedConfig(splats=splats), generator)


@torch.no_grad()
def render_draft(
    avatar: Avatar,
    vertices: Float[Tensor, "T V 3"],
    cameras: Camera,
    truth: Float[Tensor, "T H W 3"],
    background: Float[Tensor, "3"],
    spoiling: Spoiling,
    rng: np.random.Generator,
) -> Render:
    """Render a spoilt avatar on posed meshes; `truth` is what a finished one would show."""
    spoilt = _spoil(avatar, spoiling, rng)
    render = rasterize(spoilt.on_vertices(vertices), cameras, background=background)
    color = render.color
    if spoiling.late:
        color = _towards(color, truth, spoiling.late, rng)
    if spoiling.disagreeing:
        color = _disagree(color, render.alpha, spoiling.disagreeing, rng)
    if spoiling.blur:
        color = _blurred(color, spoiling.blur * rng.uniform(0.3, 1.6))
    return Render(color.clamp(0, 1), render.alpha, render.depth)


def _spoil(avatar: Avatar, spoiling: Spoiling, rng: np.random.Generator) -> _Spoilt:
    """Spoil the splats themselves, which is alike in all views."""
    count = len(avatar)
    places = _resting_places(avatar)
    draw = lambda *shape: torch.from_numpy(rng.normal(size=shape)).float()
    patch = lambda scale: torch.from_numpy(noise_at(places, scale, int(rng.integers(1 << 30)), 2)).float()
    faint, shift, grow, stain = torch.zeros(count), torch.zeros(count, 3), torch.zeros(count, 1), torch.zeros(count, 3)
    if spoiling.holes:
        missing = (patch(0.03) > 0.75 - 0.55 * spoiling.holes) | (torch.from_numpy(rng.random(count)) < 0.4 * spoiling.holes**2)
        faint = torch.where(missing, -6.0 * float(rng.random()) - 1, faint)
    if spoiling.shaken:
        shift = shift + 0.4 * spoiling.shaken * draw(count, 3)
    if spoiling.floaters:
        loose = torch.from_numpy(rng.random(count)) < 0.015 * spoiling.floaters
        shift = torch.where(loose[:, None], shift + draw(count, 3) * 5, shift)
        stain = torch.where(loose[:, None], 0.14 * draw(count, 1) + 0.05 * draw(count, 3), stain)
        grow = torch.where(loose[:, None], grow + 0.8, grow)
    if spoiling.swollen:
        swell = 0.5 + patch(0.05)[:, None] if rng.random() < 0.5 else torch.ones(count, 1)
        grow = grow + spoiling.swollen * (swell + 0.3 * draw(count, 1)) * 0.9
    if spoiling.stained:
        wide = torch.stack([patch(0.04) for _ in range(3)], 1)
        stain = stain + spoiling.stained * (0.25 * wide + 0.08 * draw(count, 3))
    colors = avatar.color.detach() + stain / 0.28
    if spoiling.lids:
        # Lids that no picture has shown closed yet look like the eyes behind them, or like lashes.
        lids = avatar.head.surface.parts[avatar.face] == PARTS.index("eyelids")
        ink = torch.tensor(rng.choice([0.05, 0.35, 0.8]) * np.array([1, 0.97, 0.94]), dtype=torch.float32)
        wrong = lids & (patch(0.008) > 0.3 - spoiling.lids)
        colors = torch.where(wrong[:, None], torch.lerp(colors, (ink - 0.5) / 0.28, 0.4 + 0.5 * spoiling.lids), colors)
    return _Spoilt(avatar, faint, shift, grow, colors)


@dataclass(frozen=True, slots=True)
class _Spoilt:
    """An avatar with changes in the units of its parameters, but for colours, which replace its own."""

    avatar: Avatar
    faint: Float[Tensor, "N"]
    shift: Float[Tensor, "N 3"]
    grow: Float[Tensor, "N 1"]
    colors: Float[Tensor, "N 3"]

    def on_vertices(self, vertices: Float[Tensor, "T V 3"]) -> Gaussians:
        """Give the splats on posed meshes."""
        own = self.avatar
        changed = Avatar(
            own.head, own.identity, face=own.face, centre=own.centre.detach() + self.shift, quaternion=own.quaternion.detach(),
            log_scale=own.log_scale.detach() + self.grow, opacity_logit=own.opacity_logit.detach() + self.faint,
            color=self.colors, reach=own.reach,
        )  # fmt: skip
        posed = changed.on_vertices(vertices)
        return replace(posed, colors=posed.colors.clamp(0, 1))


def _resting_places(avatar: Avatar) -> Float[np.ndarray, "N 3"]:
    resting = avatar.pose(avatar.head.rest_state())
    return resting.means[0].double().numpy()


def _towards(color: Tensor, truth: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Blend in the truth, a little soft, in patches that stay where they are over the clip."""
    frames, height, width = color.shape[:3]
    mask = torch.from_numpy(rng.random((1, 1, 6, 6))).float()
    mask = interpolate(mask, (height, width), mode="bicubic", align_corners=False)[0, 0]
    mask = ((mask - (1 - share)) * 6 + 0.5).clamp(0, 1)[None, :, :, None] * rng.uniform(0.5, 1.0)
    return torch.lerp(color, _blurred(truth, rng.uniform(0.3, 1.5)), mask.expand(frames, -1, -1, 1))


def _disagree(color: Tensor, alpha: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """Tint patches differently from frame to frame, as views do that were painted one by one."""
    frames, height, width = color.shape[:3]
    tint = rng.normal(size=(3, 3, 5, 5)) * 0.09 * amount
    course = np.stack([np.cos(np.linspace(0, np.pi * k, frames) + rng.uniform(0, 6)) for k in (0.5, 1, 2)], 1)
    coarse = np.einsum("tk,kcyx->tcyx", course, tint) + rng.normal(size=(frames, 3, 1, 1)) * 0.02 * amount
    fine = interpolate(torch.from_numpy(coarse).float(), (height, width), mode="bicubic", align_corners=False)
    return color + fine.movedim(1, -1) * alpha[..., None]


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    import cv2

    return torch.stack(
        [torch.from_numpy(cv2.GaussianBlur(picture.numpy(), (0, 0), max(float(sigma), 0.1))) for picture in pictures]
    )
