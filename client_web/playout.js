// How much later the browser plays sound than it shows a picture that came with it. No DOM.
//
// Pictures are shown as they come, sound waits in a buffer that the browser will not make shorter. The server is told, and
// holds the sound back by so much less.

const DEVICE_MS = 25; // from the buffer to the ear, less from the decoder to the screen

export class PlayoutDelay {
  #before = {};

  /** @param reports of getStats; returns milliseconds since the call before, null where nothing was played or shown */
  since(reports) {
    const held = {};
    for (const { type, kind, jitterBufferDelay: delay, jitterBufferEmittedCount: count } of reports) {
      if (type !== "inbound-rtp" || !count) continue;
      const last = this.#before[kind] ?? { delay: 0, count: 0 };
      if (count > last.count) held[kind] = ((delay - last.delay) / (count - last.count)) * 1000;
      this.#before[kind] = { delay, count };
    }
    return held.audio === undefined || held.video === undefined ? null : held.audio - held.video + DEVICE_MS;
  }
}
