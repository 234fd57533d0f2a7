"""Scores of an area: of a file's districts, and of a polygon that a client sends."""

import json

import pytest

from service.answers.scores import ASSUMES
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
