"""Moving splats with their triangles on the CPU: one pass over triangles and splats, the twin of `rigged.move_splats`.

PyTorch needs some sixty passes over arrays for it, which took a tenth of a training step. One thread does 60k splats
on 10k triangles in about 2 ms, and no thread pool has to be shared with whoever else poses avatars at the time.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor

from zero1toa.avatar.rigged import SMALLEST_TRIANGLE


def pose_splats(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face: Int[Tensor, "N"],
    centre: Float[Tensor, "N 3"],
    quaternion: Float[Tensor, "N 4"],
    log_scale: Float[Tensor, "N 3"],
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 4"], Float[Tensor, "B N 3"]]:
    """Give means, quaternions and scales in the world.

    Differentiable in the splats' own `centre`, `quaternion` and `log_scale`, not in the mesh.
    """
    triangles = vertices.new_empty(len(vertices), len(faces), 17)
    _frames(_array(vertices), _array(faces), np.float32(SMALLEST_TRIANGLE), _array(triangles))
    return _PoseSplats.apply(triangles, face, centre, quaternion, log_scale)  # pyright: ignore[reportReturnType]


class _PoseSplats(torch.autograd.Function):
    """Both kernels as one differentiable step."""

    @staticmethod
    def forward(ctx, triangles, face, centre, quaternion, log_scale):
        scale = log_scale.exp()
        frames, count = len(triangles), len(face)
        means, quats, scales = (triangles.new_empty(frames, count, width) for width in (3, 4, 3))
        _pose(*(_array(value) for value in (triangles, face, centre, quaternion, scale, means, quats, scales)))
        ctx.save_for_backward(triangles, face, scale)
        return means, quats, scales

    @staticmethod
    def backward(ctx, *grads):
        triangles, face, scale = ctx.saved_tensors
        grad_centre, grad_quaternion, grad_scale = (torch.zeros(len(face), width) for width in (3, 4, 3))
        _pose_backward(*(_array(value) for value in (triangles, face, *grads, grad_centre, grad_quaternion, grad_scale)))
        return None, None, grad_centre, grad_quaternion, grad_scale * scale


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _frames(vertices, faces, smallest, triangles):
    """Fill rows "B F 17": rotation times size, origin, quaternion and size, as `face_frames` and its friends define them."""
    tiny, half, third, one = np.float32(1e-12), np.float32(0.5), np.float32(1 / 3), np.float32(1)
    for b in range(vertices.shape[0]):
        for f in range(faces.shape[0]):
            p, q, r, t = vertices[b, faces[f, 0]], vertices[b, faces[f, 1]], vertices[b, faces[f, 2]], triangles[b, f]
            ux, uy, uz, vx, vy, vz = q[0] - p[0], q[1] - p[1], q[2] - p[2], r[0] - p[0], r[1] - p[1], r[2] - p[2]
            edge = math.sqrt(ux * ux + uy * uy + uz * uz)
            s = one / max(edge, tiny)
            ux, uy, uz = ux * s, uy * s, uz * s
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            s = one / max(math.sqrt(nx * nx + ny * ny + nz * nz), tiny)
            nx, ny, nz = nx * s, ny * s, nz * s
            wx, wy, wz = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
            size = max(half * (edge + abs(wx * vx + wy * vy + wz * vz)), smallest)
            t[0], t[1], t[2], t[3], t[4], t[5] = size * ux, size * wx, size * nx, size * uy, size * wy, size * ny
            t[6], t[7], t[8], t[16] = size * uz, size * wz, size * nz, size
            t[9], t[10], t[11] = (p[0] + q[0] + r[0]) * third, (p[1] + q[1] + r[1]) * third, (p[2] + q[2] + r[2]) * third
            # Shepperd's formulas: the one that starts from the largest component.
            a, c, d, e = one + ux + wy + nz, one + ux - wy - nz, one - ux + wy - nz, one - ux - wy + nz
            if a >= c and a >= d and a >= e:
                t[12], t[13], t[14], t[15] = a, wz - ny, nx - uz, uy - wx
            elif c >= d and c >= e:
                t[12], t[13], t[14], t[15] = wz - ny, c, uy + wx, nx + uz
            elif d >= e:
                t[12], t[13], t[14], t[15] = nx - uz, uy + wx, d, wz + ny
            else:
                t[12], t[13], t[14], t[15] = uy - wx, nx + uz, wz + ny, e
            s = one / max(math.sqrt(t[12] * t[12] + t[13] * t[13] + t[14] * t[14] + t[15] * t[15]), tiny)
            for k in range(12, 16):
                t[k] *= s


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _pose(triangles, face, centre, quaternion, scale, means, quats, scales):
    """Fill the three outputs, pose by pose; rows of `triangles` are those of `_frames`."""
    for b in range(means.shape[0]):
        for i in range(face.shape[0]):
            t = triangles[b, face[i]]
            x, y, z = centre[i, 0], centre[i, 1], centre[i, 2]
            means[b, i, 0] = t[0] * x + t[1] * y + t[2] * z + t[9]
            means[b, i, 1] = t[3] * x + t[4] * y + t[5] * z + t[10]
            means[b, i, 2] = t[6] * x + t[7] * y + t[8] * z + t[11]
            aw, ax, ay, az = t[12], t[13], t[14], t[15]
            bw, bx, by, bz = quaternion[i, 0], quaternion[i, 1], quaternion[i, 2], quaternion[i, 3]
            quats[b, i, 0] = aw * bw - ax * bx - ay * by - az * bz
            quats[b, i, 1] = aw * bx + ax * bw + ay * bz - az * by
            quats[b, i, 2] = aw * by - ax * bz + ay * bw + az * bx
            quats[b, i, 3] = aw * bz + ax * by - ay * bx + az * bw
            for k in range(3):
                scales[b, i, k] = scale[i, k] * t[16]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _pose_backward(triangles, face, d_means, d_quats, d_scales, d_centre, d_quaternion, d_scale):
    """Add up the gradients of every pose; those of rotations are the inverse rotations."""
    for b in range(d_means.shape[0]):
        for i in range(face.shape[0]):
            t = triangles[b, face[i]]
            x, y, z = d_means[b, i, 0], d_means[b, i, 1], d_means[b, i, 2]
            for k in range(3):
                d_centre[i, k] += t[k] * x + t[3 + k] * y + t[6 + k] * z
                d_scale[i, k] += t[16] * d_scales[b, i, k]
            aw, ax, ay, az = t[12], -t[13], -t[14], -t[15]
            bw, bx, by, bz = d_quats[b, i, 0], d_quats[b, i, 1], d_quats[b, i, 2], d_quats[b, i, 3]
            d_quaternion[i, 0] += aw * bw - ax * bx - ay * by - az * bz
            d_quaternion[i, 1] += aw * bx + ax * bw + ay * bz - az * by
            d_quaternion[i, 2] += aw * by - ax * bz + ay * bw + az * bx
            d_quaternion[i, 3] += aw * bz + ax * by - ay * bx + az * bw
