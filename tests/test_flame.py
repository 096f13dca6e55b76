"""A FLAME file of the user's own: read without trusting it, posed as FLAME poses, known by ARKit's names."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_file import ORIGIN, flame_arrays, load_synthetic_flame, write_npz, write_pickle
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation

from zero1toa.head import flame, load_head
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.flame_file import FlameFile, read_flame
from zero1toa.head.linear import JOINTS
from zero1toa.types import HeadState, Identity, InputError


def read(path: Path) -> FlameFile:
    return read_flame(path, path.read_bytes())


@pytest.fixture(scope="module")
def head():
    return load_synthetic_flame()


# ------------------------------------------------------------------------------------------------------- reading


def test_pickle_and_npz_say_the_same(tmp_path):
    arrays = flame_arrays()
    assert arrays["v_template"].shape == (5023, 3)
    assert arrays["shapedirs"].shape == (5023, 3, 400)
    assert arrays["f"].shape == (9976, 3)
    pickled, plain = read(write_pickle(tmp_path / "a.pkl", arrays)), read(write_npz(tmp_path / "a.npz", arrays))
    for name in FlameFile.__slots__:
        np.testing.assert_array_equal(getattr(pickled, name), getattr(plain, name))
    np.testing.assert_array_equal(plain.template, arrays["v_template"])
    np.testing.assert_allclose(plain.shapes[7], arrays["shapedirs"][..., 7], atol=1e-7)
    np.testing.assert_allclose(plain.expressions[3], arrays["shapedirs"][..., 303], atol=1e-7)


def test_the_test_file_is_a_pickle_of_python_2(tmp_path):
    names = {
        argument
        for opcode, argument, _ in pickletools.genops(write_pickle(tmp_path / "a.pkl", flame_arrays()).read_bytes())
        if opcode.name == "GLOBAL"
    }
    assert {"chumpy.ch Ch", "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "__builtin__ set"} <= names
    assert any("csc_matrix" in name for name in names)


def test_pickles_of_python_3_are_read(tmp_path):
    arrays = flame_arrays()
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(arrays, protocol))
        np.testing.assert_array_equal(read(path).weights, arrays["weights"])


class Calls:
    """Pickles as a call of something with arguments, which reading must not make."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name, self.arguments = name, arguments


def malicious(call: Calls, protocol: int = 2) -> bytes:
    """Assemble a pickle of {"v_template": name(*arguments)} that no honest pickler would write."""
    module, name = call.name.rsplit(":", 1)
    arguments = b"".join(b"X" + len(a).to_bytes(4, "little") + a for a in (str(a).encode() for a in call.arguments))
    if protocol >= 4:
        where = b"".join(b"\x8c" + bytes([len(a)]) + a.encode() for a in (module, name)) + b"\x93"
    else:
        where = b"c" + module.encode() + b"\n" + name.encode() + b"\n"
    return b"\x80" + bytes([protocol]) + b"}X\x0a\x00\x00\x00v_template" + where + b"(" + arguments + b"tRs."


@pytest.mark.parametrize(
    "name",
    [
        "os:system", "posix:system", "nt:system", "subprocess:Popen", "builtins:eval", "__builtin__:eval",
        "builtins:exec", "builtins:getattr", "builtins:__import__", "__builtin__:open", "numpy.f2py.crackfortran:myeval",
        "numpy.testing._private.utils:runstring", "numpy:load", "numpy:fromfile", "numpy:memmap",
        "numpy.core.multiarray:fromfile", "numpy.lib.npyio:NpzFile", "scipy.sparse:load_npz", "scipy.io:loadmat",
        "scipy.sparse.csc:np", "torch:load", "pickle:loads", "_pickle:loads", "importlib:import_module", "shutil:rmtree",
        "chumpy.ch:os", "chumpy.utils:exec", "chumpy:system", "functools:partial", "operator:attrgetter", "types:CodeType",
        "zero1toa.assets:cache_folder", "copy_reg:__newobj__", "codecs:open", "_codecs:decode", "webbrowser:open",
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_that_names_anything_else_is_refused(tmp_path, name, protocol):
    trace = tmp_path / "trace"
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(malicious(Calls(name, f"touch {trace}"), protocol))
    with pytest.raises(InputError, match=r"flame2023\.pkl names .* was not read"):
        read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [
        # Dotted names reach attributes of what is admitted.
        malicious(Calls("numpy:ndarray.tofile", "x"), 4),
        malicious(Calls("numpy:dtype.__class__", "x"), 4),
        malicious(Calls("builtins:object.__subclasses__"), 4),
        # Admitted names in places where they have no business.
        malicious(Calls("_codecs:encode", "x", "zip"), 2),
        malicious(Calls("numpy.core.multiarray:_reconstruct", "x", "y", "z"), 2),
        malicious(Calls("copy_reg:_reconstructor", "x", "y", "z"), 2),
        malicious(Calls("numpy.core.multiarray:scalar", "x", "y"), 2),
        malicious(Calls("builtins:set", "not", "this"), 2),
        # A reference to outside, an extension code, a recursive bomb of memo entries, wrong stacks.
        b"\x80\x02}X\x0a\x00\x00\x00v_templateX\x01\x00\x00\x00aQs.", b"\x80\x02\x82\x01.", b"\x80\x02h\x00.", b"\x80\x02.",
        b"cos\nsystem\n(S'true'\ntR.", pickle.dumps([1, 2, 3], 2), pickle.dumps({"v_template": "text"}, 2), b"", b"\x80",
        b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(50), bytes(1000),
    ],
    ids=range(21),
)  # fmt: skip
def test_other_bytes_are_refused(tmp_path, data):
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.pkl"):
        read(path)


def test_malice_inside_an_object_array_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("false",)

    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"v_template": np.array([Evil()], dtype=object)}, 2))
    with pytest.raises(InputError, match=r"names (posix|nt)\.system"):
        read(path)
    np.savez(tmp_path / "a.npz", v_template=np.array([Evil()], dtype=object))
    with pytest.raises(InputError, match="Python objects"):
        read(tmp_path / "a.npz")


def spoiled(**changes) -> dict[str, np.ndarray]:
    return {key: value for key, value in (flame_arrays() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posedirs": None}, "lacks posedirs"),
        ({"v_template": np.zeros((6890, 3))}, r"v_template is \(6890, 3\) instead of \(5023, 3\)"),
        ({"shapedirs": np.zeros((5023, 3, 10))}, "shapedirs"),
        ({"weights": np.full((5023, 5), np.nan)}, "not numbers"),
        ({"f": np.full((9976, 3), 5023)}, "damaged"),
        ({"kintree_table": np.zeros((2, 5), int)}, "no FLAME head model"),
        ({"J_regressor": np.array(["text"])}, "J_regressor"),
    ],
)
def test_files_of_other_layouts_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read(write_npz(tmp_path / "a.npz", spoiled(**changes)))


def test_truncated_files_are_refused(tmp_path):
    for write in (write_pickle, write_npz):
        path = write(tmp_path / "a.bin", flame_arrays())
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(InputError, match="damaged"):
            read(path)


def test_sparse_matrix_with_indices_out_of_range_is_refused(tmp_path):
    path = write_pickle(tmp_path / "a.pkl", flame_arrays())
    regressor = flame_arrays()["J_regressor"]
    rows = np.nonzero(regressor.T)[1].astype(np.int32)
    data = path.read_bytes()
    assert rows.tobytes() in data
    path.write_bytes(data.replace(rows.tobytes(), (rows + 1000).tobytes()))
    with pytest.raises(InputError, match="J_regressor"):
        read(path)


def test_zip_as_downloaded_is_refused_with_advice(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("FLAME2020/generic_model.pkl", b"x")
    path = tmp_path / "FLAME2020.zip"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="generic_model"):
        read(path)


@pytest.mark.parametrize("name", ["", "flame:", "flame:/nowhere/generic_model.pkl", "flame:."])
def test_missing_file_says_where_to_get_one(name):
    with pytest.raises(InputError) as caught:
        load_head(name)
    if name:
        assert "https://flame.is.tue.mpg.de" in str(caught.value)
        assert "anny" in str(caught.value)


# ------------------------------------------------------------------------------------------------------- posing


def pose_flame(shape: np.ndarray, displaced: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Pose FLAME by the formula of the SMPL and FLAME papers: turns (5, 3) of root, neck, jaw, left and right eye."""
    arrays = flame_arrays()
    shaped = arrays["v_template"] + arrays["shapedirs"][..., :300] @ shape
    joints = arrays["J_regressor"] @ shaped
    rotations = Rotation.from_rotvec(turns).as_matrix()
    corrective = arrays["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    world = []
    for joint, parent in enumerate([-1, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    skinning = []
    for joint, transform in enumerate(world):
        rest = np.eye(4)
        rest[:3, 3] = -joints[joint]
        skinning.append(transform @ rest)
    points = np.concatenate([shaped + displaced + corrective, np.ones((5023, 1))], 1)
    blended = np.einsum("vj,jkl->vkl", arrays["weights"], np.array(skinning))
    return np.einsum("vkl,vl->vk", blended, points)[:, :3]


def pose_both(head, *, neck, turn, eyes=((0, 0, 0), (0, 0, 0)), actions=None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    shape = generator.normal(size=300) * 0.5
    weights = torch.zeros(1, 52)
    for name, value in (actions or {}).items():
        weights[0, ARKIT_NAMES.index(name)] = value
    state = HeadState(
        weights, torch.tensor([neck], dtype=torch.float32), torch.tensor([turn], dtype=torch.float32),
        torch.tensor([eyes], dtype=torch.float32),
    )  # fmt: skip
    ours = head.vertices(Identity(torch.from_numpy(shape).float(), torch.zeros(5023, 3)), state)[0].numpy()
    joints = torch.tensordot(weights, head.expression_turns, 1)[0].numpy()
    jaw, left, right = joints[3:]
    total = (Rotation.from_rotvec(neck) * Rotation.from_rotvec(turn)).as_rotvec()
    displaced = torch.tensordot(weights, head.expression_basis, 1)[0].numpy()
    theirs = pose_flame(shape, displaced, np.array([[0, 0, 0], total, jaw, left + eyes[0], right + eyes[1]]))
    return ours, theirs - ORIGIN


@pytest.mark.parametrize(("neck", "turn"), [((0.2, -0.4, 0.1), (0, 0, 0)), ((0, 0, 0), (-0.3, 0.5, 0.2))])
def test_vertices_are_those_of_the_formula(head, neck, turn):
    actions = {"jawOpen": 0.8, "mouthSmileLeft": 0.6, "eyeLookUpRight": 0.5}
    ours, theirs = pose_both(head, neck=neck, turn=turn, eyes=((0.1, 0.2, 0), (-0.1, 0, 0.1)), actions=actions)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_neck_and_head_together_are_nearly_flames_neck(head):
    ours, theirs = pose_both(head, neck=(0.1, 0.25, 0.05), turn=(0.1, 0.25, -0.05))
    # Only the correctives differ, to the second order.
    assert np.linalg.norm(ours - theirs, axis=1).max() < 1e-3
    head = replace(head, pose_basis=torch.zeros_like(head.pose_basis))
    far = np.linalg.norm(pose_both(head, neck=(0.1, 0.25, 0.05), turn=(0.1, 0.25, -0.05))[0] - theirs, axis=1)
    assert np.linalg.norm(ours - theirs, axis=1).mean() < 0.3 * far.mean()


def test_correctives_of_the_jaw_are_the_jaws(head):
    jaw = JOINTS.index("jaw") - 1
    expected = np.moveaxis(flame_arrays()["posedirs"], 2, 0)[9:18]
    np.testing.assert_allclose(head.pose_basis[9 * jaw : 9 * jaw + 9].numpy(), expected, atol=1e-7)


# ------------------------------------------------------------------------------------------------------- naming


@pytest.mark.parametrize("name", ["jawOpen", "mouthSmileLeft", "mouthPucker", "browInnerUp", "eyeBlinkRight", "cheekPuff"])
def test_actions_are_those_of_anny(head, name):
    def moves(model) -> torch.Tensor:
        index = model.expression_names.index(name)
        state = replace(model.rest_state(), expression=torch.eye(52)[index : index + 1])
        return (model.landmarks(model.vertices(model.neutral_identity(), state)) - model.landmarks(model.template[None]))[0]

    # The synthetic file is Anny in another mesh, so they must agree; landmarks lie a little elsewhere on each.
    ours, theirs = moves(head)[:468], moves(load_head())[:468]
    assert (ours - theirs).norm() < 0.4 * theirs.norm()
    assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.92


def test_jaw_opens_by_turning(head):
    turn = head.expression_turns[ARKIT_NAMES.index("jawOpen"), JOINTS.index("jaw")]
    assert turn[0] == pytest.approx(0.35, abs=0.06)
    assert turn[1:].norm() < 0.03
    still = head.expression_turns[ARKIT_NAMES.index("mouthSmileLeft")]
    assert still.norm() < 1e-4


# ------------------------------------------------------------------------------------------------------ keeping


def test_what_was_found_is_kept(tmp_path, monkeypatch, head):
    path = write_npz(tmp_path / "flame 2023 é.npz", flame_arrays())
    monkeypatch.setenv("ZERO1TOA_CACHE", str(tmp_path / "cache"))
    tensors = head.tensors()
    calls = []
    monkeypatch.setattr(flame, "build_tensors", lambda file: calls.append(file) or dict(tensors))
    first, second = load_head(f"flame:{path}"), load_head(f"flame:{path}")
    assert len(calls) == 1
    torch.testing.assert_close(first.vertices(first.neutral_identity(), first.rest_state()), second.template[None])
    (built,) = (tmp_path / "cache").iterdir()
    assert set(load_file(built)) == set(tensors)
    built.write_bytes(b"damaged")
    load_head(f"flame:{path}")
    assert len(calls) == 2
