// The viewer: an avatar on a canvas. It draws when something has changed, and otherwise leaves the device in peace.

const LATE = 30; // milliseconds from frame to frame beyond which fewer pixels are drawn
const BREATH = 1 / 30; // seconds between frames while only breath moves the head
const CHANGE = 0.35; // seconds that a face takes from what it did to what it does next

class AvatarViewer {
  constructor(host, avatar, options) {
    this.options = { idle: true, ratio: Math.min(1.5, devicePixelRatio || 1), ...options };
    this.reduced = matchMedia("(prefers-reduced-motion: reduce)");
    this.values = {};
    this.clip = null; // { motion, name, seconds, loops, pose, time, playing }
    this.change = null; // { from: pose, left: seconds }
    this.panels = [];
    this.idle = new Idle();
    this.idling = this.options.idle && !this.reduced.matches;
    this.ratio = this.options.ratio;
    this.late = 0;
    this.listeners = new Set();
    this.stopped = new AbortController();
    this.build(host);
    this.take(avatar);
    this.orbit = new OrbitControls(this.canvas, () => this.wake(), this.stopped.signal);
    this.resized = new ResizeObserver(() => this.wake());
    this.resized.observe(this.canvas);
  }

  build(host) {
    const { signal } = this.stopped;
    this.canvas = host instanceof HTMLCanvasElement ? host : make("canvas", { className: "z1-canvas" });
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", this.options.label ?? "3D head. Arrow keys turn it, plus and minus zoom, 0 goes back.");
    this.canvas.style.touchAction = "none";
    if (host !== this.canvas) host.append(this.canvas);
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault(), { signal });
    this.canvas.addEventListener("webglcontextrestored", () => { this.splats.start(); this.wake(); }, { signal });
    this.canvas.addEventListener("keydown", (event) => {
      if (event.key !== "f" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.meter) this.meter = void this.meter.remove();
      else this.canvas.after((this.meter = make("output", { className: "z1-meter" })));
      this.wake();
    }, { signal });
  }

  /** Show this avatar from now on. */
  take(avatar) {
    this.splats?.free();
    this.splats = new SplatRenderer(this.canvas, avatar);
    this.rig = new Rig(avatar);
    this.avatar = avatar;
    this.about = avatar.about;
    this.moved = true; // whether the face has to be posed anew
  }

  // ---------------------------------------------------------------------------------------------- what others call

  /** Replace the avatar by another (ArrayBuffer or URL); sliders, view and what is played stay as they are. */
  async load(glb) {
    const avatar = readAvatar(await load(glb));
    need(avatar.names.join() === this.avatar.names.join(), "its expressions are others");
    if (this.gone) return;
    this.take(avatar);
    this.change = null;
    if (this.clip) Object.assign(this.clip, { pose: readClip(this.clip.motion, this.about.photo).pose });
    for (const panel of this.panels) panel.tint();
    this.wake(true);
  }

  /** Put sliders and buttons into an element. */
  addPanel(element) {
    this.panels.push(new Panel(this, element));
  }

  /** Do from now on what another viewer does: its sliders, its view, what it plays; hands on this one move both. */
  follow(leader) {
    for (const part of ["now", "goal", "home"]) this.orbit[part] = leader.orbit[part];
    this.orbit.changed = () => leader.wake();
    const mirror = () => {
      if (this.clip?.motion !== leader.clip?.motion) this.clip = leader.clip && readClip(leader.clip.motion, this.about.photo);
      if (this.clip) this.clip.time = leader.clip.time;
      for (const part of ["values", "idle", "idling", "time", "ratio"]) this[part] = leader[part];
      this.moved = true;
      this.draw();
    };
    this.led = leader.listen(mirror);
    leader.wake(true);
  }

  /** Move sliders: friendly names or ARKit weights, from -1 or 0 to 1; 0 is the photo's own face. */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const control = CONTROLS.find((one) => one.name === name), low = control ? control.low : 0;
      if (!control && !(name in this.about.photo.weights)) throw new Error(`No expression is called ${name}.`);
      if (!Number.isFinite(value)) throw new Error(`${name} is no number.`);
      this.values[name] = clamp(value, low, 1);
    }
    this.wake(true);
  }

  /** Forget all sliders, go back to the photo's face and view. */
  reset() {
    this.depart();
    this.values = {};
    this.clip = null;
    this.orbit.move(this.orbit.home);
    this.wake(true);
  }

  /** See the avatar from degrees round the photo's own view, at once; what is left out stays. */
  view(yaw = this.orbit.goal.yaw, pitch = this.orbit.goal.pitch, zoom = this.orbit.goal.zoom) {
    if (![yaw, pitch, zoom].every(Number.isFinite)) throw new Error("A view is a yaw and a pitch in degrees and a zoom.");
    this.orbit.set({ yaw: clamp(yaw, -360, 360), pitch: clamp(pitch, -89, 89), zoom: clamp(zoom, 0.1, 20) });
  }

  /** Play a built-in performance by name, or a motion file's record, from a time in seconds; gives how long it lasts. */
  play(motion, time = 0) {
    const clip = readClip(motion, this.about.photo);
    this.depart();
    this.clip = { ...clip, time, playing: true };
    this.wake(true);
    return clip.seconds;
  }

  pause() {
    if (this.clip) this.clip.playing = !this.clip.playing;
    this.wake();
  }

  /** Show what is played at a time in seconds, and hold there. */
  seek(time) {
    if (!this.clip) return;
    Object.assign(this.clip, { time: clamp(time, 0, this.clip.seconds), playing: false });
    this.change = null;
    this.wake(true);
  }

  stop() {
    if (this.clip) this.depart();
    this.clip = null;
    this.wake(true);
  }

  /** Let the face blink and breathe by itself, or not. */
  breathe(on) {
    this.idling = Boolean(on);
    this.wake(true);
  }

  /** Be told of every frame that was drawn; gives a function that ends it. */
  listen(act) {
    this.listeners.add(act);
    return () => this.listeners.delete(act);
  }

  state() {
    const clip = this.clip && { name: this.clip.name, time: this.clip.time, seconds: this.clip.seconds, playing: this.clip.playing };
    return {
      values: { ...this.values }, view: { ...this.orbit.goal }, clip, idle: this.idling, splats: this.avatar.count,
      frames: this.drawn ?? 0, milliseconds: this.cost ?? 0, fps: this.fps ?? 0, ratio: this.ratio, size: [this.canvas.width, this.canvas.height],
    };
  }

  /** Draw now and give the picture as a data URL. */
  snapshot(type = "image/png", quality = 0.92) {
    this.draw();
    return this.canvas.toDataURL(type, quality);
  }

  destroy() {
    this.stopped.abort();
    this.led?.();
    for (const { element } of this.panels) element.remove();
    this.resized.disconnect();
    cancelAnimationFrame(this.asked);
    this.splats.end();
    this.meter?.remove();
    this.canvas.remove();
    this.listeners.clear();
    this.gone = true;
  }

  // ------------------------------------------------------------------------------------------------- frame by frame

  /** Remember the face as it is now, to go on from there to the next one without a jump. */
  depart() {
    this.change = this.reduced.matches ? null : { from: this.pose(), left: CHANGE };
  }

  /** Ask for a frame; `moved` says that the face changes, not only the view. */
  wake(moved = false) {
    this.moved ||= moved;
    this.dirty = true;
    this.ask();
  }

  ask() {
    if (!this.asked && !this.gone && !this.led) this.asked = requestAnimationFrame((now) => this.tick(now / 1000));
  }

  /** Give the face at this moment: sliders, then what is played, then the way from what was before, then breath. */
  pose() {
    const { photo } = this.about;
    let pose = this.clip ? this.clip.pose(this.clip.time) : towards(photo, this.values);
    if (this.change) pose = between(this.change.from, pose, smooth(1 - this.change.left / CHANGE));
    return pose;
  }

  tick(now) {
    this.asked = 0;
    if (!this.canvas.isConnected || this.gone) return; // the size observer wakes it when it is back in a document
    const passed = now - (this.before ?? now), seconds = Math.min(passed, 0.1), { clip, change } = this;
    this.before = now;
    let busy = this.orbit.ease(seconds, this.reduced.matches);
    if (change) {
      change.left -= seconds;
      if (change.left <= 0) this.change = null;
      busy = this.moved = true;
    }
    if (clip?.playing) {
      clip.time += seconds;
      if (clip.time >= clip.seconds) {
        if (clip.loops) clip.time %= clip.seconds;
        else this.stop();
      }
      busy = this.moved = true;
    }
    this.time = (this.time ?? 0) + seconds;
    const breath = this.idling && this.time - (this.breathed ?? -1) >= BREATH;
    if (busy || this.dirty || breath) {
      this.adapt(passed);
      this.draw();
    }
    this.dirty = busy;
    if (busy || this.idling) this.ask();
    else if (this.ratio < this.options.ratio) this.settle();
    else this.before = undefined;
  }

  /** Draw fewer pixels once frames have come late for a while. */
  adapt(passed) {
    if (passed > 0) this.fps = mix(this.fps ?? 1 / passed, 1 / passed, 0.1);
    this.late = passed * 1000 > LATE && passed < 1 ? this.late + 1 : Math.max(0, this.late - 2);
    if (this.late < 12 || this.options.fixed) return;
    this.late = 0;
    this.ratio = Math.max(0.5, this.ratio > 1 ? 1 : this.ratio - 0.25);
  }

  /** Once all is still, draw the last frame with all its pixels. */
  settle() {
    const { ratio } = this;
    this.ratio = this.options.ratio;
    this.draw();
    this.ratio = ratio;
    this.before = undefined;
  }

  draw() {
    const began = performance.now(), { canvas } = this;
    const width = Math.round(canvas.clientWidth * this.ratio), height = Math.round(canvas.clientHeight * this.ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (this.idling) this.breathed = this.time ?? 0;
    if (this.moved || this.idling) {
      const pose = this.idling ? this.idle.pose(this.pose(), this.time ?? 0) : this.pose();
      this.rig.pose(this.avatar.names.map((name) => pose.weights[name]), pose);
    }
    this.moved = false;
    const grey = this.about.background, background = this.options.transparent ? [0, 0, 0, 0] : [grey, grey, grey, 1];
    this.splats.draw(this.rig.frames, orbit(this.about.camera, this.orbit.now, width, height), background);
    this.drawn = (this.drawn ?? 0) + 1;
    this.cost = performance.now() - began;
    if (this.meter) this.meter.value = `${Math.round(this.fps ?? 0)} fps · ${this.cost.toFixed(1)} ms · ${this.avatar.count} splats · ${width} × ${height}`;
    for (const act of this.listeners) act(this);
  }
}

/** Make an element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Read what `glb` is: bytes, bytes that gzip made smaller, or where to get them. */
async function load(glb) {
  let bytes = glb;
  if (typeof glb === "string" || glb instanceof URL) {
    const answer = await fetch(glb);
    if (!answer.ok) throw new AvatarFileError(`The avatar could not be fetched (${answer.status}).`);
    bytes = await answer.arrayBuffer();
  }
  need(bytes instanceof ArrayBuffer, "it is no file");
  const [first, second] = new Uint8Array(bytes, 0, Math.min(2, bytes.byteLength));
  if (first !== 0x1f || second !== 0x8b) return bytes;
  try {
    return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  } catch {
    return need(false, "it was cut short");
  }
}

/**
 * Show an avatar in an element, or on a canvas. Options: glb (ArrayBuffer or URL, gzipped or not), panel (true, or an
 * element for the sliders), idle (true), transparent (false: over the grey it was made on), ratio (pixels a CSS pixel),
 * fixed (never fewer), label (for screen readers), words (the panel's words in another language, by the English ones).
 * What cannot be shown is said in the element, and thrown.
 */
async function mount(element, options) {
  addStyle(element);
  const host = element instanceof HTMLCanvasElement ? element : make("div", { className: "z1-stage" });
  if (host !== element) element.append(host);
  try {
    const viewer = new AvatarViewer(host, readAvatar(await load(options.glb)), options);
    if (options.panel) viewer.addPanel(options.panel === true ? element : options.panel);
    if (host !== element) viewer.stopped.signal.addEventListener("abort", () => host.remove());
    viewer.draw();
    viewer.ask();
    return viewer;
  } catch (error) {
    const said = error instanceof AvatarFileError || error.constructor === Error ? error.message : `The avatar cannot be shown: ${error.message}`;
    host.replaceChildren();
    (host === element ? host.parentNode ?? document.body : host).append(make("p", { className: "z1-error", role: "alert" }, said));
    throw error;
  }
}
