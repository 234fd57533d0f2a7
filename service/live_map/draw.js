// The map on its canvas: cells by a logarithmic scale of colours, lines of streets and areas, rings around chosen cells.
import { $, css, make } from "./elements.js";
import { figure } from "./language.js";

// Where each class of colours begins; of chances and lifts the same everywhere, and on Grafana's map.
const RISK_STEPS = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64];
const LIFT_STEPS = [1 / 3, 1 / 2, 1 / 1.5, 1 / 1.2, 1.2, 1.5, 2, 3];
const MORE_STEPS = [10, 20, 50, 100];
const COUNT_STEPS = [-5, -4, -3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => +`${digit}e${power}`));
const INKS = ["void", "calm", "hatch", "border", "mark", "halo", "quiet", "area", "street"];
const ink = {};
export const MOST = 40; // times as large as what fits
let px = 1, west = 0, north = 0, rem = 1, grid, steps, end, colours; // px: a cell's width; west, north: the drawn part's edges on the stage
let part = { row: 0, col: 0, rows: 1, cols: 1 }; // of the grid that is drawn
let view = { factor: 1, lat: 0, lon: 0 }; // how many times as large as what fits, and the place in the middle of the stage

export const corner = (cell) => [west + ((cell % grid.cols) - part.col) * px, north + (part.row + part.rows - 1 - Math.floor(cell / grid.cols)) * px];
export const size = () => px;

/** Of a place in degrees where it is on the stage, and of a point of the stage its place. */
const pointOf = ({ lat, lon }) => [west + ((lon - grid.west_deg) / grid.cell_lon_deg - part.col) * px, north + (part.row + part.rows - (lat - grid.south_deg) / grid.cell_lat_deg) * px];
const placeAt = (x, y) => ({ lat: grid.south_deg + (part.row + part.rows - (y - north) / px) * grid.cell_lat_deg, lon: grid.west_deg + (part.col + (x - west) / px) * grid.cell_lon_deg });

/** The view `times` as large, in which the place under the point from lies at the point to; a map that fits is in the middle. */
export function moved(times, from, to = from) {
  const { clientWidth, clientHeight } = $("stage"), middle = [clientWidth / 2, (clientHeight - 36 * rem) / 2];
  const factor = Math.min(MOST, Math.max(1, view.factor * times)), scale = factor / view.factor;
  return { factor, ...placeAt(...[0, 1].map((axis) => from[axis] + (middle[axis] - to[axis]) / scale)) };
}
export function setView(next) { view = next; }

/** The least part of the grid that has all these cells; all of it without any. */
function partOf(cells, { rows, cols }) {
  if (!cells.length) return { row: 0, col: 0, rows, cols };
  const of = (place) => cells.map(place).reduce(([least, most], one) => [Math.min(least, one), Math.max(most, one)], [Infinity, -1]);
  const [south, top] = of((cell) => Math.floor(cell / cols)), [left, right] = of((cell) => cell % cols);
  return { row: south, col: left, rows: top - south + 1, cols: right - left + 1 };
}

const isWithin = (place, from, length) => place >= from && place < from + length;
const isDrawn = (cell) => isWithin(Math.floor(cell / grid.cols), part.row, part.rows) && isWithin(cell % grid.cols, part.col, part.cols);

/** The cell under a pointer's event, or null. */
export function under(event) {
  const col = Math.floor((event.offsetX - west) / px), up = Math.floor((event.offsetY - north) / px);
  const isIn = col >= 0 && col < part.cols && up >= 0 && up < part.rows;
  return isIn ? (part.row + part.rows - 1 - up) * grid.cols + part.col + col : null;
}

/** The classes of a measure; of expected counts the last ends above all that is usual and all that is shown. */
export function chooseScale(measure, rows) {
  const ramp = css("--ramp").split(" "), high = [...rows].reduce((most, { usual, expected }) => Math.max(most, usual, expected), 0);
  const found = COUNT_STEPS.findIndex((step) => step > high), last = Math.max(ramp.length - 1, found < 0 ? COUNT_STEPS.length - 1 : found);
  colours = { unusual: ramp.slice(-MORE_STEPS.length - 1), lift: css("--lift").split(" ") }[measure] ?? ramp;
  steps = { unusual: MORE_STEPS, lift: LIFT_STEPS, risk: RISK_STEPS }[measure] ?? COUNT_STEPS.slice(last - ramp.length + 1, last);
  end = { risk: [1], expected: [COUNT_STEPS[last]] }[measure] ?? [];
}

export const colourOf = (value) => colours[steps.filter((step) => step <= value).length];

export function drawLegend(measure) {
  const share = (place) => `${(100 * place) / colours.length}%`;
  const inFigures = { unusual: (step) => (step ? `+${step}` : "0"), lift: (step) => `×${figure(+step.toFixed(2))}`, risk: (step) => `${figure(+(100 * step).toFixed(3))} %`, expected: figure }[measure];
  $("ramp").style.background = `linear-gradient(90deg, ${colours.map((colour, at) => `${colour} ${share(at)} ${share(at + 1)}`).join(", ")}), var(--sea)`;
  const begin = measure === "unusual" ? [0] : []; // of the palest class
  $("ticks").replaceChildren(...[...begin, ...steps, ...end].map((step, at) => {
    const tick = make("span", inFigures(step));
    tick.style.left = share(at + 1 - begin.length);
    return tick;
  }));
}

function canvasOf(id) {
  const canvas = $(id), ratio = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = $("stage");
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return { pen, width, height };
}
function box(pen, cell, inset, radius = 0.16) {
  const [x, y] = corner(cell), side = Math.max(0, px - 2 * inset);
  pen.beginPath();
  pen.roundRect(x + inset, y + inset, side, side, px * radius);
}
function fill(pen, colour) { pen.fillStyle = colour; pen.fill(); }

/** scoreOf: what is shown of a row. best: cells that are numbered. Cells outside of the chosen area are left out; isWall:
 *  also those without any incident on record. isCalm: what has no score is as usual, and nothing else is to be said of it;
 *  isUnknown: or nobody knows. */
export function drawMap(picture, scoreOf, best, isWall, isCalm, isUnknown) {
  grid = picture.grid;
  part = partOf([...picture.active].filter((cell) => !picture.inside || picture.inside.has(cell)), grid);
  for (const name of INKS) ink[name] = css(`--${name}`);
  rem = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  document.documentElement.style.setProperty("--aspect", part.cols / part.rows);
  const { pen, width, height } = canvasOf("map"), pad = 14 * rem, foot = 36 * rem;
  px = view.factor * Math.max(0.1, Math.min((width - 2 * pad) / part.cols, (height - pad - foot) / part.rows));
  [west, north] = [(width - px * part.cols) / 2, Math.max(pad, (height - foot - px * part.rows) / 2)];
  const [south, left] = [grid.south_deg + part.row * grid.cell_lat_deg, grid.west_deg + part.col * grid.cell_lon_deg], clamp = (x, low, high) => Math.min(high, Math.max(low, x));
  const middle = { lat: clamp(view.lat, south, south + part.rows * grid.cell_lat_deg), lon: clamp(view.lon, left, left + part.cols * grid.cell_lon_deg) };
  if (view.factor > 1) [west, north] = [west, north].map((edge, axis) => edge + [width, height - foot][axis] / 2 - pointOf(middle)[axis]);
  const gap = px > 5 ? Math.max(0.5, px * 0.05) : 0, none = hatching(pen);
  for (let at = 0; at < part.rows * part.cols; at++) {
    const cell = (part.row + Math.floor(at / part.cols)) * grid.cols + part.col + (at % part.cols), row = picture.rows.get(cell);
    if ((picture.inside && !picture.inside.has(cell)) || (isWall && !row)) continue;
    const isShown = row && (isCalm || row.support !== "no_history") && Number.isFinite(scoreOf(row, cell)), isSmall = !isCalm && row?.support === "sparse";
    if (!isShown || isSmall) { box(pen, cell, row ? gap : gap + px * 0.06); fill(pen, row && isCalm && !isUnknown ? ink.calm : ink.void); }
    if (row && !isShown && (!isCalm || isUnknown)) fill(pen, none);
    if (isShown) { box(pen, cell, isSmall ? px * 0.24 : gap); fill(pen, colourOf(scoreOf(row, cell))); }
  }
  outline(pen, picture.active);
  lines(pen, picture.streets, ink.street, 1, 0.75);
  lines(pen, picture.outlines, ink.halo, 4, 0.9);
  lines(pen, picture.outlines, ink.area, 2, 1);
  for (const [cell, row] of picture.rows) if (row.observed_1h > 0 && px > 5) hit(pen, cell, row.observed_1h);
  label(pen, picture);
  best.map((cell, at) => [cell, at + 1]).reverse().forEach(([cell, place]) => number(pen, cell, place)); // the first on top
  furniture(pen, width, height);
}
function hatching(pen) {
  const tile = document.createElement("canvas"), side = (tile.width = tile.height = Math.max(4, Math.round(5 * rem)));
  const pattern = tile.getContext("2d");
  pattern.strokeStyle = ink.hatch; pattern.lineWidth = side / 5;
  for (const shift of [-side, 0, side]) { pattern.moveTo(shift, side); pattern.lineTo(shift + side, 0); }
  pattern.stroke();
  return pen.createPattern(tile, "repeat");
}
/** A thin line between the cells with and without incidents on record. */
function outline(pen, active) {
  const { rows, cols } = grid, on = (row, col) => row >= 0 && row < rows && col >= 0 && col < cols && active.has(row * cols + col);
  pen.beginPath();
  for (const cell of active) {
    const row = Math.floor(cell / cols), col = cell % cols, [x, y] = corner(cell);
    if (!on(row + 1, col)) { pen.moveTo(x, y); pen.lineTo(x + px, y); }
    if (!on(row - 1, col)) { pen.moveTo(x, y + px); pen.lineTo(x + px, y + px); }
    if (!on(row, col - 1)) { pen.moveTo(x, y); pen.lineTo(x, y + px); }
    if (!on(row, col + 1)) { pen.moveTo(x + px, y); pen.lineTo(x + px, y + px); }
  }
  pen.lineWidth = rem; pen.lineCap = "round"; pen.strokeStyle = ink.border; pen.stroke();
}
/** A dot whose area grows with the incidents, with their number where there is room. */
function hit(pen, cell, seen) {
  const [x, y] = corner(cell).map((edge) => edge + px / 2), radius = Math.max(1.3, px * Math.min(0.42, 0.12 * Math.sqrt(seen)));
  pen.beginPath(); pen.arc(x, y, radius, 0, 7);
  pen.lineWidth = 2 * rem; pen.strokeStyle = ink.halo; pen.stroke(); fill(pen, ink.mark);
  if (seen > 1 && radius >= 6 * rem) write(pen, seen, x, y, ink.halo);
}
function write(pen, number, x, y, colour) {
  pen.save();
  pen.font = `650 ${11 * rem}px ${getComputedStyle(document.body).fontFamily}`; pen.textAlign = "center"; pen.textBaseline = "middle";
  pen.fillStyle = colour; pen.fillText(number, x, y + 0.5 * rem);
  pen.restore();
}
/** The cell's place in the list, on its upper right corner, left of as many others. */
function number(pen, cell, place, others = 0) {
  const [x, y] = corner(cell), middle = x + px - 17 * rem * others;
  pen.beginPath(); pen.arc(middle, y, 8 * rem, 0, 7); fill(pen, ink.halo);
  pen.lineWidth = rem; pen.strokeStyle = ink.mark; pen.stroke();
  write(pen, place, middle, y, ink.mark);
}
/** A frame around what is drawn of each place, cells of a rectangle, with its number in the list; dashed where a person
 *  decided. Frames with one corner lie in one another, and their numbers beside one another. */
export function drawPlaces(places) {
  const pen = $("map").getContext("2d"), frames = [];
  for (const { cells, isDecided } of places) {
    const { row, col, rows, cols } = partOf(cells.filter(isDrawn), grid), north = (row + rows - 1) * grid.cols, end = north + col + cols - 1;
    frames.push({ first: north + col, rows, cols, end, isDecided, others: frames.filter((frame) => frame.end === end).length });
  }
  for (const { first, rows, cols, isDecided, others } of frames.toReversed())
    for (const [colour, width] of [[ink.halo, 6], [ink.mark, 3]]) {
      const inset = others * Math.min(6 * rem, px / 8), [x, y] = corner(first);
      pen.beginPath(); pen.roundRect(x + inset, y + inset, Math.max(0, cols * px - 2 * inset), Math.max(0, rows * px - 2 * inset), px * 0.16);
      pen.setLineDash(isDecided && colour === ink.mark ? [8 * rem, 6 * rem] : []);
      pen.lineWidth = width * rem; pen.strokeStyle = colour; pen.stroke();
    }
  pen.setLineDash([]);
  frames.forEach(({ end, others }, at) => number(pen, end, at + 1, others));
}
/** Where free units stand, and dashed around cells that none of them reaches. */
export function drawReach({ units, bare }) {
  const pen = $("map").getContext("2d");
  pen.save();
  for (const [colour, width] of [[ink.halo, 4], [ink.mark, 2]]) {
    pen.setLineDash([5 * rem, 4 * rem]); pen.lineWidth = width * rem; pen.strokeStyle = colour;
    for (const cell of bare) if (isDrawn(cell)) { box(pen, cell, 0); pen.stroke(); }
  }
  pen.setLineDash([]);
  for (const unit of units) {
    const [x, y] = pointOf(unit), side = 7 * rem;
    pen.beginPath(); pen.moveTo(x, y - side); pen.lineTo(x + side, y); pen.lineTo(x, y + side); pen.lineTo(x - side, y); pen.closePath();
    pen.lineWidth = 3 * rem; pen.strokeStyle = ink.halo; pen.stroke(); fill(pen, ink.mark);
  }
  pen.restore();
}
function lines(pen, shapes, colour, width, opacity) {
  pen.beginPath();
  for (const shape of shapes)
    for (const part of shape.geometry.coordinates)
      part.forEach(([lon, lat], point) => pen[point ? "lineTo" : "moveTo"](...pointOf({ lat, lon })));
  pen.globalAlpha = opacity; pen.lineWidth = width * rem; pen.lineJoin = "round"; pen.strokeStyle = colour; pen.stroke(); pen.globalAlpha = 1;
}
/** Names of places, and along the streets where they are long enough, as many as find room; the first of the file first. */
function label(pen, { names, streets }) {
  const taken = [], family = getComputedStyle(document.body).fontFamily;
  function writeName(name, [x, y], turn, size, weight) {
    pen.font = `${weight} ${size * rem}px ${family}`;
    const half = pen.measureText(name).width / 2, wide = Math.abs(Math.cos(turn)) * half + size * rem, high = Math.abs(Math.sin(turn)) * half + size * rem;
    if (taken.some((other) => Math.abs(other.x - x) < wide + other.wide && Math.abs(other.y - y) < high + other.high)) return;
    taken.push({ x, y, wide, high });
    pen.save(); pen.translate(x, y); pen.rotate(turn);
    pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineJoin = "round";
    pen.lineWidth = 3 * rem; pen.strokeStyle = ink.halo; pen.strokeText(name, 0, 0); pen.fillStyle = ink.mark; pen.fillText(name, 0, 0);
    pen.restore();
  }
  for (const { name, ...place } of names) writeName(name, pointOf(place), 0, 12, 600);
  for (const { properties: { name }, geometry } of streets) {
    if (!name) continue;
    pen.font = `500 ${10 * rem}px ${family}`;
    const { width } = pen.measureText(name), written = taken.length;
    for (const part of geometry.coordinates) {
      const points = part.map(([lon, lat]) => pointOf({ lat, lon })), middle = Math.floor((points.length - 1) / 2);
      const [from, to] = [points[0], points.at(-1)], [before, after] = [points[middle], points[middle + 1] ?? points[middle]];
      if (taken.length > written || Math.hypot(to[0] - from[0], to[1] - from[1]) < width) continue;
      writeName(name, [(before[0] + after[0]) / 2, (before[1] + after[1]) / 2], Math.atan((after[1] - before[1]) / (after[0] - before[0] || 1e-9)), 10, 500);
    }
  }
}
/** Scale bar and north arrow. */
function furniture(pen, width, height) {
  const most_m = (grid.cell_m / px) * Math.min(190 * rem, width / 3);
  const length_m = [5, 2, 1].map((digit) => digit * 10 ** Math.floor(Math.log10(most_m))).find((length) => length <= most_m);
  const bar = (length_m / grid.cell_m) * px / rem, y = -14;
  pen.save(); pen.translate(0, height); pen.scale(rem, rem);
  pen.strokeStyle = pen.fillStyle = ink.quiet; pen.lineWidth = 1.5; pen.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  pen.beginPath(); pen.moveTo(16, y - 5); pen.lineTo(16, y); pen.lineTo(16 + bar, y); pen.lineTo(16 + bar, y - 5); pen.stroke();
  pen.fillText(length_m < 1000 ? `${length_m} m` : `${length_m / 1000} km`, 24 + bar, y);
  const needle = width / rem - 20;
  pen.beginPath(); pen.moveTo(needle, y - 15); pen.lineTo(needle + 5, y); pen.lineTo(needle, y - 3); pen.lineTo(needle - 5, y); pen.fill();
  pen.textAlign = "center"; pen.fillText("N", needle, y - 19);
  pen.restore();
}
export function drawRings(solid, dashed) {
  const { pen } = canvasOf("rings");
  const ring = (cell, dash) => {
    box(pen, cell, -rem, 0.2);
    pen.setLineDash([]); pen.lineWidth = 5 * rem; pen.strokeStyle = ink.halo; pen.stroke();
    pen.setLineDash(dash); pen.lineWidth = 2.5 * rem; pen.strokeStyle = ink.mark; pen.stroke();
  };
  for (const cell of solid) if (cell !== null) ring(cell, []);
  if (dashed !== null) ring(dashed, [4, 3]);
}
