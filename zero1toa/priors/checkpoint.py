"""Weights as their authors published them: read without trusting them, checked tensor by tensor, and kept converted."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from zero1toa.assets import cache_folder, kept_tensors
from zero1toa.types import PriorError

Module = TypeVar("Module", bound=nn.Module)

FORMAT = 1  # raise it when converted tensors change, so that old conversions are made again


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a pickle of named tensors; whatever else it holds is not loaded. Raises PriorError for anything unusable."""
    try:
        zipped = zipfile.is_zipfile(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if zipped:
            raise PriorError(f"{path} holds more than tensors and is refused: it could run programs; {_again(path)}") from error
        raise PriorError(f"{path} is damaged or incomplete: {_again(path)}") from error
    except FileNotFoundError as error:
        raise PriorError(f"{path} is not there: fetch the weights again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise PriorError(f"{path} is damaged or incomplete: {_again(path)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise PriorError(f"{path} holds something else than named tensors: {_again(path)}")
    return tensors


def require_same(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise PriorError, naming one tensor, unless `tensors` are exactly those of a model in name and shape."""
    expected = model.state_dict()
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        example = f"{missing[0]} is missing" if missing else f"{unexpected[0]} is unknown"
        raise PriorError(
            f"{source} does not hold the weights it should ({len(missing)} tensors missing, {len(unexpected)} unknown; "
            f"{example}): delete it and fetch it again"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise PriorError(
                f"{source} does not hold the weights it should ({name} has the shape {tuple(tensor.shape)} instead of "
                f"{tuple(expected[name].shape)}): delete it and fetch it again"
            )


def fill(model: Module, tensors: Mapping[str, Tensor], source: str, device: torch.device, dtype: torch.dtype) -> Module:
    """Give a model built on the meta device its weights, every one of them and no other, for inference."""
    require_same(model, tensors, source)
    kind = lambda tensor: dtype if tensor.is_floating_point() else tensor.dtype
    placed = {key: tensor.to(device, kind(tensor)) for key, tensor in tensors.items()}
    model.load_state_dict(placed, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def converted(name: str, sources: tuple[Path, ...], convert: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], Path]:
    """Give what `convert` makes of the source files, from the cache if they are what they were, and where it is kept."""
    mark = hashlib.sha256(str(FORMAT).encode())
    for path in sources:
        if not path.is_file():
            raise PriorError(f"{path} is not there: fetch the weights again")
        mark.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    kept = cache_folder() / f"{name}-{mark.hexdigest()[:16]}.safetensors"
    return kept_tensors(kept, convert), kept


def half(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Round to 16 bits for keeping, under a common prefix."""
    return {f"{prefix}.{key}": tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors under a prefix, without it."""
    return {key[len(prefix) + 1 :]: tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}.")}


def _again(path: Path) -> str:
    return f"delete {path.name} and fetch it again"
