"""Ways in which files of weights go wrong."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor


def truncate(path: Path) -> None:
    """Keep the beginning, as a download that broke off does."""
    path.write_bytes(path.read_bytes()[:200])


def change(path: Path, **tensors: Tensor) -> None:
    """Add tensors, or put them in the place of others."""
    save_file(load_file(path) | tensors, path)


def drop(path: Path, name: str) -> None:
    """Leave a tensor out."""
    save_file({key: tensor for key, tensor in load_file(path).items() if key != name}, path)
