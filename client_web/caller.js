// The page of who takes part with a camera: preview, framing in words, then the room. By the link of a room (/r/ROOM) one
// joins that room, also only to watch; at / a new one is opened.

import { cameraPossible, listDevices, NO_MICROPHONE, OwnMedia } from "./camera.js";
import { listenToFigures } from "./figures.js";
import { OwnCall } from "./own_call.js";
import { Room } from "./room.js";
import { cameraWords, meeting, microphoneWords, otherCameraWords, ownPresenceWords, serverWords, watchers } from "./words.js";

const $ = (id) => document.getElementById(id);
const page = $("caller");
const preview = $("preview");
const invited = location.pathname.match(/^\/r\/([^/]+)/)?.[1] ?? null;

const READ_MS = 700; // a reason stays at least so long: words that flicker cannot be read
const HINT_MS = 7000;
const CALM_MS = 3500;
const FRAMING_FPS = 15; // enough to judge a frame five times a second, and kind to old laptops
const LOOK_MS = 3000; // how often an invitation looks who is there
const LIVE_FPS = 30; // the server makes the avatar anew from each picture

const TEXT = {
  camera: ["Face to face, from any side.", "Allow camera and microphone to begin. Both stay on this page until you press Start."],
  ready: [
    "Face to face, from any side.",
    "An ordinary camera is enough. The people you invite choose where they look at you from, and you choose where you look at them.",
  ],
  connecting: ["Connecting…", "It takes a moment."],
  framing: ["Look straight at the camera.", "Keep your face inside the oval, in even light."],
  building: ["Building your avatar…", "You can relax now. It takes a few seconds."],
  ended: ["You hung up.", "The call is over, your avatar is gone, and the camera is off."],
  over: ["This room is over.", "Everybody has left, or the link is old. Ask for a new one."],
};

const media = new OwnMedia();
let own = null; // OwnCall
let state = "camera";
let fits = 0;
let kept = false; // the user took back a retake, which the server knows nothing of
let covered = false; // the user turned the camera off
let facts = {};

const room = new Room(
  $("seats"),
  () => Boolean(own?.connected && facts.room),
  () => own?.call ?? null,
);

function forget() {
  facts = { receivers: 0, link: null, room: null, room_link: null, rtt: null, presence: null };
}
forget();

/** Whether an avatar stands, which receivers see whatever becomes of the camera. */
const standing = () => Boolean(own && facts.link);

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
  const names = [next, invited ? `${next}-invited` : `${next}-first`];
  if (standing()) names.push(`${next}-again`); // "framing-again": framing of a retake
  for (const part of document.querySelectorAll("[data-show]")) {
    part.hidden = !part.dataset.show.split(" ").some((name) => names.includes(name));
  }
  $("hangup").textContent = standing() ? "Hang up" : "Cancel";
  $("leave-word").textContent = $("leave").title = state === "watching" ? "Leave" : "Hang up";
  $("start").textContent = invited ? "Join" : "Start";
  $("brand").inert = inRoom(); // one slip would end the call
  showInvite(false);
  showRoom();
  sayBanner();
  if (words) say(...words);
  // The pressed button is gone: without this, keyboard and screen reader would fall back to the top of the page.
  if (focused && focused !== document.body && !focused.checkVisibility?.()) $("headline").focus({ preventScroll: true });
}

const inRoom = () => state === "live" || state === "watching";

/** The page is the room as soon as somebody else is there; until then the invitation stands beside the own picture. */
function showRoom() {
  page.classList.toggle("room", state === "watching" || (state === "live" && room.tiles.length > 0));
}

/** One line at the top: the own connection first, then what became of the own picture. */
function sayBanner() {
  let line = "";
  if (own && facts.lost) line = "Connection lost. Trying again…";
  else if (state === "live" && !media.camera && !covered) line = "Your camera is gone. The others see you as you were last.";
  else if (state === "live" && covered) line = "Your camera is off. The others see you as you were last.";
  else if (state === "live" && facts.presence) line = ownPresenceWords(facts.presence);
  if (line) $("banner").textContent = line;
  $("banner").hidden = !line;
}

// ---- camera and microphone ----

async function startCamera(deviceId) {
  if (!cameraPossible()) return show("camera-error", Object.values(cameraWords("insecure")));
  if (!own) show("camera");
  $("other").hidden = true;
  try {
    if (!(await media.openCamera(deviceId))) return;
  } catch (error) {
    if (media.camera) return keepCamera(error);
    if (deviceId && error.name === "OverconstrainedError") return startCamera(); // that camera is gone: take any
    return cameraFailed(error);
  }
  covered = false;
  showCamera();
  await fillDevices();
  if (!own) show("ready");
  else if (state !== "live") await own.sendPictures(FRAMING_FPS, { still: true });
}

function showCamera() {
  preview.srcObject = media.camera && new MediaStream([media.camera]);
  preview.parentElement.classList.toggle("on", Boolean(media.camera));
  sayTools();
}

function stopMedia() {
  media.close();
  showCamera();
}

/** The camera that was chosen does not start: the one before goes on. */
async function keepCamera(error) {
  $("other").textContent = otherCameraWords(error);
  $("other").hidden = false;
  if (!own) show("ready");
  await fillDevices();
}

function cameraFailed(error) {
  const again = standing();
  media.closeCamera();
  showCamera();
  const { title, detail } = cameraWords(error);
  if (again) return backToLive(`${title} Your avatar stays as it is; Retake looks for the camera again.`);
  endCall();
  show("camera-error", [title, detail]);
}

media.addEventListener("camera-lost", () => cameraFailed({ name: "NotFoundError" }));
media.addEventListener("microphone-lost", () => {
  own?.sendVoice();
  sayTools();
  fillDevices();
});

async function fillDevices() {
  const { cameras, microphones } = await listDevices();
  const fill = (select, devices, track) => {
    const current = track?.getSettings().deviceId;
    select.replaceChildren(...devices.map(({ id, name }) => new Option(name, id, false, id === current)));
  };
  fill($("device"), cameras, media.camera);
  fill($("microphone"), [...microphones, { id: NO_MICROPHONE, name: "No microphone" }], media.microphone);
  if (!media.microphone) $("microphone").value = NO_MICROPHONE;
  $("unheard").hidden = !media.unheard;
  if (media.unheard) $("unheard").textContent = microphoneWords(media.unheard);
}

async function changeMicrophone(id) {
  try {
    await media.openMicrophone(id);
  } catch (error) {
    media.unheard = error;
  }
  await own?.sendVoice();
  sayTools();
  await fillDevices();
}

// ---- call ----

async function startCall() {
  fits = 0;
  kept = false;
  covered = false;
  $("other").hidden = true;
  forget();
  const mine = new OwnCall(media, FRAMING_FPS, invited);
  own = mine;
  show("connecting");
  const listen = (kind, handle) => mine.addEventListener(kind, ({ detail }) => mine === own && handle(detail));
  listen("message", onMessage);
  listen("rtt", (ms) => (facts.rtt = ms));
  listen("open", onOpen);
  listen("lost", onLost);
  listen("over", onOver);
  try {
    await mine.open();
  } catch (error) {
    if (mine === own) refused(error);
  }
}

function refused(error) {
  own = null;
  if (invited && error.status === 404) return over();
  const { title, detail } = serverWords(error);
  // Who cannot sit down may still watch.
  if (invited && error.status === 503) return show("full", [error.title || title, detail]);
  show("ended", [title, detail]);
}

function onMessage(message) {
  if (message.type === "framing") onFraming(message);
  else if (message.type === "live") onLive(message);
  else if (message.type === "room") onRoom(message);
  else if (message.type === "presence") onPresence(message);
  else if (message.type === "receivers") onReceivers(message.count);
  else if (message.type === "error") onError(message);
}

function onOpen() {
  facts.lost = false;
  page.classList.remove("lost");
  if (state === "connecting") show("framing");
  sayBanner();
}

function onLost() {
  facts.lost = true;
  page.classList.add("lost");
  sayBanner();
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

function onLive({ link, room: slug, room_link: roomLink }) {
  const absolute = (path) => new URL(path, location.href).href;
  Object.assign(facts, { link: absolute(link), room: slug ?? null, room_link: roomLink ? absolute(roomLink) : null });
  $("link").value = facts.room_link ?? facts.link;
  $("look").href = `${facts.link}#silent`; // one's own voice is never played
  $("share").hidden = !navigator.share;
  $("local").hidden = !/^(localhost|127\.|\[::1\])/.test(location.hostname);
  own.sendPictures(covered ? 0 : LIVE_FPS);
  room.enter();
  show("live", ["You are live.", kept ? "The new portrait had been taken already. Retake takes another." : watchers(facts.receivers)]);
  document.title = "Visavis - live";
  kept = false;
}

function onRoom(message) {
  facts.room = message.room;
  room.take(message);
}

function onPresence({ state: presence, code, reason }) {
  facts.presence = { state: presence, code, reason };
  sayBanner();
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

function onOver(reason) {
  endCall();
  show("ended", ["The call was cut off.", reason || "The connection to the server was lost. Start again to get a new link."]);
}

function endCall() {
  const gone = own;
  own = null;
  gone?.hangUp();
  room.leave();
  page.classList.remove("lost");
  preview.parentElement.classList.remove("fit");
  document.title = "Visavis";
}

/** Ends a retake before its portrait is taken, or says what became of the camera. */
function backToLive(detail) {
  if (state !== "live") {
    kept = true;
    own.send({ type: "keep" });
  }
  own.sendPictures(media.camera ? LIVE_FPS : 0);
  preview.parentElement.classList.remove("fit");
  show("live", ["You are live.", detail]);
}

// ---- joining a room ----

async function invitation() {
  try {
    await room.look(invited);
  } catch (error) {
    if (error.status === 404) return over();
    const { title, detail } = serverWords(error);
    return show("unreached", [title, detail]);
  }
  const there = meeting(room.members.length);
  if (room.members.length >= room.size) show("full", ["The room is full.", `${there} That is as many as it holds. You can still watch.`]);
  else show("invited", ["You are invited.", `${there} Join with your camera, or only watch.`]);
}

function over() {
  room.leave();
  stopMedia();
  show("over");
}

async function watch() {
  stopMedia();
  room.enter();
  show("watching", ["You are watching.", "Nobody sees or hears you."]);
  document.title = "Visavis - watching";
  await room.look(invited).catch((error) => error.status === 404 && over());
}

setInterval(() => ["invited", "full"].includes(state) && invitation(), LOOK_MS);

room.addEventListener("changed", () => {
  showRoom();
  if (state === "watching" && room.entered && !room.members.length) over();
});
room.addEventListener("over", () => own || over());
room.addEventListener("live", sayHint);
room.addEventListener("sound", sayTools);

// ---- what the user does ----

$("start").addEventListener("click", startCall);
$("again").addEventListener("click", () => startCamera());
$("join").addEventListener("click", () => startCamera());
$("watch").addEventListener("click", watch);
$("back").addEventListener("click", watch);
$("enter").addEventListener("click", () => startCamera());
$("ask").addEventListener("click", invitation);
$("device").addEventListener("change", () => startCamera($("device").value));
$("microphone").addEventListener("change", () => changeMicrophone($("microphone").value));

$("hangup").addEventListener("click", () => {
  const live = standing();
  endCall();
  if (!live) return show("ready"); // never live: only cancelled
  stopMedia();
  show("ended");
});

$("leave").addEventListener("click", () => {
  const watching = state === "watching";
  endCall();
  stopMedia();
  show("ended", watching ? ["You left.", "The others stay in the room."] : TEXT.ended);
});

$("restart").addEventListener("click", () => {
  if (invited) location.reload();
  else if (media.camera) startCall();
  else startCamera();
});

$("retake").addEventListener("click", async () => {
  if (!media.camera) await startCamera(); // it was lost, or off: it may be back
  if (!media.camera || state !== "live") return;
  fits = 0;
  kept = false;
  $("other").hidden = true;
  own.sendPictures(FRAMING_FPS, { still: true });
  own.send({ type: "retake" });
  show("framing", ["A new portrait.", TEXT.framing[1]]);
});

$("keep").addEventListener("click", () => backToLive(watchers(facts.receivers)));

$("mute").addEventListener("click", toggleMute);
$("cover").addEventListener("click", toggleCamera);
$("invite").addEventListener("click", () => showInvite(!page.hasAttribute("data-inviting")));
$("close").addEventListener("click", () => showInvite(false));
$("sound").addEventListener("click", toggleSound);
$("sound-on").addEventListener("click", () => (room.silence = false));
$("full").addEventListener("click", toggleFull);
$("full").hidden = !document.fullscreenEnabled;
document.addEventListener("fullscreenchange", () => $("full").setAttribute("aria-pressed", String(!!document.fullscreenElement)));

function showInvite(on) {
  page.toggleAttribute("data-inviting", on);
  $("invite").setAttribute("aria-expanded", String(on));
  if (on) $("link").focus();
}

async function toggleMute() {
  if (!media.microphone) return changeMicrophone("");
  media.mute(!media.muted);
  sayTools();
}

async function toggleCamera() {
  if (media.camera) {
    covered = true;
    media.closeCamera();
    await own?.sendPictures(0);
    showCamera();
  } else {
    await startCamera($("device").value || undefined);
    if (media.camera) await own?.sendPictures(LIVE_FPS);
  }
  sayBanner();
}

function toggleSound() {
  room.silence = room.sound === "playing";
  sayTools();
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.().catch(() => {});
}

/** The buttons say how things are: pressed is on. */
function sayTools() {
  const speaking = Boolean(media.microphone) && !media.muted;
  const set = (id, on, words) => {
    $(id).setAttribute("aria-pressed", String(on));
    $(id).title = words;
    $(id).querySelector(".unseen").textContent = words;
  };
  set("mute", speaking, speaking ? "Mute (M)" : media.microphone ? "Unmute (M)" : "Turn on the microphone (M)");
  set("cover", Boolean(media.camera), media.camera ? "Turn the camera off (V)" : "Turn the camera on (V)");
  const { sound } = room;
  set("sound", sound === "playing", sound === "playing" ? "Sound off" : "Sound on");
  $("sound").hidden = sound === "none" || sound === "blocked";
  $("sound-on").hidden = sound !== "blocked";
  preview.parentElement.classList.toggle("muted", state === "live" && !speaking);
}

$("copy").addEventListener("click", async () => {
  const label = $("copy").querySelector("span");
  $("link").select();
  try {
    await navigator.clipboard.writeText($("link").value);
  } catch {
    document.execCommand("copy"); // no clipboard permission, or an insecure address: the selection still copies
  }
  label.textContent = "Copied";
  setTimeout(() => (label.textContent = "Copy"), 2000);
});

$("share").addEventListener("click", () => {
  navigator.share({ title: "Visavis", text: "Meet me face to face:", url: $("link").value }).catch(() => {});
});

$("link").addEventListener("focus", () => $("link").select());

navigator.mediaDevices?.addEventListener?.("devicechange", () => media.camera && fillDevices());

// ---- hint, calm, figures ----

let hintTimer = null;

function sayHint() {
  if (hintTimer !== null || !inRoom()) return; // once per visit
  const touch = matchMedia("(pointer: coarse)").matches;
  $("hint").textContent = touch ? "Drag a person to look around them." : "Drag a person, or use the arrow keys, to look around them.";
  $("hint").hidden = false;
  hintTimer = setTimeout(() => $("hint").classList.add("gone"), HINT_MS);
}

let calmTimer = null;

function wake() {
  page.classList.remove("calm");
  clearTimeout(calmTimer);
  calmTimer = setTimeout(() => page.classList.add("calm"), CALM_MS);
}
for (const kind of ["pointermove", "pointerdown", "keydown"]) addEventListener(kind, wake, { passive: true });
wake();

const figures = listenToFigures(
  page,
  $("figures"),
  () => (inRoom() ? (room.tile?.viewer.stats() ?? null) : null),
  (on) => (room.predicting = on),
  { shown: false }, // in a room people come first
);

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !inRoom()) return;
  if (event.key === "Escape") return showInvite(false);
  if (event.target instanceof HTMLInputElement) return;
  const speaker = state === "live" ? { m: toggleMute, v: toggleCamera } : { m: toggleSound };
  const { toggle, togglePrediction } = figures;
  const action = { s: toggle, p: togglePrediction, f: toggleFull, d: toggleRefined, ...speaker }[event.key.toLowerCase()];
  action?.();
});

function toggleRefined() {
  const viewer = room.tile?.viewer;
  if (viewer) viewer.refining = !viewer.refined;
}

addEventListener("pagehide", () => {
  own?.hangUp();
  room.abandon();
});
addEventListener("pageshow", (event) => event.persisted && location.reload()); // back from the history: the call is over

window.visavis = {
  stats: () => ({
    state,
    call: own?.call ?? null,
    ...facts,
    connected: Boolean(own?.connected),
    camera: Boolean(media.camera),
    microphone: Boolean(media.microphone),
    muted: media.muted,
    members: room.members,
    sound: room.sound,
    tiles: room.tiles.map(({ viewer }) => viewer.stats()),
  }),
  /** Of the first person in view, for programs that move it. */
  get motion() {
    return room.tiles[0]?.viewer.motion;
  },
};

if (invited) invitation();
else startCamera();
