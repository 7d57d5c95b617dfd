// Camera and microphone of the caller: opening them, choosing others, and knowing when they go away.

const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30, max: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

// No contentHint: "motion" gives up sharpness first, which a mouth needs, and "detail" makes browsers encode a screen, not a
// face. What to give up when the network is poor is said to the sender instead (own_call.js).
const cameraWith = (id) => ({ ...CAMERA, ...(id ? { deviceId: { exact: id } } : { facingMode: "user" }) });
const microphoneWith = (id) => ({ ...MICROPHONE, ...(id ? { deviceId: { exact: id } } : {}) });
const open = (wanted) => navigator.mediaDevices.getUserMedia(wanted);

export const NO_MICROPHONE = "none";

export function cameraPossible() {
  return globalThis.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
}

/** Cameras and microphones as [{id, name}]; names are made up until the user has allowed one. */
export async function listDevices() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const named = (kind, word) =>
    devices
      .filter((device) => device.kind === kind)
      .map((device, index) => ({ id: device.deviceId, name: device.label || `${word} ${index + 1}` }));
  return { cameras: named("videoinput", "Camera"), microphones: named("audioinput", "Microphone") };
}

/**
 * What the caller sends. Events: "camera-lost", "microphone-lost" (the device went away).
 * `camera` and `microphone` are tracks or null; `unheard` is the error that kept the microphone away, or null.
 */
export class OwnMedia extends EventTarget {
  #opening = 0; // counts attempts to open a camera: only the newest may change anything
  camera = null;
  microphone = null;
  unheard = null;
  muted = false;
  deaf = false; // the user chose to have no microphone

  /**
   * Opens a camera, any that faces the user or the one with `id`, and with the first one a microphone. Throws what
   * getUserMedia throws for the camera; a microphone that is refused or missing only sets `unheard`.
   * @returns whether it is the newest attempt; only then has anything changed
   */
  async openCamera(id) {
    const mine = ++this.#opening;
    const both = !this.microphone && !this.unheard && !this.deaf;
    let tracks;
    let unheard = null;
    try {
      tracks = (await open({ video: cameraWith(id), audio: both && microphoneWith() })).getTracks();
    } catch (error) {
      if (mine !== this.#opening) return false;
      if (!both) throw error;
      tracks = (await open({ video: cameraWith(id), audio: false })).getTracks();
      unheard = error;
    }
    if (mine !== this.#opening) {
      tracks.forEach((track) => track.stop());
      return false;
    }
    const of = (kind) => tracks.find((track) => track.kind === kind) ?? null;
    this.#take("camera", of("video"));
    if (both) {
      this.#take("microphone", of("audio"));
      this.unheard = this.microphone ? null : (unheard ?? new DOMException("", "NotFoundError"));
    }
    return true;
  }

  /** Another microphone, or NO_MICROPHONE. Throws what getUserMedia throws; the one before stays then. */
  async openMicrophone(id) {
    this.deaf = id === NO_MICROPHONE;
    const [track] = this.deaf ? [null] : (await open({ audio: microphoneWith(id), video: false })).getAudioTracks();
    this.#take("microphone", track);
    this.unheard = null;
  }

  mute(on) {
    this.muted = on;
    if (this.microphone) this.microphone.enabled = !on;
  }

  closeCamera() {
    this.#opening += 1;
    this.#take("camera", null);
  }

  close() {
    this.closeCamera();
    this.#take("microphone", null);
    this.unheard = null;
  }

  #take(name, track) {
    this[name]?.stop();
    this[name] = track;
    if (!track) return;
    if (name === "microphone") track.enabled = !this.muted;
    track.addEventListener("ended", () => this[name] === track && this.#lose(name));
  }

  #lose(name) {
    this[name] = null;
    if (name === "microphone") this.unheard = new DOMException("", "NotFoundError");
    this.dispatchEvent(new Event(`${name}-lost`));
  }
}
