// The map on its canvas: cells by a logarithmic scale of colours, lines of streets and areas, rings around chosen cells.
const RISK_STEPS = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.95];
const COUNT_STEPS = [-5, -4, -3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => +`${digit}e${power}`));
const LIFT_STEPS = [1 / 3, 1 / 2, 1 / 1.5, 1 / 1.2, 1, 1.2, 1.5, 2, 3];
const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ink = {};
let view = { px: 1, left: 0, top: 0 }, rem = 1, grid, steps, colours;

export const corner = (cell) => [view.left + (cell % grid.cols) * view.px, view.top + (grid.rows - 1 - Math.floor(cell / grid.cols)) * view.px];
export const size = () => view.px;

/** The cell under a pointer's event, or null. */
export function under(event) {
  const col = Math.floor((event.offsetX - view.left) / view.px), up = Math.floor((event.offsetY - view.top) / view.px);
  return col >= 0 && col < grid.cols && up >= 0 && up < grid.rows ? (grid.rows - 1 - up) * grid.cols + col : null;
}

/** Eight steps up to the highest usual number of the region, so that the scale does not follow every new frame. */
export function chooseScale(measure, usual) {
  const ladder = measure === "risk" ? RISK_STEPS : COUNT_STEPS, sorted = Float64Array.from(usual).sort();
  const high = sorted[Math.floor(sorted.length * 0.995)] ?? 0, above = ladder.findIndex((step) => step >= high);
  const top = Math.max(7, above < 0 ? ladder.length - 1 : above);
  steps = measure === "lift" ? LIFT_STEPS : ladder.slice(top - 7, top + 1);
  const stops = css(measure === "lift" ? "--lift" : "--ramp").split(" ").map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  colours = Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (stops.length - 1), left = Math.min(Math.floor(place), stops.length - 2), part = place - left;
    return `rgb(${stops[left].map((from, k) => Math.round(from + (stops[left + 1][k] - from) * part)).join(" ")})`;
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
  const last = steps.length - 1;
  const label = (step, at) => (measure === "lift" ? (step === 1 ? "as usual" : `×${+step.toFixed(2)}`)
    : measure === "risk" ? `${+(100 * step).toFixed(3)} %` : String(step)) + (at === last ? " +" : "");
  $("ticks").replaceChildren(...steps.map((step, at) => {
    const tick = Object.assign(document.createElement("span"), { textContent: label(step, at) });
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
  const [x, y] = corner(cell);
  pen.beginPath();
  pen.roundRect(x + inset, y + inset, Math.max(0, view.px - 2 * inset), Math.max(0, view.px - 2 * inset), view.px * radius);
}

/** cells: by their number, { score, support, observed } of those that are shown. */
export function drawMap(itsGrid, cells, streets, outlines) {
  grid = itsGrid;
  for (const name of ["void", "mark", "halo", "quiet", "area", "street"]) ink[name] = css(`--${name}`);
  rem = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  document.documentElement.style.setProperty("--aspect", grid.cols / grid.rows);
  const { pen, width, height } = canvasOf("map"), pad = 14 * rem, foot = 36 * rem;
  const px = Math.max(0.1, Math.min((width - 2 * pad) / grid.cols, (height - pad - foot) / grid.rows));
  view = { px, left: (width - px * grid.cols) / 2, top: Math.max(pad, (height - foot - px * grid.rows) / 2) };
  const gap = px > 5 ? Math.max(0.5, px * 0.05) : 0;
  for (let cell = 0; cell < grid.rows * grid.cols; cell++) {
    const one = cells.get(cell), shown = one && one.support !== "no_history" && Number.isFinite(one.score);
    if (!shown || one.support === "sparse") { box(pen, cell, gap + px * 0.04); pen.fillStyle = ink.void; pen.fill(); }
    if (shown) { box(pen, cell, one.support === "sparse" ? px * 0.24 : gap); pen.fillStyle = colourOf(one.score); pen.fill(); }
  }
  lines(pen, streets, ink.street, 1, 0.75);
  lines(pen, outlines, ink.halo, 4, 0.9);
  lines(pen, outlines, ink.area, 2, 1);
  for (const [cell, one] of cells) if (one.observed > 0 && px > 5) hit(pen, cell, px);
  furniture(pen, width, height);
}
function hit(pen, cell, px) {
  const [x, y] = corner(cell);
  pen.beginPath(); pen.arc(x + px / 2, y + px / 2, Math.max(1.3, px * 0.12), 0, 7);
  pen.lineWidth = 2 * rem; pen.strokeStyle = ink.halo; pen.stroke(); pen.fillStyle = ink.mark; pen.fill();
}
function lines(pen, shapes, colour, width, opacity) {
  const x = (lon) => view.left + ((lon - grid.west_deg) / grid.cell_lon_deg) * view.px;
  const y = (lat) => view.top + (grid.rows - (lat - grid.south_deg) / grid.cell_lat_deg) * view.px;
  pen.beginPath();
  for (const shape of shapes)
    for (const line of shape.geometry.coordinates)
      line.forEach(([lon, lat], at) => pen[at ? "lineTo" : "moveTo"](x(lon), y(lat)));
  pen.globalAlpha = opacity; pen.lineWidth = width * rem; pen.lineJoin = "round"; pen.strokeStyle = colour; pen.stroke(); pen.globalAlpha = 1;
}
/** Scale bar and north arrow. */
function furniture(pen, width, height) {
  const most_m = (grid.cell_m / view.px) * Math.min(190 * rem, width / 3);
  const length_m = [5, 2, 1].map((digit) => digit * 10 ** Math.floor(Math.log10(most_m))).find((length) => length <= most_m);
  const bar = (length_m / grid.cell_m) * view.px / rem, y = -14;
  pen.save(); pen.translate(0, height); pen.scale(rem, rem);
  pen.strokeStyle = pen.fillStyle = ink.quiet; pen.lineWidth = 1.5; pen.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  pen.beginPath(); pen.moveTo(16, y - 5); pen.lineTo(16, y); pen.lineTo(16 + bar, y); pen.lineTo(16 + bar, y - 5); pen.stroke();
  pen.fillText(length_m < 1000 ? `${length_m} m` : `${length_m / 1000} km`, 24 + bar, y);
  const north = width / rem - 20;
  pen.beginPath(); pen.moveTo(north, y - 15); pen.lineTo(north + 5, y); pen.lineTo(north, y - 3); pen.lineTo(north - 5, y); pen.fill();
  pen.textAlign = "center"; pen.fillText("N", north, y - 19);
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
