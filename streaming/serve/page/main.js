// The live map: asks the service for what is chosen, follows its stream, and draws.
import { showState } from "./current.js";
import { chooseScale, colourOf, corner, drawLegend, drawMap, drawRings, size, under } from "./draw.js";
import { SAY, count, percent, plain, times } from "./words.js";

const $ = (id) => document.getElementById(id);
const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
const make = (tag, text, className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
const MEASURES = { risk: "Risk", expected: "Expected count", lift: "Lift over usual" };
const WHOLE = "whole region", AGAIN_MS = 3000;
const chosen = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const remember = () => history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
let regions = [], region = null, shown = null, cells = new Map(), outlines = [], streets = [];
let hovered = null, cursor = null, details = null, heard_s = Date.now() / 1000, asked = 0, isDrawn = false;

// ---- the service
async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json, application/geo+json" } });
  if (answer.status === 401) location.assign("login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  heard_s = Date.now() / 1000;
  return answer.json();
}
const base = () => `v1/regions/${encodeURIComponent(region.region)}`;

/** The newest scores of what is chosen; an answer to an earlier question is dropped. */
async function load() {
  const mine = ++asked, query = new URLSearchParams({ category: chosen.category, horizon: chosen.horizon });
  if (chosen.area !== WHOLE && region.areas.length) query.set("area", chosen.area);
  const found = await ask(`${base()}/scores?${query}`);
  if (mine !== asked) return;
  shown = found;
  region = { ...region, ...Object.fromEntries(["as_of", "stale", "clock", "model", "baseline_only", "digest"].map((name) => [name, found[name]])) };
  await loadCell();
  show();
}
async function loadCell() {
  const cell = chosen.cell ?? idOf(highest());
  details = cellOf(cell) === null ? null : await ask(`${base()}/cells/${cell}`);
}
async function enter() {
  const names = regions.map((one) => one.region);
  pick("region", names);
  region = regions[names.indexOf(chosen.region)];
  pick("measure", Object.keys(MEASURES)); pick("category", region.categories); pick("horizon", region.horizons); pick("area", [WHOLE, ...region.areas]);
  shown = null; cursor = null; isDrawn = false;
  showControls();
  const [lines, roads] = await Promise.all([ask(`${base()}/outlines`), ask(`${base()}/streets`)]);
  outlines = lines.features.filter((one) => one.properties.area); streets = roads.features;
  put("credit", roads.attribution ? `Streets: ${roads.attribution}` : ""); $("credit").hidden = !roads.attribution;
  await load();
}
function follow() {
  const stream = new EventSource("v1/stream");
  stream.addEventListener("frame", (event) => {
    heard_s = Date.now() / 1000;
    const facts = JSON.parse(event.data), known = regions.find((one) => one.region === facts.region);
    if (!known) return void begin();
    Object.assign(known, facts);
    if (region?.region === facts.region && shown && (facts.digest !== shown.digest || facts.stale !== shown.stale)) load().catch(() => {});
  });
  setInterval(() => { if (stream.readyState === EventSource.OPEN) heard_s = Date.now() / 1000; }, 1000);
  stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN_MS); };
}
async function begin() {
  try {
    regions = (await ask("v1/regions")).regions;
    if (!regions.length) throw new Error("no region");
    await enter();
  } catch {
    put("banner", "No scores yet: the service has no frame, or does not answer. This page tries again.");
    setTimeout(begin, AGAIN_MS);
  }
}

// ---- what is chosen; it lives in the address
function pick(name, options) { chosen[name] = options.includes(chosen[name]) ? chosen[name] : options[0]; }
function choice(name, options, labels = plain) {
  if (options.length < 2) return [];
  const group = make("fieldset", ""), chips = make("div", "", "chips");
  for (const option of options) {
    const label = make("label", labels(option)), input = make("input", "");
    Object.assign(input, { type: "radio", name, value: option, id: `${name}-${option}`, checked: option === chosen[name] });
    input.onchange = () => { chosen[name] = option; remember(); Promise.resolve(name === "region" ? enter() : name === "measure" ? show() : load()).catch(() => {}); };
    label.append(input); chips.append(label);
  }
  group.append(make("legend", name, "caps"), chips);
  return [group];
}
function showControls() {
  $("controls").replaceChildren(...choice("region", regions.map((one) => one.region)), ...choice("measure", Object.keys(MEASURES), (key) => MEASURES[key]),
    ...choice("category", region.categories), ...choice("horizon", region.horizons), ...choice("area", [WHOLE, ...region.areas], (name) => name));
}

// ---- cells
const idOf = (cell) => `r${String(Math.floor(cell / region.grid.cols)).padStart(3, "0")}c${String(cell % region.grid.cols).padStart(3, "0")}`;
function cellOf(id) {
  const match = /^r(\d{3})c(\d{3})$/.exec(id ?? ""), { rows, cols } = region.grid;
  return match && +match[1] < rows && +match[2] < cols ? +match[1] * cols + +match[2] : null;
}
const lift = (row) => (row.usual > 0 ? row.expected / row.usual : NaN);
const score = (row) => (chosen.measure === "lift" ? lift(row) : row[chosen.measure]);
function ranked() {
  const least = chosen.measure === "lift" ? ["ok"] : ["ok", "sparse"];
  return (shown?.cells ?? []).filter((row) => least.includes(row.support) && score(row) > 0).sort((a, b) => score(b) - score(a)).slice(0, 10);
}
const highest = () => cellOf(ranked()[0]?.cell) ?? 0;
function brief(cell) {
  const row = cells.get(cell)?.row;
  if (!row || row.support === "no_history") return [idOf(cell), row ? "no history: no score" : "not in the area"];
  const lines = [`${idOf(cell)}: ${SAY[chosen.measure](score(row))}`, `expected ${count(row.expected)}, usual ${count(row.usual)} (${times(lift(row))})`, `last hour ${row.observed_1h}`];
  return row.support === "sparse" ? [...lines, "little history"] : lines;
}

// ---- the picture
function draw() {
  drawMap(region.grid, cells, streets, outlines);
  drawLegend(chosen.measure);
  look();
}
function show() {
  if (!shown) return;
  cells = new Map(shown.cells.map((row) => [cellOf(row.cell), { row, score: score(row), support: row.support, observed: row.observed_1h }]));
  chooseScale(chosen.measure, shown.cells.map((row) => (chosen.measure === "risk" ? -Math.expm1(-row.usual) : row.usual)));
  const ahead = `next ${plain(chosen.horizon)}`, sum = (name) => shown.cells.reduce((total, row) => total + row[name], 0);
  put("region", plain(region.region));
  put("caption", `${MEASURES[chosen.measure]}: ${plain(chosen.category)}, ${ahead}`);
  put("unit", { risk: `probability of at least one incident in a cell, ${ahead}`, expected: `expected incidents per cell, ${ahead}`, lift: "expected divided by usual for this hour of the week" }[chosen.measure]);
  put("total", `${shown.area ?? WHOLE}: expected ${count(sum("expected"))} (usual ${count(sum("usual"))}), last hour ${sum("observed_1h")}`);
  const best = ranked();
  put("top-name", `Ten highest: ${MEASURES[chosen.measure].toLowerCase()}`);
  $("top").replaceChildren(...best.map((row) => {
    const open = make("button", row.cell), swatch = make("span", "", "swatch"), name = make("span", "", "one");
    swatch.style.background = colourOf(score(row)); open.onclick = () => pin(cellOf(row.cell));
    name.append(swatch, open);
    return line([name, percent(row.risk), count(row.expected), count(row.usual), times(lift(row)), String(row.observed_1h)]);
  }));
  cursor = cursor ?? cellOf(chosen.cell) ?? highest();
  $("map").dataset.summary = best.length ? `${plain(region.region)}, ${$("unit").textContent}. Highest: ${brief(cellOf(best[0].cell)).join(", ")}` : "no scored cell";
  isDrawn = true;
  draw(); showCell(); tick();
}
function line(parts, className = "") {
  const row = make("tr", "", className);
  row.append(...parts.map((part, at) => { const node = make(at ? "td" : "th", ""); if (!at) node.scope = "row"; node.append(part); return node; }));
  return row;
}
function showCell() {
  if (!details) return;
  const head = make("div", "", "headline"), name = make("h2", `${chosen.cell ? "Cell" : "Highest cell"} ${details.cell}`);
  name.id = "cell-name"; head.append(name);
  if (chosen.cell) { const free = make("button", "pinned ✕", "quiet"); free.ariaLabel = "Unpin this cell"; free.onclick = () => pin(null); head.append(free); }
  const place = make("p", `Centre ${details.lat.toFixed(4)}, ${details.lon.toFixed(4)}`, "quiet"), here = details.scores.filter((one) => one.horizon === chosen.horizon);
  const table = make("table", ""), top = make("thead", ""), body = make("tbody", ""), titles = make("tr", ""), wide = make("div", "", "wide");
  titles.append(...[`Next ${plain(chosen.horizon)}`, "Risk", "Expected", "90 % range", "Usual", "Last hour"].map((text) => Object.assign(make("th", text), { scope: "col" })));
  top.append(titles);
  body.append(...here.map((one) => line(one.support === "no_history" ? [plain(one.category), "–", "–", "–", "–", String(one.observed_1h)]
    : [plain(one.category), percent(one.risk), count(one.expected), `${one.low}–${one.high}`, count(one.usual), String(one.observed_1h)], one.category === chosen.category ? "chosen" : "")));
  table.append(top, body); wide.append(table);
  $("cell").replaceChildren(head, place, wide, ...made(here.find((one) => one.category === chosen.category)));
}
/** What made the score: factors on the usual number, as bars on a logarithmic scale. */
function made(one) {
  if (!one) return [];
  if (!one.factors) return [make("p", chosen.category === "all" ? "Choose a category to see what made its score." : "What made a score is kept for the ten riskiest cells of each category.", "quiet")];
  const shares = make("div", "", "shares"), most = Math.max(Math.log(2), ...one.factors.map(({ factor }) => Math.abs(Math.log(factor))));
  for (const { says, factor } of one.factors) {
    const bar = make("i", "", factor < 1 ? "less" : ""), fill = make("b", ""), width = (50 * Math.abs(Math.log(factor))) / most;
    fill.style.left = `${factor < 1 ? 50 - width : 50}%`; fill.style.width = `${width}%`;
    bar.append(fill); shares.append(make("span", says), bar, make("span", times(factor)));
  }
  return [make("p", `Usual ${count(one.usual)}, times these, is expected ${count(one.expected)}:`, "quiet"), shares];
}
const pointed = () => hovered ?? (document.activeElement === $("map") ? cursor : null);
function look() {
  drawRings([hovered, cellOf(chosen.cell)], document.activeElement === $("map") ? cursor : null);
  const tip = $("tip"), cell = pointed();
  tip.hidden = cell === null;
  if (cell === null) return;
  const [name, ...rest] = brief(cell), [x, y] = corner(cell), stage = $("stage"), right = x + size() + 10;
  tip.replaceChildren(make("b", name), make("div", rest.join("\n")));
  tip.style.left = `${right + tip.offsetWidth > stage.clientWidth ? Math.max(4, x - tip.offsetWidth - 10) : right}px`;
  tip.style.top = `${Math.max(4, Math.min(y - 8, stage.clientHeight - tip.offsetHeight - 4))}px`;
}
function pin(cell) {
  if (cell === null) delete chosen.cell; else chosen.cell = idOf(cell);
  remember(); look();
  loadCell().then(showCell).catch(() => {});
}
function tick() { if (isDrawn) showState({ ...region, ...shown }, Date.now() / 1000, heard_s); }

// ---- hands
const MOVES = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const map = $("map");
map.addEventListener("pointermove", (event) => { const cell = isDrawn ? under(event) : null; if (cell !== hovered) { hovered = cell; look(); } });
map.addEventListener("pointerleave", () => { hovered = null; if (isDrawn) look(); });
map.addEventListener("click", (event) => { const cell = isDrawn ? under(event) : null; if (cell !== null) { cursor = cell; pin(idOf(cell) === chosen.cell ? null : cell); } });
for (const name of ["focus", "blur"]) map.addEventListener(name, () => { if (isDrawn) look(); });
map.addEventListener("keydown", (event) => {
  if (!isDrawn) return;
  const { rows, cols } = region.grid, row = Math.floor(cursor / cols), col = cursor % cols, move = MOVES[event.key];
  if (move) cursor = Math.min(rows - 1, Math.max(0, row + move[0])) * cols + Math.min(cols - 1, Math.max(0, col + move[1]));
  else if (event.key === "Home") cursor = highest();
  else if (event.key === "Enter" || event.key === " ") pin(idOf(cursor) === chosen.cell ? null : cursor);
  else if (event.key === "Escape") pin(null);
  else return;
  event.preventDefault(); hovered = null; look(); put("spoken", brief(cursor).join(", "));
});
new ResizeObserver(() => { if (isDrawn) draw(); }).observe($("stage"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
setInterval(tick, 1000);
for (const name of ["visibilitychange", "pageshow"]) addEventListener(name, tick);
$("leave").hidden = !document.cookie.includes("risk_signed_in=");
begin().then(follow);
