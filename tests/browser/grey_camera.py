"""A camera whose picture is one grey, as light as the test says; the microphone is Chromium's own
fake one, which beeps once a second.

The bar engine's avatars are as light as the picture that they were made of, so that one can see in
the received picture what stands before the camera.
"""

from __future__ import annotations

from playwright.sync_api import Page

CAMERA = """
  const media = MediaDevices.prototype;
  const { getUserMedia } = media;
  const test = (window.test = { grey: %d, deaf: false, connections: [] });
  media.getUserMedia = async function (wanted) {
    const stream = new MediaStream();
    if (wanted.audio) {
      if (test.deaf) throw new DOMException("for the test", "NotFoundError");
      const voice = await getUserMedia.call(this, { audio: wanted.audio });
      voice.getTracks().forEach((track) => stream.addTrack(track));
    }
    if (wanted.video) {
      const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
      const brush = canvas.getContext("2d");
      let count = 0;
      setInterval(() => {
        brush.fillStyle = `rgb(${test.grey} ${test.grey} ${test.grey})`;
        brush.fillRect(0, 0, 320, 240);
        brush.fillStyle = "rgb(128 128 128)"; // a camera never gives the same picture twice
        brush.fillRect(count++ %% 320, 0, 2, 2);
      }, 40);
      canvas.captureStream(25).getTracks().forEach((track) => stream.addTrack(track));
    }
    return stream;
  };
  // What the page connects with, so that a test can cut it.
  const Native = RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); test.connections.push(this); }
  };
"""


def give(page: Page, grey: int = 150) -> None:
    """Give a page, before it loads, a camera of this grey, 0..255; `test.grey` changes it."""
    page.add_init_script(CAMERA % grey)
