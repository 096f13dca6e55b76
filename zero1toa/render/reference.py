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
    gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"], rows: slice = slice(None)
) -> Render:
    """Draw splats as `zero1toa.render.rasterize` does; `rows` picks rows of the image, to save memory."""
    behind = backgrounds(gaussians, cameras, background)
    frames = []
    for frame in range(len(cameras)):
        pose = [getattr(gaussians, field) for field in ("means", "quats", "scales", "opacities", "colors")]
        pose = [value[frame if len(value) > 1 else 0] for value in pose]
        frames.append(_draw(*pose, cameras[frame : frame + 1], behind[frame], rows))
    color, alpha, depth = (torch.stack(images) for images in zip(*frames, strict=True))
    return Render(color, alpha, depth)


def _project(means, quats, scales, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Give centres "N 2" in pixels, conics "N 2 2" and depths "N" (EWA splatting; the Jacobian is held as gsplat's is)."""
    view, k = camera.viewmats[0].to(means), camera.intrinsics[0].to(means)
    x, y, z = (means @ view[:3, :3].T + view[:3, 3]).unbind(-1)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = FOV_MARGIN * camera.width / (2 * fx), FOV_MARGIN * camera.height / (2 * fy)
    u = (x / z).clamp(-cx / fx - margin_x, (camera.width - cx) / fx + margin_x)
    v = (y / z).clamp(-cy / fy - margin_y, (camera.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], -1).unflatten(-1, (2, 3))
    a = jacobian @ view[:3, :3] @ quaternion_to_matrix(quats) @ torch.diag_embed(scales)
    covariance = a @ a.mT + LOW_PASS * torch.eye(2).to(means)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), torch.linalg.inv(covariance), z


def _draw(means, quats, scales, opacities, colors, camera: Camera, background, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one picture: colour "H W 3", alpha "H W", depth "H W"."""
    z = means @ camera.viewmats[0, 2, :3].to(means) + camera.viewmats[0, 2, 3].to(means)
    ahead = ((z >= NEAR) & (z <= FAR)).nonzero().squeeze(-1)
    order = ahead[torch.argsort(z[ahead].detach(), stable=True)]
    centers, conics, depths = _project(means[order], quats[order], scales[order], camera)
    ys = (torch.arange(camera.height).to(means) + 0.5)[rows]
    xs = torch.arange(camera.width).to(means) + 0.5
    dx, dy = xs[None, :, None] - centers[:, 0], ys[:, None, None] - centers[:, 1]
    a, b, c = conics[:, 0, 0], conics[:, 0, 1], conics[:, 1, 1]
    sigma = (a * dx * dx + c * dy * dy) / 2 + b * dx * dy
    alpha = (opacities[order] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    alpha = torch.where(torch.cumprod(1 - alpha, -1) > TRANSMITTANCE_MIN, alpha, 0.0)
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha], -1), -1)
    weights = alpha * through[..., :-1]
    cover = 1 - through[..., -1]
    color = weights @ colors[order] + through[..., -1:] * background.to(means)
    depth = torch.where(cover > 0, (weights @ depths) / cover.clamp_min(1e-12), 0.0)
    return color, cover, depth
