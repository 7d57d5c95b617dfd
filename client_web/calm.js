// What steps back while the user only looks: the tools fade, and a hint is said once and goes.

const CALM_MS = 3500;
const HINT_MS = 7000;

/** Gives `page` the class "calm" while the user does nothing. */
export function listenForCalm(page) {
  let timer = null;
  const wake = () => {
    page.classList.remove("calm");
    clearTimeout(timer);
    timer = setTimeout(() => page.classList.add("calm"), CALM_MS);
  };
  for (const kind of ["pointermove", "pointerdown", "keydown"]) addEventListener(kind, wake, { passive: true });
  wake();
}

/** Words over the picture, once per visit. */
export class Hint {
  #element;
  said = false;

  constructor(element) {
    this.#element = element;
  }

  /** @param touch words where fingers steer @param mouse words for mouse and keys */
  say(touch, mouse) {
    if (this.said) return;
    this.said = true;
    this.#element.textContent = matchMedia("(pointer: coarse)").matches ? touch : mouse;
    this.#element.hidden = false;
    setTimeout(() => this.hide(), HINT_MS);
  }

  hide() {
    if (this.said) this.#element.classList.add("gone");
  }
}
