// What the head does over time. A pose is { weights: by expression name, neck, head, left_eye, right_eye: axis-angle }.
// CONTROLS and PERFORMANCES are tables that the Python package writes, so that both sides mean the same by "smile".

const TURNS = ["neck", "head", "left_eye", "right_eye"];
const smooth = (part) => part * part * (3 - 2 * part);
const mix = (from, to, share) => from + (to - from) * share;

/** Move a pose towards the ends of sliders: in the middle one leaves the photo's own face alone, at its end it replaces it. */
function towards(pose, values) {
  const weights = { ...pose.weights }, turns = Object.fromEntries(TURNS.map((name) => [name, [...pose[name]]]));
  for (const name of [...CONTROLS.map((control) => control.name), ...Object.keys(weights)]) {
    const value = values[name] ?? 0, share = Math.abs(value);
    if (!value) continue;
    const { positive, negative, gaze } = CONTROLS.find((control) => control.name === name) ?? { positive: [[name, 1]], negative: [], gaze: [0, 0] };
    for (const [ends, end] of [[positive, value > 0], [negative, value < 0]]) {
      for (const [weight, most] of ends) if (weight in weights) weights[weight] = mix(weights[weight], end ? most : 0, share);
    }
    gaze.forEach((turn, axis) => {
      for (const eye of ["left_eye", "right_eye"]) if (turn) turns[eye][axis] = mix(turns[eye][axis], Math.sign(value) * turn, share);
    });
  }
  return { weights, ...turns };
}

/** Go part of the way from one pose to another. */
function between(from, to, share) {
  const weights = Object.fromEntries(Object.keys(to.weights).map((name) => [name, mix(from.weights[name], to.weights[name], share)]));
  const turns = TURNS.map((name) => [name, to[name].map((value, axis) => mix(from[name][axis], value, share))]);
  return { weights, ...Object.fromEntries(turns) };
}

/** Add turns in degrees as the Python package deals them out: the neck takes a third. */
function turned(pose, { pitch = 0, yaw = 0, roll = 0, gaze_pitch = 0, gaze_yaw = 0 }) {
  const turn = [pitch, yaw, -roll], gaze = [-gaze_pitch, gaze_yaw, 0];
  const shares = { neck: [turn, 1 / 3], head: [turn, 2 / 3], left_eye: [gaze, 1], right_eye: [gaze, 1] };
  const turns = TURNS.map((name) => [name, pose[name].map((value, axis) => value + shares[name][0][axis] * shares[name][1] * DEGREE)]);
  return { weights: pose.weights, ...Object.fromEntries(turns) };
}

/** Make something to play of a built-in performance's name, a table of keys, or a motion file's record. */
function readClip(motion, photo) {
  const found = typeof motion === "string" ? PERFORMANCES.find((one) => one.name === motion) : motion;
  if (!found) throw new Error(`No performance is called ${motion}: use one of ${PERFORMANCES.map((one) => one.name).join(", ")}.`);
  return { motion, ...(found.keys ? keyedClip(found, photo) : motionClip(found, photo)) };
}

/** Play keys: [seconds, { channel: value }], easing from each to the next; a loop goes from the last key to the second. */
function keyedClip({ name, keys, loops }, photo) {
  const track = loops ? [...keys, [keys.at(-1)[0] + 0.14, keys[1][1]]] : [...keys, [keys.at(-1)[0] + 0.7, {}]];
  const start = loops ? track[1][0] : 0, seconds = track.at(-1)[0] - start;
  const pose = (time) => {
    const right = clamp(track.findIndex(([at]) => at > start + time), 1, track.length - 1) || track.length - 1;
    const [[from, before], [to, after]] = [track[right - 1], track[right]];
    const share = smooth(clamp((start + time - from) / (to - from), 0, 1)), channels = {};
    for (const channel of new Set([...Object.keys(before), ...Object.keys(after)])) {
      channels[channel] = mix(before[channel] ?? 0, after[channel] ?? 0, share);
    }
    // A channel without its side, such as mouthSmile, means both sides.
    const weights = Object.fromEntries(Object.keys(photo.weights).map((weight) => {
      const both = weight.replace(/(Left|Right)$/, "");
      return [weight, clamp((channels[weight] ?? 0) + (both === weight ? 0 : channels[both] ?? 0), 0, 1)];
    }));
    return turned({ ...photo, weights }, channels);
  };
  return { name, seconds, loops, pose };
}

/** Play a motion file: expressions and eyes as they are, turns as changes since its first frame added to the photo's. */
function motionClip(motion, photo) {
  const { format, fps, names, weights, neck, head, eyes } = motion ?? {};
  const frames = weights?.length, whole = (rows, width) => rows === undefined || (rows.length === frames && rows.every((row) => row.flat().length === width));
  const fits = format === "zero1toa-motion" && fps > 0 && fps <= 1000 && frames > 0 && Array.isArray(names) && whole(weights, names.length);
  if (!fits || !whole(neck, 3) || !whole(head, 3) || !whole(eyes, 6)) throw new Error("This is no complete motion file: choose one that this program wrote.");
  const at = (index) => {
    const own = Object.fromEntries(Object.keys(photo.weights).map((name) => [name, clamp(weights[index][names.indexOf(name)] ?? 0, 0, 1)]));
    const since = (rows, rest) => rest.map((value, axis) => value + (rows ? rows[index][axis] - rows[0][axis] : 0));
    const [left, right] = eyes?.[index] ?? [[0, 0, 0], [0, 0, 0]];
    return { weights: own, neck: since(neck, photo.neck), head: since(head, photo.head), left_eye: left, right_eye: right };
  };
  const pose = (time) => {
    const place = clamp(time * fps, 0, frames - 1), index = Math.floor(place);
    return between(at(index), at(Math.min(index + 1, frames - 1)), place - index);
  };
  return { name: "motion", seconds: frames / fps, loops: false, pose };
}

/** Keeps a face alive while nothing else moves it: blinks, and a breath that the head follows. */
class Idle {
  constructor() {
    this.blink = 1.5;
  }

  /** Close the lids and move the head a little, for the time in seconds. */
  pose(pose, time) {
    if (time > this.blink + 0.2) this.blink = time + 1.5 + 3.5 * Math.random();
    const since = time - this.blink, shut = smooth(clamp(since < 0 ? 1 + since / 0.1 : 1 - since / 0.2, 0, 1));
    const weights = { ...pose.weights };
    for (const name of ["eyeBlinkLeft", "eyeBlinkRight"]) if (name in weights) weights[name] = Math.max(weights[name], shut);
    const breath = { pitch: 0.5 * Math.sin(1.6 * time), yaw: 0.7 * Math.sin(0.53 * time), roll: 0.4 * Math.sin(0.37 * time) };
    return turned({ ...pose, weights }, breath);
  }
}
