// The map on its canvas: cells by a logarithmic scale of colours, lines of streets and areas, rings around chosen cells.
import { $, css, make } from "./elements.js";

const RISK_STEPS = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.95];
const COUNT_STEPS = [-5, -4, -3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => +`${digit}e${power}`));
const MORE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200];
const LIFT_STEPS = [1 / 3, 1 / 2, 1 / 1.5, 1 / 1.2, 1, 1.2, 1.5, 2, 3];
const INKS = ["void", "calm", "hatch", "border", "mark", "halo", "quiet", "area", "street"];
const ink = {};
let px = 1, west = 0, north = 0, rem = 1, grid, steps, colours; // px: a cell's width; west, north: the drawn part's edges on the stage
let part = { row: 0, col: 0, rows: 1, cols: 1 }; // of the grid that is drawn

export const corner = (cell) => [west + ((cell % grid.cols) - part.col) * px, north + (part.row + part.rows - 1 - Math.floor(cell / grid.cols)) * px];
export const size = () => px;

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

/** Eight round steps, up to one that nothing usual and nothing shown is above: it seldom follows a new frame. */
export function chooseScale(measure, rows) {
  const ladder = measure === "risk" ? RISK_STEPS : COUNT_STEPS;
  const values = [...rows].flatMap(({ usual, risk, expected }) => (measure === "risk" ? [-Math.expm1(-usual), risk] : [usual, expected]));
  const high = values.reduce((most, one) => Math.max(most, one), 0), above = ladder.findIndex((step) => step >= high);
  const last = Math.max(7, above < 0 ? ladder.length - 1 : above);
  steps = measure === "unusual" ? MORE_STEPS : measure === "lift" ? LIFT_STEPS : ladder.slice(last - 7, last + 1);
  const stops = css(measure === "lift" ? "--lift" : "--ramp").split(" ");
  const parts = stops.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  colours = Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (parts.length - 1), from = Math.min(Math.floor(place), parts.length - 2);
    return `rgb(${parts[from].map((one, k) => Math.round(one + (parts[from + 1][k] - one) * (place - from))).join(" ")})`;
  });
}

export function colourOf(value) {
  const at = steps.findIndex((step) => step > value);
  if (at < 0) return colours[255];
  if (at === 0) return colours[0];
  const part = Math.log(value / steps[at - 1]) / Math.log(steps[at] / steps[at - 1]);
  return colours[Math.round((255 * (at - 1 + part)) / (steps.length - 1))];
}

export function drawLegend(measure) {
  $("ramp").style.background = `linear-gradient(90deg, ${colours.filter((_, i) => i % 15 === 0).join(", ")})`;
  const say = { unusual: (step) => `+${step}`, lift: (step) => (step === 1 ? "as usual" : `×${+step.toFixed(2)}`), risk: (step) => `${+(100 * step).toFixed(3)} %`, expected: String };
  const last = steps.length - 1;
  $("ticks").replaceChildren(...steps.map((step, at) => {
    const tick = make("span", say[measure](step) + (at === last ? " +" : ""));
    tick.style.left = `${(100 * at) / last}%`;
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
 *  also those without any incident on record. isCalm: what has no score is as usual, and nothing else is to be said of it. */
export function drawMap(picture, scoreOf, best, isWall, isCalm) {
  grid = picture.grid;
  part = partOf([...picture.active].filter((cell) => !picture.inside || picture.inside.has(cell)), grid);
  for (const name of INKS) ink[name] = css(`--${name}`);
  rem = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  document.documentElement.style.setProperty("--aspect", part.cols / part.rows);
  const { pen, width, height } = canvasOf("map"), pad = 14 * rem, foot = 36 * rem;
  px = Math.max(0.1, Math.min((width - 2 * pad) / part.cols, (height - pad - foot) / part.rows));
  [west, north] = [(width - px * part.cols) / 2, Math.max(pad, (height - foot - px * part.rows) / 2)];
  const gap = px > 5 ? Math.max(0.5, px * 0.05) : 0, none = hatching(pen);
  for (let at = 0; at < part.rows * part.cols; at++) {
    const cell = (part.row + Math.floor(at / part.cols)) * grid.cols + part.col + (at % part.cols), row = picture.rows.get(cell);
    if ((picture.inside && !picture.inside.has(cell)) || (isWall && !row)) continue;
    const isShown = row && (isCalm || row.support !== "no_history") && Number.isFinite(scoreOf(row, cell)), isSmall = !isCalm && row?.support === "sparse";
    if (!isShown || isSmall) { box(pen, cell, row ? gap : gap + px * 0.06); fill(pen, row && isCalm ? ink.calm : ink.void); }
    if (row && !isShown && !isCalm) fill(pen, none);
    if (isShown) { box(pen, cell, isSmall ? px * 0.24 : gap); fill(pen, colourOf(scoreOf(row, cell))); }
  }
  outline(pen, picture.active);
  lines(pen, picture.streets, ink.street, 1, 0.75);
  lines(pen, picture.outlines, ink.halo, 4, 0.9);
  lines(pen, picture.outlines, ink.area, 2, 1);
  for (const [cell, row] of picture.rows) if (row.observed_1h > 0 && px > 5) hit(pen, cell);
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
function hit(pen, cell) {
  const [x, y] = corner(cell);
  pen.beginPath(); pen.arc(x + px / 2, y + px / 2, Math.max(1.3, px * 0.12), 0, 7);
  pen.lineWidth = 2 * rem; pen.strokeStyle = ink.halo; pen.stroke(); fill(pen, ink.mark);
}
/** The cell's place in the list, on its upper right corner. */
function number(pen, cell, place) {
  const [x, y] = corner(cell);
  pen.save();
  pen.beginPath(); pen.arc(x + px, y, 8 * rem, 0, 7); fill(pen, ink.halo);
  pen.lineWidth = rem; pen.strokeStyle = ink.mark; pen.stroke();
  pen.font = `650 ${11 * rem}px ${getComputedStyle(document.body).fontFamily}`; pen.textAlign = "center"; pen.textBaseline = "middle";
  pen.fillStyle = ink.mark; pen.fillText(place, x + px, y + 0.5 * rem);
  pen.restore();
}
/** A frame around what is drawn of each place, cells of a rectangle, with its number in the list. */
export function drawPlaces(places) {
  const pen = $("map").getContext("2d");
  const frames = places.map((cells) => partOf(cells.filter(isDrawn), grid)), north = ({ row, rows }) => (row + rows - 1) * grid.cols;
  for (const frame of frames.toReversed())
    for (const [colour, width] of [[ink.halo, 6], [ink.mark, 3]]) {
      pen.beginPath(); pen.roundRect(...corner(north(frame) + frame.col), frame.cols * px, frame.rows * px, px * 0.16);
      pen.lineWidth = width * rem; pen.strokeStyle = colour; pen.stroke();
    }
  frames.forEach((frame, at) => number(pen, north(frame) + frame.col + frame.cols - 1, at + 1));
}
function lines(pen, shapes, colour, width, opacity) {
  const x = (lon) => west + ((lon - grid.west_deg) / grid.cell_lon_deg - part.col) * px;
  const y = (lat) => north + (part.row + part.rows - (lat - grid.south_deg) / grid.cell_lat_deg) * px;
  pen.beginPath();
  for (const shape of shapes)
    for (const part of shape.geometry.coordinates)
      part.forEach(([lon, lat], at) => pen[at ? "lineTo" : "moveTo"](x(lon), y(lat)));
  pen.globalAlpha = opacity; pen.lineWidth = width * rem; pen.lineJoin = "round"; pen.strokeStyle = colour; pen.stroke(); pen.globalAlpha = 1;
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
