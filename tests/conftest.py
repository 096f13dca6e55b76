"""What several tests share: data that is not in the repository, photos, and quiet, repeatable computers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Before anything asks the network: tests never do.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seed():
    """Let every test begin with the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of portraits and clips beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs the portraits and clips of ../shared/data, which are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def astronaut():
    """Give scikit-image's public-domain photo of Eileen Collins, RGB bytes."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's public-domain astronaut")
    return data.astronaut()


@pytest.fixture(scope="session")
def astronaut_file(astronaut, tmp_path_factory) -> Path:
    """Give that photo as a file."""
    from PIL import Image

    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return path
