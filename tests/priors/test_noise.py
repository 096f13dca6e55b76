"""Denoising and its inversions, held against diffusers' schedulers on a model whose answer is known exactly."""

import math

import pytest
import torch

from zero1toa.priors.noise import (
    Schedule,
    add_noise,
    denoise,
    flow_schedule,
    invert,
    invert_by_fixed_point,
    linear_schedule,
    zero_snr_schedule,
)  # fmt: skip

SPREAD = 0.5


class GaussianModel:
    """What a perfect network says when all pictures are noise of spread 0.5; counts how often it is asked."""

    def __init__(self, schedule: Schedule) -> None:
        self.angle = dict(zip(schedule.timesteps, schedule.angles, strict=False))
        self.calls = 0

    def __call__(self, sample, timestep, step=0):
        self.calls += 1
        cos, sin = math.cos(self.angle[timestep]), math.sin(self.angle[timestep])
        both = cos**2 * SPREAD**2 + sin**2
        clean, noise = cos * SPREAD**2 / both * sample, sin / both * sample
        return cos * noise - sin * clean


def stock(kind, steps: int):
    scheduler = kind(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", steps_offset=1, clip_sample=False,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    return scheduler


def clean_samples() -> torch.Tensor:
    return SPREAD * torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_schedule_runs_from_pure_noise_to_the_picture():
    schedule = zero_snr_schedule(25)
    assert schedule.timesteps == tuple(range(999, 0, -40))
    assert schedule.angles[0] == pytest.approx(math.pi / 2, abs=1e-4)
    assert schedule.angles[-1] == 0
    assert list(schedule.angles) == sorted(schedule.angles, reverse=True)
    # Noise at t = 199, 399 and 599 of these betas.
    noise = dict(zip(schedule.timesteps, (math.sin(a) for a in schedule.angles), strict=False))
    assert (noise[199], noise[399], noise[599]) == pytest.approx((0.580, 0.854, 0.967), abs=2e-3)


def test_strength_is_the_share_of_steps_that_are_taken():
    schedule = zero_snr_schedule(10)
    assert len(schedule.last(0.0)) == 0
    assert len(schedule.last(0.01)) == 1
    assert len(schedule.last(0.6)) == 6
    assert schedule.last(1.0) == schedule
    assert schedule.last(0.6).timesteps == schedule.timesteps[4:]
    assert len(schedule.last(0.6).angles) == 7


def test_denoising_is_ddim():
    from diffusers import DDIMScheduler

    schedule, scheduler = zero_snr_schedule(20), stock(DDIMScheduler, 20)
    model, sample = GaussianModel(schedule), clean_samples() / SPREAD
    theirs = sample
    for t in scheduler.timesteps:
        theirs = scheduler.step(model(theirs, int(t)), int(t), theirs).prev_sample
    torch.testing.assert_close(denoise(model, sample, schedule), theirs, atol=1e-4, rtol=0)


def stock_inversion(model: GaussianModel, sample: torch.Tensor, steps: int) -> torch.Tensor:
    from diffusers import DDIMInverseScheduler

    scheduler = stock(DDIMInverseScheduler, steps)
    for t in scheduler.timesteps:
        sample = scheduler.step(model(sample, int(t)), int(t), sample).prev_sample
    return sample


def test_inversion_is_that_of_diffusers():
    model = GaussianModel(zero_snr_schedule(20))
    ours = invert(model, clean_samples(), zero_snr_schedule(20))
    torch.testing.assert_close(ours, stock_inversion(model, clean_samples(), 20), atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [10, 20, 25, 50])
def test_fixed_points_come_back_closer_for_as_many_calls(steps):
    schedule = zero_snr_schedule(steps)
    clean = clean_samples()
    error = lambda noisy: float((denoise(GaussianModel(schedule), noisy, schedule) - clean).abs().mean())
    theirs, ours, twice = GaussianModel(schedule), GaussianModel(schedule), GaussianModel(schedule)
    stock_error = error(stock_inversion(theirs, clean, steps))
    once = error(invert_by_fixed_point(ours, clean, schedule, passes=1))
    assert theirs.calls == ours.calls == steps
    assert once <= stock_error / 2.5
    assert error(invert_by_fixed_point(twice, clean, schedule, passes=2)) <= once / 3
    assert twice.calls == 2 * steps


@pytest.mark.parametrize("schedule", [linear_schedule(20), flow_schedule(20, 0.8, shift=5.0)])
def test_every_schedule_can_be_gone_back(schedule):
    clean = clean_samples()
    error = lambda noisy: float((denoise(GaussianModel(schedule), noisy, schedule) - clean).abs().mean())
    plain = error(invert(GaussianModel(schedule), clean, schedule))
    assert error(invert_by_fixed_point(GaussianModel(schedule), clean, schedule, passes=1)) <= plain / 2
    assert error(invert_by_fixed_point(GaussianModel(schedule), clean, schedule, passes=3)) <= plain / 30


def test_the_schedule_of_animatediff_leaves_some_of_the_picture():
    schedule = linear_schedule(25)
    assert schedule.timesteps == tuple(range(999, 0, -40))
    kept = math.prod(1 - (0.00085 + (0.012 - 0.00085) * t / 999) for t in range(1000))
    assert math.cos(schedule.angles[0]) == pytest.approx(math.sqrt(kept), rel=1e-4)


def test_a_step_of_a_flow_is_a_rotation():
    schedule = flow_schedule(6, 0.9, shift=3.0)
    clean, noise = torch.randn(50), torch.randn(50)
    ask = lambda x, t, k: math.cos(schedule.angles[k]) * noise - math.sin(schedule.angles[k]) * clean
    sigma, mixed = 0.9, 0.1 * clean + 0.9 * noise
    start = mixed / math.hypot(0.1, 0.9)
    below = schedule.timesteps[1] / 1000
    ours = denoise(ask, start, Schedule(schedule.timesteps[:1], schedule.angles[:2]))
    euler = mixed + (below - sigma) * (noise - clean)
    torch.testing.assert_close(ours, euler / math.hypot(1 - below, below))


def test_a_single_step_from_pure_noise_can_be_inverted_too():
    schedule = zero_snr_schedule(1)
    found = invert_by_fixed_point(GaussianModel(schedule), clean_samples(), schedule, passes=3)
    assert bool(torch.isfinite(found).all())


def test_noise_has_the_spread_of_its_level_and_repeats():
    schedule = zero_snr_schedule(25).last(0.5)
    noisy = add_noise(torch.zeros(100, 100), schedule, torch.Generator().manual_seed(1))
    assert float(noisy.std()) == pytest.approx(math.sin(schedule.angles[0]), rel=0.03)
    assert torch.equal(noisy, add_noise(torch.zeros(100, 100), schedule, torch.Generator().manual_seed(1)))


def test_fresh_noise_brings_a_sample_to_the_very_level_it_had_gone_past():
    # One step from pure noise to a level, with a network that knows the picture is black: what is left is noise of that level.
    schedule = Schedule((999, 499), (math.pi / 2, 0.9, 0.0))
    left = []

    def black(sample, timestep, step):
        left.append(float(sample.std()))
        return sample / math.tan(schedule.angles[step])

    for eta in (0.0, 0.2, 1.0):
        chance = torch.Generator().manual_seed(4)
        done = denoise(black, torch.randn(20000, generator=chance), schedule, eta=eta, generator=chance)
        assert left[-1] == pytest.approx(math.sin(0.9), rel=0.02)
        assert float(done.abs().max()) < 1e-5


def test_a_consistency_model_jumps_to_the_picture_at_every_step():
    # Where the network's answer does not depend on the sample, every step lands on the very picture.
    schedule, picture = zero_snr_schedule(4), torch.linspace(-1, 1, 11)

    def sure(sample, timestep, step):
        angle = schedule.angles[step]
        noise = (sample - math.cos(angle) * picture) / math.sin(angle)
        return math.cos(angle) * noise - math.sin(angle) * picture

    for eta in (0.0, 0.2, 1.0):
        found = denoise(sure, torch.randn(11), schedule, eta=eta, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(found, picture, atol=1e-4, rtol=0)
