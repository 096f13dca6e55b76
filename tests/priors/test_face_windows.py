"""The squares around faces: what is cut out of pictures, and laid back."""

from __future__ import annotations

import pytest
import torch

from zero1toa.priors.embedded.windows import cut, face_windows, lay, move, see


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 60, 80, 3, generator=torch.Generator().manual_seed(0))


def faces(low: float, high: float) -> torch.Tensor:
    """Give landmarks that fill a square of the first picture, and one ten pixels to the right in the second."""
    flat = torch.rand(478, 2, generator=torch.Generator().manual_seed(1))
    flat = (flat - flat.amin(0)) / (flat.amax(0) - flat.amin(0)) * (high - low) + low
    both = torch.stack([flat, flat + torch.tensor([10.0, 0.0])])
    return torch.cat([both, torch.full((2, 478, 1), 0.7)], -1)


def test_landmarks_are_in_the_middle_of_squares_at_one_size():
    for low, high in ((20.0, 40.0), (100.0, 220.0)):
        seen = move(faces(low, high), face_windows(faces(low, high)), 96)
        torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=0)
        middle = (seen[..., :2].amin(1) + seen[..., :2].amax(1)) / 2
        assert (middle - 48).abs().max() < 96 * 0.03
        assert torch.allclose(seen[..., :2].amax(1) - seen[..., :2].amin(1), torch.tensor(64.0), rtol=0.05)
        assert (seen[..., 2] == 0.7).all()


@pytest.mark.parametrize("low", [25.0, -4.0, 45.0])
def test_squares_are_laid_back_where_they_were_cut_from(pictures, low):
    windows = face_windows(faces(low, low + 16))
    squares = cut(pictures, windows)
    assert [square.shape[0] for square in squares] == windows[:, 2].tolist()
    assert torch.equal(lay(squares, pictures, windows), pictures)
    blank = lay([torch.zeros_like(square) for square in squares], pictures, windows)
    changed = (blank != pictures).any(-1)
    left, top, side = windows[0].tolist()
    inside = torch.zeros(60, 80, dtype=torch.bool)
    inside[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
    assert torch.equal(changed[0], inside)


def test_a_rim_goes_on_beyond_the_picture(pictures):
    windows = torch.tensor([[-5, 10, 20], [70, 50, 20]])
    first, second = cut(pictures, windows)
    assert torch.equal(first[:, :5], pictures[0, 10:30, :1].expand(-1, 5, -1))
    assert torch.equal(second[-1], second[9])


def test_what_landmarks_mark_is_seen_under_them():
    picture, points = torch.zeros(1, 100, 100, 3), faces(30.0, 62.0)[:1]
    x, y = points[0, 7, :2].long().tolist()
    picture[0, y - 1 : y + 2, x - 1 : x + 2] = 1
    windows = face_windows(points)
    seen, marked = see(picture, windows, 96)[0, :, :, 0], move(points, windows, 96)[0, 7, :2]
    rows, columns = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    found = torch.stack([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
    assert (found - marked).abs().max() < 3
