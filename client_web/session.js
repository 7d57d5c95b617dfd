// One WebRTC connection, signalled over WHIP (RFC 9725) or WHEP: POST the offer, PATCH late candidates, DELETE to hang up.

import { BEAT_MS, Heartbeat } from "./heartbeat.js";
import { NO_RELAY } from "./words.js";

const BATCH_MS = 40; // candidates that are found together travel in one PATCH

/** The server refused, or did not answer (status 0). `detail` is a sentence for the user. */
export class SignallingError extends Error {
  constructor(status, title, detail, retryAfter = null) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.retryAfter = retryAfter; // seconds, or null
  }
}

/** fetch() that fails with a SignallingError: no network is status 0, a problem document gives its own words. */
export async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { cache: "no-store", ...options });
  } catch {
    throw new SignallingError(0, "No answer", "The Visavis server does not answer. Check that it is running.");
  }
  if (response.ok) return response;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // not a problem document: the status has to do
  }
  const after = Number.parseFloat(response.headers.get("Retry-After"));
  throw new SignallingError(
    response.status,
    problem.title || `Error ${response.status}`,
    typeof problem.detail === "string" ? problem.detail : `The server answered with error ${response.status}.`,
    Number.isFinite(after) ? after : null,
  );
}

/** `Link: <turn:host>; rel="ice-server"; username="u"; credential="p"` as RTCIceServer objects. */
export function iceServersFrom(link) {
  const servers = [];
  for (const [, url, rest] of (link || "").matchAll(/<([^>]+)>([^<]*)/g)) {
    if (!/rel="?ice-server"?/.test(rest)) continue;
    const field = (name) => rest.match(new RegExp(`${name}="((?:[^"\\\\]|\\\\.)*)"`))?.[1].replace(/\\(.)/g, "$1");
    const server = { urls: url };
    if (field("username")) Object.assign(server, { username: field("username"), credential: field("credential") ?? "" });
    servers.push(server);
  }
  return servers;
}

/** Codecs in the order we like them: H.264 decodes in hardware nearly everywhere, the rest stays as fallback. */
export function preferH264(transceiver) {
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.("video")?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const rank = ({ mimeType, sdpFmtpLine = "" }) => {
    if (!/h264/i.test(mimeType)) return 2;
    return /profile-level-id=42e0/i.test(sdpFmtpLine) && /packetization-mode=1/.test(sdpFmtpLine) ? 0 : 1;
  };
  try {
    transceiver.setCodecPreferences([...codecs].sort((a, b) => rank(a) - rank(b)));
  } catch {
    // an older browser refuses a list it gave itself: its own order is good enough
  }
}

/** Candidates (null: no more come) as a trickle-ice-sdpfrag body (RFC 8840). */
function fragment(pc, candidates) {
  const { sdp } = pc.localDescription;
  const line = (name) => sdp.match(new RegExp(`^a=${name}:.*$`, "m"))[0].trim();
  const media = sdp.match(/^m=.*$/m)[0].trim();
  const found = candidates.map((candidate) => (candidate?.candidate ? `a=${candidate.candidate}` : "a=end-of-candidates"));
  return `${[line("ice-ufrag"), line("ice-pwd"), media, line("mid"), ...found].join("\r\n")}\r\n`;
}

/**
 * Events: "message" (detail: one parsed message of the `control` channel), "open" (the control channel is open),
 * "lost" (the connection broke and is about to be closed; detail: why, or null), "rtt" (detail: milliseconds).
 */
export class Session extends EventTarget {
  #resource = null;
  #found = []; // candidates not sent yet
  #closed = false;
  #timers = [];
  #heartbeat = null;
  #relayOnly = false;
  #relayed = false; // a relay gave this browser an address

  /**
   * @param prepare called with the RTCPeerConnection before the offer: add tracks and channels there
   * @param keep whether the server is to keep what it has when the connection breaks: a caller comes back to it
   */
  constructor(endpoint, prepare, { keep = false } = {}) {
    super();
    this.endpoint = endpoint;
    this.keep = keep;
    this.call = null;
    this.room = null;
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.control = this.pc.createDataChannel("control", { protocol: "frames" });
    this.control.addEventListener("open", () => this.#onOpen());
    this.control.addEventListener("close", () => this.#lose());
    this.control.addEventListener("message", (event) => this.#onMessage(event.data));
    this.pc.addEventListener("connectionstatechange", () => {
      if (this.pc.connectionState === "failed") this.#lose();
    });
    prepare(this.pc);
  }

  get closed() {
    return this.#closed;
  }

  /** The address that ends all of it, and the key in it that lets a caller come back; null before the answer. */
  get resource() {
    return this.#resource;
  }

  /** Offer and answer. Throws SignallingError; nothing is left open then. */
  async open() {
    const { pc } = this;
    try {
      const offer = await pc.createOffer();
      const response = await ask(this.endpoint, {
        method: "POST",
        headers: { "Content-Type": "application/sdp" },
        body: offer.sdp,
      });
      const answer = await response.text();
      this.#resource = new URL(response.headers.get("Location"), location.href);
      this.call = response.headers.get("Visavis-Call");
      this.room = response.headers.get("Visavis-Room");
      if (this.#closed) return this.keep || this.#delete(); // hung up while the server was thinking
      // The server names its STUN and TURN servers here: only now may candidates be gathered (RFC 9725 section 4.6).
      const iceServers = iceServersFrom(response.headers.get("Link"));
      this.#relayOnly = response.headers.get("Visavis-Ice-Policy") === "relay";
      const iceTransportPolicy = this.#relayOnly ? "relay" : "all";
      pc.setConfiguration({ ...pc.getConfiguration(), iceServers, iceTransportPolicy });
      pc.addEventListener("icecandidate", ({ candidate }) => this.#trickle(candidate));
      await pc.setLocalDescription(offer);
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      if (this.#closed) return; // hung up meanwhile: what failed does not matter
      this.close({ tell: !this.keep });
      throw error;
    }
  }

  send(message) {
    if (this.control.readyState === "open") this.control.send(JSON.stringify(message));
  }

  /**
   * Ends the connection and tells the server, unless it knows already (`tell` false).
   * May be called any number of times, also while the page goes away.
   */
  close({ tell = true } = {}) {
    if (this.#closed) return;
    this.#closed = true;
    this.#timers.forEach(clearInterval);
    if (tell) this.#delete();
    this.pc.close();
  }

  #delete() {
    if (!this.#resource) return;
    fetch(this.#resource, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#resource = null;
  }

  #lose(reason = null) {
    if (this.#closed) return;
    this.dispatchEvent(new CustomEvent("lost", { detail: reason })); // before closing: the last picture can still be kept
    this.close({ tell: !this.keep });
  }

  #trickle(candidate) {
    this.#relayed ||= Boolean(candidate?.candidate);
    if (!candidate && this.#relayOnly && !this.#relayed) return this.#lose(NO_RELAY);
    this.#found.push(candidate);
    if (this.#found.length === 1) setTimeout(() => this.#sendFound(), BATCH_MS);
  }

  #sendFound() {
    if (this.#closed) return;
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag" };
    const body = fragment(this.pc, this.#found.splice(0));
    // A lost candidate is no reason to fail: the server also learns addresses from the checks that reach it.
    fetch(this.#resource, { method: "PATCH", headers, body }).catch(() => {});
  }

  #onOpen() {
    this.#heartbeat = new Heartbeat(performance.now());
    const ping = () => this.send({ type: "ping", t: performance.now() });
    ping();
    this.#timers.push(
      setInterval(async () => {
        ping();
        const bytes = await this.#bytesReceived();
        if (!this.#closed && !this.#heartbeat.alive(bytes, performance.now())) this.#lose();
      }, BEAT_MS),
    );
    this.dispatchEvent(new CustomEvent("open"));
  }

  async #bytesReceived() {
    let bytes = null;
    const reports = await this.pc.getStats().catch(() => new Map());
    for (const report of reports.values()) {
      if (report.type === "transport") bytes = (bytes ?? 0) + (report.bytesReceived ?? 0);
    }
    return bytes;
  }

  #onMessage(text) {
    this.#heartbeat?.heard(performance.now());
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not ours; a newer server may speak of more than this page knows
    }
    if (message?.type === "pong") {
      this.dispatchEvent(new CustomEvent("rtt", { detail: performance.now() - message.t }));
    } else if (message) {
      this.dispatchEvent(new CustomEvent("message", { detail: message }));
    }
  }
}
