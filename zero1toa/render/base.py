"""What both twins of the rasterizer agree on: the numbers of the image model, and which inputs they refuse.

The image model is that of 3D Gaussian Splatting (Kerbl et al. 2023) as gsplat 1.5.3 implements it in its
"classic" mode, so that an avatar made by one twin looks the same in the other.
"""

from __future__ import annotations

import threading

from jaxtyping import Float
from torch import Tensor

from zero1toa.types import Camera, Gaussians

NEAR, FAR = 0.01, 1e10  # metres; centres outside are not drawn
LOW_PASS = 0.3  # pixels squared, added to both variances so that no splat falls between pixels
ALPHA_MIN = 1 / 255  # fainter than this at a pixel, a splat is skipped there
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4  # a pixel is full before the splat that would leave less than this
FOV_MARGIN = 0.3  # the Jacobian is taken no farther outside the frame than this part of half of it

# numba's fallback thread pool ends the process when two Python threads enter its parallel kernels at once.
PARALLEL = threading.Lock()


def backgrounds(gaussians: Gaussians, cameras: Camera, background: Float[Tensor, "*B 3"]) -> Float[Tensor, "B 3"]:
    """Check the shapes that `rasterize` was given and repeat the background for every camera."""
    frames, poses = len(cameras), gaussians.means.shape[0]
    if poses not in (1, frames):
        raise ValueError(f"{poses} poses cannot be seen by {frames} cameras: give one pose, or one per camera")
    if cameras.width < 1 or cameras.height < 1:
        raise ValueError(
            f"an image of {cameras.width} x {cameras.height} pixels cannot be drawn: give at least one pixel a side"
        )
    return background.expand(frames, 3)


def nonfinite_error(field: str) -> ValueError:
    """Name the field that broke, so that the loss or learning rate behind it can be found."""
    return ValueError(f"gaussians.{field} has NaN or infinite values: check what computed them before rasterizing")
