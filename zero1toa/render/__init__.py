"""Pictures of Gaussians: one function, two twins that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zero1toa.types import Camera, Gaussians, Render

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def rasterize(gaussians: Gaussians, cameras: Camera, *, background: Float[Tensor, "*B 3"]) -> Render:
    """Draw splats as `B` cameras see them: with gsplat on CUDA, else with numba kernels.

    Give one pose for all cameras or one per camera, and one background colour or one per camera. Derivatives
    flow to every Gaussian parameter, not to cameras or background. Colour follows 3D Gaussian Splatting
    (Kerbl et al. 2023, eq. 3) with the constants in `zero1toa.render.base`; alpha is one minus the final
    transmittance; depth is the blended depth over alpha. Splats whose centre is nearer than 1 cm are not drawn.
    Density control that needs to know where the image pulls may take the gradients of `means`, in the world.

    Raises ValueError if shapes do not fit or a parameter has NaN or infinite values, and says which.
    """
    match gaussians.means.device.type:
        case "cuda":
            from zero1toa.render.cuda import rasterize_cuda

            return rasterize_cuda(gaussians, cameras, background=background)
        case _:
            from zero1toa.render.cpu import rasterize_cpu

            return rasterize_cpu(gaussians, cameras, background=background)
