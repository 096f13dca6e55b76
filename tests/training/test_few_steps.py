"""Distillation to few steps: where students aim, and that one who is right already has nothing to learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zero1toa.priors.embedded.model import CopyUNet
from zero1toa.priors.noise import zero_snr_schedule
from zero1toa.training.batches import batch_of
from zero1toa.training.few_steps import AIMS, GRID, SKIP, WINDOW, _jump, distillation_loss, targets
from zero1toa.training.train import angles

TINY = {"outer_channels": (8, 16), "inner_channels": (32, 32), "heads": 2, "key_channels": 8}


def network(*, trained: bool) -> CopyUNet:
    torch.manual_seed(0)
    net = CopyUNet(**TINY).eval().requires_grad_(False)
    if trained:
        torch.nn.init.normal_(net.outlet.weight, std=0.3)
    return net


def test_targets_are_the_levels_that_samplings_visit():
    merged = targets()
    assert torch.equal(merged, merged.unique())
    assert merged[0] == 0
    assert merged[-1] < 999
    for steps in (4, 5, 8):
        visited = torch.tensor(zero_snr_schedule(steps).timesteps[1:])
        assert (visited[:, None] - merged).abs().amin(1).max() <= SKIP


def test_students_aim_below_where_they_are_and_not_too_far():
    chance = torch.Generator().manual_seed(0)
    for level in (0, 3, 247, 251, 499, 995):
        lower = torch.full((50,), level)
        aimed = AIMS["tdd"](lower, chance)
        assert (aimed <= lower).all()
        assert (aimed >= 0).all()
        nearest = int(targets()[targets() <= level].max())
        assert aimed.max() <= nearest
        assert aimed.min() >= int(0.7 * max(nearest - WINDOW, 0)) - 1
        assert (AIMS["consistency"](lower, chance) == 0).all()


def test_a_jump_with_the_right_picture_is_the_same_noise_at_the_lower_level():
    chance = torch.Generator().manual_seed(0)
    clean, noise = torch.rand(2, 1, 3, 4, 4, generator=chance), torch.randn(2, 1, 3, 4, 4, generator=chance)
    at = lambda level: angles(level, clean).cos() * clean + angles(level, clean).sin() * noise
    here, there = torch.tensor([999, 503]), torch.tensor([499, 7])
    torch.testing.assert_close(_jump(at(here), clean, here, there), at(there), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", AIMS)
def test_who_is_right_already_has_nothing_to_learn(example, method):
    # An untrained network mixes warp and render; here both are the truth.
    batch = batch_of(example, torch.ones(4))
    sure = torch.full_like(batch.conditions.confidence, 0.65)
    told = replace(batch.conditions, warp=(batch.clean + 1) / 2, confidence=sure, render=(batch.clean + 1) / 2)
    batch, chance = replace(batch, conditions=told), lambda: torch.Generator().manual_seed(2)
    right = network(trained=False)
    loss = lambda student, teacher: float(
        distillation_loss(student, batch, chance(), teacher=teacher, aim=AIMS[method]).detach()
    )
    assert loss(right, right) < 0.1 * loss(network(trained=True), right)


def test_levels_fill_the_grid():
    assert GRID * SKIP == 1000
