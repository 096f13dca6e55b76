"""The rasterizer as a page of PyTorch: every splat at every pixel, in the precision of its inputs.

It owns correctness: both twins are tested against it, its derivatives are autograd's, and benchmarks name it as
the baseline. Memory grows with splats times pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.geometry.rotation import quaternion_to_matrix
from zero1toa.render.base import ALPHA_MAX, ALPHA_MIN, FAR, FOV_MARGIN, LOW_PASS, NEAR, TRANSMITTANCE_MIN, backgrounds
from zero1toa.types import Camera, Gaussians, Render


def rasterize_dense(
    gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"], tile: int | None = None
) -> Render:
    """Draw splats as `zero1toa.render.rasterize` does.

    With `tile`, the picture is drawn in squares of that many pixels a side, each with only those splats whose
    bounding box of 3.33 standard deviations touches it: the same picture in less time and memory.
    """
    behind = backgrounds(gaussians, cameras, background)
    frames = []
    for frame in range(len(cameras)):
        fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors)
        means, quats, scales, opacities, colors = (value[frame if len(value) > 1 else 0] for value in fields)
        splats = _project(means, quats, scales, opacities, colors, cameras[frame : frame + 1])
        frames.append(_draw(splats, cameras.height, cameras.width, behind[frame].to(means), tile))
    return Render(*(torch.stack(images) for images in zip(*frames, strict=True)))


def _project(means, quats, scales, opacities, colors, camera: Camera) -> tuple[Tensor, ...]:
    """Give what is ahead, near to far: centres "N 2" and covariances "N 2 2" in pixels, depths, opacities, colours.

    EWA splatting (Zwicker et al. 2001), with the Jacobian held near the frame as gsplat does.
    """
    view, k = camera.viewmats[0].to(means), camera.intrinsics[0].to(means)
    seen = means @ view[:3, :3].T + view[:3, 3]
    ahead = ((seen[:, 2] >= NEAR) & (seen[:, 2] <= FAR)).nonzero().squeeze(-1)
    order = ahead[torch.argsort(seen[ahead, 2].detach(), stable=True)]
    x, y, z = seen[order].unbind(-1)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = FOV_MARGIN * camera.width / (2 * fx), FOV_MARGIN * camera.height / (2 * fy)
    u = (x / z).clamp(-cx / fx - margin_x, (camera.width - cx) / fx + margin_x)
    v = (y / z).clamp(-cy / fy - margin_y, (camera.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], -1).unflatten(-1, (2, 3))
    a = jacobian @ view[:3, :3] @ (quaternion_to_matrix(quats[order]) * scales[order, None, :])
    covariances = a @ a.mT + LOW_PASS * torch.eye(2).to(means)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), covariances, z, opacities[order], colors[order]


def _draw(splats: tuple[Tensor, ...], height: int, width: int, background: Tensor, tile: int | None) -> tuple[Tensor, ...]:
    """Draw one picture: colour "H W 3", alpha "H W", depth "H W"."""
    if tile is None:
        return _composite(splats, range(height), range(width), background)
    centers, covariances = splats[0].detach(), splats[1].detach()
    radii = 3.33 * covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    low, high = centers - radii, centers + radii
    rows = []
    for top in range(0, height, tile):
        in_row = ((low[:, 1] < top + tile) & (high[:, 1] > top)).nonzero().squeeze(-1)
        band, left_of, right_of = [value[in_row] for value in splats], low[in_row, 0], high[in_row, 0]
        row = []
        for left in range(0, width, tile):
            touching = ((left_of < left + tile) & (right_of > left)).nonzero().squeeze(-1)
            ys, xs = range(top, min(top + tile, height)), range(left, min(left + tile, width))
            row.append(_composite(tuple(value[touching] for value in band), ys, xs, background))
        rows.append(tuple(torch.cat(images, 1) for images in zip(*row, strict=True)))
    return tuple(torch.cat(images, 0) for images in zip(*rows, strict=True))


def _composite(splats: tuple[Tensor, ...], rows: range, columns: range, background: Tensor) -> tuple[Tensor, ...]:
    """Blend every splat at every pixel of a rectangle, front to back."""
    centers, covariances, depths, opacities, colors = splats
    conics = torch.linalg.inv(covariances)
    ys, xs = torch.tensor(rows).to(centers) + 0.5, torch.tensor(columns).to(centers) + 0.5
    dx, dy = xs[None, :, None] - centers[:, 0], ys[:, None, None] - centers[:, 1]
    a, b, c = conics[:, 0, 0], conics[:, 0, 1], conics[:, 1, 1]
    sigma = (a * dx * dx + c * dy * dy) / 2 + b * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    alpha = torch.where(torch.cumprod(1 - alpha, -1) > TRANSMITTANCE_MIN, alpha, 0.0)
    through = torch.cumprod(torch.nn.functional.pad(1 - alpha, (1, 0), value=1.0), -1)
    weights = alpha * through[..., :-1]
    cover = 1 - through[..., -1]
    color = weights @ colors + through[..., -1:] * background
    depth = torch.where(cover > 0, (weights @ depths) / cover.clamp_min(1e-12), 0.0)
    return color, cover, depth
