// The caller's page: camera preview, framing in words, the live call and its invite link.

import { cameraPossible, listCameras, openCamera } from "./camera.js";
import { Session } from "./session.js";
import { cameraWords, otherCameraWords, serverWords, watchers } from "./words.js";

const $ = (id) => document.getElementById(id);
const page = $("caller");
const preview = $("preview");

const READ_MS = 700; // a reason stays at least so long: words that flicker cannot be read
const FRAMING_FPS = 15; // enough to judge a frame five times a second, and kind to old laptops
const LIVE_FPS = 5; // the avatar stands: the picture is only needed for a retake

const TEXT = {
  camera: ["Face to face, from any side.", "Allow the camera to begin. The picture stays on this page until you press Start."],
  ready: [
    "Face to face, from any side.",
    "One portrait from your camera is enough. The people you invite choose where they look at you from.",
  ],
  connecting: ["Connecting…", "It takes a moment."],
  framing: ["Look straight at the camera.", "Keep your face inside the oval, in even light."],
  building: ["Building your avatar…", "You can relax now. It takes a few seconds."],
  ended: ["You hung up.", "The call is over, your avatar is gone, and the camera is off."],
};

let stream = null;
let session = null;
let state = "camera";
let fits = 0;
let kept = false; // the user took back a retake, which the server knows nothing of
let opening = 0; // counts attempts to open a camera: only the newest may change anything
let facts = { receivers: 0, link: null, rtt: null };

/** Whether an avatar stands, which receivers see whatever becomes of the camera. */
const standing = () => Boolean(session && facts.link);

// ---- what the page shows ----

let pending = null;
let saidAt = -Infinity;

/** Words in the live region. `calmly`: not more often than one can read. */
function say(title, detail, calmly = false) {
  clearTimeout(pending);
  const wait = calmly ? saidAt + READ_MS - performance.now() : 0;
  if (wait > 0) {
    pending = setTimeout(() => say(title, detail), wait);
    return;
  }
  if ($("headline").textContent !== title) {
    $("headline").textContent = title;
    saidAt = performance.now();
  }
  if ($("detail").textContent !== detail) $("detail").textContent = detail;
}

function show(next, words = TEXT[next]) {
  state = next;
  page.dataset.state = next;
  const focused = document.activeElement;
  const names = standing() ? [next, `${next}-again`] : [next]; // "framing-again": framing of a retake
  for (const part of document.querySelectorAll("[data-show]")) {
    part.hidden = !part.dataset.show.split(" ").some((name) => names.includes(name));
  }
  $("hangup").textContent = standing() ? "Hang up" : "Cancel";
  if (words) say(...words);
  // The pressed button is gone: without this, keyboard and screen reader would fall back to the top of the page.
  if (focused && focused !== document.body && !focused.checkVisibility?.()) $("headline").focus({ preventScroll: true });
}

// ---- camera ----

async function startCamera(deviceId) {
  if (!cameraPossible()) return show("camera-error", Object.values(cameraWords("insecure")));
  if (!session) show("camera");
  $("other").hidden = true;
  const mine = ++opening;
  let fresh;
  try {
    fresh = await openCamera(deviceId);
  } catch (error) {
    if (mine !== opening) return;
    if (stream) return keepCamera(error);
    if (deviceId && error.name === "OverconstrainedError") return startCamera(); // that camera is gone: take any
    return cameraFailed(error);
  }
  if (mine !== opening) return fresh.getTracks().forEach((track) => track.stop());
  stream?.getTracks().forEach((track) => track.stop());
  stream = fresh;
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", () => stream === fresh && cameraFailed({ name: "NotFoundError" }));
  preview.srcObject = stream;
  preview.parentElement.classList.add("on");
  await fillDevices(track.getSettings().deviceId);
  if (!session) show("ready");
  else if (state !== "live") await sendPictures(FRAMING_FPS);
}

function stopCamera() {
  opening += 1;
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  preview.srcObject = null;
  preview.parentElement.classList.remove("on");
}

/** The camera that was chosen does not start: the one before goes on. */
async function keepCamera(error) {
  $("other").textContent = otherCameraWords(error);
  $("other").hidden = false;
  if (!session) show("ready");
  await fillDevices(stream.getVideoTracks()[0].getSettings().deviceId);
}

function cameraFailed(error) {
  const again = standing();
  stopCamera();
  const { title, detail } = cameraWords(error);
  if (again) return backToLive(`${title} Your avatar stays as it is; Retake looks for the camera again.`);
  endCall();
  show("camera-error", [title, detail]);
}

async function fillDevices(current) {
  const cameras = await listCameras();
  $("device").replaceChildren(...cameras.map(({ id, name }) => new Option(name, id, false, id === current)));
}

// ---- call ----

async function startCall() {
  fits = 0;
  kept = false;
  $("other").hidden = true;
  facts = { receivers: 0, link: null, rtt: null };
  show("connecting");
  const mine = new Session("/whip", (pc) => {
    const sender = pc.addTransceiver(stream.getVideoTracks()[0], {
      direction: "sendonly",
      streams: [stream],
      sendEncodings: [{ maxFramerate: FRAMING_FPS, maxBitrate: 2_500_000 }],
    }).sender;
    const parameters = sender.getParameters();
    parameters.degradationPreference = "maintain-resolution";
    sender.setParameters(parameters).catch(() => {}); // a wish, not a need
  });
  session = mine;
  mine.addEventListener("message", ({ detail }) => mine === session && onMessage(detail));
  mine.addEventListener("rtt", ({ detail }) => (facts.rtt = detail));
  mine.addEventListener("lost", ({ detail }) => mine === session && onLost(detail));
  mine.addEventListener("open", () => mine === session && state === "connecting" && show("framing"));
  try {
    await mine.open();
  } catch (error) {
    if (mine !== session) return;
    session = null;
    const { title, detail } = serverWords(error);
    show("ended", [title, detail]);
  }
}

function onMessage(message) {
  if (message.type === "framing") onFraming(message);
  else if (message.type === "live") onLive(message);
  else if (message.type === "receivers") onReceivers(message.count);
  else if (message.type === "ended") onLost(message.reason);
  else if (message.type === "error") onError(message);
}

function onFraming({ fit, reason }) {
  if (state !== "framing" && state !== "building") return;
  preview.parentElement.classList.toggle("fit", fit);
  fits = fit ? fits + 1 : 0;
  if (fits >= 2) {
    if (state !== "building") show("building");
  } else if (fit) {
    say("Good. Hold still.", TEXT.framing[1], true);
  } else {
    if (state !== "framing") show("framing", null);
    const [title, rest] = splitReason(reason || TEXT.framing[0]);
    say(title, rest || TEXT.framing[1], true);
  }
}

/** "I can't see your face. Sit in front of the camera." is a headline and what to do. */
function splitReason(reason) {
  const end = reason.search(/[.?!] /) + 1;
  return end ? [reason.slice(0, end), reason.slice(end + 1)] : [reason, ""];
}

function onLive({ link }) {
  facts.link = new URL(link, location.href).href;
  $("link").value = facts.link;
  $("look").href = facts.link;
  $("share").hidden = !navigator.share;
  $("local").hidden = !/^(localhost|127\.|\[::1\])/.test(location.hostname);
  sendPictures(LIVE_FPS);
  show("live", ["You are live.", kept ? "The new portrait had been taken already. Retake takes another." : watchers(facts.receivers)]);
  kept = false;
}

function onReceivers(count) {
  facts.receivers = count;
  if (state === "live") say("You are live.", watchers(count));
}

function onError({ reason }) {
  if (state === "live") say("You are live.", reason);
  else show("framing", [reason || "That did not work.", "Look straight at the camera. The next good picture is taken by itself."]);
  fits = 0;
}

function onLost(reason) {
  endCall();
  show("ended", ["The call was cut off.", reason || "The connection to the server was lost. Start again to get a new link."]);
}

function endCall() {
  const gone = session;
  session = null;
  gone?.close();
  preview.parentElement.classList.remove("fit");
}

/** How many camera pictures per second the server gets; 0 holds the camera back. */
async function sendPictures(perSecond) {
  const sender = session?.pc.getTransceivers()[0]?.sender;
  if (!sender) return;
  try {
    await sender.replaceTrack(perSecond && stream ? stream.getVideoTracks()[0] : null);
    const parameters = sender.getParameters();
    if (!perSecond || !parameters.encodings?.length) return;
    parameters.encodings[0].maxFramerate = perSecond;
    await sender.setParameters(parameters);
  } catch {
    // the call has ended meanwhile, or the browser takes no wishes
  }
}

/** Ends a retake before its portrait is taken: without pictures the server cannot finish it. */
function backToLive(detail) {
  kept = kept || state !== "live";
  sendPictures(0);
  preview.parentElement.classList.remove("fit");
  show("live", ["You are live.", detail]);
}

// ---- what the user does ----

$("start").addEventListener("click", startCall);
$("again").addEventListener("click", () => startCamera());
$("device").addEventListener("change", () => startCamera($("device").value));

$("hangup").addEventListener("click", () => {
  endCall();
  if (!facts.link) return show("ready"); // never live: only cancelled
  stopCamera();
  show("ended");
});

$("restart").addEventListener("click", () => (stream ? startCall() : startCamera()));

$("retake").addEventListener("click", async () => {
  if (!stream) await startCamera(); // it was lost: it may be back
  if (!stream || state !== "live") return;
  fits = 0;
  kept = false;
  $("other").hidden = true;
  sendPictures(FRAMING_FPS);
  session.send({ type: "retake" });
  show("framing", ["A new portrait.", TEXT.framing[1]]);
});

$("keep").addEventListener("click", () => backToLive(watchers(facts.receivers)));

$("copy").addEventListener("click", async () => {
  const label = $("copy").querySelector("span");
  $("link").select();
  try {
    await navigator.clipboard.writeText(facts.link);
  } catch {
    document.execCommand("copy"); // no clipboard permission, or an insecure address: the selection still copies
  }
  label.textContent = "Copied";
  setTimeout(() => (label.textContent = "Copy"), 2000);
});

$("share").addEventListener("click", () => {
  navigator.share({ title: "Visavis", text: "Look at me from any side:", url: facts.link }).catch(() => {});
});

$("link").addEventListener("focus", () => $("link").select());

navigator.mediaDevices?.addEventListener?.("devicechange", () => {
  if (stream) fillDevices(stream.getVideoTracks()[0].getSettings().deviceId);
});

addEventListener("pagehide", () => endCall());
addEventListener("pageshow", (event) => event.persisted && location.reload()); // back from the history: the call is over

window.visavis = {
  stats: () => ({ state, call: session?.call ?? null, ...facts }),
};

startCamera();
