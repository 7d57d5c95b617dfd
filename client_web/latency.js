// Motion-to-photon latency and frame rate, from what requestVideoFrameCallback and the `frame` messages say. No DOM, no clock.

const KEEP = 400; // entries of each map: some seconds, also at 60 frames per second
const WINDOW_MS = 10_000;

export function percentile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function remember(map, key, value) {
  map.set(key, value);
  if (map.size > KEEP) map.delete(map.keys().next().value);
}

/**
 * Joins three facts that arrive in any order: viewpoint `seq` was sent at t0; the frame with RTP timestamp r shows `seq`;
 * the frame with RTP timestamp r was handed to the screen at t1. The newest viewpoint of each frame counts, once.
 * The end point is the browser's callback, not photons: a screen adds its own time.
 */
export class MotionToPhoton {
  #sent = new Map();
  #shows = new Map();
  #seen = new Map();
  #samples = [];
  shown = null;

  sent(seq, now) {
    if (!this.#sent.has(seq)) remember(this.#sent, seq, now);
  }

  /** A `frame` message: the picture stamped `rtp` shows viewpoint `seq` (null before the first one). */
  frame(rtp, seq) {
    if (seq === null || seq === undefined) return;
    remember(this.#shows, rtp, seq);
    for (const near of [rtp, rtp - 1, rtp + 1]) {
      if (this.#seen.has(near)) return this.#join(seq, this.#seen.get(near));
    }
  }

  /** The picture stamped `rtp` reached the screen at `now`. */
  presented(rtp, now) {
    if (rtp === undefined) return;
    remember(this.#seen, rtp, now);
    // An encoder may round the stamp: one tick of 1/90000 s is the same frame.
    for (const near of [rtp, rtp + 1, rtp - 1]) {
      if (this.#shows.has(near)) return this.#join(this.#shows.get(near), now);
    }
  }

  #join(seq, now) {
    if (this.shown !== null && seq <= this.shown) return;
    this.shown = seq;
    const start = this.#sent.get(seq);
    if (start !== undefined && now >= start) this.#samples.push({ now, ms: now - start });
  }

  /** p50 and p95 over the last ten seconds in which something moved, in milliseconds; null before the first sample. */
  summary() {
    const newest = this.#samples.at(-1)?.now ?? 0;
    this.#samples = this.#samples.filter((sample) => newest - sample.now <= WINDOW_MS);
    const values = this.#samples.map((sample) => sample.ms);
    return { p50: percentile(values, 0.5), p95: percentile(values, 0.95), count: values.length };
  }
}

/** Frames per second from `presentedFrames` of the callbacks: it also counts frames whose callback was skipped. */
export class FrameRate {
  #marks = [];

  presented(count, now) {
    this.#marks.push({ count, now });
    while (now - this.#marks[0].now > 2500) this.#marks.shift();
  }

  at(now) {
    const first = this.#marks[0];
    const last = this.#marks.at(-1);
    if (!first || now - last.now > 2500) return 0;
    if (last.now - first.now < 250) return null;
    return ((last.count - first.count) * 1000) / (last.now - first.now);
  }
}
