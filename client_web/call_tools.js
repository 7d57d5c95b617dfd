// The buttons for microphone, camera and sound: pressed is on. Their names stay, since "Mute, pressed" would say the opposite;
// what a press would do stands in the title.

function say(button, on, words) {
  button.setAttribute("aria-pressed", String(on));
  button.title = words;
}

/**
 * Says how things are.
 * @param media OwnMedia
 * @param sound of the others together, see Room
 */
export function sayTools($, media, sound) {
  const speaking = Boolean(media.microphone) && !media.muted;
  say($("mute"), speaking, speaking ? "Mute (M)" : media.microphone ? "Unmute (M)" : "Turn on the microphone (M)");
  say($("cover"), Boolean(media.camera), media.camera ? "Turn the camera off (V)" : "Turn the camera on (V)");
  say($("sound"), sound === "playing", sound === "playing" ? "Sound off" : "Sound on");
  $("sound").hidden = sound === "none" || sound === "blocked";
  $("sound-on").hidden = sound !== "blocked";
}
