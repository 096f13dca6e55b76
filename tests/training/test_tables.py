"""Tables of trained networks: any number of steps, any start, and the truth at the top."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zero1toa.priors.embedded.model import CopyUNet
from zero1toa.priors.noise import STARTS
from zero1toa.training.dataset import save_example
from zero1toa.training.tables import Sampling, main, sample_clip, ssim, table


@pytest.fixture
def network() -> CopyUNet:
    """Give a tiny network that says something of its own."""
    torch.manual_seed(0)
    net = CopyUNet(outer_channels=(8, 16), inner_channels=(32, 32), heads=2, key_channels=8).eval().requires_grad_(False)
    torch.nn.init.normal_(net.outlet.weight, std=0.3)
    return net


@pytest.mark.parametrize("sampling", [Sampling(1), Sampling(4), *(Sampling(4, start, 0.5) for start in STARTS)], ids=str)
def test_clips_are_sampled_in_any_number_of_steps_from_any_start(network, example, sampling):
    painted = sample_clip(network, example, sampling)
    assert painted.shape == example.frames.shape
    assert 0 <= float(painted.min()) <= float(painted.max()) <= 1


def test_inverted_renders_stay_nearer_to_the_render_than_noised_ones(example):
    # Where nothing is trusted an untrained network gives the render, so finding its noise leads back to it.
    torch.manual_seed(0)
    plain = CopyUNet(outer_channels=(8, 16), inner_channels=(32, 32), heads=2, key_channels=8).eval().requires_grad_(False)
    unsure = replace(example, confidence=torch.zeros_like(example.confidence))
    for start in STARTS:
        painted = sample_clip(plain, unsure, Sampling(4, start, 0.5))
        assert (painted - example.render).abs().mean() < 0.08


def test_likeness_is_that_of_every_frame(example):
    assert ssim(example.frames, example.frames) == pytest.approx(1.0)
    assert ssim(example.frames.flip(1), example.frames) < 0.9


def test_a_table_has_what_projection_gives_and_a_line_for_each_sampling(network, example, tmp_path, capsys):
    (tmp_path / "unseen").mkdir()
    save_example(example, tmp_path / "unseen" / "5.npz")
    lines = list(table({"tiny": network}, tmp_path / "unseen", [Sampling(1), Sampling(2, "invert", 0.5)]))
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [" `projection` ", "  "], [" tiny ", " 1 "], [" tiny ", " 2, invert, strength 0.5 "],
    ]  # fmt: skip
    assert np.isfinite([float(cell) for line in lines[2:] for cell in line.split("|")[3:5]]).all()
    network.save_pretrained(tmp_path / "weights")
    assert main([str(tmp_path / "unseen"), f"tiny={tmp_path / 'weights'}", "--steps", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == lines[:3]
