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
# Of the light on the skin that is seen, the shares that are darker and that are not brighter than what is believed of the
# rest, which a linear function makes too dark and too bright; what is out of sight may be so much darker still.
DARKEST, BRIGHTEST, DARKER = 0.02, 0.98, 0.7
# The most that relit colours are lifted, and how much of the light's change of tint they take on.
MOST_LIFTED, TINTED = 1.3, 0.6
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
    low, high = torch.quantile(known @ light, torch.tensor([DARKEST, BRIGHTEST], dtype=torch.float64), 0)
    mean = (share * (known @ light)).sum(0).clamp_min(1e-3)
    return ((basis @ light).clamp(DARKER * low.clamp_min(0.05), high.clamp_min(0.1)) / mean).to(colors)


def relighting(here: Float[Tensor, "V 3"], there: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
    """Give what colours that were lit as `there` are multiplied by to look as if they were lit as `here`.

    Shadows are cast easily. They can hardly be lifted: what lies in them is noise and the tint of the surroundings.
    """
    gain = here / there
    even = gain.mean(1, keepdim=True)
    tinted = even * (gain / even) ** TINTED
    return tinted * (MOST_LIFTED / tinted.amax(1, keepdim=True)).clamp_max(1)
