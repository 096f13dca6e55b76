"""Keep training examples on disk: making one costs seconds, reading it back a tenth of one.

python -m zero1toa.training.dataset DIR [--first 0] [--count 1000] [--size 128] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from zero1toa.head.anny import load_anny
from zero1toa.training.clips import ClipConfig, ClipExample, make_example

# Colours are scrambled anew each time an example is used, so that is not done to what is kept.
KEPT = ClipConfig(scrambled=0.0)
# Seeds from here on are for validation: nobody that a model learnt from is among them.
VALIDATION = 1_000_000
# Pixels a side of whole frames, in which faces are about as large as the network sees them.
FRAME_SIZE = 128
_PLAIN = ("seed", "kind", "scrambled")
_OF_CLIP = ("photo", "matte", "photo_landmarks", "background")
_FLOATS = ("photo_landmarks", "landmarks", "background", "expression")


def save_example(example: ClipExample, file: Path) -> None:
    """Write an example as an npz with pictures of 8 bits a channel; aside first, then in one move.

    It is not compressed: reading it fast matters more.
    """
    arrays = {}
    for entry in fields(example):
        value = getattr(example, entry.name)
        if entry.name in _PLAIN:
            arrays[entry.name] = np.array(value)
        elif entry.name in _FLOATS:
            arrays[entry.name] = value.numpy().astype(np.float32)
        else:
            arrays[entry.name] = value.numpy() if value.dtype == torch.uint8 else _as_bytes(value)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with aside.open("wb") as stream:
        np.savez(stream, **arrays)
    aside.replace(file)


def load_example(file: Path, choose: Callable[[int], slice] | None = None) -> ClipExample:
    """Read an example that `save_example` wrote, all frames or those chosen by their count; nothing in it is executed."""
    with np.load(file, allow_pickle=False) as arrays:
        some = slice(None) if choose is None else choose(len(arrays["expression"]))
        values = {}
        for entry in fields(ClipExample):
            array = arrays[entry.name]
            if entry.name in _PLAIN:
                values[entry.name] = array.item()
                continue
            tensor = torch.from_numpy(array if entry.name in _OF_CLIP else array[some])
            values[entry.name] = tensor if entry.name in _FLOATS or entry.name == "parts" else tensor.float() / 255
    return ClipExample(**values)


def with_small_photo(example: ClipExample) -> ClipExample:
    """Give an example with a photo of its frames' size, which is what the network sees of it."""
    step = example.photo.shape[0] // example.frames.shape[1]
    shrink = lambda channels: avg_pool2d(channels, step)
    return replace(
        example,
        photo=shrink(example.photo.movedim(-1, 0)).movedim(0, -1),
        matte=shrink(example.matte[None])[0],
        photo_landmarks=example.photo_landmarks / example.photo_landmarks.new_tensor([step, step, 1.0]),
    )


def example_files(folder: Path) -> list[Path]:
    """List the examples of a folder, by seed."""
    return sorted(folder.glob("[0-9]*.npz"), key=lambda file: int(file.stem))


def keep_example(folder: Path, size: int, seed: int) -> Path:
    """Make the example of a seed, with frames of `size` pixels a side, unless the folder has it."""
    file = folder / f"{seed}.npz"
    if not file.exists():
        save_example(with_small_photo(make_example(seed, _head(), replace(KEPT, size=size))), file)
    return file


@lru_cache(maxsize=1)
def _head():
    torch.set_num_threads(1)
    return load_anny()


def _as_bytes(values: torch.Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zero1toa.training.dataset", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help=f"first seed; those for validation begin at {VALIDATION}")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--size", type=int, default=FRAME_SIZE, help="pixels of a frame a side")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    # Threads of one worker would take turns with those of another.
    os.environ["NUMBA_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        seeds = range(asked.first, asked.first + asked.count)
        for done, file in enumerate(pool.map(partial(keep_example, asked.folder, asked.size), seeds), 1):
            sys.stdout.write(f"{done} of {asked.count}: {file.name}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
