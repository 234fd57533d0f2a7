// The pictures of the service: asked for what is chosen, and again whenever its stream tells of a new frame.
import { baseCredit } from "./basemap.js";
import { ofService } from "./current.js";
import { $, make, put } from "./elements.js";
import { forgetDay, lacks, onDay, past, showDay } from "./day.js";
import { follow, pause } from "./follow.js";
import { cellOf, idOf } from "./grid.js";
import { say, told as inWords } from "./language.js";
import { askReach, forgetUnits } from "./reach.js";
import { chosen, offer, onChange } from "./controls.js";
import { find } from "./search.js";
import { highest, picture, show, showReach, tick } from "./view.js";
import { ALL, WHOLE, plain } from "./words.js";

const NO_SCORES = say("Waiting for the first scores: this page asks again every few seconds.");
const NO_ANSWER = say("The service does not answer: this page tries again.");
const AGAIN_S = 3;
const MOST_S = 15;
const SETTLED_S = 90;
const PATIENCE_MS = 20_000;
let regions = [];
let left = null;
let land = {};
let heard_s = Date.now() / 1000;
let behind_s = 0;
let turn = 0;
let isBusy = false;
let next = null;
let isEnded = false;
let withheld = null;
let dayOf = ""; // what the strip of the last day is of
const tooMany = new Set(); // regions and areas with more squares than an answer has
let newest_s = 0; // what the newest scores are for

/** The answer to one question. Only who is answered heard of the service; a refusal says how long to wait. */
async function question(path) {
  const answer = await fetch(path, {
    headers: { Accept: "application/json, application/geo+json" },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (answer.status === 401 && !picture) location.assign(`login${location.search}`);
  isEnded = answer.status === 401;
  if (!answer.ok) {
    const { detail } = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(`${path}: ${detail ?? answer.status}`), {
      wait_s: +answer.headers.get("Retry-After"),
      status: answer.status,
    });
  }
  heard_s = Date.now() / 1000;
  behind_s = Date.parse(answer.headers.get("Date")) / 1000 - heard_s; // this screen's clock, of that of the service
  return answer.json();
}

/** One piece of work at a time: newer work ends older work at its next answer. What is refused for a moment goes on with
 *  what was answered; what fails otherwise begins again. */
async function work(steps, tries = 0, answered = new Map()) {
  const mine = ++turn;
  isBusy = true;
  try {
    await steps(async (path) => {
      if (!answered.has(path)) answered.set(path, await question(path));
      if (mine !== turn) throw new Error(`${path}: too late`);
      return answered.get(path);
    });
    isBusy = false;
    const later = next;
    next = null;
    if (later) work(later);
  } catch (error) {
    if (mine !== turn) return;
    console.error(error);
    if (!picture) showNone(error);
    await pause(Math.min(MOST_S, (error.wait_s || AGAIN_S) * 1.5 ** tries));
    if (mine === turn) work(...(error.wait_s ? [steps, tries + 1, answered] : [begin, tries + 1]));
  }
}
function showNone({ missing, isEmpty }) {
  document.body.dataset.state = withheld ? "withheld" : missing ? "missing" : "wait";
  const why = withheld ? inWords(withheld) : (missing ?? (isEmpty ? NO_SCORES : NO_ANSWER));
  put("state", withheld ? say("WITHHELD") : missing ? say("NOT HERE") : say("WAIT"));
  put("banner", why[0].toUpperCase() + why.slice(1));
}
async function begin(ask) {
  ({ regions, withheld } = await ask("v1/regions"));
  if (withheld) throw new Error(withheld);
  if (!regions.length) throw Object.assign(new Error("no region"), { isEmpty: true });
  await load(ask);
}

/** The newest scores of what is chosen, or those of an hour of the last day, and those of the cell that is pinned or the highest. */
async function load(ask) {
  const hour = past;
  if (hour?.why) return;
  try {
    await loadOf(hour, ask);
  } catch (error) {
    if (!hour || error.status !== 404) throw error;
    lacks(hour);
  }
}
async function loadOf(hour, ask) {
  const names = regions.map((one) => one.region);
  const region = chosen.region ? regions.find((one) => one.region === chosen.region) : regions[0];
  if (!region) {
    // another's map would be taken for its map
    offer({ region: [chosen.region, ...names] });
    throw Object.assign(new Error(`no region ${chosen.region}`), {
      missing: say(
        "No scores of {region} here: it has none yet, or this sign-in does not open it. This page tries again.",
        { region: plain(chosen.region) },
      ),
    });
  }
  const { grid } = region;
  const categories = region.categories.length > 2 ? region.categories : region.categories.slice(1); // one has no sum
  offer({ region: names, category: categories, horizon: region.horizons, area: [WHOLE, ...region.areas] });
  const address = `v1/regions/${encodeURIComponent(region.region)}`;
  const at = hour ? { at: hour.at } : {};
  const within = (path, query = {}) => ask(`${address}/${path}?${new URLSearchParams({ ...query, ...at })}`);
  const around = await landOf(region, address);
  const { category, horizon } = chosen;
  const hasArea = chosen.area !== WHOLE;
  const inArea = { category, ...(hasArea ? { area: chosen.area } : {}) };
  const { cells, ...found } = await scoresOf(region, { ...inArea, horizon }, within);
  const all = byPlace(cells, grid);
  const { areas } = region.areas.length ? await within("areas", { category, horizon }) : { areas: [] };
  const { places, least_days } = await within("unusual", inArea);
  const { decisions, may_decide } = hour ? { decisions: [], may_decide: false } : await ask(`${address}/decisions`);
  const active = new Set([...around.active, ...onRecord(all)]);
  const rows = new Map([...all].filter(([cell]) => active.has(cell)));
  const cell = cellOf(chosen.cell, grid) ?? highest(rows, { places, grid });
  const details = await within(`cells/${idOf(cell, grid)}`);
  const sum = (name) => cells.reduce((total, row) => total + row[name], 0);
  show({
    ...found,
    ...around,
    area: found.area ?? WHOLE,
    past: hour,
    grid,
    rows,
    places,
    least_days,
    decisions,
    may_decide,
    areas,
    as_of_s: Date.parse(found.as_of) / 1000,
    timezone: region.timezone,
    active,
    inside: hasArea ? new Set(all.keys()) : null,
    facts: (now_s) => ({
      ...ofService({ ...region, ...found }, now_s, heard_s),
      behind_s,
      isEnded,
      signed_in_until_s: signedInUntil(),
    }),
    total: {
      name: found.area ?? plain(WHOLE),
      expected: sum("expected"),
      usual: sum("usual"),
      observed_1h: sum("observed_1h"),
    },
    decide: (decision) => decide(address, decision),
    reach: picture?.region === region.region ? picture.reach : null,
    scoresOf: (one) =>
      one === cell
        ? details.scores.filter((row) => row.horizon === chosen.horizon && categories.includes(row.category))
        : null,
  });
  if (left !== region.region) forgetUnits();
  left = region.region;
  const now = hour ? { ...region, answered_by: [] } : region; // units stand where they stand now
  askReach(now, address, horizon, showReach, (text) => find(text, picture));
  if (!hour) newest_s = Date.parse(found.as_of) / 1000;
  await askDay(region, address, inArea);
}
/** With squares, or without where the service refuses so many: that is asked for once. */
async function scoresOf({ region, model, fine }, query, within) {
  const of = [region, model, query.area].join();
  if (fine > 1 && !tooMany.has(of)) {
    try {
      return await within("scores", { ...query, fine: 1 });
    } catch (error) {
      if (error.status !== 422) throw error;
      tooMany.add(of);
    }
  }
  return within("scores", query);
}
/** The strip of the last day: anew for each hour, a little after its first frame, and for another choice. */
async function askDay(region, address, inArea) {
  const query = new URLSearchParams(inArea);
  const of = [region.region, query, Math.floor((newest_s - SETTLED_S) / 3600)].join();
  if (of === dayOf) return;
  try {
    showDay((await question(`${address}/hours?${query}`)).hours, region.timezone);
    dayOf = of;
  } catch (error) {
    console.error(error);
    dayOf = forgetDay();
  }
}
async function decide(address, decision) {
  const answer = await fetch(`${address}/decisions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(decision),
  });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  work(load);
}
const byPlace = (rows, grid) => new Map(rows.map((row) => [cellOf(row.cell, grid), row]));
const onRecord = (rows) =>
  [...rows].filter(([, row]) => row.support !== "no_history" || row.observed_1h > 0).map(([cell]) => cell);

/** What only a new model changes: the cells with any incident on record; areas and streets, which may be missing until
 *  the next picture. What was answered is kept, whatever was chosen since. */
async function landOf(region, address) {
  const of = region.region + region.model;
  const all = `scores?category=${ALL}`;
  const here = land.of === of ? land : (land = { of });
  const paths = [all, "streets", ...(region.areas.length ? ["outlines"] : [])];
  const asked = await Promise.allSettled(
    paths.map(async (path) => {
      here[path] ??= await question(`${address}/${path}`);
    }),
  );
  const refused = asked.find((one) => one.status === "rejected" && one.reason.wait_s) ?? (here[all] ? null : asked[0]);
  if (refused?.status === "rejected") throw refused.reason;
  const isWhole = paths.every((path) => here[path]);
  const found = here.streets?.features ?? [];
  const isStation = ({ properties }) => properties.kind === "station";
  const isPlace = (one) => one.geometry.type === "Point" && !isStation(one);
  const named = (shapes) =>
    shapes.map(({ properties: { name }, geometry: { coordinates: [lon, lat] } }) => ({ name, lat, lon })); // prettier-ignore
  const credit = found.some((one) => !isStation(one))
    ? here.streets.attribution
      ? say("Streets: {attribution}", here.streets)
      : say("Streets: their file does not say whose they are")
    : "";
  const whose = isWhole ? credit : say("Streets or areas are missing: the service did not answer for them");
  put("credit", [whose, baseCredit].filter(Boolean).join(" · "));
  $("credit").hidden = !$("credit").textContent;
  return {
    outlines: here.outlines?.features.filter((one) => one.properties.area) ?? [],
    land: found,
    names: named(found.filter(isPlace)),
    stations: named(found.filter(isStation)),
    active: onRecord(byPlace(here[all].cells, region.grid)),
  };
}

function told(facts) {
  heard_s = Date.now() / 1000;
  if (!facts) return;
  if (facts.withheld && picture) return location.reload(); // nothing of the picture stays
  if (past) return;
  const known = regions.find((one) => one.region === facts.region);
  const steps = known?.model === facts.model ? load : begin;
  const isNew =
    ["region", "digest", "stale"].some((name) => facts[name] !== picture?.[name]) ||
    JSON.stringify([facts.silent, facts.surges]) !== JSON.stringify([picture?.silent, picture?.surges]);
  if (known && (facts.region !== chosen.region || !isNew)) return;
  if (isBusy) next = steps;
  else work(steps);
}

/** What the stream would have told; gives the seconds to wait where it was not answered. */
async function askForNews() {
  try {
    (await question("v1/regions")).regions.forEach(told);
    return null;
  } catch (error) {
    console.error(error);
    return error.wait_s || AGAIN_S;
  }
}

const signedInUntil = () => +(/risk_signed_in=(\d+)/.exec(document.cookie)?.[1] ?? 0);
const leave = Object.assign(make("form"), { id: "leave", method: "post", action: "logout", hidden: !signedInUntil() });
$("sign-in").onclick = () => location.reload(); // whoever guards this page asks who it is
leave.append(make("button", say("Sign out")));
document.querySelector("footer").append(leave);
onChange((name) => {
  if (name === "region") dayOf = forgetDay();
  work(load);
});
onDay(() => {
  tick();
  work(load);
});
addEventListener("hashchange", () => location.reload()); // somebody's address in the open page
work(begin).then(() => follow("v1/stream", told, askForNews));
