// Numbers, times and places in words.
export const ALL = "all"; // categories
const NEAR_M = 5000; // a name says where a place is
export const MEASURES = { unusual: "More than usual", risk: "Risk", expected: "Expected count", lift: "Lift over usual" };

export const count = (x) => (x === 0 ? "0" : x < 0.001 ? "<0.001" : x < 0.1 ? x.toFixed(3) : x < 10 ? x.toFixed(2) : x.toFixed(x < 100 ? 1 : 0));
export const percent = (p) => (p === 0 ? "0 %" : p < 0.001 ? "<0.1 %" : p > 0.99 ? ">99 %" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`);
export const times = (x) => (Number.isFinite(x) ? `×${x.toFixed(x < 10 ? 2 : 0)}` : "–");
export const SAY = { risk: percent, expected: count, lift: times };
export const plain = (slug) => (slug === ALL ? "all categories" : slug.replaceAll("_", " ").replace(/^(\d+)h$/, "$1 h"));
export const span = (s) => (s < 100 ? `${Math.round(s)} s` : s < 5940 ? `${Math.round(s / 60)} min`
  : s < 172800 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} days`);

/** A place with more incidents than usual, in words; none of them is: of what is chosen, at this local hour. */
export const seldom = (days) => (days >= 36_000 ? "100 years +" : days < 730 ? `${Math.round(days)} days` : `${Math.round(days / 365)} years`);
/** The named place nearest to the middle of a rectangle of cells, within a few kilometres; "" for none. */
export function nearest(names, [first, last], grid) {
  const between = (from, step, [low, high]) => from + ((low + high + 1) / 2) * step;
  const lat = between(grid.south_deg, grid.cell_lat_deg, [first, last].map((cell) => Math.floor(cell / grid.cols)));
  const lon = between(grid.west_deg, grid.cell_lon_deg, [first, last].map((cell) => cell % grid.cols));
  const far_m = (place) => grid.cell_m * Math.hypot((place.lat - lat) / grid.cell_lat_deg, (place.lon - lon) / grid.cell_lon_deg);
  const [found] = names.filter((place) => far_m(place) < NEAR_M).sort((a, b) => far_m(a) - far_m(b));
  return found ? `${first === last ? "near" : "around"} ${found.name}` : "";
}
const endsOf = (cells, grid) => [cells[0], cells.at(-1)].map((id) => cellOf(id, grid));
export const cellsName = ({ cells }) => (cells.length === 1 ? cells[0] : `${cells[0]} to ${cells.at(-1)}`);
/** Where a place is: by a name on the map if there is one near, else by its cells; and its area. */
export function placeName({ area, cells }, { grid, names }) {
  if (cells.length === grid.rows * grid.cols) return "in the whole region";
  return (nearest(names, endsOf(cells, grid), grid) || `at ${cellsName({ cells })}`) + (area ? ` (${area})` : "");
}
/** What happened in a place, and what is usual there. */
export const happened = (place, picture) => `${plain(place.category)} ${placeName(place, picture)}, ${place.observed} in place of ${count(place.usual)} in ${place.hours} h`;
export const isUsual = (at_s, zone) => `${+stamp(at_s, zone, { hour: "2-digit" }) % 18 < 6 ? "Tonight" : "Today"} is as usual`;

export const HMS = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
export const DAY = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
export function stamp(at_s, zone, options, locale = "en-GB") {
  try {
    return new Intl.DateTimeFormat(locale, { ...options, timeZone: zone, hourCycle: "h23" }).format(at_s * 1000);
  } catch (error) {
    if (error instanceof RangeError && zone !== "UTC") return stamp(at_s, "UTC", options, locale);
    throw error;
  }
}

const three = (number) => String(number).padStart(3, "0");
export const idOf = (cell, { cols }) => `r${three(Math.floor(cell / cols))}c${three(cell % cols)}`;
export function cellOf(id, { rows, cols }) {
  const match = /^r(\d{3,})c(\d{3,})$/.exec(id ?? "");
  return match && +match[1] < rows && +match[2] < cols ? +match[1] * cols + +match[2] : null;
}
/** The place that a text names, by the id of a cell or by `latitude, longitude` in degrees, with its cell; null for none of this grid. */
export function spotAt(text, grid) {
  const degrees = /^\s*(-?\d+(?:\.\d+)?)\s*[,\s]\s*(-?\d+(?:\.\d+)?)\s*$/.exec(text);
  if (!degrees) {
    const cell = cellOf(text.trim(), grid);
    return cell === null ? null : { cell, ...centreOf(cell, grid) };
  }
  const [lat, lon] = [+degrees[1], +degrees[2]], row = Math.floor((lat - grid.south_deg) / grid.cell_lat_deg), col = Math.floor((lon - grid.west_deg) / grid.cell_lon_deg);
  return row >= 0 && row < grid.rows && col >= 0 && col < grid.cols ? { cell: row * grid.cols + col, lat, lon } : null;
}
export const centreOf = (cell, { south_deg, west_deg, cell_lat_deg, cell_lon_deg, cols }) =>
  ({ lat: south_deg + (Math.floor(cell / cols) + 0.5) * cell_lat_deg, lon: west_deg + ((cell % cols) + 0.5) * cell_lon_deg });
/** How a place may be written: by the middle of this region. */
export function placeExample(grid) {
  const cell = Math.floor(grid.rows / 2) * grid.cols + Math.floor(grid.cols / 2), { lat, lon } = centreOf(cell, grid);
  return `${lat.toFixed(2)}, ${lon.toFixed(2)} or ${idOf(cell, grid)}`;
}
export function placeOf(cell, grid) {
  const { lat, lon } = centreOf(cell, grid);
  return `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(4)}° ${lon < 0 ? "W" : "E"}`;
}

/** What is chosen and not there, in words; options: the values of each choice, the first of which is taken instead. */
export const unknownIn = (options, chosen) => Object.entries(options).filter(([name, values]) => name in chosen && !values.includes(chosen[name]))
  .map(([name, [first]]) => `There is no ${name} ${chosen[name]} here: ${plain(first)} is shown.`).join(" ");
