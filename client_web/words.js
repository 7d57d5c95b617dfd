// Every sentence that depends on an error: what is wrong, and what to do.

/** A camera error of getUserMedia as {title, detail}. */
export function cameraWords(error) {
  if (error === "insecure") {
    return {
      title: "The camera needs a secure address.",
      detail:
        "Browsers hand out the camera only on https addresses and on localhost. Open this page as http://localhost on the machine that runs the server, or put https in front of it.",
    };
  }
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return {
        title: "The camera is blocked.",
        detail: "Allow the camera for this page: press the camera sign in the address bar, choose Allow, then try again.",
      };
    case "NotFoundError":
    case "OverconstrainedError":
      return {
        title: "No camera was found.",
        detail: "Connect a camera, then try again. To see a call without one, run “visavis demo” on the server.",
      };
    case "NotReadableError":
    case "AbortError":
      return {
        title: "The camera is in use.",
        detail: "Another program holds the camera, or it does not answer. Close that program, then try again.",
      };
    default:
      return {
        title: "The camera did not start.",
        detail: error?.message ? `The browser says: ${error.message}` : "Try again, or choose another browser.",
      };
  }
}

/** Why the camera that the user chose is not the one in use, as a sentence; the one before goes on. */
export function otherCameraWords(error) {
  const reason = {
    NotAllowedError: "is blocked",
    NotFoundError: "is gone",
    OverconstrainedError: "is gone",
    NotReadableError: "is in use by another program",
    AbortError: "does not answer",
  };
  return `That camera ${reason[error?.name] ?? "did not start"}. The one before stays on.`;
}

const UNHEARD = {
  NotAllowedError: "The microphone is blocked",
  SecurityError: "The microphone is blocked",
  NotFoundError: "No microphone was found",
  OverconstrainedError: "That microphone is gone",
  NotReadableError: "Another program holds the microphone",
  AbortError: "The microphone does not answer",
};

/** Why there is a camera and no microphone, as a sentence. */
export function microphoneWords(error) {
  return `${UNHEARD[error?.name] ?? "The microphone did not start"}: you will be seen, but not heard.`;
}

/** What a receiver is told of the person watched; nothing while all is well. */
export function presenceWords({ state, reason }) {
  if (state === "held") return reason || "They are out of the picture. You see them as they were last.";
  if (state === "away") return reason || "The connection to them was lost, and is waited for. You see them as they were last.";
  return "";
}

/** What the caller is told of the own picture; nothing while the avatar follows. */
export function ownPresenceWords({ state, reason }) {
  return state === "held" ? `${reason} The others see you as you were last.`.trim() : "";
}

/** How many people one meets. */
export function meeting(count) {
  if (count === 0) return "Nobody is here yet.";
  return count === 1 ? "1 person is here." : `${count} people are here.`;
}

/** A SignallingError as {title, detail}. */
export function serverWords(error) {
  if (error?.status === 0) {
    return { title: "The server does not answer.", detail: "Check that Visavis is running and that you are online, then try again." };
  }
  if (error?.status === 503) {
    return { title: "The server is busy.", detail: error.message || "It carries as many calls as it can. Try again in a minute." };
  }
  return { title: "The call could not start.", detail: error?.message || "Try again." };
}

/** Media may only go through a relay (a TURN server), and the browser got no address from any. */
export const NO_RELAY =
  "Calls here go through a relay, and your browser cannot reach it. Your network may block it: try another, or ask who runs the server.";

const SLOWED = {
  power_cap: "power",
  power_brake: "power",
  board_limit: "power",
  thermal_software: "heat",
  thermal_hardware: "heat",
  hardware_slowdown: "heat or power",
};

const SOUNDS = { none: "none", blocked: "waits for you to turn it on", off: "off", playing: "playing" };

/** What became of the sound of a person. */
export const soundWords = (state) => SOUNDS[state] ?? state;

/** The load of one GPU in two or three lines; what the server does not tell is left out. `numbered`: with its number. */
export function gpuWords({ gpu, utilisation, memory_used, memory_total, temperature, power, encoder, slowed }, numbered = false) {
  const known = (value) => value !== null && value !== undefined;
  const gigabytes = (bytes) => (bytes / 2 ** 30).toFixed(1);
  const join = (...parts) => parts.filter(Boolean).join(" · ");
  const lines = [
    join(
      known(utilisation) && `${utilisation.toFixed(0)} %`,
      known(memory_used) && known(memory_total) && `${gigabytes(memory_used)} of ${gigabytes(memory_total)} GB`,
    ),
    join(
      known(temperature) && `${temperature.toFixed(0)} °C`,
      known(power) && `${power.toFixed(0)} W`,
      encoder > 0 && `encoder ${encoder.toFixed(0)} %`,
    ),
    slowed?.length && `slowed by ${[...new Set(slowed.map((reason) => SLOWED[reason] ?? "its settings"))].join(", ")}`,
  ].filter(Boolean);
  if (numbered && lines.length) lines[0] = `${gpu}: ${lines[0]}`;
  return lines.join("\n");
}

const LEFT_OUT = {
  raw: "refining",
  slow: "refining, every second frame",
  coarse: "refining, every second frame, half the detail",
};

/** What the server leaves out of moving pictures because it has too much to do; nothing where it does all. */
export function effortWords(effort) {
  return LEFT_OUT[effort] ?? "";
}

/** A server that has no room: {title, detail}, saying that the page tries again by itself. */
export function busyWords(error, seconds) {
  const { title, detail } = serverWords(error);
  const when = seconds === 1 ? "in a second" : `in ${seconds} seconds`;
  return { title, detail: `${detail} This page tries again by itself ${when}.` };
}

export function watchers(count) {
  if (count === 0) return "Nobody is here yet. Send the link.";
  return count === 1 ? "1 person is looking at you." : `${count} people are looking at you.`;
}
