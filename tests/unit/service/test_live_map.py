"""The page's colours can be read (WCAG AA), in both themes; it names no server; it judges its age."""

import json
import re
import shutil
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.following import Shown, followed_change
from models.readiness import ASSUMES
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.languages import sentences_of
from schemas.records import Withheld
from schemas.spec import DAY_S
from service.page import FOLDER, catalogue, part
from service.service import expired
from tests.harness.contrast import contrast, parts_of, seen_on
from tests.harness.processes import run
from tests.harness.service import Client, leave_frame, running, toy_service

CSS = part("page.css")
THEMES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
    for block in re.findall(r":root \{(\n.*?)\n *\}", CSS, re.DOTALL)
]
TEXTS = [
    *product(("text", "quiet"), ("ground", "card", "sea")),
    ("card", "accent"),
    ("warn-text", "warn"),
    ("note-text", "note"),
]
LINES = [("area", "sea"), ("street", "sea"), ("mark", "halo"), ("accent", "ground"), ("accent", "card")]


def test_the_formula_gives_the_figures_of_the_standard():
    assert contrast([0] * 3, [255] * 3) == pytest.approx(21)
    assert contrast([0x77] * 3, [255] * 3) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), [(*pair, 4.5) for pair in TEXTS] + [(*pair, 3) for pair in LINES])
def test_every_text_and_line_stands_out(theme, ink, ground, least):
    assert len(THEMES) == 2
    assert contrast(*(parts_of(THEMES[theme][name]) for name in (ink, ground))) >= least


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("scale", "least_step"), [("ramp", 1.05), ("lift", 1.02)])
def test_on_either_ground_a_higher_class_stands_out_more_also_in_grey(theme, scale, least_step):
    """By lightness alone, so no eye needs the hues. One palette: the dark theme has none of its own."""
    (colours,) = re.findall(rf"--{scale}: ([^;]+);", CSS)
    ground = parts_of(THEMES[theme]["sea"])
    stands_out = [contrast(seen_on(ground, colour), ground) for colour in colours.split()]
    assert all(higher > least_step * lower for lower, higher in pairwise(stands_out)), stands_out
    assert stands_out[0] > 1.2
    assert stands_out[-1] > 3


NODE = shutil.which("node")
ASKED = Path(__file__).with_name("asked.mjs")
needs_node = pytest.mark.skipif(NODE is None, reason="no node on this machine: apt-get install nodejs npm")


def told_by_node(tmp_path, script, *parts):
    """What a script prints, as JSON; it lies beside these parts of the page."""
    for name in parts:
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "try.js").write_text(script)
    ran = run(NODE, "try.js", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


SCALE = """
import { writeFileSync } from 'node:fs';
writeFileSync('./elements.js', `export const css = () => 'a b c d e f g h i j';
  export const make = (_, text) => ({ text, style: {} });
  const replaceChildren = (...all) => { globalThis.ticks = all.map((one) => one.text); };
  export const $ = () => ({ style: {}, replaceChildren });`);
const { chooseScale, colourOf, drawLegend } = await import('./draw.js');
function of(measure, values, usual = 0, expected = 0) {
  chooseScale(measure, [{ usual, expected }]); drawLegend(measure);
  return [values.map(colourOf), ticks];
}
console.log(JSON.stringify([of('risk', [0, 0.00249, 0.0025, 0.64, 1]), of('expected', [2.99, 3], 3, 0.5),
  of('expected', [0.004, 4.9, 5], 0.5, 5), of('unusual', [9.9, 10, 100])]));
"""


@needs_node
def test_a_value_has_the_class_whose_begin_it_has_reached_and_no_expected_count_is_beyond_the_last(tmp_path):
    risk, usual, highest, more = told_by_node(tmp_path, SCALE, "draw.js", "language.js")
    assert risk[0] == ["a", "a", "b", "j", "j"]
    assert risk[1] == ["0.25 %", "0.5 %", "1 %", "2 %", "4 %", "8 %", "16 %", "32 %", "64 %", "100 %"]
    assert usual == [["j", "j"], ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]]
    assert highest == [["a", "i", "j"], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10"]]
    assert more == [["f", "g", "j"], ["0", "+10", "+20", "+50", "+100"]]  # the palest class has figures on both sides


NEAR = """
import { idOf, nearest, placeName, spotAt, unknownIn } from './words.js';
const grid = { rows: 40, cols: 40, south_deg: 40, west_deg: -75, cell_lat_deg: 0.01, cell_lon_deg: 0.01, cell_m: 1000 };
const names = [{ name: 'Mill', lat: 40.056, lon: -74.945 }, { name: 'Port', lat: 40.075, lon: -74.945 }];
const cell = (row, col) => row * 40 + col, of = (...ends) => nearest(names, ends.map((end) => cell(...end)), grid);
const areas = ['whole region', 'North'], horizon = ['1h'];
console.log(JSON.stringify([of([5, 5], [5, 5]), of([0, 5], [0, 5]), of([1, 5], [1, 5]), of([8, 4], [10, 6]),
  of([20, 20], [39, 39]), unknownIn({ area: areas, horizon }, { area: 'Nord', horizon: '1h' }),
  unknownIn({ area: areas }, {})]));
"""
LARGE = f"""{NEAR.partition("const areas")[0]}
const all = [...names, ...['Bay', 'Dell', 'Fen'].map((name, at) => ({{ name, lat: 40.015 + at / 50, lon: -74.865 }}))];
const square = (from, to) => [...Array(to - from).keys()].flatMap((row) =>
  [...Array(to - from).keys()].map((col) => idOf(cell(row + from, col + from), grid)));
const large = {{ cells: square(0, 16) }};
const named = (names, above = [], more = {{}}) => placeName({{ ...large, above, ...more }}, {{ grid, names }});
console.log(JSON.stringify([named(names), named(all), named(all, ['r001c012', 'r015c015']), named([]),
  named([], [], {{ areas: ['North', 'Centre'] }}), named([], [], {{ area: 'North', areas: ['North', 'Centre'] }}),
  ...['  mill', 'PORT', 'Mil', 'Nowhere'].map((text) => spotAt(text, grid, names)?.cell ?? null),
  spotAt('Mill', {{ ...grid, rows: 3 }}, names)]));
"""


@needs_node
def test_a_place_is_called_by_a_name_within_five_kilometres_of_its_middle(tmp_path):
    told = told_by_node(tmp_path, NEAR, "language.js", "words.js")
    assert told[:5] == ["near Mill", "", "near Mill", "around Port", ""]
    assert told[5:] == ["There is no area Nord here: whole region is shown.", ""]


@needs_node
def test_a_large_place_tells_the_names_or_areas_in_it_and_a_name_is_found(tmp_path):
    told = told_by_node(tmp_path, LARGE, "language.js", "words.js")
    assert told[:3] == [
        "around Port and Mill",
        "around Port, Mill, Fen and 2 more",
        "around Bay, Fen, Dell and 2 more",  # first those that are nearest to a cell with more than usual
    ]
    assert told[3:6] == [
        "at r000c000 to r015c015",
        "at r000c000 to r015c015 (North and Centre)",
        "at r000c000 to r015c015 (North)",
    ]
    assert told[6:] == [5 * 40 + 5, 7 * 40 + 5, None, None, None]


DECIDED = """
import { decidedOn, hasEnded, onPlace } from './decide.js';
import { idOf } from './words.js';
const grid = { rows: 9, cols: 9 }, at = (ms) => ({ until: new Date(Date.now() + ms).toISOString() });
const decisions = [['theft', 'r001c001', 'r002c003'], ['all', 'r007c007', 'r007c007'],
  ['arson', 'r003c001', 'r003c001', 5]]
  .map(([category, first, last, observed]) => ({ category, first, last, observed }));
const row = (from) => [1, 2, 3].map((col) => idOf(from * 9 + col, grid));
const rows = (from, to) => [...Array(to - from + 1).keys()].flatMap((up) => row(from + up));
const of = (category, cells, observed) =>
  decisions.indexOf(onPlace({ category, cells, observed }, { decisions, grid }));
const on = (cell, of) => decidedOn(cell, null, of, { decisions, grid }).map((one) => decisions.indexOf(one));
console.log(JSON.stringify([
  [...[2, 4, 5].map((to) => of('theft', rows(1, to))), ...['fire', 'all'].map((other) => of(other, rows(1, 2))),
    of('fire', ['r007c007'])],
  [on(10, 'theft'), on(10, 'fire'), on(10, 'all'), on(28, 'arson'), on(70, 'fire')],
  [5, 10, 11, 20].map((observed) => of('arson', ['r003c001'], observed)),
  [hasEnded(at(-1000)), hasEnded(at(60000))]]));
"""


@needs_node
def test_a_decision_holds_for_its_category_until_the_place_or_its_incidents_are_more_than_twice_as_many(tmp_path):
    places, cells, grown, ended = told_by_node(tmp_path, DECIDED, "decide.js", "elements.js", "language.js", "words.js")
    assert places == [0, 0, -1, -1, -1, 1]
    assert cells == [[0], [], [0], [2], [1]]
    assert grown == [2, 2, -1, -1]  # in the same cell, of five incidents when it was decided
    assert ended == [True, False]


def test_the_page_names_no_other_server():
    names = [path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".html", ".js")]
    assert len(names) == 14
    for name in names:
        assert not re.search(r"https?://|//[a-z]+\.", part(name)), name


NOW_S = 1_000_000
SERVED = {"timezone": "UTC", "clock": "wall", "stale_after_s": 180, "tick_s": 60, "stale": False}
JUDGE = """
import { judge, ofService } from './current.js';
const now_s = %d, told = (age_s) => new Date((now_s - age_s) * 1000).toISOString();
const service = (age_s, silent_s, facts) => ofService({ as_of: told(age_s), ...facts }, now_s, now_s - silent_s);
console.log(JSON.stringify(%s.map((facts) => judge(service(...facts), now_s)[0])));
"""


def silent(*categories):
    since = {"since": "1970-01-12T07:36:30Z", "observed": 0, "usual": 148.2, "once_in_days": 400.0}
    return [{"category": category, **since} for category in categories]


STATES = [
    ("live", 10, 0, SERVED),
    ("stale", 181, 0, SERVED),
    ("cut", 10, 29, SERVED),
    ("doubt", -61, 0, SERVED),
    ("replay", 10_000, 0, SERVED | {"clock": "event", "stale": True}),
    ("doubt", 10, 0, SERVED | {"behind_s": 61}),  # an older picture than it seems
    ("live", -30, 14, SERVED),
    ("stale", 10, 0, SERVED | {"stale": True}),  # the screen's clock is late, the service's is not
    ("cut", 10_000, 31, SERVED | {"clock": "event", "stale": True}),
    ("live", 10, 0, SERVED | {"clock": "event"}),  # a replay of what happens now
    ("behind", 10, 0, SERVED | {"shows": "riverton, theft"}),  # and something else is chosen
    ("behind", 10_000, 0, SERVED | {"clock": "event", "stale": True, "shows": "riverton, theft"}),
    ("ended", 181, 40, SERVED | {"isEnded": True}),
    ("stale", 181, 0, SERVED | {"shows": "riverton, theft"}),
    ("silent", 10, 0, SERVED | {"silent": silent("all"), "category": "theft"}),
    ("silent", 10, 0, SERVED | {"silent": silent("theft"), "category": "theft"}),
    ("partly", 10, 0, SERVED | {"silent": silent("theft"), "category": "all"}),
    ("partly", 10, 0, SERVED | {"silent": silent("theft"), "category": "arson"}),
    ("silent", 10_000, 0, SERVED | {"clock": "event", "stale": True, "silent": silent("all")}),
    ("stale", 181, 0, SERVED | {"silent": silent("all")}),
    ("cut", 10, 29, SERVED | {"silent": silent("all")}),
    ("behind", 10, 0, SERVED | {"silent": silent("all"), "shows": "riverton, theft"}),
    ("live", 10, 0, SERVED | {"silent": []}),
]


@needs_node
def test_how_far_the_picture_can_be_trusted_is_judged_also_without_the_service(tmp_path):
    asked = json.dumps([facts for _, *facts in STATES])
    states = told_by_node(tmp_path, JUDGE % (NOW_S, asked), "current.js", "elements.js", "language.js", "words.js")
    assert states == [state for state, *_ in STATES]


CHANGE = """
import { showState } from './current.js';
const at = {};
globalThis.document = { body: { dataset: {} }, getElementById: (id) => (at[id] ??= { dataset: {} }) };
const times = { scored_s: 0, silent_s: 0, as_of_s: 0, stale_after_s: 180, tick_s: 60, signed_in_until_s: 0 };
console.log(JSON.stringify([%s, null].map((change) => {
  showState({ ...times, region: 'town', model: 'v1', timezone: 'America/Chicago', change }, 10);
  return at.change.hidden ? '' : at.change.textContent;
})));
"""


@needs_node
def test_a_change_that_the_forecast_follows_is_shown_with_its_day_where_it_is_until_it_ends(tmp_path):
    change = {"since": "2026-03-04T04:30:00Z", "says": "05 to 08 h x 1.9, 2 cells x 3.0"}
    shown = told_by_node(tmp_path, CHANGE % json.dumps(change), "current.js", "elements.js", "language.js", "words.js")
    assert shown == ["The forecast follows a change since Tue, 3 Mar 2026: 05 to 08 h × 1.9, 2 cells × 3.0", ""]


SURGES = """
import { surgesInWords } from './current.js';
console.log(JSON.stringify(%s.map(surgesInWords)));
"""


@needs_node
def test_what_the_last_hour_raises_is_said_of_the_chosen_category_or_of_all_the_most_first(tmp_path):
    def surge(category, factor, **numbers):
        return {"category": category, "factors": {"1h": factor, "24h": 1.0}, **numbers}

    surges = [surge("traffic", 2.21, observed=31, usual=10), surge("fire", 3.4, observed=36, usual=4.21)]
    chosen = [{"category": name, "surges": surges} for name in ("all", "fire", "ems")] + [{"category": "all"}]
    files = "current.js", "elements.js", "language.js", "words.js"
    each = "fire ×3.40 (36 in place of 4.21 in the last hour)", "traffic ×2.21 (31 in place of 10.0 in the last hour)"
    says = "The last hour raises the forecast: {}. Whether it goes on nobody knows."
    raised = [says.format(of) for of in (" and ".join(each), each[0])]
    assert told_by_node(tmp_path, SURGES % json.dumps(chosen), *files) == [*raised, "", ""]


GERMAN = """
globalThis.document = { documentElement: { lang: 'de' }, getElementById: () => ({ textContent: JSON.stringify(%s) }) };
const { say, sayMany, told } = await import('./language.js');
const { HMS, count, percent, seldom, span, stamp, times } = await import('./words.js');
console.log(JSON.stringify({ told: %s.map(told), words: [span(90000 * 2), sayMany('{count} day', '{count} days', 1),
  seldom(800), count(1.4), count(0.0001), percent(0.015), times(12.3), stamp(0, 'UTC', HMS), say('no entry')] }));
"""


def change_of(factors):
    """As the job tells it, where they have lasted for ten days."""
    shown = Shown(np.array(factors, float), np.ones(len(factors)))
    return followed_change(lambda at_s: shown if at_s else None, 10 * DAY_S)[1]


@needs_node
def test_what_service_and_job_tell_and_all_numbers_are_in_the_language_of_the_page(tmp_path):
    """The texts are theirs, so that a changed sentence is not left in English unseen."""
    in_runs = [1, 1, 2, 2, 2, 1, 2, 1, 2, 1, 2, *[1] * 13, 1.5]  # of the hours of a day, then of cells
    texts = [part for factors in (in_runs, [2] * 26) for part in change_of(factors).split(", ")]
    texts += [Withheld(since_s=0, because="Beschluss").in_words(), *ATTRIBUTION_GROUPS.values(), ASSUMES]
    texts.append(expired(SimpleNamespace(model="20240101T000000Z-0a1b2c3d", as_of_s=NOW_S + 2_000_000_000)))
    spec = {"categories": ("ems", "theft"), "answered_by": ("ems",)}
    leave_frame(tmp_path, model="baseline:damaged", age_s=900, **spec)
    with running(toy_service(tmp_path)) as base:
        unit = {"lat": 41.61, "lon": -87.89}
        answer = Client(base).post("/v1/regions/riverton/posts", {"units": [unit], "reach_minutes": 3})
    texts += json.loads(answer.data)["warnings"]
    data = catalogue(sentences_of("de")).split(">", 1)[1].removesuffix("</script>")
    said = told_by_node(tmp_path, GERMAN % (data, json.dumps(texts)), "language.js", "words.js")
    assert [text for text, german in zip(texts, said["told"], strict=True) if text == german] == []
    assert said["told"][:3] == ["02 bis 05 Uhr x 2,0", "06 bis 07 Uhr x 2,0", "08 bis 09 Uhr x 2,0"]
    assert said["words"] == ["2 Tage", "1 Tag", "2 Jahre", "1,40", "<0,001", "1,5 %", "×12", "00:00:00", "no entry"]


FOLLOW = """
import { follow } from './follow.js';
let now_s = 1000, tick;
const streams = [], heard = [];
let asked = 0;
Date.now = () => 1000 * now_s;
globalThis.setInterval = (does) => { tick = does; };
globalThis.EventSource = class {
  readyState = 1; hears = {};
  constructor() { streams.push(this); }
  addEventListener(type, does) { this.hears[type] = does; }
  close() { this.readyState = 2; }
};
const pass = (seconds) => { for (let i = 0; i < seconds; i++) { now_s += 1; tick(); } };
follow('v1/stream', (facts) => heard.push(facts), async () => { asked += 1; return null; });
for (let i = 0; i < 3; i++) { pass(24); streams[0].hears.alive({ type: 'alive', data: '{}' }); }
const before = streams.length;
streams[0].hears.frame({ type: 'frame', data: '{"region": "riverton"}' });
pass(26); const once = streams.length; pass(26);
const twice = streams.length, open = streams.map((one) => one.readyState), waits = [], real = setTimeout;
globalThis.setTimeout = (does, ms) => { waits.push(ms); real(does); };
for (let i = 0; i < 4; i++) { streams.at(-1).onerror(); await new Promise((done) => real(done, 50)); }
console.log(JSON.stringify({ before, once, twice, asked, heard, open, waits, last: streams.length }));
"""


@needs_node
def test_a_stream_that_says_nothing_is_closed_and_opened_again_though_the_browser_calls_it_open(tmp_path):
    told = told_by_node(tmp_path, FOLLOW, "follow.js")
    assert (told["before"], told["once"], told["twice"]) == (1, 2, 3)
    assert (told["open"], told["asked"]) == ([2, 2, 1], 2 + 4)
    assert told["last"] == 3 + 4  # refused, it is asked for what is new, and then tried again, ever later
    assert all(s <= ms / 1000 <= 1.5 * s for s, ms in zip((3, 6, 12, 12), told["waits"], strict=True)), told["waits"]
    assert told["heard"] == [None, None, None, {"region": "riverton"}]


@needs_node
def test_what_was_answered_is_not_asked_again_after_a_refusal_and_news_waits_for_its_turn(tmp_path):
    parts = ("current.js", "follow.js", "from_service.js", "language.js", "reach.js", "words.js")
    told = told_by_node(tmp_path, ASKED.read_text(), *parts)
    assert told["first"] == {
        "regions": 1,
        "land": 1,
        "streets": 2,
        "scores": 1,
        "unusual": 1,
        "decisions": 1,
        "cells": 3,
    }
    assert told["shown"] == ["a", "b", "c"]
    assert told["asked"] == {
        "regions": 1,
        "land": 1,
        "streets": 2,
        "scores": 3,
        "unusual": 3,
        "decisions": 3,
        "cells": 5,
    }


def test_both_pages_are_in_the_language_of_the_service_and_their_catalogue_is_data(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path, language="de")) as base:
        answers = [Client(base).get(path) for path in ("/", "/login")]
    pages = [answer.data.decode() for answer in answers]
    assert all('<html lang="de">' in page for page in pages)
    assert "<h1>Vorfallrisiko</h1>" in pages[1]
    (data,) = re.findall('<script type="application/json" id="catalogue">(.*)</script>', pages[0])
    assert json.loads(data)["STALE"] == "VERALTET"
    assert "script-src 'self';" in answers[0].headers["Content-Security-Policy"]  # which lets no script in a page run


def test_the_pages_let_only_their_own_scripts_run(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path)) as base:
        client = Client(base)
        for path in ("/", "/login", "/page/from_service.js"):
            answer = client.get(path)
            assert answer.status == 200
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
        for path in ("/page/index.html", "/page/..%2Fapp.py", "/page/%2e%2e/app.py", "/page/nothing.js"):
            assert client.get(path).status == 404
        assert client.ask("/login", method="POST", body=b"\xff" * 100).status == 303
