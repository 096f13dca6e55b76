"""Real clips as examples: a photo that is shifted a little from frame to frame, so that the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zero1toa.media import write_video
from zero1toa.priors.embedded.conditions import PAINTED
from zero1toa.training.batches import shows
from zero1toa.training.real import real_example

data = pytest.importorskip("skimage.data", reason="needs scikit-image's public-domain astronaut")


@pytest.fixture(scope="module")
def shifted(head, tmp_path_factory):
    """Give the example of a clip in which the astronaut drifts eight pixels to the right."""
    place = tmp_path_factory.mktemp("clip") / "astronaut.mp4"
    write_video(place, np.stack([np.roll(data.astronaut(), 4 * frame, 1) for frame in range(3)]), 12.0)
    return real_example(place, head, frames=2, size=96)


def test_the_warp_of_the_first_frame_lies_on_the_later_ones(shifted):
    sure = (shifted.confidence > 0.95) & (shifted.alpha > 0.9)
    assert sure.float().mean() > 0.05
    error = (shifted.warp - shifted.frames).square().mean(-1)[sure].mean()
    assert -10 * torch.log10(error) > 23
    beside = (shifted.warp.roll(3, 2) - shifted.frames).square().mean(-1)[sure].mean()
    assert beside > 2 * error


def test_what_is_hidden_and_what_is_face_is_told(shifted):
    face = shows(shifted, PAINTED)
    assert 0.05 < float(face.float().mean()) < 0.5
    assert float(shifted.alpha[face].mean()) > 0.9
    assert float(shifted.confidence[face].mean()) > 0.6
    hidden = shifted.hidden > 0.5
    assert hidden.any()
    assert shifted.confidence[hidden].max() < 0.5
    assert shifted.frames.shape == (2, 96, 96, 3)
