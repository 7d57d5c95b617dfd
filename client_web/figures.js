// The panel of figures: three at a glance, the rest on demand. What the user chose is remembered by this browser.

import { effortWords, gpuWords } from "./words.js";

const $ = (id) => document.getElementById(id);
const ms = (value) => (value === null || value === undefined ? "-" : `${value.toFixed(0)} ms`);

// Without storage (some private windows) a choice lasts as long as the page.
function recall(name) {
  try {
    return localStorage.getItem(`visavis.${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`visavis.${name}`, value);
  } catch {
    // see above
  }
}

function draw(now) {
  const { p50, p95 } = now.motionToPhoton;
  const { server } = now;
  const look = !now.refined ? "raw" : server?.refined === false ? "raw for speed" : "refined";
  $("fps").textContent = now.fps === null ? "-" : now.fps.toFixed(1);
  $("bitrate").textContent = now.bitrate === null ? "-" : `${(now.bitrate / 1e6).toFixed(2)} Mbit/s`;
  $("photon").textContent = p50 === null ? "move to measure" : ms(p50);
  $("slowest").textContent = ms(p95);
  $("resolution").textContent = now.width ? `${now.width} × ${now.height}, ${look}` : "-";
  $("rtt").textContent = ms(now.rtt);
  $("stages").textContent = server ? `${[server.raster_ms, server.refine_ms, server.encode_ms].map((v) => v?.toFixed(1) ?? "-").join(" · ")} ms` : "-";
  $("effort").textContent = effortWords(server?.effort);
  $("effort-row").hidden = !$("effort").textContent;
  const gpus = server?.gpus ?? [];
  $("gpu").textContent = gpus.map((gpu) => gpuWords(gpu, gpus.length > 1)).join("\n");
  $("gpu-row").hidden = !$("gpu").textContent;
  $("angles").textContent = `${now.view.yaw.toFixed(0)}°, ${now.view.pitch.toFixed(0)}°, ×${now.view.zoom.toFixed(2)}`;
}

/**
 * @param stats function returning the figures of this moment
 * @returns a function that shows or hides the panel
 */
export function listenToFigures(stats) {
  const panel = $("panel");

  const show = (on) => {
    panel.hidden = !on;
    $("figures").setAttribute("aria-pressed", String(on));
    if (on) draw(stats());
  };
  const showRest = (on) => {
    $("rest").hidden = !on;
    $("more").setAttribute("aria-expanded", String(on));
  };
  const toggle = () => {
    show(panel.hidden);
    remember("figures", panel.hidden ? "hidden" : "shown");
  };

  $("figures").addEventListener("click", toggle);
  $("more").addEventListener("click", () => {
    showRest($("rest").hidden);
    remember("figures.rest", $("rest").hidden ? "hidden" : "shown");
  });
  setInterval(() => panel.hidden || draw(stats()), 250);
  showRest(recall("figures.rest") === "shown");
  show(recall("figures") !== "hidden");
  return toggle;
}
