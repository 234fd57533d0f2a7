"""What the service answers is what was published, to the last bit; it says what is old, silent, raised or unusual."""

import asyncio
import csv
import io
import json
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.readiness import read_places
from schemas.files import instant_text
from schemas.frame import SUPPORT, Silence, Surge, Unusual, riskiest, write_frames
from schemas.limits import UNUSUAL_DAYS
from schemas.spec import DAY_S
from service.scores import ASSUMES, NUMBERS, number
from service.service import AnswerCache
from streaming.sinks.line_protocol import risk_lines
from tests.harness.points import stored_points
from tests.harness.service import Client, area_of, leave_frame, leave_squares, running, toy_service
from tests.harness.toy import square_bounds, toy_grid
from tests.unit.service.conftest import CHOICES, NORTH, SCORES, SQUARE, UNUSUAL, column, problem, served


def lines_of(client, query=""):
    """The scores as CSV, by the names of its columns."""
    text = client.get(f"{SCORES}?format=csv{query}").data.decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def rows_of(client, fmt, category, horizon):
    query = f"&category={category}&horizon={horizon}"
    if fmt == "csv":
        return lines_of(client, query)
    answer = client.json(f"{SCORES}?format={fmt}{query}")
    return answer["cells"] if fmt == "json" else [feature["properties"] for feature in answer["features"]]


@pytest.mark.parametrize("fmt", ["json", "geojson", "csv"])
@pytest.mark.parametrize(("category", "h"), CHOICES)
def test_every_number_is_the_frames_to_the_last_bit(client, views, fmt, category, h):
    rows = rows_of(client, fmt, category, ("1h", "4h", "24h")[h])
    assert [row["cell"] for row in rows] == views[0].spec.grid.cell_ids()
    support = column(views, category, h, "support")
    shown = support > 0 if fmt == "geojson" else np.ones_like(support, bool)
    for name in NUMBERS:
        read = np.array([float(row[name]) for row, has_score in zip(rows, shown, strict=True) if has_score], np.float32)
        assert read.tobytes() == column(views, category, h, name)[shown].tobytes(), name
    assert [int(row["observed_1h"]) for row in rows] == column(views, category, h, "observed_1h").tolist()
    assert [row["support"] for row in rows] == [SUPPORT[code] for code in column(views, category, h, "support")]


@pytest.fixture
def squared(tmp_path, clock):
    """A service of a region whose cells have 2 x 2 squares; its views; and its shares by (cell, category)."""
    categories, rng = ("ems", "fire"), np.random.default_rng(3)
    spec = {"categories": categories, "answered_by": categories, "fine": 2}
    views = leave_frame(tmp_path, **spec)
    frame, rows = views[0], [(3, -1), (3, 1), (7, -1), (12, 0)]
    share = rng.dirichlet(np.ones(4), len(rows)).astype(np.float16)
    leave_squares(tmp_path, frame, rows, share)
    with served(tmp_path, clock=clock) as client:
        yield client, views, dict(zip(rows, share.astype(float), strict=True))


@pytest.mark.parametrize("category", ["all", "ems", "fire"])
def test_squares_part_what_a_cell_expects_and_stand_where_they_are(squared, category):
    client, (frame, over_all), shares = squared
    assert client.json("/v1/regions")["regions"][0]["fine"] == 2
    view, h = over_all if category == "all" else frame, 1
    at = view.categories.index(category)

    def expected_of(cell):
        def share(of):
            drawn = shares.get((cell, of), shares.get((cell, -1), np.full(4, 0.25)))
            return drawn / drawn.sum()

        each = frame.expected[cell, :, h]
        return sum(each[of] * share(of) for of in range(2)) if category == "all" else each[at] * share(at)

    query = f"&fine=1&category={category}&horizon=4h"
    cells = client.json(f"{SCORES}?{query}")["cells"]
    assert len(cells) == frame.spec.grid.cells
    for number_of_cell, cell in enumerate(cells):
        assert cell["squares"] == pytest.approx(expected_of(number_of_cell), rel=1e-5)
        assert sum(cell["squares"]) == pytest.approx(cell["expected"], rel=1e-3)
    features, lines = client.json(f"{SCORES}?format=geojson{query}")["features"], lines_of(client, query)
    scored = np.flatnonzero(view.support[:, at] > 0).tolist()
    assert len(features) == len(lines) == 4 * len(scored) > 0
    for number_of_square, (feature, line) in enumerate(zip(features, lines, strict=True)):
        cell, square, said = scored[number_of_square // 4], number_of_square % 4, feature["properties"]
        assert (said["cell"], said["square"]) == (frame.spec.grid.cell_ids()[cell], square)
        assert said["expected"] == float(line["expected"]) == pytest.approx(expected_of(cell)[square], rel=1e-5)
        south, west, north, east = square_bounds(frame.spec.grid, 2, cell, square)
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        assert feature["geometry"]["coordinates"] == [pytest.approx(np.array(ring), abs=6e-6)]
        assert (said["lat"], said["lon"]) == pytest.approx(((south + north) / 2, (west + east) / 2), abs=6e-6)


def test_a_region_without_squares_says_so(client):
    assert client.json("/v1/regions")["regions"][0]["fine"] == 1
    status, detail = problem(client.get(f"{SCORES}?fine=1&format=csv"))
    assert (status, "no squares" in detail) == (404, True)
    cells = client.json(f"{SCORES}?fine=1")["cells"]  # as of an hour before the version with squares
    assert cells == client.json(SCORES)["cells"]


def test_more_squares_than_an_answer_has_are_refused_before_they_are_made_and_an_area_of_them_is_not(tmp_path):
    categories = ("ems", "fire")
    spec = {"grid": toy_grid(40, 40, south_deg=41.6, west_deg=-87.9), "categories": categories}
    frame, _ = leave_frame(tmp_path, answered_by=categories, fine=8, **spec)
    leave_squares(tmp_path, frame, [(3, -1)], np.full((1, 64), 1 / 64, np.float16))
    many = "1,600 cells of 8 x 8 squares are 102,400 squares, an answer has at most 100,000"
    remedy = "ask for an `area` of at most 1,562 cells, or without `fine`"
    service = toy_service(tmp_path, areas=[NORTH])
    with running(service) as base:
        client, asked = Client(base), [f"{SCORES}?format={form}" for form in ("json", "geojson", "csv")]
        for path in asked:
            assert problem(client.get(f"{path}&fine=1")) == (422, f"{many}: {remedy}")
        assert not service.answers.answers
        assert {client.get(path + more).status for path in asked for more in ("", "&fine=1&area=North")} == {200}


def test_a_layer_says_lift_and_how_old_it_is_and_no_number_without_history(client):
    layer = client.json(f"{SCORES}?format=geojson")
    bare = 0
    for feature in layer["features"]:
        said = feature["properties"]
        assert (said["as_of"], said["stale"]) == (layer["as_of"], False)
        numbers = [said[name] for name in (*NUMBERS, "lift")]
        if said["support"] == "no_history":
            bare += 1
            assert numbers == [None] * 6
        else:
            assert said["lift"] == pytest.approx(max(said["expected"], 1e-6) / max(said["usual"], 1e-6), rel=1e-6)
    assert 0 < bare < 30


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False, width=32))
def test_a_number_read_as_float32_is_the_same_number(value):
    assert np.float32(json.loads(json.dumps(number(np.float32(value))))) == np.float32(value)


def test_the_store_has_the_same_numbers_to_its_four_digits(client, views):
    points = stored_points([risk_lines(views[0])])
    rows = {row["cell"]: row for row in rows_of(client, "json", "theft", "4h")}
    stored = {
        re.search("cell=(r[0-9]+c[0-9]+)", key)[1]: fields
        for (key, _), fields in points.items()
        if "category=theft," in key and "horizon=4h," in key
    }
    assert stored.keys() == rows.keys()
    for cell, fields in stored.items():
        for name in NUMBERS:
            assert abs(float(fields[name]) - rows[cell][name]) <= max(5e-7, 5.1e-4 * rows[cell][name]), (cell, name)


def test_every_answer_says_whose_and_how_old_it_is(client, views):
    digest = views[0].digest()
    for path in ("scores", "cells/r001c002"):
        answer = client.get(f"/v1/regions/riverton/{path}")
        said = answer.json()
        assert (said["stale"], said["model"], said["digest"]) == (False, "2026-07-r3", digest)
        assert answer.headers["Risk-Stale"] == "false"
        assert answer.headers["Risk-As-Of"] == said["as_of"]
        assert said["change"] == {"since": "2025-11-24T16:00:00Z", "says": "05 to 08 h x 1.9"}
    (region,) = client.json("/v1/regions")["regions"]
    assert region["digest"] == digest
    assert region["categories"] == ["all", "theft", "battery"]
    assert region["areas"] == ["North"]


def test_an_old_frame_is_said_in_every_answer_and_each_feature(client, an_hour_later):
    for path in ("scores", "cells/r001c002", "unusual"):
        assert client.json(f"/v1/regions/riverton/{path}")["stale"] is True
    layer = client.json(f"{SCORES}?format=geojson")
    assert {feature["properties"]["stale"] for feature in layer["features"]} == {True}
    assert client.json("/health") == {"status": "ok", "regions": 1, "stale": 1, "silent": 0, "withheld": False}


def test_scores_for_a_time_ahead_of_this_clock_are_not_current(client, clock, monkeypatch):
    monkeypatch.setattr(clock, "ahead_s", -3600)
    assert client.json(SCORES)["stale"] is True


def test_an_etag_saves_the_body_until_the_frame_is_another_or_has_become_stale(client, clock, monkeypatch):
    tag = client.get(SCORES).headers["ETag"]
    assert client.get(SCORES, If_None_Match=f'{tag.removeprefix("W/")}, "x"').status == 304
    tags = {client.get(f"{SCORES}?format={fmt}").headers["ETag"] for fmt in ("json", "geojson", "csv")}
    assert len(tags) == 3
    monkeypatch.setattr(clock, "ahead_s", 3600)
    later = client.get(SCORES, If_None_Match=tag)
    assert (later.status, later.headers["Risk-Stale"]) == (200, "true")
    # No cache gives the answer of one caller to another.
    assert set(later.headers["Vary"].split(", ")) == {"Accept", "Accept-Encoding", "Authorization", "Cookie"}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/geo+json", "application/geo+json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/html, text/csv;q=0.5, */*;q=0.1", "text/csv; charset=utf-8"),
        ("*/*", "application/json"),
    ],
)
def test_the_client_chooses_the_form(client, accept, kind):
    assert client.get(SCORES, Accept=accept).headers["Content-Type"] == kind


def test_replicas_share_nothing_but_the_folder_and_answer_the_same(client, frames, clock):
    with served(frames, clock=clock, areas=[NORTH]) as replica:
        for query in ("area=North", "format=csv", "format=geojson&category=theft"):
            ours, other = (asked.get(f"{SCORES}?{query}") for asked in (client, replica))
            assert (ours.headers["ETag"], ours.data) == (other.headers["ETag"], other.data)


def test_each_of_the_riskiest_cells_says_what_made_its_own_score(client, views):
    frame, ids = views[0], views[0].spec.grid.cell_ids()
    rows = {row["cell"]: row for row in client.json(SCORES)["cells"]}
    assert client.json("/v1/regions/riverton/cells/r0001c0002")["cell"] == "r001c002"  # a cell has one name
    ranked = riskiest(frame.risk[:, 1, 2], frame.expected[:, 1, 2], 10)
    for rank, best in enumerate(ranked.tolist()):
        said = client.json(f"/v1/regions/riverton/cells/{ids[best]}")
        assert (said["cell"], said["geohash"]) == (ids[best], frame.spec.grid.geohashes()[best])
        assert (said["lat"], said["lon"]) == (rows[ids[best]]["lat"], rows[ids[best]]["lon"])
        by_place = {(score["category"], score["horizon"]): score for score in said["scores"]}
        chosen = by_place["battery", "24h"]
        factors = np.array([factor["factor"] for factor in chosen["factors"]], np.float32)
        assert (chosen["rank"], factors.tobytes()) == (rank + 1, frame.attribution[rank, 1, 2].tobytes())
        bare = [score for (category, _), score in by_place.items() if category == "all" or score["rank"] is None]
        assert (len(by_place), {score["factors"] for score in bare}) == (9, {None})


def test_what_a_map_draws_beside_the_scores(client):
    lines = client.json("/v1/regions/riverton/outlines")["features"]
    assert [line["properties"] for line in lines] == [{}, {"area": "North"}]
    assert client.json("/v1/regions/riverton/streets")["features"] == []


def test_stations_of_a_file_of_posts_are_points_of_the_region_where_they_stand(views, frames, tmp_path):
    (tmp_path / "stations.csv").write_text("place,lat,lon,units\nStation 7,41.62,-87.88,2\nfar,50,8,1\n")
    with served(frames, stations=read_places(tmp_path / "stations.csv")) as client:
        (point,) = client.json("/v1/regions/riverton/streets")["features"]
    assert point["properties"] == {"name": "Station 7", "kind": "station"}
    assert point["geometry"]["coordinates"] == [-87.88, 41.62]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 400)), max_size=50))
def test_kept_answers_are_those_that_were_written_and_take_bounded_memory(asked):
    cache, most = AnswerCache(most_bytes=1000), 1000
    for name, size in asked:
        assert cache.get((name, size), lambda text=f"{name} {size}", n=size: text.encode().ljust(n)).strip() == (
            f"{name} {size}".encode().strip()
        )
        assert sum(map(len, cache.answers.values())) <= max(most, 400)


def test_while_a_large_answer_is_written_others_are_answered():
    cache, is_begun, may_end = AnswerCache(), threading.Event(), threading.Event()

    def write():
        is_begun.set()
        assert may_end.wait(10), "nobody else was answered"
        return b"large"

    async def ask():
        large = asyncio.create_task(cache.get_large(("large",), write))
        while not is_begun.is_set():
            await asyncio.sleep(0.01)
        small = cache.get(("small",), lambda: b"small")
        may_end.set()
        return small, await large, await cache.get_large(("large",), lambda: b"written again")

    assert asyncio.run(ask()) == (b"small", b"large", b"large")


def test_a_region_where_no_street_lies_has_none_and_a_broken_file_is_named_in_the_log_alone(views, frames, tmp_path):
    elsewhere, broken = tmp_path / "elsewhere.json", tmp_path / "broken.json"
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[-70, 41.6], [-70, 41.7]]}}
    elsewhere.write_text(json.dumps({"type": "FeatureCollection", "features": [line]}))
    broken.write_text("{")
    service = toy_service(frames, streets=elsewhere)
    with running(service) as base:
        assert Client(base).json("/v1/regions/riverton/streets")["features"] == []
        service.streets = broken
        status, detail = problem(Client(base).get("/v1/regions/riverton/streets"))
    assert (status, "broken.json" in detail) == (503, False)


def test_a_version_whose_card_is_old_is_said_to_be_expired(tmp_path):
    younger, old = (datetime.fromtimestamp(time.time() - days * DAY_S - 60, UTC) for days in (400, 401))
    models = {"town": f"{old:%Y%m%dT%H%M%SZ}-0a1b2c3d", "village": f"{younger:%Y%m%dT%H%M%SZ}-0a1b2c3d"}
    for region, model in {**models, "hamlet": "baseline:RuntimeError", "farm": "my-model"}.items():
        leave_frame(tmp_path, region, model=model)
    with served(tmp_path) as client:
        expired = {region["region"]: region["expired"] for region in client.json("/v1/regions")["regions"]}
    assert expired.pop("town").startswith("the model was made 401 days ago")
    assert expired == {"village": None, "hamlet": None, "farm": None}


def test_an_area_has_its_cells_alone_and_a_name_with_quotation_marks_and_a_comma_is_one_value_of_a_csv(views, frames):
    name = 'He said "x", y'
    with served(frames, areas=[area_of(name, [SQUARE])]) as client:
        rows = lines_of(client, f"&{urlencode({'area': name})}")
    assert [row["cell"] for row in rows] == by_hand(views[0].spec.grid)
    assert {(row["area"], None in row) for row in rows} == {(name, False)}


def by_hand(grid):
    """Cells whose centre is in SQUARE, by comparing numbers."""
    (west, south), (east, north) = SQUARE[0][0], SQUARE[0][2]
    return [
        cell
        for cell, lat, lon in zip(grid.cell_ids(), *grid.centres(), strict=True)
        if west < lon < east and south < lat < north
    ]


@pytest.mark.parametrize(("category", "h"), CHOICES)
def test_an_area_adds_up_its_cells(client, views, category, h):
    horizon = ("1h", "4h", "24h")[h]
    answer = client.get(f"/v1/regions/riverton/areas?category={category}&horizon={horizon}")
    said = answer.json()
    (row,) = said["areas"]
    ids = by_hand(views[0].spec.grid)
    chosen = [views[0].spec.grid.index_of(cell_id) for cell_id in ids]
    none = 1.0
    for cell in chosen:
        none *= 1 - float(column(views, category, h, "risk")[cell])
    assert row["area"] == "North"
    assert row["risk"] == pytest.approx(1 - none, rel=1e-12)
    expected = sum(float(column(views, category, h, "expected")[cell]) for cell in chosen)
    assert row["expected"] == pytest.approx(expected, rel=1e-12)
    assert sum(row["support"].values()) == len(ids)
    assert said["assumes"] == ASSUMES
    assert answer.headers["Risk-Stale"] == "false"


def test_an_area_without_a_cell_is_named_once_and_that_of_another_region_is_not(tmp_path, caplog):
    def square(west, south):
        corners = [[west, south], [west + 0.2, south], [west + 0.2, south + 0.2], [west, south + 0.2], [west, south]]
        return [[corners]]

    at = {"A": (-88, 41.5), "B": (-88, 45), "Far": (0, 0), "Turned": (41.5, -88)}
    areas = [area_of(name, square(*places)) for name, places in at.items()]
    service = toy_service(tmp_path, areas=areas)
    service.look()
    assert not caplog.messages, "without a frame nothing is known"
    leave_frame(tmp_path)
    leave_frame(tmp_path, "northtown", grid=toy_grid(6, 5, south_deg=45.05, west_deg=-87.95))
    service.look()
    service.look()
    assert [message.partition(" is left out: ")[0] for message in caplog.messages] == ["area 'Far'", "area 'Turned'"]
    assert ["are exchanged" in message for message in caplog.messages] == [False, True]
    assert "riverton" in caplog.text


GIVEN = {"hours": 2, "usual": 1.25, "rows": 2, "cols": 2}
PLACES = (
    Unusual(category="theft", row=4, col=2, observed=12, days=40.0, **GIVEN),
    Unusual(category="battery", row=1, col=0, observed=7, days=15.0, **GIVEN),
)


@pytest.fixture(scope="module")
def unusual_frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unusual")
    frame, _ = leave_frame(folder, unusual=PLACES)
    return folder, frame


@pytest.fixture(scope="module")
def unusual_client(unusual_frame, clock):
    with served(unusual_frame[0], clock=clock, areas=[NORTH]) as client:
        yield client


def told(client, words=""):
    return client.json(f"{UNUSUAL}{words}")


def test_every_unusual_place_is_there_with_its_cells_and_numbers(unusual_client, unusual_frame):
    answer, grid = told(unusual_client), unusual_frame[1].spec.grid
    assert (answer["least_days"], answer["digest"]) == (UNUSUAL_DAYS, unusual_frame[1].digest())
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


def test_a_category_and_an_area_leave_the_others_out(unusual_client):
    assert [place["category"] for place in told(unusual_client, "?category=battery")["places"]] == ["battery"]
    assert [place["area"] for place in told(unusual_client, "?area=North")["places"]] == ["North"]
    assert told(unusual_client, "?area=North&category=theft")["places"] == []
    for words, says in (("?category=fire", "no category 'fire'"), ("?area=South", "no area 'South'")):
        status, detail = problem(unusual_client.get(f"{UNUSUAL}{words}"))
        assert (status, says in detail) == (404, True)


def test_a_place_is_told_by_its_area_or_the_nearest_name_first_and_then_by_its_cells(unusual_frame, clock, tmp_path):
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
        for name, lon, lat in (("Mill", -87.89, 41.64), ("Port", -87.86, 41.64), ("Far", -87.8, 41.7))
    ]
    (tmp_path / "streets.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    service, said = toy_service(unusual_frame[0], clock=clock, areas=[NORTH]), []
    with running(service) as base:
        for streets in (None, tmp_path / "streets.json", tmp_path / "nothing.json"):
            service.streets = streets
            said.append([place["place"] for place in told(Client(base))["places"]])
    grid = unusual_frame[1].spec.grid
    ids = [[grid.cell_id(cell) for cell in place.cells(grid)] for place in PLACES]
    cells = [each[0] if len(each) == 1 else f"{each[0]} to {each[-1]}" for each in ids]
    assert said[0] == said[2] == [cells[0], f"North · {cells[1]}"]
    assert said[1] == [f"Port · {cells[0]}", f"North · {cells[1]}"]


def test_of_a_large_place_the_cells_with_more_than_usual_and_the_areas_of_these_are_told(clock, tmp_path):
    given = {"category": "theft", "hours": 2, "usual": 1.25, "observed": 12, "days": 40.0, "row": 0, "col": 0}
    large, older = Unusual(rows=6, cols=5, above=(6, 21, 28), **given), Unusual(rows=1, cols=2, **given)
    leave_frame(tmp_path, unusual=(large, older))
    with served(tmp_path, clock=clock, areas=[NORTH]) as client:
        of_large, of_older = told(client)["places"]
    assert (of_large["above"], of_large["areas"]) == (["r001c001", "r004c001", "r005c003"], ["North"])
    assert of_large["area"] is None  # no area has half of it
    assert of_older["above"] == of_older["cells"] == ["r000c000", "r000c001"]  # of a job that did not tell


def told_everywhere(client, fact):
    """What is said of it with the regions, the unusual places and the scores, the latter also as CSV."""
    answers = (client.json("/v1/regions")["regions"][0], told(client), client.json(SCORES))
    return [*(answer[fact] for answer in answers), json.loads(lines_of(client)[0][fact])]


@pytest.mark.parametrize(("silent", "refused"), [("all", {"all", "theft", "battery"}), ("theft", {"all", "theft"})])
def test_a_silent_feed_is_in_every_answer_and_is_not_current(tmp_path, clock, silent, refused):
    frame, over_all = leave_frame(tmp_path)
    feed = Silence(category=silent, since_s=frame.as_of_s - 6 * 3600, observed=1, usual=148.2, days=400.0)
    write_frames(tmp_path, (replace(frame, silent=(feed,)), over_all), "wall")
    said = {"category": silent, "since": instant_text(feed.since_s), "until": None}
    said |= {"observed": 1, "usual": 148.2, "once_in_days": 400.0}
    with served(tmp_path, clock=clock) as client:
        assert told_everywhere(client, "silent") == [[said]] * 4
        asked = {
            f"{route}?require=current&category={category}": category
            for route in ("unusual", "scores", "areas")
            for category in ("all", "theft", "battery")
        }
        for words, category in asked.items():
            answer = client.get(f"/v1/regions/riverton/{words}")
            assert answer.status == (503 if category in refused else 200), words
        status, detail = problem(client.get("/v1/regions/riverton/cells/r000c000?require=current"))
        health, metrics = client.json("/health"), client.get("/metrics").data.decode()
    begin = f"a feed of all is silent, so that this is not current: {silent} since"
    assert (status, detail.startswith(begin)) == (503, True)
    assert (health["silent"], 'silent_feeds{region="riverton"} 1.0' in metrics) == (1, True)


def test_what_raises_the_forecast_is_in_every_answer_with_its_factor_over_each_horizon(tmp_path, clock):
    frame, over_all = leave_frame(tmp_path)
    surge = Surge(category="theft", factors=(2.345678, 1.5, 1.0), spreads=(0.2, 0.1, 0.0), observed=31, usual=8.2)
    write_frames(tmp_path, (replace(frame, surges=(surge,)), over_all), "wall")
    factors = dict(zip(frame.spec.horizon_names, (2.346, 1.5, 1.0), strict=True))
    says = "theft x2.3: 31 instead of 8.2 in the last hour"
    said = {"category": "theft", "factors": factors, "observed": 31, "usual": 8.2, "says": says}
    with served(tmp_path, clock=clock) as client:
        assert told_everywhere(client, "surges") == [[said]] * 4
