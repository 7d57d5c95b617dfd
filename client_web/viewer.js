// One person who is watched: the connection and its losses, pictures and sound, the viewpoint. A page or a tile shows it.

import { FrameRate, MotionToPhoton } from "./latency.js";
import { PlayoutDelay } from "./playout.js";
import { ask, preferH264, Session } from "./session.js";
import { ViewpointMotion } from "./viewpoint.js";
import { ViewpointSender } from "./viewpoint_sender.js";
import { Voice } from "./voice.js";
import { busyWords, serverWords } from "./words.js";

const BACK_OFF_S = [1, 2, 4]; // and 4 again and again
const PATIENCE_MS = 30_000; // the server waits for a lost caller about as long
const SHORT_PATIENCE_MS = 5000;
const ASK_MS = 5000; // a question without an answer by then is asked again: a dead network answers none
const STABLE_MS = 10_000; // connected for so long: the next loss starts again with the shortest wait
const FIRST_PICTURE_MS = 15_000;
const BUSY_S = 10; // where the server does not say when to come back

const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const nothing = () => ({ rtt: null, bitrate: null, server: null, audio: { packets: 0, level: null } });

/**
 * Events: "state" (state and words have changed), "presence", "sound" (those have changed), "stats" (the server sent its
 * figures), "room" (detail: a room message).
 *
 * `state` is "connecting", "waiting" (the person is not ready, or the server has no room), "live", "reconnecting" (the last
 * picture is kept), "ended" or "failed" (only connect() goes on).
 */
export class Viewer extends EventTarget {
  #session = null;
  #photons = new MotionToPhoton();
  #rate = new FrameRate();
  #turn = 0; // counts tries to connect: only the newest may change anything
  #attempt = 0;
  #lostAt = null; // since when nothing is to be seen
  #timer = null;
  #timers = [];
  #connectedAt = 0;
  #facts = nothing();
  #bytes = null; // {count, at} of the last reading
  #playout = new PlayoutDelay();
  #predicting = true;
  #closed = false;
  state = "connecting";
  words = { title: "", detail: "", again: false, own: false };
  presence = { state: "live", code: "ok", reason: "" };
  refined = true;
  motion = new ViewpointMotion({ still: reduced.matches });
  sender = new ViewpointSender(this.motion);

  /**
   * @param call name of the call
   * @param video element for pictures and sound
   * @param still canvas for the last picture while a lost connection is made anew
   * @param deaf no sound at all: it is one's own voice
   */
  constructor(call, video, still, { deaf = false } = {}) {
    super();
    this.call = call;
    this.video = video;
    this.still = still;
    this.voice = new Voice(deaf);
    this.voice.addEventListener("changed", () => this.dispatchEvent(new Event("sound")));
    reduced.addEventListener("change", this.#calm);
    this.#calm();
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(this.#onPicture);
    else video.addEventListener("playing", () => this.#onPicture(0, { presentedFrames: 0 }));
    this.#timers.push(setInterval(() => this.#measure(), 1000));
    requestAnimationFrame(this.#everyFrame);
  }

  #calm = () => {
    this.motion.still = reduced.matches;
    this.predicting = this.#predicting;
  };

  #show(state, title = "", detail = "", { again = false, own = false } = {}) {
    this.state = state;
    this.words = { title, detail, again, own };
    this.dispatchEvent(new Event("state"));
  }

  // ---- connection ----

  async connect() {
    this.leave();
    if (this.#closed) return;
    if (this.#lostAt === null) this.#show("connecting", "Connecting…");
    const path = encodeURIComponent(this.call);
    const turn = this.#turn;
    try {
      // Asking first keeps a caller who is not ready yet from being an error.
      const { state } = await (await ask(`/calls/${path}`, { signal: AbortSignal.timeout(ASK_MS) })).json();
      if (turn !== this.#turn) return;
      if (state !== "live") return this.#wait(2);
      const mine = new Session(`/whep/${path}`, (pc) => this.#prepare(pc));
      this.#session = mine;
      mine.addEventListener("message", ({ detail }) => mine === this.#session && this.#onMessage(detail));
      mine.addEventListener("rtt", ({ detail }) => this.#onRoundTrip(detail));
      mine.addEventListener("open", () => this.refined || mine.send({ type: "refine", on: false }));
      mine.addEventListener("lost", ({ detail }) => mine === this.#session && this.#lost(detail ? { message: detail, lasts: true } : undefined));
      this.#expectPicture();
      await mine.open();
    } catch (error) {
      if (turn !== this.#turn) return;
      this.leave();
      if (error.status === 404) return this.#missing();
      if (error.status === 409) return this.#wait(error.retryAfter ?? 2);
      if (error.status === 503) return this.#busy(error);
      this.#lost(error);
    }
  }

  /** Connected, yet nothing to see: lost. A page in the background is shown no pictures, and is no reason to leave. */
  #expectPicture() {
    this.#timer = setTimeout(() => (document.hidden && this.connected ? this.#expectPicture() : this.#lost()), FIRST_PICTURE_MS);
  }

  /** Tries at once, with all tries before it: the user asks for it, or the person is said to be there now. */
  hurry() {
    this.#calmed();
    this.connect();
  }

  get connected() {
    return this.#session?.control.readyState === "open";
  }

  /** Leaves for good. */
  close() {
    this.#closed = true;
    this.#timers.forEach(clearInterval);
    reduced.removeEventListener("change", this.#calm);
    this.leave();
    this.video.srcObject = null;
    this.voice.close();
  }

  /** Leaves; connect() comes back. */
  leave() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#session?.close();
    this.#session = null;
    this.#connectedAt = 0;
  }

  #missing() {
    this.#show("ended", "This call has ended.", "The person hung up, or the link is old. Ask for a new one.", { own: true });
  }

  /** The next loss is met with all patience. */
  #calmed() {
    this.#attempt = 0;
    this.#lostAt = null;
  }

  #wait(seconds) {
    this.#calmed();
    this.#show("waiting", "Almost there.", "The other person is getting ready. You will see them here as soon as they are.");
    this.#timer = setTimeout(() => this.connect(), Math.min(10, Math.max(0.5, seconds)) * 1000);
  }

  /** The server turned us away for now: comes back when it says, or when the user does not want to wait. */
  #busy(error) {
    this.#calmed();
    const seconds = Math.max(1, Math.ceil(error.retryAfter ?? BUSY_S));
    const { title, detail } = busyWords(error, seconds);
    this.#show("waiting", title, detail, { again: true, own: true });
    // All who were turned away at the same moment must not come back at the same moment.
    this.#timer = setTimeout(() => this.connect(), seconds * (1 + Math.random() / 5) * 1000);
  }

  /** The connection broke or could not be made: tries again, more and more calmly, then leaves it to the user. */
  #lost(error) {
    const now = performance.now();
    if (this.state === "live") this.#keepStill();
    if (this.#connectedAt && now - this.#connectedAt > STABLE_MS) this.#attempt = 0;
    this.leave();
    this.#lostAt ??= now;
    const wait = BACK_OFF_S[Math.min(this.#attempt++, BACK_OFF_S.length - 1)] * 1000;
    // What the session itself gives as the reason, that no relay was found, seldom mends itself.
    if (now + wait - this.#lostAt > (error?.lasts ? SHORT_PATIENCE_MS : PATIENCE_MS)) {
      const { title, detail } = error
        ? serverWords(error)
        : { title: "The connection was lost.", detail: "Check your network, then try again." };
      this.#calmed();
      return this.#show("failed", title, detail, { again: true, own: true });
    }
    if (this.video.srcObject) this.#show("reconnecting", "Connection lost. Trying again…");
    else this.#show("connecting", "Connecting…", "The first try did not succeed. Trying again…");
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  #prepare(pc) {
    this.#photons = new MotionToPhoton();
    this.#rate = new FrameRate();
    this.#facts = nothing();
    this.#bytes = null;
    this.#playout = new PlayoutDelay();
    const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
    preferH264(transceiver);
    // No waiting for smoothness: a viewpoint that answers at once matters more than an even rhythm.
    if ("jitterBufferTarget" in transceiver.receiver) transceiver.receiver.jitterBufferTarget = 0;
    if (!this.voice.deaf) this.#offerToHear(pc);
    this.sender.use(pc.createDataChannel("viewpoint", { ordered: false, maxRetransmits: 0 }), this.#photons);
    pc.addEventListener("track", ({ track }) => (track.kind === "video" ? this.#see(track) : this.voice.hear(track)));
  }

  #offerToHear(pc) {
    const { receiver } = pc.addTransceiver("audio", { direction: "recvonly" });
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0; // the server delays the sound to match the picture
  }

  #onMessage(message) {
    if (message.type === "frames") for (const [rtp, seq] of message.frames) this.#photons.frame(rtp, seq);
    else if (message.type === "stats") this.#onStats(message);
    else if (message.type === "presence") this.#onPresence(message);
    else if (message.type === "room") this.dispatchEvent(new CustomEvent("room", { detail: message }));
    else if (message.type === "ended") this.#onEnded(message.reason);
    else if (message.type === "error") console.info(`Visavis: ${message.reason}`);
  }

  #onStats(message) {
    this.#facts.server = message;
    this.dispatchEvent(new Event("stats"));
  }

  #onPresence({ state, code, reason }) {
    this.presence = { state, code, reason };
    this.dispatchEvent(new Event("presence"));
  }

  #onRoundTrip(ms) {
    const { rtt } = this.#facts;
    this.#facts.rtt = rtt === null ? ms : rtt * 0.7 + ms * 0.3;
  }

  #onEnded(reason) {
    this.#session?.close({ tell: false });
    this.leave();
    this.video.srcObject = null;
    this.voice.stop();
    this.#show("ended", "The call has ended.", reason || "The other person hung up.", { own: true });
  }

  // ---- pictures and sound ----

  #onPicture = (_, picture) => {
    if (this.#closed) return;
    const now = performance.now();
    this.video.requestVideoFrameCallback?.(this.#onPicture);
    this.#rate.presented(picture.presentedFrames, now);
    this.#photons.presented(picture.rtpTimestamp, now);
    if (!this.#connectedAt && this.#session) {
      this.#connectedAt = now;
      this.#lostAt = null;
      clearTimeout(this.#timer);
      this.#show("live");
    }
  };

  #keepStill() {
    const { videoWidth: width, videoHeight: height } = this.video;
    Object.assign(this.still, { width, height });
    if (width) this.still.getContext("2d").drawImage(this.video, 0, 0);
  }

  #see(track) {
    this.video.srcObject = new MediaStream([track]);
    this.video.play().catch(() => {}); // silent pictures may play by themselves; a refusal shows as a still picture
  }

  /** See Voice. */
  get sound() {
    return this.voice.state;
  }

  set silence(on) {
    this.voice.silence = on;
  }

  // ---- viewpoint and figures ----

  #everyFrame = (now) => {
    if (this.#closed) return;
    requestAnimationFrame(this.#everyFrame);
    this.sender.tell(now);
  };

  get predicting() {
    return this.sender.predictor.on;
  }

  /** Whether viewpoints are predicted; never where the user wants less motion. */
  set predicting(on) {
    this.#predicting = on;
    this.sender.predictor.on = on && !reduced.matches;
  }

  set refining(on) {
    this.refined = on;
    this.#session?.send({ type: "refine", on });
  }

  async #measure() {
    const session = this.#session;
    if (!session) return;
    const reports = [...(await session.pc.getStats().catch(() => new Map())).values()];
    if (session !== this.#session) return;
    for (const report of reports) {
      if (report.type !== "inbound-rtp") continue;
      if (report.kind === "video") this.#measureVideo(report);
      else this.#measureAudio(report);
    }
    const ms = this.sound === "playing" ? this.#playout.since(reports) : null;
    if (ms !== null) session.send({ type: "playout", ms });
  }

  #measureVideo({ bytesReceived: count, timestamp: at }) {
    const before = this.#bytes;
    this.#bytes = { count, at };
    if (before && count >= before.count && at > before.at) this.#facts.bitrate = ((count - before.count) * 8000) / (at - before.at);
  }

  #measureAudio({ packetsReceived, audioLevel = null }) {
    this.#facts.audio = { packets: packetsReceived, level: audioLevel };
    this.voice.heard = packetsReceived > 0;
  }

  stats() {
    const { ms, yaw, pitch } = this.sender.predictor.lead;
    return {
      call: this.call,
      state: this.state,
      presence: this.presence,
      fps: this.#rate.at(performance.now()),
      bitrate: this.#facts.bitrate,
      width: this.video.videoWidth,
      height: this.video.videoHeight,
      rtt: this.#facts.rtt,
      motionToPhoton: this.#photons.summary(),
      view: { ...this.motion.view },
      resting: this.sender.settled,
      sent: this.sender.seq,
      shown: this.#photons.shown,
      refined: this.refined,
      prediction: { on: this.predicting, ms, yaw, pitch },
      audio: { state: this.sound, playing: this.voice.playing, ...this.#facts.audio },
      server: this.#facts.server,
    };
  }
}
