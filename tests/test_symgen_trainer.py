import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.heads import SphereHead
from tests.trivial_priors import BrokenPrior, EchoPrior, FixedPrior, NoisyPrior
from zero1toa.avatar.density import DensityConfig
from zero1toa.avatar.rigged import Avatar
from zero1toa.geometry.camera import orbit_camera
from zero1toa.geometry.mesh import face_frames
from zero1toa.geometry.rotation import matrix_to_quaternion
from zero1toa.render import rasterize
from zero1toa.symgen.checkpoint import latest_checkpoint
from zero1toa.symgen.curriculum import CurriculumConfig
from zero1toa.symgen.events import STAGES, Event
from zero1toa.symgen.trainer import Run, TrainerConfig, train
from zero1toa.types import FitReport, InputError, Portrait, PriorError

HEAD = SphereHead()
GREY = torch.full((3,), 0.5)
TINY = TrainerConfig(
    curriculum=CurriculumConfig(
        iterations=24, spatial_clips=3, relaxed_clips=2, exaggerated_clips=2, frames=4, relaxed_from=10,
        exaggerated_from=16, unroll_every=3, update_every=4,
    ),
    density=DensityConfig(rounds=2, gradient=1e-4, growth=2.0),
    size=48, coarse_share=0.5, checkpoint_s=0.0, preview_s=0.0, report_s=0.0,
)  # fmt: skip


def shell() -> Avatar:
    """One disc per triangle, coloured by where it is."""
    state, identity, surface = HEAD.rest_state(), HEAD.neutral_identity(), HEAD.surface
    origin, rotation, size = face_frames(HEAD.vertices(identity, state)[0], surface.faces)
    return Avatar.bind(
        HEAD, identity, state,
        face=torch.arange(len(surface.faces)), means=origin, quats=matrix_to_quaternion(rotation),
        scales=size[:, None] * torch.tensor([0.45, 0.45, 0.05]), opacities=torch.full((len(origin),), 0.9),
        colors=(0.5 + 3 * (origin - HEAD.centre)).clamp(0.1, 0.9),
    )  # fmt: skip


def portrait() -> Portrait:
    """A photo of the shell from its front."""
    camera = orbit_camera(torch.zeros(1), torch.zeros(1), target=HEAD.centre, distance=0.6, focal=130.0, width=64, height=64)
    with torch.no_grad():
        render = rasterize(shell().pose(HEAD.rest_state()), camera, background=torch.zeros(3))
    alpha = render.alpha[0]
    report = FitReport(rmse_px=0.0, yaw=0.0, pitch=0.0, roll=0.0, expressions=())
    return Portrait(
        image=render.color[0] / alpha[..., None].clamp_min(1e-3), alpha=alpha, points=torch.zeros(478, 2), camera=camera,
        identity=HEAD.neutral_identity(), state=HEAD.rest_state(), report=report, crop=(0.0, 0.0, 1.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def accelerator():
    from accelerate import Accelerator

    return Accelerator(cpu=True)


def same(a: Avatar, b: Avatar) -> bool:
    x, y = a.state_arrays(), b.state_arrays()
    return all(x[name].shape == y[name].shape and torch.equal(x[name], y[name]) for name in x)


def look(avatar: Avatar, camera=None) -> torch.Tensor:
    with torch.no_grad():
        return rasterize(avatar.pose(HEAD.rest_state()), camera or portrait().camera, background=GREY).color[0]


def test_events_tell_the_whole_story(accelerator):
    prior, avatar = EchoPrior(), shell()
    events = list(train(avatar, portrait(), prior, TINY, accelerator=accelerator))
    assert [e.iteration for e in events] == sorted(e.iteration for e in events)
    stages = list(dict.fromkeys(e.stage for e in events))
    assert stages == ["front", "side", "relaxed", "exaggerated", "done"]
    assert set(stages) <= set(STAGES)
    assert events[-1].avatar is avatar
    assert events[-1].iteration == events[-1].iterations == 24
    assert all(e.avatar is None for e in events[:-1])
    assert all(e.remaining_s >= 0 for e in events)
    assert events[-1].remaining_s == 0
    clips = [e for e in events if e.clip is not None]
    assert len(clips) == len(prior.requests) >= 7
    assert all(e.clip.shape == e.clip_before.shape == (4, 48, 48, 3) for e in clips)
    assert {e.preview.shape for e in events if e.preview is not None} == {(48, 48, 3)}
    assert {name for name, _ in events[-1].losses} >= {"l1", "perceptual", "position", "scale"}
    assert max(e.splats for e in events) > len(shell())


def test_what_a_prior_draws_changes_nothing_that_the_run_draws(accelerator):
    runs: list[Run] = []

    class Kept(Run):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            runs.append(self)

    pictures = []
    for prior in (NoisyPrior(), EchoPrior()):
        avatar = shell()
        list(train(avatar, portrait(), prior, TINY, accelerator=accelerator, kind=Kept))
        pictures.append(look(avatar))
    noisy, still = runs
    assert torch.equal(noisy.state.generator.get_state(), still.state.generator.get_state())
    assert not torch.equal(*pictures), "the clips differ"


def test_requests_hold_what_they_promise(accelerator):
    prior = EchoPrior()
    list(train(shell(), portrait(), prior, TINY, accelerator=accelerator))
    first = prior.requests[0]
    assert first.frames.shape == (4, 48, 48, 3)
    assert first.alpha.shape == first.depth.shape == (4, 48, 48)
    assert len(first.cameras) == len(first.vertices) == 4
    assert (first.cameras.width, first.cameras.height) == (48, 48)
    assert first.landmarks.shape == (4, 478, 3)
    assert bool(((first.landmarks[..., :2] > 0) & (first.landmarks[..., :2] < 48)).any())
    # At iteration 0 only the first pose of a path is in use; at the end all are.
    assert torch.equal(first.frames[0], first.frames[-1])
    assert not torch.equal(prior.requests[-1].frames[0], prior.requests[-1].frames[-1])
    assert first.reference.rest_vertices.shape == first.vertices.shape[1:]
    assert all(request.reference is first.reference for request in prior.requests), "priors study it once"


def test_an_avatar_that_is_echoed_stays_put(accelerator):
    avatar = shell()
    config = replace(TINY, density=DensityConfig(rounds=0), coarse=1.0)
    before = look(avatar)
    list(train(avatar, portrait(), EchoPrior(), config, accelerator=accelerator))
    assert float((look(avatar) - before).abs().mean()) < 0.02


def test_an_avatar_becomes_what_the_prior_believes(accelerator):
    avatar, color = shell(), (0.2, 0.6, 0.3)
    curriculum = replace(TINY.curriculum, iterations=150, relaxed_from=50, exaggerated_from=100)
    config = replace(TINY, curriculum=curriculum, photo_share=0.0, lr_color=0.05, density=DensityConfig(rounds=0))
    back = orbit_camera(
        torch.tensor([40.0]), torch.zeros(1), target=HEAD.centre, distance=0.6, focal=130.0, width=64, height=64
    )
    list(train(avatar, portrait(), FixedPrior(color), config, accelerator=accelerator))
    middle = look(avatar, back)[28:36, 28:36]
    assert float((middle - torch.tensor(color)).abs().mean()) < 0.04


def test_the_photo_wins_back_its_own_colours(accelerator):
    avatar = shell()
    avatar.color.data.zero_()
    curriculum = replace(TINY.curriculum, iterations=120, spatial_clips=0, relaxed_clips=0, exaggerated_clips=0)
    config = replace(TINY, curriculum=curriculum, lr_color=0.05, density=DensityConfig(rounds=0))
    before = float((look(avatar) - look(shell())).abs().mean())
    list(train(avatar, portrait(), EchoPrior(), config, accelerator=accelerator))
    assert float((look(avatar) - look(shell())).abs().mean()) < 0.35 * before


def test_closing_the_stream_keeps_the_avatar_so_far(accelerator):
    avatar = shell()
    stream = train(avatar, portrait(), EchoPrior(), TINY, accelerator=accelerator)
    for event in stream:
        if event.iteration >= 5:
            break
    stream.close()
    assert not same(avatar, shell())
    assert bool(torch.isfinite(look(avatar)).all())


@pytest.mark.parametrize("message", ["", "regenerating", "regenerated"])
def test_a_closed_run_goes_on_where_it_was_closed(message, accelerator, tmp_path):
    whole, _ = finish(None, accelerator)
    config = replace(TINY, checkpoint_s=3600.0)
    stream = train(shell(), portrait(), NoisyPrior(), config, accelerator=accelerator, folder=tmp_path)
    for event in stream:
        if event.iteration >= 7 and event.message.startswith(message):
            break
    stream.close()
    again, events = finish(tmp_path, accelerator, resume=True, config=config)
    assert events[0].iteration == event.iteration
    assert same(again, whole)


def test_a_run_of_no_iterations_hands_back_the_seed(accelerator):
    avatar = shell()
    config = replace(TINY, curriculum=replace(TINY.curriculum, iterations=0))
    events = list(train(avatar, portrait(), EchoPrior(), config, accelerator=accelerator))
    assert events[-1].stage == "done"
    assert same(avatar, shell())


def test_a_broken_prior_is_named(accelerator):
    with pytest.raises(PriorError, match="broken"):
        list(train(shell(), portrait(), BrokenPrior(), TINY, accelerator=accelerator))


def finish(
    folder: Path | None, accelerator, *, resume: bool = False, config: TrainerConfig = TINY
) -> tuple[Avatar, list[Event]]:
    avatar = shell()
    events = train(avatar, portrait(), NoisyPrior(), config, accelerator=accelerator, folder=folder, resume=resume)
    return avatar, list(events)


@pytest.mark.parametrize("stop_at", [1, 9, 17])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(stop_at, accelerator, tmp_path):
    whole, _ = finish(None, accelerator)
    stream = train(shell(), portrait(), NoisyPrior(), TINY, accelerator=accelerator, folder=tmp_path)
    for event in stream:
        if event.checkpoint is not None and event.iteration >= stop_at:
            break
    stream.close()
    again, events = finish(tmp_path, accelerator, resume=True)
    assert events[0].message.startswith("resumed")
    assert events[0].iteration >= stop_at
    assert same(again, whole)


def test_resuming_with_other_settings_is_refused_and_says_which(accelerator, tmp_path):
    finish(tmp_path, accelerator)
    with pytest.raises(InputError, match=r"strength = 0\.6 instead of 0\.1"):
        finish(tmp_path, accelerator, resume=True, config=replace(TINY, strength=0.1))
    finish(tmp_path, accelerator, resume=True, config=replace(TINY, checkpoint_s=9.0))


def test_one_checkpoint_is_kept_and_a_damaged_one_is_named(accelerator, tmp_path):
    finish(tmp_path, accelerator)
    (checkpoint,) = tmp_path.iterdir()
    assert latest_checkpoint(tmp_path) == checkpoint
    tensors = checkpoint / "state.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        finish(tmp_path, accelerator, resume=True)


KILLED = """
import sys
from pathlib import Path
from accelerate import Accelerator
from tests.test_symgen_trainer import finish
print("ready", flush=True)
finish(Path(sys.argv[1]), Accelerator(cpu=True))
"""


def test_a_killed_process_loses_at_most_one_interval(accelerator, tmp_path):
    whole, _ = finish(None, accelerator)
    root = Path(__file__).parents[1]
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    # Wherever the kill falls, be it amid writing, the newest complete checkpoint must do.
    while child.poll() is None and time.monotonic() < deadline:
        checkpoint = latest_checkpoint(tmp_path)
        if checkpoint is not None and int(checkpoint.name[-6:]) >= 4:
            os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.002)
    assert child.wait() == -signal.SIGKILL
    again, events = finish(tmp_path, accelerator, resume=True)
    assert 0 < events[0].iteration < 24
    assert same(again, whole)


def test_every_clip_is_updated_and_the_stalest_goes_first(accelerator):
    run = Run(shell(), portrait(), EchoPrior(), TINY, accelerator, ())
    order = []
    for k in range(20):
        run.state.iteration = k
        if clips := run.due_clips():
            order += clips
            run.regenerate_clips(clips)
    assert order[:3] == [0, 1, 2]  # every one that takes part is filled at once
    assert order[3:5] == [0, 1]  # then one every four iterations, in turn
    assert set(order) == set(range(7))


def test_several_clips_at_once_come_as_much_more_rarely(accelerator):
    run = Run(shell(), portrait(), EchoPrior(), replace(TINY, clips_per_update=2), accelerator, ())
    asked = {}
    for k in range(20):
        run.state.iteration = k
        if clips := run.due_clips():
            asked[k] = clips
            assert len(run.regenerate_clips(clips)) == len(clips)
    assert asked[0] == [0, 1]
    assert asked[1] == [2]
    assert asked[8] == [0, 1], "two every eight iterations instead of one every four"
    assert 4 not in asked


SHARED_OUT = replace(TINY, clips_per_update=2, density=DensityConfig(rounds=0), photo_share=0.0, coarse_share=0.0)
RANK = """
import os, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from tests.test_symgen_trainer import SHARED_OUT, EchoPrior, NoisyPrior, BrokenPrior, portrait, shell, train
from zero1toa.types import PriorError
torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
rank, folder = accelerator.process_index, Path(sys.argv[1])
for prior in (EchoPrior(), NoisyPrior()):
    avatar = shell()
    list(train(avatar, portrait(), prior, SHARED_OUT, accelerator=accelerator))
    torch.save(avatar.state_arrays(), folder / f"{prior.name}-{rank}.pt")
    (folder / f"{prior.name}-{rank}.txt").write_text(str(len(getattr(prior, "requests", ()))))
# Only one of them gets frames that cannot be used, and yet none waits for the other.
try:
    list(train(shell(), portrait(), BrokenPrior() if rank else EchoPrior(), SHARED_OUT, accelerator=accelerator))
except PriorError:
    (folder / f"refused-{rank}").touch()
accelerator.end_training()
"""


def test_two_processes_share_the_redrawing_and_make_the_avatar_that_one_makes(accelerator, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    place |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path)], cwd=Path(__file__).parents[1],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [rank.communicate(timeout=240)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], told

    for name in ("echo", "noisy"):
        first, second = (torch.load(tmp_path / f"{name}-{rank}.pt") for rank in range(2))
        assert all(torch.equal(first[key], second[key]) for key in first), "all processes have one avatar"
    assert {path.name for path in tmp_path.glob("refused-*")} == {"refused-0", "refused-1"}
    one, prior = shell(), EchoPrior()
    list(train(one, portrait(), prior, replace(SHARED_OUT, batch=2), accelerator=accelerator))
    shares = [int((tmp_path / f"echo-{rank}.txt").read_text()) for rank in range(2)]
    assert sum(shares) == len(prior.requests), "no clip is redrawn twice"
    assert abs(shares[0] - shares[1]) <= len(prior.requests) // 4
    two, alone, before = torch.load(tmp_path / "echo-0.pt"), one.state_arrays(), shell().state_arrays()
    for name in dict(one.named_parameters()):
        moved, apart = (float((alone[name] - other[name]).abs().mean()) for other in (before, two))
        assert apart < 0.02 * moved, name
