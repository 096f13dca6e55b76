"""How a photo's light falls on a head: brighter on one side, so that a mirrored cheek must be relit.

Skin is much the same all over a face; what changes over it smoothly is light. So the light is what a linear function of the
surface normal explains of the skin's colours (the first order of spherical harmonics, which holds most of what a matte
surface reflects of any light: Basri and Jacobs 2003; Ramamoorthi and Hanrahan 2001).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# How strongly the light is taken to be even where the photo says little, and how far a colour may be off before it is taken
# for make-up, beard or shadow.
EVENNESS, USUAL_MISS = 0.01, 0.08
# The least and the most light anywhere, in shares of the mean.
DARKEST, BRIGHTEST = 0.25, 2.0
# Vertices that have to be seen to tell, and rounds of weighing them by how well they fit.
FEWEST, ROUNDS = 200, 6


def estimate_shading(
    colors: Float[Tensor, "V 3"], weights: Float[Tensor, "V"], normals: Float[Tensor, "V 3"]
) -> Float[Tensor, "V 3"]:
    """Give the light on every vertex, by channel and in shares of its mean, from colours of the skin that is seen.

    `weights` are 0 where a colour is not known or not that of skin.
    """
    seen = weights > 0
    if seen.sum() < FEWEST:
        return torch.ones_like(colors)
    basis = torch.cat([torch.ones_like(normals[:, :1]), normals], 1).double()
    share = (weights / weights.sum()).double()[:, None][seen]
    known, wanted = basis[seen], colors[seen].double()
    ridge = EVENNESS * torch.diag(torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    fits = torch.ones_like(share)
    for _ in range(ROUNDS):
        weighted = (known * share * fits).T
        light = torch.linalg.solve(weighted @ known + ridge, weighted @ wanted)
        miss = (known @ light - wanted).norm(dim=1, keepdim=True)
        fits = 1 / (1 + (miss / USUAL_MISS) ** 2)
    mean = (share * (known @ light)).sum(0).clamp_min(1e-3)
    return (basis @ light / mean).clamp(DARKEST, BRIGHTEST).to(colors)
