"""What stays the same during a run: the photo, the head that moves, the clips, and how they are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from zero1toa.avatar.rigged import Avatar
from zero1toa.geometry.camera import center, orbit_about, project, resize
from zero1toa.head.base import HeadModel
from zero1toa.head.reference import portrait_reference
from zero1toa.priors.base import ClipRequest
from zero1toa.render import rasterize
from zero1toa.symgen.curriculum import Curriculum, middle_of_head, pick
from zero1toa.symgen.dataset import ClipDataset
from zero1toa.types import Camera, Portrait, Reference, Render

# Poses drawn at once: enough to keep the cores busy, few enough that 100k splats stay in the cache's neighbourhood.
CHUNK = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture to learn from; no other has its `mark`. `alpha` is known only for the photo."""

    camera: Camera
    vertices: Float[Tensor, "1 V 3"]
    picture: Float[Tensor, "H W 3"]
    mark: tuple[float, ...]
    alpha: Float[Tensor, "H W"] | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything about a run that training does not change. `size` is the width of its pictures in pixels."""

    head: HeadModel
    portrait: Portrait
    curriculum: Curriculum
    background: Float[Tensor, "3"]
    size: int
    target: Float[Tensor, "3"]
    _vertices: dict[int, Float[Tensor, "T V 3"]] = field(default_factory=dict)
    _photos: dict[float, Frame] = field(default_factory=dict)
    _references: list[Reference] = field(default_factory=list)

    @classmethod
    def build(cls, head: HeadModel, portrait: Portrait, curriculum: Curriculum, *, size: int, background: float) -> Scene:
        """Set the scene on the device of the portrait."""
        color = torch.full((3,), background, device=portrait.image.device)
        return cls(head, portrait, curriculum, color, size, middle_of_head(head, portrait))

    def metres_per_half_image(self) -> float:
        """Give what half the picture's width measures at the head, the unit of density control."""
        camera = self.portrait.camera
        distance = float((center(camera)[0] - self.target).norm())
        return distance * camera.width / 2 / float(camera.intrinsics[0, 0, 0])

    def photo(self, scale: float) -> Frame:
        """Give the photo over the background, as large as all frames of this `scale` are."""
        if scale not in self._photos:
            with torch.no_grad():
                vertices = self.head.vertices(self.portrait.identity, self.portrait.state[:1])
            camera = self._resized(self.portrait.camera, scale)
            matted = torch.cat([self.portrait.image, self.portrait.alpha[..., None]], -1)
            picture, alpha = _shrink(matted, camera).split([3, 1], -1)
            # Blended after shrinking: edges are then mixed with the background exactly as splats are.
            picture = picture * alpha + self.background * (1 - alpha)
            self._photos[scale] = Frame(camera, vertices, picture, (scale,), alpha[..., 0])
        return self._photos[scale]

    def frame(self, dataset: ClipDataset, clip: int, index: int, scale: float) -> Frame:
        """Give a frame of the data set with the camera it was made for."""
        cameras = self.cameras(clip, dataset.unrolled[clip])
        vertices = self.vertices(clip)
        camera = resize(cameras[index : index + 1], scale)
        picture = _shrink(dataset.read(clip, index).to(self.background), camera)
        return Frame(camera, vertices[index : index + 1], picture, (scale, clip, dataset.updated[clip], index))

    def vertices(self, clip: int) -> Float[Tensor, "T V 3"]:
        """Give the posed mesh of every frame of a clip; made once, as neither the person nor the clip changes."""
        if clip not in self._vertices:
            states = self.curriculum.clips[clip].states
            with torch.no_grad():
                still = self.curriculum.clips[clip].stage == "side"
                posed = self.head.vertices(self.portrait.identity, states[:1] if still else states)
            self._vertices[clip] = posed.expand(len(states), -1, -1)
        return self._vertices[clip]

    def cameras(self, clip: int, unrolled: int) -> Camera:
        """Give a clip's cameras, at full size, when `unrolled` poses of its path are in use."""
        made = self.curriculum.clips[clip]
        return self._resized(pick(made.cameras, self.curriculum.order(made, unrolled)), 1.0)

    @torch.no_grad()
    def request(
        self,
        avatar: Avatar,
        clip: int,
        unrolled: int,
        *,
        strength: float,
        generator: torch.Generator,
        frames: slice = slice(None),
    ) -> ClipRequest:
        """Render a clip, or some of its frames, as the avatar shows it now and ask for it again (SymGEN, step 1)."""
        order = self.curriculum.order(self.curriculum.clips[clip], unrolled).to(self.background.device)[frames]
        first = int(order.min())
        cameras, vertices = self.cameras(clip, unrolled), self.vertices(clip)
        # While a path unrolls most of its frames are the same; each pose is drawn once.
        poses, order = slice(first, int(order.max()) + 1), order - first
        render = self._render(avatar, vertices[poses], cameras[poses], still=self.curriculum.clips[clip].stage == "side")
        seen = project(self.head.landmarks(vertices[poses]), cameras[poses])
        return ClipRequest(
            frames=render.color[order],
            alpha=render.alpha[order],
            depth=render.depth[order],
            landmarks=seen[order],
            cameras=cameras[frames],
            vertices=vertices[frames],
            reference=self.reference(),
            background=self.background,
            strength=strength,
            generator=generator,
        )

    def reference(self) -> Reference:
        """Give the photo as a prior sees it, always the same one: what a prior finds out about it, it keeps."""
        if not self._references:
            self._references.append(portrait_reference(self.portrait, self.head))
        return self._references[0]

    @torch.no_grad()
    def preview(self, avatar: Avatar, seconds: float) -> UInt8[np.ndarray, "H W 3"]:
        """Draw the avatar in the photo's pose from a camera that swings by 30 degrees, once in 12 seconds."""
        yaw = torch.tensor([30 * math.sin(2 * math.pi * seconds / 12)]).to(self.target)
        camera = orbit_about(self.portrait.camera, yaw, torch.zeros_like(yaw), target=self.target)
        camera = resize(camera, min(self.size, 384) / camera.width)
        posed = avatar.on_vertices(self.photo(1.0).vertices)
        return to_bytes(rasterize(posed, camera, background=self.background).color[0])

    def _resized(self, camera: Camera, scale: float) -> Camera:
        return resize(camera, scale * self.size / camera.width)

    def _render(self, avatar: Avatar, vertices: Float[Tensor, "T V 3"], cameras: Camera, *, still: bool) -> Render:
        """Draw a clip a few frames at a time; one pose does for all frames of a clip that holds its expression."""
        parts = []
        for start in range(0, len(cameras), CHUNK):
            part = slice(start, start + CHUNK)
            posed = avatar.on_vertices(vertices[:1] if still else vertices[part])
            parts.append(rasterize(posed, cameras[part], background=self.background))
        return Render(*(torch.cat([getattr(part, name) for part in parts]) for name in ("color", "alpha", "depth")))


def to_bytes(picture: Float[Tensor, "*T H W 3"]) -> UInt8[np.ndarray, "*T H W 3"]:
    """Turn pictures in [0, 1] into bytes for people."""
    return (picture.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()


def _shrink(picture: Float[Tensor, "H W C"], camera: Camera) -> Float[Tensor, "H W C"]:
    """Resize a picture to what a camera sees, every pixel the mean of those it covers."""
    if picture.shape[:2] == (camera.height, camera.width):
        return picture
    area = interpolate(picture.movedim(-1, 0)[None], (camera.height, camera.width), mode="area")
    return area[0].movedim(0, -1)
