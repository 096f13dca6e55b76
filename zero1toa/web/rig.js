// Moves the head: morph targets, then linear blend skinning, then a frame for every triangle, as the Python package does.

const SMALLEST_TRIANGLE = 1e-6; // metres, so that splats of an eyelid shut to a line stay finite
const TINY = 1e-12;
const FRAME = 12; // numbers of a frame: three rows of (size times rotation | origin)

class Rig {
  constructor({ rest, faces, joints, bones, weights, morphs }) {
    Object.assign(this, { rest, faces, joints, bones, weights, morphs });
    this.vertices = new Float32Array(rest.length);
    this.frames = new Float32Array((faces.length / 3) * FRAME);
    this.bends = joints.names.map(() => new Float64Array(12)); // rows of (rotation | translation)
  }

  /** Fill `vertices` and `frames` for weights by target and turns (axis-angle) by joint name. */
  pose(weights, turns) {
    const { vertices, morphs } = this;
    vertices.set(this.rest);
    for (let target = 0; target < morphs.length; target++) {
      const weight = weights[target], { indices, deltas } = morphs[target];
      if (!weight) continue;
      for (let i = 0, from = 0; i < indices.length; i++, from += 3) {
        const to = 3 * indices[i];
        vertices[to] += weight * deltas[from];
        vertices[to + 1] += weight * deltas[from + 1];
        vertices[to + 2] += weight * deltas[from + 2];
      }
    }
    this.bend(turns);
    this.skin();
    triangleFrames(vertices, this.faces, this.frames);
  }

  /** Compose the joints' rotations about themselves from the root outwards. */
  bend(turns) {
    const { names, parents, places } = this.joints;
    for (let joint = 0; joint < names.length; joint++) {
      const own = rotation(turns[names[joint]] ?? [0, 0, 0]), [x, y, z] = places[joint], to = this.bends[joint];
      const parent = parents[joint] < 0 ? IDENTITY : this.bends[parents[joint]];
      for (let row = 0; row < 3; row++) {
        const [a, b, c] = [parent[4 * row], parent[4 * row + 1], parent[4 * row + 2]];
        for (let column = 0; column < 3; column++) {
          to[4 * row + column] = a * own[column] + b * own[3 + column] + c * own[6 + column];
        }
        // The joint's place stays where its parent takes it.
        const kept = a * x + b * y + c * z + parent[4 * row + 3];
        to[4 * row + 3] = kept - to[4 * row] * x - to[4 * row + 1] * y - to[4 * row + 2] * z;
      }
    }
  }

  /** Blend the joints' moves at every vertex; most hang on one joint alone. */
  skin() {
    const { vertices, bones, weights, bends } = this, mixed = new Float64Array(12);
    for (let v = 0, at = 0; at < vertices.length; v += 4, at += 3) {
      let m = bends[bones[v]];
      if (weights[v] < 1) {
        m = mixed.fill(0);
        for (let k = v; k < v + 4; k++) {
          const weight = weights[k], bend = bends[bones[k]];
          if (weight) for (let i = 0; i < 12; i++) m[i] += weight * bend[i];
        }
      }
      const x = vertices[at], y = vertices[at + 1], z = vertices[at + 2];
      vertices[at] = m[0] * x + m[1] * y + m[2] * z + m[3];
      vertices[at + 1] = m[4] * x + m[5] * y + m[6] * z + m[7];
      vertices[at + 2] = m[8] * x + m[9] * y + m[10] * z + m[11];
    }
  }
}

const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];

/** Exponentiate an axis-angle vector by Rodrigues' formula, row by row. */
function rotation([x, y, z]) {
  const angle = Math.sqrt(x * x + y * y + z * z + 1e-16), s = Math.sin(angle) / angle, c = (1 - Math.cos(angle)) / angle ** 2;
  return [
    1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y,
    c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x,
    c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y),
  ];
}

/** Fill the frames of triangles (GaussianAvatars, section 3.1): along the first edge, across it, and the normal. */
function triangleFrames(vertices, faces, frames) {
  for (let f = 0, to = 0; f < faces.length; f += 3, to += FRAME) {
    const p = 3 * faces[f], q = 3 * faces[f + 1], r = 3 * faces[f + 2];
    const px = vertices[p], py = vertices[p + 1], pz = vertices[p + 2];
    let ux = vertices[q] - px, uy = vertices[q + 1] - py, uz = vertices[q + 2] - pz;
    const vx = vertices[r] - px, vy = vertices[r + 1] - py, vz = vertices[r + 2] - pz;
    const edge = Math.sqrt(ux * ux + uy * uy + uz * uz), unit = 1 / Math.max(edge, TINY);
    ux *= unit; uy *= unit; uz *= unit;
    let nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    const up = 1 / Math.max(Math.sqrt(nx * nx + ny * ny + nz * nz), TINY);
    nx *= up; ny *= up; nz *= up;
    const wx = ny * uz - nz * uy, wy = nz * ux - nx * uz, wz = nx * uy - ny * ux;
    const size = Math.max((edge + Math.abs(wx * vx + wy * vy + wz * vz)) / 2, SMALLEST_TRIANGLE);
    frames[to] = size * ux; frames[to + 1] = size * wx; frames[to + 2] = size * nx;
    frames[to + 4] = size * uy; frames[to + 5] = size * wy; frames[to + 6] = size * ny;
    frames[to + 8] = size * uz; frames[to + 9] = size * wz; frames[to + 10] = size * nz;
    frames[to + 3] = px + (ux * edge + vx) / 3; frames[to + 7] = py + (uy * edge + vy) / 3; frames[to + 11] = pz + (uz * edge + vz) / 3;
  }
}

/** Express splats at rest in the frames of their triangles: centres, and the six numbers of their covariances. */
function bindSplats({ rest, faces, splats, count }) {
  const frames = new Float32Array((faces.length / 3) * FRAME);
  triangleFrames(rest, faces, frames);
  const centres = new Float32Array(3 * count), covariances = new Float32Array(6 * count), a = new Float64Array(9);
  for (let i = 0; i < count; i++) {
    const m = FRAME * splats.faces[i];
    // The frame's columns have the length of the triangle's size: its transpose over the square of that is its inverse.
    const inverse = 1 / Math.max(frames[m + 2] ** 2 + frames[m + 6] ** 2 + frames[m + 10] ** 2, SMALLEST_TRIANGLE ** 2);
    const x = splats.means[3 * i] - frames[m + 3], y = splats.means[3 * i + 1] - frames[m + 7], z = splats.means[3 * i + 2] - frames[m + 11];
    let [qx, qy, qz, qw] = splats.quats.subarray(4 * i, 4 * i + 4);
    const unit = 1 / Math.max(Math.hypot(qx, qy, qz, qw), TINY);
    qx *= unit; qy *= unit; qz *= unit; qw *= unit;
    const r = [
      1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy),
      2 * (qx * qy + qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx),
      2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx * qx + qy * qy),
    ];
    for (let row = 0; row < 3; row++) {
      const u = frames[m + row] * inverse, v = frames[m + row + 4] * inverse, w = frames[m + row + 8] * inverse;
      centres[3 * i + row] = u * x + v * y + w * z;
      for (let k = 0; k < 3; k++) a[3 * row + k] = (u * r[k] + v * r[3 + k] + w * r[6 + k]) * splats.scales[3 * i + k];
    }
    for (let row = 0, to = 6 * i; row < 3; row++) {
      for (let column = row; column < 3; column++, to++) {
        covariances[to] = a[3 * row] * a[3 * column] + a[3 * row + 1] * a[3 * column + 1] + a[3 * row + 2] * a[3 * column + 2];
      }
    }
  }
  return { centres, covariances };
}
