// Mouse, touch, wheel and keys on the stage, turned into movements of a ViewpointMotion.

const DOUBLE_TAP_MS = 320;
const DOUBLE_TAP_PX = 28;
const KEYS = {
  ArrowLeft: [-1, 0, 0],
  ArrowRight: [1, 0, 0],
  ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0],
  "+": [0, 0, 1],
  "=": [0, 0, 1],
  "-": [0, 0, -1],
};
const HOLD_MS = 260; // a key pressed for longer keeps moving

/**
 * @param stage element that takes the events; it must have touch-action: none
 * @param motion ViewpointMotion
 * @param side function returning the picture's side in CSS pixels
 * @param touched called after every movement of the user
 * @param heeds function telling whether the keys are for this stage now
 * @param signal AbortSignal that ends listening to keys
 * @returns a function that turns back to the front, as the gestures for it do
 */
export function listenToGestures(stage, motion, side, { touched = () => {}, heeds = () => true, signal } = {}) {
  const fingers = new Map(); // pointerId -> {x, y}
  let speed = null; // {vx, vy, at}: of the last drag, in picture sides per second
  let tap = null; // {x, y, at}: last touch that did not travel
  let travelled = 0;

  const span = () => {
    const [a, b] = [...fingers.values()];
    return { size: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    try {
      stage.setPointerCapture(event.pointerId);
    } catch {
      // the pointer is gone already (a very short touch): the drag then ends at the stage's border
    }
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    stage.classList.add("dragging");
    speed = null;
    if (fingers.size === 1) travelled = 0;
  });

  stage.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = fingers.size === 2 ? span() : { ...finger };
    finger.x = event.clientX;
    finger.y = event.clientY;
    const after = fingers.size === 2 ? span() : finger;
    const dx = (after.x - before.x) / side();
    const dy = (after.y - before.y) / side();
    travelled += Math.hypot(after.x - before.x, after.y - before.y);
    if (fingers.size <= 2) motion.drag(dx, dy);
    if (fingers.size === 2 && before.size > 0) motion.zoomBy(after.size / before.size);
    const seconds = speed ? (event.timeStamp - speed.at) / 1000 : 0;
    if (seconds > 0) {
      const share = Math.min(1, seconds / 0.05); // mean over about 50 ms: one jerk at the end is not a throw
      speed.vx += (dx / seconds - speed.vx) * share;
      speed.vy += (dy / seconds - speed.vy) * share;
      speed.at = event.timeStamp;
    } else if (!speed) {
      speed = { vx: 0, vy: 0, at: event.timeStamp };
    }
    touched();
  });

  const up = (event) => {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    stage.classList.remove("dragging");
    if (event.type === "pointerup" && speed && event.timeStamp - speed.at < 60) motion.release(speed.vx, speed.vy);
    if (event.pointerType === "touch" && travelled < 8) onTap(event);
    touched();
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);

  // Touch screens do not all make a double click of two taps when the page takes the touches itself.
  const onTap = ({ clientX: x, clientY: y, timeStamp: at }) => {
    if (tap && at - tap.at < DOUBLE_TAP_MS && Math.hypot(x - tap.x, y - tap.y) < DOUBLE_TAP_PX) {
      tap = null;
      reset();
    } else {
      tap = { x, y, at };
    }
  };

  stage.addEventListener("dblclick", (event) => {
    event.preventDefault();
    reset();
    touched();
  });

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 32 : event.deltaMode === 2 ? 400 : 1);
      const reach = event.ctrlKey ? 0.01 : 0.0014; // a pinch on a touchpad arrives as small steps with ctrl
      motion.zoomBy(Math.exp(-Math.max(-240, Math.min(240, pixels)) * reach));
      touched();
    },
    { passive: false },
  );

  // Keys are told apart by `code`, their place: with Shift up in between, "+" goes down and "=" comes up.
  const timers = new Map();
  const down = (event) => {
    if (event.key === "Meta") return releaseAll(); // macOS keeps the keyups of what is held together with it
    if (event.ctrlKey || event.metaKey || event.altKey || !heeds()) return;
    const move = KEYS[event.key];
    if (move) {
      event.preventDefault();
      if (event.repeat) return;
      const name = nameOf(event);
      release(name); // held still: its keyup was lost
      motion.step(...move);
      timers.set(
        name,
        setTimeout(() => motion.hold(name, ...move), HOLD_MS),
      );
    } else if (!event.repeat && ["r", "R", "Home", "0"].includes(event.key)) {
      reset();
    } else {
      return;
    }
    touched();
  };
  addEventListener("keydown", down, { signal });

  const nameOf = ({ code, key }) => code || key; // on-screen keyboards know no places
  const release = (name) => {
    clearTimeout(timers.get(name));
    timers.delete(name);
    motion.letGo(name);
  };
  const releaseAll = () => [...timers.keys()].forEach(release);
  const reset = () => {
    releaseAll();
    motion.reset(performance.now());
  };
  addEventListener("keyup", (event) => release(nameOf(event)), { signal });
  // The keyup of a key held while the window loses focus never comes.
  addEventListener("blur", releaseAll, { signal });
  return reset;
}
