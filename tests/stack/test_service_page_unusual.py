"""What the live map says in a real browser of places with more incidents than usual."""

import json
import re
import threading
from dataclasses import replace

import pytest

from schemas.frame import Silence, Unusual, write_frames
from tests.harness.browser import MARKS, collection, is_followed, the_service
from tests.harness.service import Client, leave_frame, running


def test_the_map_opens_with_what_is_more_than_usual_or_says_that_nothing_is(browser, page_folder):
    given = {"hours": 2, "usual": 1.4, "rows": 2, "cols": 3}
    places = [
        Unusual(category="theft", row=1, col=1, observed=12, days=40.0, **given),
        Unusual(category="battery", row=4, col=0, observed=7, days=36_500.0, **given),
    ]
    leave_frame(page_folder, unusual=tuple(places))
    leave_frame(page_folder, "usualton")
    with running(the_service(page_folder)) as base:
        all_of, of_one, on_wall, usual = browser(
            {"url": f"{base}/"},
            {"url": f"{base}/#category=battery", "theme": "dark"},
            {"url": f"{base}/?view=wall", "width": 1920, "height": 1080},
            {"url": f"{base}/#region=usualton"},
        )
        answer = Client(base).json("/v1/regions/riverton/unusual")
    said = "More than usual: theft at r001c001 to r002c003 (North), 12 instead of 1.40 in 2 h"
    for page in (all_of, on_wall):
        assert page["caption"] == said + ", and 1 other place"
        assert page["label"].endswith(page["caption"])
    assert re.findall(r"^(\d) (\w+).*\t(.*)$", all_of["top"], re.MULTILINE) == [
        ("1", "theft", "40 days"), ("2", "battery", "100 years +")]  # fmt: skip
    assert of_one["caption"] == "More than usual: battery at r004c000 to r005c002, 7 instead of 1.40 in 2 h"
    assert re.fullmatch("Nothing stands out to(day|night): all categories, last hours", usual["caption"])
    assert usual["top"] == ""
    assert "nothing stands out" in usual["cell"]
    assert [place["area"] for place in answer["places"]] == ["North", None]


def test_a_place_without_a_cell_on_record_leaves_the_others_their_numbers(browser, page_folder):
    frame, over_all = leave_frame(page_folder)
    has_some = (over_all.support[:, 0] > 0) | (over_all.observed_1h[:, 0] > 0)
    places = [
        Unusual(category=category, row=cell // frame.spec.grid.cols, col=cell % frame.spec.grid.cols, **given)
        for category, cell, given in (
            ("theft", int(has_some.argmin()), {"observed": 12, "days": 40.0}),
            ("battery", int(has_some.argmax()), {"observed": 7, "days": 20.0}),
        )
        for given in [{**given, "rows": 1, "cols": 1, "hours": 2, "usual": 1.4}]
    ]
    leave_frame(page_folder, unusual=tuple(places))
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    assert re.findall(r"^(\d) (\w+).*\t(\d+)\t1.40\t2 h\t(.*)$", page["top"], re.MULTILINE) == [
        ("2", "battery", "7", "20 days")
    ]


def test_a_named_place_says_where_what_is_unusual_lies(browser, page_folder):
    place = Unusual(category="theft", row=1, col=1, rows=2, cols=3, hours=2, usual=1.4, observed=12, days=40.0)
    grid = leave_frame(page_folder, unusual=(place,))[0].spec.grid
    lat, lon = (float(degrees[grid.cols + 1]) for degrees in grid.centres())
    (page_folder / "streets.json").write_text(collection({"type": "Point", "coordinates": [lon, lat]}, name="Old Mill"))
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/"})
        (name,) = Client(base).json("/v1/regions/riverton/streets")["features"]
    assert page["caption"] == "More than usual: theft around Old Mill (North), 12 instead of 1.40 in 2 h"
    assert page["cell"].startswith(f"Old Mill · {grid.cell_ids()[grid.cols + 1]}")
    assert "theft around Old Mill (North), 12 instead of 1.40 in 2 h" in page["cell"]
    assert name["geometry"]["type"] == "Point"


# Of cells, by row and column, the colours on the map.
COLOURS = """
const [{ atlas, boxOf }, { picture }] =
  await Promise.all(['map', 'view'].map((name) => import(new URL(`page/${name}.js`, document.baseURI))));
const canvas = document.querySelector('.cells canvas'), ratio = canvas.width / atlas.getSize()[0];
const of = ([row, col]) => {
  const { x, y, width } = boxOf(row * picture.grid.cols + col);
  return canvas.getContext('2d').getImageData(ratio * (x + width * 0.3), ratio * (y + width * 0.7), 1, 1).data.join();
};
const credit = document.getElementById('credit'); credit.hidden = false; credit.textContent = JSON.stringify(
"""


def test_of_a_line_of_incidents_only_the_cells_with_more_than_usual_are_coloured(browser, page_folder):
    given = {"category": "theft", "row": 1, "col": 1, "rows": 4, "cols": 4, "hours": 2, "usual": 1.4}
    leave_frame(page_folder, unusual=(Unusual(observed=12, days=40.0, above=(6, 12, 18), **given),))
    with running(the_service(page_folder)) as base:
        (page,) = browser(
            {
                "url": f"{base}/",
                "does": f"{COLOURS}[[1, 1], [2, 2], [1, 2], [2, 3], [5, 0]].map(of));",
            }
        )
    first, second, beside, other, outside = json.loads(page["credit"])
    assert first == second
    assert first not in (beside, other)
    assert outside == beside
    assert page["caption"].startswith("More than usual: theft at r001c001 to r004c004 (North)")


def test_of_two_places_with_one_frame_both_are_seen_told_and_decided_on(browser, page_folder):
    given = {"hours": 2, "usual": 1.4, "row": 1, "col": 1, "rows": 2, "cols": 3}
    of_all = Unusual(category="all", observed=12, days=40.0, of_categories={"theft": 9, "battery": 3}, **given)
    leave_frame(page_folder, unusual=(of_all, Unusual(category="battery", observed=9, days=20.0, **given)))
    picks = "document.querySelectorAll('#top button')[1].click(); await new Promise((done) => setTimeout(done, 600));"
    with running(the_service(page_folder)) as base:
        badges, second = browser(
            {"url": f"{base}/", "does": MARKS},
            {"url": f"{base}/", "does": picks, "axe": True},
        )
    (*_, x, y), (*_, beside, at) = json.loads(badges["credit"])[-2:]
    assert max(abs(x - beside), abs(y - at)) >= 14, "one number covers the other"
    assert second["decide"].startswith("Decide on battery at r001c001 to r002c003")
    assert "(9 theft, 3 battery)" in second["cell"]
    for words in (
        "all categories at r001c001 to r002c003 (North), 12 in",
        "battery at r001c001 to r002c003 (North), 9 in",
    ):
        assert words in second["cell"]
    assert second["axe"] == []


def test_a_place_that_grows_in_number_in_the_same_cells_is_shown_as_new(browser, page_folder):
    given = {"category": "theft", "row": 1, "col": 1, "rows": 1, "cols": 1, "hours": 1, "usual": 0.1, "days": 40.0}
    target = {"category": "theft", "first": "r001c001", "last": "r001c001"}
    leave_frame(page_folder, unusual=(Unusual(observed=5, **given),))
    with running(the_service(page_folder)) as base:
        Client(base).post(
            "/v1/regions/riverton/decisions", {**target, "what": "acknowledged", "reason": "unit sent", "hours": 2}
        )
        (before,) = browser({"url": f"{base}/#cell=r001c001"})
    leave_frame(page_folder, unusual=(Unusual(observed=20, **given),))
    with running(the_service(page_folder)) as base:
        (grown,) = browser({"url": f"{base}/#cell=r001c001"})
    assert "acknowledged until" in before["top"]
    assert "acknowledged until" not in grown["top"]
    assert re.search("Acknowledged .* unit sent .theft, r001c001, 5 incidents then.", grown["cell"])


def leave_silent(folder, category, *, clock="wall", hours_ago=0, **fields):
    """A frame whose feed of the category has been silent for six hours and ten minutes, or was until some hours ago."""
    frame, over_all = leave_frame(folder, clock=clock, **fields)
    until_s = frame.as_of_s - 3600 * hours_ago if hours_ago else 0
    given = {"since_s": frame.as_of_s - 22_200, "until_s": until_s}
    feed = Silence(category=category, observed=0, usual=148.2, days=400.0, **given)
    write_frames(folder, (replace(frame, silent=(feed,)), over_all), clock)


SILENT = r"\(6 h 10 min\): 0 incidents, where 148 are usual"


def test_a_silent_feed_is_said_and_nothing_is_called_usual(browser, page_folder):
    leave_silent(page_folder, "all")
    pointed = "const map = document.getElementById('map'); map.focus();"
    with running(the_service(page_folder)) as base:
        unusual, tip, risk, wall = browser(
            {"url": f"{base}/", "axe": True},
            {"url": f"{base}/", "does": pointed, "theme": "dark"},
            {"url": f"{base}/#measure=risk&cell=r001c001"},
            {"url": f"{base}/?view=wall", "width": 1920, "height": 1080},
        )
    for page in (unusual, tip, risk, wall):
        assert page["state"] == "silent"
        assert re.match(rf"FEED SILENT since .*\d\d:\d\d {SILENT}\. Check the feed", page["banner"])
        assert page["title"].startswith("FEED SILENT · ")
        assert "nothing stands out" not in " ".join(
            filter(None, (page[part] for part in ("caption", "cell", "tip", "top", "label")))
        )
        assert page["decide"] is None
    for page in (unusual, tip, wall):
        assert re.match(r"Nothing is known since .*\d\d:\d\d: ", page["caption"])
        assert page["veil"].startswith("FEED SILENT")
    assert "not known" in unusual["cell"]
    assert re.search("nothing is known since", tip["tip"])
    assert (risk["veil"], risk["caption"]) == (None, "Risk: all categories, next 1 h")
    assert unusual["axe"] == []


def test_a_category_that_is_silent_alone_is_named_and_the_others_go_on(browser, page_folder):
    leave_silent(page_folder, "theft")
    with running(the_service(page_folder)) as base:
        all_of, own, other = browser(*({"url": f"{base}/#category={name}"} for name in ("all", "theft", "battery")))
    assert [page["state"] for page in (all_of, own, other)] == ["partly", "silent", "partly"]
    for page in (all_of, other):
        assert re.match(rf"PARTLY SILENT: theft since .* {SILENT}\.", page["banner"])
        assert page["veil"] is None
    assert re.match(rf"FEED SILENT: theft since .* {SILENT}\.", own["banner"])
    for page in (all_of, own):
        assert page["caption"].startswith("Nothing is known of theft since ")
        assert "nothing stands out" not in page["cell"]
    assert all_of["caption"].endswith("; nothing else stands out")
    assert re.match("Nothing stands out to(day|night): battery", other["caption"])


def test_hours_without_a_feed_stay_unknown_when_it_is_back(browser, page_folder):
    leave_silent(page_folder, "all", hours_ago=2)
    with running(the_service(page_folder)) as base:
        page, risk = browser({"url": f"{base}/"}, {"url": f"{base}/#measure=risk"})
        answer = Client(base).get("/v1/regions/riverton/scores?require=current")
    assert (page["state"], risk["state"], answer.status) == ("live", "live", 200)
    assert re.match(r"Nothing is known from .*\d\d:\d\d to \d\d:\d\d: all categories", page["caption"])
    assert "not known" in page["cell"]


def test_a_replay_of_a_silence_says_both(browser, page_folder):
    leave_silent(page_folder, "all", age_s=9000, clock="event")
    with running(the_service(page_folder, language="de")) as base:
        (page,) = browser({"url": f"{base}/"})
    assert page["state"] == "silent"
    assert re.match(r"EINGANG STUMM seit .* \(6 h 10 min\): 0 Vorfälle, üblich sind 148\.", page["banner"])
    assert page["banner"].endswith("AUFZEICHNUNG: Die Uhr ist die der Vorfälle, und nichts hier gilt für jetzt")
    assert page["caption"].startswith("Seit ")


def test_a_place_from_before_a_silence_is_still_told(browser, page_folder):
    given = {"row": 1, "col": 1, "rows": 2, "cols": 3, "hours": 2, "usual": 1.4}
    place = Unusual(category="theft", observed=12, days=40.0, **given)
    leave_silent(page_folder, "all", unusual=(place,))
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    said = "More than usual: theft at r001c001 to r002c003 (North), 12 instead of 1.40 in 2 h; nothing is known since"
    assert page["caption"].startswith(said)


# Allows sounds by a click, counts them until the title has a number or some seconds are over, and touches the page.
CALLS = """
const pause = (ms) => new Promise((done) => setTimeout(done, ms)), Real = OscillatorNode;
let tones = 0;
globalThis.OscillatorNode = class extends Real { constructor(...given) { super(...given); tones++; } };
document.getElementById('call').click(); await pause(200);
const allowed = [document.getElementById('call').ariaPressed, tones];
tones = 0;
new EventSource('v1/stream'); // tells the test that it listens
for (let i = 0; i < 150 && !document.title.startsWith('('); i++) await pause(100);
const called = document.title; await pause(1500);
dispatchEvent(new PointerEvent('pointerdown')); await pause(1500);
return [allowed, called, tones, document.title];
"""


@pytest.mark.parametrize("clock", ["wall", "event"])
def test_a_new_place_calls_once_until_somebody_touches_the_page_and_never_in_a_replay(browser, page_folder, clock):
    given = {"rows": 1, "cols": 1, "hours": 1, "usual": 0.1, "days": 40.0, "observed": 5}
    before, new = (Unusual(category=name, row=row, col=1, **given) for name, row in (("theft", 1), ("battery", 4)))
    age = {"age_s": 9000} if clock == "event" else {}
    leave_frame(page_folder, unusual=(before,), clock=clock, **age)

    def leave_another():
        is_followed(base, streams=2)
        leave_frame(page_folder, unusual=(before, new), clock=clock, **age)

    with running(the_service(page_folder)) as base:
        thread = threading.Thread(target=leave_another)
        thread.start()
        (page,) = browser({"url": f"{base}/", "does": CALLS})
        thread.join()
    allowed, called, tones, then = page["told"]
    assert (allowed, "battery" in page["top"]) == (["true", 2], True)  # the click lets it sound once
    if clock == "wall":
        assert (called, tones, then) == ("(1) riverton · Incident risk", 2, "riverton · Incident risk")
    else:
        assert (tones, called[:6]) == (0, "REPLAY")


def test_a_place_that_somebody_acknowledged_calls_nobody(browser, page_folder):
    given = {"rows": 1, "cols": 1, "hours": 1, "usual": 0.1, "days": 40.0, "observed": 5}
    place = Unusual(category="theft", row=1, col=1, **given)
    leave_frame(page_folder, unusual=(place,))
    target = {"category": "theft", "first": "r001c001", "last": "r001c001"}

    def leave_it_again():
        is_followed(base, streams=2)
        leave_frame(page_folder, unusual=(place,), seed=8)

    with running(the_service(page_folder)) as base:
        decision = {**target, "what": "acknowledged", "reason": "unit sent", "hours": 2}
        Client(base).post("/v1/regions/riverton/decisions", decision)
    leave_frame(page_folder, seed=9)
    with running(the_service(page_folder)) as base:
        thread = threading.Thread(target=leave_it_again)
        thread.start()
        (page,) = browser({"url": f"{base}/", "does": CALLS})
        thread.join()
    _, called, tones, _ = page["told"]
    assert "acknowledged until" in page["top"]
    assert (called, tones) == ("riverton · Incident risk", 0)
