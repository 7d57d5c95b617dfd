// The words of a page: a headline and a sentence below it, in a live region.

const READ_MS = 700; // a reason stays at least so long: words that flicker cannot be read

export class Announcer {
  #headline;
  #detail;
  #pending = null;
  #saidAt = -Infinity;

  constructor(headline, detail) {
    this.#headline = headline;
    this.#detail = detail;
  }

  /** `calmly`: not more often than one can read. */
  say(title, detail, calmly = false) {
    clearTimeout(this.#pending);
    const now = performance.now();
    const wait = calmly ? this.#saidAt + READ_MS - now : 0;
    if (wait > 0) {
      this.#pending = setTimeout(() => this.say(title, detail), wait);
      return;
    }
    if (this.#headline.textContent !== title) {
      this.#headline.textContent = title;
      this.#saidAt = now;
    }
    if (this.#detail.textContent !== detail) this.#detail.textContent = detail;
  }
}

/** "I can't see your face. Sit in front of the camera." is a headline and what to do. */
export function splitReason(reason) {
  const end = reason.search(/[.?!] /) + 1;
  return end ? [reason.slice(0, end), reason.slice(end + 1)] : [reason, ""];
}
