// Draws splats with WebGL2: EWA splatting (Zwicker et al. 2001) with the numbers of the Python rasterizer, from far to
// near, blended premultiplied. One quad a splat; no instancing, which is ten times slower without a GPU.

const NEAR = 0.01; // metres
const ROW = 512; // triangles or splats, of three texels each, in a row of their texture
const ORDER_ROW = 1024;

const VERTEX_SHADER = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D; precision highp usampler2D;
uniform sampler2D frames;   // by triangle: rows of (size * rotation | origin)
uniform usampler2D splats;  // by splat: centre, triangle | covariance xx xy xz yy | yz zz, colour, opacity
uniform usampler2D order;
uniform vec4 view[3];       // rows of the world-to-camera matrix
uniform vec4 lens, limits;  // fx, fy, cx, cy in pixels; least and most of x / z and y / z in the Jacobian
uniform vec2 size;
out vec2 along;
flat out vec4 paint;
void main() {
  int slot = gl_VertexID >> 2;
  int splat = int(texelFetch(order, ivec2(slot & ${ORDER_ROW - 1}, slot / ${ORDER_ROW}), 0).r);
  ivec2 at = ivec2(3 * (splat & ${ROW - 1}), splat / ${ROW});
  uvec4 a = texelFetch(splats, at, 0), b = texelFetch(splats, at + ivec2(1, 0), 0), c = texelFetch(splats, at + ivec2(2, 0), 0);
  ivec2 of = ivec2(3 * (int(a.w) & ${ROW - 1}), int(a.w) / ${ROW});
  vec4 f0 = texelFetch(frames, of, 0), f1 = texelFetch(frames, of + ivec2(1, 0), 0), f2 = texelFetch(frames, of + ivec2(2, 0), 0);
  vec4 centre = vec4(uintBitsToFloat(a.xyz), 1), mean = vec4(dot(f0, centre), dot(f1, centre), dot(f2, centre), 1);
  vec3 seen = vec3(dot(view[0], mean), dot(view[1], mean), dot(view[2], mean));
  gl_Position = vec4(0, 0, 2, 1);
  paint = vec4(unpackUnorm2x16(c.z), unpackUnorm2x16(c.w));
  if (seen.z < ${NEAR} || paint.a < ${1 / 255}) return;
  vec2 slope = clamp(seen.xy / seen.z, limits.xy, limits.zw);
  // The rows of J W, then of J W times the triangle's frame.
  vec3 p = lens.x / seen.z * (view[0].xyz - slope.x * view[2].xyz), q = lens.y / seen.z * (view[1].xyz - slope.y * view[2].xyz);
  mat3 frame = mat3(f0.xyz, f1.xyz, f2.xyz);
  p = frame * p; q = frame * q;
  vec4 u = uintBitsToFloat(b); vec2 v = uintBitsToFloat(c.xy);
  mat3 spread = mat3(u.x, u.y, u.z, u.y, u.w, v.x, u.z, v.x, v.y);
  vec3 sp = spread * p;
  float xx = dot(p, sp) + 0.3, yy = dot(q, spread * q) + 0.3, xy = dot(q, sp); // 0.3: the low-pass filter
  float middle = (xx + yy) / 2.0, apart = length(vec2((xx - yy) / 2.0, xy));
  float turn = apart < 1e-6 ? 0.0 : atan(2.0 * xy, xx - yy) / 2.0;
  vec2 major = vec2(cos(turn), sin(turn));
  // Where alpha falls to 1 / 255, in standard deviations; the small constant outweighs rounding.
  float reach = sqrt(2.0 * log(255.0 * paint.a)) + 1e-3;
  along = reach * vec2((gl_VertexID & 1) * 2 - 1, (gl_VertexID & 2) - 1);
  vec2 pixel = lens.xy * seen.xy / seen.z + lens.zw + along.x * sqrt(middle + apart) * major
    + along.y * sqrt(max(middle - apart, 0.3)) * vec2(-major.y, major.x);
  gl_Position = vec4((pixel / size * 2.0 - 1.0) * vec2(1, -1), 0, 1);
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
in vec2 along;
flat in vec4 paint;
out vec4 color;
void main() {
  float alpha = min(0.999, paint.a * exp(-0.5 * dot(along, along)));
  if (alpha < ${1 / 255}) discard;
  color = vec4(paint.rgb * alpha, alpha);
}`;

class SplatRenderer {
  constructor(canvas, avatar) {
    this.canvas = canvas;
    this.made = []; // what frees each thing on the GPU
    this.count = avatar.count;
    this.faces = avatar.splats.faces;
    const { centres, covariances } = bindSplats(avatar);
    this.centres = centres;
    this.packed = packSplats(avatar, centres, covariances);
    this.planes = new Float32Array((avatar.faces.length / 3) * 4);
    this.frames = new Float32Array(3 * ROW * 4 * rows(avatar.faces.length / 3, ROW));
    this.order = new Uint32Array(ORDER_ROW * rows(this.count, ORDER_ROW));
    this.depths = new Float32Array(this.count);
    this.keys = new Uint16Array(this.count);
    this.starts = new Uint32Array(65537);
    this.start();
  }

  /** Make what lives on the GPU; again after it was lost. */
  start() {
    // Opaque or not is decided by what is cleared to; premultiplied, so that the page shows through soft edges.
    const gl = this.canvas.getContext("webgl2", { antialias: false, depth: false, premultipliedAlpha: true, powerPreference: "high-performance" });
    if (!gl) throw new Error("This browser cannot show 3D here (no WebGL 2): update it, or switch on hardware acceleration.");
    this.gl = gl;
    const program = gl.createProgram(), corner = gl.createBuffer();
    this.made = [() => gl.deleteProgram(program), () => gl.deleteBuffer(corner)];
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      gl.deleteShader(shader); // once the program is
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`This graphics driver refuses our shader: ${gl.getProgramInfoLog(program)}`);
    }
    gl.useProgram(program);
    this.at = Object.fromEntries(["view", "lens", "limits", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
    ["frames", "splats", "order"].forEach((name, unit) => gl.uniform1i(gl.getUniformLocation(program, name), unit));
    this.texture(0, gl.RGBA32F, 3 * ROW, this.frames.length / (12 * ROW));
    this.texture(1, gl.RGBA32UI, 3 * ROW, this.packed.length / (12 * ROW));
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 3 * ROW, this.packed.length / (12 * ROW), gl.RGBA_INTEGER, gl.UNSIGNED_INT, this.packed);
    this.texture(2, gl.R32UI, ORDER_ROW, this.order.length / ORDER_ROW);
    const corners = new Uint32Array(6 * this.count);
    for (let i = 0; i < this.count; i++) corners.set([4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 2, 4 * i + 1, 4 * i + 3], 6 * i);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, corner);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  texture(unit, format, width, height) {
    const gl = this.gl, texture = gl.createTexture();
    this.made.push(() => gl.deleteTexture(texture));
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
  }

  /** Draw with triangles' frames and a camera of the canvas's size over a colour (red, green, blue, alpha). */
  draw(frames, camera, background) {
    const { gl, canvas } = this, { view, fx, fy, cx, cy } = camera;
    if (gl.isContextLost()) return;
    const visible = this.sort(frames, view);
    this.frames.set(frames);
    gl.activeTexture(gl.TEXTURE0);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 3 * ROW, this.frames.length / (12 * ROW), gl.RGBA, gl.FLOAT, this.frames);
    gl.activeTexture(gl.TEXTURE2);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ORDER_ROW, this.order.length / ORDER_ROW, gl.RED_INTEGER, gl.UNSIGNED_INT, this.order);
    const { width, height } = canvas, marginX = (0.15 * width) / fx, marginY = (0.15 * height) / fy;
    gl.uniform4fv(this.at.view, view);
    gl.uniform4f(this.at.lens, fx, fy, cx, cy);
    gl.uniform4f(this.at.limits, -cx / fx - marginX, -cy / fy - marginY, (width - cx) / fx + marginX, (height - cy) / fy + marginY);
    gl.uniform2f(this.at.size, width, height);
    gl.viewport(0, 0, width, height);
    gl.clearColor(...background);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.drawElements(gl.TRIANGLES, 6 * visible, gl.UNSIGNED_INT, 0);
  }

  /** Order the splats before the camera from far to near, by a counting sort of 16 bits; give their number. */
  sort(frames, view) {
    const { planes, centres, faces, depths, keys, order, starts, count } = this;
    const [, , , , , , , , a, b, c, d] = view;
    // Depth is linear within a triangle's frame: four numbers a triangle, offsets along the normal included.
    for (let f = 0, m = 0; f < planes.length; f += 4, m += FRAME) {
      for (let k = 0; k < 4; k++) planes[f + k] = a * frames[m + k] + b * frames[m + 4 + k] + c * frames[m + 8 + k];
      planes[f + 3] += d;
    }
    let least = Infinity, most = -Infinity;
    for (let i = 0, at = 0; i < count; i++, at += 3) {
      const f = 4 * faces[i];
      const depth = planes[f] * centres[at] + planes[f + 1] * centres[at + 1] + planes[f + 2] * centres[at + 2] + planes[f + 3];
      depths[i] = depth;
      if (depth < NEAR) continue;
      if (depth < least) least = depth;
      if (depth > most) most = depth;
    }
    starts.fill(0);
    const scale = 65534 / Math.max(most - least, TINY);
    for (let i = 0; i < count; i++) {
      // Farther splats have smaller keys; what is behind the camera comes last and is not drawn.
      const key = depths[i] < NEAR ? 65535 : ((most - depths[i]) * scale) | 0;
      keys[i] = key;
      starts[key + 1]++;
    }
    for (let key = 0; key < 65536; key++) starts[key + 1] += starts[key];
    const visible = starts[65535];
    for (let i = 0; i < count; i++) order[starts[keys[i]]++] = i;
    return visible;
  }

  /** Give the GPU's memory back, for others on the same canvas. */
  free() {
    for (const free of this.made.splice(0)) free();
  }

  end() {
    this.free();
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

const rows = (count, width) => Math.max(1, Math.ceil(count / width));

/** Pack what a splat never changes into three texels. */
function packSplats({ splats, count }, centres, covariances) {
  const words = new Uint32Array(3 * ROW * 4 * rows(count, ROW)), floats = new Float32Array(words.buffer);
  const pair = (low, high) => (Math.round(low * 65535) | (Math.round(high * 65535) << 16)) >>> 0;
  for (let i = 0, to = 0; i < count; i++, to += 12) {
    const [red, green, blue] = splats.colors.subarray(3 * i, 3 * i + 3);
    floats.set(centres.subarray(3 * i, 3 * i + 3), to);
    words[to + 3] = splats.faces[i];
    floats.set(covariances.subarray(6 * i, 6 * i + 6), to + 4);
    words[to + 10] = pair(red, green);
    words[to + 11] = pair(blue, splats.opacities[i]);
  }
  return words;
}
