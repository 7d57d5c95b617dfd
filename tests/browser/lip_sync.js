// Calls itself through the server and notes when flashes and beeps leave the camera and the
// microphone, and when they are seen and heard at the other end. All times are of performance.now().

const LOUD = 0.1;
const QUIET_S = 0.3; // silence that must come before a beep: a beep has one beginning only

/** Moments at which a brightness rises above the middle of what it was in the last seconds. */
class Flashes {
  times = [];
  #seen = [];
  #up = true;

  add(time, brightness) {
    this.#seen.push(brightness);
    if (this.#seen.length > 120) this.#seen.shift();
    const low = Math.min(...this.#seen);
    const high = Math.max(...this.#seen);
    if (high - low < 15) return;
    const up = brightness > (low + high) / 2;
    if (up && !this.#up) this.times.push(time);
    this.#up = up;
  }
}

const canvas = new OffscreenCanvas(16, 16);
const paint = canvas.getContext("2d", { willReadFrequently: true });

function brightness(source) {
  paint.drawImage(source, 0, 0, 16, 16);
  const { data } = paint.getImageData(0, 0, 16, 16);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i + 1];
  return sum / 256;
}

/** Turns times of a track into those of the page by the frame that came soonest after it was made. */
class Clock {
  #offset = Infinity;

  at(microseconds, now) {
    this.#offset = Math.min(this.#offset, now - microseconds / 1000);
    return microseconds / 1000 + this.#offset;
  }
}

async function watchCamera(track, flashes) {
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  const clock = new Clock();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    flashes.add(clock.at(value.timestamp, performance.now()), brightness(value));
    value.close();
  }
}

/**
 * When each beep begins in a track: of a microphone, when its sample was taken; of a call, when the
 * browser takes its sample to play it.
 */
async function listenToTrack(track, times, { played = false } = {}) {
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  const clock = new Clock();
  let loudAt = 0;
  let samples = new Float32Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const { numberOfFrames, sampleRate } = value;
    if (samples.length < numberOfFrames) samples = new Float32Array(numberOfFrames);
    value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    const last = value.timestamp + (numberOfFrames / sampleRate) * 1e6;
    const end = clock.at(last, performance.now());
    value.close();
    const length = (numberOfFrames / sampleRate) * 1000; // what is taken to be played plays from now on
    for (let i = 0; i < numberOfFrames; i++) {
      if (Math.abs(samples[i]) < LOUD) continue;
      const time = end - ((numberOfFrames - i) / sampleRate) * 1000 + (played ? length : 0);
      if (time - loudAt > QUIET_S * 1000) times.push(time);
      loudAt = time;
    }
  }
}

/** When the picture will be on the screen, by the browser's own reckoning. */
function watchVideo(video, flashes, delays) {
  const look = (now, { expectedDisplayTime }) => {
    flashes.add(expectedDisplayTime, brightness(video));
    delays.push(performance.now() - now);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}

const WORKLET = `
registerProcessor("beeps", class extends AudioWorkletProcessor {
  loudAt = -1e9;
  process([[channel]]) {
    for (let i = 0; channel && i < channel.length; i++) {
      if (Math.abs(channel[i]) < ${LOUD}) continue;
      if (currentFrame + i - this.loudAt > ${QUIET_S} * sampleRate) this.port.postMessage(currentFrame + i);
      this.loudAt = currentFrame + i;
    }
    return true;
  }
});`;

/** When a sample leaves the loudspeaker, by the browser's own reckoning. */
async function listen(stream, times) {
  const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
  await context.resume();
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "beeps");
  context.createMediaStreamSource(stream).connect(node).connect(context.destination);
  node.port.onmessage = ({ data }) => {
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    times.push(performanceTime + (data / context.sampleRate - contextTime) * 1000);
  };
  return context;
}

async function post(path, pc) {
  await pc.setLocalDescription();
  while (pc.iceGatheringState !== "complete") await new Promise((done) => setTimeout(done, 20));
  const headers = { "Content-Type": "application/sdp" };
  const response = await fetch(path, { method: "POST", headers, body: pc.localDescription.sdp });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

const measured = { flashesSent: new Flashes(), beepsSent: [], flashesSeen: new Flashes(), beepsHeard: [], beepsTaken: [] };
const connections = {};

async function call() {
  const unchanged = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, frameRate: 30 }, audio: unchanged });
  const [camera] = media.getVideoTracks();
  const [microphone] = media.getAudioTracks();
  watchCamera(camera.clone(), measured.flashesSent);
  listenToTrack(microphone.clone(), measured.beepsSent);
  const pc = (connections.caller = new RTCPeerConnection());
  const control = pc.createDataChannel("control");
  const live = new Promise((done) => {
    control.onmessage = ({ data }) => JSON.parse(data).type === "live" && done(JSON.parse(data).call);
  });
  control.onopen = () => setInterval(() => control.send(JSON.stringify({ type: "ping", t: 0 })), 2000);
  for (const track of [camera, microphone]) pc.addTransceiver(track, { direction: "sendonly" });
  const response = await post("/whip", pc);
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
  return live;
}

const PLAYOUT_MS = 1000;
const DEVICE_MS = 25; // what sound devices add, less what a screen does
const before = { audio: null, video: null };

/** Tells the server how much later than pictures the browser plays sound, as the page does. */
async function sayPlayout(pc, control) {
  if (control.readyState !== "open") return;
  const held = {};
  for (const report of (await pc.getStats()).values()) {
    if (report.type !== "inbound-rtp" || !report.jitterBufferEmittedCount) continue;
    const last = before[report.kind] ?? { jitterBufferDelay: 0, jitterBufferEmittedCount: 0 };
    const count = report.jitterBufferEmittedCount - last.jitterBufferEmittedCount;
    if (count > 0) held[report.kind] = ((report.jitterBufferDelay - last.jitterBufferDelay) / count) * 1000;
    before[report.kind] = report;
  }
  if (held.audio === undefined || held.video === undefined) return;
  const ms = held.audio - held.video + DEVICE_MS;
  (measured.playout ??= []).push(Math.round(ms));
  control.send(JSON.stringify({ type: "playout", ms }));
}

async function watch(name, { oneStream = false } = {}) {
  const pc = (connections.receiver = new RTCPeerConnection());
  const control = pc.createDataChannel("control");
  control.onopen = () => setInterval(() => control.send(JSON.stringify({ type: "ping", t: 0 })), 2000);
  control.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "stats") measured.stats = message;
  };
  for (const kind of ["video", "audio"]) {
    const { receiver } = pc.addTransceiver(kind, { direction: "recvonly" });
    receiver.jitterBufferTarget = 0;
  }
  setInterval(() => sayPlayout(pc, control), PLAYOUT_MS);
  const video = document.querySelector("video");
  const audio = document.querySelector("audio");
  pc.ontrack = async ({ track }) => {
    const stream = new MediaStream([track]);
    if (track.kind === "video") {
      video.srcObject = stream;
      watchVideo(video, measured.flashesSeen, (measured.callbacks = []));
    } else {
      audio.srcObject = stream;
      await audio.play();
      listenToTrack(track.clone(), measured.beepsTaken, { played: true });
      measured.context = await listen(stream, measured.beepsHeard);
    }
  };
  const response = await post(`/whep/${name}`, pc);
  let sdp = await response.text();
  if (oneStream) {
    const [stream] = sdp.match(/a=msid:(\S+)/).slice(1);
    sdp = sdp.replace(/a=msid:\S+/g, `a=msid:${stream}`);
  }
  await pc.setRemoteDescription({ type: "answer", sdp });
}

async function figures() {
  const found = { ...measured, flashesSent: measured.flashesSent.times, flashesSeen: measured.flashesSeen.times };
  delete found.context;
  delete found.callbacks;
  found.outputLatency = measured.context?.outputLatency;
  found.baseLatency = measured.context?.baseLatency;
  const buffers = {};
  for (const report of (await connections.receiver.getStats()).values()) {
    if (report.type !== "inbound-rtp") continue;
    buffers[report.kind] = {
      buffer: (report.jitterBufferDelay / report.jitterBufferEmittedCount) * 1000,
      target: (report.jitterBufferTargetDelay / report.jitterBufferEmittedCount) * 1000,
      lost: report.packetsLost,
      received: report.packetsReceived,
      concealed: report.concealedSamples,
      frames: report.framesDecoded,
    };
  }
  return { ...found, buffers };
}

globalThis.lipSync = { call, watch, figures };
