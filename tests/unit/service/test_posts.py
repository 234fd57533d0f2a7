"""What the service says of free units: the share within reach, and no advice to move."""

import numpy as np
import pytest

from models.readiness import ASSUMES, DETOUR
from models.scoring import stored_views
from schemas.frame import ATTRIBUTION_GROUPS, write_frames
from tests.harness.service import area_of, leave_frame
from tests.harness.toy import toy_constants, toy_frame, toy_grid, toy_spec
from tests.unit.service.conftest import POSTS, problem, served

ADDRESS = "/v1/regions/village/posts"
ROW = toy_spec(1, 9, region="village", categories=("ems", "theft"), answered_by=("ems",))
EXPECTED = np.array([6.0, 1, 1, 1, 0, 0, 0, 0.5, 2])  # calls of ems in each cell of the row
TWO_KM = {"reach_minutes": 2 * DETOUR, "speed_kmh": 60, "busy": 0.0}  # by straight line


def spot(cell, **changes):
    lat, lon = (float(degrees[cell]) for degrees in ROW.grid.centres())
    return {"lat": lat, "lon": lon, **changes}


@pytest.fixture(scope="module")
def client(tmp_path_factory, clock):
    folder = tmp_path_factory.mktemp("frames")
    expected = np.zeros((9, 2, 3), np.float32)
    expected[:, 0] = EXPECTED[:, None]
    expected[:, 1] = 100
    support = np.full((9, 2), 2, np.uint8)
    support[3:7] = 0
    frame = toy_frame(
        ROW,
        expected,
        support=support,
        as_of_s=int(clock()),
        attribution=np.ones((9, 2, 3, len(ATTRIBUTION_GROUPS)), np.float32),
    )
    leave_frame(folder)
    write_frames(folder, stored_views(frame, toy_constants(ROW)), "wall")
    with served(folder, clock=clock) as client:
        yield client


def asked(client, *cells, view="", **changes):
    answer = client.post(ADDRESS + view, {"units": [spot(cell) for cell in cells], **TWO_KM, **changes})
    return answer.status, answer.json()


def test_it_says_what_is_within_reach(client):
    status, said = asked(client, 1)
    assert status == 200
    assert said["within"] == pytest.approx(8.5 / 11.5, abs=0.05)  # half of the fourth cell
    assert (said["units"], said["categories"], said["horizon"]) == (1, ["ems"], "1h")
    assert said["expected"] == pytest.approx(11.5)
    assert said["by_two"] == 0
    assert said["usual_within"] == pytest.approx(said["within"])
    assert said["assumes"] == ASSUMES


def test_cells_that_nobody_reaches_are_named_and_another_horizon_is_one_of_the_regions(client):
    _, said = asked(client, 1)
    assert [cell["cell"] for cell in said["bare"]] == ["r000c008", "r000c007"]
    assert said["bare"][0]["expected"] == 2
    assert asked(client, 0, view="?horizon=24h")[1]["horizon"] == "24h"
    assert asked(client, 0, view="?horizon=3h")[0] == 404


def test_areas_are_those_by_the_compass_and_say_whether_the_floor_is_kept(client):
    _, said = asked(client, 1)
    areas = {area["area"]: area for area in said["areas"]}
    assert areas["south-west"]["floor_kept"] is True
    assert areas["south-east"]["floor_kept"] is False
    assert areas["south"]["floor_kept"] is None
    assert said["floor"] == 0.1
    assert asked(client, 1, floor=0)[1]["areas"][2]["floor_kept"] is None


def test_without_a_free_unit_nothing_is_within_reach_and_all_is_bare(client):
    status, said = asked(client)
    assert (status, said["units"], said["within"], said["by_a_free_unit"], said["by_two"]) == (200, 0, 0, 0, 0)
    assert [(cell["cell"], cell["expected"]) for cell in said["bare"][:2]] == [("r000c000", 6), ("r000c008", 2)]
    assert len(said["bare"]) == np.count_nonzero(EXPECTED)
    assert {area["within"] for area in said["areas"]} <= {0, None}


def test_it_is_the_same_where_no_call_is_on_record(tmp_path):
    leave_frame(tmp_path, answered_by=("battery",), most_support=0)
    with served(tmp_path) as client:
        answer = client.post(POSTS, {"units": []})
    said = answer.json()
    assert (answer.status, said["within"], len(said["bare"])) == (200, 0, 10)
    assert any("no call is on record" in warning for warning in said["warnings"])


@pytest.mark.parametrize("busy", [0.0, 0.3])
def test_what_one_more_unit_gains_is_the_difference_of_two_answers(client, busy):
    """Alone in its place it serves what it reaches, while it is free; beside another, while only that one is away."""
    reached = asked(client, 1)[1]["within"]
    before, far, beside = (asked(client, *cells, busy=busy)[1]["by_a_free_unit"] for cells in ((1,), (1, 8), (1, 1)))
    assert far - before == pytest.approx((1 - busy) * 2.5 / 11.5, abs=2e-4)
    assert beside - before == pytest.approx(busy * (1 - busy) * reached, abs=2e-4)


def test_a_region_whose_spec_names_nobody_is_refused_with_the_reason(client):
    status, detail = problem(client.post(POSTS, {"units": []}))
    assert (status, "patrol map" in detail) == (422, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"units": [{"lat": 41.0, "lon": -80.0}]}, "1 of 1 places lie outside the grid"),
        ({"reach_minutes": 0.1}, "less than half a cell of 1000 m"),
        ({"busy": 1.0}, "busy"),
        ({"busy": -0.1}, "busy"),
        ({"units": [spot(0)] * 201}, "200"),
        ({"units": [spot(0, crew="A")]}, "crew"),
        ({"most_moves": 1}, "most_moves"),
        ({"freed": spot(4)}, "freed"),
        ({"returning": [spot(8)]}, "returning"),
    ],
)
def test_what_is_no_question_is_refused_with_a_remedy(client, changes, said):
    status, problem = asked(client, 0, **changes)
    assert status == 422
    assert said in problem["detail"]


@pytest.mark.usefixtures("an_hour_later")
def test_an_answer_from_stale_scores_says_that_it_is_not_for_now(client):
    status, said = asked(client, 0)
    assert (status, said["stale"]) == (200, True)
    assert "not for now" in said["warnings"][0]


def test_warnings_say_what_the_answer_rests_on(tmp_path, clock):
    spec = {"region": "hamlet", "grid": toy_grid(3, 3), "categories": ("ems",), "answered_by": ("ems",)}
    leave_frame(tmp_path, model="baseline", **spec)
    square = [[[[-87.0, 41.0], [-86.98, 41.0], [-86.98, 41.02], [-87.0, 41.02], [-87.0, 41.0]]]]
    with served(tmp_path, clock=clock, areas=[area_of("Corner", square)]) as client:
        said = client.post("/v1/regions/hamlet/posts", {"units": [{"lat": 41.01, "lon": -86.99}]}).json()
    assert any("network gave no scores" in warning for warning in said["warnings"])
    assert [area["area"] for area in said["areas"]] == ["Corner"]
