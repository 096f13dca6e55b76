"""What every point of a person sends to the camera: skin, lips, eyes, teeth, tongue and cloth, pixel by pixel in compiled code.

Colours and relief are functions of the place on the template, so pores and wrinkles are as fine as the picture and no
texture is unwrapped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from zero1toa.training.noise import fractal, noise, ramp, slope
from zero1toa.training.recipe import Skin
from zero1toa.training.skin import A_CLOTH, A_INSIDE, A_LIPS, paint_skin, tilt
from zero1toa.types import PARTS

EYES, TEETH, TONGUE, MOUTH = (PARTS.index(name) for name in ("eyes", "teeth", "tongue", "mouth"))
CLOTH = len(PARTS)  # materials from here on are fabrics


class Scene(NamedTuple):
    """What the shader knows about one frame; rows of the tables are vertices."""

    corners: Int[np.ndarray, "F 3"]
    material: Int[np.ndarray, "F"]
    places: Float[np.ndarray, "V 3"]
    points: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    attributes: Float[np.ndarray, "V 12"]
    irradiance: Float[np.ndarray, "V 3"]
    vector: Float[np.ndarray, "V 3"]
    lamps: Float[np.ndarray, "V L"]
    sky: Float[np.ndarray, "V"]
    fabrics: Float[np.ndarray, "K 12"]
    directions: Float[np.ndarray, "L 3"]
    colors: Float[np.ndarray, "L 3"]
    sizes: Float[np.ndarray, "L"]
    above: Float[np.ndarray, "3"]
    eye: Float[np.ndarray, "3"]  # the camera
    turns: Float[np.ndarray, "3 3 3"]  # of the head, the right and the left eyeball, from the template
    eyeballs: Float[np.ndarray, "2 3"]  # their centres on the template, right and left


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _at(table, a, b, c, w, k):
    return table[a, k] * w[0] + table[b, k] * w[1] + table[c, k] * w[2]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _eyeball(skin, p, centre, turn, albedo, n):
    """Paint an eye by the angle to its axis; its normal is that of a ball with a cornea."""
    x, y, z = p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]
    radius = math.sqrt(x * x + y * y)
    angle = math.atan2(y, x)
    iris = skin.iris_radius
    share = radius / iris
    cx, cy = math.cos(angle), math.sin(angle)
    fibres = 0.6 * noise(cx / 0.16, cy / 0.16, share * 1.2, skin.seed) + 0.4 * noise(
        cx / 0.07, cy / 0.07, share * 2, skin.seed + 1
    )
    tone = (0.75 + 0.55 * fibres + 0.35 * math.exp(-(((share - 0.48) / 0.14) ** 2))) * (1.25 - 0.5 * ramp(share, 0.4, 1.0))
    tone *= (1 - 0.85 * ramp(share, 0.78, 1.0)) * ramp(radius, skin.pupil_radius * 0.86, skin.pupil_radius * 1.1)
    vein = 1 - abs(fractal(x / 0.004, y / 0.004, z / 0.004, 3, 5)) * 5
    vein = skin.veins * ramp(vein, 0.35, 1.0) * ramp(radius, 0.008, 0.012)
    corner = ramp(radius, 0.008, 0.0135)
    inside = 1 - ramp(share, 0.93, 1.06)
    for c in range(3):
        white = skin.sclera[c] - (vein * 0.14 if c > 0 else 0.02 * vein) - corner * (0.18 if c > 0 else 0.05)
        albedo[c] = max(white, 0.02) * (1 - inside) + max(skin.iris[c] * tone, 0.0) * inside
    if z < 0:
        z = 0.001
    bulge = 1.45 if radius < iris else 1.0
    x, y = x * bulge, y * bulge
    for i in range(3):
        n[i] = turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] * z
    return 3.0, 240.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _tooth(skin, p, gum, albedo, n, turn):
    """Paint teeth one by one along the arch, with gums over their roots."""
    along = abs(math.atan2(p[0], p[2] + 0.018)) * 0.034 / skin.tooth_width
    start, width = 0.0, 0.0085
    for index in range(9):
        width = (0.0085, 0.0066, 0.0078, 0.0068, 0.0066, 0.0095, 0.0095, 0.009, 0.02)[index]
        if along < start + width or index == 8:
            break
        start += width
    across = (along - start) / width  # 0 to 1 over the tooth
    own = noise(start * 900 + (3.0 if p[0] > 0 else 0.0), gum * 0.1, 0.5, skin.seed + 41)
    rim = min(across, 1 - across)
    arch = 0.30 + 0.16 * abs(across - 0.5) * 2  # gums rise in arches between teeth
    covered = ramp(gum, 1 - arch - 0.05, 1 - arch + 0.05)
    gap = (1 - ramp(rim, 0.0, 0.07 + 0.05 * skin.tooth_gaps)) * (0.35 + 0.5 * skin.tooth_gaps)
    edge = 1 - 0.25 * ramp(0.12 - gum, 0.0, 0.12)
    for c in range(3):
        enamel = skin.teeth[c] * (1 + 0.08 * own) * (1 - 0.7 * gap) * edge * (1 - 0.25 * gum)
        albedo[c] = enamel + covered * (skin.gums[c] * (1 + 0.15 * own) - enamel)
    tilt(n, math.copysign(across - 0.5, p[0]), 0.0, 0.0, 0.8 * (1 - covered), turn)
    return 1.8, 45.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _inner(skin, p, material, albedo, n, turn):
    """Paint the tongue and the lining of the mouth."""
    x, y, z = p[0], p[1], p[2]
    bumps = noise(x / 0.0011, y / 0.0011, z / 0.0011, 61)
    blotch = noise(x / 0.006, y / 0.006, z / 0.006, skin.seed + 62)
    groove = math.exp(-((x / 0.0022) ** 2))
    coat = 0.25 * ramp(z, -0.04, 0.0) if material == TONGUE else 0.0
    for c in range(3):
        base = skin.tongue[c] if material == TONGUE else skin.gums[c] * 0.75
        base *= 1 + 0.12 * bumps + 0.15 * blotch
        albedo[c] = base * (1 - 0.3 * groove * (material == TONGUE)) + coat * (0.25 - base) * 0.4
    gx, gy, gz = slope(x / 0.0014, y / 0.0014, z / 0.0014, 63)
    tilt(n, gx, gy, gz, 0.25, turn)
    return 1.6, 40.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _fabric(row, p, albedo, n, turn):
    """Paint cloth: its pattern, folds and weave."""
    x, y, z = p[0], p[1], p[2]
    scale, seed = row[7], int(row[11])
    around = math.atan2(x, z + 0.07) * 0.1
    mix = 0.0
    if row[6] == 1:
        mix = 1.0 if math.sin(y * 2 * math.pi / scale) > 0 else 0.0
    elif row[6] == 2:
        mix = 0.5 * (math.sin(y * 2 * math.pi / scale) > 0.3) + 0.5 * (math.sin(around * 2 * math.pi / scale) > 0.3)
    elif row[6] == 3:
        mix = ramp(fractal(x / scale, y / scale, z / scale, 3, seed), -0.05, 0.1)
    elif row[6] == 4:
        u, v = (around / scale) % 1.0 - 0.5, (y / scale) % 1.0 - 0.5
        mix = 1 - ramp(math.sqrt(u * u + v * v), 0.22, 0.28)
    elif row[6] == 5:
        # A jacket's opening, with lapels: its second colour is the shirt's.
        opening = (y + 0.3) * 0.42 * (z > -0.06)
        mix = ramp(opening - abs(x), 0.0, 0.0008)
        lapel = abs(abs(x) - opening - 0.028 + 0.5 * abs(y + 0.2))
        mix -= 0.35 * (1 - ramp(lapel, 0.0008, 0.0016)) * (z > -0.06)
    shade = (
        1
        + 0.08 * row[10] * noise(x / 0.0012, y / 0.0012, z / 0.0012, seed)
        + 0.1 * noise(x / 0.03, y / 0.05, z / 0.03, seed + 1)
    )
    for c in range(3):
        albedo[c] = (row[c] + mix * (row[3 + c] - row[c])) * shade
    gx, gy, gz = slope(x / 0.035, y / 0.07, z / 0.035, seed + 2)
    tilt(n, gx, gy * 0.5, gz, 0.35 * row[9], turn)
    gx, gy, gz = slope(x / 0.012, y / 0.02, z / 0.012, seed + 3)
    tilt(n, gx, gy * 0.6, gz, 0.16 * row[9], turn)
    gx, gy, gz = slope(x / 0.0016, y / 0.0016, z / 0.0016, seed + 4)
    tilt(n, gx, gy, gz, 0.25 * row[10], turn)
    return 0.15 + 1.5 * row[8], 10.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _unit(n):
    s = 1.0 / max(math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-9)
    for i in range(3):
        n[i] *= s


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def shade(scene, skin, face, weights, mouth_light, out):
    """Fill `out` (P, 3) with the linear light of surface points given by face and barycentric weights."""
    p, q, n, smooth, albedo = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    t = np.empty(scene.attributes.shape[1])
    for i in range(len(face)):
        f, w = face[i], weights[i]
        a, b, c = scene.corners[f, 0], scene.corners[f, 1], scene.corners[f, 2]
        for k in range(3):
            p[k], q[k] = _at(scene.places, a, b, c, w, k), _at(scene.points, a, b, c, w, k)
            n[k] = _at(scene.normals, a, b, c, w, k)
        for k in range(len(t)):
            t[k] = _at(scene.attributes, a, b, c, w, k)
        _unit(n)
        vx, vy, vz = scene.eye[0] - q[0], scene.eye[1] - q[1], scene.eye[2] - q[2]
        s = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * s, vy * s, vz * s
        material = scene.material[f]
        if material >= CLOTH and n[0] * vx + n[1] * vy + n[2] * vz < 0:
            # Cloth has no inside: its wrong side is lit as the right one is.
            n[0], n[1], n[2] = -n[0], -n[1], -n[2]
        smooth[:] = n
        if material >= CLOTH or t[A_CLOTH] > 0.0:
            row = max(material - CLOTH, 0)
            gloss, sharp = _fabric(scene.fabrics[row], p, albedo, n, scene.turns[0])
        elif material == EYES:
            own = 1 if p[0] > 0 else 0
            gloss, sharp = _eyeball(skin, p, scene.eyeballs[own], scene.turns[1 + own], albedo, n)
            _unit(n)
            smooth[:] = n
        elif material == TEETH:
            gloss, sharp = _tooth(skin, p, t[A_LIPS], albedo, n, scene.turns[0])
        elif material == TONGUE or (material == MOUTH and t[A_LIPS] < 0.05):
            gloss, sharp = _inner(skin, p, material, albedo, n, scene.turns[0])
        else:
            gloss, sharp = paint_skin(skin, p, t, albedo, n, scene.turns[0])
        _unit(n)
        sky = scene.sky[a] * w[0] + scene.sky[b] * w[1] + scene.sky[c] * w[2]
        lift = mouth_light * t[A_INSIDE]
        facing = max(n[0] * vx + n[1] * vy + n[2] * vz, 0.0)
        for k in range(3):
            diffuse = _at(scene.irradiance, a, b, c, w, k)
            bent = 0.0
            for j in range(3):
                bent += _at(scene.vector, a, b, c, w, j) * (n[j] - smooth[j])
            diffuse = max(diffuse + bent, 0.15 * diffuse)
            diffuse = max(diffuse, lift * 0.75 * scene.above[k])
            rim = 0.04 * (1 - facing) ** 4 * sky * scene.above[k]
            wet = 0.03 * min(gloss, 1.6) * scene.above[k] * sky * (0.3 + 0.7 * max(n[1], 0.0)) * (sharp > 39)
            out[i, k] = albedo[k] * diffuse + rim + wet
        for j in range(len(scene.sizes)):
            dx, dy, dz = scene.directions[j, 0], scene.directions[j, 1], scene.directions[j, 2]
            lit = n[0] * dx + n[1] * dy + n[2] * dz
            if lit <= 0.0:
                continue
            hx, hy, hz = dx + vx, dy + vy, dz + vz
            s = 1.0 / max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
            half = max((n[0] * hx + n[1] * hy + n[2] * hz) * s, 0.0)
            # A large lamp blurs its own highlight.
            power = 1.0 / (1.0 / sharp + (0.07 if material == EYES else 0.25) * scene.sizes[j] ** 2)
            grazing = 0.04 + 0.96 * (1 - max((vx * hx + vy * hy + vz * hz) * s, 0.0)) ** 5
            lobe = gloss * grazing * (power + 8) / 25 * half**power * min(4 * lit, 1.0)
            lobe *= _at(scene.lamps, a, b, c, w, j)
            for k in range(3):
                out[i, k] += lobe * scene.colors[j, k]


def shade_points(
    scene: Scene, skin: Skin, face: Int[np.ndarray, "P"], weights: Float[np.ndarray, "P 3"], mouth_light: float
) -> Float[np.ndarray, "P 3"]:
    """Give the linear light that surface points send to the camera; 0 to 1 of `mouth_light` is added inside the mouth."""
    out = np.empty((len(face), 3))
    shade(scene, skin, face, weights, mouth_light, out)
    return out
