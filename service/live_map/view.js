// The page around the map: what is chosen, the picture in words and tables, the hands. A source shows its pictures here.
//
// A picture: region and grid; facts(now_s): what current.js judges; rows: of each cell on record, by its number, { expected,
// usual, risk, low, high, observed_1h, support }; active: all cells on record; inside: those of the chosen area, or null;
// area, category, horizon: what it shows; total: { name, expected, usual, observed_1h }; outlines, streets: lines; names: places with a name, lat and lon; scoresOf(cell): its rows of every category,
// with factors where they are known, or null where they are not at hand; places: with more than usual, of what is chosen, by the
// least likely: { category, cells, area, hours, observed, usual, more, once_in_days }; least_days: what is told of chance. decisions: of people, in force;
// may_decide, decide(decision): for who may.
import { TAGS, made, tableOf } from "./cell.js";
import { showState } from "./current.js";
import { decidedOn, hasEnded, inFull, inShort, offerDecision, onPlace } from "./decide.js";
import { chooseScale, colourOf, corner, drawLegend, drawMap, drawPlaces, drawReach, drawRings, size, under } from "./draw.js";
import { $, line, make, put, titles } from "./elements.js";
import { say, sayMany } from "./language.js";
import { CHOICES, MEASURES, SAY, WHOLE, capital, cellOf, cellsName, count, happened, idOf, isPartly, isUsual, nearest, percent, placeExample, placeName, placeOf, plain, seldom, spotAt, times, unknown, unknownIn } from "./words.js";
import { zoomable } from "./zoom.js";

const MOVES = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const UNITS = {
  risk: say("probability of at least one incident in a cell"),
  expected: say("expected incidents per cell"),
  lift: say("expected divided by usual for this hour of the week"),
};
const HIGHEST = { unusual: MEASURES.unusual, risk: say("Highest: risk"), expected: say("Highest: expected count"), lift: say("Highest: lift over usual") };
const COLUMNS = [say("Cell"), say("Risk"), say("Expected"), say("Usual"), say("Lift"), say("Last hour")];
const OF_PLACES = [say("Place"), say("Seen"), say("Usual"), say("In"), say("By chance, once in")];
const isWall = new URLSearchParams(location.search).get("view") === "wall"; // for a screen that nobody touches
if (isWall) document.body.dataset.view = "wall";
const MOST = isWall ? 8 : 10; // cells in the list
const LONGEST = 12; // names beside one another; more are a list to choose from
const LABELS = { measure: (name) => MEASURES[name], area: (name) => (name === WHOLE ? plain(name) : name) };
let hovered = null, changed = () => {};
export let picture = null;
let meant = null; // the category of the place that was chosen in the list
let cursor = null, differs_s = null; // since when what is chosen is not what is shown

// ---- what is chosen; it lives in the address
export const chosen = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const remember = () => { put("unknown", ""); history.replaceState(null, "", `#${new URLSearchParams(chosen)}`); };
export const onChange = (its) => { changed = its; };

/** What there is to choose from, in the order of the names; what is chosen and not there becomes the first. */
export function offer({ region, ...others }) {
  const options = { region, measure: Object.keys(MEASURES), ...others }, offered = JSON.stringify(options);
  const unknown = unknownIn(options, chosen);
  if (unknown) put("unknown", unknown);
  $("unknown").hidden = !$("unknown").textContent;
  for (const [name, values] of Object.entries(options)) if (!values.includes(chosen[name])) [chosen[name]] = values;
  const form = $("controls"), focus = document.activeElement.id;
  if (form.dataset.offered === offered) return;
  form.dataset.offered = offered;
  form.replaceChildren(...Object.entries(options).filter(([, values]) => values.length > 1).map(([name, values]) => choice(name, values)), finder());
  $(focus)?.focus({ preventScroll: true });
}
function choice(name, values) {
  if (values.length > LONGEST) return longChoice(name, values);
  const group = make("fieldset"), chips = make("div", "", "chips wide");
  for (const value of values) {
    const label = make("label", (LABELS[name] ?? plain)(value)), input = make("input");
    Object.assign(input, { type: "radio", name, value, id: `${name}-${value}`, checked: value === chosen[name] });
    input.onchange = () => take(name, value);
    label.append(input); chips.append(label);
  }
  group.append(make("legend", CHOICES[name], "caps"), chips);
  return group;
}

/** Another region or area is seen whole, and another region has other cells. */
function take(name, value) {
  chosen[name] = value;
  if (name === "region") delete chosen.cell;
  if (["region", "area"].includes(name)) zoom.showAll();
  remember();
  if (picture && ["region", "area", "measure"].includes(name)) redraw(); else tick();
  changed(name);
}

/** Typing goes to a name that begins so. */
function longChoice(name, values) {
  const group = make("fieldset"), list = Object.assign(make("select"), { id: `choose-${name}`, ariaLabel: CHOICES[name] });
  list.append(...values.map((value) => Object.assign(make("option", (LABELS[name] ?? plain)(value)), { value, selected: value === chosen[name] })));
  list.onchange = () => take(name, list.value);
  group.append(make("legend", CHOICES[name], "caps"), list);
  return group;
}

/** A place in words, to be pinned. */
function finder() {
  const group = make("fieldset"), box = Object.assign(make("input"), { id: "find", type: "search", ariaLabel: say("Name, coordinates or cell to pin") });
  const names = Object.assign(make("datalist"), { id: "names" });
  box.setAttribute("list", names.id);
  box.onchange = () => {
    const cell = picture && box.value.trim() ? spotAt(box.value, picture.grid, picture.names)?.cell ?? null : null;
    box.setCustomValidity(cell === null && box.value.trim() ? say("No such place in this region. Write a name on the map, latitude, longitude in degrees, or a cell.") : "");
    if (!box.reportValidity() || cell === null) return;
    cursor = cell; pin(cell);
  };
  box.oninput = () => box.setCustomValidity("");
  group.append(make("legend", say("place"), "caps"), box, names);
  return group;
}

// ---- the picture
export function show(next) {
  if (next.region !== picture?.region) cursor = hovered = meant = null;
  picture = next;
  $("names").replaceChildren(...picture.names.map(({ name }) => Object.assign(make("option"), { value: name })));
  redraw();
}
/** Of this picture where free units stand, { units, bare }; null for none. */
export function showReach(reach) {
  if (!picture) return;
  picture.reach = reach && { ...reach, bare: reach.bare.map((id) => cellOf(id, picture.grid)) };
  draw();
  look();
}
const isPinned = (cell) => cellOf(chosen.cell, picture.grid) === cell;

const lift = (row) => (row.usual > 0 ? row.expected / row.usual : NaN);
const isUnusual = () => chosen.measure === "unusual";
const scoreOf = (row, cell) => (isUnusual() ? picture.more.get(cell) : chosen.measure === "lift" ? lift(row) : row[chosen.measure]);

/** Of each place with more than usual the cell with the most incidents, [cell, row], and of the others the highest. */
function busiest({ cells }, rows, grid) {
  const own = cells.map((id) => cellOf(id, grid)).filter((cell) => rows.has(cell)).map((cell) => [cell, rows.get(cell)]);
  return own.sort(([, a], [, b]) => b.observed_1h - a.observed_1h || b.expected - a.expected)[0];
}

/** What is shown first: the highest, or where all is as usual the cell that expects most. */
export const highest = (rows, of = picture) => ranked(rows, of)[0]?.[0] ?? [...rows].sort(([, a], [, b]) => b.expected - a.expected)[0]?.[0] ?? 0;

/** The highest of what is chosen, [cell, row], or the places with more than usual, [cell, row, place]. A lift on little history says nothing. */
export function ranked(rows, { places, grid } = picture) {
  if (isUnusual()) return places.flatMap((place) => { const cell = busiest(place, rows, grid); return cell ? [[...cell, place]] : []; }).slice(0, MOST);
  const isRanked = ({ support }) => support === "ok" || (support === "sparse" && chosen.measure !== "lift");
  return [...rows].filter(([, row]) => isRanked(row) && scoreOf(row) > 0).sort(([, a], [, b]) => scoreOf(b) - scoreOf(a)).slice(0, MOST);
}

/** What the map says in a line. */
function headline(ahead) {
  if (!picture.active.size) return say("No incident is on record in this region: no cell has a score yet.");
  const [first, ...others] = picture.places, nothing = unknown(picture), { as_of_s, timezone } = picture, where = picture.inside ? `${picture.area} – ` : "";
  if (!isUnusual()) return `${where}${MEASURES[chosen.measure]}: ${plain(chosen.category)}, ${ahead}`;
  const besides = isPartly(picture) ? say("; nothing else stands out") : `: ${plain(chosen.category)}`;
  if (!first && nothing) return `${where}${capital(nothing)}${besides}`;
  if (!first) return `${where}${say("{state}: {category}, last hours", { state: isUsual(as_of_s, timezone), category: plain(chosen.category) })}`;
  const more = others.length ? sayMany(", and {count} other place", ", and {count} other places", others.length) : "";
  return `${where}${MEASURES.unusual}: ${happened(first, picture)}${more}${nothing && `; ${nothing}`}`;
}

function redraw() {
  const { grid, rows, total, places, least_days } = picture, ahead = say("next {horizon}", { horizon: plain(chosen.horizon) });
  picture.more = new Map([...places].reverse().flatMap(({ cells, above = cells, more }) => above.map((id) => [cellOf(id, grid), more])));
  const best = ranked(rows);
  document.body.dataset.measure = chosen.measure;
  document.body.toggleAttribute("data-unknown", !!unknown(picture));
  cursor ??= cellOf(chosen.cell, grid) ?? highest(rows);
  put("region", plain(picture.region));
  for (const box of ["find", "units"]) if ($(box)) $(box).placeholder = placeExample(grid);
  put("caption", headline(ahead));
  put("unit", isUnusual() ? say("incidents more than usual in the last 1, 2 or 4 hours, where chance alone shows as much once in {days} days or more seldom", { days: least_days }) : `${UNITS[chosen.measure]}, ${ahead}`);
  put("total", say("{area}: expected {expected} (usual {usual}), last hour {seen}", { area: total.name, expected: count(total.expected), usual: count(total.usual), seen: total.observed_1h }));
  chooseScale(chosen.measure, rows.values());
  draw(best);
  showHighest(best);
  showAreas();
  look();
  const says = isUnusual() ? $("caption").textContent : best.length ? say("{unit}. Highest: {cell}", { unit: $("unit").textContent, cell: brief(best[0][0]).join(", ") }) : say("no scored cell");
  $("map").dataset.summary = `${plain(picture.region)}: ${says}`;
  tick();
}
function draw(best = ranked(picture.rows)) {
  drawMap(picture, scoreOf, isUnusual() ? [] : best.map(([cell]) => cell), isWall, isUnusual(), !!unknown(picture));
  if (isUnusual()) drawPlaces(picture.places.map((place) => ({ cells: place.cells.map((id) => cellOf(id, picture.grid)), isDecided: !!onPlace(place, picture) })));
  if (picture.reach) drawReach(picture.reach);
  drawLegend(chosen.measure);
  $("key-area").hidden = !picture.outlines.length;
}
function showHighest(best) {
  put("top-name", HIGHEST[chosen.measure]);
  $("top-head").replaceChildren(titles(isUnusual() ? OF_PLACES : COLUMNS));
  const none = !isUnusual() ? say("No cell here has enough history to be ranked.") : picture.places.length ? "" : capital(unknown(picture)) || say("No place stands out of what chance shows.");
  $("top-head").hidden = !best.length;
  $("top-none").replaceChildren(...(best.length ? [] : [make("p", none, "quiet")]));
  $("top").replaceChildren(...best.map(([cell, row, place], at) => {
    const number = place ? picture.places.indexOf(place) + 1 : at + 1; // as on the map
    const open = Object.assign(make("button", place ? `${plain(place.category)} ${placeName(place, picture)}` : idOf(cell, picture.grid)), { title: place ? cellsName(place) : "" });
    const swatch = make("span", "", "swatch"), name = make("span", `${number} `, place ? "" : "one");
    swatch.style.background = colourOf(place ? place.more : scoreOf(row));
    open.id = `top-${number}`; open.onclick = () => pin(cell, place?.category);
    name.append(swatch, open);
    const decision = place ? onPlace(place, picture) : decidedOn(cell, null, chosen.category, picture)[0];
    if (decision) name.append(" ", make("span", inShort(decision, picture), "tag"));
    const near = place ? "" : nearest(picture.names, [cell, cell], picture.grid), where = make("span");
    where.append(name, near && ` ${near}`);
    const shown = line(place ? [where, String(place.observed), count(place.usual), `${place.hours} h`, seldom(place.once_in_days)]
      : [where, percent(row.risk), count(row.expected), count(row.usual), times(lift(row)), String(row.observed_1h)]);
    shown.onpointerenter = () => { hovered = cell; look(); };
    shown.onpointerleave = () => { hovered = null; look(); };
    return shown;
  }));
}
/** Every area with what it expects, most first; a click chooses it. */
function showAreas() {
  const isAny = picture.areas.length > 0;
  $("areas").hidden = !isAny;
  if (!isAny) return;
  put("areas-name", say("Areas: {category}, next {horizon}", { category: plain(chosen.category), horizon: plain(chosen.horizon) }));
  $("areas-rows").replaceChildren(...picture.areas.toSorted((a, b) => b.expected - a.expected).map((row) => {
    const open = make("button", row.area);
    open.onclick = () => choose("area", row.area);
    return line([open, percent(row.risk), count(row.expected), count(row.usual), times(lift(row)), String(row.observed_1h)], row.area === picture.area);
  }));
}
/** As by hand: on its chip, or in its list. */
function choose(name, value) {
  const chip = $(`${name}-${value}`), list = $(`choose-${name}`);
  if (chip) chip.click();
  else if (list) { list.value = value; list.dispatchEvent(new Event("change")); }
}
function tick() {
  if (!picture) return;
  if (picture.decisions.some(hasEnded)) { picture.decisions = picture.decisions.filter((one) => !hasEnded(one)); return redraw(); }
  const now_s = Date.now() / 1000, { region, category, horizon, area } = picture, shown = { region, category, horizon, area };
  differs_s = Object.keys(shown).some((name) => shown[name] !== chosen[name]) ? differs_s ?? now_s : null;
  const isLate = differs_s !== null && now_s - differs_s >= 1;
  showState({ ...picture.facts(now_s), measure: chosen.measure, shows: isLate ? [region, category, horizon, area].map(plain).join(", ") : "" }, now_s);
}

// ---- one cell in words
const pointed = () => hovered ?? (document.activeElement === $("map") ? cursor : null);

/** The card of the cell that is pointed at, else pinned, else the highest: the first whose scores are at hand. */
function showCell() {
  const pinned = cellOf(chosen.cell, picture.grid), picked = [pointed(), pinned].find((one) => one !== null && picture.scoresOf(one));
  const cell = picked ?? highest(picture.rows), scores = picture.scoresOf(cell);
  if (!scores) return;
  const head = make("div", "", "headline"), name = make("h2", `${picked !== undefined ? say("Cell") : isUnusual() ? say("Busiest cell") : say("Highest cell")} ${idOf(cell, picture.grid)}`);
  name.id = "cell-name"; head.append(name);
  if (cell === pinned) {
    const free = make("button", say("pinned ✕"), "quiet");
    Object.assign(free, { id: "free", title: say("Unpin this cell"), onclick: () => pin(null) });
    head.append(free);
  }
  const parts = [head, make("p", [say("Centre {place}", { place: placeOf(cell, picture.grid) }), nearest(picture.names, [cell, cell], picture.grid)].filter(Boolean).join(", "), "quiet")];
  parts.push(...decidedOn(cell, placeAround(cell), chosen.category, picture).map((one) => inFull(one, picture)));
  if (!picture.active.has(cell)) parts.push(make("p", say("No incident on record here, so there is no score."), "quiet"));
  else parts.push(...inWords(scores.find((one) => one.category === chosen.category), cell), tableOf(scores, chosen), ...made(scores, chosen));
  $("cell").replaceChildren(...parts);
}
const placesAround = (cell) => (isUnusual() && cell !== null ? picture.places.filter(({ cells }) => cells.includes(idOf(cell, picture.grid))) : []);
/** Of several the one that was meant, else the least likely. */
const placeAround = (cell) => {
  const places = placesAround(cell);
  return places.find(({ category }) => category === meant) ?? places[0] ?? null;
};
const ofEach = ({ of_categories = {} }) => {
  const each = Object.entries(of_categories).map(([category, seen]) => `${seen} ${plain(category)}`).join(", ");
  return each && ` (${each})`;
};
const sayings = (cell) => {
  const places = placesAround(cell).map((place) => happened(place, picture) + ofEach(place)), nothing = unknown(picture);
  return places.length || nothing ? [...places, ...(nothing ? [nothing] : [])] : [say("in the last hours, here and around")];
};
function inWords(row, cell) {
  if (row.support === "no_history") return [make("p", say("no score"), "big"), make("p", say("No history in this category."), "quiet")];
  if (isUnusual()) return [make("p", placeAround(cell) ? say("in an unusual place") : unknown(picture) ? (isPartly(picture) ? say("partly known") : say("not known")) : say("nothing stands out"), "big"), ...sayings(cell).map((says) => make("p", says, "quiet"))];
  const besides = chosen.measure === "lift" ? "" : ` (${say("{times} of usual", { times: times(lift(row)) })})`;
  return [make("p", SAY[chosen.measure](scoreOf(row)), "big"), make("p", $("caption").textContent + besides, "quiet")];
}
function brief(cell) {
  const row = picture.rows.get(cell), name = idOf(cell, picture.grid);
  if (picture.inside && !picture.inside.has(cell)) return [name, say("not in the area")];
  if (!row) return [name, say("no incident on record")];
  if (row.support === "no_history") return [name, say("no history: no score")];
  const figures = { expected: count(row.expected), usual: count(row.usual), times: times(lift(row)), seen: row.observed_1h, risk: percent(row.risk) };
  const lines = [say("expected {expected}, usual {usual} ({times})", figures), say("last hour {seen}", figures)];
  if (chosen.measure !== "risk") lines.unshift(say("risk {risk}", figures));
  if (row.support === "sparse") lines.push(TAGS.sparse);
  return [`${name}: ${isUnusual() ? (placeAround(cell) || unknown(picture) ? sayings(cell).join("; ") : say("nothing stands out")) : SAY[chosen.measure](scoreOf(row))}`, ...lines];
}
function showTip(cell) {
  const tip = $("tip");
  tip.hidden = cell === null;
  if (cell === null) return;
  const [name, ...rest] = brief(cell), [x, y] = corner(cell), stage = $("stage"), right = x + size() + 10;
  tip.replaceChildren(make("b", name), make("div", rest.join("\n")));
  tip.style.left = `${right + tip.offsetWidth > stage.clientWidth ? Math.max(4, x - tip.offsetWidth - 10) : right}px`;
  tip.style.top = `${Math.max(4, Math.min(y - 8, stage.clientHeight - tip.offsetHeight - 4))}px`;
}
function look() {
  const focused = document.activeElement === $("map") ? cursor : null;
  const pinned = cellOf(chosen.cell, picture.grid);
  drawRings([hovered, pinned], focused);
  showCell(); showTip(pointed()); offerDecision(picture, pinned, placeAround(pinned), chosen.category);
}
function pin(cell, category = null) {
  if (picture.region !== chosen.region) return; // the map is still that of the region before
  if (cell === null) delete chosen.cell; else chosen.cell = idOf(cell, picture.grid);
  meant = category;
  if (cell !== null) reveal(cell);
  remember(); look(); changed("cell");
}

// ---- hands
const reveal = (cell) => zoom.reveal(corner(cell).map((edge) => edge + size() / 2));
function press(event) {
  const { rows, cols } = picture.grid, row = Math.floor(cursor / cols), col = cursor % cols, move = MOVES[event.key];
  if (move) cursor = Math.min(rows - 1, Math.max(0, row + move[0])) * cols + Math.min(cols - 1, Math.max(0, col + move[1]));
  else if (event.key === "Home") cursor = highest(picture.rows);
  else if (event.key === "Enter" || event.key === " ") pin(isPinned(cursor) ? null : cursor);
  else if (event.key === "Escape") pin(null);
  else return;
  event.preventDefault(); hovered = null; reveal(cursor); look(); put("spoken", brief(cursor).join(", "));
}
const zoom = zoomable(chosen, () => { if (picture) { draw(); look(); } }, remember);
const HANDS = {
  pointermove: (event) => { const cell = under(event); if (cell !== hovered) { hovered = cell; look(); } },
  pointerleave: () => { hovered = null; look(); },
  click: (event) => { const cell = under(event); if (cell !== null && !zoom.isDrag()) { cursor = cell; pin(isPinned(cell) ? null : cell); } },
  focus: look, blur: look, keydown: press,
};
for (const [name, does] of Object.entries(HANDS)) $("map").addEventListener(name, (event) => { if (picture) does(event); });
$("controls").onsubmit = (event) => event.preventDefault(); // Enter in the box has changed it already
new ResizeObserver(() => { if (picture) { draw(); look(); } }).observe($("stage"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (picture) redraw(); });
setInterval(tick, 1000);
for (const name of ["visibilitychange", "pageshow"]) addEventListener(name, tick);
