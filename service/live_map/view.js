// The page around the map: the picture in words and tables, and what hands and keys do. A source shows its pictures here.
import { allowCalls, callOf, seen } from "./call.js";
import { brief, inWords, lift, made, nearby, squareAround, squaresOf, tableOf } from "./card.js";
import { ask, choose, chosen, finder, onTake, remember } from "./controls.js";
import { showState } from "./current.js";
import { past } from "./day.js";
import { decidedOn, hasEnded, inFull, inShort, offerDecision, onPlace } from "./decide.js";
import { $, line, make, put, titles } from "./elements.js";
import { cellName, cellOf, centreOf, cellsName, idOf, placeExample, placeName, placeOf } from "./grid.js";
import { say, sayMany } from "./language.js";
import { boxOf, drawMap, drawRings, goTo, hands, hasSquares, reveal, showAll } from "./map.js";
import { tellScale } from "./scale.js";
import { find, offered } from "./search.js";
import {
  MEASURES,
  capital,
  count,
  happened,
  isPartly,
  isUsual,
  percent,
  plain,
  seldom,
  times,
  unknown,
} from "./words.js";

const MOVES = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const UNITS = {
  risk: say("probability of at least one incident in a cell"),
  expected: say("expected incidents per cell"),
  lift: say("expected divided by usual for this hour of the week"),
};
const HIGHEST = {
  unusual: MEASURES.unusual,
  risk: say("Highest: risk"),
  expected: say("Highest: expected count"),
  lift: say("Highest: lift over usual"),
};
const COLUMNS = [say("Cell"), say("Risk"), say("Expected"), say("Usual"), say("Lift"), say("Last hour")];
const OF_SQUARES = [say("Place"), say("Expected"), say("Of its cell")];
const OF_PLACES = [say("Place"), say("Seen"), say("Usual"), say("In"), say("By chance, once in")];
const isWall = new URLSearchParams(location.search).get("view") === "wall"; // for a screen that nobody touches
if (isWall) document.body.dataset.view = "wall";
const MOST = isWall ? 8 : 10; // cells in the list
/** @type {Picture | null} */
export let picture = null;
let hovered = null;
let square = null; // of the cell that is hovered, where the map shows squares
let cursor = null; // cells
let meant = null; // the category of the place that was chosen in the list
let spot = null; // what was looked for
let scale = null;
let differs_s = null; // since when what is chosen is not what is shown

// ---- the picture
/** @param {Picture} next */
export function show(next) {
  if (next.region !== picture?.region) cursor = hovered = square = meant = spot = null;
  picture = next;
  redraw();
}
/** Of this picture where free units stand; null for none. @param {{ units: Place[], bare: string[] } | null} reach */
export function showReach(reach) {
  if (!picture) return;
  picture.reach = reach && { ...reach, bare: reach.bare.map((id) => cellOf(id, picture.grid)) };
  draw();
}
const isUnusual = () => chosen.measure === "unusual";
const scoreOf = (row, cell) =>
  isUnusual() ? picture.more.get(cell) : chosen.measure === "lift" ? lift(row) : row[chosen.measure];

/** Of each place with more than usual the cell with the most incidents, [cell, row]. */
function busiest({ cells }, rows, grid) {
  const own = cells
    .map((id) => cellOf(id, grid))
    .filter((cell) => rows.has(cell))
    .map((cell) => [cell, rows.get(cell)]);
  return own.sort(([, a], [, b]) => b.observed_1h - a.observed_1h || b.expected - a.expected)[0];
}
/** What is shown first: the highest, or where all is as usual the cell that expects most. */
export const highest = (rows, /** @type {{ places: Unusual[], grid: Grid }} */ of = picture) =>
  ranked(rows, of)[0]?.[0] ?? [...rows].sort(([, a], [, b]) => b.expected - a.expected)[0]?.[0] ?? 0;

/** The highest of what is chosen, [cell, row], or the places with more than usual, [cell, row, place]. A lift on little history says nothing. */
export function ranked(rows, /** @type {{ places: Unusual[], grid: Grid }} */ { places, grid } = picture) {
  if (isUnusual())
    return places
      .flatMap((place) => {
        const cell = busiest(place, rows, grid);
        return cell ? [[...cell, place]] : [];
      })
      .slice(0, MOST);
  const isRanked = ({ support }) => support === "ok" || (support === "sparse" && chosen.measure !== "lift");
  return [...rows]
    .filter(([, row]) => isRanked(row) && scoreOf(row) > 0)
    .sort(([, a], [, b]) => scoreOf(b) - scoreOf(a))
    .slice(0, MOST);
}
/** What the map says in a line. */
function headline(ahead) {
  if (!picture.active.size) return say("No incident is on record in this region: no cell has a score yet.");
  const [first, ...others] = picture.places;
  const nothing = unknown(picture);
  const { as_of_s, timezone } = picture;
  const where = picture.inside ? `${picture.area} – ` : "";
  if (!isUnusual()) return `${where}${MEASURES[chosen.measure]}: ${plain(chosen.category)}, ${ahead}`;
  const besides = isPartly(picture) ? say("; nothing else stands out") : `: ${plain(chosen.category)}`;
  if (!first && nothing) return `${where}${capital(nothing)}${besides}`;
  if (!first)
    return `${where}${say("{state}: {category}, last hours", { state: isUsual(as_of_s, timezone), category: plain(chosen.category) })}`;
  const more = others.length ? sayMany(", and {count} other place", ", and {count} other places", others.length) : "";
  return `${where}${MEASURES.unusual}: ${happened(first, picture)}${more}${nothing && `; ${nothing}`}`;
}

function redraw() {
  const { grid, rows, total, places, least_days } = picture;
  const ahead = say("next {horizon}", { horizon: plain(chosen.horizon) });
  picture.more = new Map(
    [...places].reverse().flatMap(({ cells, above = cells, more }) => above.map((id) => [cellOf(id, grid), more])),
  );
  document.body.dataset.measure = chosen.measure;
  document.body.toggleAttribute("data-unknown", !!unknown(picture));
  const best = ranked(rows);
  cursor ??= cellOf(chosen.cell, grid) ?? highest(rows);
  put("region", plain(picture.region));
  for (const box of ["find", "units"]) $(box).placeholder = placeExample(picture);
  put("caption", headline(ahead));
  const more = say(
    "incidents more than usual in the last 1, 2 or 4 hours, where chance alone shows as much once in {days} days or more seldom",
    { days: least_days },
  );
  const nearer = say("; nearer, squares inside: as if the whole cell were like them");
  const isFine = chosen.measure === "expected" && [...rows.values()].some((row) => row.squares);
  put("unit", isUnusual() ? more : `${UNITS[chosen.measure]}, ${ahead}${isFine ? nearer : ""}`);
  const figures = {
    area: total.name,
    expected: count(total.expected),
    usual: count(total.usual),
    seen: total.observed_1h,
  };
  put("total", say("{area}: expected {expected} (usual {usual}), last hour {seen}", figures));
  scale = tellScale(chosen.measure, rows.values());
  $("key-area").hidden = !picture.outlines.length;
  draw(best);
  showHighest(best);
  showSquares(ahead);
  showAreas();
  const highestOf = () =>
    say("{unit}. Highest: {cell}", { unit: $("unit").textContent, cell: inLines(best[0][0]).join(", ") });
  const says = isUnusual() ? $("caption").textContent : best.length ? highestOf() : say("no scored cell");
  $("map").dataset.summary = `${plain(picture.region)}: ${says}`;
  tick();
}
function draw(best = ranked(picture.rows)) {
  const frame = (place) => ({
    cells: place.cells.map((id) => cellOf(id, picture.grid)),
    isDecided: !!onPlace(place, picture),
  });
  drawMap(picture, {
    kept: chosen,
    scoreOf,
    colourOf: scale.colourOf,
    byScore: chosen.measure === "expected",
    best: isUnusual() ? [] : best.map(([cell]) => cell),
    isCalm: isUnusual(),
    isUnknown: !!unknown(picture),
    places: isUnusual() ? picture.places.map(frame) : [],
  });
  look();
}
function showHighest(best) {
  const none = !isUnusual()
    ? say("No cell here has enough history to be ranked.")
    : picture.places.length
      ? ""
      : capital(unknown(picture)) || say("No place stands out of what chance shows.");
  put("top-name", HIGHEST[chosen.measure]);
  $("top-head").replaceChildren(titles(isUnusual() ? OF_PLACES : COLUMNS));
  $("top-head").hidden = !best.length;
  $("top-none").replaceChildren(...(best.length ? [] : [make("p", none, "quiet")]));
  $("top").replaceChildren(
    ...best.map(([cell, row, place], at) => {
      const number = place ? picture.places.indexOf(place) + 1 : at + 1; // as on the map
      const open = make(
        "button",
        place ? `${plain(place.category)} ${placeName(place, picture)}` : cellName(cell, picture),
      );
      Object.assign(open, {
        id: `top-${number}`,
        title: place ? cellsName(place) : "",
        onclick: () => pin(cell, place?.category),
      });
      const swatch = make("span", "", "swatch");
      const name = make("span", `${number} `);
      swatch.style.background = scale.colourOf(place ? place.more : scoreOf(row));
      name.append(swatch, open);
      const decision = place ? onPlace(place, picture) : decidedOn(cell, null, chosen.category, picture)[0];
      if (decision) name.append(" ", make("span", inShort(decision, picture), "tag"));
      const shown = line(
        place
          ? [name, String(place.observed), count(place.usual), `${place.hours} h`, seldom(place.once_in_days)]
          : [name, ...figuresOf(row)],
      );
      shown.onpointerenter = () => hover(cell);
      shown.onpointerleave = () => hover(null);
      return shown;
    }),
  );
}
const figuresOf = (row) => [
  percent(row.risk),
  count(row.expected),
  count(row.usual),
  times(lift(row)),
  String(row.observed_1h),
];
/** The highest squares of all cells, where expected counts are shown; a click goes there. */
function showSquares(ahead) {
  const isInside = (cell) => !picture.inside || picture.inside.has(cell);
  const cells = chosen.measure === "expected" ? [...picture.rows.keys()].filter(isInside) : [];
  const squares = cells.flatMap((cell) => squaresOf(cell, picture)).sort((a, b) => b.expected - a.expected);
  $("squares").hidden = !squares.length;
  if (!squares.length) return;
  put("squares-name", say("Highest squares of {metres} m: {horizon}", { metres: squares[0].metres, horizon: ahead }));
  $("squares-head").replaceChildren(titles(OF_SQUARES));
  $("squares-rows").replaceChildren(
    ...squares.slice(0, MOST).map((one) => {
      const name = make("span");
      name.append(
        Object.assign(make("button", nearby(one, picture)), { onclick: () => goToSpot(one) }),
        " ",
        make("small", cellName(one.cell, picture), "quiet"),
      );
      return line([name, count(one.expected), percent(one.share)]);
    }),
  );
}
/** Every area with what it expects, most first; a click chooses it. */
function showAreas() {
  $("areas").hidden = !picture.areas.length;
  put(
    "areas-name",
    say("Areas: {category}, next {horizon}", { category: plain(chosen.category), horizon: plain(chosen.horizon) }),
  );
  $("areas-rows").replaceChildren(
    ...picture.areas
      .toSorted((a, b) => b.expected - a.expected)
      .map((row) => {
        const open = Object.assign(make("button", row.area), { onclick: () => choose("area", row.area) });
        return line([open, ...figuresOf(row)], row.area === picture.area);
      }),
  );
}
export function tick() {
  if (!picture) return;
  if (picture.decisions.some(hasEnded)) {
    picture.decisions = picture.decisions.filter((one) => !hasEnded(one));
    return redraw();
  }
  const now_s = Date.now() / 1000;
  const { region, category, horizon, area, places } = picture;
  const shown = { region, category, horizon, area };
  const isOther = Object.keys(shown).some((name) => shown[name] !== chosen[name]) || picture.past?.at !== past?.at;
  differs_s = isOther ? (differs_s ?? now_s) : null;
  const isLate = differs_s !== null && now_s - differs_s >= 1;
  const shows = isLate ? [region, category, horizon, area].map(plain).join(", ") : "";
  const facts = { ...picture.facts(now_s), measure: chosen.measure, shows, past: past ?? picture.past };
  if (facts.past) return showState(facts, now_s); // nothing of it calls anybody
  const open = places.filter((place) => !onPlace(place, picture));
  const inWords = (place) => happened(place, picture);
  const of = [region, category, area].join();
  showState(
    { ...facts, waiting: callOf({ of, places: open, isNow: !facts.isReplay && !facts.stale, inWords }) },
    now_s,
  );
}

// ---- one cell in words
const pointed = () => hovered ?? (document.activeElement === $("map") ? cursor : null);
const placesAround = (cell) =>
  isUnusual() && cell !== null ? picture.places.filter(({ cells }) => cells.includes(idOf(cell, picture.grid))) : [];
/** Of several the one that was meant, else the least likely. */
function placeAround(cell) {
  const places = placesAround(cell);
  return places.find(({ category }) => category === meant) ?? places[0] ?? null;
}
const shownOf = (cell, row) => ({
  measure: chosen.measure,
  score: row && scoreOf(row, cell),
  places: isUnusual() ? placesAround(cell) : null,
  isAbove: picture.more.has(cell),
  caption: $("caption").textContent,
});
const inLines = (cell) => brief(cell, shownOf(cell, picture.rows.get(cell)), picture);

/** The card of the cell that is pointed at, else pinned, else the highest: the first whose scores are at hand. */
function showCell() {
  const { grid } = picture;
  const pinned = cellOf(chosen.cell, grid);
  const picked = [pointed(), pinned].find((one) => one !== null && picture.scoresOf(one));
  const cell = picked ?? highest(picture.rows);
  const scores = picture.scoresOf(cell);
  if (!scores) return;
  const what = picked !== undefined ? say("Cell") : isUnusual() ? say("Busiest cell") : say("Highest cell");
  const head = make("div", "", "headline");
  const name = Object.assign(make("h2", cellName(cell, picture)), { id: "cell-name", title: what });
  head.append(name);
  if (cell === pinned) {
    const free = make("button", say("pinned ✕"), "quiet");
    head.append(Object.assign(free, { id: "free", title: say("Unpin this cell"), onclick: () => pin(null) }));
  }
  const centre = say("Centre {place}", { place: placeOf(centreOf(cell, grid)) });
  const parts = [head, make("p", `${what} – ${centre}`, "quiet")];
  parts.push(...decidedOn(cell, placeAround(cell), chosen.category, picture).map((one) => inFull(one, picture)));
  const row = scores.find((one) => one.category === chosen.category);
  if (!picture.active.has(cell))
    parts.push(make("p", say("No incident on record here, so there is no score."), "quiet"));
  else {
    const [most] = squaresOf(cell, picture);
    const values = most && {
      ...most,
      expected: count(most.expected),
      share: percent(most.share),
      where: nearby(most, picture),
    };
    const says = most
      ? say("Highest square of {metres} m, {where}: {expected} expected, {share} of the cell", values)
      : say("Where inside the cell is not known: too few incidents on record");
    parts.push(...inWords(row, shownOf(cell, row), picture));
    if (picture.rows.get(cell)?.squares) parts.push(make("p", says, "quiet inside"));
    parts.push(tableOf(scores, chosen), ...made(scores, chosen));
  }
  $("cell").replaceChildren(...parts);
}
function showTip(cell) {
  const tip = $("tip");
  tip.hidden = cell === null;
  if (cell === null) return;
  const [name, ...rest] = inLines(cell);
  if (square && cell === hovered) rest.unshift(say("in this square {expected}", { expected: count(square.expected) }));
  tip.replaceChildren(make("b", name), make("div", rest.join("\n")));
  placeTip();
}
function placeTip() {
  const tip = $("tip");
  const cell = pointed();
  if (tip.hidden || cell === null) return;
  const { x, y, width } = boxOf(cell);
  const stage = $("stage");
  const right = x + width + 10;
  tip.style.left = `${right + tip.offsetWidth > stage.clientWidth ? Math.max(4, x - tip.offsetWidth - 10) : right}px`;
  tip.style.top = `${Math.max(4, Math.min(y - 8, stage.clientHeight - tip.offsetHeight - 4))}px`;
}
function look() {
  const pinned = cellOf(chosen.cell, picture.grid);
  drawRings([hovered, pinned], document.activeElement === $("map") ? cursor : null, spot);
  showCell();
  showTip(pointed());
  offerDecision(picture, pinned, placeAround(pinned), chosen.category);
}
function hover(cell, place = null) {
  const next = place && cell !== null && hasSquares() ? (squareAround(place, cell, picture) ?? null) : null;
  if (cell === hovered && next?.expected === square?.expected) return;
  [hovered, square] = [cell, next];
  look();
}
function pin(cell, category = null) {
  if (picture.region !== chosen.region) return; // the map is still that of the region before
  if (cell === null) delete chosen.cell;
  else chosen.cell = idOf(cell, picture.grid);
  if (spot?.cell !== cell) spot = null;
  meant = category;
  if (cell !== null) reveal(cell);
  remember();
  look();
  const side = $("side");
  if (cell !== null && side.scrollHeight > side.clientHeight) $("card").scrollIntoView({ block: "nearest" });
  ask("cell");
}

// ---- hands
function press(event) {
  const { rows, cols } = picture.grid;
  const row = Math.floor(cursor / cols);
  const col = cursor % cols;
  const move = MOVES[event.key];
  const isPinned = cellOf(chosen.cell, picture.grid) === cursor;
  if (event.shiftKey && move) return; // moves the map
  if (move)
    cursor = Math.min(rows - 1, Math.max(0, row + move[0])) * cols + Math.min(cols - 1, Math.max(0, col + move[1]));
  else if (event.key === "Home") cursor = highest(picture.rows);
  else if (event.key === "Enter" || event.key === " ") pin(isPinned ? null : cursor);
  else if (event.key === "Escape") pin(null);
  else if (event.key === "0") showAll();
  else return;
  event.preventDefault();
  hovered = square = null;
  reveal(cursor);
  look();
  put("spoken", inLines(cursor).join(", "));
}
hands({
  pointed: hover,
  picked: (cell) => {
    cursor = cell;
    pin(cellOf(chosen.cell, picture.grid) === cell ? null : cell);
  },
  moved: placeTip,
  rested: remember,
});
for (const [name, does] of Object.entries({ focus: look, blur: look, keydown: press }))
  $("map").addEventListener(name, (event) => picture && does(event));
onTake((name) => {
  if (["region", "area"].includes(name)) showAll();
  if (picture && ["region", "area", "measure"].includes(name)) redraw();
  else tick();
});
function goToSpot(place) {
  spot = place;
  cursor = place.cell;
  goTo(place);
  if (chosen.panel) $("panel").click();
  pin(place.cell);
}
finder(
  (text) => picture && find(text, picture),
  goToSpot,
  (text) => (picture ? offered(text, picture) : []),
);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => picture && redraw());
setInterval(tick, 1000);
for (const name of ["visibilitychange", "pageshow"]) addEventListener(name, tick);
for (const name of ["pointerdown", "keydown"]) addEventListener(name, seen);
$("call").onclick = allowCalls;
