"""What several tests share: data that is not in the repository, photos, and quiet, repeatable computers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Workers of pytest-xdist share the cores, so each takes one thread, and so do the programs it starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
else:
    # What is made once for all of them lies here.
    _MADE = tempfile.TemporaryDirectory(prefix="zero1toa tests ")
    os.environ["ZERO1TOA_TESTS"] = _MADE.name

import torch

from zero1toa.consent import remember

# The settings of whoever runs the tests stay theirs. The people in our photos agreed, or never were.
_SETTINGS = tempfile.TemporaryDirectory(prefix="zero1toa settings ")
os.environ["XDG_CONFIG_HOME"] = _SETTINGS.name
remember()
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


@pytest.fixture(scope="session")
def browser():
    """Start a headless Chromium that draws WebGL without a GPU, if there is one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs an installed Chromium")
    quiet = ["--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    software = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    exact = ["--enable-precise-memory-info", "--js-flags=--expose-gc"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=[*quiet, *software, *exact])
        yield chromium
        chromium.close()
