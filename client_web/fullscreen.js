// The button for the full screen, on pages of one call and of rooms.

/**
 * Makes a button, which is not there where the browser cannot, show `element` on the full screen and back.
 * @returns a function that does the same, for a key
 */
export function listenToFullScreen(button, element) {
  const toggle = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else element.requestFullscreen?.().catch(() => {});
  };
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener("click", toggle);
  document.addEventListener("fullscreenchange", () => button.setAttribute("aria-pressed", String(!!document.fullscreenElement)));
  return toggle;
}
