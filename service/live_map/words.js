// Numbers, times and places in words.
import { decimals, listed, locale, say, sayMany } from "./language.js";

export const ALL = "all", WHOLE = "whole region"; // categories; an area
const NEAR_M = 5000; // a name says where a place is
const MOST_NAMES = 3; // of one place
const HALF_A_DAY_S = 43_200; // older times have their day
export const CHOICES = { region: say("region"), measure: say("measure"), category: say("category"), horizon: say("horizon"), area: say("area") };
export const MEASURES = { unusual: say("More than usual"), risk: say("Risk"), expected: say("Expected count"), lift: say("Lift over usual") };

export const count = (x) => (x === 0 ? "0" : x < 0.001 ? `<${decimals(0.001, 3)}` : decimals(x, x < 0.1 ? 3 : x < 10 ? 2 : x < 100 ? 1 : 0));
export const percent = (p) => (p === 0 ? "0 %" : p < 0.001 ? `<${decimals(0.1, 1)} %` : p > 0.99 ? ">99 %" : `${decimals(100 * p, p < 0.1 ? 1 : 0)} %`);
export const times = (x) => (Number.isFinite(x) ? `×${decimals(x, x < 10 ? 2 : 0)}` : "–");
export const SAY = { risk: percent, expected: count, lift: times };
export const plain = (slug) => (slug === ALL ? say("all categories") : slug === WHOLE ? say("whole region") : slug.replaceAll("_", " ").replace(/^(\d+)h$/, "$1 h"));
export const span = (s) => (s < 100 ? `${Math.round(s)} s` : s < 5940 ? `${Math.round(s / 60)} min`
  : s < 172800 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : sayMany("{count} day", "{count} days", Math.floor(s / 86400)));

/** A place with more incidents than usual, in words; none of them is: of what is chosen, at this local hour. */
export const seldom = (days) => (days >= 36_000 ? say("100 years +") : days < 730 ? sayMany("{count} day", "{count} days", Math.round(days)) : sayMany("{count} year", "{count} years", Math.round(days / 365)));
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const few = (names) => listed(names.length > MOST_NAMES ? [...names.slice(0, MOST_NAMES), sayMany("{count} more", "{count} more", names.length - MOST_NAMES)] : names);
/** Where a rectangle of cells is: the names in it, those nearest to most of the cells `above` first, or to its middle; where none
 *  is in it, the nearest within a few kilometres; "" for none. */
export function nearest(names, [first, last], grid, above = []) {
  const [south, north] = [first, last].map((cell) => Math.floor(cell / grid.cols)), [west, east] = [first, last].map((cell) => cell % grid.cols);
  const middle = { lat: grid.south_deg + ((south + north + 1) / 2) * grid.cell_lat_deg, lon: grid.west_deg + ((west + east + 1) / 2) * grid.cell_lon_deg };
  const targets = above.length ? above.map((id) => centreOf(cellOf(id, grid), grid)) : [middle];
  const between_m = (place, to) => grid.cell_m * Math.hypot((place.lat - to.lat) / grid.cell_lat_deg, (place.lon - to.lon) / grid.cell_lon_deg);
  const far_m = (place) => Math.min(...targets.map((to) => between_m(place, to)));
  const nearTo = (to) => names.reduce((best, place) => (best && between_m(best, to) <= between_m(place, to) ? best : place), undefined);
  const votes = new Map(names.map((place) => [place, 0]));
  if (names.length) for (const place of targets.map(nearTo)) votes.set(place, votes.get(place) + 1);
  const sorted = names.toSorted((a, b) => votes.get(b) - votes.get(a) || far_m(a) - far_m(b) || between_m(a, middle) - between_m(b, middle));
  const inside = sorted.filter((place) => {
    const { row, col } = rowAndCol(place, grid);
    return first !== last && south <= row && row <= north && west <= col && col <= east;
  });
  if (inside.length) return say("around {name}", { name: few(inside.map(({ name }) => name)) });
  const closest = sorted.find((place) => between_m(place, middle) < NEAR_M);
  return !closest ? "" : first === last ? say("near {name}", closest) : say("around {name}", closest);
}
const endsOf = (cells, grid) => [cells[0], cells.at(-1)].map((id) => cellOf(id, grid));
export const cellsName = ({ cells }) => (cells.length === 1 ? cells[0] : say("{first} to {last}", { first: cells[0], last: cells.at(-1) }));
/** Where a place is: by names on the map if there are some in it or near, else by its cells; and its area, or all that it touches. */
export function placeName({ area, areas = [], cells, above = cells }, { grid, names }) {
  if (cells.length === grid.rows * grid.cols) return say("in the whole region");
  const within = area ? [area] : areas, name = nearest(names, endsOf(cells, grid), grid, above.length < cells.length ? above : []);
  return (name || say("at {cells}", { cells: cellsName({ cells }) })) + (within.length ? ` (${few(within)})` : "");
}
/** What happened in a place, and what is usual there. */
export const happened = (place, picture) => say("{category} {place}, {observed} in place of {usual} in {hours} h", { ...place, category: plain(place.category), place: placeName(place, picture), usual: count(place.usual) });
export const isUsual = (at_s, zone) => +stamp(at_s, zone, { hour: "2-digit" }, "en-GB") % 18 < 6 ? say("Nothing stands out tonight") : say("Nothing stands out today");

/** The silences that say something of a category: of all of them, else its own, or every one where all are chosen. */
export function silencesOf(category, silent = []) {
  const whole = silent.filter((one) => one.category === ALL);
  return whole.length ? whole : silent.filter((one) => category === ALL || one.category === category);
}
const sinceOf = ({ since }, { as_of_s, timezone }) => stamp(Date.parse(since) / 1000, timezone, as_of_s - Date.parse(since) / 1000 < HALF_A_DAY_S ? HM : { weekday: "short", ...HM });
/** Since when how few incidents came in, as `theft since 14:05 (6 h 10 min): 0 incidents, where 12 are usual`. */
export function silence(one, facts) {
  const values = { since: sinceOf(one, facts), span: span(facts.as_of_s - Date.parse(one.since) / 1000), incidents: sayMany("{count} incident", "{count} incidents", one.observed), usual: count(one.usual) };
  const says = say("since {since} ({span}): {incidents}, where {usual} are usual", values);
  return one.category === ALL ? says : `${plain(one.category)} ${says}`;
}
/** Whether the feeds that say something of a category are those of others too. */
export const isPartly = (facts) => !silencesOf(facts.category, facts.silent).some(({ category }) => [ALL, facts.category].includes(category));
/** That nothing is known, for what the measure of the unusual says of this choice; "" where all is known. */
export const unknown = (facts) => silencesOf(facts.category, facts.silent).map((one) => {
  const values = { category: plain(one.category), since: sinceOf(one, facts), until: one.until && stamp(Date.parse(one.until) / 1000, facts.timezone, HM) };
  if (one.category === ALL) return one.until ? say("nothing is known from {since} to {until}", values) : say("nothing is known since {since}", values);
  return one.until ? say("nothing is known of {category} from {since} to {until}", values) : say("nothing is known of {category} since {since}", values);
}).join("; ");

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

const three = (number) => String(number).padStart(3, "0");
export const idOf = (cell, { cols }) => `r${three(Math.floor(cell / cols))}c${three(cell % cols)}`;
export function cellOf(id, { rows, cols }) {
  const match = /^r(\d{3,})c(\d{3,})$/.exec(id ?? "");
  return match && +match[1] < rows && +match[2] < cols ? +match[1] * cols + +match[2] : null;
}
const rowAndCol = ({ lat, lon }, grid) => ({ row: Math.floor((lat - grid.south_deg) / grid.cell_lat_deg), col: Math.floor((lon - grid.west_deg) / grid.cell_lon_deg) });
/** The place that a text names, by the id of a cell, by `latitude, longitude` in degrees or by one of the names, with its cell; null for none of this grid. */
export function spotAt(text, grid, names = []) {
  const degrees = /^\s*(-?\d+(?:\.\d+)?)\s*[,\s]\s*(-?\d+(?:\.\d+)?)\s*$/.exec(text), wanted = text.trim();
  const named = names.find(({ name }) => name.localeCompare(wanted, locale, { sensitivity: "base" }) === 0);
  if (!degrees && !named) {
    const cell = cellOf(wanted, grid);
    return cell === null ? null : { cell, ...centreOf(cell, grid) };
  }
  const { lat, lon } = named ?? { lat: +degrees[1], lon: +degrees[2] }, { row, col } = rowAndCol({ lat, lon }, grid);
  return row >= 0 && row < grid.rows && col >= 0 && col < grid.cols ? { cell: row * grid.cols + col, lat, lon } : null;
}
export const centreOf = (cell, { south_deg, west_deg, cell_lat_deg, cell_lon_deg, cols }) =>
  ({ lat: south_deg + (Math.floor(cell / cols) + 0.5) * cell_lat_deg, lon: west_deg + ((cell % cols) + 0.5) * cell_lon_deg });
/** How a place may be written: by the middle of this region. */
export function placeExample(grid) {
  const cell = Math.floor(grid.rows / 2) * grid.cols + Math.floor(grid.cols / 2), { lat, lon } = centreOf(cell, grid);
  return say("{place} or {cell}", { place: `${lat.toFixed(2)}, ${lon.toFixed(2)}`, cell: idOf(cell, grid) });
}
export function placeOf(cell, grid) {
  const { lat, lon } = centreOf(cell, grid);
  return `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? say("S") : say("N")}, ${Math.abs(lon).toFixed(4)}° ${lon < 0 ? say("W") : say("E")}`;
}

/** What is chosen and not there, in words; options: the values of each choice, the first of which is taken instead. */
export const unknownIn = (options, chosen) => Object.entries(options).filter(([name, values]) => name in chosen && !values.includes(chosen[name]))
  .map(([name, [first]]) => say("There is no {choice} {value} here: {shown} is shown.", { choice: CHOICES[name], value: chosen[name], shown: plain(first) })).join(" ");
