// The viewpoint on its way to the server: the newest only, at most one per animation frame, carried on by what is predicted.

import { Predictor } from "./prediction.js";

const REPEAT_MS = [150, 600]; // the channel may lose the last viewpoint of a movement, so it is said again
const LATENCY_MS = 250; // how often the measured latency is looked up

const text = ({ yaw, pitch, zoom }) => [yaw.toFixed(2), pitch.toFixed(2), zoom.toFixed(3)];

export class ViewpointSender {
  #channel = null;
  #photons = null;
  #said = "";
  #saidAt = 0;
  #repeats = REPEAT_MS.length;
  #message = null;
  #latency = null;
  #latencyAt = -Infinity;
  seq = 0; // counts on over connections
  predictor = new Predictor();

  constructor(motion) {
    this.motion = motion;
  }

  /** Whether the true viewpoint is what was said last. */
  get settled() {
    return this.motion.resting && this.#said === text(this.motion.view).join();
  }

  /** From now on over this data channel; `photons` (MotionToPhoton) learns when each viewpoint leaves. */
  use(channel, photons) {
    this.#channel = channel;
    this.#photons = photons;
    this.#latencyAt = -Infinity;
    channel.addEventListener("open", () => {
      this.#message = null;
      this.tell(performance.now());
    });
  }

  /** Sends where the user looks from; call once per animation frame. */
  tell(now) {
    const view = this.predictor.ahead(this.motion.at(now), this.#measured(now), now);
    if (this.#channel?.readyState !== "open" || this.#channel.bufferedAmount > 0) return;
    const [yaw, pitch, zoom] = text(view);
    if (this.#message === null || `${yaw},${pitch},${zoom}` !== this.#said) {
      this.#said = `${yaw},${pitch},${zoom}`;
      this.#message = JSON.stringify({ seq: ++this.seq, yaw: +yaw, pitch: +pitch, zoom: +zoom, roll: 0 });
      this.#saidAt = now;
      this.#repeats = 0;
      this.#photons.sent(this.seq, performance.now());
      this.#channel.send(this.#message);
    } else if (this.#repeats < REPEAT_MS.length && now - this.#saidAt > REPEAT_MS[this.#repeats]) {
      this.#repeats += 1;
      this.#channel.send(this.#message);
    }
  }

  #measured(now) {
    if (now - this.#latencyAt > LATENCY_MS) {
      this.#latencyAt = now;
      this.#latency = this.#photons?.summary().p50 ?? null;
    }
    return this.#latency;
  }
}
