"""The prior that learns nothing: the photo itself, warped through the fitted mesh into every frame.

Where the photo sees the surface, its pixels are right in every view and expression. Elsewhere its mirror image, and
then a fill along the surface, stand in for it, each with less confidence; the avatar's own render has the rest: hair
off the mesh, the background, whatever hangs in front of the face. What learned priors add must beat this.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from zero1toa.priors.base import ClipRequest
from zero1toa.render.mesh import Fragments, rasterize_mesh
from zero1toa.render.photo import PhotoSurface
from zero1toa.types import Reference, on_device

# A render that lies this far in front of the mesh, in metres, is hair or clothes and stays.
IN_FRONT = 0.012
# A filled-in colour still weighs this much against a render, so that holes close and wrong colours fade.
FILLED = 0.25


class ProjectionPrior:
    """Regenerate clips by warping the reference portrait; deterministic, no weights."""

    name = "projection"

    def __init__(self) -> None:
        self._photo: tuple[Reference, PhotoSurface] | None = None

    def regenerate(self, request: ClipRequest) -> Float[Tensor, "T H W 3"]:
        """Give each frame as the photo's warp where it is known and as the render elsewhere."""
        warped, trust = self.project(request)
        return torch.lerp(request.frames, warped, (trust * request.strength)[..., None])

    def project(self, request: ClipRequest) -> tuple[Float[Tensor, "T H W 3"], Float[Tensor, "T H W"]]:
        """Do as `project_photo` does, wherever the request is."""
        warped, trust = project_photo(self._surface(request.reference), on_device(request, torch.device("cpu")))
        return warped.to(request.frames), trust.to(request.frames)

    def _surface(self, reference: Reference) -> PhotoSurface:
        """Study a reference once, however many clips it serves."""
        if self._photo is None or self._photo[0] is not reference:
            self._photo = reference, PhotoSurface(on_device(reference, torch.device("cpu")))
        return self._photo[1]


def project_photo(photo: PhotoSurface, request: ClipRequest) -> tuple[Float[Tensor, "T H W 3"], Float[Tensor, "T H W"]]:
    """Warp the photo through the mesh into every frame; give the pictures, and how far to trust them against the render.

    Meshes are drawn on the CPU, so all of the request must be there.
    """
    fragments = rasterize_mesh(request.vertices, photo.faces, request.cameras)
    warped, trust = zip(
        *(_warp(photo, fragments, request.vertices[frame], frame) for frame in range(len(request.frames))), strict=True
    )
    return torch.stack(warped), _smooth(torch.stack(trust) * _unhidden(request, fragments))


def _warp(photo: PhotoSurface, fragments: Fragments, vertices: Float[Tensor, "V 3"], frame: int) -> tuple[Tensor, Tensor]:
    """Colour one frame's fragments; give the picture (H, W, 3) and how far to trust it (H, W)."""
    face = fragments.face[frame].long()
    covered = face >= 0
    color, confidence = photo.colors(face[covered], fragments.barycentric[frame][covered], vertices)
    picture, trust = torch.zeros(*face.shape, 3), torch.zeros(face.shape)
    picture[covered] = color
    trust[covered] = confidence.clamp_min(FILLED)
    return picture, trust


def _unhidden(request: ClipRequest, fragments: Fragments) -> Float[Tensor, "T H W"]:
    """Give 0 where the render has something before the mesh, or where the person's outline has left it bare."""
    nothing_before = request.depth > fragments.depth - IN_FRONT
    return nothing_before * ((request.alpha - 0.3) / 0.5).clamp(0, 1)


def _smooth(trust: Float[Tensor, "T H W"]) -> Float[Tensor, "T H W"]:
    """Soften the seams of a trust map within each frame and over neighbouring frames."""
    soft = avg_pool2d(trust[:, None], 5, 1, 2, count_include_pad=False)[:, 0]
    soft = torch.minimum(soft, trust)
    if len(soft) < 3:
        return soft
    return torch.cat([soft[:1], (soft[:-2] + 2 * soft[1:-1] + soft[2:]) / 4, soft[-1:]])
