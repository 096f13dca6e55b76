import math
from dataclasses import replace

import pytest
import torch

from tests.heads import SphereHead
from tests.test_symgen_trainer import portrait
from zero1toa.geometry.camera import center, project, view_angles
from zero1toa.geometry.rotation import axis_angle_to_matrix
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.symgen.curriculum import Curriculum, CurriculumConfig, middle_of_head
from zero1toa.symgen.performances import PERFORMANCES, blinks, drift, perform, relax
from zero1toa.types import Camera, HeadState, Motion

HEAD = SphereHead()
PAPER = CurriculumConfig()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def curriculum() -> Curriculum:
    return Curriculum.build(PAPER, HEAD, portrait(), generator=seeded())


def side_angle(camera: Camera) -> torch.Tensor:
    """Degrees by which cameras stand to the side of the head."""
    away = center(camera) - middle_of_head(HEAD, portrait())
    return torch.rad2deg(torch.atan2(away[:, 0], away[:, 2]))


def test_the_schedule_is_the_papers(curriculum):
    stages = [clip.stage for clip in curriculum.clips]
    assert (stages.count("side"), stages.count("relaxed"), stages.count("exaggerated")) == (20, 10, 10)
    assert [len(curriculum.active(k)) for k in (0, 4_999, 5_000, 7_999, 8_000, 9_999)] == [20, 20, 30, 30, 40, 40]
    assert [curriculum.stage(k) for k in (0, 4_999, 5_000, 8_000)] == ["front", "side", "relaxed", "exaggerated"]


@pytest.mark.parametrize("k", [0, 299, 300, 2_400, 4_500, 9_999])
def test_paths_unroll_as_the_formula_says(curriculum, k):
    clip, n = curriculum.clips[0], PAPER.frames
    j = min(math.floor(k / PAPER.unroll_every) + 1, n)
    expected = clip.cameras.viewmats[[min(i, j) - 1 for i in range(1, n + 1)]]
    assert torch.equal(curriculum.poses_at(clip, k).viewmats, expected)


def test_spatial_clips_go_from_the_photo_to_both_sides(curriculum):
    ends = []
    for clip in curriculum.clips[:20]:
        torch.testing.assert_close(clip.cameras.viewmats[0], portrait().camera.viewmats[0], atol=1e-5, rtol=0)
        assert bool((clip.states.expression == clip.states.expression[:1]).all())
        angle = side_angle(clip.cameras)
        assert bool((angle.abs().diff() > 0).all())
        ends.append(float(angle[-1]))
    assert max(ends) <= 75.1
    assert min(ends) >= -75.1
    assert sum(end > 40 for end in ends) == sum(end < -40 for end in ends) == 10


def test_every_camera_frames_the_head_as_the_photo_does(curriculum):
    target = middle_of_head(HEAD, portrait())[None, None]
    seen = project(target, portrait().camera)
    for clip in curriculum.clips:
        torch.testing.assert_close(project(target.expand(16, 1, 3), clip.cameras), seen.expand(16, 1, 3), atol=1e-2, rtol=1e-4)


def test_temporal_clips_stay_near_the_front_and_move(curriculum):
    for clip in curriculum.clips[20:]:
        assert bool((clip.cameras.viewmats == clip.cameras.viewmats[:1]).all())
        assert bool((side_angle(clip.cameras).abs() <= 8.1).all())
        assert float(clip.states.expression.std(0).max()) > 0.01
    reach = lambda clips: sum(float(c.states.expression.sum(-1).max()) for c in clips)
    assert reach(curriculum.clips[30:]) > 1.5 * reach(curriculum.clips[20:30])


def test_the_same_seed_gives_the_same_clips():
    a, b, c = (Curriculum.build(PAPER, HEAD, portrait(), generator=seeded(seed)) for seed in (1, 1, 2))
    same = lambda x, y: all(
        torch.equal(p.states.expression, q.states.expression) for p, q in zip(x.clips, y.clips, strict=True)
    )
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.1, 0.03, 0.01])
def test_a_scaled_schedule_keeps_its_shape(factor):
    short = PAPER.scaled(factor)
    assert short.iterations == round(10_000 * factor)
    assert short.relaxed_from / short.iterations == pytest.approx(0.5, abs=0.02)
    assert short.exaggerated_from / short.iterations == pytest.approx(0.8, abs=0.02)
    assert min(short.spatial_clips, short.relaxed_clips, short.exaggerated_clips) >= 2
    assert short.iterations / short.update_every >= 2 * short.clips
    assert short.update_every == 30 or factor < 0.1
    assert short.unroll_every * short.frames <= short.relaxed_from * 1.1
    assert factor != 1.0 or short == PAPER


def test_none_of_a_kind_stays_none():
    assert CurriculumConfig(relaxed_clips=0).scaled(0.1).relaxed_clips == 0


def test_without_progress_everything_takes_part_at_once():
    config = CurriculumConfig(progressive=False)
    everything = Curriculum.build(config, HEAD, portrait(), generator=seeded())
    assert len(everything.active(0)) == 40
    assert everything.unrolled(0) == config.frames


def test_a_users_motion_takes_the_place_of_our_performances():
    frames = 60
    expression = torch.zeros(frames, 52)
    expression[:, 0] = torch.linspace(0, 1, frames)
    turned = torch.full((frames, 3), 0.4)
    states = HeadState(expression, torch.zeros(frames, 3), turned, torch.zeros(frames, 2, 3))
    still = portrait().camera
    cameras = Camera(still.viewmats.expand(frames, 4, 4), still.intrinsics.expand(frames, 3, 3), 64, 64)
    found = (*[False] * 20, *[True] * 40)
    motion = Motion(states, cameras, fps=25.0, found=found)
    made = Curriculum.build(PAPER, HEAD, portrait(), generator=seeded(), motions=[motion])
    for clip in made.clips[30:]:
        assert clip.name.startswith("motion")
        assert float(clip.states.expression[0, 0]) >= 19 / 59
        assert float(clip.states.expression[-1, 0] - clip.states.expression[0, 0]) == pytest.approx(30 / 59, abs=1e-3)
        assert float(clip.states.head.abs().max()) < 1e-6  # how the actor holds the head is not taken over


def test_an_unordered_head_gets_its_names_right():
    class Backwards(SphereHead):
        expression_names = tuple(reversed(ARKIT_NAMES))

    ours = Curriculum.build(PAPER, HEAD, portrait(), generator=seeded())
    theirs = Curriculum.build(PAPER, Backwards(), portrait(), generator=seeded())
    for a, b in zip(ours.clips[20:], theirs.clips[20:], strict=True):
        assert torch.equal(a.states.expression, b.states.expression.flip(-1))


@pytest.mark.parametrize("performance", PERFORMANCES, ids=lambda p: p.name)
def test_performances_are_smooth_and_within_range(performance):
    played = perform(performance, 60, 30.0, generator=seeded())
    assert bool(((played.expression >= 0) & (played.expression <= 1)).all())
    assert float(played.expression.max()) > 0.3
    assert float(played.expression.diff(dim=0).abs().max()) < 0.55  # a blink shuts within two frames at 30 a second
    assert float(played.head.norm(dim=-1).max()) < 0.5
    softer = perform(performance, 60, 30.0, intensity=0.4, generator=seeded())
    assert float(softer.expression.sum()) < float(played.expression.sum())
    assert not torch.equal(perform(performance, 60, 30.0, generator=seeded(5)).expression, played.expression)


def test_relaxed_faces_are_calm_and_blink():
    states = [relax(120, 30.0, generator=seeded(s)) for s in range(4)]
    lids = [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]
    for played in states:
        assert float(played.expression[:, lids].max()) > 0.6
        others = [i for i in range(52) if i not in lids]
        assert float(played.expression[:, others].max()) < 0.4
        assert float(played.head.abs().max()) < 0.1


def test_blinks_are_short_and_drifts_are_bounded():
    seconds = torch.arange(1000) / 100
    closing = blinks(seconds, generator=seeded())
    assert 0.02 < float((closing > 0.5).float().mean()) < 0.2
    curve = drift(seconds, every=0.5, generator=seeded())
    assert float(curve.abs().max()) <= 1
    assert float(curve.diff().abs().max()) < 0.1


@pytest.mark.parametrize("turned", [-40.0, 0.0, 40.0])
def test_angles_are_measured_from_the_face_not_from_the_photo(turned):
    """A face that is turned in the photo is still seen from its front and from both of its sides."""
    photo = portrait()
    head = torch.tensor([[0.0, math.radians(turned), 0.0]])
    forward = axis_angle_to_matrix(head)[0] @ torch.tensor([0.0, 0.0, 1.0])
    rotation = photo.camera.viewmats[0, :3, :3] @ axis_angle_to_matrix(head)[0]
    report = replace(photo.report, yaw=view_angles(rotation)[0])
    photo = replace(photo, state=replace(photo.state, head=head), report=report)
    made = Curriculum.build(PAPER, HEAD, photo, generator=seeded())
    target = middle_of_head(HEAD, photo)

    def angle(camera: Camera) -> torch.Tensor:
        away = torch.nn.functional.normalize(center(camera) - target, dim=-1)
        side = torch.linalg.cross(forward.expand_as(away), away)[:, 1]
        return torch.rad2deg(torch.atan2(side, away @ forward))

    assert all(float(angle(clip.cameras).abs().max()) < 10 for clip in made.clips[20:])
    ends = torch.stack([angle(clip.cameras)[-1] for clip in made.clips[:20]])
    assert bool(((ends.abs() > 40) & (ends.abs() < 76)).all())
    assert int((ends > 0).sum()) == 10
