// A place that somebody writes: a cell, coordinates, a name, a street, or a crossing of two streets. Nothing of it leaves the page.
import { cellAround, cellOf, centreOf } from "./grid.js";
import { locale, say } from "./language.js";

const PART = String.raw`([+-]?)(\d+(?:[.,]\d+)?)\s*°?\s*(?:(\d+(?:[.,]\d+)?)\s*['′’]\s*)?(?:(\d+(?:[.,]\d+)?)\s*["″”]\s*)?([NSEWO])?`;
const COORDINATES = new RegExp(`^\\s*${PART}\\s*[,;\\s]\\s*${PART}\\s*$`, "i");
const BETWEEN = /\s+(?:and|und|at|x|&|\/|@|\+)\s+/i; // two streets
const NEAR_DEG = 0.004; // two streets that come so near to one another cross there, on a simplified map
const NEARBY_DEG = 0.01; // of latitude, about a kilometre: a crossing says where a place is
const MOST = 12; // that are offered while somebody types

/** Latitude and longitude as people write them, `41.88, -87.63`, `41,88 -87,63` or `41°52'48"N 87°37'48"W`; null for another text. */
export function coordinatesIn(text) {
  const parts = COORDINATES.exec(text);
  if (!parts) return null;
  const [[first, one], [second, other]] = [parts.slice(1, 6), parts.slice(6)].map(
    ([sign, degrees, minutes = "0", seconds = "0", side = ""]) => {
      const [d, m, s] = [degrees, minutes, seconds].map((number) => +number.replace(",", "."));
      return [(sign === "-" || /[SW]/i.test(side) ? -1 : 1) * (d + m / 60 + s / 3600), side.toUpperCase()];
    },
  );
  return /[EWO]/.test(one) || /[NS]/.test(other) ? { lat: second, lon: first } : { lat: first, lon: second };
}

const folded = (text) =>
  text.trim().normalize("NFKD").replace(/\p{M}/gu, "").toLocaleLowerCase(locale).replace(/\s+/g, " ");
const linesOf = ({ type, coordinates }) => ({ LineString: [coordinates], MultiLineString: coordinates })[type] ?? [];
const degrees = ([lon, lat]) => ({ lat, lon });
const half = (all) => all[Math.floor(all.length / 2)];

/** Everything with a name in a picture: places, areas, streets and stations, with a point of each.
 *  @param {Pick<Picture, "names" | "land" | "outlines"> & { stations?: Named[] }} picture @returns {Named[]} */
export function namedIn({ names, land, outlines, stations = [] }) {
  const areas = outlines.map(({ properties: { area }, geometry }) => {
    const points = linesOf(geometry).flat();
    const [lons, lats] = [0, 1].map((axis) => points.map((point) => point[axis]));
    return {
      name: area,
      lat: (Math.min(...lats) + Math.max(...lats)) / 2,
      lon: (Math.min(...lons) + Math.max(...lons)) / 2,
    };
  });
  const streets = land
    .filter(({ properties, geometry }) => properties.name && linesOf(geometry).length)
    .map(({ properties: { name }, geometry }) => ({
      name,
      lines: linesOf(geometry),
      ...degrees(half(half(linesOf(geometry)))),
    }));
  return [...names, ...areas, ...streets, ...stations];
}

const from = (p, q) => [q[0] - p[0], q[1] - p[1]];
const turn = (p, q) => p[0] * q[1] - p[1] * q[0];
const segmentsOf = ({ lines }) => lines.flatMap((line) => line.slice(1).map((to, at) => [line[at], to]));
/** The point of a segment that is nearest to another point. */
function nearestOn(segment, point) {
  const [a, b] = segment;
  const [v, w] = [from(a, b), from(a, point)];
  const share = Math.min(1, Math.max(0, (v[0] * w[0] + v[1] * w[1]) / (v[0] ** 2 + v[1] ** 2 || 1)));
  return [a[0] + share * v[0], a[1] + share * v[1]];
}
/** Where two streets cross, or come nearest to one another if that is near; null for neither. */
export function crossing(one, other) {
  let best = null;
  let least = NEAR_DEG;
  for (const [a, b] of segmentsOf(one))
    for (const [c, d] of segmentsOf(other)) {
      const [r, s, across] = [from(a, b), from(c, d), from(a, c)];
      const [t, u] = [turn(across, s) / turn(r, s), turn(across, r) / turn(r, s)];
      if (t >= 0 && t <= 1 && u >= 0 && u <= 1) return degrees([a[0] + t * r[0], a[1] + t * r[1]]);
      const near = [
        ...[c, d].map((end) => [nearestOn([a, b], end), end]),
        ...[a, b].map((end) => [nearestOn([c, d], end), end]),
      ];
      for (const [at, end] of near) {
        const far = Math.hypot(at[0] - end[0], at[1] - end[1]);
        if (far < least) [least, best] = [far, degrees(at)];
      }
    }
  return best;
}

/** The crossing of two named streets that is nearest to a place, if one is near; "" for none.
 *  @param {Place} place @param {Picture["land"]} land @returns {string} */
export function crossingNear(place, land) {
  const window = NEARBY_DEG / Math.cos((place.lat * Math.PI) / 180);
  const isNear = (segment) =>
    [place.lon, place.lat].every((at, axis) => {
      const ends = segment.map((point) => point[axis]);
      const far = axis ? NEARBY_DEG : window;
      return Math.min(...ends) < at + far && Math.max(...ends) > at - far;
    });
  const streets = namedIn({ names: [], outlines: [], land })
    .map(({ name, lines }) => ({ name, lines: segmentsOf({ lines }).filter(isNear) }))
    .filter(({ lines }) => lines.length);
  const far = ({ lat, lon }) => Math.hypot((lat - place.lat) / NEARBY_DEG, (lon - place.lon) / window);
  const crossings = streets.flatMap((street, at) =>
    streets.slice(at + 1).flatMap((other) => {
      const point = street.name === other.name ? null : crossing(street, other);
      return point && far(point) < 1 ? [{ street: street.name, other: other.name, far: far(point) }] : [];
    }),
  );
  const [nearest] = crossings.sort((one, other) => one.far - other.far);
  return nearest ? say("{street} and {other}", nearest) : "";
}

/** What is called so, else what begins so, else what has it in its name. */
function named(text, all) {
  const wanted = folded(text);
  const by = (is) => all.filter(({ name }) => is(folded(name)));
  if (!wanted) return [];
  return [
    ...new Set([
      ...by((name) => name === wanted),
      ...by((name) => name.startsWith(wanted)),
      ...by((name) => name.includes(wanted)),
    ]),
  ];
}

/** The place that a text names by a cell, coordinates or a name, with its cell; null for none of this grid. */
export function spotAt(text, grid, names = []) {
  const cell = cellOf(text.trim(), grid);
  if (cell !== null) return { cell, ...centreOf(cell, grid) };
  const wanted = folded(text);
  const place = coordinatesIn(text) ?? names.find(({ name }) => folded(name) === wanted);
  const around = place ? cellAround(place, grid) : null;
  return around === null ? null : { cell: around, lat: place.lat, lon: place.lon };
}

/** The place that somebody looks for, also by a part of its name or by two streets, with its name; null for none.
 *  @param {string} text @param {Picture} picture @returns {Spot | null} */
export function find(text, picture) {
  const all = namedIn(picture);
  const spot = spotAt(text, picture.grid, all);
  const streets = all.filter(({ lines }) => lines);
  if (spot) return { name: "", ...spot };
  const [left, right] = text.split(BETWEEN);
  const isInside = (place) => place && cellAround(place, picture.grid) !== null;
  if (right)
    for (const one of named(left, streets))
      for (const other of named(right, streets)) {
        const at = one === other ? null : crossing(one, other);
        if (isInside(at))
          return {
            ...at,
            cell: cellAround(at, picture.grid),
            name: say("{street} and {other}", { street: one.name, other: other.name }),
          };
      }
  const first = named(text, all).find(isInside);
  return first ? { name: first.name, lat: first.lat, lon: first.lon, cell: cellAround(first, picture.grid) } : null;
}

/** Names that begin or go on as the text does; of a street also its crossings.
 *  @param {string} text @param {Picture} picture @returns {string[]} */
export function offered(text, picture) {
  const all = namedIn(picture);
  const [left, right = ""] = text.split(BETWEEN);
  const streets = all.filter(({ lines }) => lines);
  const found = BETWEEN.test(`${text} `) && right === "" ? [] : named(text, all).map(({ name }) => name);
  const [street] = named(left, streets);
  const others =
    street && (folded(street.name) === folded(left) || right)
      ? (right ? named(right, streets) : streets).filter((other) => other !== street && crossing(street, other))
      : [];
  const both = others.map((other) => say("{street} and {other}", { street: street.name, other: other.name }));
  return [...new Set([...found, ...both])].slice(0, MOST);
}
