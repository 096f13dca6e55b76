"""The page of conventions for cameras.

A point X of the world (metres; +x subject's left, +y up, +z out of the face) is seen by a camera at
`x = viewmat @ [X, 1]`, with x to the right, y down and z forward of the camera, and falls on the pixel
coordinates `(fx * x / z + cx, fy * y / z + cy)`. The centre of the top-left pixel is at (0.5, 0.5).

An orbit camera looks at a target from a distance. Yaw and pitch are in degrees: yaw > 0 moves the camera to
the subject's left, so that it sees more of the left cheek; pitch > 0 raises it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from zero1toa.types import Camera

# Turns the world's axes (x left of the subject, y up, z to the viewer) into those of a camera in front of the face.
FRONT = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])


def orbit_camera(
    yaw: Float[Tensor, "B"],
    pitch: Float[Tensor, "B"],
    *,
    target: Float[Tensor, "3"],
    distance: float,
    focal: float,
    width: int,
    height: int,
) -> Camera:
    """Place cameras on a sphere around `target`, upright, looking at it; `focal` in pixels, `distance` in metres."""
    a, b = torch.deg2rad(yaw), torch.deg2rad(pitch)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    turn = torch.stack([a.cos(), zero, -a.sin(), zero, one, zero, a.sin(), zero, a.cos()], -1).view(-1, 3, 3)
    tilt = torch.stack([one, zero, zero, zero, b.cos(), -b.sin(), zero, b.sin(), b.cos()], -1).view(-1, 3, 3)
    rotation = FRONT.to(target) @ tilt @ turn
    viewmats = torch.eye(4).to(target).repeat(len(a), 1, 1)
    viewmats[:, :3, :3] = rotation
    viewmats[:, :3, 3] = torch.tensor([0.0, 0.0, distance]).to(target) - rotation @ target
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]).to(target)
    return Camera(viewmats, intrinsics.repeat(len(a), 1, 1), width, height)


def orbit_about(camera: Camera, yaw: Float[Tensor, "B"], pitch: Float[Tensor, "B"], *, target: Float[Tensor, "3"]) -> Camera:
    """Move one camera on the sphere around `target` by yaw and pitch degrees, keeping what it sees the target at."""
    a, b = torch.deg2rad(yaw), torch.deg2rad(pitch)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    turn = torch.stack([a.cos(), zero, -a.sin(), zero, one, zero, a.sin(), zero, a.cos()], -1).view(-1, 3, 3)
    # Tilting happens about the camera's own horizontal axis, which the target's depth does not leave.
    tilt = torch.stack([one, zero, zero, zero, b.cos(), -b.sin(), zero, b.sin(), b.cos()], -1).view(-1, 3, 3)
    rotation, translation = camera.viewmats[0, :3, :3], camera.viewmats[0, :3, 3]
    seen_at = rotation @ target + translation
    moved = tilt @ rotation @ turn
    viewmats = torch.eye(4).to(target).repeat(len(a), 1, 1)
    viewmats[:, :3, :3] = moved
    viewmats[:, :3, 3] = seen_at - moved @ target
    return Camera(viewmats, camera.intrinsics[:1].expand(len(a), 3, 3), camera.width, camera.height)


def project(points: Float[Tensor, "B P 3"], camera: Camera) -> Float[Tensor, "B P 3"]:
    """Project world points to pixel x, pixel y and depth in metres."""
    seen = points @ camera.viewmats[:, :3, :3].mT + camera.viewmats[:, None, :3, 3]
    pixels = seen @ camera.intrinsics.mT
    return torch.cat([pixels[..., :2] / pixels[..., 2:], seen[..., 2:]], -1)


def unproject(pixels: Float[Tensor, "B P 3"], camera: Camera) -> Float[Tensor, "B P 3"]:
    """Lift (pixel x, pixel y, depth) back into the world; the inverse of `project`."""
    rays = torch.cat([pixels[..., :2], torch.ones_like(pixels[..., :1])], -1) @ torch.linalg.inv(camera.intrinsics).mT
    seen = rays * pixels[..., 2:]
    return (seen - camera.viewmats[:, None, :3, 3]) @ camera.viewmats[:, :3, :3]


def center(camera: Camera) -> Float[Tensor, "B 3"]:
    """Give where each camera stands in the world."""
    return -(camera.viewmats[:, :3, :3].mT @ camera.viewmats[:, :3, 3:]).squeeze(-1)


def view_angles(rotation: Float[Tensor, "3 3"]) -> tuple[float, float, float]:
    """Give yaw, pitch and roll in degrees of an object whose object-to-camera rotation is given; zero means facing us.

    Yaw > 0: the face turns to its own left. Pitch > 0: it looks up. Roll > 0: it leans to its own left.
    """
    m = FRONT.to(rotation) @ rotation
    yaw = math.degrees(math.atan2(m[0, 2].item(), m[2, 2].item()))
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, m[1, 2].item()))))
    roll = math.degrees(math.atan2(-m[1, 0].item(), m[1, 1].item()))
    return yaw, pitch, roll


def resize(camera: Camera, scale: float) -> Camera:
    """See the same view with `scale` times as many pixels a side."""
    factors = torch.tensor([[scale], [scale], [1.0]]).to(camera.intrinsics)
    width, height = round(camera.width * scale), round(camera.height * scale)
    return Camera(camera.viewmats, camera.intrinsics * factors, width, height)
