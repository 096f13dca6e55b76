// The page around the viewer: which avatar is on the stage, which stand beside it, what is handed out, and links that
// bring a view back. Gradio's events call `window.Zero1toApp`; nothing here asks the server for anything but files.
window.Zero1toApp = (() => {
  "use strict";
  const chinese = /^zh/i.test(navigator.language);
  const viewing = { yaw: 0, pitch: 0, zoom: 1 };
  let heads, panel, leader, name, followers = [], turn = Promise.resolve(), wanted = new URLSearchParams(location.search);

  /** Do things one after the other, whatever becomes of each. */
  const after = (act) => (turn = turn.then(act).catch((error) => console.warn(error.message)));
  const files = (value) => (Array.isArray(value) ? value : value ? [value] : []);
  const options = { transparent: true, words: chinese ? window.Zero1toPage.words : {} };

  /** Load the viewer, once there is something to view. */
  let loading;
  const script = () => (loading ??= new Promise((loaded, failed) => {
    const src = `${(window.gradio_config?.root ?? "").replace(/\/$/, "")}/gradio_api/file=${window.Zero1toPage.viewer}`;
    document.head.append(Object.assign(document.createElement("script"), { src, onload: loaded, onerror: failed }));
  }));

  /** Name a file's avatar: those of the gallery by their names, a visitor's own by their numbers. */
  const title = ({ url }) => decodeURIComponent(url.split("/").pop()).replace(/^zero1toa-\w+-/, "# ").replace(".glb", "").replace(/^./, (letter) => letter.toUpperCase());

  function stand(file) {
    const place = document.createElement("div"), label = document.createElement("span");
    place.className = "z-head";
    label.className = "z-name";
    label.textContent = title(file);
    place.append(label);
    heads.append(place);
    return script().then(() => Zero1toA.mount(place, { ...options, glb: file.url })).then(
      (viewer) => Object.assign(viewer, { place }),
      (error) => { place.classList.add("z-failed"); throw error; },
    );
  }

  function leave(viewer) {
    viewer.destroy();
    viewer.place.remove();
  }

  function arrange() {
    heads.dataset.count = 1 + followers.length;
    heads.classList.toggle("z-empty", !leader);
  }

  /** Put the view and the face of a link on the stage, once. */
  function restore() {
    const number = (name) => Number(wanted.get(name) ?? NaN);
    const view = Object.keys(viewing).map((name) => (Number.isFinite(number(name)) ? number(name) : viewing[name]));
    leader.view(...view);
    for (const name of wanted.keys()) {
      if (name in viewing || !Number.isFinite(number(name))) continue;
      try { leader.set({ [name]: number(name) }); } catch { /* an older link may name what there is no more */ }
    }
    wanted = null;
  }

  function attach() {
    if (!leader || !panel?.isConnected || leader.panels.length) return;
    panel.replaceChildren();
    leader.addPanel(panel);
  }

  return {
    /** Where the avatars stand. */
    stage(element) {
      heads = element.querySelector(".z-heads");
      element.querySelector(".z-hint").textContent = options.words["drag to turn"] ?? "drag to turn";
      arrange();
    },

    /** Where the sliders go; the page makes that place when it is first looked at. */
    panel(element) {
      panel = element.querySelector(".z-panel");
      attach();
    },

    /** Put an avatar on the stage, or none. */
    show: (value) => after(async () => {
      const [file] = files(value);
      // A visitor's own files bear a mark, and no link should carry them.
      [, name] = file?.url.match(/\/(?!zero1toa-)([^/]+)\.glb$/) ?? [];
      if (!file) {
        for (const viewer of [...followers.splice(0), leader]) if (viewer) leave(viewer);
        leader = undefined;
        return arrange();
      }
      if (leader) {
        await leader.load(file.url);
        leader.place.firstChild.textContent = title(file);
      }
      else {
        heads.replaceChildren();
        leader = await stand(file);
        if (wanted?.size) restore();
      }
      attach();
      arrange();
    }),

    /** Set others beside it, which do what it does. */
    beside: (value) => after(async () => {
      for (const viewer of followers.splice(0)) leave(viewer);
      for (const file of leader ? files(value) : []) {
        const viewer = await stand(file);
        viewer.follow(leader);
        followers.push(viewer);
      }
      arrange();
    }),

    /** Play a motion file. */
    play: (value) => after(async () => {
      const [file] = files(value);
      if (!file || !leader) return;
      leader.play(await (await fetch(file.url)).json());
    }),

    /** Start the download of a file, under a name without the visitor's mark; the server would insist on it. */
    hand: (value) => after(async () => {
      for (const { url, orig_name: name } of files(value)) {
        const href = URL.createObjectURL(await (await fetch(url)).blob());
        Object.assign(document.createElement("a"), { href, download: name.replace(/^zero1toa-\w+-/, "") }).click();
        setTimeout(() => URL.revokeObjectURL(href), 60_000);
      }
    }),

    /** Say how the avatar stands, for the server to draw it so. */
    seen: () => (leader ? JSON.stringify({ view: leader.state().view, values: leader.state().values }) : "{}"),

    /** Copy a link that brings back how the avatar stands, and give it. */
    link() {
      const query = new URLSearchParams(name ? { avatar: name } : {});
      const { view, values } = leader?.state() ?? { view: {}, values: {} };
      for (const [key, value] of Object.entries({ ...view, ...values })) {
        if (value !== (viewing[key] ?? 0)) query.set(key, Number(value.toFixed(2)));
      }
      const link = `${location.origin}${location.pathname}${query.size ? `?${query}` : ""}`;
      navigator.clipboard?.writeText(link).catch(() => {});
      return link;
    },
  };
})();
