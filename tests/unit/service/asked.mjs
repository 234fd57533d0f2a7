// The page's questions, beside parts of the page in one folder: without a document, by a service that refuses some.
import { writeFileSync } from "node:fs";
writeFileSync(
  "./elements.js",
  "const one = { dataset: {} }; export const $ = () => one, put = () => 0, make = () => ({ append() {} });",
);
writeFileSync(
  "./day.js",
  "export const past = null, showDay = () => 0, onDay = () => 0, forgetDay = () => 0, lacks = () => 0, timeOf = () => '';",
);
writeFileSync("./basemap.js", "export const baseCredit = '';");
writeFileSync(
  "./controls.js",
  `export const chosen = {}, offer = (all) => { for (const name in all) chosen[name] ??= all[name][0]; };
  export const onChange = () => 0;`,
);
writeFileSync(
  "./view.js",
  `export let picture = null;
  export const showReach = () => 0, tick = () => 0, highest = () => 0, show = (next) => { picture = next; shown.push(next.digest); };`,
);
const grid = { rows: 1, cols: 1 };
const cells = [{ cell: "r000c000", support: "ok" }];
const asked = {};
const real = setTimeout;
const refusals = { cells: 2, streets: 1 };
let digest = "a";
let stream;
const shown = (globalThis.shown = []);
globalThis.setTimeout = (does) => real(does);
globalThis.setInterval = () => 0;
globalThis.addEventListener = () => 0;
const headers = new Map([["Date", new Date().toUTCString()]]);
globalThis.document = { cookie: "", body: { dataset: {} }, querySelector: () => ({ append() {} }) };
globalThis.EventSource = class {
  hears = {};
  constructor() {
    stream = this;
  }
  addEventListener(type, does) {
    this.hears[type] = does;
  }
};
const facts = () => ({
  region: "riverton",
  model: "m",
  digest,
  stale: false,
  grid,
  categories: ["all", "theft", "arson"],
  horizons: ["1h"],
  areas: [],
  answered_by: [],
});
globalThis.fetch = async (path) => {
  const name = path.split("/")[3]?.split("?")[0] ?? "regions";
  const of = name === "scores" && path.endsWith("category=all") ? "land" : name;
  asked[of] = (asked[of] ?? 0) + 1;
  if (refusals[name]-- > 0)
    return { ok: false, status: 429, json: async () => ({}), headers: new Map([["Retry-After", "1"]]) };
  if (of === "scores" && shown.length === 1) {
    // news while the picture is asked for
    digest = "c";
    stream.hears.frame({ type: "frame", data: JSON.stringify(facts()) });
    return {
      ok: true,
      headers,
      json: () => ({ ...facts(), digest: "b", cells, scores: [], features: [], places: [] }),
    };
  }
  return {
    ok: true,
    headers,
    json: () => ({ regions: [facts()], ...facts(), cells, scores: [], features: [], places: [], decisions: [] }),
  };
};
console.error = () => 0;
const wait = () => new Promise((done) => real(done, 100));
await import("./from_service.js");
await wait();
const first = { ...asked };
digest = "b";
stream.hears.frame({ type: "frame", data: JSON.stringify(facts()) });
await wait();
console.log(JSON.stringify({ first, asked, shown }));
