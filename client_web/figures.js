// The panel of figures: three at a glance, the rest on demand. What the user chose is remembered by this browser.

import { effortWords, gpuWords, soundWords } from "./words.js";

const known = (value) => value !== null && value !== undefined;
const ms = (value) => (known(value) ? `${value.toFixed(0)} ms` : "-");
const degrees = (value) => `${value.toFixed(0)}°`;

// id, name, what it is, and its text; a row without text is hidden.
const GLANCE = [
  ["fps", "Frames/s", "", ({ fps }) => (known(fps) ? fps.toFixed(1) : "-")],
  ["bitrate", "Bit rate", "", ({ bitrate }) => (known(bitrate) ? `${(bitrate / 1e6).toFixed(2)} Mbit/s` : "-")],
  ["photon", "Motion to photon", "From moving the view to the browser showing it", ({ motionToPhoton: { p50 } }) => (known(p50) ? ms(p50) : "move to measure")],
];
const REST = [
  ["slowest", "Motion to photon, p95", "19 of 20 movements are shown sooner", ({ motionToPhoton: { p95 } }) => ms(p95)],
  ["resolution", "Picture", "", picture],
  ["codec", "Sent as", "Codec and size of the picture that the server sends", ({ server }) => server?.codec && `${server.codec}, ${server.width} px`],
  ["rtt", "Round trip", "", ({ rtt }) => ms(rtt)],
  ["stages", "Server stages", "Drawing, refining and encoding one picture", stages],
  ["lift", "Avatar", "How often the avatar is made anew, and from camera picture to avatar", lifts],
  ["hearing", "Sound", "", ({ audio }) => audio && soundWords(audio.state)],
  ["effort", "Left out", "What the server has no time for now", ({ server }) => effortWords(server?.effort)],
  ["gpu", "Server GPU", "Load of the server's graphics cards", gpus],
  ["angles", "View", "", ({ view }) => `${degrees(view.yaw)}, ${degrees(view.pitch)}, ×${view.zoom.toFixed(2)}`],
];

function picture({ width, height, refined, server }) {
  const look = !refined ? "raw" : server?.refined === false ? "raw for speed" : "refined";
  return width ? `${width} × ${height}, ${look}` : "-";
}

function stages({ server }) {
  const times = server && [server.raster_ms, server.refine_ms, server.encode_ms];
  return times ? `${times.map((value) => value?.toFixed(1) ?? "-").join(" · ")} ms` : "-";
}

function lifts({ server }) {
  return server?.lift_fps ? `${server.lift_fps.toFixed(0)} per second · ${ms(server.lift_ms)}` : "";
}

function gpus({ server }) {
  const found = server?.gpus ?? [];
  return found.map((gpu) => gpuWords(gpu, found.length > 1)).join("\n");
}

const row = ([id, name, title]) => `<div id="${id}-row"${title && ` title="${title}"`}><dt>${name}</dt><dd id="${id}">-</dd></div>`;

const PANEL = `
  <dl class="glance">${GLANCE.map(row).join("")}</dl>
  <button type="button" id="more" aria-expanded="false" aria-controls="rest" title="More figures">
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 9 6 6 6-6" /></svg>
    <span class="unseen">More figures</span>
  </button>
  <dl class="rest" id="rest" hidden>
    ${REST.map(row).join("")}
    <div title="The view is sent ahead by the time that its picture takes">
      <dt>Prediction</dt>
      <dd><span id="ahead"></span> <button type="button" id="predict" role="switch" aria-label="Prediction" aria-keyshortcuts="P" title="Prediction (P)"></button></dd>
    </div>
  </dl>`;

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

/**
 * Puts the panel into a page.
 * @param page element that the panel is added to
 * @param button the one that shows and hides it
 * @param stats function returning the figures of this moment, or null where there are none
 * @param predict called with whether the user wants prediction, at once and on every change
 * @param shown whether the panel is there before the user has chosen
 * @returns {toggle, togglePrediction}, as the keys for it do
 */
export function listenToFigures(page, button, stats, predict, { shown = true } = {}) {
  const panel = document.createElement("section");
  panel.id = "panel";
  panel.className = "figures";
  panel.setAttribute("aria-label", "Connection figures");
  panel.innerHTML = PANEL;
  page.append(panel);
  const $ = (id) => panel.querySelector(`#${id}`);

  const draw = (now) => {
    panel.classList.toggle("empty", now === null);
    if (now === null) return;
    for (const [id, , , text] of [...GLANCE, ...REST]) {
      const words = text(now) || "";
      if ($(id).textContent !== words) $(id).textContent = words;
      $(`${id}-row`).hidden = !words;
    }
    $("ahead").textContent = now.prediction.on ? ms(now.prediction.ms) : "off";
  };

  const show = (on) => {
    panel.hidden = !on;
    button.setAttribute("aria-pressed", String(on));
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
  const setPrediction = (on) => {
    $("predict").setAttribute("aria-checked", String(on));
    predict(on);
  };
  const togglePrediction = () => {
    const on = $("predict").getAttribute("aria-checked") !== "true";
    remember("prediction", on ? "on" : "off");
    setPrediction(on);
  };

  button.addEventListener("click", toggle);
  $("predict").addEventListener("click", togglePrediction);
  $("more").addEventListener("click", () => {
    showRest($("rest").hidden);
    remember("figures.rest", $("rest").hidden ? "hidden" : "shown");
  });
  setInterval(() => panel.hidden || draw(stats()), 250);
  setPrediction(recall("prediction") !== "off");
  showRest(recall("figures.rest") === "shown");
  show((recall("figures") ?? (shown ? "shown" : "hidden")) === "shown");
  return { toggle, togglePrediction };
}
