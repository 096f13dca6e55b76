"""Where files live that are not in the package: the cache of built tensors and downloaded weights."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Give the folder for everything that can be made again; `ZERO1TOA_CACHE` moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zero1toa"
    folder = Path(os.environ.get("ZERO1TOA_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
