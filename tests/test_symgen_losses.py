import logging
import sys
import time

import pytest
import torch

from zero1toa.symgen.clock import Clock
from zero1toa.symgen.losses import dssim, load_perceptual, position_loss, scale_loss


def picture(seed: int = 0, size: int = 64) -> torch.Tensor:
    return torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(seed))


def test_equal_pictures_differ_by_nothing_and_noise_by_much():
    a = picture()
    assert float(dssim(a, a)) == pytest.approx(0, abs=1e-6)
    assert float(dssim(a, picture(1))) > 0.4
    slight, strong = a + 0.02 * picture(2), a + 0.2 * picture(2)
    assert float(dssim(a, slight)) < float(dssim(a, strong))


def test_dssim_agrees_with_the_textbook_on_real_structure():
    metrics = pytest.importorskip("skimage.metrics")
    smooth = torch.nn.functional.interpolate(picture(3, 16).movedim(-1, 1), (96, 96), mode="bilinear").movedim(1, -1)
    other = (smooth + 0.1 * picture(4, 96)).clamp(0, 1)
    theirs = metrics.structural_similarity(smooth[0].numpy(), other[0].numpy(), win_size=7, channel_axis=-1, data_range=1.0)
    assert 1 - 2 * float(dssim(smooth, other)) == pytest.approx(theirs, abs=0.05)


def test_dssim_has_finite_gradients_on_flat_pictures():
    a = torch.full((1, 32, 32, 3), 0.5, requires_grad=True)
    dssim(a, torch.full_like(a, 0.5)).backward()
    assert bool(torch.isfinite(a.grad).all())


def test_dssim_is_quick():
    a, b = picture(size=256).requires_grad_(), picture(1, 256)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        dssim(a, b).backward()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.2  # 9 ms on a free core; tests share theirs


def test_only_what_is_beyond_the_threshold_is_charged():
    centre = torch.tensor([[0.0, 0, 0], [0, 0.9, 0], [0, 0, 3.0], [4.0, 0, 0]], requires_grad=True)
    loss = position_loss(centre, reach=torch.tensor([1.0, 1.0, 1.0, 5.0]))
    assert float(loss.detach()) == pytest.approx(2 / 4)
    loss.backward()
    assert bool((centre.grad[[0, 1, 3]] == 0).all())
    assert float(centre.grad[2, 2]) > 0
    log_scale = torch.log(torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.2, 1.0]])).requires_grad_()
    loss = scale_loss(log_scale)
    assert float(loss.detach()) == pytest.approx((0.3**2 + 0.4**2) ** 0.5 / 2, abs=1e-4)
    loss.backward()
    assert bool((log_scale.grad[0] == 0).all())
    assert bool(torch.isfinite(log_scale.grad).all())


def test_the_log_says_which_perceptual_loss_it_is(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with caplog.at_level(logging.INFO):
        assert load_perceptual("auto", torch.device("cpu")) is dssim
        assert load_perceptual("lpips", torch.device("cpu")) is dssim
    assert "D-SSIM" in caplog.text
    with pytest.raises(ValueError, match="unknown"):
        load_perceptual("vibes", torch.device("cpu"))


def test_the_clock_learns_and_leaves_out_the_first():
    clock = Clock()
    assert clock.remaining({0.5: 10}, 3) == 0
    clock.step(0.5, 9.0)
    clock.update(9.0)
    for _ in range(3):
        clock.step(0.5, 0.1)
        clock.update(2.0)
    assert clock.remaining({0.5: 10}, 3) == pytest.approx(7.0)
    assert clock.remaining({1.0: 10}, 0) == pytest.approx(2.5)  # four times the pixels, half of the cost
    clock.step(1.0, 9.0)
    clock.step(1.0, 0.2)
    assert clock.remaining({1.0: 10}, 0) == pytest.approx(2.0)
