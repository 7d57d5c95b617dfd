// Where the receiver looks from: limits, steps and easing. No DOM, no clock of its own: `now` is an argument, in milliseconds.

export const LIMITS = Object.freeze({ yaw: [-60, 60], pitch: [-30, 30], zoom: [0.5, 3] });
export const START = Object.freeze({ yaw: 0, pitch: 0, zoom: 1 });

const EASE_MS = 75; // time constant of key steps: soft, yet done in a quarter of a second
const RESET_MS = 420;
const DEGREES_PER_SECOND = 42; // a held arrow key
const KEY_STEP = 3; // degrees, one press
const ZOOM_PER_SECOND = 2.2;
const ZOOM_STEP = 1.12;
const GLIDE_MS = 190; // time constant of the glide after a drag
const DEGREES_ACROSS = 130; // dragging over the whole picture; the nose then about follows the finger

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));
const smooth = (t) => t * t * (3 - 2 * t);

export function clamped({ yaw, pitch, zoom }) {
  return { yaw: clamp(yaw, LIMITS.yaw), pitch: clamp(pitch, LIMITS.pitch), zoom: clamp(zoom, LIMITS.zoom) };
}

export class ViewpointMotion {
  #goal = { ...START };
  #held = new Map(); // direction -> [yaw, pitch, zoom exponent]
  #glide = null;
  #reset = null;
  #last = null;

  #home = START; // where reset leads back to

  constructor({ still = false } = {}) {
    this.still = still; // reduced motion: no easing, no glide
    this.view = { ...START };
  }

  /** Moves the place that one starts from and comes back to; the user's own steering stays on top of it. */
  settle(yaw) {
    if (yaw === this.#home.yaw) return;
    this.#goal = clamped({ ...this.#goal, yaw: this.#goal.yaw + yaw - this.#home.yaw });
    this.#home = { ...START, yaw };
    if (this.still) this.view = { ...this.#goal };
  }

  get resting() {
    return !this.#held.size && !this.#glide && !this.#reset && this.#distance() === 0;
  }

  /** Moves at once, by hand: `dx`, `dy` are fractions of the picture's side; the face follows the finger. */
  drag(dx, dy) {
    this.#stop();
    const reach = DEGREES_ACROSS / Math.sqrt(this.view.zoom);
    this.#jump({ ...this.view, yaw: this.view.yaw - dx * reach, pitch: this.view.pitch + dy * reach });
  }

  /** Lets go of a drag that moved at `vx`, `vy` fractions per second: glides to rest. */
  release(vx, vy) {
    if (this.still || Math.hypot(vx, vy) < 0.05) return;
    const reach = DEGREES_ACROSS / Math.sqrt(this.view.zoom);
    this.#glide = { yaw: -vx * reach, pitch: vy * reach };
  }

  zoomBy(factor) {
    this.#stop();
    this.#jump({ ...this.view, zoom: this.view.zoom * factor });
  }

  /** One step of a key: `yaw`, `pitch`, `zoom` are -1, 0 or 1. */
  step(yaw, pitch, zoom) {
    this.#stop();
    this.#goal = clamped({
      yaw: this.#goal.yaw + yaw * KEY_STEP,
      pitch: this.#goal.pitch + pitch * KEY_STEP,
      zoom: this.#goal.zoom * ZOOM_STEP ** zoom,
    });
    if (this.still) this.view = { ...this.#goal };
  }

  hold(name, yaw, pitch, zoom) {
    this.#stop();
    this.#held.set(name, [yaw, pitch, zoom]);
  }

  letGo(name) {
    if (name === undefined) this.#held.clear();
    else this.#held.delete(name);
  }

  reset(now) {
    this.#stop();
    this.#held.clear();
    if (this.still) this.#jump(this.#home);
    else this.#reset = { from: { ...this.view }, since: now };
  }

  /** The view at `now`; call once per animation frame. */
  at(now) {
    const dt = this.#last === null ? 0 : Math.min(100, Math.max(0, now - this.#last)) / 1000;
    this.#last = now;
    if (this.#reset) this.#turnBack(now);
    if (this.#glide) this.#slide(dt);
    for (const [yaw, pitch, zoom] of this.#held.values()) {
      this.#goal = clamped({
        yaw: this.#goal.yaw + yaw * DEGREES_PER_SECOND * dt,
        pitch: this.#goal.pitch + pitch * DEGREES_PER_SECOND * dt,
        zoom: this.#goal.zoom * ZOOM_PER_SECOND ** (zoom * dt),
      });
    }
    const share = this.still ? 1 : 1 - Math.exp((-dt * 1000) / EASE_MS);
    for (const key of ["yaw", "pitch", "zoom"]) this.view[key] += (this.#goal[key] - this.view[key]) * share;
    if (this.#distance() < 0.02) this.view = { ...this.#goal };
    return this.view;
  }

  #turnBack(now) {
    const t = clamp((now - this.#reset.since) / RESET_MS, [0, 1]);
    const { from } = this.#reset;
    const mix = (key) => from[key] + (this.#home[key] - from[key]) * smooth(t);
    this.#jump({ yaw: mix("yaw"), pitch: mix("pitch"), zoom: mix("zoom") });
    if (t === 1) this.#reset = null;
  }

  #slide(dt) {
    const { yaw, pitch } = this.#glide;
    this.#jump({ ...this.view, yaw: this.view.yaw + yaw * dt, pitch: this.view.pitch + pitch * dt });
    const fade = Math.exp((-dt * 1000) / GLIDE_MS);
    this.#glide = Math.hypot(yaw, pitch) < 1 ? null : { yaw: yaw * fade, pitch: pitch * fade };
  }

  #jump(view) {
    this.view = clamped(view);
    this.#goal = { ...this.view };
  }

  #stop() {
    this.#glide = null;
    this.#reset = null;
  }

  #distance() {
    const gap = (key) => Math.abs(this.#goal[key] - this.view[key]);
    return gap("yaw") + gap("pitch") + gap("zoom") * 10;
  }
}
