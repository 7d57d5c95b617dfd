// Put into a page before its own scripts: notes when viewpoints leave and when frames arrive, for any page that sends
// viewpoints on a data channel "viewpoint" and shows video. Times are performance.now() of the page.

(() => {
  const BLOCKS = 16;
  const STEP_MS = 8; // between two movements: the rate of a common mouse
  const DEGREES_ACROSS = 130; // of ViewpointMotion.drag

  const bench = { connections: [], sent: [], told: [], frames: [], camera: [], moved: null };
  window.bench = bench;

  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...settings) {
      super(...settings);
      bench.connections.push(this);
    }

    createDataChannel(label, options) {
      const channel = super.createDataChannel(label, options);
      if (label === "control") channel.addEventListener("message", ({ data }) => note(data));
      return channel;
    }
  };

  /** What the server says of which frame shows what: the pixels must say the same. */
  function note(data) {
    if (!data.startsWith('{"type":"frame')) return;
    const { rtp, seq, frames = [[rtp, seq]] } = JSON.parse(data);
    bench.told.push(...frames);
  }

  let newest = -1;
  const send = RTCDataChannel.prototype.send;
  RTCDataChannel.prototype.send = function (data) {
    if (this.label === "viewpoint") {
      const now = performance.now();
      const { seq } = JSON.parse(data);
      if (seq > newest) bench.sent.push([seq, now, bench.moved]); // said again: the first time counts
      newest = Math.max(newest, seq);
    }
    return send.call(this, data);
  };

  /** The number in the top row of a video's picture, as in call_stamp.py; null where there is none. */
  function reader(blockOf) {
    const canvas = document.createElement("canvas");
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    return (video) => {
      const block = blockOf(video);
      const width = Math.ceil(block * BLOCKS);
      const height = Math.ceil(block);
      if (!width) return null;
      if (canvas.width !== width) Object.assign(canvas, { width, height });
      brush.drawImage(video, 0, 0, width, height, 0, 0, width, height);
      const { data } = brush.getImageData(0, height >> 1, width, 1);
      let value = 0;
      for (let index = 0; index < BLOCKS; index += 1) {
        const middle = Math.floor((index + 0.5) * block);
        const green = [-2, 0, 2].map((step) => data[(middle + step) * 4 + 1]);
        value = (value << 1) | ((green[0] + green[1] + green[2]) / 3 > 125);
      }
      const number = value >> 4;
      const check = 0b1010 ^ (number >> 8) ^ ((number >> 4) & 15) ^ (number & 15);
      return check === (value & 15) ? number : null;
    };
  }

  const WATCHED = Symbol("watched");

  /** Note every frame of a video that comes from the server. */
  bench.watch = (selector) => {
    const video = document.querySelector(selector);
    if (!video || video[WATCHED]) return Boolean(video);
    video[WATCHED] = true;
    const read = reader(({ videoWidth }) => videoWidth / BLOCKS);
    const onFrame = (_, about) => {
      const now = performance.now();
      video.requestVideoFrameCallback(onFrame);
      bench.frames.push([
        now,
        about.rtpTimestamp ?? null,
        about.receiveTime ?? null,
        (about.processingDuration ?? NaN) * 1000,
        about.presentationTime,
        about.expectedDisplayTime,
        about.presentedFrames,
        read(video),
      ]);
    };
    video.requestVideoFrameCallback(onFrame);
    return true;
  };

  /** Note every frame of the page's own camera; `block` is the side of a stamp's block at the camera's size. */
  bench.watchCamera = (selector, block, width) => {
    const video = document.querySelector(selector);
    if (!video || video[WATCHED]) return Boolean(video);
    video[WATCHED] = true;
    const read = reader(({ videoWidth }) => (block * videoWidth) / width);
    const onFrame = (_, about) => {
      const now = performance.now();
      video.requestVideoFrameCallback(onFrame);
      bench.camera.push([now, about.captureTime ?? null, about.presentationTime, read(video)]);
    };
    video.requestVideoFrameCallback(onFrame);
    return true;
  };

  let timer = null;

  /** Swing the view to both sides within `seconds`, by the page's own `visavis.motion`, as a hand with a mouse does. */
  bench.drive = (degrees, seconds) => {
    bench.halt();
    const begin = performance.now();
    let before = 0;
    timer = setInterval(() => {
      const now = performance.now();
      const yaw = degrees * Math.sin(((now - begin) * 2 * Math.PI) / (1000 * seconds));
      bench.moved = now;
      window.visavis.motion.drag((before - yaw) / DEGREES_ACROSS, 0);
      before = yaw;
    }, STEP_MS);
  };

  bench.halt = () => {
    clearInterval(timer);
    bench.moved = null;
  };

  bench.reset = () => {
    for (const list of [bench.sent, bench.told, bench.frames, bench.camera]) list.length = 0;
  };

  /** Figures of the newest connection's incoming video. */
  bench.inbound = async () => {
    const connection = bench.connections.at(-1);
    if (!connection) return null;
    for (const report of (await connection.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "video") {
        const names = ["jitterBufferDelay", "jitterBufferEmittedCount", "totalDecodeTime", "framesDecoded",
          "framesReceived", "framesDropped", "totalProcessingDelay", "packetsLost", "packetsReceived", "bytesReceived",
          "keyFramesDecoded", "freezeCount", "totalFreezesDuration", "totalAssemblyTime", "framesAssembledFromMultiplePackets"];
        return Object.fromEntries(names.map((name) => [name, report[name] ?? null]));
      }
    }
    return null;
  };

  bench.take = async () => ({
    origin: performance.timeOrigin,
    now: performance.now(),
    sent: bench.sent,
    told: bench.told,
    frames: bench.frames,
    camera: bench.camera,
    inbound: await bench.inbound(),
  });
})();
