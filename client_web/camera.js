// The caller's camera: opening it, choosing another one, and knowing when it goes away.

const WANTED = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30, max: 30 } };

export function cameraPossible() {
  return globalThis.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
}

/** Opens a camera (any that faces the user, or the one with `deviceId`). Throws what getUserMedia throws. */
export async function openCamera(deviceId) {
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  const stream = await navigator.mediaDevices.getUserMedia({ video: { ...WANTED, ...which }, audio: false });
  const [track] = stream.getVideoTracks();
  track.contentHint = "detail"; // the server wants one sharp portrait rather than smooth motion
  return stream;
}

/** The cameras as [{id, name}]; names are empty strings until the user has allowed a camera. */
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter((device) => device.kind === "videoinput")
    .map((device, index) => ({ id: device.deviceId, name: device.label || `Camera ${index + 1}` }));
}
