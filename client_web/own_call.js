// The caller's own call: camera and voice to the server, and coming back to it when the connection breaks.

import { Session } from "./session.js";

const BACK_OFF_S = [0.5, 1, 2, 4];
const PATIENCE_MS = 30_000; // the server waits for a lost caller about as long
const CONNECT_MS = 6000; // a new connection that does not open by then is given up for the next
const STILL_BITRATE = 1_500_000; // of the camera for a portrait, 640 x 480: sharp to the eyelashes
const LIVE_BITRATE = 1_000_000; // at 30 pictures per second; each packet costs the server as much as one that it sends

/**
 * Events: "message" (detail: a message of the server), "open" (connected, first or again), "rtt" (detail: ms), "lost" (the
 * connection broke; it is being made anew), "over" (detail: why, or null; nothing goes on).
 */
export class OwnCall extends EventTarget {
  #media;
  #session = null;
  #resource = null; // URL with the key
  #rate;
  #useful = 30; // pictures per second that the server can use
  #still = true; // sharp pictures matter more than many
  #lostAt = null;
  #tries = 0;
  #timer = null;
  #over = false;

  /**
   * @param media OwnMedia
   * @param rate camera pictures per second at first
   * @param room name of the room to sit down in; null opens a new one
   */
  constructor(media, rate, room = null) {
    super();
    this.#media = media;
    this.#rate = rate;
    this.room = room;
    this.call = null;
  }

  get connected() {
    return this.#session?.control.readyState === "open";
  }

  /** Throws SignallingError; nothing is left open then. */
  async open() {
    const session = this.#start(`/whip${this.room ? `?room=${encodeURIComponent(this.room)}` : ""}`);
    await session.open();
    if (session.closed) return;
    session.keep = true;
    this.#resource = session.resource;
    this.call = session.call;
    this.room = session.room ?? this.room;
  }

  send(message) {
    this.#session?.send(message);
  }

  /** How many camera pictures per second the server gets; 0 holds the camera back. `still`: for a portrait. */
  async sendPictures(perSecond, { still = false } = {}) {
    this.#rate = perSecond;
    this.#still = still;
    const sender = this.#senders().video;
    if (!sender) return;
    try {
      await sender.replaceTrack(perSecond ? this.#media.camera : null);
      const parameters = sender.getParameters();
      if (!perSecond || !parameters.encodings?.length) return;
      Object.assign(parameters.encodings[0], this.#encoding());
      await sender.setParameters({ ...parameters, degradationPreference: this.#preference() });
    } catch {
      // the call has ended meanwhile, or the browser takes no wishes
    }
  }

  /** The microphone that there is now. */
  async sendVoice() {
    await this.#senders().audio?.replaceTrack(this.#media.microphone).catch(() => {});
  }

  /** Ends the call for everybody. */
  hangUp() {
    this.#end();
    if (this.#resource) fetch(this.#resource, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#resource = null;
  }

  /** More pictures than the server can use cost both sides work for nothing; each keeps its bits. */
  #encoding() {
    const maxFramerate = this.#still ? this.#rate || 30 : Math.min(this.#rate || 30, this.#useful);
    return { maxFramerate, maxBitrate: this.#still ? STILL_BITRATE : Math.round((LIVE_BITRATE * maxFramerate) / 30) };
  }

  #preference() {
    // On a busy machine "balanced" would let a browser fall to 10 pictures per second, too few for speech.
    return this.#still ? "maintain-resolution" : "maintain-framerate";
  }

  #senders() {
    const [video, audio] = this.#session?.pc.getTransceivers() ?? [];
    return { video: video?.sender, audio: audio?.sender };
  }

  #start(endpoint, options) {
    const session = new Session(endpoint, (pc) => this.#prepare(pc), options);
    this.#session = session;
    const mine = (handle) => (event) => session === this.#session && handle(event);
    session.addEventListener("message", mine(({ detail }) => this.#onMessage(detail)));
    session.addEventListener("rtt", mine(({ detail }) => this.dispatchEvent(new CustomEvent("rtt", { detail }))));
    session.addEventListener("lost", mine(({ detail }) => this.#onLost(detail)));
    session.addEventListener("open", mine(() => this.#onOpen()));
    return session;
  }

  #prepare(pc) {
    const { camera, microphone } = this.#media;
    const sender = pc.addTransceiver(this.#rate && camera ? camera : "video", {
      direction: "sendonly",
      sendEncodings: [this.#encoding()],
    }).sender;
    sender.setParameters({ ...sender.getParameters(), degradationPreference: this.#preference() }).catch(() => {}); // a wish, not a need
    pc.addTransceiver(microphone ?? "audio", { direction: "sendonly" }); // without one too: it may come later
  }

  #onOpen() {
    clearTimeout(this.#timer);
    this.#lostAt = null;
    this.#tries = 0;
    this.dispatchEvent(new Event("open"));
  }

  #onMessage(message) {
    if (message.type === "ended") this.#finish(message.reason);
    else if (message.type === "camera") this.#limit(message.fps);
    else this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  #limit(fps) {
    this.#useful = Math.max(1, fps);
    if (this.#rate) this.sendPictures(this.#rate, { still: this.#still });
  }

  #onLost(reason) {
    if (!this.#resource) return this.#finish(reason);
    this.#lostAt ??= performance.now();
    this.dispatchEvent(new Event("lost"));
    this.#later(reason);
  }

  #later(reason = null) {
    clearTimeout(this.#timer);
    this.#session?.close({ tell: false });
    this.#session = null;
    if (this.#over) return;
    const seconds = BACK_OFF_S[Math.min(this.#tries++, BACK_OFF_S.length - 1)];
    if (performance.now() + seconds * 1000 - this.#lostAt > PATIENCE_MS) return this.#finish(reason);
    this.#timer = setTimeout(() => this.#comeBack(), seconds * 1000);
  }

  async #comeBack() {
    const key = this.#resource.searchParams.get("key");
    const asked = new URLSearchParams({ resume: this.call, key });
    const session = this.#start(`/whip?${asked}`, { keep: true });
    this.#timer = setTimeout(() => session === this.#session && this.#later(), CONNECT_MS);
    try {
      await session.open();
    } catch (error) {
      if (session !== this.#session) return;
      if (error.status === 403 || error.status === 404) return this.#finish(null); // the server has given us up
      this.#later(error.message);
    }
  }

  #finish(reason) {
    if (this.#over) return;
    this.#end();
    this.dispatchEvent(new CustomEvent("over", { detail: reason }));
  }

  #end() {
    this.#over = true;
    clearTimeout(this.#timer);
    const session = this.#session;
    this.#session = null;
    session?.close({ tell: !this.#resource }); // with the resource at hand, hangUp() tells
  }
}
