"""Projection of splats to the image plane and its derivative: one numba kernel each, one splat at a time.

Letters follow EWA splatting (Zwicker et al. 2001): W rotates the world into the camera, R and S are a splat's
rotation and scales, J is the Jacobian of the projection at its centre, A = J W R S, and the covariance in
pixels is A A^T + LOW_PASS I, whose inverse is the conic (a, b; b, c).
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from zero1toa.render.base import ALPHA_MIN, FAR, FOV_MARGIN, LOW_PASS, NEAR
from zero1toa.render.lanes import inlined, kernel
from zero1toa.render.tiles import touched_tiles

# Columns of the table of projected splats: centre, conic (a and c halved), opacity, colour, depth, and the box of
# pixels it may touch (ends exclusive). Sixteen floats are one line of the cache.
X, Y, A_HALF, B, C_HALF, OPACITY, RED, GREEN, BLUE, DEPTH, X0, X1, Y0, Y1, COLUMNS = *range(14), 16
# Half the variance of a splat that covers any frame evenly; beyond it float32 cannot invert the covariance.
VARIANCE_MAX = np.float32(1e17)


@inlined()
def _limits(k, width, height):
    """Give how far x / z and y / z may be from the axis in the Jacobian, as gsplat has it."""
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = np.float32(FOV_MARGIN * 0.5) * width / fx, np.float32(FOV_MARGIN * 0.5) * height / fy
    return -cx / fx - margin_x, (width - cx) / fx + margin_x, -cy / fy - margin_y, (height - cy) / fy + margin_y


@inlined()
def _pixels(center, radius, size):
    """Give the range of pixels (end exclusive) of an axis whose centres lie within a radius, inside the image."""
    half, zero = np.float32(0.5), np.float32(0)
    return math.ceil(min(max(center - radius - half, zero), size)), math.floor(min(max(center + radius + half, zero), size))


@inlined()
def _rotation(qw, qx, qy, qz):
    """Give the matrix of a quaternion, row by row, and its inverse length."""
    s = np.float32(1) / math.sqrt(max(qw * qw + qx * qx + qy * qy + qz * qz, np.float32(1e-24)))
    w, x, y, z = qw * s, qx * s, qy * s, qz * s
    one, two = np.float32(1), np.float32(2)
    return (
        one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y),
        two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x),
        two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y),
        s,
    )  # fmt: skip


@kernel(parallel=True)
def project(means, quats, scales, opacities, colors, view, k, width, height, splats, depths, masks, corners):
    """Fill the table of splats "N COLUMNS", their depths "N" and the tiles they touch (see `touched_tiles`).

    What cannot be seen has depth 0 and nothing else. The box of a splat holds the pixels whose centres may lie in
    the ellipse where alpha > ALPHA_MIN.
    """
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    left, right, top, bottom = _limits(k, np.float32(width), np.float32(height))
    w00, w01, w02, w03 = view[0, 0], view[0, 1], view[0, 2], view[0, 3]
    w10, w11, w12, w13 = view[1, 0], view[1, 1], view[1, 2], view[1, 3]
    w20, w21, w22, w23 = view[2, 0], view[2, 1], view[2, 2], view[2, 3]
    half, low_pass = np.float32(0.5), np.float32(LOW_PASS)
    for i in prange(means.shape[0]):
        depths[i] = 0
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        z = w20 * mx + w21 * my + w22 * mz + w23
        opacity = opacities[i]
        if not (np.float32(NEAR) <= z <= np.float32(FAR) and opacity >= np.float32(ALPHA_MIN)):
            continue
        rz = np.float32(1) / z
        u, v = (w00 * mx + w01 * my + w02 * mz + w03) * rz, (w10 * mx + w11 * my + w12 * mz + w13) * rz
        x, y = fx * u + cx, fy * v + cy
        jx, jy = fx * rz, fy * rz
        jxz, jyz = -jx * min(right, max(left, u)), -jy * min(bottom, max(top, v))

        r00, r01, r02, r10, r11, r12, r20, r21, r22, _ = _rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
        # The rows of J W, then of A.
        p0, p1, p2 = jx * w00 + jxz * w20, jx * w01 + jxz * w21, jx * w02 + jxz * w22
        q0, q1, q2 = jy * w10 + jyz * w20, jy * w11 + jyz * w21, jy * w12 + jyz * w22
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        a0, b0 = (p0 * r00 + p1 * r10 + p2 * r20) * s0, (q0 * r00 + q1 * r10 + q2 * r20) * s0
        a1, b1 = (p0 * r01 + p1 * r11 + p2 * r21) * s1, (q0 * r01 + q1 * r11 + q2 * r21) * s1
        a2, b2 = (p0 * r02 + p1 * r12 + p2 * r22) * s2, (q0 * r02 + q1 * r12 + q2 * r22) * s2
        xx, yy, xy = a0 * a0 + a1 * a1 + a2 * a2, b0 * b0 + b1 * b1 + b2 * b2, a0 * b0 + a1 * b1 + a2 * b2
        # det(A A^T) is the squared cross product of A's rows (Cauchy-Binet): no cancellation for thin splats.
        n0, n1, n2 = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
        det = n0 * n0 + n1 * n1 + n2 * n2 + low_pass * (xx + yy) + low_pass * low_pass
        xx, yy = xx + low_pass, yy + low_pass
        if not (xx < VARIANCE_MAX and yy < VARIANCE_MAX):
            continue
        # alpha = opacity exp(-r^2 / 2) falls to ALPHA_MIN at r standard deviations (StopThePop, section B.2).
        # The small constant outweighs rounding; a pixel too many is skipped later by its alpha.
        fade = max(math.log(opacity * np.float32(1 / ALPHA_MIN)), np.float32(0))
        reach = math.sqrt(np.float32(2) * fade) + np.float32(1e-3)
        x0, x1 = _pixels(x, reach * math.sqrt(xx), np.float32(width))
        y0, y1 = _pixels(y, reach * math.sqrt(yy), np.float32(height))
        if x0 >= x1 or y0 >= y1:
            continue
        inverse = np.float32(1) / det
        splats[i, X], splats[i, Y] = x, y
        splats[i, A_HALF], splats[i, B], splats[i, C_HALF] = half * yy * inverse, -xy * inverse, half * xx * inverse
        splats[i, OPACITY], splats[i, DEPTH] = opacity, z
        splats[i, RED], splats[i, GREEN], splats[i, BLUE] = colors[i, 0], colors[i, 1], colors[i, 2]
        splats[i, X0], splats[i, X1], splats[i, Y0], splats[i, Y1] = x0, x1, y0, y1
        depths[i] = z
        masks[i], corners[i] = touched_tiles(x, y, xx, xy, yy, reach, x0, x1, y0, y1, width)


@inlined()
def _rotation_gradient(quat, length, d, out):
    """Add to `out` "4" the gradient for a raw quaternion from that for its matrix (nine numbers, row by row)."""
    d00, d01, d02, d10, d11, d12, d20, d21, d22 = d
    w, x, y, z = quat[0] * length, quat[1] * length, quat[2] * length, quat[3] * length
    two = np.float32(2)
    gw = two * (x * (d21 - d12) + y * (d02 - d20) + z * (d10 - d01))
    gx = two * (y * (d01 + d10) + z * (d02 + d20) + w * (d21 - d12) - two * x * (d11 + d22))
    gy = two * (x * (d01 + d10) + z * (d12 + d21) + w * (d02 - d20) - two * y * (d00 + d22))
    gz = two * (x * (d02 + d20) + y * (d12 + d21) + w * (d10 - d01) - two * z * (d00 + d11))
    radial = gw * w + gx * x + gy * y + gz * z
    out[0] += (gw - radial * w) * length
    out[1] += (gx - radial * x) * length
    out[2] += (gy - radial * y) * length
    out[3] += (gz - radial * z) * length


@kernel(parallel=True)
def project_backward(
    means,
    quats,
    scales,
    view,
    k,
    width,
    height,
    splats,
    first,
    places,
    moments,
    d_means,
    d_quats,
    d_scales,
    d_opacities,
    d_colors,
):
    """Add the gradients of one camera to those of all Gaussian parameters.

    `moments` "pairs 10" are the sums `blend_backward` left for every pair of splat and tile; the pairs of splat i are
    `places[first[i]:first[i + 1]]`, and they are summed in that order whatever the number of threads.
    """
    fx, fy = k[0, 0], k[1, 1]
    left, right, top, bottom = _limits(k, np.float32(width), np.float32(height))
    w00, w01, w02, w03 = view[0, 0], view[0, 1], view[0, 2], view[0, 3]
    w10, w11, w12, w13 = view[1, 0], view[1, 1], view[1, 2], view[1, 3]
    w20, w21, w22 = view[2, 0], view[2, 1], view[2, 2]
    half, zero = np.float32(0.5), np.float32(0)
    for i in prange(means.shape[0]):
        if first[i] == first[i + 1]:
            continue
        m, m_x, m_y, m_xx, m_xy, m_yy = zero, zero, zero, zero, zero, zero
        d_red, d_green, d_blue, d_depth = zero, zero, zero, zero
        for place in range(first[i], first[i + 1]):
            at = places[place]
            m += moments[at, 0]
            m_x += moments[at, 1]
            m_y += moments[at, 2]
            m_xx += moments[at, 3]
            m_xy += moments[at, 4]
            m_yy += moments[at, 5]
            d_red += moments[at, 6]
            d_green += moments[at, 7]
            d_blue += moments[at, 8]
            d_depth += moments[at, 9]
        d_colors[i, 0] += d_red
        d_colors[i, 1] += d_green
        d_colors[i, 2] += d_blue
        d_opacities[i] += m / splats[i, OPACITY]

        a, b, c = splats[i, A_HALF] * 2, splats[i, B], splats[i, C_HALF] * 2
        d_x, d_y = a * m_x + b * m_y, b * m_x + c * m_y
        # Covariance K with conic K^-1 and G = dL/dK: G = K^-1 M K^-1 / 2, where M is the matrix of second moments.
        g0, g1, g2, g3 = a * m_xx + b * m_xy, a * m_xy + b * m_yy, b * m_xx + c * m_xy, b * m_xy + c * m_yy
        g_xx, g_xy, g_yy = half * (g0 * a + g1 * b), half * (g0 * b + g1 * c), half * (g2 * b + g3 * c)

        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        rz = np.float32(1) / splats[i, DEPTH]
        u, v = (w00 * mx + w01 * my + w02 * mz + w03) * rz, (w10 * mx + w11 * my + w12 * mz + w13) * rz
        jx, jy = fx * rz, fy * rz
        u_held, v_held = min(right, max(left, u)), min(bottom, max(top, v))
        jxz, jyz = -jx * u_held, -jy * v_held
        r00, r01, r02, r10, r11, r12, r20, r21, r22, length = _rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
        p0, p1, p2 = jx * w00 + jxz * w20, jx * w01 + jxz * w21, jx * w02 + jxz * w22
        q0, q1, q2 = jy * w10 + jyz * w20, jy * w11 + jyz * w21, jy * w12 + jyz * w22
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        # A without its scales, and dL/dA = 2 G A likewise.
        a0, b0 = p0 * r00 + p1 * r10 + p2 * r20, q0 * r00 + q1 * r10 + q2 * r20
        a1, b1 = p0 * r01 + p1 * r11 + p2 * r21, q0 * r01 + q1 * r11 + q2 * r21
        a2, b2 = p0 * r02 + p1 * r12 + p2 * r22, q0 * r02 + q1 * r12 + q2 * r22
        e0, f0 = 2 * (g_xx * a0 + g_xy * b0), 2 * (g_xy * a0 + g_yy * b0)
        e1, f1 = 2 * (g_xx * a1 + g_xy * b1), 2 * (g_xy * a1 + g_yy * b1)
        e2, f2 = 2 * (g_xx * a2 + g_xy * b2), 2 * (g_xy * a2 + g_yy * b2)
        d_scales[i, 0] += (a0 * e0 + b0 * f0) * s0
        d_scales[i, 1] += (a1 * e1 + b1 * f1) * s1
        d_scales[i, 2] += (a2 * e2 + b2 * f2) * s2
        e0, e1, e2, f0, f1, f2 = e0 * s0 * s0, e1 * s1 * s1, e2 * s2 * s2, f0 * s0 * s0, f1 * s1 * s1, f2 * s2 * s2
        d_rotation = (
            p0 * e0 + q0 * f0, p0 * e1 + q0 * f1, p0 * e2 + q0 * f2,
            p1 * e0 + q1 * f0, p1 * e1 + q1 * f1, p1 * e2 + q1 * f2,
            p2 * e0 + q2 * f0, p2 * e1 + q2 * f1, p2 * e2 + q2 * f2,
        )  # fmt: skip
        _rotation_gradient(quats[i], length, d_rotation, d_quats[i])

        # dL/d(J W), then dL/dJ, then the centre in the camera, through the pixel, the Jacobian and the depth.
        h0, h1, h2 = r00 * e0 + r01 * e1 + r02 * e2, r10 * e0 + r11 * e1 + r12 * e2, r20 * e0 + r21 * e1 + r22 * e2
        l0, l1, l2 = r00 * f0 + r01 * f1 + r02 * f2, r10 * f0 + r11 * f1 + r12 * f2, r20 * f0 + r21 * f1 + r22 * f2
        d_jx, d_jxz = h0 * w00 + h1 * w01 + h2 * w02, h0 * w20 + h1 * w21 + h2 * w22
        d_jy, d_jyz = l0 * w10 + l1 * w11 + l2 * w12, l0 * w20 + l1 * w21 + l2 * w22
        d_u = fx * d_x - (jx * d_jxz if left <= u <= right else zero)
        d_v = fy * d_y - (jy * d_jyz if top <= v <= bottom else zero)
        d_rz_over_rz = d_jx * jx + d_jy * jy + d_jxz * jxz + d_jyz * jyz
        tx, ty = d_u * rz, d_v * rz
        tz = d_depth - (d_u * u + d_v * v + d_rz_over_rz) * rz
        d_means[i, 0] += w00 * tx + w10 * ty + w20 * tz
        d_means[i, 1] += w01 * tx + w11 * ty + w21 * tz
        d_means[i, 2] += w02 * tx + w12 * ty + w22 * tz
