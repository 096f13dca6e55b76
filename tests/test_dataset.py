import numpy as np
import pytest
import torch

from zero1toa.symgen.dataset import ClipDataset


def frames(value: float, count: int = 3) -> torch.Tensor:
    return torch.full((count, 8, 6, 3), value)


def test_what_is_written_is_read():
    dataset = ClipDataset(2)
    picture = torch.rand(3, 8, 6, 3, generator=torch.Generator().manual_seed(0))
    dataset.write(1, picture, iteration=5, unrolled=2)
    for i in range(3):
        torch.testing.assert_close(dataset.read(1, i), picture[i], atol=0.5 / 255 + 1e-6, rtol=0)
    assert (dataset.updated, dataset.unrolled) == ([-1, 5], [0, 2])
    assert dataset.filled(range(2)) == [1]
    with pytest.raises(LookupError):
        dataset.read(0, 0)


def test_values_outside_the_range_do_not_wrap_around():
    dataset = ClipDataset(1)
    dataset.write(0, torch.tensor([-1.0, 2.0, 1.0]).expand(1, 2, 2, 3), iteration=0, unrolled=1)
    assert dataset.read(0, 0)[0, 0].tolist() == [0.0, 1.0, 1.0]


def test_the_stalest_clip_waits_longest_and_empty_ones_come_first():
    dataset = ClipDataset(3)
    assert dataset.stalest([2, 1], 1) == [1]
    for clip, iteration in ((0, 30), (1, 10), (2, 20)):
        dataset.write(clip, frames(0), iteration=iteration, unrolled=1)
    assert dataset.stalest(range(3), 2) == [1, 2]
    assert dataset.stalest([0, 2], 1) == [2]
    assert dataset.age(1, 50) == 40


def test_frames_beyond_the_memory_limit_live_in_files(tmp_path):
    one = frames(0).numel()
    dataset = ClipDataset(3, memory_mb=1.5 * one / 2**20, spill=tmp_path)
    for clip in range(3):
        dataset.write(clip, frames(clip / 4), iteration=clip, unrolled=1)
    assert not isinstance(dataset.frames(0), np.memmap)
    assert isinstance(dataset.frames(1), np.memmap)
    assert len(list(tmp_path.iterdir())) == 2
    for clip in range(3):
        assert float(dataset.read(clip, 1).mean()) == pytest.approx(clip / 4, abs=0.003)
    dataset.write(2, frames(1.0), iteration=9, unrolled=1)
    assert float(dataset.read(2, 0).mean()) == 1.0


def test_saving_and_loading_brings_everything_back_and_links_the_unchanged(tmp_path):
    dataset = ClipDataset(3)
    dataset.write(0, frames(0.2), iteration=4, unrolled=1)
    dataset.write(2, frames(0.4), iteration=7, unrolled=3)
    dataset.save(tmp_path / "a")
    dataset.write(2, frames(0.8), iteration=9, unrolled=4)
    dataset.save(tmp_path / "b", previous=tmp_path / "a")
    assert (tmp_path / "b" / "000-000004.npy").stat().st_ino == (tmp_path / "a" / "000-000004.npy").stat().st_ino
    for folder, value, updated in (("a", 0.4, [4, -1, 7]), ("b", 0.8, [4, -1, 9])):
        again = ClipDataset(3)
        again.load(tmp_path / folder)
        assert again.updated == updated
        assert float(again.read(2, 0).mean()) == pytest.approx(value, abs=0.003)
    # Frames are copied out of the checkpoint: writing must not reach back into it.
    again.write(2, frames(0.0), iteration=11, unrolled=4)
    third = ClipDataset(3)
    third.load(tmp_path / "b")
    assert float(third.read(2, 0).mean()) == pytest.approx(0.8, abs=0.003)
    with pytest.raises(ValueError, match="3 clips, not 2"):
        ClipDataset(2).load(tmp_path / "b")
