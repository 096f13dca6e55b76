"""The rasterizer for CUDA: gsplat's kernels behind the same door."""

from __future__ import annotations

import functools
import logging

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.render.base import FAR, LOW_PASS, NEAR, backgrounds, nonfinite_error
from zero1toa.render.cpu import rasterize_cpu
from zero1toa.types import Camera, Gaussians, Render, on_device

log = logging.getLogger(__name__)

FIELDS = ("means", "quats", "scales", "opacities", "colors")


@functools.cache
def missing_kernels() -> str:
    """Say why gsplat's kernels cannot be used, or nothing; they are compiled now if they never were."""
    try:
        from gsplat.cuda._backend import _C  # pyright: ignore[reportAttributeAccessIssue]: made when it loads
    except Exception as error:  # compilers and loaders fail in many ways
        return f"gsplat: {type(error).__name__}: {error}"
    return "" if _C is not None else "gsplat has no kernels and found no CUDA toolkit to compile them with"


def rasterize_elsewhere(gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"]) -> Render:
    """Draw splats of any device on the CPU, slowly; gradients find their way back."""
    here, there = torch.device("cpu"), gaussians.means.device
    render = rasterize_cpu(on_device(gaussians, here), on_device(cameras, here), background=background.to(here))
    return on_device(render, there)


def rasterize_cuda(gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"]) -> Render:
    """Draw splats with gsplat, or on the CPU where it has no kernels; see `zero1toa.render.rasterize`."""
    if reason := missing_kernels():
        _warn(reason)
        return rasterize_elsewhere(gaussians, cameras, background=background)
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


@functools.cache
def _warn(reason: str) -> None:
    """Say once why it is slow."""
    log.warning("splats are drawn on the CPU: %s; `zero1toa doctor` says how to get the kernels", reason)
