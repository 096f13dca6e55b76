"""The rasterizer for CUDA: gsplat's kernels behind the same door."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.render.base import FAR, LOW_PASS, NEAR, backgrounds, nonfinite_error
from zero1toa.types import Camera, Gaussians, Render

FIELDS = ("means", "quats", "scales", "opacities", "colors")


def rasterize_cuda(gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"]) -> Render:
    """Draw splats with gsplat; see `zero1toa.render.rasterize`."""
    from gsplat import rasterization

    behind = backgrounds(gaussians, cameras, background.to(gaussians.means))
    values = [getattr(gaussians, field) for field in FIELDS]
    finite = torch.stack([torch.isfinite(value).all() for value in values])
    if not finite.all():  # one wait for the device in the good case
        raise nonfinite_error(FIELDS[int(finite.int().argmin())])
    means, quats, scales, opacities, colors = (value.float() for value in values)
    viewmats, intrinsics = cameras.viewmats.to(means).detach(), cameras.intrinsics.to(means).detach()
    height, width = cameras.height, cameras.width
    if means.shape[1] == 0:
        # Adding what is empty keeps the picture part of the graph, so that backward finds its way.
        nothing = sum(value.sum() for value in (means, quats, scales, opacities, colors))
        empty = means.new_zeros(len(cameras), height, width) + nothing
        return Render(behind[:, None, None] + empty[..., None], empty, empty.clone())
    if means.shape[0] == 1:
        # One pose, many cameras: gsplat's batch has one scene.
        behind, viewmats, intrinsics = behind[None], viewmats[None], intrinsics[None]
    else:
        # One pose per camera: as many scenes with one camera each.
        behind, viewmats, intrinsics = behind[:, None], viewmats[:, None], intrinsics[:, None]
    image, alpha, _ = rasterization(
        means, quats, scales, opacities, colors, viewmats, intrinsics, width, height,
        near_plane=NEAR, far_plane=FAR, eps2d=LOW_PASS, packed=False,
        backgrounds=behind, render_mode="RGB+ED", rasterize_mode="classic", camera_model="pinhole",
    )  # fmt: skip
    image, alpha = image.reshape(-1, height, width, 4), alpha.reshape(-1, height, width)
    return Render(image[..., :3], alpha, image[..., 3])
