// The last day: hour by hour what came in beside what is usual, and a slider that goes back into it.
import { $, make, put } from "./elements.js";
import { say, told } from "./language.js";
import { HM, count, stamp } from "./words.js";

const FORGOTTEN_S = 600; // without a touch, the page goes back to now
/** @type {Hour[]} */
let hours = [];
let timezone = "UTC";
let touched_s = 0;
/** @type {() => void} */
let changed = () => {};
/** @type {Hour | null} the hour that is looked at; none: now */
export let past = null;

/** asks(): asks for the hour that was chosen, or for now. */
export const onDay = (asks) => (changed = asks);
export const timeOf = ({ at, as_of }, zone) => stamp(Date.parse(as_of ?? at) / 1000, zone, { weekday: "short", ...HM });

/** An hour in a line: what came in, what is usual for it with the range that chance gives; or why nobody knows. */
export function hourInWords(hour, zone) {
  if (!hour) return say("Now. Left of it, the last day: what came in each hour, and what is usual");
  const { why, observed, usual, low, high } = hour;
  const values = {
    time: timeOf(hour, zone),
    reason: told(why ?? ""),
    seen: observed,
    usual: count(usual ?? 0),
    low,
    high,
  };
  if (why) return say("{time}: {reason}", values);
  if (usual === null) return say("{time}: {seen} in the hour before; what is usual for it was not kept", values);
  return say("{time}: {seen} in the hour before, usual {usual} ({low} to {high} by chance)", values);
}
/** Each hour's bar and the range of what is usual, as shares of the highest of all. */
export function barsOf(all) {
  const most = Math.max(1, ...all.flatMap(({ observed, high }) => [observed ?? 0, high ?? 0]));
  return all.map(({ why, observed, low, high }) => ({
    isMissing: !!why,
    isMore: high !== null && observed > high,
    seen: (observed ?? 0) / most,
    from: (low ?? 0) / most,
    to: (high ?? 0) / most,
  }));
}

/** Shows the hours of what is chosen now. @param {Hour[]} given @param {string} zone of the region */
export function showDay(given, zone) {
  [hours, timezone] = [given, zone];
  const columns = barsOf(hours).map(({ isMissing, isMore, seen, from, to }, at) => {
    const column = make("span", "", isMissing ? "missing" : isMore ? "more" : "");
    const range = make("i");
    const bar = make("b");
    Object.assign(range.style, { bottom: `${100 * from}%`, height: `${100 * (to - from)}%` });
    bar.style.height = `${100 * seen}%`;
    column.style.left = `${(100 * at) / hours.length}%`;
    column.append(range, bar);
    return column;
  });
  $("hours").replaceChildren(...columns);
  $("at").max = hours.length;
  $("day").hidden = hours.every(({ why }) => why);
  const place = past ? hours.findIndex(({ at }) => at === past.at) : -1;
  if (past && place < 0) return toNow();
  if (past) past = hours[place];
  mark(past ? place : hours.length);
}
function mark(place) {
  $("at").value = place;
  [...$("hours").children].forEach((column, at) => column.toggleAttribute("data-chosen", at === place));
  put("hour", hourInWords(hours[place], timezone));
  $("at").ariaValueText = $("hour").textContent;
}
function go(place) {
  touched_s = Date.now() / 1000;
  past = hours[place] ?? null;
  mark(place);
  changed();
}
export const toNow = () => go(hours.length);
/** Another region has another day: it is of nothing. */
export function forgetDay() {
  past = null;
  $("day").hidden = true;
  return "";
}
/** The service has it no more. */
export function lacks(hour) {
  hour.why = "no frame of it was kept";
  mark(hours.indexOf(hour));
}
if (globalThis.document) {
  $("at").oninput = () => go(+$("at").value);
  $("now").onclick = toNow;
  setInterval(() => past && Date.now() / 1000 - touched_s > FORGOTTEN_S && toNow(), 5000);
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => (touched_s = Date.now() / 1000));
}
