"""The rasterizer for CPUs: numba kernels on 16 x 16 tiles, with derivatives for every Gaussian parameter.

project -> sort_by_depth -> deal -> blend, once per camera, and back again. Results do not depend on the number of
threads: every sum is taken in an order fixed by the input.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.render.base import PARALLEL, backgrounds, nonfinite_error
from zero1toa.render.blend import blend, blend_backward
from zero1toa.render.lanes import kernel
from zero1toa.render.project import COLUMNS, X0, project, project_backward
from zero1toa.render.tiles import TILE, deal, sort_by_depth
from zero1toa.types import Camera, Gaussians, Render

FIELDS = ("means", "quats", "scales", "opacities", "colors")


def rasterize_cpu(gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"]) -> Render:
    """Draw splats with numba; see `zero1toa.render.rasterize`."""
    behind = backgrounds(gaussians, cameras, background)
    parameters = [getattr(gaussians, field) for field in FIELDS]
    for field, value in zip(FIELDS, parameters, strict=True):
        if not _all_finite(_array(value.detach()).reshape(-1)):
            raise nonfinite_error(field)
    color, alpha, depth = _Rasterize.apply(
        *(value.float() for value in parameters),
        cameras.viewmats.detach().float(),
        cameras.intrinsics.detach().float(),
        behind.detach().float(),
        (cameras.height, cameras.width),
    )  # pyright: ignore[reportGeneralTypeIssues]
    return Render(color, alpha, depth)


@kernel()
def _all_finite(values):
    """Tell whether no exponent has all bits set; on integers, so that it vectorises."""
    most = np.int32(0)
    for bits in values.view(np.int32):
        most = max(most, bits & np.int32(0x7FFFFFFF))
    return most < np.int32(0x7F800000)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().contiguous().numpy()


def _table(count: int) -> np.ndarray:
    """Allocate the table of splats so that each row is one line of the cache: half as many misses as astride of two."""
    raw = np.empty((count + 1) * COLUMNS, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + count * COLUMNS].reshape(count, COLUMNS)


class _Rasterize(torch.autograd.Function):
    """The chain of kernels as one differentiable step."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, viewmats, intrinsics, background, size):
        frames, (height, width) = len(viewmats), size
        color, alpha, depth = means.new_empty(frames, height, width, 3), *means.new_empty(2, frames, height, width)
        parameters = [_array(value) for value in (means, quats, scales, opacities, colors)]
        views, ks, behind = _array(viewmats), _array(intrinsics), _array(background)
        images = [image.numpy() for image in (color, alpha, depth)]
        wanted = any(ctx.needs_input_grad)
        records = []
        with PARALLEL:
            for frame in range(frames):
                pose = [value[frame if len(value) > 1 else 0] for value in parameters]
                n = len(pose[0])
                splats, depths = _table(n), np.empty(n, np.float32)
                masks, corners = np.empty(n, np.int64), np.empty(n, np.int32)
                project(*pose, views[frame], ks[frame], width, height, splats, depths, masks, corners)
                order = sort_by_depth(depths)
                boxes = splats[:, X0 : X0 + 4]
                lists = deal(order, masks, corners, boxes, -(-width // TILE), -(-height // TILE), wanted)
                blend(splats, *lists[:2], behind[frame], *(image[frame] for image in images))
                if wanted:
                    records.append((splats, *lists))
        ctx.records = records
        ctx.save_for_backward(means, quats, scales, opacities, colors, viewmats, intrinsics, background, color, alpha, depth)
        return color, alpha, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *d_images):
        *parameters, viewmats, intrinsics, background, color, alpha, depth = ctx.saved_tensors
        values = [_array(value) for value in parameters]
        gradients = [np.zeros_like(value) for value in values]
        views, ks, behind = _array(viewmats), _array(intrinsics), _array(background)
        images = [image.numpy() for image in (color, alpha, depth)]
        d_images = [_array(gradient) for gradient in d_images]
        height, width = alpha.shape[1:]
        with PARALLEL:
            for frame, (splats, offsets, lists, first, places) in enumerate(ctx.records):
                pose = [value[frame if len(value) > 1 else 0] for value in values[:3]]
                d_pose = [value[frame if len(value) > 1 else 0] for value in gradients]
                seen = [image[frame] for image in (*images, *d_images)]
                moments = blend_backward(splats, offsets, lists, behind[frame], *seen)
                project_backward(*pose, views[frame], ks[frame], width, height, splats, first, places, moments, *d_pose)
        return *(torch.from_numpy(gradient) for gradient in gradients), None, None, None, None
