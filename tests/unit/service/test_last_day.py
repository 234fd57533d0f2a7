"""The service shows the hours of the last day that the job kept, says why it cannot show one, and never as for now."""

import time
from datetime import UTC, datetime

import numpy as np
import pytest

from schemas.files import instant_text
from schemas.frame import frame_path, hour_path, keep_hour
from schemas.spec import HOUR_S
from tests.harness.service import leave_frame
from tests.harness.toy import toy_grid
from tests.unit.service.conftest import NORTH, SCORES, UNUSUAL, problem, served

FULL_S = 0  # the hour that is now, when the first of these tests begins
THEFT = f"{SCORES}?category=theft"
CELL = "/v1/regions/riverton/cells/r001c002?"
DAY = "/v1/regions/riverton/hours"


@pytest.fixture(scope="module", autouse=True)
def _the_hour_that_is_now():
    global FULL_S
    FULL_S = int(time.time()) // HOUR_S * HOUR_S


def leave_hours(folder, hours, **given):
    """Of the hours that are so many ago the views that the job kept; that of seven has another grid."""
    kept = {}
    for ago in sorted(hours, reverse=True):
        now_s = int(time.time())
        age_s = now_s - (FULL_S - ago * HOUR_S + 5) if ago else 0
        grid = {"grid": toy_grid(3, 3)} if ago == 7 else {}
        views = leave_frame(folder, age_s=age_s, seed=ago + 1, **grid, **given)
        keep_hour(folder, views[0].spec.region, views[0].as_of_s)
        kept[ago] = views
    return kept


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Views by hours ago, and a client."""
    folder = tmp_path_factory.mktemp("frames")
    views = leave_hours(folder, [0, 1, 2, 3, 5, 6, 7, 20])
    hour_path(folder, "riverton", FULL_S - 6 * HOUR_S).write_bytes(b"damaged")
    with served(folder, areas=[NORTH]) as client:
        yield views, client


def at(ago):
    return f"&at={instant_text(FULL_S - ago * HOUR_S)}"


@pytest.mark.parametrize("path", [THEFT, f"{THEFT}&area=North", CELL, f"{UNUSUAL}?", "/v1/regions/riverton/areas?"])
def test_an_hour_is_answered_as_it_was_and_never_as_current(kept, path):
    views, client = kept
    answer = client.json(path + at(2))
    assert (answer["as_of"], answer["stale"]) == (instant_text(views[2][0].as_of_s), True)
    assert answer["digest"] == views[2][0].digest()
    assert client.json(path)["digest"] == views[0][0].digest()
    status, detail = problem(client.get(f"{path}{at(2)}&require=current"))
    assert (status, "leave out `at`" in detail) == (503, True)


@pytest.mark.parametrize(
    ("ago", "why"),
    [
        (4, "no frame of it was kept"),
        (6, "its file cannot be used"),
        (7, "the region had another grid"),
        (26, "no frame of it was kept"),
        (-1, "no frame of it was kept"),
    ],
)
def test_what_is_missing_damaged_or_of_another_grid_is_said(kept, ago, why):
    _, client = kept
    status, detail = problem(client.get(THEFT + at(ago)))
    assert (status, why in detail) == (404, True)
    rows = {row["at"]: row for row in client.json(DAY)["hours"]}
    if 0 <= ago <= 24:
        row = rows[instant_text(FULL_S - ago * HOUR_S)]
        assert (row["as_of"], row["observed"]) == (None, None)
        assert row["why"].startswith(why)


def test_a_text_that_is_no_time_is_refused_and_one_beyond_the_years_of_this_calendar_was_not_kept(kept):
    _, client = kept
    beyond = ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00")
    for status, texts in ((422, ("yesterday", "2026-13-01T00:00:00Z", "2026-12-01T00:00:00")), (404, beyond)):
        for text in texts:
            assert problem(client.get(f"{THEFT}&at={text}"))[0] == status


def test_the_day_has_what_came_in_each_hour_beside_what_was_usual_with_its_range(kept):
    views, client = kept
    hours = client.json(f"{DAY}?category=theft")["hours"]
    assert [hour["at"] for hour in hours] == [instant_text(FULL_S - ago * HOUR_S) for ago in range(24, -1, -1)]
    theft = views[0][0].categories.index("theft")
    for ago in (1, 2):
        row = hours[24 - ago]
        assert row["observed"] == views[ago][0].observed_1h[:, theft].sum()
        usual = views[ago + 1][0].usual[:, theft, 0].sum(dtype=np.float64)
        assert row["usual"] == pytest.approx(usual)
        assert row["low"] <= usual <= row["high"]
    assert [hours[24 - ago]["usual"] for ago in (3, 5, 20)] == [None] * 3  # the hour before has no frame
    whole, north = (client.json(f"{DAY}?{query}")["hours"][22] for query in ("", "area=North"))
    assert whole["observed"] == views[2][0].observed_1h.sum() > north["observed"]
    assert whole["usual"] > north["usual"] > 0


def test_hours_of_two_regions_of_one_folder_stay_apart_and_new_ones_come_by_themselves(tmp_path):
    leave_hours(tmp_path, [0, 2])
    mine = leave_hours(tmp_path, [0, 1], region="lakeside")
    with served(tmp_path) as client:
        assert client.get(THEFT + at(1)).status == 404
        lakeside = THEFT.replace("riverton", "lakeside")
        assert client.json(lakeside + at(1))["digest"] == mine[1][0].digest()
        theirs, ours = (hour_path(tmp_path, region, FULL_S - 2 * HOUR_S) for region in ("riverton", "lakeside"))
        ours.write_bytes(theirs.read_bytes())
        assert client.get(lakeside + at(2)).status == 404
        content = frame_path(tmp_path, "riverton").read_bytes()
        added = leave_frame(tmp_path, age_s=int(time.time()) - (FULL_S - HOUR_S))
        keep_hour(tmp_path, "riverton", added[0].as_of_s)
        frame_path(tmp_path, "riverton").write_bytes(content)
        answer = client.json(THEFT + at(1))
        assert answer["digest"] == added[0].digest()
        assert datetime.fromisoformat(answer["as_of"]).astimezone(UTC).minute == 0
