// The parts of the live map that need no page: `node --test tests/unit/service/`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newPlaces } from "../../../service/live_map/call.js";
import { nearby, squareAround, squaresOf } from "../../../service/live_map/card.js";
import { changeInWords, judge, ofService, showState, surgesInWords } from "../../../service/live_map/current.js";
import { barsOf, hourInWords } from "../../../service/live_map/day.js";
import { decidedOn, hasEnded, onPlace } from "../../../service/live_map/decide.js";
import { cellName, idOf, nearest, placeName } from "../../../service/live_map/grid.js";
import { scaleOf } from "../../../service/live_map/scale.js";
import {
  coordinatesIn,
  crossing,
  crossingNear,
  find,
  namedIn,
  offered,
  spotAt,
} from "../../../service/live_map/search.js";
import { unknownIn } from "../../../service/live_map/words.js";

const grid = { rows: 40, cols: 40, south_deg: 40, west_deg: -75, cell_lat_deg: 0.01, cell_lon_deg: 0.01, cell_m: 1000 };
const mill = { name: "Mill", lat: 40.056, lon: -74.945 };
const port = { name: "Port", lat: 40.075, lon: -74.945 };
const names = [mill, port];
const cell = (row, col) => row * grid.cols + col;

test("a value has the class whose begin it has reached, and no expected count is beyond the last", () => {
  const of = (measure, values, usual = 0, expected = 0) => {
    const { colourOf, ticks } = scaleOf(measure, [{ usual, expected }], [..."abcdefghij"], [..."abcdefghi"]);
    return [values.map(colourOf).join(""), ticks.map(({ says }) => says).join(" ")];
  };
  const chances = "0.25 % 0.5 % 1 % 2 % 4 % 8 % 16 % 32 % 64 % 100 %";
  assert.deepEqual(of("risk", [0, 0.00249, 0.0025, 0.64, 1]), ["aabjj", chances]);
  assert.deepEqual(of("expected", [2.99, 3], 3, 0.5), ["jj", "0.005 0.01 0.02 0.05 0.1 0.2 0.5 1 2 5"]);
  assert.deepEqual(of("expected", [0.004, 4.9, 5], 0.5, 5), ["aij", "0.01 0.02 0.05 0.1 0.2 0.5 1 2 5 10"]);
  assert.deepEqual(of("unusual", [9.9, 10, 100]), ["fgj", "0 +10 +20 +50 +100"]); // the palest class has figures on both sides
});

test("a place is called by a name within five kilometres of its middle", () => {
  const of = (...ends) =>
    nearest(
      names,
      ends.map((end) => cell(...end)),
      grid,
    );
  assert.equal(of([5, 5], [5, 5]), "near Mill");
  assert.equal(of([0, 5], [0, 5]), "");
  assert.equal(of([1, 5], [1, 5]), "near Mill");
  assert.equal(of([8, 4], [10, 6]), "around Port");
  assert.equal(of([20, 20], [39, 39]), "");
  assert.equal(cellName(cell(5, 5), { grid, names }), "Mill · r005c005");
  assert.equal(cellName(cell(30, 30), { grid, names }), "r030c030");
});

test("a large place tells the names or areas in it", () => {
  const others = ["Bay", "Dell", "Fen"].map((name, at) => ({ name, lat: 40.015 + at / 50, lon: -74.865 }));
  const square = [...Array(16).keys()].flatMap((row) => [...Array(16).keys()].map((col) => idOf(cell(row, col), grid)));
  const named = (all, above = [], more = {}) => placeName({ cells: square, above, ...more }, { grid, names: all });
  assert.equal(named(names), "around Port and Mill");
  assert.equal(named([...names, ...others]), "around Port, Mill, Fen and 2 more places");
  // first those that are nearest to a cell with more than usual
  assert.equal(named([...names, ...others], ["r001c012", "r015c015"]), "around Bay, Fen, Dell and 2 more places");
  assert.equal(named([]), "at r000c000 to r015c015");
  assert.equal(named([], [], { areas: ["North", "Centre"] }), "at r000c000 to r015c015 (North and Centre)");
  assert.equal(named([], [], { area: "North", areas: ["North", "Centre"] }), "at r000c000 to r015c015 (North)");
});

test("a place is told by the crossing nearest to it, within a kilometre", () => {
  const street = (name, ...coordinates) => ({ properties: { name }, geometry: { type: "LineString", coordinates } });
  const land = [
    street("Main Street", [-75, 40.1], [-74.8, 40.1]),
    street("Mill Road", [-74.95, 40], [-74.95, 40.2]),
    street("Port Road", [-74.94, 40], [-74.94, 40.2]),
  ];
  assert.equal(crossingNear({ lat: 40.101, lon: -74.951 }, land), "Main Street and Mill Road");
  assert.equal(crossingNear({ lat: 40.099, lon: -74.942 }, land), "Main Street and Port Road");
  assert.equal(crossingNear({ lat: 40.12, lon: -74.95 }, land), "");
  assert.equal(crossingNear({ lat: 40.1, lon: -74.9 }, land), "");
});

test("squares are told most first, and none of a cell that is parted evenly", () => {
  const row = (expected, squares, support = "ok") => ({
    expected,
    squares,
    support,
    usual: 0,
    risk: 0,
    observed_1h: 0,
  });
  const rows = new Map([
    [cell(10, 10), row(8, [1, 1, 5, 1])],
    [cell(10, 11), row(8, [2, 2, 2, 2])],
    [cell(10, 12), row(8, [1, 1, 5, 1], "no_history")],
    [cell(10, 13), row(8, undefined)],
  ]);
  const picture = { rows, grid, land: [] };
  const squares = squaresOf(cell(10, 10), picture);
  assert.deepEqual(
    squares.map(({ expected, share, metres }) => [expected, share, metres]),
    [[5, 0.625, 500], ...[1, 2, 3].map(() => [1, 0.125, 500])],
  );
  const [{ lat, lon }] = squares; // of the north-west
  assert.ok(Math.abs(lat - 40.1075) < 1e-9 && Math.abs(lon + 74.8975) < 1e-9, `${lat}, ${lon}`);
  assert.equal(nearby(squares[0], picture), "40.1075° N, 74.8975° W");
  assert.equal(squareAround({ lat: 40.1051, lon: -74.8951 }, cell(10, 10), picture).expected, 5);
  assert.equal(squareAround({ lat: 40.1049, lon: -74.8951 }, cell(10, 10), picture).expected, 1);
  for (const other of [11, 12, 13, 14]) assert.deepEqual(squaresOf(cell(10, other), picture), []);
});

test("coordinates are read as people write them", () => {
  const here = { lat: 41.88, lon: -87.63 };
  const written = ["41.88, -87.63", "41,88 -87,63", " 41.88 -87.63 ", "41.88;-87.63", `41°52'48"N 87°37'48"W`];
  for (const text of [...written, "41° 52′ 48″ N, 87° 37′ 48″ W", "87.63W 41.88N", "41.88° N, 87.63° W"]) {
    const { lat, lon } = coordinatesIn(text);
    assert.ok(Math.abs(lat - here.lat) < 1e-9 && Math.abs(lon - here.lon) < 1e-9, text);
  }
  assert.deepEqual(coordinatesIn("52°30'N 13°24'O"), { lat: 52.5, lon: 13.4 }); // O: the German east
  for (const text of ["Mill", "r001c001", "41.88", "Route 41, 12"]) assert.equal(coordinatesIn(text), null, text);
});

test("a name, a cell and coordinates are found in the region alone", () => {
  const at = (text, of = grid) => spotAt(text, of, names)?.cell ?? null;
  assert.deepEqual(
    ["  mill", "PORT", "r005c006", "40.0561, -74.9449"].map((text) => at(text)),
    [205, 285, 206, 205],
  );
  assert.deepEqual(
    ["Mil", "Nowhere", "0, 0"].map((text) => at(text)),
    [null, null, null],
  );
  assert.equal(at("Mill", { ...grid, rows: 3 }), null);
});

const street = (name, ...coordinates) => ({ properties: { name }, geometry: { type: "LineString", coordinates } });
const picture = {
  grid,
  names,
  land: [
    street("DeKalb Pike", [-74.9, 40.1], [-74.8, 40.2]),
    street("Germantown Pike", [-74.9, 40.2], [-74.8, 40.1]),
    street("Bethlehem Pike", [-74.95, 40.3], [-74.9, 40.3]),
    street("Église Road", [-74.898, 40.303], [-74.898, 40.35]),
  ],
  outlines: [
    {
      properties: { area: "North" },
      geometry: {
        type: "MultiLineString",
        coordinates: [
          [
            [-74.9, 40.1],
            [-74.69, 40.31],
          ],
        ],
      },
    },
  ],
};

test("two streets are found where they cross, or come so near that they do on a simplified map", () => {
  for (const text of ["DeKalb Pike and Germantown Pike", "dekalb & germantown", "Germantown Pike / DeKalb"]) {
    const { lat, lon, name } = find(text, picture);
    assert.ok(Math.abs(lat - 40.15) < 1e-9 && Math.abs(lon + 74.85) < 1e-9, text);
    assert.match(name, /Pike and .*Pike/);
  }
  const near = find("eglise road and bethlehem pike", picture);
  assert.ok(Math.abs(near.lat - 40.3) < 0.004 && Math.abs(near.lon + 74.898) < 0.004);
  assert.equal(find("DeKalb Pike and Bethlehem Pike", picture), null);
  const [one, other] = namedIn(picture).filter(({ lines }) => lines);
  assert.deepEqual(crossing(one, other), crossing(other, one));
});

test("streets, areas and parts of names are found, and what could be meant is offered", () => {
  assert.equal(find("bethlehem", picture).name, "Bethlehem Pike");
  assert.equal(find("North", picture).cell, cell(20, 20));
  assert.equal(find("nowhere", picture), null);
  const stations = [{ name: "Station 7", lat: 40.2, lon: -74.8 }];
  assert.equal(find("station 7", { ...picture, stations }).cell, cell(20, 20));
  assert.deepEqual(offered("pike", picture), ["DeKalb Pike", "Germantown Pike", "Bethlehem Pike"]);
  assert.deepEqual(offered("DeKalb Pike", picture), ["DeKalb Pike", "DeKalb Pike and Germantown Pike"]);
  assert.deepEqual(offered("dekalb and ge", picture), ["DeKalb Pike and Germantown Pike"]);
});

test("what is chosen and not there is named", () => {
  const areas = ["whole region", "North"];
  const said = unknownIn({ area: areas, horizon: ["1h"] }, { area: "Nord", horizon: "1h" });
  assert.equal(said, "There is no area Nord here: whole region is shown.");
  assert.equal(unknownIn({ area: areas }, {}), "");
});

test("a decision holds for its category until the place or its incidents are more than twice as many", () => {
  const small = { rows: 9, cols: 9 };
  const decisions = [
    { category: "theft", first: "r001c001", last: "r002c003" },
    { category: "all", first: "r007c007", last: "r007c007" },
    { category: "arson", first: "r003c001", last: "r003c001", observed: 5 },
  ];
  const rows = (from, to) =>
    [...Array(to - from + 1).keys()].flatMap((up) => [1, 2, 3].map((col) => idOf((from + up) * 9 + col, small)));
  const of = (category, cells, observed) =>
    decisions.indexOf(onPlace({ category, cells, observed }, { decisions, grid: small }));
  assert.deepEqual(
    [2, 4, 5].map((to) => of("theft", rows(1, to))),
    [0, 0, -1],
  );
  assert.deepEqual([of("fire", rows(1, 2)), of("all", rows(1, 2)), of("fire", ["r007c007"])], [-1, -1, 1]);
  const on = (at, category) =>
    decidedOn(at, null, category, { decisions, grid: small }).map((one) => decisions.indexOf(one));
  assert.deepEqual(
    [on(10, "theft"), on(10, "fire"), on(10, "all"), on(28, "arson"), on(70, "fire")],
    [[0], [], [0], [2], [1]],
  );
  // in the same cell, of five incidents when it was decided
  assert.deepEqual(
    [5, 10, 11, 20].map((observed) => of("arson", ["r003c001"], observed)),
    [2, 2, -1, -1],
  );
  const ends = (ms) => hasEnded({ until: new Date(Date.now() + ms).toISOString() });
  assert.deepEqual([ends(-1000), ends(60_000)], [true, false]);
});

test("how far the picture can be trusted is judged also without the service", () => {
  const now_s = 1_000_000;
  const served = { timezone: "UTC", clock: "wall", stale_after_s: 180, tick_s: 60, stale: false };
  const silent = (category) => ({
    silent: [{ category, since: "1970-01-12T07:36:30Z", observed: 0, usual: 148.2, once_in_days: 400 }],
  });
  const replay = { clock: "event", stale: true };
  const other = { shows: "riverton, theft" };
  const states = [
    ["live", 10, 0, {}],
    ["stale", 181, 0, {}],
    ["cut", 10, 29, {}],
    ["doubt", -61, 0, {}],
    ["replay", 10_000, 0, replay],
    ["doubt", 10, 0, { behind_s: 61 }], // an older picture than it seems
    ["live", -30, 14, {}],
    ["stale", 10, 0, { stale: true }], // the screen's clock is late, the service's is not
    ["cut", 10_000, 31, replay],
    ["live", 10, 0, { clock: "event" }], // a replay of what happens now
    ["behind", 10, 0, other], // and something else is chosen
    ["behind", 10_000, 0, { ...replay, ...other }],
    ["ended", 181, 40, { isEnded: true }],
    ["stale", 181, 0, other],
    ["silent", 10, 0, { ...silent("all"), category: "theft" }],
    ["silent", 10, 0, { ...silent("theft"), category: "theft" }],
    ["partly", 10, 0, { ...silent("theft"), category: "all" }],
    ["partly", 10, 0, { ...silent("theft"), category: "arson" }],
    ["silent", 10_000, 0, { ...replay, ...silent("all") }],
    ["stale", 181, 0, silent("all")],
    ["cut", 10, 29, silent("all")],
    ["behind", 10, 0, { ...silent("all"), ...other }],
    ["live", 10, 0, { silent: [] }],
  ];
  const of = (age_s, silent_s, facts) =>
    judge(
      ofService(
        { ...served, as_of: new Date((now_s - age_s) * 1000).toISOString(), ...facts },
        now_s,
        now_s - silent_s,
      ),
      now_s,
    )[0];
  for (const [state, ...facts] of states) assert.equal(of(...facts), state, JSON.stringify(facts));
});

test("a change that the forecast follows is told with its day where it is", () => {
  const change = { since: "2026-03-04T04:30:00Z", says: "05 to 08 h x 1.9, 2 cells x 3.0" };
  const said = "The forecast follows a change since Tue, 3 Mar 2026: 05 to 08 h × 1.9, 2 cells × 3.0";
  assert.equal(changeInWords(change, "America/Chicago"), said);
  const at = {};
  const times = { scored_s: 0, silent_s: 0, as_of_s: 0, stale_after_s: 180, tick_s: 60, signed_in_until_s: 0 };
  globalThis.document = { body: { dataset: {} }, getElementById: (id) => (at[id] ??= { dataset: {} }) };
  const shown = [change, null].map((each) => {
    showState({ ...times, region: "town", model: "v1", timezone: "America/Chicago", change: each }, 10);
    return at.change.hidden ? "" : at.change.textContent;
  });
  delete globalThis.document;
  assert.deepEqual(shown, [said, ""]); // until it ends
});

test("what the last hour raises is said of the chosen category or of all, the most first", () => {
  const surge = (category, factor, numbers) => ({ category, factors: { "1h": factor, "24h": 1 }, ...numbers });
  const surges = [
    surge("traffic", 2.21, { observed: 31, usual: 10 }),
    surge("fire", 3.4, { observed: 36, usual: 4.21 }),
  ];
  const fire = "fire ×3.40 (36 instead of 4.21 in the last hour)";
  const both = `${fire} and traffic ×2.21 (31 instead of 10.0 in the last hour)`;
  const says = (of) => `The last hour raises the forecast: ${of}. It may go on or not.`;
  const said = ["all", "fire", "ems"].map((category) => surgesInWords({ category, surges }));
  assert.deepEqual([...said, surgesInWords({ category: "all" })], [says(both), says(fire), "", ""]);
});

test("a place is new that shares no cell with one of its category before", () => {
  const one = { category: "theft", cells: ["r001c001"] };
  const grown = { category: "theft", cells: ["r001c001", "r001c002"] };
  const other = { category: "arson", cells: ["r001c001"] };
  assert.deepEqual(newPlaces([grown, other], [one]), [other]);
});

const hourOf = (given) => ({
  at: "2026-12-02T03:00:00Z",
  as_of: "2026-12-02T03:00:04Z",
  why: null,
  observed: 12,
  usual: 8.04,
  low: 4,
  high: 13,
  ...given,
});
test("an hour is told with what is usual and its range, or with why nobody knows", () => {
  const told = (given) => hourInWords(hourOf(given), "UTC");
  assert.equal(told({}), "Wed 03:00: 12 in the hour before, usual 8.04 (4 to 13 by chance)");
  const alone = { usual: null, low: null, high: null };
  assert.equal(told(alone), "Wed 03:00: 12 in the hour before; what is usual for it was not kept");
  const none = { ...alone, as_of: null, observed: null, why: "no frame of it was kept" };
  assert.equal(told(none), "Wed 03:00: no frame of it was kept");
  assert.match(hourInWords(undefined, "UTC"), /^Now/);
  const bars = barsOf([hourOf({}), hourOf({ observed: 26 }), hourOf(alone), hourOf(none)]);
  assert.deepEqual(bars.map(({ isMore }) => isMore), [false, true, false, false]); // prettier-ignore
  assert.deepEqual([bars[0].seen, bars[0].from, bars[0].to], [12 / 26, 4 / 26, 0.5]);
  assert.ok(bars[3].isMissing);
});

test("the past is said before all but an ended token, and what cannot be shown of it is grey", () => {
  const facts = { timezone: "UTC", scored_s: 0, silent_s: 999, stale: true, stale_after_s: 180, past: hourOf({}) };
  const judged = (given) => judge({ ...facts, ...given }, 9000);
  assert.deepEqual(judged({}), ["past", "PAST Wed 03:00", "", ""]);
  assert.deepEqual(judged({ isEnded: true })[0], "ended");
  const why = "no frame of it was kept";
  assert.deepEqual(judged({ past: hourOf({ why }) }).slice(0, 2), ["gone", "PAST Wed 03:00"]);
  assert.equal(judged({ past: hourOf({ why }) })[3], why);
  assert.deepEqual([0, 3].map((at) => judged({ shows: "riverton" })[at]), ["gone", "still riverton"]); // prettier-ignore
});
