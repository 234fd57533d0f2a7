// Calls whoever looks elsewhere: a number in the title, and after a click that allows it a sound and a notification.
import { $, put } from "./elements.js";
import { say } from "./language.js";

const TONES_HZ = [880, 1175]; // one after the other, a fifth of a second each
let sound = null; // an AudioContext, once a click has allowed it
let known = null; // the places of the picture before, of its region, category and area
let waiting = []; // new ones that nobody has looked at

/** Whether it is the place of a picture before: it may have grown, or moved by some cells. */
const isSame = (one, other) => one.category === other.category && one.cells.some((cell) => other.cells.includes(cell));

/** The places that are new beside those that are known. */
export const newPlaces = (places, before) => places.filter((place) => !before.some((one) => isSame(one, place)));

/** Of each picture, `of` what is chosen: places that nobody decided on, in words; isNow: what happens now, not a replay. Gives how many wait. */
export function callOf({ of, places, isNow, inWords }) {
  const isFirst = known?.of !== of;
  const fresh = isFirst ? [] : newPlaces(places, known.places);
  waiting = isFirst
    ? []
    : [...waiting.filter((one) => places.some((place) => isSame(one, place))), ...(isNow ? fresh : [])];
  const gone = isFirst ? [] : known.places.filter((one) => !places.some((place) => isSame(one, place)));
  known = { of, places: [...places, ...gone] }; // once for a place, though it goes and comes
  if (sound && isNow && fresh.length) {
    ring();
    notify(inWords(fresh[0]));
  }
  return waiting.length;
}
function ring() {
  TONES_HZ.forEach((frequency, at) => {
    const tone = new OscillatorNode(sound, { frequency });
    const from_s = sound.currentTime + 0.2 * at;
    tone.connect(new GainNode(sound, { gain: 0.2 })).connect(sound.destination);
    tone.start(from_s);
    tone.stop(from_s + 0.2);
  });
}
function notify(words) {
  if (globalThis.Notification?.permission === "granted") new Notification(document.title, { body: words, tag: words });
}
function offerCalls() {
  const says = sound ? say("A new unusual place is told with a sound") : say("Tell a new unusual place with a sound");
  put("call", sound ? say("♪ sound on") : say("♪ sound off"));
  Object.assign($("call"), { ariaPressed: String(!!sound), title: says });
}
/** The button that allows it, with the sound once, and takes it back. */
export function allowCalls() {
  sound?.close();
  sound = sound ? null : new AudioContext();
  if (sound) ring();
  if (sound && globalThis.Notification?.permission === "default") Notification.requestPermission();
  offerCalls();
}
if (globalThis.document) offerCalls();
/** Whoever touches the page has seen what waited. */
export const seen = () => (waiting = []);
