// The receiver's page: connects to a call, shows it, and sends where the user looks from.

import { listenToFigures } from "./figures.js";
import { listenToGestures } from "./gestures.js";
import { FrameRate, MotionToPhoton } from "./latency.js";
import { ask, preferH264, Session } from "./session.js";
import { LIMITS, ViewpointMotion } from "./viewpoint.js";
import { busyWords, serverWords } from "./words.js";

const $ = (id) => document.getElementById(id);
const page = $("receiver");
const video = $("video");
const call = decodeURIComponent(location.pathname.split("/").filter(Boolean).at(-1) ?? "");

const BACK_OFF_S = [1, 2, 4];
const STABLE_MS = 10_000; // connected for so long: the next loss starts again with the shortest wait
const FIRST_PICTURE_MS = 15_000;
const REPEAT_MS = [150, 600]; // the channel may lose the last viewpoint of a movement, so it is said again
const BUSY_S = 10; // where the server does not say when to come back
const HINT_MS = 7000;
const CALM_MS = 3500;
const STATS_MS = 1500; // the server sends its figures about once a second

const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const motion = new ViewpointMotion({ still: reduced.matches });
reduced.addEventListener("change", () => (motion.still = reduced.matches));

let session = null;
let channel = null;
let photons = new MotionToPhoton();
let rate = new FrameRate();
let attempt = 0;
let timer = null;
let connectedAt = 0;
let refined = true;
let refinedAt = -Infinity;
let facts = { rtt: null, bitrate: null, server: null };

// ---- state and words ----

function show(state, title = "", detail = "", { again = false, own = false } = {}) {
  page.dataset.state = state;
  $("headline").textContent = title;
  $("detail").textContent = detail;
  $("again").hidden = !again;
  $("own").hidden = !own;
  $("tools").hidden = state !== "live" && state !== "reconnecting";
  if (state !== "reconnecting") $("banner").hidden = true;
  if (state !== "live") hideHint();
  if (state === "ended" || state === "failed") {
    document.title = "Visavis - call ended";
    page.style.removeProperty("--ambient");
    delete page.dataset.bright;
    if (document.fullscreenElement) document.exitFullscreen();
  }
}

function banner(words) {
  $("banner").textContent = words;
  $("banner").hidden = false;
}

const missing = () => show("ended", "This call has ended.", "The person hung up, or the link is old. Ask for a new one.", { own: true });

// ---- connection ----

async function connect() {
  clearTimeout(timer);
  session?.close();
  session = null;
  if (page.dataset.state !== "reconnecting") show("connecting", "Connecting…");
  let mine = null;
  try {
    // Asking first keeps a caller who is not ready yet from being an error.
    const { state } = await (await ask(`/calls/${encodeURIComponent(call)}`)).json();
    if (state !== "live") return wait(2);
    mine = new Session(`/whep/${encodeURIComponent(call)}`, prepare);
    session = mine;
    mine.addEventListener("message", ({ detail }) => mine === session && onMessage(detail));
    mine.addEventListener("rtt", ({ detail }) => (facts.rtt = facts.rtt === null ? detail : facts.rtt * 0.7 + detail * 0.3));
    mine.addEventListener("open", () => refined || mine.send({ type: "refine", on: false }));
    mine.addEventListener("lost", ({ detail }) => mine === session && lost(detail ? { message: detail } : undefined));
    timer = setTimeout(() => mine === session && lost(), FIRST_PICTURE_MS); // connected, yet nothing to see
    await mine.open();
  } catch (error) {
    if (mine !== session) return;
    session = null;
    clearTimeout(timer);
    if (error.status === 404) return missing();
    if (error.status === 409) return wait(error.retryAfter ?? 2);
    if (error.status === 503) return busy(error);
    lost(error);
  }
}

function wait(seconds) {
  show("waiting", "Almost there.", "The other person is getting ready. You will see them here as soon as they are.");
  timer = setTimeout(connect, Math.min(10, Math.max(0.5, seconds)) * 1000);
}

/** The server turned us away for now: comes back when it says, or when the user does not want to wait. */
function busy(error) {
  const seconds = Math.max(1, Math.ceil(error.retryAfter ?? BUSY_S));
  const { title, detail } = busyWords(error, seconds);
  show("waiting", title, detail, { again: true, own: true });
  // All who were turned away at the same moment must not come back at the same moment.
  timer = setTimeout(connect, seconds * (1 + Math.random() / 5) * 1000);
}

/** The connection broke or could not be made: tries again after 1, 2 and 4 seconds, then leaves it to the user. */
function lost(error) {
  if (page.dataset.state === "live") keepStill();
  session?.close();
  session = null;
  clearTimeout(timer);
  if (connectedAt && performance.now() - connectedAt > STABLE_MS) attempt = 0;
  connectedAt = 0;
  if (attempt >= BACK_OFF_S.length) {
    const { title, detail } = error
      ? serverWords(error)
      : { title: "The connection was lost.", detail: "Check your network, then try again." };
    attempt = 0;
    return show("failed", title, detail, { again: true, own: true });
  }
  const seconds = BACK_OFF_S[attempt++];
  const words = `Connection lost. Trying again (${attempt} of ${BACK_OFF_S.length})…`;
  if (video.srcObject) {
    show("reconnecting");
    banner(words);
  } else {
    show("connecting", "Connecting…", `The first try did not succeed. Trying again (${attempt} of ${BACK_OFF_S.length})…`);
  }
  timer = setTimeout(connect, seconds * 1000);
}

function prepare(pc) {
  photons = new MotionToPhoton();
  rate = new FrameRate();
  facts = { rtt: null, bitrate: null, server: null };
  const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
  preferH264(transceiver);
  // No waiting for smoothness: a viewpoint that answers at once matters more than an even rhythm.
  if ("jitterBufferTarget" in transceiver.receiver) transceiver.receiver.jitterBufferTarget = 0;
  channel = pc.createDataChannel("viewpoint", { ordered: false, maxRetransmits: 0 });
  channel.addEventListener("open", () => sayAgain(performance.now()));
  pc.addEventListener("track", ({ track }) => {
    video.srcObject = new MediaStream([track]);
    video.play().catch(() => {}); // muted pictures may play by themselves; a refusal shows as a still picture
  });
}

function onMessage(message) {
  if (message.type === "frame") photons.frame(message.rtp, message.seq);
  else if (message.type === "stats") onStats(message);
  else if (message.type === "ended") onEnded(message.reason);
  else if (message.type === "error") console.info(`Visavis: ${message.reason}`);
}

function onStats(message) {
  facts.server = message;
  sayRaw();
}

function onEnded(reason) {
  clearTimeout(timer);
  session?.close({ tell: false });
  session = null;
  video.srcObject = null;
  show("ended", "The call has ended.", reason || "The other person hung up.", { own: true });
}

// ---- pictures ----

function onPicture(_, picture) {
  const now = performance.now();
  video.requestVideoFrameCallback(onPicture);
  rate.presented(picture.presentedFrames, now);
  photons.presented(picture.rtpTimestamp, now);
  if (!connectedAt && session) {
    connectedAt = now;
    clearTimeout(timer);
    show("live");
    document.title = "Visavis - live";
    sayHint();
    takeAmbient();
  }
}

if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(onPicture);
else video.addEventListener("playing", () => onPicture(0, { presentedFrames: 0 }));

function keepStill() {
  const { videoWidth: width, videoHeight: height } = video;
  Object.assign($("still"), { width, height });
  if (width) $("still").getContext("2d").drawImage(video, 0, 0);
}

/** The stage around the square picture takes the colour of the picture's upper corners, so that no frame is seen. */
const corner = document.createElement("canvas");
corner.width = corner.height = 1;
const brush = corner.getContext("2d", { willReadFrequently: true });

function takeAmbient() {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width || page.dataset.state !== "live") return;
  const side = Math.max(2, Math.round(width / 24));
  const sums = [0, 0, 0];
  for (const x of [0, width - side]) {
    brush.drawImage(video, x, Math.round(height * 0.04), side, side, 0, 0, 1, 1);
    brush.getImageData(0, 0, 1, 1).data.slice(0, 3).forEach((value, i) => (sums[i] += value / 2));
  }
  page.style.setProperty("--ambient", `rgb(${sums.map(Math.round).join(" ")})`);
  page.dataset.bright = sums[0] * 0.3 + sums[1] * 0.59 + sums[2] * 0.11 > 140 ? "light" : "dark";
}

// ---- viewpoints: newest only, at most one per animation frame ----

let seq = 0;
let saidView = "";
let saidAt = 0;
let repeats = REPEAT_MS.length;
let message = null;

function sayAgain(now) {
  message = null;
  tellView(motion.at(now), now);
}

function tellView({ yaw, pitch, zoom }, now) {
  if (channel?.readyState !== "open" || channel.bufferedAmount > 0) return;
  const view = [yaw.toFixed(2), pitch.toFixed(2), zoom.toFixed(3)];
  if (message === null || view.join() !== saidView) {
    saidView = view.join();
    message = JSON.stringify({ seq: ++seq, yaw: +view[0], pitch: +view[1], zoom: +view[2], roll: 0 });
    saidAt = now;
    repeats = 0;
    photons.sent(seq, performance.now());
    channel.send(message);
    drawCompass(yaw, pitch);
  } else if (repeats < REPEAT_MS.length && now - saidAt > REPEAT_MS[repeats]) {
    repeats += 1;
    channel.send(message);
  }
}

function drawCompass(yaw, pitch) {
  $("dot").setAttribute("cx", (24 + (19 * yaw) / LIMITS.yaw[1]).toFixed(1));
  $("dot").setAttribute("cy", (24 - (14 * pitch) / LIMITS.pitch[1]).toFixed(1));
}

function everyFrame(now) {
  requestAnimationFrame(everyFrame);
  tellView(motion.at(now), now);
}
requestAnimationFrame(everyFrame);

// ---- hint, tools, figures ----

let hintTimer = null;

function sayHint() {
  if (hintTimer !== null) return; // once per visit
  const touch = matchMedia("(pointer: coarse)").matches;
  $("hint").textContent = touch
    ? "Drag to look around. Pinch to zoom, tap twice to come back."
    : "Drag or use the arrow keys to look around. Scroll to zoom, R to come back.";
  $("hint").hidden = false;
  hintTimer = setTimeout(hideHint, HINT_MS);
}

function hideHint() {
  if (!$("hint").hidden) $("hint").classList.add("gone");
}

let calmTimer = null;

function wake() {
  page.classList.remove("calm");
  clearTimeout(calmTimer);
  calmTimer = setTimeout(() => page.classList.add("calm"), CALM_MS);
}
for (const kind of ["pointermove", "pointerdown", "keydown"]) addEventListener(kind, wake, { passive: true });
wake();

const reset = listenToGestures($("stage"), motion, () => video.clientHeight || 512, () => hintTimer !== null && setTimeout(hideHint, 900));

function setRefined(on) {
  refined = on;
  refinedAt = performance.now();
  session?.send({ type: "refine", on });
  $("refine").setAttribute("aria-pressed", String(on));
  $("refine-word").textContent = on ? "Refined" : "Raw";
  sayRaw();
}

/** The button says what was asked for, and below it when the server sends something else. */
function sayRaw() {
  const outdated = performance.now() - refinedAt < STATS_MS; // said of pictures before the change
  $("refine-now").hidden = !refined || outdated || facts.server?.refined !== false;
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else page.requestFullscreen?.().catch(() => {});
}

const toggleRefined = () => setRefined(!refined);

$("reset").addEventListener("click", reset);
$("refine").addEventListener("click", toggleRefined);
$("full").addEventListener("click", toggleFull);
$("full").hidden = !document.fullscreenEnabled;
$("again").addEventListener("click", () => {
  attempt = 0;
  connect();
});
document.addEventListener("fullscreenchange", () => $("full").setAttribute("aria-pressed", String(!!document.fullscreenElement)));

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = { s: toggleFigures, d: toggleRefined, f: toggleFull }[event.key.toLowerCase()];
  if (action && !$("tools").hidden) action();
});

function stats() {
  return {
    state: page.dataset.state,
    fps: rate.at(performance.now()),
    bitrate: facts.bitrate,
    width: video.videoWidth,
    height: video.videoHeight,
    rtt: facts.rtt,
    motionToPhoton: photons.summary(),
    view: { ...motion.view },
    resting: motion.resting,
    sent: seq,
    shown: photons.shown,
    refined,
    server: facts.server,
  };
}

const toggleFigures = listenToFigures(stats);

let bytes = null; // {count, at} of the last reading

setInterval(async () => {
  if (!session) return;
  takeAmbient();
  for (const report of (await session.pc.getStats()).values()) {
    if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
    const before = bytes;
    bytes = { count: report.bytesReceived, at: report.timestamp };
    if (before && bytes.count >= before.count) facts.bitrate = ((bytes.count - before.count) * 8000) / (bytes.at - before.at);
  }
}, 1000);

addEventListener("pagehide", () => session?.close());
addEventListener("pageshow", (event) => event.persisted && connect()); // back from the history: connect anew

window.visavis = { stats, motion };

connect();
