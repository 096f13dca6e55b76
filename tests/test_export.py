"""Avatars are saved and loaded again, or it is said what is wrong with them; splats and video open elsewhere."""

import dataclasses
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from plyfile import PlyData

from tests.avatars import HEAD, sphere_avatar, sphere_portrait
from zero1toa.avatar.rigged import SH0
from zero1toa.config import PRESETS
from zero1toa.export.package import RECORD, TENSORS, WORK, load_avatar, read_details, save_avatar
from zero1toa.export.ply import PROPERTIES, write_ply
from zero1toa.export.saved import Details, SavedAvatar
from zero1toa.export.video import write_demo
from zero1toa.export.views import Viewer
from zero1toa.expressions import CONTROLS, FACES, GAZE_X, parse_expressions, towards, with_expressions
from zero1toa.geometry.camera import center, project
from zero1toa.geometry.rotation import quaternion_to_matrix
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.media import read_video
from zero1toa.types import AvatarError, HeadState, InputError

CONFIG = PRESETS["preview"].with_seed(7)


@pytest.fixture
def folder(tmp_path):
    return save_avatar(
        tmp_path / "Zoë's avatar", sphere_avatar(), sphere_portrait(), CONFIG, timings={"seed": 1.234, "total": 2}
    )


def loaded(folder) -> SavedAvatar:
    return load_avatar(folder, head=HEAD)


def viewer() -> Viewer:
    return Viewer.of(SavedAvatar(sphere_avatar(), sphere_portrait(), Details(head="sphere", splats=1)))


# ------------------------------------------------------------------------------------------------------- package


def test_what_was_saved_is_loaded_again_exactly(folder):
    before, photo, again = sphere_avatar(), sphere_portrait(), loaded(folder)
    for name, tensor in before.state_arrays().items():
        assert torch.equal(again.avatar.state_arrays()[name], tensor), name
    for field in dataclasses.fields(photo):
        ours, theirs = getattr(photo, field.name), getattr(again.portrait, field.name)
        match ours:
            case torch.Tensor():
                assert torch.allclose(ours, theirs, atol=1e-6), field.name
            case _ if dataclasses.is_dataclass(ours):
                for part in dataclasses.fields(ours):
                    a, b = getattr(ours, part.name), getattr(theirs, part.name)
                    assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, (field.name, part.name)
            case _:
                assert ours == theirs, field.name
    one, other = before.pose(photo.state), again.avatar.pose(again.state)
    assert torch.equal(one.means, other.means)


def test_the_record_says_how_the_avatar_was_made(folder):
    details = read_details(folder)
    assert (details.seed, details.preset, details.prior, details.head) == (7, "preview", CONFIG.prior, "anny")
    assert details.finished
    assert details.timings == (("seed", 1.23), ("total", 2.0))
    assert details.splats == len(sphere_avatar())
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    assert record["config"]["trainer"]["size"] == CONFIG.trainer.size
    assert record["fit"]["yaw"] == 10.0
    assert record["notes"] == ["The face is only 99 px wide."]
    assert {"portrait.png", "preview.png"} <= {path.name for path in folder.iterdir()}
    assert not [path for path in folder.parent.iterdir() if path != folder], "nothing else is left behind"


def test_an_avatar_that_was_stopped_says_so(tmp_path):
    folder = save_avatar(tmp_path / "a", sphere_avatar(), sphere_portrait(), CONFIG, iteration=3)
    assert (read_details(folder).finished, read_details(folder).iteration) == (False, 3)


def test_an_avatar_is_never_replaced_unless_forced_and_other_files_stay(folder):
    (folder / "my notes.txt").write_text("keep me")
    with pytest.raises(InputError, match="--force"):
        save_avatar(folder, sphere_avatar(), sphere_portrait(), CONFIG)
    save_avatar(folder, sphere_avatar(), sphere_portrait(), CONFIG.with_seed(8), force=True)
    assert read_details(folder).seed == 8
    assert (folder / "my notes.txt").read_text() == "keep me"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    loaded(folder)


def test_a_folder_with_other_files_and_a_file_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InputError, match="holds other files"):
        save_avatar(tmp_path / "photos", sphere_avatar(), sphere_portrait(), CONFIG)
    with pytest.raises(InputError, match="is a file"):
        save_avatar(tmp_path / "photos" / "cat.jpg", sphere_avatar(), sphere_portrait(), CONFIG)
    (tmp_path / "empty").mkdir()
    loaded(save_avatar(tmp_path / "empty", sphere_avatar(), sphere_portrait(), CONFIG))


def test_a_failure_while_saving_leaves_the_old_avatar_and_no_rubbish(folder):
    broken = sphere_portrait()
    broken = replace(broken, image=broken.image[:10])  # does not fit its matte
    with pytest.raises(RuntimeError):
        save_avatar(folder, sphere_avatar(), broken, CONFIG, force=True)
    loaded(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    with pytest.raises(RuntimeError):
        save_avatar(folder.parent / "new", sphere_avatar(), broken, CONFIG)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def edit(folder, **changes):
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    (folder / RECORD).write_text(json.dumps({**record, **changes}))


DAMAGE = {
    "no record": (lambda f: (f / RECORD).unlink(), "holds no avatar"),
    "record cut short": (lambda f: (f / RECORD).write_text((f / RECORD).read_text()[:100]), "damaged"),
    "record of another program": (lambda f: (f / RECORD).write_text("[1, 2]"), "damaged"),
    "record without a part": (lambda f: edit(f, fit={}), "damaged"),
    "record with a part of another kind": (lambda f: edit(f, timings=3), "damaged"),
    "head of another kind": (lambda f: edit(f, head=3), "damaged"),
    "newer version": (lambda f: edit(f, format=99, version="9.9"), "saved by zero1toa 9.9: update"),
    "no tensors": (lambda f: (f / TENSORS).unlink(), "is missing"),
    "tensors cut short": (lambda f: (f / TENSORS).write_bytes((f / TENSORS).read_bytes()[:-100]), "not complete"),
    "tensors are text": (lambda f: (f / TENSORS).write_text("hello"), "not complete"),
    "tensors are empty": (lambda f: (f / TENSORS).write_bytes(b""), "not complete"),
    "tensors of another avatar": (lambda f: edit(f, stamp="0" * 32), "two different avatars"),
    "no portrait": (lambda f: (f / "portrait.png").unlink(), "is missing"),
    "portrait is text": (lambda f: (f / "portrait.png").write_text("hello"), "damaged"),
    "folder is gone": (lambda f: shutil.rmtree(f), "there is no folder"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folders_are_named_in_a_sentence(folder, damage):
    harm, message = DAMAGE[damage]
    harm(folder)
    with pytest.raises(AvatarError, match=message):
        loaded(folder)


def test_not_numbers_in_a_saved_avatar_are_refused(tmp_path):
    avatar = sphere_avatar()
    avatar.centre.data[3, 1] = math.nan
    with pytest.raises((ValueError, AvatarError)):
        loaded(save_avatar(tmp_path / "a", avatar, sphere_portrait(), CONFIG))


def test_another_head_and_an_unfinished_run_are_named(folder, tmp_path):
    from tests.heads import SphereHead

    with pytest.raises(AvatarError, match="another build of the head model"):
        load_avatar(folder, head=SphereHead(6, 9))
    (tmp_path / "b" / WORK).mkdir(parents=True)
    with pytest.raises(AvatarError, match=r"not finished.*--resume"):
        loaded(tmp_path / "b")
    with pytest.raises(AvatarError, match="is a file"):
        loaded(folder / RECORD)


# ----------------------------------------------------------------------------------------------------------- ply


def test_ply_is_read_back_as_the_posed_avatar(tmp_path):
    avatar, state = sphere_avatar(), sphere_portrait().state
    posed = avatar.pose(state)
    path = write_ply(tmp_path / "Kopf ü.ply", posed, comments=["made by a test", "in two\nlines, naïvely"])
    ply = PlyData.read(str(path))
    assert not ply.text
    assert ply.byte_order == "<"
    assert ply.comments == ["made by a test", "in two lines, na?vely"]
    rows = ply["vertex"].data
    assert rows.dtype.names == PROPERTIES
    column = lambda *names: torch.from_numpy(np.stack([np.array(rows[name]) for name in names], 1))
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    with torch.no_grad():
        assert torch.allclose(column("x", "y", "z") @ half_turn, posed.means[0], atol=1e-6)
        assert torch.allclose(column("scale_0", "scale_1", "scale_2").exp(), posed.scales[0], rtol=1e-4)
        assert torch.allclose(column("opacity")[:, 0].sigmoid(), posed.opacities[0], atol=1e-5)
        assert torch.allclose(0.5 + SH0 * column("f_dc_0", "f_dc_1", "f_dc_2"), posed.colors[0], atol=1e-5)
        quats = column("rot_0", "rot_1", "rot_2", "rot_3")
        assert torch.allclose(half_turn @ quaternion_to_matrix(quats), quaternion_to_matrix(posed.quats[0]), atol=1e-5)
        assert torch.allclose(quats.norm(dim=-1), torch.ones(len(quats)), atol=1e-5)


def test_ply_of_extreme_splats_stays_finite_and_names_are_checked(tmp_path):
    posed = sphere_avatar().pose(HEAD.rest_state())
    flat = replace(posed, opacities=torch.ones_like(posed.opacities), scales=posed.scales * 0)
    rows = PlyData.read(str(write_ply(tmp_path / "flat.ply", flat)))["vertex"].data
    assert all(np.isfinite(rows[name]).all() for name in PROPERTIES)
    with pytest.raises(InputError, match=r"ends in \.ply"):
        write_ply(tmp_path / "flat.txt", posed)
    with pytest.raises(InputError, match="no folder"):
        write_ply(tmp_path / "no" / "flat.ply", posed)


# --------------------------------------------------------------------------------------------------- views, video


def test_views_keep_the_head_where_the_photo_shows_it():
    view = viewer()
    seen_at = project(view.target[None, None], view.camera(size=48))[0, 0, :2]
    for camera in (view.camera(40, 10, size=48), view.camera(-70, zoom=3, size=48)):
        assert torch.allclose(project(view.target[None, None], camera)[0, 0, :2], seen_at, atol=1e-3)
    assert center(view.camera(30))[0, 0] > 0, "yaw > 0 goes to the subject's left"
    assert center(view.camera(0, 30))[0, 1] > center(view.camera())[0, 1], "pitch > 0 goes up"
    assert view.picture(size=64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "wrong", [{"size": 5}, {"size": 99999}, {"zoom": 0.0}, {"zoom": math.nan}, {"yaw": math.nan}, {"pitch": 91}]
)
def test_views_of_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="use"):
        viewer().camera(**wrong)


def test_demo_video_is_read_back(tmp_path):
    path = write_demo(tmp_path / "demo.mp4", viewer(), size=32, fps=10, seconds=1.2)
    video = read_video(path)
    assert video.frames.shape == (12, 32, 32, 3)
    assert video.frames.std(0).mean() > 1, "it moves"


# --------------------------------------------------------------------------------------------------- expressions


def weights(state) -> dict[str, float]:
    return {name: float(value) for name, value in zip(ARKIT_NAMES, state.expression[0], strict=True) if value}


def test_sliders_go_from_the_photo_to_their_ends_without_a_jump():
    weights = torch.zeros(1, 52)
    smile = ARKIT_NAMES.index("mouthSmileLeft")
    weights[0, smile] = 0.6
    photo = HeadState(weights, torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 2, 3))
    at = lambda value: float(towards(photo, {"smile": value}, ARKIT_NAMES).expression[0, smile])
    assert at(0.0) == pytest.approx(0.6)
    assert at(0.01) == pytest.approx(0.6, abs=0.02)
    assert at(1.0) == pytest.approx(1.0)
    assert at(-1.0) == pytest.approx(0.0)


def test_whole_faces_go_by_their_names():
    values = parse_expressions("happy,jaw=0.5")
    assert values == FACES["happy"] | {"jaw": 0.5}
    for face in FACES.values():
        with_expressions(sphere_portrait().state, face)


def test_controls_set_what_they_name_and_leave_the_rest():
    photo = sphere_portrait().state
    other = {ARKIT_NAMES[3]: 0.25}
    state = with_expressions(photo, parse_expressions("smile=1, jawOpen=0.6"))
    assert weights(state) == pytest.approx(
        {**other, "mouthSmileLeft": 1, "mouthSmileRight": 1, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4, "jawOpen": 0.6}
    )
    assert set(weights(with_expressions(photo, {"brows": -0.5}))) == {"browDownLeft", "browDownRight"}
    glance = with_expressions(photo, {"eyeLookOutLeft": 0.7})
    looking = with_expressions(glance, {"gaze-x": 1})
    assert looking.eyes[0, :, 1].tolist() == pytest.approx([GAZE_X] * 2)
    assert weights(looking) == other, "the glance of the photo is taken back"
    assert with_expressions(photo, {"gaze-y": 1}).eyes[0, 0, 0] < 0, "up is a negative turn about x"
    assert not weights(photo).keys() - other.keys(), "the given state is not changed"
    for control in CONTROLS:
        with_expressions(photo, {control.name: control.low})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smyle=1", "try smile"), ("jawopen=1", "jawOpen"), ("smile", "number is missing"), ("smile=", "number is missing"),
        ("smile=very", "no number"), ("=1", "no expression"),
    ],
)  # fmt: skip
def test_misspelt_expressions_are_explained(text, message):
    with pytest.raises(InputError, match=message):
        parse_expressions(text)


@pytest.mark.parametrize("values", [{"smile": 1.2}, {"jaw": -0.1}, {"jawOpen": math.nan}, {"blink": math.inf}])
def test_expressions_out_of_range_are_refused(values):
    with pytest.raises(InputError, match="out of range"):
        with_expressions(HEAD.rest_state(), values)
