"""How far the photo knew what an avatar shows: what it saw is known, what only other views or faces uncover is guessed.

A splat is known if it lies where the photo's own view first meets something. Drawn with that as their colour, splats say
of any view or face which share of the picture the photo vouches for; the photo's own view and face are what it knows best.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zero1toa.export.views import Viewer
from zero1toa.geometry.camera import project
from zero1toa.render import rasterize
from zero1toa.types import Camera, Gaussians, HeadState, Render

YAWS = tuple(range(-90, 91, 15))
SIZE = 96  # pixels; shares need no more
# How far behind what the photo shows first a splat may lie and still be part of it, in metres.
SKIN_DEEP = 0.004
# How much a pixel must change, as a share of black to white, to count as changed by an expression.
CHANGED = 0.03


@torch.no_grad()
def confidence(viewer: Viewer) -> dict[str, list[list[float]] | dict[str, float]]:
    """Give how well each yaw (degrees round the photo's view) and each ARKit weight at its end is known: 1 is as the photo.

    For an expression only those pixels count that it changes; one that changes nothing is known.
    """
    names, camera = viewer.saved.avatar.head.expression_names, viewer.camera(size=SIZE)
    rest = viewer.state()
    known = _known(viewer, rest, camera)
    posed = viewer.saved.avatar.pose(rest)
    before = _draw(posed, known, camera)
    everywhere = torch.ones_like(before.alpha, dtype=torch.bool)
    yaws = []
    for yaw in YAWS:
        drawn = _draw(posed, known, viewer.camera(float(yaw), size=SIZE))
        yaws.append([float(yaw), _part(drawn, before, everywhere)])
    expressions = {}
    for index, name in enumerate(names):
        state = replace(rest, expression=rest.expression.clone())
        state.expression[:, index] = 1.0
        drawn = _draw(viewer.saved.avatar.pose(state), known, camera)
        changed = (drawn.color - before.color)[..., 1:].abs().amax(-1) > CHANGED
        expressions[name] = _part(drawn, before, changed)
    return {"yaw": yaws, "expression": expressions}


def _known(viewer: Viewer, state: HeadState, camera: Camera) -> Float[Tensor, "N"]:
    """Say of each splat whether the photo shows it: 1 on what it shows first, 0 from twice `SKIN_DEEP` behind that."""
    posed = viewer.saved.avatar.pose(state)
    depth = rasterize(posed, camera, background=torch.zeros(3)).depth[0]
    x, y, z = project(posed.means, camera)[0].unbind(-1)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (z > 0)
    first = depth[y.long().clamp(0, camera.height - 1), x.long().clamp(0, camera.width - 1)]
    return inside * (2 - (z - first) / SKIN_DEEP).clamp(0, 1)


def _draw(posed: Gaussians, known: Float[Tensor, "N"], camera: Camera) -> Render:
    """Draw what is known as red, over nothing; green and blue stay, and tell what an expression changes."""
    colors = torch.cat([known[None, :, None], posed.colors[..., 1:]], -1)
    return rasterize(replace(posed, colors=colors), camera, background=torch.zeros(3))


def _part(drawn: Render, photo: Render, where: Bool[Tensor, "1 H W"]) -> float:
    """Give the known share of some pixels beside that which they have in the photo's own view and face."""
    now, then = (float(one.color[..., 0][where].sum()) / max(float(one.alpha[where].sum()), 1e-3) for one in (drawn, photo))
    return round(min(1.0, now / then), 2) if then > 1e-3 else 1.0
