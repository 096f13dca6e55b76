// Reads avatar.glb: a skinned mesh with sparse morph targets, and splats bound to its triangles by _FACE.
// Everything is checked before it is used: whatever the file says, the answer is an avatar or an AvatarFileError.

class AvatarFileError extends Error {}

const ARRAYS = { 5120: Int8Array, 5121: Uint8Array, 5122: Int16Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array };
const WIDTHS = { SCALAR: 1, VEC3: 3, VEC4: 4 };
const NORM = { 5120: 127, 5121: 255, 5122: 32767, 5123: 65535 };
const MOST = { vertices: 200_000, triangles: 400_000, splats: 1_000_000 };
const SH0 = 0.28209479177387814;
const SPLAT = "KHR_gaussian_splatting";

const need = (truth, what) => {
  if (!truth) throw new AvatarFileError(`This is not a complete avatar file (${what}): export the avatar again.`);
  return truth;
};

/** Read a GLB into flat arrays; see the returned record at the end. */
function readAvatar(buffer) {
  need(buffer instanceof ArrayBuffer && buffer.byteLength >= 20, "it is too short");
  const words = new DataView(buffer);
  need(words.getUint32(0, true) === 0x46546c67 && words.getUint32(4, true) === 2, "it is no binary glTF 2");
  need(words.getUint32(8, true) <= buffer.byteLength, "its end is missing");
  const length = words.getUint32(12, true);
  need(words.getUint32(16, true) === 0x4e4f534a && 20 + length + 8 <= buffer.byteLength, "its description is missing");
  let gltf;
  try {
    gltf = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, length)));
  } catch {
    need(false, "its description cannot be read");
  }
  const start = 20 + length + 8, size = words.getUint32(start - 8, true);
  need(words.getUint32(start - 4, true) === 0x004e4942 && start + size <= buffer.byteLength, "its data are missing");
  try {
    return readParts(gltf, new GlbData(gltf, buffer, start, size));
  } catch (error) {
    // A missing member of a hostile description shows as a TypeError.
    if (error instanceof TypeError || error instanceof RangeError) need(false, error.message);
    throw error;
  }
}

/** The binary chunk of a GLB, seen through accessors. */
class GlbData {
  constructor(gltf, buffer, start, size) {
    Object.assign(this, { gltf, buffer, start, size });
  }

  /** Copy `count` rows out of a buffer view, as numbers of the file's own type. */
  rows(view, offset, type, width, count) {
    const { byteOffset = 0, byteLength, byteStride = 0 } = need(this.gltf.bufferViews[view], `no buffer view ${view}`);
    const List = need(ARRAYS[type], `component type ${type}`), unit = List.BYTES_PER_ELEMENT, row = unit * width;
    const stride = byteStride || row, last = offset + stride * (count - 1) + row;
    const whole = [byteOffset, byteLength, offset, count].every((value) => Number.isInteger(value) && value >= 0);
    need(whole && stride >= row && (!count || last <= byteLength) && byteOffset + byteLength <= this.size, "an array ends early");
    const from = this.start + byteOffset + offset;
    if (stride === row) return new List(this.buffer.slice(from, from + row * count));
    const packed = new Uint8Array(row * count), bytes = new Uint8Array(this.buffer);
    for (let i = 0; i < count; i++) packed.set(bytes.subarray(from + i * stride, from + i * stride + row), i * row);
    return new List(packed.buffer);
  }

  accessor(index, type, most) {
    const found = need(this.gltf.accessors[index], `no accessor ${index}`);
    need(found.type === type && WIDTHS[type], `accessor ${index} is no ${type}`);
    need(Number.isInteger(found.count) && found.count >= 0 && found.count <= most, `accessor ${index} is too long`);
    return found;
  }

  integers(index, type, most) {
    const { bufferView, byteOffset = 0, componentType, count } = this.accessor(index, type, most);
    need(componentType !== 5126, "an index is no whole number");
    return this.rows(bufferView, byteOffset, componentType, WIDTHS[type], count);
  }

  numbers(index, type, most) {
    const { bufferView, byteOffset = 0, componentType, normalized, count } = this.accessor(index, type, most);
    return finite(this.rows(bufferView, byteOffset, componentType, WIDTHS[type], count), componentType, normalized);
  }

  /** Give the sparse part of an accessor over `most` rows: which rows, and what they are. */
  sparse(index, most) {
    const { sparse, bufferView, componentType, count } = this.accessor(index, "VEC3", most);
    need(count === most, "a morph target does not fit its mesh");
    if (!sparse) {
      const dense = bufferView === undefined ? new Float32Array(0) : this.numbers(index, "VEC3", most);
      return { indices: Uint32Array.from({ length: dense.length / 3 }, (_, i) => i), deltas: dense };
    }
    need(componentType === 5126 && bufferView === undefined && sparse.count <= most, "a morph target is of an unknown kind");
    const { indices: where, values } = sparse;
    const indices = this.rows(where.bufferView, where.byteOffset ?? 0, where.componentType, 1, sparse.count);
    const deltas = this.rows(values.bufferView, values.byteOffset ?? 0, 5126, 3, sparse.count);
    return { indices: below(indices, most, "a morph target"), deltas: finite(deltas, 5126) };
  }
}

/** Turn the file's numbers into floats, refusing those that are none. */
function finite(values, type, normalized) {
  const floats = values instanceof Float32Array ? values : Float32Array.from(values);
  const scale = normalized && type !== 5126 ? 1 / NORM[type] : 1;
  for (let i = 0; i < floats.length; i++) {
    need(Number.isFinite(floats[i]), "it holds values that are not numbers");
    if (scale !== 1) floats[i] = Math.max(-1, floats[i] * scale);
  }
  return floats;
}

function below(indices, limit, what) {
  for (let i = 0; i < indices.length; i++) need(indices[i] >= 0 && indices[i] < limit, `${what} points nowhere`);
  return indices;
}

function readParts(gltf, data) {
  const mesh = need(gltf.meshes.find((one) => !one.primitives[0].extensions?.[SPLAT]), "no mesh");
  const cloud = need(gltf.meshes.find((one) => one.primitives[0].extensions?.[SPLAT]), "no splats").primitives[0].attributes;
  const { attributes, indices, targets } = mesh.primitives[0];
  const rest = data.numbers(attributes.POSITION, "VEC3", MOST.vertices), vertices = rest.length / 3;
  const faces = below(data.integers(indices, "SCALAR", 3 * MOST.triangles), vertices, "a triangle"), triangles = faces.length / 3;
  need(vertices > 0 && triangles > 0 && Number.isInteger(triangles), "no triangles");
  const names = mesh.extras.targetNames;
  need(Array.isArray(names) && names.length === targets.length && targets.length <= 512, "its expressions have no names");
  const joints = readJoints(gltf);
  const bones = data.integers(attributes.JOINTS_0, "VEC4", vertices), weights = data.numbers(attributes.WEIGHTS_0, "VEC4", vertices);
  need(bones.length === 4 * vertices && weights.length === 4 * vertices, "its skin does not fit");
  const attribute = (name) => cloud[`${SPLAT}:${name}`] ?? cloud[name];
  const faceOf = data.numbers(cloud._FACE, "SCALAR", MOST.splats);
  need(faceOf.every(Number.isInteger), "a splat has no triangle");
  const splats = {
    means: data.numbers(cloud.POSITION, "VEC3", MOST.splats),
    quats: data.numbers(attribute("ROTATION"), "VEC4", MOST.splats), // x, y, z, w
    scales: data.numbers(attribute("SCALE"), "VEC3", MOST.splats),
    opacities: data.numbers(attribute("OPACITY"), "SCALAR", MOST.splats),
    colors: data.numbers(attribute("SH_DEGREE_0_COEF_0"), "VEC3", MOST.splats).map((value) => Math.min(1, Math.max(0, 0.5 + SH0 * value))),
    faces: Uint32Array.from(below(faceOf, triangles, "a splat")),
  };
  const count = splats.faces.length;
  const fits = { means: 3, quats: 4, scales: 3, opacities: 1, colors: 3 };
  for (const [name, width] of Object.entries(fits)) need(splats[name].length === width * count, "its splats do not fit each other");
  return {
    rest, faces, joints, bones: below(bones, joints.names.length, "a vertex"), weights, names, splats, count,
    morphs: targets.map((target) => data.sparse(target.POSITION, vertices)),
    about: readAbout(need(gltf.asset.extras?.zero1toa, "it says nothing of its photo"), names),
  };
}

/** Give what the file says of the photo: its pose, its camera, the point to turn about, and lines for people. */
function readAbout({ version, photo, camera, target, yaw, background, provenance, confidence }, names) {
  need(version === 1, "a newer program wrote it");
  const table = (rows, ...shape) => {
    const [count, ...rest] = shape;
    const fits = Array.isArray(rows) && rows.length === count && rows.every((row) => (rest.length ? table(row, ...rest) : Number.isFinite(row)));
    return need(fits, "its photo is not described") && rows;
  };
  table(photo.expression, names.length);
  const [leftEye, rightEye] = table(photo.eyes, 2, 3);
  const { viewmat, intrinsics, width, height } = camera;
  table([width, height, yaw, background], 4);
  need(width > 0 && height > 0 && intrinsics[0][0] > 0 && intrinsics[1][1] > 0, "its camera sees nothing");
  const { yaw: yaws = [], expression = {} } = confidence ?? {};
  need(yaws.length < 1000 && yaws.every((row) => table(row, 2)), "its photo is not described");
  return {
    known: { yaw: yaws, expression: new Map(names.map((name) => [name, clamp(Number(expression[name] ?? 1), 0, 1) || 0])) },
    photo: {
      weights: Object.fromEntries(names.map((name, index) => [name, photo.expression[index]])),
      neck: table(photo.neck, 3), head: table(photo.head, 3), left_eye: leftEye, right_eye: rightEye,
    },
    camera: { viewmat: table(viewmat, 4, 4), intrinsics: table(intrinsics, 3, 3), width, height, target: table(target, 3) },
    yaw, background, provenance: (provenance ?? []).map(String),
  };
}

/** Give the skin's joints: names, parents among themselves (a parent before its children), places in the world. */
function readJoints(gltf) {
  const nodes = gltf.nodes, skin = gltf.skins[0], above = new Map();
  need(nodes.length <= 1000 && skin.joints.length <= 64, "too many joints");
  nodes.forEach((node, index) => (node.children ?? []).forEach((child) => above.set(child, index)));
  const place = (index, depth = 0) => {
    need(depth < 100, "its joints go round in circles");
    const own = nodes[index].translation ?? [0, 0, 0];
    need(own.length === 3 && own.every(Number.isFinite), "a joint is nowhere");
    return above.has(index) ? place(above.get(index), depth + 1).map((value, axis) => value + own[axis]) : own;
  };
  const parents = skin.joints.map((index) => skin.joints.indexOf(above.get(index)));
  need(parents.every((parent, joint) => parent < joint), "its joints are out of order");
  return { names: skin.joints.map((index) => nodes[index].name), parents, places: skin.joints.map((index) => place(index)) };
}
