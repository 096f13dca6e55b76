// The picture of the avatar: shows what the server sends, and turns drags into views.
const image = element.querySelector("img");
const box = element.querySelector(".z-view");
let view = { src: "", yaw: 0, pitch: 0, play: false };
let held = null;
// One question at a time: while the server draws, only the newest view is remembered.
let asked = 0;
let next = null;
const clamp = (value, limit) => Math.max(-limit, Math.min(limit, Math.round(value)));
const ask = (yaw, pitch) => {
  if (performance.now() - asked < 2000) { next = { yaw, pitch }; return; }
  next = null;
  if (yaw === view.yaw && pitch === view.pitch) return;
  asked = performance.now();
  trigger("turn", { yaw, pitch });
};
const draw = () => {
  const watched = view.src && !view.play;
  try { view = { ...view, ...JSON.parse(props.value || "{}") }; } catch { return; }
  if (view.src) image.src = view.src; else image.removeAttribute("src");
  box.classList.toggle("empty", !view.src);
  box.classList.toggle("play", !!view.play);
  // On a phone the finished avatar moves to the top of the page, with its sliders below; go there with it.
  if (watched && view.play && matchMedia("(max-width: 640px)").matches) {
    setTimeout(() => element.closest("#table")?.scrollIntoView({ block: "start", behavior: "smooth" }), 200);
  }
  asked = 0;
  if (next) ask(next.yaw, next.pitch);
};
watch("value", draw);
draw();
box.addEventListener("pointerdown", (event) => {
  if (!view.play || event.button) return;
  held = { x: event.clientX, y: event.clientY, yaw: view.yaw, pitch: view.pitch };
  box.setPointerCapture(event.pointerId);
  event.preventDefault();
});
box.addEventListener("pointermove", (event) => {
  if (!held) return;
  // A drag across the picture is a turn by 120 degrees; what is under the pointer follows it.
  const turn = 120 / box.clientWidth;
  ask(clamp(held.yaw - (event.clientX - held.x) * turn, 90), clamp(held.pitch + (event.clientY - held.y) * turn * 0.5, 30));
});
for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, () => { held = null; });
