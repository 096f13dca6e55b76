"""Speed of what this package promises to be fast at, each figure beside its baseline in the same run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from zero1toa.geometry.camera import orbit_camera
from zero1toa.render import rasterize
from zero1toa.render.reference import rasterize_dense
from zero1toa.types import Camera, Gaussians

_FIELDS = ("means", "quats", "scales", "opacities", "colors")
# The baseline's squares of pixels: smaller ones cost it more calls, larger ones more splats that touch no pixel.
_REFERENCE_TILE = 32


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure: what was measured, and what the plain way of doing it costs on the same machine."""

    name: str
    value: float
    unit: str
    reference: float


def run_benchmarks() -> list[Measurement]:
    """Measure the rasterizer on a synthetic head.

    Values are medians over repeated calls of the public function after a warm-up. The reference is the float32
    PyTorch page of `zero1toa.render.reference` on all cores, a median of three: dense within squares of pixels, each
    with only the splats that touch it. Every splat at every pixel would make us look a thousand times better, but
    nobody would wait for that.
    """
    return [_forward(80_000, 512), _forward_backward(20_000, 256)]


def synthetic_head(count: int, size: int) -> tuple[Gaussians, Camera]:
    """Cover an ellipsoid of 15 x 22 x 19 cm with flat splats that overlap their neighbours, 0.8 m from one camera.

    The head spans 60 % of the width of the picture and 80 % of its height.
    """
    generator = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    spacing = math.sqrt(4 * math.pi * 0.09**2 / count)
    scales = 0.5 * spacing * torch.exp(0.3 * torch.randn(count, 3, generator=generator)) * torch.tensor([1.0, 1.0, 0.2])
    gaussians = Gaussians(
        (means * torch.tensor([0.075, 0.11, 0.095]))[None],
        torch.randn(1, count, 4, generator=generator),
        scales[None],
        torch.rand(1, count, generator=generator) * 0.8 + 0.2,
        torch.rand(1, count, 3, generator=generator),
    )
    yaw, pitch = torch.tensor([20.0]), torch.tensor([5.0])
    camera = orbit_camera(yaw, pitch, target=torch.zeros(3), distance=0.8, focal=3.0 * size, width=size, height=size)
    return gaussians, camera


def _forward(count: int, size: int) -> Measurement:
    gaussians, camera = synthetic_head(count, size)
    background = torch.ones(3)

    def draw() -> None:
        rasterize(gaussians, camera, background=background)

    def draw_densely() -> None:
        rasterize_dense(gaussians, camera, background=background, tile=_REFERENCE_TILE)

    with torch.no_grad():
        value, reference = _median(draw), _median(draw_densely, repeats=3)
    return Measurement(f"rasterize_forward_{count // 1000}k_{size}", value, "ms", reference)


def _forward_backward(count: int, size: int) -> Measurement:
    gaussians, camera = synthetic_head(count, size)
    gaussians = Gaussians(*(getattr(gaussians, field).requires_grad_() for field in _FIELDS))
    background = torch.ones(3)
    weight = torch.randn(1, size, size, 3, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        rasterize(gaussians, camera, background=background).color.backward(weight)

    def step_densely() -> None:
        picture = rasterize_dense(gaussians, camera, background=background, tile=_REFERENCE_TILE)
        picture.color.backward(weight)

    name = f"rasterize_forward_backward_{count // 1000}k_{size}"
    return Measurement(name, _median(step), "ms", _median(step_densely, repeats=3))


def _milliseconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def _median(function: Callable[[], None], *, repeats: int = 51) -> float:
    function()
    return sorted(_milliseconds(function) for _ in range(repeats))[repeats // 2]
