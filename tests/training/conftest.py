"""One head, its features and two examples for all tests of synthetic people."""

from __future__ import annotations

import pytest

from zero1toa.head.anny import load_anny
from zero1toa.training.clips import ClipConfig, make_example
from zero1toa.training.features import find_features

SMALL = ClipConfig(frames=2, size=64, photo_size=128, supersample=1, splats=2000)


@pytest.fixture(scope="session")
def head():
    return load_anny()


@pytest.fixture(scope="session")
def features(head):
    return find_features(head)


@pytest.fixture(scope="session")
def example(head):
    return make_example(5, head, SMALL)
