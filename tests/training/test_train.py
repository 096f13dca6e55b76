"""From kept examples to a trained network, at tiny size."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from zero1toa.priors.base import DiffusionConfig
from zero1toa.priors.embedded.prior import EmbeddedPrior
from zero1toa.training.batches import batch_of, draw_frames, faces_of, stack, withhold
from zero1toa.training.clips import ClipConfig, make_example
from zero1toa.training.dataset import example_files, load_example, save_example, with_small_photo
from zero1toa.training.scores import mean_scores, score
from zero1toa.training.train import Learner, TrainingConfig, denoising_loss, train

SMALL = ClipConfig(frames=5, size=64, photo_size=128, supersample=1, splats=2000)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def kept(tmp_path, example):
    """Give a folder that keeps one example."""
    folder = tmp_path / "people"
    folder.mkdir()
    save_example(example, folder / f"{example.seed}.npz")
    return folder


def test_a_kept_example_is_the_example_but_for_its_eighth_bit(kept, example):
    again = load_example(example_files(kept)[0])
    for entry in fields(example):
        mine, other = getattr(example, entry.name), getattr(again, entry.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == other.dtype
            assert (mine.float().clamp(0, 1) - other.float().clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6, entry.name
        else:
            assert mine == other
    assert list(kept.iterdir()) == example_files(kept)


def test_frames_keep_their_order_and_their_conditions(head, rng, tmp_path):
    example = make_example(6, head, SMALL)
    numbered = replace(example, expression=torch.arange(5.0)[:, None].expand(5, 52))
    save_example(numbered, tmp_path / "6.npz")
    for count in (1, 2, 3, 5, 8):
        for _ in range(5):
            some = load_example(tmp_path / "6.npz", lambda frames, count=count: draw_frames(frames, count, rng))
            order = some.expression[:, 0]
            assert len(some.frames) == len(some.warp) == len(order) == min(count, 5)
            assert (order.diff() > 0).all()
            assert len(order.diff().unique()) <= 1
            assert (some.frames - example.frames[order.long()]).abs().max() <= 0.5 / 255 + 1e-6
            assert some.photo.shape == example.photo.shape


def test_the_photo_is_kept_as_large_as_the_frames(example):
    small = with_small_photo(example)
    assert small.photo.shape == small.frames.shape[1:]
    assert small.matte.shape == small.alpha.shape[1:]
    torch.testing.assert_close(small.photo.mean((0, 1)), example.photo.mean((0, 1)))
    torch.testing.assert_close(small.photo_landmarks[:, :2] * 2, example.photo_landmarks[:, :2])
    assert torch.equal(small.photo_landmarks[:, 2], example.photo_landmarks[:, 2])


def test_examples_of_faces_are_cut_alike_throughout(example):
    # Whatever is told of a pixel goes where the pixel goes.
    told = example.parts.float() / 32
    seen = faces_of(replace(example, frames=told[..., None].expand(-1, -1, -1, 3), confidence=told, render_alpha=told), 48)
    assert seen.frames.shape == (2, 48, 48, 3)
    assert torch.equal(seen.confidence, seen.render_alpha)
    torch.testing.assert_close(seen.frames[..., 0], seen.confidence)
    inner = (seen.parts == seen.parts.roll(1, 1)) & (seen.parts == seen.parts.roll(1, 2))
    off = (seen.parts.float() / 32 - seen.confidence).abs()
    assert (off[inner] < 0.06).float().mean() > 0.9


def test_every_condition_is_withheld_now_and_then(rng):
    told = torch.stack([withhold(rng) for _ in range(500)])
    assert ((told == 0) | (told == 1)).all()
    assert ((1 - told).mean(0) > 0.05).all()
    assert ((1 - told).mean(0) < 0.25).all()


def test_the_truth_scores_best_and_the_warp_is_scored_beside_it(example):
    perfect, projected = (
        score(example.frames, example),
        score(torch.lerp(example.render, example.warp, example.confidence[..., None]), example),
    )
    assert mean_scores([perfect])["all"] == pytest.approx(60)
    for region in ("all", "known"):
        assert projected[region] == projected[f"{region}_projection"] == perfect[f"{region}_projection"]


TINY = TrainingConfig(
    rate=2e-3, frames=2, network={"outer_channels": (8, 16), "inner_channels": (32, 32), "heads": 2, "key_channels": 8}
)


def test_the_loss_falls(tmp_path, example):
    torch.manual_seed(0)
    learner = Learner.begin(tmp_path, TINY, Accelerator(cpu=True))
    batch, chance = batch_of(example, torch.ones(4)), torch.Generator().manual_seed(1)
    losses = [learner.step(denoising_loss(learner.model, batch, chance)) for _ in range(40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_examples_are_laid_side_by_side(example):
    batch = batch_of(example, torch.ones(4))
    both = stack([batch, replace(batch, clean=-batch.clean)])
    assert torch.equal(both.clean, torch.cat([batch.clean, -batch.clean]))
    assert both.weights.shape[0] == both.conditions.warp.shape[0] == both.conditions.told.shape[0] == 2


def test_a_run_goes_on_where_it_was_and_keeps_weights_that_the_prior_loads(tmp_path, kept, capsys):
    run = tmp_path / "run"
    config = replace(TINY, steps=2, every=2, validation=kept)
    train(kept, run, config)
    train(kept, run, replace(config, steps=3))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    assert set(lines[0]["synthetic"]) >= {"all", "all_projection"}
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint.pt", "log.jsonl", "weights"]
    prior = EmbeddedPrior(DiffusionConfig(), torch.device("cpu"), weights=run / "weights")
    assert prior.name.startswith("embedded")
    train(kept, tmp_path / "next", replace(TINY, steps=1, start=run / "weights"))
    config = (tmp_path / "next" / "weights" / "config.json").read_text()
    assert str(tmp_path) not in config
    assert json.loads(config)["inner_channels"] == [32, 32]


def test_the_rate_rises_and_fades_out(tmp_path, example):
    learner = Learner.begin(tmp_path, TINY, Accelerator(cpu=True))
    batch, rates = batch_of(example, torch.ones(4)), []
    for done, left in ((0, 1.0), (400, 0.9), (600, 0.25), (999, 0.0)):
        learner.done = done
        learner.step(denoising_loss(learner.model, batch, torch.Generator()), left)
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates[0] < 0.05 * rates[1]
    assert rates[1] == TINY.rate
    assert rates[1] > rates[2] > 10 * rates[3] > 0


def test_the_average_comes_and_goes(tmp_path, example):
    learner = Learner.begin(tmp_path, TINY, Accelerator(cpu=True))
    learner.step(denoising_loss(learner.model, batch_of(example, torch.ones(4)), torch.Generator()))
    before = [value.clone() for value in learner.model.parameters()]
    with learner.averaged() as averaged:
        assert any(not torch.equal(a, b) for a, b in zip(before, averaged.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
