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
from zero1toa.training.batches import batch_of, crop, draw_frames, stack, withhold
from zero1toa.training.clips import ClipConfig, make_example
from zero1toa.training.dataset import example_files, load_example, save_example
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


def test_frames_keep_their_order_and_their_conditions(head, rng):
    example = make_example(6, head, SMALL)
    numbered = replace(example, expression=torch.arange(5.0)[:, None].expand(5, 52))
    assert len(draw_frames(numbered, 8, rng).frames) == 5
    for count in (1, 2, 3, 5):
        for _ in range(10):
            some = draw_frames(numbered, count, rng)
            order = some.expression[:, 0]
            assert len(some.frames) == len(some.warp) == len(order) == count
            assert (order.diff() > 0).all()
            assert len(order.diff().unique()) <= 1
            assert torch.equal(some.frames, example.frames[order.long()])


def test_a_crop_is_the_same_square_of_everything(example, rng):
    batch = batch_of(example, torch.ones(4))
    # Every picture says where it is from, so that squares can be compared.
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    place = (y * 64 + x).expand(1, 2, 1, 64, 64)
    marked = replace(batch, clean=place.expand(1, 2, 3, 64, 64), conditions=batch.conditions.each_frame(lambda _: place))
    for _ in range(20):
        cut = crop(marked, 32, rng)
        assert cut.clean.shape[-2:] == cut.weights.shape[-2:] == (32, 32)
        top, left = divmod(int(cut.clean[0, 0, 0, 0, 0]), 64)
        assert torch.equal(cut.weights, batch.weights[..., top : top + 32, left : left + 32])
        for name in ("warp", "confidence", "render", "coverage", "landmarks"):
            assert torch.equal(getattr(cut.conditions, name)[0, 0, 0], cut.clean[0, 0, 0])
        assert torch.equal(cut.conditions.photo, batch.conditions.photo)
    assert crop(batch, 64, rng) is batch


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


TINY = TrainingConfig(rate=2e-3, network={"outer_channels": (8, 16), "inner_channels": (32, 32), "heads": 2, "key_channels": 8})


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


def test_the_average_comes_and_goes(tmp_path, example):
    learner = Learner.begin(tmp_path, TINY, Accelerator(cpu=True))
    learner.step(denoising_loss(learner.model, batch_of(example, torch.ones(4)), torch.Generator()))
    before = [value.clone() for value in learner.model.parameters()]
    with learner.averaged() as averaged:
        assert any(not torch.equal(a, b) for a, b in zip(before, averaged.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
