// Whether the other side still lives. No DOM, no clock: `now` is an argument, in milliseconds.

export const BEAT_MS = 1500; // between two looks, and two pings
const SILENCE_MS = 6000; // without any sign for so long: gone (ICE alone needs up to 30 s to notice)

/**
 * Signs of life are messages and received bytes. Bytes count because the browser counts them itself: a page that is too busy
 * to read its messages is no reason to hang up. A beat that comes far too late tells of a sleeping page or machine, not of
 * the other side, which then gets its time anew.
 */
export class Heartbeat {
  #heard;
  #beat;
  #bytes = null;

  constructor(now) {
    this.#heard = now;
    this.#beat = now;
  }

  /** A message came in. */
  heard(now) {
    this.#heard = now;
  }

  /** To be called every BEAT_MS with the count of bytes received so far (null if unknown); returns whether it still lives. */
  alive(bytes, now) {
    const slept = now - this.#beat > 2 * BEAT_MS;
    this.#beat = now;
    if (slept || (bytes !== null && bytes !== this.#bytes)) this.#heard = now;
    this.#bytes = bytes;
    return now - this.#heard <= SILENCE_MS;
  }
}
