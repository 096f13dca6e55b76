"""The light on a head, told from what its skin looks like."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from zero1toa.render.shading import estimate_shading, relighting

LIGHT = torch.tensor([[0.5, 0.4, 0.35], [0.15, 0.12, 0.1], [0.05, 0.05, 0.06], [0.1, 0.1, 0.1]])


@pytest.fixture
def normals() -> torch.Tensor:
    return normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(1)), dim=1)


def lit(normals: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.ones_like(normals[:, :1]), normals], 1) @ LIGHT


def test_light_is_told_for_what_is_not_seen(normals):
    # A photo from the front sees half of the sphere.
    seen = (normals[:, 2] > 0.1).float()
    shading = estimate_shading(lit(normals), seen, normals)
    side = normals[:, 2].abs() < 0.5
    ratio = shading / lit(normals)
    spread = ratio[side] / ratio[side].mean(0)
    assert (spread - 1).abs().max() < 0.06


def test_beards_and_make_up_are_not_taken_for_shadow(normals):
    seen = (normals[:, 2] > 0.1).float()
    colors = lit(normals)
    painted = colors.clone()
    painted[(normals[:, 1] < -0.3) & (normals[:, 0].abs() < 0.5)] = torch.tensor([0.08, 0.05, 0.04])
    clean, despite = (estimate_shading(values, seen, normals) for values in (colors, painted))
    assert (despite / clean - 1)[normals[:, 2] > 0].abs().median() < 0.05


def test_skin_that_is_hardly_seen_tells_nothing(normals):
    few = torch.zeros(len(normals))
    few[:50] = 1
    assert (estimate_shading(lit(normals), few, normals) == 1).all()


def test_light_that_is_not_seen_is_hardly_stronger_than_what_is(normals):
    hard = (0.5 + 0.5 * normals[:, :1]).expand(-1, 3)
    seen = normals[:, 0] < 0.2
    shading = estimate_shading(hard, seen.float(), normals)
    assert shading[~seen].max() <= shading[seen].max() * 1.001
    assert shading[seen & (normals[:, 0] > 0.1)].min() > 2 * shading[normals[:, 0] < -0.8].max()


def test_shadows_are_cast_more_readily_than_lifted(normals):
    shading = estimate_shading(lit(normals), torch.ones(len(normals)), normals)
    gain = relighting(shading, shading.flip(0))
    assert gain.max() <= 1.3 * 1.0001
    assert gain.min() < 0.5
    even = shading.mean(1, keepdim=True).expand(-1, 3)
    torch.testing.assert_close(relighting(even, even.flip(0)).clamp_max(1), (even / even.flip(0)).clamp_max(1))
