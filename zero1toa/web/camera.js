// The camera: that of the photo, moved round the head. Yaw > 0 shows more of the subject's left, pitch > 0 looks from above.

const REACH = { yaw: 100, pitch: 40 }; // degrees that hands may turn; beyond, one photo knows nothing
const ZOOM = { least: 0.5, most: 6 };
const DEGREE = Math.PI / 180;
const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/** Move the photo's camera by degrees round its target and fit its frame into a picture of so many pixels. */
function orbit({ viewmat, intrinsics, width, height, target }, { yaw, pitch, zoom }, across, down) {
  const sa = Math.sin(yaw * DEGREE), ca = Math.cos(yaw * DEGREE), sb = Math.sin(pitch * DEGREE), cb = Math.cos(pitch * DEGREE);
  const view = new Float32Array(12), seen = [];
  for (let row = 0; row < 3; row++) {
    const [x, y, z, w] = viewmat[row];
    seen.push(x * target[0] + y * target[1] + z * target[2] + w);
    view.set([x * ca + z * sa, y, z * ca - x * sa], 4 * row);
  }
  for (let column = 0; column < 3; column++) {
    const y = view[4 + column], z = view[8 + column];
    view[4 + column] = cb * y - sb * z;
    view[8 + column] = sb * y + cb * z;
  }
  // The target stays where the photo shows it.
  for (let at = 0; at < 12; at += 4) view[at + 3] = seen[at / 4] - view[at] * target[0] - view[at + 1] * target[1] - view[at + 2] * target[2];
  const scale = Math.min(across / width, down / height);
  const axis = (row, extent, pixels) => {
    const focal = intrinsics[row][row] * scale, centre = intrinsics[row][2] * scale + (pixels - extent * scale) / 2;
    const at = (focal * seen[row]) / seen[2] + centre;
    return [focal * zoom, (centre - at) * zoom + at];
  };
  const [fx, cx] = axis(0, width, across), [fy, cy] = axis(1, height, down);
  return { view, fx, fy, cx, cy };
}

/** Turns pointers, wheel and keys on an element into views; `goal` is where the view eases to. */
class OrbitControls {
  constructor(element, changed, signal) {
    this.now = { yaw: 0, pitch: 0, zoom: 1 };
    this.goal = { ...this.now };
    this.home = { ...this.now };
    this.changed = changed;
    this.element = element;
    this.pointers = new Map();
    const on = (name, act, options) => element.addEventListener(name, act, { signal, ...options });
    on("pointerdown", (event) => {
      if (event.button) return;
      this.pointers.set(event.pointerId, event);
      element.setPointerCapture(event.pointerId);
    });
    on("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) on(name, (event) => this.pointers.delete(event.pointerId));
    on("dblclick", () => this.move(this.home));
    on("wheel", (event) => {
      event.preventDefault();
      this.move({ zoom: this.goal.zoom * Math.exp(-clamp(event.deltaY * (event.deltaMode ? 16 : 1), -120, 120) * 0.002) });
    }, { passive: false });
    on("keydown", (event) => {
      const { yaw, pitch, zoom } = this.goal, step = event.shiftKey ? 15 : 5;
      const moves = {
        ArrowLeft: { yaw: yaw - step }, ArrowRight: { yaw: yaw + step }, ArrowUp: { pitch: pitch + step }, ArrowDown: { pitch: pitch - step },
        "+": { zoom: zoom * 1.15 }, "=": { zoom: zoom * 1.15 }, "-": { zoom: zoom / 1.15 }, 0: this.home,
      };
      if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.move(moves[event.key]);
    });
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    // A drag across the picture is a turn by 120 degrees: what is under the pointer follows it.
    const turn = 120 / this.element.clientWidth / this.pointers.size, { yaw, pitch, zoom } = this.goal;
    const others = [...this.pointers.values()].filter((other) => other.pointerId !== event.pointerId);
    const span = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
    this.pointers.set(event.pointerId, event);
    this.move({
      yaw: yaw - (event.clientX - before.clientX) * turn,
      pitch: pitch + (event.clientY - before.clientY) * turn * 0.6,
      zoom: others.length ? (zoom * span(event)) / Math.max(span(before), 1) : zoom,
    });
  }

  /** Ease to a view, within what hands may reach from home. */
  move(view) {
    const next = { ...this.goal, ...view };
    this.goal.yaw = clamp(next.yaw, this.home.yaw - REACH.yaw, this.home.yaw + REACH.yaw);
    this.goal.pitch = clamp(next.pitch, this.home.pitch - REACH.pitch, this.home.pitch + REACH.pitch);
    this.goal.zoom = clamp(next.zoom, ZOOM.least, ZOOM.most);
    this.changed();
  }

  /** Go to a view at once. */
  set(view) {
    Object.assign(this.goal, view);
    Object.assign(this.now, this.goal);
    this.changed();
  }

  /** Come nearer to the goal; tell whether there is some way left. */
  ease(seconds, still) {
    const part = still ? 1 : 1 - Math.exp(-14 * seconds);
    let left = 0;
    for (const [name, unit] of [["yaw", 1], ["pitch", 1], ["zoom", 0.02]]) {
      this.now[name] += (this.goal[name] - this.now[name]) * part;
      left = Math.max(left, Math.abs(this.goal[name] - this.now[name]) / unit);
    }
    if (left < 0.02) Object.assign(this.now, this.goal);
    return left >= 0.02;
  }
}
