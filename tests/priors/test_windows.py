"""Long clips are seen through windows that overlap."""

from itertools import pairwise

import pytest
import torch

from zero1toa.priors.windows import blend, windows
from zero1toa.types import InputError


def test_windows_cover_every_frame_and_share_some():
    assert windows(16, 16, 4) == (slice(0, 16),)
    assert windows(3, 16, 4) == (slice(0, 3),)
    assert windows(17, 16, 4) == (slice(0, 16), slice(1, 17))
    assert windows(28, 16, 4) == (slice(0, 16), slice(12, 28))
    for frames in range(1, 80):
        parts = windows(frames, 16, 4)
        seen = [index for part in parts for index in range(frames)[part]]
        assert set(seen) == set(range(frames))
        assert all(part.stop - part.start == min(frames, 16) for part in parts)
        assert all(a.stop - b.start >= 4 for a, b in pairwise(parts))


def test_windows_that_would_never_end_are_refused():
    with pytest.raises(InputError, match="smaller overlap"):
        windows(40, 4, 4)


def test_where_windows_overlap_their_predictions_are_averaged():
    sample = torch.randn(28, 2, 3)
    parts = windows(28, 16, 4)
    same = blend(lambda x, part: 2 * x, sample, parts)
    torch.testing.assert_close(same, 2 * sample)
    marked = blend(lambda x, part: torch.full_like(x, float(part.start)), sample, parts)
    assert marked[:12].eq(0).all()
    assert marked[12:16].eq(6).all()
    assert marked[16:].eq(12).all()
