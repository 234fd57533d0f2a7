"""What the live map says in a real browser of places with more incidents than usual."""

import re

from schemas.frame import Unusual
from tests.harness.live_page import collection, the_service
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
    assert page["caption"] == "More than usual: theft around Old Mill (North), 12 in place of 1.40 in 2 h"
    assert re.search(r"Centre .* near Old Mill", page["cell"])
    assert "theft around Old Mill (North), 12 in place of 1.40 in 2 h" in page["cell"]
    assert name["geometry"]["type"] == "Point"
