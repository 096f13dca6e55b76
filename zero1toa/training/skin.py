"""What skin and lips look like at a place of the template, in compiled code: pigments, freckles, moles, make-up and relief.

Albedo is what melanin and blood leave of white light.
"""

from __future__ import annotations

import math

from numba import njit

from zero1toa.training.noise import fractal, lattice, noise, ramp, slope

# Columns of the table of vertex attributes.
COLUMNS = (
    "lips",
    "melanin",
    "blood",
    "stubble",
    "scalp",
    "wrinkles",
    "forehead",
    "cloth",
    "shadow",
    "liner",
    "freckled",
    "inside",
)
A_LIPS, A_MELANIN, A_BLOOD, A_STUBBLE, A_SCALP, A_WRINKLES, A_FOREHEAD, A_CLOTH, A_SHADOW, A_LINER, A_FRECKLED, A_INSIDE = (
    range(12)
)
# The fold beside the mouth on the template: from (x, y) beside the nose to below the corner of the mouth, metres.
FOLD = (0.0175, -0.042, 0.0315, -0.074)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def tilt(n, gx, gy, gz, strength, turn):
    """Tilt a normal by the gradient of a height on the template, `strength` metres per unit of it."""
    x = (turn[0, 0] * gx + turn[0, 1] * gy + turn[0, 2] * gz) * strength
    y = (turn[1, 0] * gx + turn[1, 1] * gy + turn[1, 2] * gz) * strength
    z = (turn[2, 0] * gx + turn[2, 1] * gy + turn[2, 2] * gz) * strength
    along = x * n[0] + y * n[1] + z * n[2]
    n[0] -= x - along * n[0]
    n[1] -= y - along * n[1]
    n[2] -= z - along * n[2]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _fold(depth, x, y, z, albedo, n, turn):
    """Press the fold from the wing of the nose past the corner of the mouth; see `FOLD`."""
    side = abs(x)
    along_x, along_y = FOLD[2] - FOLD[0], FOLD[3] - FOLD[1]
    length = math.sqrt(along_x * along_x + along_y * along_y)
    along_x, along_y = along_x / length, along_y / length
    share = ((side - FOLD[0]) * along_x + (y - FOLD[1]) * along_y) / length
    if share <= 0.0 or share >= 1.0 or z < 0.0:
        return
    across = (side - FOLD[0]) * -along_y + (y - FOLD[1]) * along_x + 0.003 * math.sin(share * math.pi)
    near = math.exp(-((across / 0.0026) ** 2)) * math.sin(share * math.pi)
    slant = across / 0.0026 * near * depth * 0.6
    tilt(n, math.copysign(-along_y * slant, x), along_x * slant, 0.0, 1.0, turn)
    for c in range(3):
        albedo[c] *= 1 - 0.15 * min(depth, 1.0) * near


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _mole(x, y, z, seed):
    """Give the round spots of unit cells: one each, somewhere inside, of some size; seen where the skin cuts through it."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u = x - i - 0.5 - 0.25 * lattice(i, j, k, seed)
    v = y - j - 0.5 - 0.25 * lattice(i, j, k, seed + 1)
    w = z - k - 0.5 - 0.25 * lattice(i, j, k, seed + 2)
    radius = 0.11 + 0.1 * lattice(i, j, k, seed + 3)
    return 1 - ramp(math.sqrt(u * u + v * v + w * w), 0.7 * radius, 1.1 * radius + 1e-3)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def paint_skin(skin, p, t, albedo, n, turn):
    """Paint skin and lips at a place with attributes `t`; tilts the normal. Gives gloss and its sharpness."""
    x, y, z = p[0], p[1], p[2]
    seed = skin.seed
    mottle = fractal(x / 0.012, y / 0.012, z / 0.012, 3, seed)
    fine = noise(x / 0.0018, y / 0.0018, z / 0.0018, seed + 5)
    lips = ramp(t[A_LIPS] + 0.1 * mottle, 0.3, 0.75)
    blood = skin.blood * t[A_BLOOD] * (1 + skin.mottle * (0.35 * mottle + 0.12 * fine))
    melanin = skin.melanin * t[A_MELANIN] * (1 + skin.mottle * (0.1 * mottle + 0.05 * fine))
    if skin.freckles > 0.0:
        # Askew, so that the noise's grid does not show.
        spots = fractal(
            (0.8 * x + 0.6 * y) / 0.003, (0.64 * y - 0.48 * x + 0.6 * z) / 0.003, (0.8 * z + 0.3 * x) / 0.003, 2, seed + 77
        )
        melanin += skin.freckles * 0.35 * t[A_FRECKLED] * ramp(spots, 0.3, 0.6)
    if skin.moles > 0.0:
        melanin += 1.2 * skin.moles * _mole(x / 0.009, y / 0.009, z / 0.009, seed + 99)
    blood, melanin = max(blood, 0.0), max(melanin, 0.0)
    red = 0.90 * math.exp(-0.85 * melanin - 0.14 * blood)
    green = 0.80 * math.exp(-1.38 * melanin - 0.92 * blood)
    blue = 0.69 * math.exp(-1.95 * melanin - 0.80 * blood)
    albedo[0], albedo[1], albedo[2] = red, green, blue
    if lips > 0.0:
        lined = 1 + 0.14 * noise(x / 0.0012, y / 0.006, z / 0.006, seed + 21) + 0.1 * fine
        paint = 0.62 + 0.38 * skin.lip_paint
        for c in range(3):
            albedo[c] += lips * ((albedo[c] + paint * (skin.lip_color[c] - albedo[c])) * lined - albedo[c])
    dots = 0.45 + 0.55 * ramp(noise(x / 0.0009, y / 0.0009, z / 0.0009, seed + 3), -0.1, 0.8)
    stubble, scalp = t[A_STUBBLE] * dots * (1 - lips), t[A_SCALP] * (0.75 + 0.25 * dots)
    for c in range(3):
        albedo[c] += min(stubble, 0.75) * (skin.stubble[c] - albedo[c])
        albedo[c] += min(scalp, 0.95) * (skin.scalp[c] - albedo[c])
        albedo[c] += 0.7 * t[A_SHADOW] * (skin.shadow_color[c] - albedo[c])
        albedo[c] *= 1 - 0.9 * min(t[A_LINER] * skin.liner, 1.0)
    gx, gy, gz = slope(x / 0.0011, y / 0.0011, z / 0.0011, 2)
    tilt(n, gx, gy, gz, 0.05 * skin.pores * (1 - lips), turn)
    gx, gy, gz = slope(x / 0.007, y / 0.007, z / 0.007, seed + 6)
    tilt(n, gx, gy, gz, 0.015, turn)
    if lips > 0.0:
        gx, gy, gz = slope(x / 0.0016, y / 0.008, z / 0.008, 21)
        tilt(n, gx, gy / 5, gz / 5, 0.18 * lips, turn)
    wrinkles = skin.wrinkles * t[A_WRINKLES] * (1 - lips)
    if wrinkles > 0.02:
        value = noise(x / 0.011, y / 0.0042, z / 0.009, seed + 12)
        gx, gy, gz = slope(x / 0.011, y / 0.0042, z / 0.009, seed + 12)
        sign = -1.0 if value > 0 else 1.0
        near = math.exp(-abs(value) * 5)
        tilt(n, gx * 0.4, gy, gz * 0.4, 0.3 * sign * wrinkles * near, turn)
        for c in range(3):
            albedo[c] *= 1 - 0.08 * min(wrinkles, 1.0) * near
    if skin.folds > 0.05:
        _fold(skin.folds * (0.3 + t[A_WRINKLES]), x, y, z, albedo, n, turn)
    if t[A_FOREHEAD] > 0.02:
        wave = y + 0.004 * noise(x / 0.03, 0.0, 3.0, seed) + 0.0008 * fine
        line = math.sin(wave * 2 * math.pi / 0.0085)
        crease = max(-line - 0.4, 0.0) * 1.6 * t[A_FOREHEAD] * (0.6 + 0.4 * mottle)
        tilt(n, 0.0, math.cos(wave * 2 * math.pi / 0.0085), 0.0, 0.45 * t[A_FOREHEAD] * (line < 0.2), turn)
        for c in range(3):
            albedo[c] *= 1 - 0.3 * min(max(crease, 0.0), 1.0)
    shine = 0.25 + 0.75 * skin.oil
    return shine * (1 - lips) * 0.8 + lips * (0.4 + 2.5 * skin.lip_gloss), 14.0 + 30 * skin.oil + lips * 60 * skin.lip_gloss
