"""Records that travel between rooms, and the errors a user can cause.

Axes of the world: metres, right-handed, origin between the eyes of the resting head, +x to the subject's
left, +y up, +z out of the face. Cameras follow OpenCV (see `zero1toa.geometry.camera`). Images are RGB in
display space, float in [0, 1] unless an array says uint8. `B` frames or cameras, `T` frames of a clip,
`N` splats, `V` vertices, `F` triangles, `E` expressions, `L` landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor


Record = TypeVar("Record")


class InputError(ValueError):
    """Something the user handed over cannot be used; the message says what to do instead."""


class PortraitError(InputError):
    """The portrait cannot become an avatar."""


class MotionError(InputError):
    """The driving clip or motion cannot be used."""


class AvatarError(InputError):
    """A saved avatar is missing, damaged or newer than this program."""


class PriorError(InputError):
    """A video prior cannot be used: its weights or its hardware are missing."""


def on_device(record: Record, device: torch.device) -> Record:
    """Give a record with every tensor in it, and in records and tuples in it, on a device; what is there stays as it is."""
    import torch

    if isinstance(record, torch.Tensor):
        return record.to(device)  # pyright: ignore[reportReturnType]
    if isinstance(record, tuple):
        items = tuple(on_device(item, device) for item in record)
        return record if all(a is b for a, b in zip(items, record, strict=True)) else items  # pyright: ignore
    if not is_dataclass(record):
        return record
    moved = {part.name: on_device(getattr(record, part.name), device) for part in fields(record) if part.init}
    same = all(value is getattr(record, name) for name, value in moved.items())
    return record if same else replace(record, **moved)  # pyright: ignore


@dataclass(frozen=True, slots=True)
class Camera:
    """A batch of `B` pinhole cameras that share one image size.

    `viewmats` map world points to camera points (x right, y down, z forward, metres);
    `intrinsics` are in pixels, with the centre of the first pixel at (0.5, 0.5).
    """

    viewmats: Float[Tensor, "B 4 4"]
    intrinsics: Float[Tensor, "B 3 3"]
    width: int
    height: int

    def __len__(self) -> int:
        return self.viewmats.shape[0]

    def __getitem__(self, frames: slice) -> Camera:
        return Camera(self.viewmats[frames], self.intrinsics[frames], self.width, self.height)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the head is: shape coefficients of the head model, then metres added to each resting vertex."""

    shape: Float[Tensor, "S"]
    offsets: Float[Tensor, "V 3"]


@dataclass(frozen=True, slots=True)
class HeadState:
    """What the head does in `B` frames: ARKit weights in [0, 1] and joint rotations as axis-angle radians.

    `eyes` holds left then right, named as the subject would.
    """

    expression: Float[Tensor, "B E"]
    neck: Float[Tensor, "B 3"]
    head: Float[Tensor, "B 3"]
    eyes: Float[Tensor, "B 2 3"]

    def __len__(self) -> int:
        return self.expression.shape[0]

    def __getitem__(self, frames: slice) -> HeadState:
        return HeadState(self.expression[frames], self.neck[frames], self.head[frames], self.eyes[frames])


@dataclass(frozen=True, slots=True)
class Surface:
    """The triangles of a head model, which never change.

    `parts` labels each triangle with an index into `PARTS`; `uvs` are in [0, 1] with v pointing up and are
    indexed by `uv_faces`, because a seam gives one vertex several; `mirror` names each vertex's twin across
    the plane x = 0 (itself on the plane).
    """

    faces: Int[Tensor, "F 3"]
    uvs: Float[Tensor, "U 2"]
    uv_faces: Int[Tensor, "F 3"]
    parts: Int[Tensor, "F"]
    mirror: Int[Tensor, "V"]


PARTS = ("skin", "scalp", "lips", "eyelids", "eyes", "teeth", "tongue", "mouth", "neck", "bust")


@dataclass(frozen=True, slots=True)
class Detection:
    """One face that was found: box in pixels (x0, y0, x1, y1), and its 478 landmarks as (x, y) pixels."""

    box: tuple[float, float, float, float]
    points: Float[np.ndarray, "478 2"]

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]


@dataclass(frozen=True, slots=True)
class FitReport:
    """How well the head model explains the portrait. Angles in degrees, seen from the camera."""

    rmse_px: float
    yaw: float
    pitch: float
    roll: float
    expressions: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photo that is ready: cropped to head and shoulders, matted, and explained by the head model.

    `crop` is (x0, y0, scale): a pixel (x, y) of the upright source photo lies at ((x - x0) * scale,
    (y - y0) * scale) here. `notes` are sentences for the user, such as which of several faces was taken.
    """

    image: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    points: Float[Tensor, "478 2"]
    camera: Camera
    identity: Identity
    state: HeadState
    report: FitReport
    crop: tuple[float, float, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gaussians:
    """Splats in world space, ready to rasterize: `B` poses of the same `N` splats.

    Quaternions are (w, x, y, z) and need not be normalised; scales are standard deviations in metres;
    opacities and colours lie in [0, 1].
    """

    means: Float[Tensor, "B N 3"]
    quats: Float[Tensor, "B N 4"]
    scales: Float[Tensor, "B N 3"]
    opacities: Float[Tensor, "B N"]
    colors: Float[Tensor, "B N 3"]


@dataclass(frozen=True, slots=True)
class Render:
    """What the cameras see: colour over the background, coverage, and the mean depth of what covers.

    Depth is in metres along the camera's z, divided by coverage, and 0 where nothing covers.
    """

    color: Float[Tensor, "B H W 3"]
    alpha: Float[Tensor, "B H W"]
    depth: Float[Tensor, "B H W"]


@dataclass(frozen=True, slots=True)
class Reference:
    """The photo as a video prior sees it: pixels, coverage, and the mesh that was fitted to them.

    `landmarks` are MediaPipe's 478 on that mesh (pixel x, pixel y, depth in metres).
    """

    image: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    camera: Camera
    vertices: Float[Tensor, "V 3"]
    rest_vertices: Float[Tensor, "V 3"]
    surface: Surface
    landmarks: Float[Tensor, "478 3"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A camera path and an expression sequence of equal length, without its frames."""

    name: str
    stage: str
    cameras: Camera
    states: HeadState


@dataclass(frozen=True, slots=True)
class Motion:
    """A performance: what the head does over time, where the camera was, and in which frames a face was found."""

    states: HeadState
    cameras: Camera
    fps: float
    found: tuple[bool, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Video:
    """Decoded frames, all of one size."""

    frames: UInt8[np.ndarray, "T H W 3"]
    fps: float
