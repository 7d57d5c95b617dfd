// The colour around a picture: that of its upper corners, so that no frame is seen.

const corner = document.createElement("canvas");
corner.width = corner.height = 1;
const brush = corner.getContext("2d", { willReadFrequently: true });

/** Gives `element` the colour of the video as --ambient, and says in data-bright whether it is light or dark. */
export function takeAmbient(video, element) {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width) return;
  const side = Math.max(2, Math.round(width / 24));
  const sums = [0, 0, 0];
  for (const x of [0, width - side]) {
    brush.drawImage(video, x, Math.round(height * 0.04), side, side, 0, 0, 1, 1);
    brush.getImageData(0, 0, 1, 1).data.slice(0, 3).forEach((value, i) => (sums[i] += value / 2));
  }
  element.style.setProperty("--ambient", `rgb(${sums.map(Math.round).join(" ")})`);
  element.dataset.bright = sums[0] * 0.3 + sums[1] * 0.59 + sums[2] * 0.11 > 140 ? "light" : "dark";
}

export function dropAmbient(element) {
  element.style.removeProperty("--ambient");
  delete element.dataset.bright;
}
