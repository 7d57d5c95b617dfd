// The page of who only watches one person: one viewer on the whole screen, its words, tools and figures.

import { dropAmbient, takeAmbient } from "./ambient.js";
import { Hint, listenForCalm } from "./calm.js";
import { listenToFigures } from "./figures.js";
import { listenToFullScreen } from "./fullscreen.js";
import { listenToGestures } from "./gestures.js";
import { Viewer } from "./viewer.js";
import { LIMITS } from "./viewpoint.js";
import { presenceWords } from "./words.js";

const $ = (id) => document.getElementById(id);
const page = $("receiver");
const video = $("video");
const call = decodeURIComponent(location.pathname.split("/").filter(Boolean).at(-1) ?? "");

const STATS_MS = 1500; // the server sends its figures about once a second

// "#silent" is the link by which callers look at themselves: without their own voice.
const viewer = new Viewer(call, video, $("still"), { deaf: location.hash === "#silent" });
let members = [];

// ---- state and words ----

function show() {
  const { state, words } = viewer;
  page.dataset.state = state;
  $("headline").textContent = state === "reconnecting" ? "" : words.title;
  $("detail").textContent = words.detail;
  $("again").hidden = !words.again;
  $("own").hidden = !words.own;
  $("tools").hidden = state !== "live" && state !== "reconnecting";
  if (state === "live") {
    document.title = "Visavis - live";
    sayHint();
    takeAmbient(video, page);
  } else {
    hint.hide();
  }
  if (state === "ended" || state === "failed") {
    document.title = "Visavis - call ended";
    dropAmbient(page);
    if (document.fullscreenElement) document.exitFullscreen();
  }
  sayBanner();
  saySound();
}

/** One line at the top: the own connection first, then what became of the other person. */
function sayBanner() {
  const { state, words, presence } = viewer;
  const line = state === "reconnecting" ? words.title : state === "live" ? presenceWords(presence) : "";
  if (line) $("banner").textContent = line;
  $("banner").hidden = !line;
}

viewer.addEventListener("state", show);
viewer.addEventListener("presence", sayBanner);
viewer.addEventListener("room", ({ detail }) => (members = detail.members));

// ---- hint and tools ----

const hint = new Hint($("hint"));
const toggleFull = listenToFullScreen($("full"), page);
listenForCalm(page);

function sayHint() {
  hint.say(
    "Drag to look around. Pinch to zoom, tap twice to come back.",
    "Drag or use the arrow keys to look around. Scroll to zoom, R to come back.",
  );
}

const reset = listenToGestures($("stage"), viewer.motion, () => video.clientHeight || 512, {
  touched: () => hint.said && setTimeout(() => hint.hide(), 900),
});

let refinedAt = -Infinity;

function toggleRefined() {
  const on = (viewer.refining = !viewer.refined);
  refinedAt = performance.now();
  $("refine").setAttribute("aria-pressed", String(on));
  $("refine-word").textContent = on ? "Refined" : "Raw";
  sayRaw();
}

/** The button says what was asked for, and below it when the server sends something else. */
function sayRaw() {
  const outdated = performance.now() - refinedAt < STATS_MS; // said of pictures before the change
  $("refine-now").hidden = !viewer.refined || outdated || viewer.stats().server?.refined !== false;
}

viewer.addEventListener("stats", sayRaw);

function saySound() {
  const { sound, state } = viewer;
  $("sound").hidden = sound === "none" || sound === "blocked";
  $("sound").setAttribute("aria-pressed", String(sound === "playing"));
  $("sound-on").hidden = sound !== "blocked" || state !== "live";
}

viewer.addEventListener("sound", saySound);

const toggleSound = () => (viewer.silence = viewer.sound === "playing");

$("reset").addEventListener("click", reset);
$("refine").addEventListener("click", toggleRefined);
$("sound").addEventListener("click", toggleSound);
$("sound-on").addEventListener("click", () => (viewer.silence = false));
$("again").addEventListener("click", () => viewer.hurry());

const stats = () => ({ ...viewer.stats(), members });
const figures = listenToFigures(page, $("figures"), stats, (on) => (viewer.predicting = on));

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const { toggle, togglePrediction } = figures;
  const action = { s: toggle, p: togglePrediction, d: toggleRefined, f: toggleFull, m: toggleSound }[event.key.toLowerCase()];
  if (action && !$("tools").hidden) action();
});

function everyFrame() {
  requestAnimationFrame(everyFrame);
  const { yaw, pitch } = viewer.motion.view;
  $("dot").setAttribute("cx", (24 + (19 * yaw) / LIMITS.yaw[1]).toFixed(1));
  $("dot").setAttribute("cy", (24 - (14 * pitch) / LIMITS.pitch[1]).toFixed(1));
}
requestAnimationFrame(everyFrame);

setInterval(() => viewer.state === "live" && takeAmbient(video, page), 1000);

addEventListener("pagehide", () => viewer.leave());
addEventListener("pageshow", (event) => event.persisted && viewer.hurry()); // back from the history: connect anew

window.visavis = { stats, motion: viewer.motion };

viewer.connect();
