"""What the service says of places with more incidents than usual is what the frame has."""

import csv
import io
import json
from dataclasses import replace

import pytest

from schemas.files import instant_text
from schemas.frame import Silence, Surge, Unusual, write_frames
from schemas.limits import UNUSUAL_DAYS
from tests.harness.service import Client, area_of, leave_frame, running, toy_service
from tests.unit.service.conftest import SQUARE

GIVEN = {"hours": 2, "usual": 1.25, "rows": 2, "cols": 2}
PLACES = (
    Unusual(category="theft", row=4, col=2, observed=12, days=40.0, **GIVEN),
    Unusual(category="battery", row=1, col=0, observed=7, days=15.0, **GIVEN),
)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unusual")
    frame, _ = leave_frame(folder, unusual=PLACES)
    return folder, frame


@pytest.fixture(scope="module")
def client(frame, clock):
    with running(toy_service(frame[0], clock=clock, areas=[area_of("North", [SQUARE])])) as base:
        yield Client(base)


def told(client, words=""):
    return client.json(f"/v1/regions/riverton/unusual{words}")


def test_every_place_is_there_with_its_cells_and_numbers(client, frame):
    answer, grid = told(client), frame[1].spec.grid
    assert (answer["least_days"], answer["digest"]) == (UNUSUAL_DAYS, frame[1].digest())
    for place, found in zip(PLACES, answer["places"], strict=True):
        numbers = ("category", "hours", "observed", "usual", "more", "once_in_days")
        more = place.observed - place.usual
        given = (place.category, place.hours, place.observed, place.usual, more, place.days)
        assert tuple(found[name] for name in numbers) == given
        assert [grid.index_of(cell) for cell in found["cells"]] == place.cells(grid).tolist()
        west, south, east, north = found["bbox"]
        corners = [corner for cell in place.cells(grid).tolist() for corner in grid.polygon(cell)]
        lons, lats = zip(*corners, strict=True)
        assert (west, south, east, north) == pytest.approx((min(lons), min(lats), max(lons), max(lats)), abs=1e-5)


def test_a_category_and_an_area_leave_the_others_out(client):
    assert [place["category"] for place in told(client, "?category=battery")["places"]] == ["battery"]
    assert [place["area"] for place in told(client, "?area=North")["places"]] == ["North"]
    assert told(client, "?area=North&category=theft")["places"] == []
    for words, says in (("?category=fire", "no category 'fire'"), ("?area=South", "no area 'South'")):
        answer = client.get(f"/v1/regions/riverton/unusual{words}")
        assert (answer.status, says in answer.data.decode()) == (404, True)


@pytest.mark.usefixtures("an_hour_later")
def test_what_is_stale_says_so(client):
    assert told(client)["stale"] is True


def test_a_place_of_which_no_area_has_half_names_none(clock, tmp_path):
    place = Unusual(category="theft", row=0, col=0, rows=6, cols=5, hours=2, usual=1.25, observed=12, days=40.0)
    leave_frame(tmp_path, unusual=(place,))
    with running(toy_service(tmp_path, clock=clock, areas=[area_of("North", [SQUARE])])) as base:
        assert [place["area"] for place in told(Client(base), "?area=North")["places"]] == [None]


def test_of_a_large_place_the_cells_with_more_than_usual_and_the_areas_of_these_are_told(clock, tmp_path):
    given = {"category": "theft", "hours": 2, "usual": 1.25, "observed": 12, "days": 40.0, "row": 0, "col": 0}
    large = Unusual(rows=6, cols=5, above=(6, 21, 28), **given)
    leave_frame(tmp_path, unusual=(large, Unusual(rows=1, cols=2, **given)))
    with running(toy_service(tmp_path, clock=clock, areas=[area_of("North", [SQUARE])])) as base:
        line, older = told(Client(base))["places"]
    assert (line["above"], line["areas"]) == (["r001c001", "r004c001", "r005c003"], ["North"])
    assert older["above"] == older["cells"] == ["r000c000", "r000c001"]  # of a job that did not tell


@pytest.mark.parametrize(("silent", "refused"), [("all", {"all", "theft", "battery"}), ("theft", {"all", "theft"})])
def test_a_silent_feed_is_in_every_answer_and_is_not_current(tmp_path, clock, silent, refused):
    frame, over_all = leave_frame(tmp_path)
    feed = Silence(category=silent, since_s=frame.as_of_s - 6 * 3600, observed=1, usual=148.2, days=400.0)
    write_frames(tmp_path, (replace(frame, silent=(feed,)), over_all), "wall")
    with running(toy_service(tmp_path, clock=clock)) as base:
        client = Client(base)
        answers = [client.json("/v1/regions")["regions"][0], told(client), client.json("/v1/regions/riverton/scores")]
        asked = {
            f"{route}?require=current&category={category}": category
            for route in ("unusual", "scores", "areas")
            for category in ("all", "theft", "battery")
        }
        current = {words: client.get(f"/v1/regions/riverton/{words}") for words in asked}
        health, metrics = client.json("/health"), client.get("/metrics").data.decode()
        table = client.get("/v1/regions/riverton/scores?format=csv").data.decode()
        cell = client.get(f"/v1/regions/riverton/cells/{frame.spec.grid.cell_id(0)}?require=current")
    said = {
        "category": silent,
        "since": instant_text(feed.since_s),
        "until": None,
        "observed": 1,
        "usual": 148.2,
        "once_in_days": 400.0,
    }
    assert [answer["silent"] for answer in answers] == [[said]] * 3
    assert {words: answer.status for words, answer in current.items()} == {
        words: 503 if category in refused else 200 for words, category in asked.items()
    }
    assert cell.status == 503
    assert f"a feed of all is silent, so that this is not current: {silent} since" in json.loads(cell.data)["detail"]
    assert (health["silent"], 'silent_feeds{region="riverton"} 1.0' in metrics) == (1, True)
    assert json.loads(next(csv.DictReader(io.StringIO(table)))["silent"]) == [said]


def test_what_raises_the_forecast_is_in_every_answer_with_its_factor_over_each_horizon(tmp_path, clock):
    frame, over_all = leave_frame(tmp_path)
    surge = Surge(category="theft", factors=(2.345678, 1.5, 1.0), spreads=(0.2, 0.1, 0.0), observed=31, usual=8.2)
    write_frames(tmp_path, (replace(frame, surges=(surge,)), over_all), "wall")
    with running(toy_service(tmp_path, clock=clock)) as base:
        client = Client(base)
        answers = [client.json("/v1/regions")["regions"][0], told(client), client.json("/v1/regions/riverton/scores")]
        table = client.get("/v1/regions/riverton/scores?format=csv").data.decode()
    factors = dict(zip(frame.spec.horizon_names, (2.346, 1.5, 1.0), strict=True))
    says = "theft x2.3: 31 in place of 8.2 in the last hour"
    said = {"category": "theft", "factors": factors, "observed": 31, "usual": 8.2, "says": says}
    assert [answer["surges"] for answer in answers] == [[said]] * 3
    assert json.loads(next(csv.DictReader(io.StringIO(table)))["surges"]) == [said]
