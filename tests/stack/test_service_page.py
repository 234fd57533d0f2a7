"""The service's live map in a real browser: what it shows, how it is used, and whether it says how old it is."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from schemas.frame import Unusual, write_frames
from service.scores import number
from service.tokens import Tokens, make_token
from tests.harness.browser import MARKS, chooses, collection, the_service
from tests.harness.map_shares import jobs, leave_regions
from tests.harness.service import Client, leave_frame, leave_squares, running, toy_service
from tests.harness.toy import square_bounds, toy_grid

# Into the address what does not fit into its box: all but the ticks of the scale, which may stand over its ends.
CUT = """
const all = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && one.clientWidth);
const isInline = (one) => getComputedStyle(one).display === 'inline';
const boxes = all.filter((one) => !one.closest('.unseen, .chips, #ticks') && !isInline(one));
const cut = boxes.filter((one) => one.scrollWidth > one.clientWidth + 1);
if (cut.length) location.hash += `&cut=${cut.map((one) => one.id || one.tagName)}`;
"""
OLD = "20240101T000000Z-0a1b2c3d"  # a model


def test_the_map_shows_the_frame_and_is_used_by_hand_and_keys(browser, page_folder):
    frame, over_all = leave_frame(page_folder)
    place = frame.spec.grid.cell_ids()
    arrows = "const map = document.getElementById('map'); map.focus(); const key = (name) => map.dispatchEvent(new "
    arrows += "KeyboardEvent('keydown', {key: name})); key('Home'); key('Enter');"
    with running(the_service(page_folder)) as base:
        first, chosen, keyed, dark, phone = browser(
            {"url": f"{base}/#measure=risk"},
            {"url": f"{base}/#measure=risk", "does": chooses("category", "theft")},
            {"url": f"{base}/#category=theft&horizon=4h&area=North&measure=expected", "does": arrows},
            {"url": f"{base}/#measure=lift", "theme": "dark"},
            {"url": f"{base}/#measure=risk", "width": 390, "height": 844},
        )
        area = Client(base).json("/v1/regions/riverton/scores?category=theft&horizon=4h&area=North")
    best = max(range(len(place)), key=lambda cell: (over_all.support[cell, 0] > 0, over_all.risk[cell, 0, 0]))
    for page in (first, dark, phone):
        assert (page["state"], page["banner"]) == ("live", None)
        assert page["credit"] == "Streets: City of Riverton"
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
def test_on_a_wall_the_map_is_the_screen_and_keeps_what_the_address_chooses(browser, page_folder):
    leave_frame(page_folder)
    sizes = ((1280, 720), (1920, 1080), (3840, 2160))
    with running(the_service(page_folder)) as base:
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


SQUARES = """
const { atlas } = await import(new URL('page/map.js', document.baseURI));
const squares = atlas.getLayers().getArray().find((layer) => layer.getClassName() === 'cells squares');
const seen = () => squares.isVisible(atlas.getView());
const before = seen();
for (let i = 0; i < 4; i++) document.querySelector('#zoom').children[0].click();
await new Promise((done) => setTimeout(done, 600));
const rings = squares.getSource().getFeatures().flatMap((each) => each.getGeometry().getCoordinates());
return [before, seen(), rings.length, document.getElementById('unit').textContent];
"""
LISTED = """
const { atlas } = await import(new URL('page/map.js', document.baseURI));
const rows = [...document.querySelectorAll('#squares-rows tr')];
const texts = rows.map((row) => [...row.children].map((cell) => cell.textContent));
const far = atlas.getView().getResolution();
document.querySelector('#squares-rows button').click();
await new Promise((done) => setTimeout(done, 600));
const { x, y, width, height } = atlas.getViewport().getBoundingClientRect();
const at = { clientX: x + width / 2, clientY: y + height / 2, pointerType: 'mouse', bubbles: true };
atlas.getViewport().dispatchEvent(new PointerEvent('pointermove', at));
await new Promise((done) => setTimeout(done, 200));
const tip = document.getElementById('tip').textContent;
return [texts, far / atlas.getView().getResolution(), tip, document.getElementById('cell-name').textContent];
"""


def test_squares_are_drawn_from_a_zoom_on_and_the_card_says_where_most_is_expected(browser, page_folder):
    spec = {"categories": ("ems", "fire"), "answered_by": ("ems", "fire"), "fine": 2}
    frame, over_all = leave_frame(page_folder, grid=toy_grid(20, 20, south_deg=41.6, west_deg=-87.9), **spec)
    scored = np.flatnonzero(over_all.support[:, 0] > 0).tolist()
    cell = min(scored, key=lambda cell: abs(cell // 20 - 10) + abs(cell % 20 - 10))  # the map can go to the middle
    share = np.array([[0.125, 0.125, 0.625, 0.125]], np.float16)  # most in the north-west
    leave_squares(page_folder, frame, [(cell, -1)], share)
    with running(the_service(page_folder)) as base:
        counted, risk, listed = browser(
            {"url": f"{base}/#measure=expected&cell={frame.spec.grid.cell_ids()[cell]}", "does": SQUARES, "axe": True},
            {"url": f"{base}/#measure=risk", "does": SQUARES},
            {"url": f"{base}/#measure=expected", "does": LISTED},
        )
    before, then, squares, unit = counted["told"]
    assert (before, then, squares) == (False, True, 4)  # a cell that is parted evenly stays one
    assert "squares" in unit
    south, west, north, east = square_bounds(frame.spec.grid, 2, cell, 2)
    middle = f"{(south + north) / 2:.4f}° N, {-(west + east) / 2:.4f}° W"
    most = 0.625 * float(over_all.expected[cell, 0, 0])
    assert f"Highest square of 500 m, {middle}: {most:.2g} expected, 63 % of the cell" in counted["cell"]
    assert counted["axe"] == []
    assert (risk["told"][2], "squares" in risk["told"][3]) == (0, False)
    rows, nearer, tip, card = listed["told"]
    name = frame.spec.grid.cell_ids()[cell]
    assert [(row[0], row[2]) for row in rows[:1]] == [(f"{middle} {name}", "63 %")]
    assert len(rows) == 4  # those of one cell: what is spread evenly over a cell is no finding
    assert float(rows[0][1]) == pytest.approx(most, rel=0.02)
    assert nearer >= 3.9
    assert f"in this square {rows[0][1]}" in tip
    assert name in card


def test_a_region_of_too_many_squares_is_shown_without_them_and_its_area_with_them(browser, page_folder):
    spec = {"categories": ("ems", "fire"), "answered_by": ("ems", "fire"), "fine": 8}
    frame, over_all = leave_frame(page_folder, grid=toy_grid(40, 40, south_deg=41.6, west_deg=-87.9), **spec)
    share = np.full(64, 1 / 128, np.float16)
    share[0] = 65 / 128
    cells = np.flatnonzero(over_all.support[:, 0] > 0)
    leave_squares(page_folder, frame, [(int(cell), -1) for cell in cells], np.tile(share, (len(cells), 1)))
    with running(the_service(page_folder)) as base:
        whole, north = browser(
            {"url": f"{base}/#measure=expected", "does": SQUARES},
            {"url": f"{base}/#measure=expected&area=North", "does": SQUARES},
        )
    total = number(over_all.expected[:, 0, 0].sum(dtype="f4"))
    assert (whole["state"], whole["banner"], whole["told"][2]) == ("live", None, 0)
    assert f"expected {total:,.0f}" in whole["total"]
    assert "squares" not in whole["told"][3]
    assert north["total"].startswith("North: ")
    assert north["told"][2] > 0
    assert north["told"][2] % 64 == 0


def test_the_map_is_first_on_every_screen_also_with_six_regions(browser, tmp_path):
    least = ((0.6, 0.09), (0.65, 0.11), (0.65, 0.11), (0.3, 0.05))  # of the screen: the map, its cells on record
    leave_regions(tmp_path)
    with running(toy_service(tmp_path)) as base:
        pages = browser(*jobs(base))
    for page, (of_map, of_cells) in zip(pages, least, strict=True):
        told = page["told"]
        assert told["map"] >= of_map
        assert told["cells"] >= of_cells
        assert told["top"], "a part of the map is beyond the first screen"
        assert told["kB"] < 1000


def test_a_dispatcher_decides_on_a_place_and_every_screen_says_so_until_it_is_withdrawn(browser, page_folder):
    place = Unusual(category="theft", row=1, col=1, rows=2, cols=3, hours=2, usual=1.4, observed=12, days=40.0)
    leave_frame(page_folder, unusual=(place,))
    path = page_folder / "tokens.jsonl"
    desk, screen = make_token(path, "desk", [], role="dispatcher"), make_token(path, "wall", [], screen=True)
    decides = "document.querySelector('#top button').click(); await new Promise((done) => setTimeout(done, 1000)); "
    decides += (
        "document.getElementById('what').value = 'overridden'; document.getElementById('decide-hours').value = '8'; "
    )
    decides += "document.getElementById('reason').value = 'planned fireworks'; "
    decides += "document.querySelector('#decide button').click();"
    with running(the_service(page_folder, tokens=Tokens(path))) as base:
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


def test_in_german_words_numbers_and_plurals_are_german_and_nothing_is_cut(browser, page_folder):
    given = {"hours": 2, "usual": 1.4, "rows": 2, "cols": 3}
    places = [
        Unusual(category=category, row=row, col=1, observed=12, days=days, **given)
        for category, row, days in (("theft", 1, 40.0), ("battery", 3, 900.0), ("battery", 4, 36_500.0))
    ]
    leave_frame(page_folder, "neustadt", unusual=tuple(places))
    leave_frame(page_folder, "altstadt", age_s=900, model=OLD)
    leave_frame(page_folder, "probestadt", age_s=900, clock="event")
    with running(the_service(page_folder, language="de")) as base:
        new, risk, old, of_replay, wall, phone, large = browser(
            {"url": f"{base}/#region=neustadt&cell=r001c001", "theme": "dark", "axe": True, "does": CUT},
            {"url": f"{base}/#region=neustadt&measure=risk&category=battery"},
            {"url": f"{base}/#region=altstadt&measure=expected", "theme": "dark", "does": CUT},
            {"url": f"{base}/#region=probestadt", "does": CUT},
            {"url": f"{base}/?view=wall#region=altstadt&measure=risk", "theme": "dark", "does": CUT},
            {"url": f"{base}/#region=altstadt", "width": 390, "height": 844, "does": CUT},
            {"url": f"{base}/#region=neustadt&cell=r001c001", "width": 640, "height": 360, "does": CUT},  # at 200 %
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
    assert [page["hash"].partition("cut=")[2] for page in (new, old, of_replay, wall, phone, large)] == [""] * 6


def test_every_area_has_a_row_that_chooses_it(browser, page_folder):
    leave_frame(page_folder)
    click = "document.querySelector('#areas-rows button').click();"
    with running(the_service(page_folder)) as base:
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


def test_the_map_is_zoomed_and_moved_by_hand_and_keys_and_its_address_keeps_the_view(browser, page_folder):
    leave_frame(page_folder)
    zoom = "const map = document.getElementById('map'); map.focus(); for (const key of ['+', '+', '+']) "
    zoom += "map.dispatchEvent(new KeyboardEvent('keydown', {key}));"
    with running(the_service(page_folder)) as base:
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


def test_what_free_units_have_within_reach_is_said_on_request_and_forgotten(browser, page_folder):
    spec = {"categories": ("ems", "theft"), "answered_by": ("ems",)}
    grid = leave_frame(page_folder, "village", **spec)[0].spec.grid
    leave_frame(page_folder, "riverton")
    lat, lon = (float(degrees[7]) for degrees in grid.centres())
    mill = {"type": "Feature", "properties": {"name": "Mill"}, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
    (page_folder / "streets.json").write_text(json.dumps({"type": "FeatureCollection", "features": [mill]}))

    def asks(text):
        return (
            f"document.getElementById('units').value = {text!r}; document.getElementById('minutes').value = 3; "
            "document.querySelector('#reach button').click();"
        )

    here = f"{lat:.5f}, {lon:.5f}"
    with running(the_service(page_folder)) as base:
        said, by_name, wrong, other = browser(
            {"url": f"{base}/#region=village", "does": asks(f"{here}\n{grid.cell_ids()[20]}"), "axe": True},
            {"url": f"{base}/#region=village", "does": asks(f"mill\n{grid.cell_ids()[20]}")},
            {"url": f"{base}/#region=village", "does": asks(f"{here}\nnowhere")},
            {"url": f"{base}/#region=riverton"},
        )
        units = [{"lat": lat, "lon": lon}, dict(zip(("lat", "lon"), (d[20] for d in grid.centres()), strict=True))]
        answer = Client(base).post("/v1/regions/village/posts?horizon=1h", {"units": units, "reach_minutes": 3})
    within = json.loads(answer.data)
    assert 0 < within["within"] < 1
    share, calls = f"{100 * within['within']:.0f} %", f"{within['expected']:.1f} expected calls (ems, next 1 h)"
    assert said["reach"].split("\n")[-1].startswith(f"{share} of {calls} are within 3 min of a free unit")
    assert by_name["reach"].split("\n")[-1] == said["reach"].split("\n")[-1]
    assert (said["axe"], other["reach"]) == ([], None)
    assert "expected calls" not in wrong["reach"]
    for kept in (said["hash"], said["cookies"]):
        assert f"{lat:.3f}" not in kept


def test_axe_finds_nothing_on_the_pages_in_any_theme_or_in_forced_colours(browser, page_folder):
    leave_frame(page_folder)
    looks = (
        ("#measure=risk", {"theme": "dark"}),
        ("", {"theme": "light"}),
        ("?view=wall", {"theme": "dark"}),
        ("#measure=lift", {"forced": True}),
    )
    with running(the_service(page_folder)) as base:
        pages = browser(*({"url": f"{base}/{page}", "axe": True, **look} for page, look in looks))
    assert [page["axe"] for page in pages] == [[]] * len(looks)


EXAMPLE = "box.placeholder.split(' or ')[1]"


def test_a_place_is_found_by_coordinates_or_a_cell_and_another_text_is_refused(browser, page_folder):
    frame, _ = leave_frame(page_folder)
    grid = frame.spec.grid
    lat, lon = (degrees[7] for degrees in grid.centres())

    def finds(text):
        return (
            "const [box, credit] = ['find', 'credit'].map((id) => document.getElementById(id));"
            f"box.value = {text}; box.dispatchEvent(new Event('change')); "
            "credit.textContent = box.validationMessage; credit.hidden = false;"
        )

    with running(the_service(page_folder)) as base:
        texts = (f"'{lat:.5f}, {lon:.5f}'", f"'{grid.cell_ids()[7]}'", "'0, 0'")
        by_place, by_cell, nowhere, as_shown = browser(
            *({"url": f"{base}/", "does": finds(text)} for text in (*texts, EXAMPLE))
        )
    assert by_place["hash"] == by_cell["hash"]
    assert f"cell={grid.cell_ids()[7]}" in by_place["hash"]
    assert "cell=" not in nowhere["hash"]
    assert "cell=r" in as_shown["hash"], "the box shows a place that is not in this region"
    assert (
        nowhere["credit"]
        == "No such place in this region. Write a street, two streets that cross, a name, coordinates or a cell."
    )


ZOOM = (
    "const zoom = () => { for (let i = 0; i < 6; i++) document.querySelector('#zoom').children[0].click(); }; zoom();"
)
PAUSE = "await new Promise((done) => setTimeout(done, 600));"


def finding(text):
    types = "for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind));"
    return f"box = document.getElementById('find'); box.value = {text!r}; {types}"


def test_another_region_is_shown_whole_and_nothing_of_the_one_before_is_offered(browser, page_folder):
    leave_frame(page_folder, "riverton")
    leave_frame(page_folder, "lakeside", grid=toy_grid(4, 4, south_deg=43.6, west_deg=-80.0))
    goes = f"document.getElementById('reason').value = 'unit sent'; {chooses('region', 'lakeside')}"
    unanswered = "window.fetch = () => new Promise(() => 0);"
    back = f"{goes} {PAUSE} {chooses('region', 'riverton')} {PAUSE} "
    pins = "document.querySelector('#top button').click();"
    with running(the_service(page_folder)) as base:
        address = f"{base}/#region=riverton&measure=risk&cell=r001c001"
        before, at_once, then, again = browser(
            {"url": address, "does": f"{ZOOM} {PAUSE}"},
            {"url": address, "does": f"{ZOOM} {PAUSE} {unanswered} {goes} {pins}"},
            {"url": address, "does": f"{ZOOM} {PAUSE} {goes} {PAUSE}"},
            {"url": address, "does": f"{back} {pins} {PAUSE} {reads('reason')}"},
        )
    assert "zoom=" in before["hash"]
    assert before["decide"].startswith("Decide on all categories at r001c001")
    assert (at_once["decide"], then["decide"]) == (None, None)
    for page in (at_once, then):
        assert "zoom=" not in page["hash"]
        assert "cell=" not in page["hash"]
    assert then["title"].startswith("lakeside")
    assert again["credit"] == "-", "a reason stays where it was written"


def reads(name):
    """Shows what stands in the box."""
    return f"credit.textContent = document.getElementById('{name}').value || '-'; credit.hidden = false;"


def test_a_place_that_is_chosen_from_the_list_or_the_box_comes_into_sight_on_a_zoomed_map(browser, page_folder):
    frame, _ = leave_frame(page_folder)
    grid = frame.spec.grid
    lats, lons = grid.centres()
    far, corner = "r000c000", f"#measure=risk&zoom=11.00,{lats[-1]:.5f},{lons[-1]:.5f}"
    lists = f"document.querySelector('#top button').click(); {PAUSE}"
    with running(the_service(page_folder)) as base:
        found, near, listed = browser(
            {"url": f"{base}/{corner}", "does": f"let {finding(far)} {PAUSE}"},
            {"url": f"{base}/{corner}", "does": f"let {finding(grid.cell_ids()[-1])} {PAUSE}"},
            {"url": f"{base}/{corner}", "does": lists},
        )

    def middle(page):
        return tuple(map(float, re.search(r"zoom=11\.00%2C([\d.-]+)%2C([\d.-]+)", page["hash"]).groups()))

    def place(cell):
        return pytest.approx((lats[cell], lons[cell]), abs=0.0015)  # of 0.009 and 0.012 a cell

    assert middle(found) == place(0)
    assert middle(near) == pytest.approx((lats[-1], lons[-1]), abs=1e-5), "what is in sight moves nothing"
    cell = re.search("cell=(r[0-9]+c[0-9]+)", listed["hash"])[1]
    assert middle(listed) == place(grid.index_of(cell))


def test_enter_in_the_box_of_places_leaves_the_page_as_it_is(browser, page_folder):
    leave_frame(page_folder)
    enters = "credit.textContent = 'the same page'; credit.hidden = false; "
    enters += f"document.getElementById('controls').requestSubmit(); {PAUSE}"
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/?view=desk#measure=risk", "does": enters})
    assert page["credit"] == "the same page"


def test_names_on_the_map_stand_in_the_list_and_are_found(browser, page_folder):
    _, over_all = leave_frame(page_folder)
    grid = over_all.spec.grid
    best = max(range(grid.cells), key=lambda cell: (over_all.support[cell, 0] > 0, over_all.risk[cell, 0, 0]))
    lat, lon = (float(degrees[best]) for degrees in grid.centres())
    (page_folder / "streets.json").write_text(collection({"type": "Point", "coordinates": [lon, lat]}, name="Old Mill"))
    shows = f"let {finding('old mill')} {PAUSE} const [name] = document.querySelectorAll('datalist option');"
    with running(the_service(page_folder)) as base:
        listed, found = browser(
            {"url": f"{base}/#measure=risk", "axe": True},
            {"url": f"{base}/#measure=expected", "does": f"{shows} credit.textContent = name.value;"},
        )
    assert listed["top"].startswith(f"1 Old Mill · {grid.cell_ids()[best]}\t")
    assert listed["credit"] == "Streets: their file does not say whose they are"
    assert listed["axe"] == []
    assert f"cell={grid.cell_ids()[best]}" in found["hash"]
    assert found["credit"] == "Old Mill"  # offered while one types


def test_eight_incidents_in_a_cell_are_a_larger_dot_than_one_with_their_number(browser, page_folder):
    frame, over_all = leave_frame(page_folder)
    seen = np.zeros_like(over_all.observed_1h)
    seen[[7, 18]] = [[1], [8]]
    of_theft = np.concatenate([seen, np.zeros_like(seen)], axis=1)
    write_frames(page_folder, (replace(frame, observed_1h=of_theft), replace(over_all, observed_1h=seen)), "wall")
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/", "does": MARKS})
    (_, one, *_), (number, eight, *_) = sorted(json.loads(page["credit"]), key=lambda mark: mark[1])
    assert eight > 2 * one
    assert number == "8"
    assert "1" not in [text for text, *_ in json.loads(page["credit"])]


def test_a_cell_without_a_score_says_whether_it_has_no_history_here_or_none_at_all(browser, page_folder):
    frame, over_all = leave_frame(page_folder)
    ids, has_some = frame.spec.grid.cell_ids(), (over_all.support[:, 0] > 0) | (over_all.observed_1h[:, 0] > 0)
    hatched = ids[next(cell for cell in range(len(ids)) if frame.support[cell, 0] == 0 and has_some[cell])]
    bare = ids[next(cell for cell in range(len(ids)) if not has_some[cell])]
    with running(the_service(page_folder)) as base:
        told = browser(*({"url": f"{base}/#category=theft&cell={cell}"} for cell in (hatched, bare)))
    assert [hatched in told[0]["cell"], bare in told[1]["cell"]] == [True, True]
    assert "No history in this category." in told[0]["cell"]
    assert "No incident on record here, so there is no score." in told[1]["cell"]


def test_a_region_without_any_history_says_so_in_place_of_an_empty_map(browser, page_folder):
    leave_frame(page_folder, most_support=0)
    with running(the_service(page_folder)) as base:
        pages = browser({"url": f"{base}/"}, {"url": f"{base}/#measure=risk"})
    said = "No incident is on record in this region: no cell has a score yet."
    assert [page["caption"] for page in pages] == [said, said]
