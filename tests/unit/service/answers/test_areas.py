"""Scores of an area: of a file's districts, and of a polygon that a client sends."""

import json
import math

import pytest

from schemas.areas import area_of
from service.answers.scores import ASSUMES
from tests.harness.service import leave_frame, toy_service
from tests.harness.toy import toy_grid
from tests.unit.service.answers.conftest import CHOICES, SQUARE, column


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
    chosen = [views[0].spec.grid.index_of(cell_id) for cell_id in ids]
    none = 1.0
    for cell in chosen:
        none *= 1 - float(column(views, category, h, "risk")[cell])
    assert said["risk"] == pytest.approx(1 - none, rel=1e-12)
    expected = sum(float(column(views, category, h, "expected")[cell]) for cell in chosen)
    assert said["expected"] == pytest.approx(expected, rel=1e-12)
    assert sum(said["support"].values()) == len(ids)
    assert said["assumes"] == ASSUMES
    assert answer.headers["Risk-Stale"] == "false"


def test_every_area_of_the_file_expects_what_its_polygon_does(client):
    words = "category=theft&horizon=4h"
    answer = client.json(f"/v1/regions/riverton/areas?{words}")
    drawn = json.loads(
        client.post(f"/v1/regions/riverton/area?{words}", {"type": "Polygon", "coordinates": SQUARE}).data
    )
    (row,) = answer.pop("areas")
    assert row.pop("area") == "North"
    assert {**answer, **row, "cells": drawn["cells"]} == drawn


def feature(geometry):
    return {"type": "Feature", "id": 7, "geometry": geometry, "properties": {"name": "my area"}}


def test_what_programs_for_maps_send_is_the_polygon_in_it(client):
    plain = {"type": "Polygon", "coordinates": SQUARE}
    high = {"type": "MultiPolygon", "coordinates": [[[[*place, 2_500.5] for place in SQUARE[0]]]]}
    kinds = (plain, high, feature(plain), feature(high))
    shapes = [*kinds, *({**shape, "bbox": [-87.895, 41.605, 0, -87.86, 41.63, 3_000]} for shape in kinds)]
    answers = [client.post("/v1/regions/riverton/area", shape) for shape in shapes]
    assert {answer.data for answer in answers} == {answers[0].data}
    assert answers[0].status == 200


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
        (feature(None), 422),
        (feature({"type": "Point", "coordinates": [0, 0]}), 422),
        ({**feature({"type": "Polygon", "coordinates": SQUARE}), "more": 1}, 422),
        ({"type": "FeatureCollection", "features": [feature({"type": "Polygon", "coordinates": SQUARE})]}, 422),
        ({"type": "Polygon", "coordinates": [[[*place, 0, 0] for place in RING]]}, 422),  # more than a height
        ([], 422),
        ({"type": "Polygon", "coordinates": [[RING[0], [math.nan, 41.61], *RING[2:]]]}, 422),
        ({"type": "Polygon", "coordinates": [[RING[0], [1e400, 41.61], *RING[2:]]]}, 422),
        ({"type": "Polygon", "coordinates": [[RING[0], [10**400, 41.61], *RING[2:]]]}, 422),
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


def test_an_area_without_a_cell_is_named_once_and_that_of_another_region_is_not(tmp_path, caplog):
    def square(west, south):
        corners = [[west, south], [west + 0.2, south], [west + 0.2, south + 0.2], [west, south + 0.2], [west, south]]
        return [[corners]]

    areas = [area_of(name, square(*at)) for name, at in {"A": (-88, 41.5), "B": (-88, 45), "Far": (0, 0)}.items()]
    service = toy_service(tmp_path, areas=areas)
    service.look()
    assert not caplog.messages, "without a frame nothing is known"
    leave_frame(tmp_path)
    leave_frame(tmp_path, "northtown", grid=toy_grid(6, 5, south_deg=45.05, west_deg=-87.95))
    service.look()
    service.look()
    assert [message.partition(" is left out: ")[0] for message in caplog.messages] == ["area 'Far'"]
    assert "riverton" in caplog.text
