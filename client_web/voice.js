// The sound of one person who is watched: whether there is any, and whether it may be played.

/** Events: "changed". */
export class Voice extends EventTarget {
  #audio = new Audio(); // not the video's: browsers would hold the picture back to match the sound
  #blocked = null; // AbortController while the browser plays no sound before the user has done something
  #heard = false;
  #silence = false; // the user's choice
  #closed = false;

  /** @param deaf no sound at all: it is one's own voice */
  constructor(deaf) {
    super();
    this.deaf = deaf;
  }

  /** "none": the person sends none. "blocked": the browser waits for the user. "off": the user's choice. "playing". */
  get state() {
    if (!this.#heard || this.deaf) return "none";
    if (this.#silence) return "off";
    return this.#blocked ? "blocked" : "playing";
  }

  get playing() {
    return this.state === "playing" && !this.#audio.paused;
  }

  /** Sound off, or on, as the user says. */
  set silence(on) {
    this.#silence = on;
    this.#audio.muted = on;
    this.#play();
    this.#changed();
  }

  /** Whether any sound has come, as the browser counts it. */
  set heard(on) {
    if (this.#heard === on) return;
    this.#heard = on;
    this.#changed();
  }

  hear(track) {
    this.#audio.srcObject = new MediaStream([track]);
    this.#audio.muted = this.#silence;
    this.#play();
  }

  stop() {
    this.#audio.srcObject = null;
  }

  /** Stops for good. */
  close() {
    this.#closed = true;
    this.#blocked?.abort();
    this.stop();
  }

  /** Where the browser plays no sound yet, the first click or key turns it on. */
  async #play() {
    if (!this.#audio.srcObject) return;
    try {
      await this.#audio.play();
      this.#blocked?.abort();
      this.#blocked = null;
    } catch (error) {
      if (error.name !== "NotAllowedError" || this.#closed) return; // or another track has come meanwhile
      if (!this.#blocked) this.#waitForUser();
    }
    this.#changed();
  }

  /** Tries at every click and key: browsers do not count all of them, such as Escape. */
  #waitForUser() {
    this.#blocked = new AbortController();
    for (const kind of ["pointerup", "keydown"]) addEventListener(kind, () => this.#play(), { signal: this.#blocked.signal });
  }

  #changed() {
    this.dispatchEvent(new Event("changed"));
  }
}
