// The panel: performances, friendly sliders, the view, and all 52 ARKit weights for those who know them.

const REGIONS = [["Eyes", /^eye/], ["Brows, cheeks, nose, tongue", /^(brow|cheek|nose|tongue)/], ["Jaw", /^jaw/], ["Mouth", /^mouth/]];
const VIEWS = [["yaw", "Turn", -90, 90, 1], ["pitch", "Tilt", -35, 35, 1], ["zoom", "Zoom", 0.6, 3, 0.01]];

class Panel {
  constructor(viewer, host) {
    this.viewer = viewer;
    this.sliders = new Map();
    const { words = {} } = viewer.options, say = (text) => words[text] ?? text;
    this.say = say;
    const face = CONTROLS.map(({ name, label, low }) => this.slider(name, say(label), low, 1, 0.01, (value) => this.express({ [name]: value })));
    const view = VIEWS.map(([name, label, low, high, step]) =>
      this.slider(name, say(label), low, high, step, (value) => viewer.orbit.move({ [name]: value })));
    const regions = REGIONS.map(([title, names]) => make("fieldset", {}, make("legend", {}, say(title)), ...viewer.avatar.names
      .filter((name) => names.test(name))
      .map((name) => this.slider(name, say(sentence(name)), 0, 1, 0.01, (value) => this.express({ [name]: value }), name))));
    const chip = (name, act) => make("button", { type: "button", className: "z1-chip", onclick: act }, say(sentence(name)));
    const faces = Object.entries(FACES).map(([name, values]) => chip(name, () => this.show(values)));
    this.chips = new Map(PERFORMANCES.map(({ name }) => [name, chip(name, () => this.perform(name))]));
    this.file = make("input", { type: "file", accept: ".json", onchange: () => this.open() });
    const open = make("label", { className: "z1-chip z1-file" }, say("Motion file…"), this.file);
    this.wrong = make("p", { className: "z1-wrong", role: "alert", hidden: true });
    this.playing = make("button", { type: "button", className: "z1-play", onclick: () => viewer.pause() });
    this.scrub = make("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, ariaLabel: say("Place in the performance"), oninput: () => viewer.seek(this.scrub.value * viewer.clip.seconds) });
    this.bar = make("div", { className: "z1-scrub", hidden: true }, this.playing, this.scrub);
    this.alive = make("input", { type: "checkbox", checked: viewer.idling, onchange: () => viewer.breathe(this.alive.checked) });
    const reset = make("button", { type: "button", className: "z1-reset", onclick: () => { viewer.reset(); this.follow(true); } }, say("Reset"));
    this.element = make("div", { className: "z1-panel" },
      section(say("Perform"), make("div", { className: "z1-chips" }, ...this.chips.values(), open), this.wrong, this.bar),
      section(say("Face"), make("div", { className: "z1-chips" }, ...faces), ...face),
      section(say("View"), ...view),
      make("div", { className: "z1-row" }, make("label", { className: "z1-check" }, this.alive, " ", say("Blink and breathe")), reset),
      make("details", {}, make("summary", {}, say("Advanced: all 52 expressions")), ...regions));
    this.note = make("p", { className: "z1-note" }, say("Amber marks guesswork: the photo did not show it."));
    this.element.children[2].append(this.note);
    this.tint();
    host.append(this.element);
    viewer.listen(() => this.follow());
    this.follow(true);
  }

  slider(name, label, low, high, step, moved, title = "") {
    const input = make("input", { type: "range", min: low, max: high, step, value: 0, ariaLabel: label });
    const output = make("output");
    const show = () => {
      output.value = (step === 1 ? `${input.value}°` : Number(input.value).toFixed(2)).replace("-", "\u2212");
      const [from, to] = [Math.max(low, Math.min(0, high)), Number(input.value)].map((value) => (100 * (value - low)) / (high - low)).sort((a, b) => a - b);
      input.style.setProperty("--from", `${from}%`);
      input.style.setProperty("--to", `${to}%`);
    };
    input.addEventListener("input", () => { moved(Number(input.value)); show(); });
    this.sliders.set(name, { input, show });
    return make("label", { className: "z1-slider", title }, make("span", {}, label), input, output);
  }

  /** Tint sliders where what they show is guesswork: towards their ends, or over the yaws that the photo did not show. */
  tint() {
    const { yaw, expression } = this.viewer.about.known;
    const color = (known) => `rgb(232 150 40 / ${Math.round(100 * clamp((0.9 - known) / 0.5, 0, 1))}%)`;
    const least = (ends) => Math.min(1, ...ends.filter(([name, share]) => share && expression.has(name)).map(([name]) => expression.get(name)));
    const controls = [...CONTROLS, ...this.viewer.avatar.names.map((name) => ({ name, low: 0, positive: [[name, 1]], negative: [] }))];
    const tints = controls.map(({ name, low, positive, negative }) => {
      const middle = low < 0 ? "#0000 50%" : "#0000 0%";
      return [name, [least(positive), least(negative)], `${color(least(negative))} 0%, ${middle}, ${color(least(positive))} 100%`];
    });
    const [, , low, high] = VIEWS[0];
    const stops = yaw.map(([degrees, known]) => `${color(known)} ${(100 * (degrees - low)) / (high - low)}%`);
    if (stops.length > 1) tints.push(["yaw", yaw.map(([, known]) => known), stops.join(", ")]);
    const guesses = new Map(tints.filter(([, known]) => Math.min(...known) <= 0.85).map(([name, , stops]) => [name, stops]));
    for (const [name, { input }] of this.sliders) {
      input.style.setProperty("--tint", guesses.has(name) ? `linear-gradient(90deg, ${guesses.get(name)})` : "none");
      input.ariaDescription = guesses.has(name) ? this.say("partly guesswork: the photo did not show all of it") : null;
    }
    this.note.hidden = !guesses.size;
  }

  express(values) {
    if (this.viewer.clip) this.viewer.stop();
    this.viewer.set(values);
  }

  /** Play a motion file that somebody chose, or say what is wrong with it. */
  async open() {
    const [file] = this.file.files;
    this.wrong.hidden = true;
    try {
      if (file) this.viewer.play(JSON.parse(await file.text()));
    } catch (error) {
      this.wrong.textContent = error instanceof SyntaxError ? `${file.name} is no motion file.` : error.message;
      this.wrong.hidden = false;
    }
    this.file.value = ""; // so that the same file can be chosen again
  }

  /** Put on a face: sliders by name, all others back to the photo's. */
  show(face) {
    const { viewer } = this;
    viewer.depart();
    viewer.stop();
    viewer.values = {};
    viewer.set(face);
    this.follow(true);
  }

  perform(name) {
    if (this.viewer.clip?.name === name) this.viewer.stop();
    else this.viewer.play(name);
  }

  /** Show what the viewer does: hands on the picture and performances move things, too. */
  follow(all = false) {
    const { clip, orbit, values } = this.viewer;
    const known = all ? { ...Object.fromEntries([...this.sliders.keys()].map((name) => [name, values[name] ?? 0])), ...orbit.goal } : orbit.goal;
    for (const [name, value] of Object.entries(known)) {
      const { input, show } = this.sliders.get(name);
      if (!all && Number(input.value) === value) continue;
      input.value = value;
      show();
    }
    for (const [name, chip] of this.chips) chip.ariaPressed = String(clip?.name === name);
    this.alive.checked = this.viewer.idling;
    this.bar.hidden = !clip;
    if (!clip) return;
    if (document.activeElement !== this.scrub || clip.playing) this.scrub.value = clip.time / clip.seconds;
    this.scrub.style.setProperty("--from", "0%");
    this.scrub.style.setProperty("--to", `${(100 * clip.time) / clip.seconds}%`);
    this.playing.textContent = this.say(clip.playing ? "Pause" : "Play");
  }
}

const section = (title, ...children) => make("section", { ariaLabel: title }, make("h2", {}, title), ...children);

/** Write a name such as mouthSmileLeft as people do. */
function sentence(name) {
  const spaced = name.replace(/([A-Z])/g, " $1").toLowerCase();
  return spaced[0].toUpperCase() + spaced.slice(1);
}

/** Give the document, or the shadow tree, our style once. */
function addStyle(element) {
  const root = element.getRootNode(), home = root instanceof ShadowRoot ? root : document.head;
  if (!home.querySelector("#z1-style")) home.append(make("style", { id: "z1-style" }, STYLE));
}
