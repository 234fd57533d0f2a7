// The map: ground, cells, names and marks as layers of OpenLayers, drawn in canvas 2D, and the hands on it.
import { baseLayers } from "./basemap.js";
import { $, css } from "./elements.js";
import { cellAround, centreOf, isEven } from "./grid.js";
import * as ol from "./openlayers.js";

const STEP = Math.log2(1.5); // of a key and a button
const MOST = 40; // times as large as what fits
const NEAR = 4; // times as large, where one goes to a place
const GAP = 0.04; // around a cell, of its width
const PAD_PX = 12;
const SQUARES_PX = 40; // of a cell's width, from which its squares are drawn
const SIDES = [
  [-1, 0],
  [0, 1],
  [1, 0],
  [0, -1],
]; // of a cell, as its ring goes round: south, east, north, west
const INKS = "alarm void calm hatch border mark halo area street water park quiet line sea".split(" ");
const projected = new ol.GeoJSON({ featureProjection: "EPSG:3857" });
/** @type {Record<string, string>} */
const ink = {};
/** @type {Grid} */
let grid;
/** @type {{ south: number, north: number, west: number, east: number } | null} the part of the grid that is shown */
let part = null;
let rem = 1;
let whole = 0; // the resolution at which all of the part fits
/** @type {Record<string, string>} */
let kept = {};
let isShown = false;
/** @type {string | undefined} */
let told; // the view that the address has

/** @param {string} className @param {object} options */
const layer = (className, options = {}) => new ol.VectorLayer({ className, source: new ol.VectorSource(), ...options });
const layers = {
  ground: layer("ground"),
  cells: layer("cells"),
  squares: layer("cells squares"), // in place of the cells, from a zoom on
  lines: layer("ground lines"),
  marks: layer("cells marks"),
  rings: layer("cells rings"),
  names: layer("ground names", { declutter: true }), // where no number of a mark stands
};
const below = baseLayers({ ink, rem: () => rem });
/** So that the map below is seen through it. */
const thin = (color) => (below.length && /^#.{6}$/.test(color) ? `${color}80` : color);
const isScrolling = () => document.documentElement.scrollHeight > innerHeight + 1;
export const atlas = new ol.OlMap({
  target: "map",
  layers: [...below, ...Object.values(layers)],
  controls: [new ol.ScaleLine({ minWidth: 80 })],
  interactions: ol
    .defaultHands({ keyboard: false, mouseWheelZoom: false, altShiftDragRotate: false, pinchRotate: false })
    .extend([
      new ol.KeyboardPan({ condition: ol.shiftKeyOnly }),
      new ol.KeyboardZoom({ delta: STEP, duration: 0 }),
      new ol.MouseWheelZoom({ condition: ({ originalEvent }) => originalEvent.ctrlKey || !isScrolling() }),
    ]),
});

// ---- places on the map
/** A rectangle of cells, without `inset` of a cell's width at each side. */
function rectangle(row, col, rows = 1, cols = 1, inset = 0) {
  const at = (up, right) =>
    ol.fromLonLat([grid.west_deg + right * grid.cell_lon_deg, grid.south_deg + up * grid.cell_lat_deg]);
  const [[west, south], [east, north]] = [at(row + inset, col + inset), at(row + rows - inset, col + cols - inset)];
  return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]; // prettier-ignore
}
const rowOf = (cell) => Math.floor(cell / grid.cols);
const square = (cell, inset = 0) => rectangle(rowOf(cell), cell % grid.cols, 1, 1, inset);
const pointOf = ({ lat, lon }) => ol.fromLonLat([lon, lat]);
const middle = (cell) => pointOf(centreOf(cell, grid));
const widthAt = (resolution) => (grid.cell_lon_deg * 111_319.49) / resolution; // of a cell, in pixels
/** Where a cell is on the stage: its upper left corner and its width, in pixels. */
export function boxOf(cell) {
  const [, [east], , [west, north]] = square(cell)[0];
  const [[x, y], [right]] = [atlas.getPixelFromCoordinate([west, north]), atlas.getPixelFromCoordinate([east, north])];
  return { x, y, width: right - x };
}
function cellAt(coordinate) {
  const [lon, lat] = ol.toLonLat(coordinate);
  return cellAround({ lat, lon }, grid);
}
/** The least part of the grid that has all these cells; all of it without any. */
function partOf(cells) {
  const rows = cells.map(rowOf);
  const cols = cells.map((cell) => cell % grid.cols);
  const of = (all, most) =>
    all.length
      ? all.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [Infinity, -1])
      : [0, most - 1];
  const [[south, north], [west, east]] = [of(rows, grid.rows), of(cols, grid.cols)];
  return { south, north, west, east };
}

// ---- what is drawn
const fill = (color) => new ol.Fill({ color });
const stroke = (color, width, dash = []) =>
  new ol.Stroke({ color, width: width * rem, lineDash: dash.map((part) => part * rem) });
const line = (color, width) => new ol.Style({ stroke: stroke(color, width) });
const around = (width, dash, color = ink.mark) => [
  line(ink.halo, width + 3),
  new ol.Style({ stroke: stroke(color, width, dash) }),
];
const written = (text, size, weight, color, options = {}) =>
  new ol.Text({
    text,
    font: `${weight} ${size * rem}px ${getComputedStyle(document.body).fontFamily}`,
    fill: fill(color),
    ...options,
  });
const label = (text, size, weight, placement = "point") =>
  written(text, size, weight, ink.mark, { placement, stroke: stroke(ink.halo, 3) });
/** Each shape, a geometry or a feature, in its style. */
function show(name, shapes) {
  const features = shapes.map(([shape, style]) => {
    const feature = shape instanceof ol.Feature ? shape : new ol.Feature(shape);
    feature.setStyle(style);
    return feature;
  });
  layers[name].getSource().clear(true);
  layers[name].getSource().addFeatures(features);
}

/** The cells of a picture, its ground and its marks. kept: the choices of the address; scoreOf and colourOf a row; byScore: whether
 *  the colour is that of an expected count, which squares have too; best: cells with a number; isCalm: what has no score is as usual, isUnknown: or nobody knows; places: frames with a number, and whether one decided. */
export function drawMap(picture, { kept: choices, scoreOf, colourOf, byScore, best, isCalm, isUnknown, places }) {
  const before = JSON.stringify(part);
  const inside = (cell) => !picture.inside || picture.inside.has(cell);
  if (!isShown) told = choices.zoom;
  [kept, grid] = [choices, picture.grid];
  for (const name of INKS) ink[name] = css(`--${name}`);
  rem = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  part = partOf([...picture.active].filter(inside));
  if (before !== JSON.stringify(part)) fit();
  const none = isCalm && !isUnknown ? thin(ink.calm) : hatching();
  const fills = new Map([`${ink.sea}b0`, thin(ink.void)].map((colour) => [colour, []]));
  const add = (colour, shape) => (fills.has(colour) ? fills.get(colour).push(shape) : fills.set(colour, [shape]));
  for (const [cell, row] of picture.rows) {
    if (!inside(cell)) continue;
    const score = scoreOf(row, cell);
    const isSmall = !isCalm && row.support === "sparse";
    const isScored = (isCalm || row.support !== "no_history") && Number.isFinite(score);
    if (below.length) add(`${ink.sea}b0`, square(cell)); // a colour means the same on any ground
    if (!isScored) add(none, square(cell, GAP));
    if (isScored && isSmall) add(thin(ink.void), square(cell, GAP));
    if (isScored) add(colourOf(score), square(cell, isSmall ? 0.24 : GAP));
  }
  show(
    "cells",
    [...fills].map(([colour, shapes]) => [new ol.MultiPolygon(shapes), new ol.Style({ fill: fill(colour) })]),
  );
  drawSquares(picture, inside, byScore ? colourOf : null);
  const hits = [...picture.rows].filter(([, row]) => row.observed_1h > 0);
  const numbers = [...best.map((cell, at) => number(at + 1, cell)), ...numbersOf(places)].reverse(); // the first on top
  show("marks", [
    ...hits.map(([cell, row]) => [new ol.Point(middle(cell)), hit(row.observed_1h)]),
    ...framesOf(places),
    ...(picture.reach ? reachable(picture.reach) : []),
    ...numbers,
  ]);
  drawGround(
    picture,
    numbers.map(([point]) => point),
  );
  isShown = true;
}
/** Each square in the colour of a cell that expects as much in all of its squares; a cell that is parted evenly stays one. */
function drawSquares({ rows }, inside, colourOf) {
  const fills = new Map();
  for (const [cell, { squares, support }] of colourOf ? rows : []) {
    if (!squares || support === "no_history" || isEven(squares) || !inside(cell)) continue;
    const side = Math.sqrt(squares.length);
    squares.forEach((expected, at) => {
      const [row, col] = [rowOf(cell) + Math.floor(at / side) / side, (cell % grid.cols) + (at % side) / side];
      const colour = colourOf(expected * squares.length);
      if (!fills.has(colour)) fills.set(colour, []);
      fills.get(colour).push(rectangle(row, col, 1 / side, 1 / side, GAP / side));
    });
  }
  layers.squares.setMaxResolution(widthAt(1) / (SQUARES_PX * rem));
  show(
    "squares",
    [...fills].map(([colour, shapes]) => [new ol.MultiPolygon(shapes), new ol.Style({ fill: fill(colour) })]),
  );
}
/** Whether the map is so near that it shows squares. */
export const hasSquares = () =>
  atlas.getView().getResolution() < layers.squares.getMaxResolution() && !layers.squares.getSource().isEmpty();
function hatching() {
  const tile = document.createElement("canvas");
  const side = (tile.width = tile.height = Math.max(4, Math.round(5 * rem)));
  const pen = tile.getContext("2d");
  [pen.strokeStyle, pen.lineWidth] = [ink.hatch, side / 5];
  for (const shift of [-side, 0, side]) {
    pen.moveTo(shift, side);
    pen.lineTo(shift + side, 0);
  }
  pen.stroke();
  return pen.createPattern(tile, "repeat");
}
/** Water and parks below the cells, lines above them, and names where none of these points is. */
function drawGround({ land, outlines, active }, taken) {
  const read = (features) => projected.readFeatures({ type: "FeatureCollection", features });
  const shapes = read(land);
  const of = (type) => shapes.filter((shape) => shape.getGeometry().getType().endsWith(type));
  const nameOf = (shape) => shape.get("name") ?? "";
  const labelOf = (place) => (place.get("kind") ? label(`⌂ ${nameOf(place)}`, 10, 500) : label(nameOf(place), 12, 600));
  const streets = of("LineString");
  const surfaces = of("Polygon");
  const on = (row, col) =>
    row >= 0 && row < grid.rows && col >= 0 && col < grid.cols && active.has(row * grid.cols + col);
  const isOpen = (cell, side) => !on(rowOf(cell) + side[0], (cell % grid.cols) + side[1]);
  const border = [...active].flatMap((cell) =>
    SIDES.flatMap((side, at) => (isOpen(cell, side) ? [square(cell)[0].slice(at, at + 2)] : [])),
  );
  show(
    "ground",
    surfaces.map((shape) => [shape, new ol.Style({ fill: fill(shape.get("kind") === "park" ? ink.park : ink.water) })]),
  );
  show("lines", [
    [new ol.MultiLineString(border), line(ink.border, 1)],
    ...streets.map((street) => [street.clone(), line(ink.street, 1)]),
    ...read(outlines).map((area) => [area, [line(ink.halo, 4), line(ink.area, 2)]]),
  ]);
  const image = new ol.Circle({ radius: 15 * rem, fill: fill("transparent"), declutterMode: "obstacle" });
  show("names", [
    ...taken.map((point) => [point.clone(), new ol.Style({ image, zIndex: 2 })]),
    ...of("Point").map((place) => [place, new ol.Style({ text: labelOf(place), zIndex: 1 })]),
    ...streets.map((street) => [street, new ol.Style({ text: label(nameOf(street), 10, 500, "line") })]),
    ...surfaces.map((shape) => [shape.clone(), new ol.Style({ text: label(nameOf(shape), 10, 500) })]),
  ]);
}
/** A dot whose area grows with the incidents, with their number where there is room. */
const hit = (seen) => (_, resolution) => {
  const radius = Math.max(2.2 * rem, widthAt(resolution) * Math.min(0.42, 0.12 * Math.sqrt(seen)));
  const text = seen > 1 && radius >= 6 * rem ? written(String(seen), 11, 650, ink.halo) : undefined;
  return new ol.Style({ image: new ol.Circle({ radius, fill: fill(ink.mark), stroke: stroke(ink.halo, 1.5) }), text });
};
/** The cell's place in the list, beyond its upper right corner, left of as many others, dark on light or light on dark. */
function number(place, cell, others = 0, back = ink.halo, color = ink.mark) {
  const [x, y] = [8 * rem - 17 * rem * others, 8 * rem];
  const image = new ol.Circle({ radius: y, displacement: [x, y], fill: fill(back), stroke: stroke(color, 1) });
  return [
    new ol.Point(square(cell)[0][2]),
    new ol.Style({ image, text: written(String(place), 11, 650, color, { offsetX: x, offsetY: -y }) }),
  ];
}
const endOf = ({ cells }) => partOf(cells).north * grid.cols + partOf(cells).east; // its upper right cell
const othersOf = (places) =>
  places.map((place, at) => places.slice(0, at).filter((each) => endOf(each) === endOf(place)).length);
/** A frame around each place, cells of a rectangle; dashed where a person decided. Those with one corner lie in one another. */
const framesOf = (places) =>
  othersOf(places)
    .map((others, at) => {
      const { cells, isDecided } = places[at];
      const { south, north, west, east } = partOf(cells);
      const frame = rectangle(south, west, north - south + 1, east - west + 1, Math.min(0.4, others * 0.12));
      return [new ol.Polygon(frame), around(3, isDecided ? [8, 6] : undefined, ink.alarm)];
    })
    .reverse();
/** Their numbers in the list, of those with one corner beside one another. */
const numbersOf = (places) =>
  othersOf(places).map((others, at) => number(at + 1, endOf(places[at]), others, ink.alarm, ink.halo));
/** Where free units stand, and dashed around cells that none of them reaches. */
function reachable({ units, bare }) {
  const image = new ol.RegularShape({ points: 4, radius: 8 * rem, fill: fill(ink.mark), stroke: stroke(ink.halo, 2) });
  const stands = units.map((unit) => [new ol.Point(pointOf(unit)), new ol.Style({ image })]);
  return [...bare.map((cell) => [new ol.Polygon(square(cell)), around(2, [5, 4])]), ...stands];
}
/** Around cells, around the one that the keys are on, and a cross where somebody looked for a place. */
export function drawRings(solid, dashed, spot = null) {
  const ring = (cell, dash) => [new ol.Polygon(square(cell, -0.04)), around(2.5, dash)];
  const cross = (width, color) =>
    new ol.Style({
      image: new ol.RegularShape({ points: 4, radius: 10 * rem, radius2: 0, stroke: stroke(color, width) }),
    });
  const spots = spot ? [[new ol.Point(pointOf(spot)), [cross(6, ink.halo), cross(3, ink.mark)]]] : [];
  const isCell = (cell) => cell !== null;
  show("rings", [
    ...solid.filter(isCell).map((cell) => ring(cell)),
    ...[dashed].filter(isCell).map((cell) => ring(cell, [4, 3])),
    ...spots,
  ]);
}

// ---- the view: what the address says, `factor,latitude,longitude`; anything else shows all of the part
function fit() {
  const [width, height] = atlas.getSize() ?? [];
  if (!part || !width || !height) return;
  const [[west, south], , [east, north]] = rectangle(
    part.south,
    part.west,
    part.north - part.south + 1,
    part.east - part.west + 1,
  )[0];
  const pad = PAD_PX * rem;
  const foot = pad + $("legend").offsetHeight;
  whole = Math.max((east - west) / (width - 2 * pad), (north - south) / (height - pad - foot));
  const centre = [(west + east) / 2, (south + north) / 2 - (whole * (foot - pad)) / 2];
  const [factor, lat, lon] = (kept.zoom ?? "").split(",").map(Number);
  const isNear = factor > 1 && factor <= MOST && Number.isFinite(lat + lon);
  atlas.setView(
    new ol.View({
      center: isNear ? ol.fromLonLat([lon, lat]) : centre,
      resolution: isNear ? whole / factor : whole,
      maxResolution: whole,
      minResolution: whole / MOST,
      extent: [0, 1]
        .map((axis) => centre[axis] - (whole * [width, height][axis]) / 2)
        .concat([0, 1].map((axis) => centre[axis] + (whole * [width, height][axis]) / 2)),
      showFullExtent: true,
      enableRotation: false,
      smoothExtentConstraint: false,
      smoothResolutionConstraint: false,
    }),
  );
}
function note() {
  const view = atlas.getView();
  const factor = whole / view.getResolution();
  const [lon, lat] = ol.toLonLat(view.getCenter());
  if (factor > 1.001) kept.zoom = [factor.toFixed(2), lat.toFixed(5), lon.toFixed(5)].join(",");
  else delete kept.zoom;
  document.body.toggleAttribute("data-zoomed", factor > 1.001);
  atlas.getViewport().style.touchAction = factor > 1.001 ? "none" : "pan-x pan-y"; // a page that fits is scrolled by a finger
}
export function showAll() {
  delete kept.zoom;
  fit();
}
/** Brings to the middle what is out of sight. */
export function reveal(cell) {
  const { x, y, width } = boxOf(cell);
  const [wide, tall] = atlas.getSize();
  const high = tall - $("legend").offsetHeight; // which hides what is below it
  if (x + width / 2 < 0 || y + width / 2 < 0 || x + width / 2 > wide || y + width / 2 > high)
    atlas.getView().setCenter(middle(cell));
}
/** Goes near to a place. */
export function goTo(place) {
  const view = atlas.getView();
  view.setResolution(Math.min(view.getResolution(), whole / NEAR));
  view.setCenter(pointOf(place));
}

/** pointed(cell or null, place), picked(cell): by pointer and finger; moved(): at each move; rested(): when the map lies still elsewhere. */
export function hands({ pointed, picked, moved, rested }) {
  atlas.on("pointermove", ({ coordinate, dragging }) => {
    const [lon, lat] = ol.toLonLat(coordinate);
    if (isShown && !dragging) pointed(cellAt(coordinate), { lat, lon });
  });
  atlas.on("singleclick", ({ coordinate }) => isShown && cellAt(coordinate) !== null && picked(cellAt(coordinate)));
  atlas.on("change:size", fit);
  new ResizeObserver(fit).observe($("legend")); // the last day comes after the first picture
  atlas.on("postrender", () => isShown && moved());
  atlas.on("moveend", () => {
    if (isShown && whole) note();
    if (kept.zoom !== told) rested();
    told = kept.zoom;
  });
  atlas.getViewport().addEventListener("pointerleave", () => isShown && pointed(null));
  const zoomBy = (delta) => atlas.getView().adjustZoom(delta);
  [() => zoomBy(STEP), () => zoomBy(-STEP), showAll].forEach((does, at) => ($("zoom").children[at].onclick = does));
}
