// Where the viewpoint will be when the picture of it is seen. No DOM, no clock: `now` is an argument, in milliseconds.
//
// A picture shows the viewpoint of some 30 ms ago. While the view moves, the viewpoint that is sent is carried on by its
// own speed for that time, as headsets do. Carried too far it would swing past its end, so it is bounded, and of the speed
// over the last 50 ms and the one over the last 30 the smaller counts, none where they disagree in direction: a movement
// that ends or turns back takes the lead away before the picture can show it.

const WINDOW_MS = 50;
const RECENT_MS = 30;
const MOST_MS = 80;
const MOST_DEGREES = 4;

const clamp = (value, most) => Math.min(most, Math.max(-most, value));
const smaller = (a, b) => (a * b <= 0 ? 0 : Math.abs(a) < Math.abs(b) ? a : b);

export class Predictor {
  #marks = []; // {now, yaw, pitch}, oldest first
  on = true;
  /** What was added last: milliseconds, and degrees of yaw and pitch. */
  lead = { ms: 0, yaw: 0, pitch: 0 };

  /**
   * The viewpoint to send at `now`; call once per animation frame.
   * @param view the true viewpoint of this moment
   * @param latency milliseconds from sending a viewpoint to seeing it; null where it is not known yet
   */
  ahead(view, latency, now) {
    const last = this.#marks.at(-1);
    if (last && now - last.now > WINDOW_MS * 2) this.#marks.length = 0; // no frames for a while: old speed says nothing
    this.#marks.push({ now, yaw: view.yaw, pitch: view.pitch });
    while (now - this.#marks[0].now > WINDOW_MS + 1) this.#marks.shift();
    const ms = this.on && latency > 0 ? Math.min(MOST_MS, latency) : 0;
    this.lead = { ms, yaw: this.#lead("yaw", ms, now), pitch: this.#lead("pitch", ms, now) };
    if (!this.lead.yaw && !this.lead.pitch) return view;
    return { ...view, yaw: view.yaw + this.lead.yaw, pitch: view.pitch + this.lead.pitch };
  }

  #lead(axis, ms, now) {
    const speed = smaller(this.#speed(axis, WINDOW_MS, now), this.#speed(axis, RECENT_MS, now));
    return clamp(speed * ms, MOST_DEGREES);
  }

  /** Degrees per millisecond over the last `span` milliseconds. */
  #speed(axis, span, now) {
    const first = this.#marks.find((mark) => now - mark.now <= span + 1);
    const last = this.#marks.at(-1);
    return last.now > first.now ? (last[axis] - first[axis]) / (last.now - first.now) : 0;
  }
}
