// The invitation: its link, copying and sharing it, and the card that it is on while one is in the room.

const COPIED_MS = 2000;

/** Puts life into the parts of the page. Returns {offer, show}. */
export function listenToInvite(page, $) {
  const link = $("link");

  /** The link, and whether it leads to this computer alone. */
  function offer(address) {
    link.value = address;
    $("share").hidden = !navigator.share;
    $("local").hidden = !/^(localhost|127\.|\[::1\])/.test(location.hostname);
  }

  /** Opens or closes the card. The focus goes there, and back to the button. */
  function show(on) {
    const inside = page.querySelector(".panel").contains(document.activeElement);
    page.toggleAttribute("data-inviting", on);
    $("invite").setAttribute("aria-expanded", String(on));
    if (on) link.focus();
    else if (inside) $("invite").focus();
  }

  async function copy() {
    const label = $("copy").querySelector("span");
    link.select();
    try {
      await navigator.clipboard.writeText(link.value);
    } catch {
      document.execCommand("copy"); // no clipboard permission, or an insecure address: the selection still copies
    }
    label.textContent = "Copied";
    setTimeout(() => (label.textContent = "Copy"), COPIED_MS);
  }

  link.addEventListener("focus", () => link.select());
  $("copy").addEventListener("click", copy);
  $("share").addEventListener("click", () => {
    navigator.share({ title: "Visavis", text: "Meet me face to face:", url: link.value }).catch(() => {});
  });
  $("invite").addEventListener("click", () => show(!page.hasAttribute("data-inviting")));
  $("close").addEventListener("click", () => show(false));
  return { offer, show };
}
