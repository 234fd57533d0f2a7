// Numbers, times and what happened in words.
import { placeName } from "./grid.js";
import { decimals, locale, say, sayMany } from "./language.js";

export const ALL = "all";
export const WHOLE = "whole region"; // categories; an area
const HALF_A_DAY_S = 43_200; // older times have their day
export const CHOICES = {
  region: say("region"),
  measure: say("measure"),
  category: say("category"),
  horizon: say("horizon"),
  area: say("area"),
};
export const MEASURES = {
  unusual: say("More than usual"),
  risk: say("Risk"),
  expected: say("Expected count"),
  lift: say("Lift over usual"),
};

export const count = (x) =>
  x === 0 ? "0" : x < 0.001 ? `<${decimals(0.001, 3)}` : decimals(x, x < 0.1 ? 3 : x < 10 ? 2 : x < 100 ? 1 : 0);
export const percent = (p) =>
  p === 0
    ? "0 %"
    : p < 0.001
      ? `<${decimals(0.1, 1)} %`
      : p > 0.99
        ? ">99 %"
        : `${decimals(100 * p, p < 0.1 ? 1 : 0)} %`;
export const times = (x) => (Number.isFinite(x) ? `×${decimals(x, x < 10 ? 2 : 0)}` : "–");
export const SAY = { risk: percent, expected: count, lift: times };
export const plain = (slug) =>
  slug === ALL
    ? say("all categories")
    : slug === WHOLE
      ? say("whole region")
      : slug.replaceAll("_", " ").replace(/^(\d+)h$/, "$1 h");
export const span = (s) =>
  s < 100
    ? `${Math.round(s)} s`
    : s < 5940
      ? `${Math.round(s / 60)} min`
      : s < 172800
        ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
        : sayMany("{count} day", "{count} days", Math.floor(s / 86400));

/** A place with more incidents than usual, in words; none of them is: of what is chosen, at this local hour. */
export const seldom = (days) =>
  days >= 36_000
    ? say("100 years +")
    : days < 730
      ? sayMany("{count} day", "{count} days", Math.round(days))
      : sayMany("{count} year", "{count} years", Math.round(days / 365));
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
/** What happened in a place, and what is usual there. */
export const happened = (place, picture) =>
  say("{category} {place}, {observed} instead of {usual} in {hours} h", {
    ...place,
    category: plain(place.category),
    place: placeName(place, picture),
    usual: count(place.usual),
  });
export const isUsual = (at_s, zone) =>
  +stamp(at_s, zone, { hour: "2-digit" }, "en-GB") % 18 < 6
    ? say("Nothing stands out tonight")
    : say("Nothing stands out today");

/** The silences that say something of a category: of all of them, else its own, or every one where all are chosen. */
export function silencesOf(category, silent = []) {
  const whole = silent.filter((one) => one.category === ALL);
  return whole.length ? whole : silent.filter((one) => category === ALL || one.category === category);
}
const sinceOf = ({ since }, { as_of_s, timezone }) =>
  stamp(
    Date.parse(since) / 1000,
    timezone,
    as_of_s - Date.parse(since) / 1000 < HALF_A_DAY_S ? HM : { weekday: "short", ...HM },
  );
/** Since when how few incidents came in, as `theft since 14:05 (6 h 10 min): 0 incidents, where 12 are usual`. */
export function silence(one, facts) {
  const values = {
    since: sinceOf(one, facts),
    span: span(facts.as_of_s - Date.parse(one.since) / 1000),
    incidents: sayMany("{count} incident", "{count} incidents", one.observed),
    usual: count(one.usual),
  };
  const says = say("since {since} ({span}): {incidents}, where {usual} are usual", values);
  return one.category === ALL ? says : `${plain(one.category)} ${says}`;
}
/** Whether the feeds that say something of a category are those of others too. */
export const isPartly = (facts) =>
  !silencesOf(facts.category, facts.silent).some(({ category }) => [ALL, facts.category].includes(category));
/** That nothing is known, for what the measure of the unusual says of this choice; "" where all is known. */
export const unknown = (facts) =>
  silencesOf(facts.category, facts.silent)
    .map((one) => {
      const values = {
        category: plain(one.category),
        since: sinceOf(one, facts),
        until: one.until && stamp(Date.parse(one.until) / 1000, facts.timezone, HM),
      };
      if (one.category === ALL)
        return one.until
          ? say("nothing is known from {since} to {until}", values)
          : say("nothing is known since {since}", values);
      return one.until
        ? say("nothing is known of {category} from {since} to {until}", values)
        : say("nothing is known of {category} since {since}", values);
    })
    .join("; ");

export const HM = { hour: "2-digit", minute: "2-digit" };
export const HMS = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
export const DAY = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
export function stamp(at_s, zone, options, of = locale) {
  try {
    return new Intl.DateTimeFormat(of, { ...options, timeZone: zone, hourCycle: "h23" }).format(at_s * 1000);
  } catch (error) {
    if (error instanceof RangeError && zone !== "UTC") return stamp(at_s, "UTC", options, of);
    throw error;
  }
}

/** What is chosen and not there, in words; options: the values of each choice, the first of which is taken instead. */
export const unknownIn = (options, chosen) =>
  Object.entries(options)
    .filter(([name, values]) => name in chosen && !values.includes(chosen[name]))
    .map(([name, [first]]) =>
      say("There is no {choice} {value} here: {shown} is shown.", {
        choice: CHOICES[name],
        value: chosen[name],
        shown: plain(first),
      }),
    )
    .join(" ");
