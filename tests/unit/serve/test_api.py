"""What the service answers is what was published, to the last bit; and it says so where it is old."""

import csv
import io
import json
import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.frame import SUPPORT
from streaming.maps.areas import area_of
from streaming.serve.api import ASSUMES
from streaming.serve.service import Kept
from streaming.serve.written import NUMBERS, number
from streaming.sinks.line_protocol import risk_lines
from tests.harness.points import stored_points
from tests.harness.service import Client, Clock, leave_frame, running, toy_service

SQUARE = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="module")
def views(frames):
    return leave_frame(frames)


@pytest.fixture(scope="module")
def client(views, frames, clock):
    areas = [area_of("North", [SQUARE])]
    with running(toy_service(frames, clock=clock, areas=areas)) as base:
        yield Client(base)


@pytest.fixture
def an_hour_later(clock):
    clock.ahead_s = 3600
    yield
    clock.ahead_s = 0


CHOICES = list(product(("all", "theft", "battery"), (0, 1, 2)))


def column(views, category, horizon, name):
    frame, over_all = views
    view = over_all if category == "all" else frame
    array = getattr(view, name)[:, view.categories.index(category)]
    return array[:, horizon] if array.ndim > 1 else array


def rows_of(client, fmt, category, horizon):
    answer = client.get(f"/v1/regions/riverton/scores?format={fmt}&category={category}&horizon={horizon}")
    text = answer.data.decode()
    if fmt == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    if fmt == "json":
        return json.loads(text)["cells"]
    return [feature["properties"] for feature in json.loads(text)["features"]]


@pytest.mark.parametrize("fmt", ["json", "geojson", "csv"])
@pytest.mark.parametrize(("category", "h"), CHOICES)
def test_every_number_is_the_frames_to_the_last_bit(client, views, fmt, category, h):
    rows = rows_of(client, fmt, category, ("1h", "4h", "24h")[h])
    assert [row["cell"] for row in rows] == views[0].spec.grid.cell_ids()
    for name in NUMBERS:
        read = np.array([float(row[name]) for row in rows], np.float32)
        assert read.tobytes() == column(views, category, h, name).tobytes(), name
    assert [int(row["observed_1h"]) for row in rows] == column(views, category, h, "observed_1h").tolist()
    assert [row["support"] for row in rows] == [SUPPORT[code] for code in column(views, category, h, "support")]


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
        said = json.loads(answer.data)
        assert (said["stale"], said["model"], said["digest"]) == (False, "2026-07-r3", digest)
        assert answer.headers["Risk-Stale"] == "false"
        assert answer.headers["Risk-As-Of"] == said["as_of"]
    (region,) = client.json("/v1/regions")["regions"]
    assert region["digest"] == digest
    assert region["categories"] == ["all", "theft", "battery"]
    assert region["areas"] == ["North"]


def test_an_old_frame_is_said_and_refused_where_a_current_one_is_asked_for(client, an_hour_later):
    for path in ("scores", "cells/r001c002"):
        answer = client.get(f"/v1/regions/riverton/{path}")
        assert (answer.status, json.loads(answer.data)["stale"]) == (200, True)
        assert answer.headers["Risk-Stale"] == "true"
        assert client.get(f"/v1/regions/riverton/{path}?require=current").status == 503
    assert client.json("/health") == {"status": "ok", "regions": 1, "stale": 1}


def test_scores_for_a_time_ahead_of_this_clock_are_not_current(client, clock):
    clock.ahead_s = -3600
    try:
        assert client.json("/v1/regions/riverton/scores")["stale"] is True
    finally:
        clock.ahead_s = 0


def test_an_etag_saves_the_body_until_the_frame_is_another_or_has_become_stale(client, clock):
    path = "/v1/regions/riverton/scores"
    tag = client.get(path).headers["ETag"]
    known = client.get(path, If_None_Match=tag)
    assert (known.status, known.data, known.headers["ETag"]) == (304, b"", tag)
    assert client.get(path, If_None_Match=f'W/{tag}, "x"').status == 304
    clock.ahead_s = 3600
    try:
        later = client.get(path, If_None_Match=tag)
        assert (later.status, later.headers["Risk-Stale"]) == (200, "true")
    finally:
        clock.ahead_s = 0
    tags = {client.get(f"{path}?format={fmt}").headers["ETag"] for fmt in ("json", "geojson", "csv")}
    assert len(tags) == 3


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
    assert client.get("/v1/regions/riverton/scores", Accept=accept).headers["Content-Type"] == kind


def test_an_area_of_the_file_has_its_cells_alone(client, views):
    inside = client.json("/v1/regions/riverton/scores?area=North")
    assert [row["cell"] for row in inside["cells"]] == by_hand(views[0].spec.grid)
    assert inside["area"] == "North"


def by_hand(grid):
    """Cells whose centre is in SQUARE, by comparing numbers."""
    (west, south), (east, north) = SQUARE[0][0], SQUARE[0][2]
    return [
        cell
        for cell, lat, lon in zip(grid.cell_ids(), *grid.centres(), strict=True)
        if west < lon < east and south < lat < north
    ]


@pytest.mark.parametrize(("category", "h"), CHOICES)
def test_a_polygon_adds_up_its_cells(client, views, category, h):
    horizon = ("1h", "4h", "24h")[h]
    answer = client.post(
        f"/v1/regions/riverton/area?category={category}&horizon={horizon}", {"type": "Polygon", "coordinates": SQUARE}
    )
    said = json.loads(answer.data)
    ids = by_hand(views[0].spec.grid)
    assert said["cells"] == ids
    chosen = [views[0].spec.grid.index_of(one) for one in ids]
    none = 1.0
    for cell in chosen:
        none *= 1 - float(column(views, category, h, "risk")[cell])
    assert said["risk"] == pytest.approx(1 - none, rel=1e-12)
    expected = sum(float(column(views, category, h, "expected")[cell]) for cell in chosen)
    assert said["expected"] == pytest.approx(expected, rel=1e-12)
    assert sum(said["support"].values()) == len(ids)
    assert said["assumes"] == ASSUMES
    assert answer.headers["Risk-Stale"] == "false"


RING = SQUARE[0]


@pytest.mark.parametrize(
    ("shape", "status"),
    [
        ({"type": "Point", "coordinates": [0, 0]}, 422),
        ({"type": "Polygon", "coordinates": [RING[:-1]]}, 422),  # not closed
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}, 404),  # elsewhere
        ({"type": "Polygon", "coordinates": [[[-88, 41], [-80, 41], [-80, 42], [-88, 41]]]}, 422),  # too large
        ({"type": "Polygon", "coordinates": [[[-200, 41], [-87, 41], [-87, 42], [-200, 41]]]}, 422),
        ({"type": "Polygon", "coordinates": [[*RING[:-1] * 1300, RING[0]]]}, 422),  # vertices
        ({"type": "MultiPolygon", "coordinates": [[[*RING[:-1] * 300, RING[0]]]] * 5}, 422),  # vertices together
        ({"type": "Polygon", "coordinates": SQUARE, "more": 1}, 422),
        ([], 422),
        ({"type": "Polygon", "coordinates": [[[1e400, 1]]]}, 422),
        ({"type": "Polygon", "coordinates": SQUARE, "pad": "x" * 300_000}, 413),
    ],
)
def test_a_polygon_that_cannot_be_is_a_problem_with_a_reason(client, shape, status):
    answer = client.ask(
        "/v1/regions/riverton/area", method="POST", body=json.dumps(shape), headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    said = json.loads(answer.data)
    assert said["status"] == status
    assert said["detail"]


def test_a_cell_has_one_name(client):
    assert client.json("/v1/regions/riverton/cells/r0001c0002")["cell"] == "r001c002"


def test_replicas_share_nothing_but_the_folder_and_answer_the_same(client, frames, clock):
    areas = [area_of("North", [SQUARE])]
    with running(toy_service(frames, clock=clock, areas=areas)) as base:
        for path in ("scores?area=North", "scores?format=csv", "scores?format=geojson&category=theft"):
            one, other = (asked.get(f"/v1/regions/riverton/{path}") for asked in (client, Client(base)))
            assert (one.headers["ETag"], one.data) == (other.headers["ETag"], other.data)


def test_a_cell_says_what_made_its_score(client, views):
    frame = views[0]
    best = int(np.lexsort((-frame.expected[:, 0, 1], -frame.risk[:, 0, 1]))[0])
    said = client.json(f"/v1/regions/riverton/cells/{frame.spec.grid.cell_ids()[best]}")
    assert said["cell"] == frame.spec.grid.cell_ids()[best]
    assert said["geohash"] == frame.spec.grid.geohashes()[best]
    (row,) = [one for one in client.json("/v1/regions/riverton/scores")["cells"] if one["cell"] == said["cell"]]
    assert (said["lat"], said["lon"]) == (row["lat"], row["lon"])
    assert len(said["scores"]) == 9
    (one,) = [score for score in said["scores"] if (score["category"], score["horizon"]) == ("theft", "4h")]
    assert one["rank"] == 1
    factors = np.array([factor["factor"] for factor in one["factors"]], np.float32)
    assert factors.tobytes() == frame.attribution[0, 0, 1].tobytes()
    assert all(score["factors"] is None for score in said["scores"] if score["category"] == "all")
    outside = [score for score in said["scores"] if score["rank"] is None]
    assert all(score["factors"] is None for score in outside)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/regions/elsewhere/scores", 404),
        ("/v1/regions/riverton/scores?category=arson", 404),
        ("/v1/regions/riverton/scores?horizon=2h", 404),
        ("/v1/regions/riverton/scores?area=South", 404),
        ("/v1/regions/riverton/scores?horzon=4h", 422),
        ("/v1/regions/riverton/scores?format=xml", 422),
        ("/v1/regions/riverton/cells/r900c000", 404),
        ("/v1/regions/riverton/cells/here", 422),
        ("/v1/regions/../../etc/passwd/scores", 404),
        ("/v1/nothing", 404),
        ("/ogc/collections/riverton.all.1h/items?limit=0", 400),
        ("/ogc/collections/riverton.all.1h/items?bbox=1,2,3", 400),
        ("/ogc/collections/riverton.all.1h/items?datetime=yesterday", 400),
        ("/ogc/collections/riverton.all.9h", 404),
    ],
)
def test_a_question_that_cannot_be_answered_is_a_problem(client, path, status):
    answer = client.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert json.loads(answer.data).keys() == {"type", "title", "status", "detail"}


def test_a_form_that_nobody_writes_and_a_method_that_nobody_knows_are_problems(client):
    answer = client.get("/v1/regions/riverton/scores", Accept="image/png")
    assert (answer.status, answer.headers["Content-Type"]) == (406, "application/problem+json")
    answer = client.ask("/v1/regions", method="DELETE")
    assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json")
    assert "GET" in answer.headers["Allow"]


def test_what_a_map_draws_beside_the_scores(client):
    lines = client.json("/v1/regions/riverton/outlines")["features"]
    assert [line["properties"] for line in lines] == [{}, {"area": "North"}]
    assert client.json("/v1/regions/riverton/streets")["features"] == []


def test_a_fault_of_the_program_is_a_problem_too(frames, views):
    service = toy_service(frames)
    with running(service) as base:
        object.__setattr__(service, "rates", None)
        answer = Client(base).get("/v1/regions")
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert b"NoneType" not in answer.data


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 400)), max_size=50))
def test_kept_answers_are_those_that_were_written_and_take_bounded_memory(asked):
    kept, most = Kept(most_bytes=1000), 1000
    for name, size in asked:
        assert kept.get((name, size), lambda text=f"{name} {size}", n=size: text.encode().ljust(n)).strip() == (
            f"{name} {size}".encode().strip()
        )
        assert sum(map(len, kept.answers.values())) <= max(most, 400)


@pytest.mark.parametrize("path", ["/health", "/v1/regions/riverton/scores", "/", "/nothing"])
def test_head_is_get_without_its_body(client, path):
    head, get = client.ask(path, method="HEAD"), client.get(path)
    assert (head.status, head.data) == (get.status, b"")
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


def test_every_answer_has_the_headers_that_keep_it_from_other_pages(client):
    for path in ("/health", "/v1/regions", "/nothing"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "private, no-cache"
        assert "Risk-Stale" not in headers
