"""Rotations: axis-angle vectors (radians), unit quaternions (w, x, y, z), matrices that act on columns."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_matrix(vector: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Exponentiate axis-angle vectors by Rodrigues' formula; differentiable at zero."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    # The tiny constant keeps sqrt differentiable at the identity; it shifts the angle by 1e-8 rad at most.
    angle = (vector.square().sum(-1) + 1e-16).sqrt()[..., None, None]
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + torch.sin(angle) / angle * cross + (1 - torch.cos(angle)) / angle.square() * (cross @ cross)


def matrix_to_axis_angle(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """Take the logarithm of rotation matrices; exact up to angles of pi."""
    quat = matrix_to_quaternion(matrix)
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    norm = quat[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(norm, quat[..., :1])
    return quat[..., 1:] * torch.where(norm > 1e-8, angle / norm.clamp_min(1e-8), 2.0)


def matrix_to_quaternion(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 4"]:
    """Convert rotation matrices, choosing the best conditioned of the four classical formulas (Shepperd 1978)."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    squares = torch.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1)
    # Row i holds q * q_i * 4, so any row normalises to the quaternion; take the one with the largest q_i.
    rows = torch.stack(
        [
            torch.stack([squares[..., 0], m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, squares[..., 1], m01 + m10, m02 + m20], -1),
            torch.stack([m02 - m20, m01 + m10, squares[..., 2], m12 + m21], -1),
            torch.stack([m10 - m01, m02 + m20, m12 + m21, squares[..., 3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return torch.nn.functional.normalize(rows.gather(-2, best).squeeze(-2), dim=-1)


def quaternion_to_matrix(quat: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3 3"]:
    """Convert quaternions, normalising them first."""
    w, x, y, z = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def quaternion_multiply(a: Float[Tensor, "*B 4"], b: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 4"]:
    """Compose rotations: the result turns by `b` first, then by `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )
