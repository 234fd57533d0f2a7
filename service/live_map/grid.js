// Cells and places of a region's grid, and how they are called.
import { listed, say, sayMany } from "./language.js";

const NEAR_M = 5000; // a name says where a place is
const MOST_NAMES = 3; // of one place
const three = (number) => String(number).padStart(3, "0");
export const idOf = (cell, { cols }) => `r${three(Math.floor(cell / cols))}c${three(cell % cols)}`;
export function cellOf(id, { rows, cols }) {
  const match = /^r(\d{3,})c(\d{3,})$/.exec(id ?? "");
  return match && +match[1] < rows && +match[2] < cols ? +match[1] * cols + +match[2] : null;
}
export const rowAndCol = ({ lat, lon }, grid) => ({
  row: Math.floor((lat - grid.south_deg) / grid.cell_lat_deg),
  col: Math.floor((lon - grid.west_deg) / grid.cell_lon_deg),
});
/** The cell that a place in degrees lies in, or null. */
export function cellAround(place, grid) {
  const { row, col } = rowAndCol(place, grid);
  return row >= 0 && row < grid.rows && col >= 0 && col < grid.cols ? row * grid.cols + col : null;
}
/** Whether a cell is parted evenly: too few incidents say where inside it they are. @param {number[]} squares */
export const isEven = (squares) => Math.min(...squares) === Math.max(...squares);
export const centreOf = (cell, grid) => ({
  lat: grid.south_deg + (Math.floor(cell / grid.cols) + 0.5) * grid.cell_lat_deg,
  lon: grid.west_deg + ((cell % grid.cols) + 0.5) * grid.cell_lon_deg,
});
/** How a place may be written: by its name where the map has names, else by the middle of this region.
 *  @param {Pick<Picture, "grid" | "names" | "land">} picture */
export function placeExample({ grid, names, land }) {
  const cell = Math.floor(grid.rows / 2) * grid.cols + Math.floor(grid.cols / 2);
  const { lat, lon } = centreOf(cell, grid);
  const values = { place: `${lat.toFixed(2)}, ${lon.toFixed(2)}`, cell: idOf(cell, grid) };
  return names.length + land.length
    ? say("Street, crossing, name or {place}", values)
    : say("{place} or {cell}", values);
}
/** @param {Place} place */
export function placeOf({ lat, lon }) {
  return `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? say("S") : say("N")}, ${Math.abs(lon).toFixed(4)}° ${lon < 0 ? say("W") : say("E")}`;
}
/** Whether a cell lies in the rectangle of two. */
export function holds({ first, last }, cell, grid) {
  const [from, to] = [first, last].map((id) => cellOf(id, grid));
  const row = (each) => Math.floor(each / grid.cols);
  const col = (each) => each % grid.cols;
  return row(from) <= row(cell) && row(cell) <= row(to) && col(from) <= col(cell) && col(cell) <= col(to);
}

const few = (names) =>
  listed(
    names.length > MOST_NAMES
      ? [...names.slice(0, MOST_NAMES), sayMany("{count} more place", "{count} more places", names.length - MOST_NAMES)]
      : names,
  );
/** The names of a rectangle of cells, those nearest to most of the cells `above` first, or to its middle; where none is in it, the
 *  nearest within a few kilometres. isIn: whether they are in it. */
function namesOf(names, ends, grid, above = []) {
  const [first, last] = ends;
  const [south, north] = [first, last].map((cell) => Math.floor(cell / grid.cols));
  const [west, east] = [first, last].map((cell) => cell % grid.cols);
  const middle = {
    lat: grid.south_deg + ((south + north + 1) / 2) * grid.cell_lat_deg,
    lon: grid.west_deg + ((west + east + 1) / 2) * grid.cell_lon_deg,
  };
  const targets = above.length ? above.map((id) => centreOf(cellOf(id, grid), grid)) : [middle];
  const between_m = (place, to) =>
    grid.cell_m * Math.hypot((place.lat - to.lat) / grid.cell_lat_deg, (place.lon - to.lon) / grid.cell_lon_deg);
  const far_m = (place) => Math.min(...targets.map((to) => between_m(place, to)));
  const nearTo = (to) =>
    names.reduce((best, place) => (best && between_m(best, to) <= between_m(place, to) ? best : place), undefined);
  const votes = new Map(names.map((place) => [place, 0]));
  if (names.length) for (const place of targets.map(nearTo)) votes.set(place, votes.get(place) + 1);
  const sorted = names.toSorted(
    (a, b) => votes.get(b) - votes.get(a) || far_m(a) - far_m(b) || between_m(a, middle) - between_m(b, middle),
  );
  const inside = sorted.filter((place) => {
    const { row, col } = rowAndCol(place, grid);
    return first !== last && south <= row && row <= north && west <= col && col <= east;
  });
  return {
    isIn: inside.length > 0,
    said: inside.length ? inside : sorted.filter((place) => between_m(place, middle) < NEAR_M).slice(0, 1),
  };
}
/** Where a rectangle of cells is, in words; "" for a place without a name near. */
export function nearest(names, ends, grid, above = []) {
  const { isIn, said } = namesOf(names, ends, grid, above);
  if (isIn) return say("around {name}", { name: few(said.map(({ name }) => name)) });
  return !said.length ? "" : ends[0] === ends[1] ? say("near {name}", said[0]) : say("around {name}", said[0]);
}
/** What a cell is called: by the name nearest to it, and its id. */
export function cellName(cell, { grid, names }) {
  const [near] = namesOf(names, [cell, cell], grid).said;
  return near ? `${near.name} · ${idOf(cell, grid)}` : idOf(cell, grid);
}
export const cellsName = ({ cells }) =>
  cells.length === 1 ? cells[0] : say("{first} to {last}", { first: cells[0], last: cells.at(-1) });
/** @param {Partial<Unusual> & { cells: string[] }} place @param {{ grid: Grid, names: Named[] }} picture
 *  Where a place is: by names on the map if there are some in it or near, else by its cells; and its area, or all that it touches. */
export function placeName(place, { grid, names }) {
  const { area, areas = [], cells, above = cells } = place;
  if (cells.length === grid.rows * grid.cols) return say("in the whole region");
  const ends = [cells[0], cells.at(-1)].map((id) => cellOf(id, grid));
  const within = area ? [area] : areas;
  const name = nearest(names, ends, grid, above.length < cells.length ? above : []);
  return (name || say("at {cells}", { cells: cellsName({ cells }) })) + (within.length ? ` (${few(within)})` : "");
}
