"""The service's live map in a real browser: what it shows, how it is used, and whether it says how old it is."""

import json
import os
import re
import signal
import threading
import time

import msgspec
import pytest

from schemas.areas import read_areas
from schemas.frame import Unusual
from schemas.left_behind.withheld import Withheld, withheld_path
from service.answers.written import number
from service.tokens import Tokens, make_token
from streaming.rehearse.broker import free_port
from tests.harness.service import Client, is_there, leave_frame, running, toy_service, waited
from tests.harness.toy import toy_grid

NORTH = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]
# Into the address what does not fit into its box: all but the ticks of the scale, which may stand over its ends.
CUT = """
const all = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && one.clientWidth);
const isInline = (one) => getComputedStyle(one).display === 'inline';
const boxes = all.filter((one) => !one.closest('.unseen, .chips, #ticks') && !isInline(one));
const cut = boxes.filter((one) => one.scrollWidth > one.clientWidth + 1);
if (cut.length) location.hash += `&cut=${cut.map((one) => one.id || one.tagName)}`;
"""
OLD = "20240101T000000Z-0a1b2c3d"  # a model
STREET = [[-87.9, 41.6], [-87.85, 41.64]]


def collection(shape, **properties):
    feature = {"type": "Feature", "properties": properties, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "areas.json").write_text(collection({"type": "Polygon", "coordinates": NORTH}, name="North"))
    (tmp_path / "streets.json").write_text(collection({"type": "LineString", "coordinates": STREET}))
    return tmp_path


def the_service(folder, **fields):
    return toy_service(
        folder, areas=read_areas(folder / "areas.json", "name"), streets=folder / "streets.json", **fields
    )


def test_the_map_shows_the_frame_and_is_used_by_hand_and_keys(browser, folder):
    frame, over_all = leave_frame(folder)
    place = frame.spec.grid.cell_ids()
    arrows = "const map = document.getElementById('map'); map.focus(); const key = (name) => map.dispatchEvent(new "
    arrows += "KeyboardEvent('keydown', {key: name})); key('Home'); key('Enter');"
    with running(the_service(folder)) as base:
        first, chosen, keyed, dark, phone = browser(
            {"url": f"{base}/#measure=risk"},
            {"url": f"{base}/#measure=risk", "does": "document.getElementById('category-theft').click()"},
            {"url": f"{base}/#category=theft&horizon=4h&area=North&measure=expected", "does": arrows},
            {"url": f"{base}/#measure=lift", "theme": "dark"},
            {"url": f"{base}/#measure=risk", "width": 390, "height": 844},
        )
        area = Client(base).json("/v1/regions/riverton/scores?category=theft&horizon=4h&area=North")
    best = max(range(len(place)), key=lambda cell: (over_all.support[cell, 0] > 0, over_all.risk[cell, 0, 0]))
    for page in (first, dark, phone):
        assert (page["state"], page["banner"]) == ("live", None)
        assert page["credit"] == "Streets: © OpenStreetMap contributors"
    assert place[best] in first["cell"]
    assert f"Highest: {place[best]}" in first["label"]
    total = number(over_all.expected[:, 0, 0].sum(dtype="f4"))
    assert f"expected {total:.1f}" in first["total"]
    assert "Risk: theft, next 1 h" in chosen["caption"]
    assert "category=theft" in chosen["hash"]
    assert "recent counts here" in chosen["cell"]
    known = [row for row in area["cells"] if row["support"] != "no_history"]
    top = max(known, key=lambda row: row["expected"])["cell"]
    assert f"cell={top}" in keyed["hash"]
    assert keyed["tip"].startswith(top)
    assert keyed["total"].startswith("North: ")
    *_, last_step = keyed["ticks"].split("\n")
    assert float(last_step.removesuffix(" +")) >= max(row["expected"] for row in known)
    assert dark["ticks"].split("\n") == ["×0.33", "×0.5", "×0.67", "×0.83", "×1.2", "×1.5", "×2", "×3"]


@pytest.mark.fault("F21")
def test_on_a_wall_the_map_is_the_screen_and_keeps_what_the_address_chooses(browser, folder):
    leave_frame(folder)
    sizes = ((1280, 720), (1920, 1080), (3840, 2160))
    with running(the_service(folder)) as base:
        pages = browser(
            *({"url": f"{base}/?view=wall#measure=risk", "width": width, "height": height} for width, height in sizes),
            {"url": f"{base}/?view=wall#measure=risk&category=theft&area=North", "theme": "dark"},
            {"url": f"{base}/?view=wall#measure=risk", "width": 390, "height": 844},
        )
    for page in pages:
        assert (page["state"], page["controls"], page["cell"]) == ("live", None, None)
    ranks = [list(map(int, re.findall(r"^(\d+) r", page["top"], re.MULTILINE))) for page in pages]
    assert [ranks[0], *ranks[2:]] == [ranks[1], ranks[1], [1, 2, 3], ranks[1]]
    assert ranks[1] == list(range(1, len(ranks[1]) + 1))
    assert 3 < len(ranks[1]) <= 8
    assert min(page["share"] for page in pages[:3]) >= 0.6
    assert pages[3]["caption"] == "North – Risk: theft, next 1 h"


def test_the_map_opens_with_what_is_more_than_usual_or_says_that_nothing_is(browser, folder):
    given = {"hours": 2, "usual": 1.4, "rows": 2, "cols": 3}
    places = [
        Unusual(category="theft", row=1, col=1, observed=12, days=40.0, **given),
        Unusual(category="battery", row=4, col=0, observed=7, days=36_500.0, **given),
    ]
    leave_frame(folder, unusual=tuple(places))
    leave_frame(folder, "usualton")
    with running(the_service(folder)) as base:
        all_of, of_one, on_wall, usual = browser(
            {"url": f"{base}/"},
            {"url": f"{base}/#category=battery", "theme": "dark"},
            {"url": f"{base}/?view=wall", "width": 1920, "height": 1080},
            {"url": f"{base}/#region=usualton"},
        )
        answer = Client(base).json("/v1/regions/riverton/unusual")
    said = "More than usual: theft at r001c001 to r002c003 (North), 12 in place of 1.40 in 2 h"
    for page in (all_of, on_wall):
        assert page["caption"] == said + ", and 1 other place"
        assert page["label"].endswith(page["caption"])
    assert re.findall(r"^(\d) (\w+).*\t(.*)$", all_of["top"], re.MULTILINE) == [
        ("1", "theft", "40 days"), ("2", "battery", "100 years +")]  # fmt: skip
    assert of_one["caption"] == "More than usual: battery at r004c000 to r005c002, 7 in place of 1.40 in 2 h"
    assert re.fullmatch("(Today|Tonight) is as usual: all categories, last hours", usual["caption"])
    assert usual["top"] == ""
    assert "as usual" in usual["cell"]
    assert [place["area"] for place in answer["places"]] == ["North", None]


def test_a_place_without_a_cell_on_record_leaves_the_others_their_numbers(browser, folder):
    frame, over_all = leave_frame(folder)
    has_some = (over_all.support[:, 0] > 0) | (over_all.observed_1h[:, 0] > 0)
    places = [
        Unusual(category=category, row=cell // frame.spec.grid.cols, col=cell % frame.spec.grid.cols, **given)
        for category, cell, given in (
            ("theft", int(has_some.argmin()), {"observed": 12, "days": 40.0}),
            ("battery", int(has_some.argmax()), {"observed": 7, "days": 20.0}),
        )
        for given in [{**given, "rows": 1, "cols": 1, "hours": 2, "usual": 1.4}]
    ]
    leave_frame(folder, unusual=tuple(places))
    with running(the_service(folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    assert re.findall(r"^(\d) (\w+).*\t(\d+)\t1.40\t2 h\t(.*)$", page["top"], re.MULTILINE) == [
        ("2", "battery", "7", "20 days")
    ]


def test_a_dispatcher_decides_on_a_place_and_every_screen_says_so_until_it_is_withdrawn(browser, folder):
    place = Unusual(category="theft", row=1, col=1, rows=2, cols=3, hours=2, usual=1.4, observed=12, days=40.0)
    leave_frame(folder, unusual=(place,))
    path = folder / "tokens.jsonl"
    desk, screen = make_token(path, "desk", [], role="dispatcher"), make_token(path, "wall", [], screen=True)
    decides = "document.querySelector('#top button').click(); await new Promise((done) => setTimeout(done, 1000)); "
    decides += "document.getElementById('what').value = 'overridden'; document.getElementById('hours').value = '8'; "
    decides += "document.getElementById('reason').value = 'planned fireworks'; "
    decides += "document.querySelector('#decide button').click();"
    with running(the_service(folder, tokens=Tokens(path))) as base:
        before, decided = browser(
            {"url": f"{base}/", "cookie": desk}, {"url": f"{base}/", "cookie": desk, "does": decides, "axe": True}
        )
        wall, of_screen, other = browser(
            {"url": f"{base}/?view=wall", "cookie": screen, "width": 1920, "height": 1080},
            {"url": f"{base}/#cell=r001c001", "cookie": screen},
            {"url": f"{base}/#measure=risk&category=battery&cell=r001c001", "cookie": desk},
        )
        (taken,) = Client(base, desk).json("/v1/regions/riverton/decisions")["decisions"]
        withdraws = "document.querySelector('#cell p button').click();"
        (withdrawn,) = browser({"url": f"{base}/#cell=r001c001", "cookie": desk, "does": withdraws})
    assert "until" not in before["top"]
    assert (before["decide"], of_screen["decide"]) == (None, None)  # no cell is pinned; a screen may not
    assert (taken["first"], taken["last"], taken["by"]) == ("r001c001", "r002c003", "desk")
    said = r"overridden until \d\d:\d\d"
    for page in (decided, wall):
        assert re.search(rf"^1 theft.* {said}\t12\t1.40\t", page["top"], re.MULTILINE)  # the number stays
    for page in (decided, of_screen):
        assert re.search(f"(?i){said} by desk: planned fireworks .theft, r001c001 to r002c003.", page["cell"])
        assert "The forecast is not changed." in page["cell"]
    assert decided["decide"].startswith("Decide on theft at r001c001 to r002c003")
    assert decided["axe"] == []
    assert decided["caption"] == before["caption"]
    assert "overridden" not in other["cell"] + other["top"]
    assert other["decide"].startswith("Decide on battery at r001c001")
    assert "until" not in withdrawn["top"]


def test_no_decision_is_offered_on_a_replay_or_on_stale_or_expired_scores(browser, folder):
    leave_frame(folder, "nowton")
    leave_frame(folder, "replayton", age_s=900, clock="event")
    leave_frame(folder, "staleton", age_s=900)
    leave_frame(folder, "oldton", model=OLD)
    with running(the_service(folder)) as base:
        regions = ("nowton", "replayton", "staleton", "oldton")
        pages = browser(*({"url": f"{base}/#measure=risk&cell=r001c001&region={region}"} for region in regions))
    assert [page["state"] for page in pages] == ["live", "replay", "stale", "live"]
    assert pages[0]["decide"].startswith("Decide on all categories at r001c001")
    assert [page["decide"] for page in pages[1:]] == [None] * 3


def test_a_cell_that_past_counts_hold_is_called_so_in_list_and_card(browser, folder):
    leave_frame(folder)
    with running(the_service(folder, held_hours=0)) as base:
        scores, unusual = browser({"url": f"{base}/#measure=risk&category=theft"}, {"url": f"{base}/"})
        (first, *_) = Client(base).json("/v1/regions/riverton/scores?category=theft")["held"]["cells"]
    assert re.search(rf"^1 {first} held by past counts\t", scores["top"], re.MULTILINE)
    assert "Held by past counts: among the ten riskiest for 0 hours or more" in scores["cell"]
    assert "past counts" not in unusual["cell"]


def test_in_german_words_numbers_and_plurals_are_german_and_nothing_is_cut(browser, folder):
    given = {"hours": 2, "usual": 1.4, "rows": 2, "cols": 3}
    places = [
        Unusual(category=category, row=row, col=1, observed=12, days=days, **given)
        for category, row, days in (("theft", 1, 40.0), ("battery", 3, 900.0), ("battery", 4, 36_500.0))
    ]
    leave_frame(folder, "neustadt", unusual=tuple(places))
    leave_frame(folder, "altstadt", age_s=900, model=OLD)
    leave_frame(folder, "probestadt", age_s=900, clock="event")
    with running(the_service(folder, language="de")) as base:
        new, risk, old, of_replay, wall, phone = browser(
            {"url": f"{base}/#region=neustadt&cell=r001c001", "theme": "dark", "axe": True, "does": CUT},
            {"url": f"{base}/#region=neustadt&measure=risk&category=battery"},
            {"url": f"{base}/#region=altstadt&measure=expected", "theme": "dark", "does": CUT},
            {"url": f"{base}/#region=probestadt", "does": CUT},
            {"url": f"{base}/?view=wall#region=altstadt&measure=risk", "theme": "dark", "does": CUT},
            {"url": f"{base}/#region=altstadt", "width": 390, "height": 844, "does": CUT},
        )
    said = "Mehr als üblich: theft in r001c001 bis r002c003 (North), 12 statt 1,40 in 2 h"
    assert new["caption"] == f"{said}, und 2 weitere Orte"
    assert [row.rsplit("\t", 1)[1] for row in new["top"].split("\n")] == ["40 Tage", "2 Jahre", "100 Jahre +"]
    assert (new["axe"], new["title"]) == ([], "neustadt · Vorfallrisiko")
    assert new["decide"].startswith("Entscheiden über theft in r001c001 bis r002c003")
    assert "letzte Zählungen hier" in risk["cell"]
    assert re.search(r"ganze Region: erwartet \d+,\d+ \(üblich \d+,\d+\), letzte Stunde \d+", risk["total"])
    assert old["banner"].startswith("VERALTET – letzte Werte ")
    assert re.fullmatch("ABGELAUFEN: Das Modell wurde vor [0-9]+ Tagen erstellt, .*", old["expired"])
    assert of_replay["banner"].startswith("AUFZEICHNUNG: ")
    assert [page["hash"].partition("cut=")[2] for page in (new, old, of_replay, wall, phone)] == [""] * 5


def test_every_area_has_a_row_that_chooses_it(browser, folder):
    leave_frame(folder)
    click = "document.querySelector('#areas-rows button').click();"
    with running(the_service(folder)) as base:
        all_of, chosen, wall = browser(
            {"url": f"{base}/#measure=risk&category=theft"},
            {"url": f"{base}/#measure=risk&category=theft", "does": click},
            {"url": f"{base}/?view=wall", "width": 1920, "height": 1080},
        )
        (row,) = Client(base).json("/v1/regions/riverton/areas?category=theft")["areas"]
    assert re.fullmatch(rf"North\t.*\t{row['expected']:.2f}\t.*\t{row['observed_1h']}", all_of["areas"])
    assert "area=North" in chosen["hash"]
    assert chosen["total"].startswith("North: ")
    assert wall["areas"] is None


def test_a_named_place_says_where_what_is_unusual_lies(browser, folder):
    place = Unusual(category="theft", row=1, col=1, rows=2, cols=3, hours=2, usual=1.4, observed=12, days=40.0)
    grid = leave_frame(folder, unusual=(place,))[0].spec.grid
    lat, lon = (float(degrees[grid.cols + 1]) for degrees in grid.centres())
    (folder / "streets.json").write_text(collection({"type": "Point", "coordinates": [lon, lat]}, name="Old Mill"))
    with running(the_service(folder)) as base:
        (page,) = browser({"url": f"{base}/"})
        (name,) = Client(base).json("/v1/regions/riverton/streets")["features"]
    assert page["caption"] == "More than usual: theft around Old Mill (North), 12 in place of 1.40 in 2 h"
    assert re.search(r"Centre .* near Old Mill", page["cell"])
    assert "theft around Old Mill (North), 12 in place of 1.40 in 2 h" in page["cell"]
    assert name["geometry"]["type"] == "Point"


def test_the_map_is_zoomed_and_moved_by_hand_and_keys_and_its_address_keeps_the_view(browser, folder):
    leave_frame(folder)
    zoom = "const map = document.getElementById('map'); map.focus(); for (const key of ['+', '+', '+']) "
    zoom += "map.dispatchEvent(new KeyboardEvent('keydown', {key}));"
    with running(the_service(folder)) as base:
        at_first, near, dragged = browser(
            {"url": f"{base}/#measure=risk"},
            {"url": f"{base}/#measure=risk", "does": zoom},
            {"url": f"{base}/#measure=risk", "does": zoom, "drag": [[300, 400], [420, 460]]},
        )
        again, all_of = browser(
            {"url": f"{base}/{dragged['hash']}"},
            {"url": f"{base}/{dragged['hash']}", "does": "document.querySelector('#zoom').lastElementChild.click()"},
        )
    assert "zoom=" not in at_first["hash"] + all_of["hash"]
    views = [re.search(r"zoom=3\.38%2C([\d.-]+)%2C([\d.-]+)", page["hash"]).groups() for page in (near, dragged, again)]
    (north, east), (lat, lon), kept = (tuple(map(float, view)) for view in views)
    assert lat > north  # dragged down and to the right, places further north-west are in the middle
    assert lon < east
    assert kept == (lat, lon)
    assert "cell=" not in dragged["hash"]  # a drag pins nothing


def test_what_free_units_have_within_reach_is_said_on_request_and_forgotten(browser, folder):
    spec = {"categories": ("ems", "theft"), "answered_by": ("ems",)}
    grid = leave_frame(folder, "village", **spec)[0].spec.grid
    leave_frame(folder, "riverton")
    lat, lon = (float(degrees[7]) for degrees in grid.centres())

    def asks(text):
        return (
            f"document.getElementById('units').value = {text!r}; document.getElementById('minutes').value = 3; "
            "document.querySelector('#reach button').click();"
        )

    here = f"{lat:.5f}, {lon:.5f}"
    with running(the_service(folder)) as base:
        said, wrong, other = browser(
            {"url": f"{base}/#region=village", "does": asks(f"{here}\n{grid.cell_ids()[20]}"), "axe": True},
            {"url": f"{base}/#region=village", "does": asks(f"{here}\nnowhere")},
            {"url": f"{base}/#region=riverton"},
        )
        units = [{"lat": lat, "lon": lon}, dict(zip(("lat", "lon"), (d[20] for d in grid.centres()), strict=True))]
        answer = Client(base).post("/v1/regions/village/posts?horizon=1h", {"units": units, "reach_minutes": 3})
    within = json.loads(answer.data)
    assert 0 < within["within"] < 1
    share, calls = f"{100 * within['within']:.0f} %", f"{within['expected']:.1f} expected calls (ems, next 1 h)"
    assert said["reach"].split("\n")[-1].startswith(f"{share} of {calls} are within 3 min of a free unit")
    assert (said["axe"], other["reach"]) == ([], None)
    assert "expected calls" not in wrong["reach"]
    for kept in (said["hash"], said["cookies"]):
        assert f"{lat:.3f}" not in kept


def test_axe_finds_nothing_on_the_pages_in_any_theme_or_in_forced_colours(browser, folder):
    leave_frame(folder)
    looks = (
        ("#measure=risk", {"theme": "dark"}),
        ("", {"theme": "light"}),
        ("?view=wall", {"theme": "dark"}),
        ("#measure=lift", {"forced": True}),
    )
    with running(the_service(folder)) as base:
        pages = browser(*({"url": f"{base}/{page}", "axe": True, **look} for page, look in looks))
    assert [page["axe"] for page in pages] == [[]] * len(looks)


EXAMPLES = [f"box.placeholder.split(' or ')[{part}]" for part in (0, 1)]


def test_a_place_is_found_by_coordinates_or_a_cell_and_another_text_is_refused(browser, folder):
    frame, _ = leave_frame(folder)
    grid = frame.spec.grid
    lat, lon = (degrees[7] for degrees in grid.centres())

    def finds(text):
        return (
            "const [box, credit] = ['find', 'credit'].map((id) => document.getElementById(id));"
            f"box.value = {text}; box.dispatchEvent(new Event('change')); "
            "credit.textContent = box.validationMessage; credit.hidden = false;"
        )

    with running(the_service(folder)) as base:
        texts = (f"'{lat:.5f}, {lon:.5f}'", f"'{grid.cell_ids()[7]}'", "'0, 0'")
        by_place, by_cell, nowhere, *as_shown = browser(
            *({"url": f"{base}/", "does": finds(text)} for text in (*texts, *EXAMPLES))
        )
    assert by_place["hash"] == by_cell["hash"]
    assert f"cell={grid.cell_ids()[7]}" in by_place["hash"]
    assert "cell=" not in nowhere["hash"]
    assert all("cell=r" in page["hash"] for page in as_shown), "the box shows a place that is not in this region"
    assert nowhere["credit"] == "No such place in this region. Write latitude, longitude in degrees, or a cell."


def test_an_old_frame_is_grey_and_says_stale_in_large_letters(browser, folder):
    leave_frame(folder, age_s=900, model=OLD)
    with running(the_service(folder)) as base:
        screens = [{"width": 1280, "height": 720}, {"width": 390, "height": 844}]
        pages = browser(*({"url": f"{base}/", "theme": "dark", **screen} for screen in screens))
    for page in pages:
        assert page["state"] == "stale"
        assert "STALE – last score" in page["banner"]
        assert "15 min ago" in page["banner"]
        assert page["veil"].startswith("STALE")
        assert page["title"].startswith("STALE · ")
        assert page["label"].startswith("STALE – last score")
        assert page["expired"].startswith("EXPIRED: the model was made ")
    assert pages[0]["card"] <= pages[0]["footer"]  # nothing covers anything


def test_scores_that_are_withheld_leave_an_open_page_and_come_back(browser, folder):
    leave_frame(folder)
    word = Withheld(since_s=1_764_000_000, because="the council asked for it")
    with running(the_service(folder)) as base:

        def withhold_from_an_open_page():
            waited(lambda: b"streams 1.0" in Client(base).get("/metrics").data)
            withheld_path(folder).write_bytes(msgspec.json.encode(word))

        threading.Thread(target=withhold_from_an_open_page).start()
        until_it_goes = "await new Promise((done) => setTimeout(done, 15000));"
        shown, again = {"url": f"{base}/", "does": until_it_goes}, {"url": f"{base}/"}
        (withheld,) = browser(shown)
        withheld_path(folder).unlink()
        assert waited(lambda: Client(base).json("/v1/regions")["regions"][0]["withheld"] is None)
        (live,) = browser(again)
    assert withheld["state"] == "withheld"
    assert withheld["banner"] == word.in_words().replace("scores", "Scores", 1)
    assert not withheld["total"]
    assert live["state"] == "live"
    assert live["total"]


def test_a_cell_without_a_score_says_whether_it_has_no_history_here_or_none_at_all(browser, folder):
    frame, over_all = leave_frame(folder)
    ids, has_some = frame.spec.grid.cell_ids(), (over_all.support[:, 0] > 0) | (over_all.observed_1h[:, 0] > 0)
    hatched = ids[next(cell for cell in range(len(ids)) if frame.support[cell, 0] == 0 and has_some[cell])]
    bare = ids[next(cell for cell in range(len(ids)) if not has_some[cell])]
    with running(the_service(folder)) as base:
        told = browser(*({"url": f"{base}/#category=theft&cell={cell}"} for cell in (hatched, bare)))
    assert [hatched in told[0]["cell"], bare in told[1]["cell"]] == [True, True]
    assert "No history in this category." in told[0]["cell"]
    assert "No incident on record here, so there is no score." in told[1]["cell"]


def test_a_question_that_fails_is_asked_again_and_the_picture_before_it_is_grey(browser, folder):
    leave_frame(folder)
    pause = "await new Promise((done) => setTimeout(done, 300));"
    lost = "const real = window.fetch; window.fetch = () => Promise.reject(new Error('lost')); "
    lost += "document.getElementById('horizon-4h').click(); "
    lost += f"for (let i = 0; i < 20 && document.body.dataset.state !== 'behind'; i++) {pause}"
    answered = (
        f"{lost} window.fetch = real; for (let i = 0; i < 40 && document.body.dataset.state !== 'live'; i++) {pause}"
    )
    with running(the_service(folder)) as base:
        gone, back = browser(*({"url": f"{base}/#measure=risk", "does": does} for does in (lost, answered)))
    assert (gone["caption"], gone["state"]) == ("Risk: all categories, next 1 h", "behind")
    assert gone["veil"].startswith("PREVIOUS CHOICE")
    assert "still riverton, all categories, 1 h, whole region, not what you chose" in gone["banner"]
    assert "horizon=4h" in gone["hash"]
    assert (back["caption"], back["state"]) == ("Risk: all categories, next 4 h", "live")


def test_a_region_without_streets_is_shown_when_it_is_chosen(browser, folder):
    leave_frame(folder, "riverton")
    leave_frame(folder, "lakeside", grid=toy_grid(4, 4, south_deg=43.6, west_deg=-80.0))
    chosen = "document.getElementById('region-lakeside').click();"
    with running(the_service(folder)) as base:
        (page,) = browser({"url": f"{base}/#region=riverton", "does": chosen})
        scores = Client(base).json("/v1/regions/lakeside/scores")["cells"]
    assert (page["state"], page["title"], page["credit"]) == ("live", "lakeside · Incident risk", None)
    assert f"expected {sum(row['expected'] for row in scores):.1f}" in page["total"]


def test_the_baseline_is_announced_with_its_reason(browser, folder):
    leave_frame(folder, model="baseline:weights are damaged")
    with running(the_service(folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    assert page["state"] == "live"
    assert page["fallback"].startswith("Baseline only: ")
    assert "(weights are damaged)" in page["fallback"]


def test_scores_that_are_ahead_of_the_screens_clock_are_in_doubt(browser, folder):
    leave_frame(folder, age_s=-600)
    with running(the_service(folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    assert (page["state"], page["veil"].split("\n")[0]) == ("doubt", "CHECK CLOCK")


def test_a_new_frame_is_drawn_by_itself(browser, folder):
    first = leave_frame(folder)[1]
    wait = "const now = () => document.getElementById('total').textContent, old = now();"
    wait += "for (let i = 0; i < 80 && now() === old; i++) await new Promise((done) => setTimeout(done, 100));"
    with running(the_service(folder)) as base:
        ended = threading.Event()
        leaving = threading.Thread(target=leave_when_followed, args=(base, folder, ended))
        leaving.start()
        (page,) = browser({"url": f"{base}/", "does": wait})
        ended.set()
        leaving.join()
        second = Client(base).json("/v1/regions/riverton/scores")
    totals = [float(first.expected[:, 0, 0].sum()), sum(row["expected"] for row in second["cells"])]
    assert abs(totals[0] - totals[1]) > 0.1
    assert f"expected {totals[1]:.1f}" in page["total"]


@pytest.mark.nightly
def test_a_service_that_hangs_is_no_longer_live_within_half_a_minute(browser, folder, commands):
    """Its connections stay open, and the browser calls the stream open, too."""
    leave_frame(folder)
    port, stopped_s = free_port(), []
    words = ("serve", "--listen", f"127.0.0.1:{port}")
    with (folder / "log").open("wb") as log:
        process = commands.popen("service", *words, out=(log, log), env={**os.environ, "RISK_FRAMES": str(folder)})

    def hang():
        leave_when_followed(f"http://127.0.0.1:{port}", folder, threading.Event())
        time.sleep(3)
        process.send_signal(signal.SIGSTOP)
        stopped_s.append(time.time())

    left = "while (document.body.dataset.state === 'live') await new Promise((done) => setTimeout(done, 100));"
    left += "history.replaceState(null, '', '#' + Date.now());"
    try:
        assert waited(lambda: is_there(Client(f"http://127.0.0.1:{port}")))
        thread = threading.Thread(target=hang)
        thread.start()
        (page,) = browser({"url": f"http://127.0.0.1:{port}/", "does": left})
        thread.join()
    finally:
        process.kill()
        process.wait()
    assert (page["state"], page["veil"].split("\n")[0]) == ("cut", "NO CONNECTION")
    assert 15 < int(page["hash"][1:]) / 1000 - stopped_s[0] < 30


def leave_when_followed(base, folder, ended):
    """Another frame, once a page has drawn the first and follows the stream."""
    client = Client(base)
    while not ended.wait(0.3):
        if b"incident_risk_service_streams 1.0" in client.get("/metrics").data:
            leave_frame(folder, seed=8)
            return


def test_with_tokens_a_person_signs_in_and_out(browser, folder):
    leave_frame(folder)
    token = make_token(folder / "tokens.jsonl", "desk", [])
    with running(the_service(folder, tokens=Tokens(folder / "tokens.jsonl"))) as base:
        client = Client(base)
        closed = client.ask("/", redirect=False)
        assert (closed.status, closed.headers["Location"]) == (303, "login")
        assert b"not known" in client.ask("/login", method="POST", fields={"token": "x"}, encode_multipart=False).data
        opened = client.ask("/login", method="POST", fields={"token": token}, encode_multipart=False, redirect=False)
        assert opened.status == 303
        cookie = next(one for one in opened.headers.getlist("Set-Cookie") if one.startswith("risk_token="))
        assert {"HttpOnly", "SameSite=strict", "Max-Age=43200"} <= {part.strip() for part in cookie.split(";")}
        typed = f"document.getElementById('token').value = '{token}'; document.querySelector('form').submit();"
        left = "document.querySelector('#leave').submit();"
        signed_in, signed_out, refused = browser(
            {"url": f"{base}/", "does": typed},
            {"url": f"{base}/", "cookie": token, "does": left},
            {
                "url": f"{base}/login",
                "does": "document.getElementById('token').value = 'x'; document.forms[0].submit();",
            },
        )
    assert signed_in["state"] == "live"
    assert re.fullmatch(r"risk_signed_in=\d{10}", signed_in["cookies"])  # no script can read the token
    assert signed_out["path"] == "/login"
    assert refused["path"] == "/login"


def test_a_token_that_ends_is_named_on_the_grey_map_with_a_way_to_sign_in_that_keeps_the_choice(browser, folder):
    leave_frame(folder)
    path = folder / "tokens.jsonl"
    desk, other = (make_token(path, name, []) for name in ("desk", "other"))
    ended = "for (let i = 0; i < 300 && document.body.dataset.state !== 'ended'; i++) "
    ended += "await new Promise((done) => setTimeout(done, 100));"
    again = f"document.getElementById('token').value = '{other}'; document.forms[0].submit();"
    with running(the_service(folder, tokens=Tokens(path))) as base:
        first = {"url": f"{base}/#measure=risk&horizon=4h", "cookie": desk}
        removing = threading.Thread(target=remove_when_followed, args=(base, path, other))
        removing.start()
        grey, back = browser(
            {**first, "does": ended},
            {"url": f"{base}/login#measure=risk&horizon=4h", "does": again},
        )
        removing.join()
    assert (grey["state"], grey["veil"].split("\n")[0]) == ("ended", "TOKEN ENDED")
    assert "sign in" in grey["banner"]
    assert grey["veil"].endswith("Sign in")
    assert (back["state"], back["caption"]) == ("live", "Risk: all categories, next 4 h")


def remove_when_followed(base, path, token):
    """The line of the first token, once a page follows the stream."""
    assert waited(lambda: b"incident_risk_service_streams 1.0" in Client(base, token).get("/metrics").data)
    path.write_text(path.read_text().splitlines()[1] + "\n", encoding="utf-8")


def test_the_end_of_a_sign_in_is_said_an_hour_before_and_put_off_by_its_use(browser, folder):
    leave_frame(folder)
    token = make_token(folder / "tokens.jsonl", "desk", [])
    soon = "document.cookie = `risk_signed_in=${Math.round(Date.now() / 1000 + 1800)}`; "
    soon += "await new Promise((done) => setTimeout(done, 1500));"
    used = f"{soon} document.getElementById('horizon-4h').click(); await new Promise((done) => setTimeout(done, 2500));"
    with running(the_service(folder, tokens=Tokens(folder / "tokens.jsonl"))) as base:
        warned, stays = browser(*({"url": f"{base}/", "cookie": token, "does": does} for does in (soon, used)))
    assert (warned["state"], warned["ending"][:15]) == ("live", "Signed in until")
    assert stays["ending"] is None
