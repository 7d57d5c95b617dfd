// The page of who takes part with a camera: preview, framing in words, then the room. By the link of a room (/r/ROOM) one
// joins that room, also only to watch; at / a new one is opened.

import { Announcer, splitReason } from "./announcer.js";
import * as tools from "./call_tools.js";
import { Hint, listenForCalm } from "./calm.js";
import { cameraPossible, listDevices, NO_MICROPHONE, OwnMedia } from "./camera.js";
import { listenToFigures } from "./figures.js";
import { listenToFullScreen } from "./fullscreen.js";
import { listenToInvite } from "./invite.js";
import { OwnCall } from "./own_call.js";
import { Room } from "./room.js";
import { cameraWords, meeting, microphoneWords, otherCameraWords, ownPresenceWords, serverWords, watchers } from "./words.js";

const $ = (id) => document.getElementById(id);
const page = $("caller");
const preview = $("preview");
const invited = location.pathname.match(/^\/r\/([^/]+)/)?.[1] ?? null;

const FRAMING_FPS = 15; // enough to judge a frame five times a second, and kind to old laptops
const PASSING_MS = 6000;
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
const announcer = new Announcer($("headline"), $("detail"));
const hint = new Hint($("hint"));
const invite = listenToInvite(page, $);
const toggleFull = listenToFullScreen($("full"), document.documentElement);
listenForCalm(page);
let own = null; // OwnCall
let state = "camera";
let fits = 0;
let kept = false; // the user took back a retake, which the server knows nothing of
let interrupted = false; // the connection broke during a retake, which the server gave up with it
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
  invite.show(false);
  showRoom();
  sayBanner();
  if (words) announcer.say(...words);
  // The pressed button is gone: without this, keyboard and screen reader would fall back to the top of the page.
  if (focused && focused !== document.body && !focused.checkVisibility?.()) $("headline").focus({ preventScroll: true });
}

const inRoom = () => state === "live" || state === "watching";

/** The page is the room as soon as somebody else is there; until then the invitation stands beside the own picture. */
function showRoom() {
  page.classList.toggle("room", state === "watching" || (state === "live" && room.tiles.length > 0));
}

let passing = "";
let passes = null;

/** Words that pass. In a room the panel that says all else is hidden. */
function mention(words) {
  if (!page.classList.contains("room")) return;
  clearTimeout(passes);
  passing = words;
  passes = setTimeout(() => {
    passing = "";
    sayBanner();
  }, PASSING_MS);
  sayBanner();
}

/** One line at the top: the own connection first, then what became of the own picture. */
function sayBanner() {
  let line = "";
  if (own && facts.lost) line = "Connection lost. Trying again…";
  else if (passing) line = passing;
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
  if (!media.camera) return; // given up meanwhile
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
    mention(microphoneWords(error));
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
  endCall(); // also the tiles of who watched before
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
  kept = false;
  interrupted = standing() && state === "framing";
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
    announcer.say("Good. Hold still.", TEXT.framing[1], true);
  } else {
    if (state !== "framing") show("framing", null);
    const [title, rest] = splitReason(reason || TEXT.framing[0]);
    announcer.say(title, rest || TEXT.framing[1], true);
  }
}

function onLive({ link, room: slug, room_link: roomLink }) {
  const absolute = (path) => new URL(path, location.href).href;
  const detail = liveWords();
  Object.assign(facts, { link: absolute(link), room: slug ?? null, room_link: roomLink ? absolute(roomLink) : null });
  invite.offer(facts.room_link ?? facts.link);
  $("look").href = `${facts.link}#silent`; // one's own voice is never played
  own.sendPictures(covered ? 0 : LIVE_FPS);
  room.enter();
  show("live", ["You are live.", detail]);
  document.title = "Visavis - live";
  kept = interrupted = false;
}

function liveWords() {
  if (kept) return "The new portrait had been taken already. Retake takes another.";
  if (interrupted) return "The connection was lost, and the old portrait stays. Retake takes another.";
  return watchers(facts.receivers);
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
  if (count === facts.receivers) return; // what was said otherwise stays
  facts.receivers = count;
  if (state === "live") announcer.say("You are live.", watchers(count));
}

function onError({ reason }) {
  if (state === "live") {
    announcer.say("You are live.", reason);
    mention(reason);
  } else show("framing", [reason || "That did not work.", "Look straight at the camera. The next good picture is taken by itself."]);
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
  mention(detail);
}

// ---- joining a room ----

async function invitation() {
  const before = state;
  const error = await room.look(invited).then(
    () => null,
    (error) => error,
  );
  if (state !== before) return; // the user has gone on meanwhile
  if (error?.status === 404) return over();
  if (error) {
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
  await room.look(invited).catch((error) => error.status === 404 && state === "watching" && over());
}

setInterval(() => ["invited", "full"].includes(state) && invitation(), LOOK_MS);

room.addEventListener("changed", () => {
  showRoom();
  sayTools(); // who was heard may have left
  if (state === "watching" && room.entered && !room.members.length) over();
});
room.addEventListener("over", () => own || over());
room.addEventListener("live", sayHint);
room.addEventListener("sound", sayTools);

// ---- what the user does ----

$("start").addEventListener("click", startCall);
$("again").addEventListener("click", () => startCamera());
$("join").addEventListener("click", () => startCamera());
for (const id of ["watch", "back", "without"]) $(id).addEventListener("click", watch);
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
$("sound").addEventListener("click", toggleSound);
$("sound-on").addEventListener("click", () => (room.silence = false));

async function toggleMute() {
  media.mute(Boolean(media.microphone) && !media.muted); // one that is turned on now is to be heard
  if (!media.microphone) return changeMicrophone("");
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

function sayTools() {
  tools.sayTools($, media, room.sound);
  preview.parentElement.classList.toggle("muted", !media.microphone || media.muted);
}

navigator.mediaDevices?.addEventListener?.("devicechange", () => media.camera && fillDevices());

// ---- hint, figures ----

function sayHint() {
  if (inRoom()) hint.say("Drag a person to look around them.", "Drag a person, or use the arrow keys, to look around them.");
}

const figures = listenToFigures(
  page,
  $("figures"),
  () => (inRoom() ? (room.tile?.viewer.stats() ?? null) : null),
  (on) => (room.predicting = on),
  { shown: false }, // in a room people come first
);

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !inRoom()) return;
  if (event.key === "Escape") return invite.show(false);
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
