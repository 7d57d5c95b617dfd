// One other person in the room: a viewer of its own in a tile that says what becomes of it.

import { dropAmbient, takeAmbient } from "./ambient.js";
import { listenToGestures } from "./gestures.js";
import { Viewer } from "./viewer.js";
import { presenceWords } from "./words.js";

const LEAVE_MS = 420; // as --calm

const TILE = `
  <div class="stage" tabindex="0" role="application">
    <canvas class="picture still" aria-hidden="true"></canvas>
    <video class="picture" autoplay muted playsinline disablepictureinpicture></video>
  </div>
  <div class="tile-message" role="status" aria-live="polite">
    <span class="breath" aria-hidden="true"><i></i><i></i></span>
    <p></p>
    <button class="button" type="button" hidden>Try again</button>
  </div>
  <p class="tile-banner" role="status" aria-live="polite" hidden></p>
  <p class="tile-name"></p>
  <button class="front" type="button" title="Look from the front (R)">
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 11a8 8 0 1 1 2.3 6.3M4 5v6h6" /></svg>
    <span class="unseen">Look from the front</span>
  </button>`;

/** Events: "touched" (the user steers it), "live" (its picture is there), "room" (detail: a room message), "sound". */
export class Tile extends EventTarget {
  #keys = new AbortController();
  #ambience;
  #moved = false;
  #member = null;

  /**
   * @param host element that the tile is added to
   * @param call name of the call
   * @param heeds function telling whether keys are for this tile
   */
  constructor(host, call, heeds) {
    super();
    this.element = document.createElement("article");
    this.element.className = "tile arriving";
    this.element.innerHTML = TILE;
    host.append(this.element);
    const part = (name) => this.element.querySelector(name);
    this.stage = part(".stage");
    this.viewer = new Viewer(call, part("video"), part("canvas"));
    const reset = listenToGestures(this.stage, this.viewer.motion, () => this.viewer.video.clientHeight || 512, {
      touched: () => this.#touched(),
      heeds: () => heeds(this),
      signal: this.#keys.signal,
    });
    part(".front").addEventListener("click", () => {
      reset();
      this.#touched();
    });
    this.stage.addEventListener("focus", () => this.dispatchEvent(new Event("touched")));
    part(".tile-message button").addEventListener("click", () => this.viewer.hurry());
    this.viewer.addEventListener("state", () => this.#show());
    this.viewer.addEventListener("presence", () => this.#show());
    for (const kind of ["room", "sound"]) {
      this.viewer.addEventListener(kind, ({ detail }) => this.dispatchEvent(new CustomEvent(kind, { detail })));
    }
    this.#ambience = setInterval(() => this.viewer.state === "live" && takeAmbient(this.viewer.video, this.element), 1000);
    this.#show();
    requestAnimationFrame(() => this.element.classList.remove("arriving"));
    this.viewer.connect();
  }

  /** Puts the tile to its seat; `seat` as of arrange(), `alone` whether there is no other tile. */
  sit(seat, alone) {
    const { place, person, yaw, state } = seat;
    for (const key of ["x", "y", "width", "height"]) this.element.style.setProperty(`--${key}`, String(place[key]));
    this.element.classList.toggle("whole", alone);
    const name = alone ? "The other person" : `Person ${person}`;
    this.element.setAttribute("aria-label", name);
    this.stage.setAttribute("aria-label", `${name}. Arrow keys move around, plus and minus zoom, R goes back to the front.`);
    this.element.querySelector(".tile-name").textContent = alone ? "" : name;
    this.viewer.motion.settle(yaw);
    if (state === "live" && this.#member === "waiting" && this.viewer.state === "waiting") this.viewer.hurry();
    this.#member = state;
  }

  /** Goes calmly; the connection ends at once. */
  leave() {
    this.#keys.abort();
    clearInterval(this.#ambience);
    this.viewer.close();
    this.element.classList.add("leaving");
    this.element.inert = true;
    setTimeout(() => this.element.remove(), LEAVE_MS);
  }

  #touched() {
    if (!this.#moved) this.element.classList.add("moved");
    this.#moved = true;
    this.dispatchEvent(new Event("touched"));
  }

  #show() {
    const { state, words, presence, video } = this.viewer;
    const { element } = this;
    const before = element.dataset.state;
    element.dataset.state = state;
    element.dataset.presence = state === "live" ? presence.state : "";
    const message = { connecting: "Connecting…", waiting: words.again ? words.title : "Getting ready…", failed: words.title, ended: "They have left." };
    element.querySelector(".tile-message p").textContent = message[state] ?? "";
    element.querySelector(".tile-message button").hidden = !words.again;
    const line = state === "reconnecting" ? words.title : state === "live" ? presenceWords(presence) : "";
    const banner = element.querySelector(".tile-banner");
    if (line) banner.textContent = line;
    banner.hidden = !line;
    if (state === "live") takeAmbient(video, element);
    if (state === "ended" || state === "failed") dropAmbient(element);
    if (state === "live" && before !== "live") this.dispatchEvent(new Event("live"));
  }
}
