"""Scores of the areas of a file, such as districts."""

import csv
import io
import json
from urllib.parse import urlencode

import pytest

from service.answers.scores import ASSUMES
from tests.harness.service import Client, area_of, leave_frame, running, toy_service
from tests.harness.toy import toy_grid
from tests.unit.service.answers.conftest import CHOICES, SQUARE, column


def test_an_area_of_the_file_has_its_cells_alone(client, views):
    inside = client.json("/v1/regions/riverton/scores?area=North")
    assert [row["cell"] for row in inside["cells"]] == by_hand(views[0].spec.grid)
    assert inside["area"] == "North"


def test_a_name_with_quotation_marks_and_a_comma_is_one_value_of_a_csv(views, frames):
    name = 'He said "x", y'
    with running(toy_service(frames, areas=[area_of(name, [SQUARE])])) as base:
        text = Client(base).get(f"/v1/regions/riverton/scores?{urlencode({'format': 'csv', 'area': name})}").data
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))
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
    said = json.loads(answer.data)
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
