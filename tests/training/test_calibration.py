"""Statistics of examples, against planted answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zero1toa.training.calibration import main, statistics
from zero1toa.training.dataset import save_example


@pytest.fixture
def smooth(example):
    """Give the example with a soft pattern in the place of its pictures, all of it person and seen."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    pattern = 0.5 + 0.2 * torch.sin(x / 3.1) * torch.cos(y / 4.3) + 0.1 * torch.sin((x + y) / 5.7)
    frames = pattern[None, ..., None].expand(2, -1, -1, 3)
    whole = torch.ones(2, 64, 64)
    return replace(
        example, frames=frames, warp=frames, render=frames, alpha=whole, render_alpha=whole, confidence=whole, hidden=0 * whole
    )


def test_what_agrees_agrees(smooth):
    found = statistics(smooth)
    assert found["warp where it is sure"] == pytest.approx(60)
    assert found["shift of the warp"] == pytest.approx(0, abs=0.1)
    assert (found["sure of"], found["hidden"], found["outline missed"]) == (100, 0, 0)
    assert "width of what is hidden" not in found


def test_a_planted_error_is_measured(smooth):
    found = statistics(replace(smooth, warp=smooth.frames + 0.1, render_alpha=smooth.alpha - 0.25))
    assert found["warp where it is sure"] == pytest.approx(20, abs=0.01)
    assert found["outline missed"] == pytest.approx(25)


def test_a_planted_shift_is_measured(smooth):
    width = float((smooth.landmarks[..., 0].amax(1) - smooth.landmarks[..., 0].amin(1)).max())
    found = statistics(replace(smooth, warp=smooth.warp.roll(2, 2)))
    assert found["shift of the warp"] == pytest.approx(200 / width, rel=0.15)


def test_a_band_is_as_wide_as_it_is(smooth):
    width = float((smooth.landmarks[..., 0].amax(1) - smooth.landmarks[..., 0].amin(1)).max())
    hidden = torch.zeros(2, 64, 64)
    hidden[:, :, 20:32] = 1
    dark = torch.where(hidden[..., None] > 0, 0.3, 0.6).expand(-1, -1, -1, 3)
    found = statistics(replace(smooth, hidden=hidden, frames=dark, confidence=1 - hidden))
    assert found["width of what is hidden"] == pytest.approx(1200 / width, rel=0.15)
    assert found["light of the hidden, by that of the seen"] == pytest.approx(0.5)
    assert found["hidden"] == pytest.approx(100 * 12 / 64)


def test_planted_noise_is_measured(smooth):
    noise = 0.03 * torch.randn(smooth.photo.shape[:2], generator=torch.Generator().manual_seed(0))
    photo = (0.5 + noise)[..., None].expand_as(smooth.photo)
    found = statistics(replace(smooth, photo=photo, matte=torch.ones_like(smooth.matte)))
    assert found["noise of the photo"] == pytest.approx(0.03, rel=0.1)


def test_folders_stand_side_by_side(tmp_path, example, capsys):
    for name in ("made", "real"):
        (tmp_path / name).mkdir()
        save_example(example, tmp_path / name / "1.npz")
    main([f"{name}={tmp_path / name}" for name in ("made", "real")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | made (1) | real (1) |"
    for line in lines[2:]:
        _, _, made, real, _ = line.split("|")
        assert made == real
