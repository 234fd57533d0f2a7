// The pictures of a page that the job writes: its data stand in the page itself, which loads itself again.
import { ofFile } from "./current.js";
import { $, line, make, put, titles } from "./elements.js";
import { chosen, cursor, moveTo, offer, onChange, picture, remember, show } from "./view.js";
import { ALL, HMS, cellOf, count, idOf, plain, span, stamp } from "./words.js";

const page = JSON.parse($("page-data").textContent), SUPPORT = ["no_history", "sparse", "ok"];
let region; // the chosen one, unpacked

// ---- numbers out of the data block
const codes = (text) => new Uint16Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const levels = (text) => Float64Array.from(codes(text), (code) => code && page.level_floor * Math.exp((code - 1) * page.level_step));
const numbers = (text) => Float64Array.from(text.split(","), Number);
function unpack(raw) {
  const levelled = Object.fromEntries(["expected", "risk", "usual"].map((name) => [name, levels(raw[name])]));
  const listed = Object.fromEntries(["low", "high", "observed_1h"].map((name) => [name, numbers(raw[name])]));
  const active = [...codes(raw.active)];
  return { ...raw, ...levelled, ...listed, active, place: new Map(active.map((cell, i) => [cell, i])) };
}

/** The scores of one cell on record, by its place among them; "all" adds counts and joins risks as if independent. */
function scores(category, i) {
  const n = region.active.length, h = region.horizons.indexOf(chosen.horizon);
  const parts = category === ALL ? [...region.categories.keys()] : [region.categories.indexOf(category)];
  const own = (c) => c * n + i, at = (c) => (c * region.horizons.length + h) * n + i;
  const sum = (array, where) => parts.reduce((total, c) => total + array[where(c)], 0);
  return { category, expected: sum(region.expected, at), usual: sum(region.usual, at), observed_1h: sum(region.observed_1h, own),
    risk: category === ALL ? 1 - parts.reduce((none, c) => none * (1 - region.risk[at(c)]), 1) : region.risk[at(parts[0])],
    support: SUPPORT[Math.max(...parts.map((c) => region.support[own(c)]))],
    ...(category !== ALL && { low: region.low[at(parts[0])], high: region.high[at(parts[0])] }) };
}

function load() {
  const names = page.regions.map((one) => one.region);
  region = unpack(page.regions[Math.max(0, names.indexOf(chosen.region))]);
  const categories = region.categories.length > 1 ? [ALL, ...region.categories] : region.categories;
  offer({ region: names, category: categories, horizon: region.horizons });
  const rows = new Map(region.active.map((cell, i) => [cell, scores(chosen.category, i)])), facts = ofFile(page, region);
  const whole = wholeOf(chosen.category, region.horizons.indexOf(chosen.horizon));
  const observed_1h = [...rows.values()].reduce((total, row) => total + row.observed_1h, 0);
  show({ region: region.region, grid: region, rows, active: new Set(region.active), inside: null, outlines: [], streets: [], facts: () => facts,
    total: { name: "whole region", ...whole, observed_1h },
    scoresOf: (cell) => (region.place.has(cell) ? categories.map((category) => scores(category, region.place.get(cell))) : []) });
  showWhole(categories);
  showMessages();
}

/** Sums over all cells, also those without a score of their own. */
function wholeOf(category, h) {
  const sum = (table) => table.reduce((total, of, c) => total + (category === ALL || category === region.categories[c] ? of[h] : 0), 0);
  return { expected: sum(region.whole_expected), usual: sum(region.whole_usual) };
}
function showWhole(categories) {
  const both = ({ expected, usual }) => `${count(expected)} (${count(usual)})`;
  $("whole").hidden = false;
  $("whole-head").replaceChildren(titles(["", ...region.horizons.map((name) => `next ${plain(name)}`)]));
  $("whole-rows").replaceChildren(...categories.map((category) =>
    line([plain(category), ...region.horizons.map((_, h) => both(wholeOf(category, h)))], category === chosen.category)));
}
function showMessages() {
  $("messages").hidden = false;
  $("ledger").replaceChildren(...region.ledger.map(([outcome, messages]) => {
    const pair = make("div");
    pair.append(make("dt", plain(outcome)), make("dd", messages.toLocaleString("en")));
    return pair;
  }));
  showSilence();
}
function showSilence() {
  const isReplay = page.clock === "event", { last_event_s, timezone, as_of_s } = region;
  if (last_event_s === null) return put("silence", "No incident received yet.");
  const quiet_s = Math.max(0, (isReplay ? as_of_s : Date.now() / 1000) - last_event_s);
  put("silence", `Newest incident ${stamp(last_event_s, timezone, HMS)}, ${span(quiet_s)} ${isReplay ? "before the replay clock" : "ago"}.`);
}

// ---- the next page: what is done by hand on this one goes on there
const { focus, scroll, cursor: wandered } = chosen;
for (const passing of ["focus", "scroll", "cursor"]) delete chosen[passing];
onChange(load);
load();
moveTo(cellOf(wandered, region) ?? cursor);
$(focus)?.focus({ preventScroll: true });
$("side").scrollTop = Number(scroll ?? 0);
setInterval(showSilence, 1000);
if (!page.finished) setTimeout(() => {
  const focused = document.activeElement.id;
  remember({ cursor: idOf(cursor, picture.grid), scroll: $("side").scrollTop, ...(focused && { focus: focused }) });
  location.reload();
}, page.refresh_s * 1000);
