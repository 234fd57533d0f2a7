"""Holidays: those of a place, written into the artifact, and told to the network by the local day."""

import sys
from datetime import date

import msgspec
import numpy as np
import pytest

from models.artifact.artifact import read_artifact
from models.counting.count_state import CountState
from models.features import features_of
from models.training.calendar import YEARS_AHEAD, holiday_days
from models.training.regions import RegionTask
from models.training.train_region import prepare, train_region
from schemas.errors import DataError
from tests.harness.small_town import LAYOUT
from tests.harness.toy import publish_artifact, toy_constants, toy_network, toy_spec

pytestmark = pytest.mark.usefixtures("quick_training")
EPOCH = date(1970, 1, 1)
START_S, END_S = 1_451_606_400, 1_514_764_800  # 2016-01-01 to 2018-01-01 UTC
ZONE = "America/Chicago"


def with_holidays(**changes):
    spec = toy_spec(2, 2, timezone=ZONE, **changes)
    spec = msgspec.structs.replace(spec, holidays="US-IL")
    return msgspec.structs.replace(spec, features=features_of(spec))


@pytest.mark.parametrize(
    ("place", "day", "is_one"),
    [
        ("US", date(2016, 7, 4), True),
        ("US", date(2016, 2, 12), False),
        ("US-IL", date(2016, 2, 12), True),  # Lincoln's birthday
        ("FR", date(2017, 7, 14), True),
        ("FR", date(2017, 7, 4), False),
        ("US", date(2017 + YEARS_AHEAD, 12, 25), True),
    ],
)
def test_the_days_are_those_of_the_place(place, day, is_one):
    assert ((day - EPOCH).days in holiday_days(place, START_S, END_S)) == is_one


def test_a_place_without_a_calendar_is_refused():
    with pytest.raises(DataError, match="no calendar of holidays is known for XX: name a country by ISO 3166-2"):
        holiday_days("XX", START_S, END_S)
    with pytest.raises(DataError, match="no calendar of holidays is known for US-XX: name the country alone, US"):
        holiday_days("US-XX", START_S, END_S)


def test_a_place_that_is_no_code_is_refused():
    with pytest.raises(DataError, match="ISO 3166-2"):
        msgspec.structs.replace(toy_spec(2, 2), holidays="Illinois")


def test_an_artifact_keeps_them_and_scoring_asks_no_calendar(tmp_path, monkeypatch):
    spec = with_holidays()
    days = holiday_days("US-IL", START_S, END_S)
    history = CountState(spec)
    history.advance(END_S)
    constants = toy_constants(spec, holidays=days)
    folder = publish_artifact(tmp_path, spec=spec, constants=constants, network=toy_network(spec), history=history)
    monkeypatch.setitem(sys.modules, "holidays", None)
    artifact = read_artifact(folder)
    np.testing.assert_array_equal(artifact.constants.holidays, days)
    assert artifact.spec.fingerprint() != toy_spec(2, 2, timezone=ZONE).fingerprint()


def test_a_training_learns_a_holiday_and_one_that_is_like_it_keeps_them(tmp_path):
    """On holidays there are three times as many: the network says so, and `--like` goes on with the same days."""
    random = np.random.default_rng(0)
    days = np.datetime64("2016-01-01") + np.arange(400)
    days_off = set(holiday_days("US", START_S, END_S).astype(int).tolist())
    rows = ["when,lat,lon,kind"]
    for day in days:
        level = 120 if int(day.astype(int)) in days_off else 40
        for hour, lat, lon in zip(
            random.integers(0, 24, level), random.uniform(41, 41.03, level), random.uniform(-87, -86.96, level),
            strict=True,
        ):  # fmt: skip
            rows.append(f"{day}T{hour:02d}:30,{lat:.4f},{lon:.4f},ems")
    data = tmp_path / "town.csv"
    data.write_text("\n".join(rows), encoding="utf-8")
    task = RegionTask(region="town", data=str(data), layout=LAYOUT, holidays="US", step_minutes=720, epochs=1)
    folder, results = train_region(prepare(task), tmp_path / "artifacts", report=lambda what, share: None)
    artifact = read_artifact(folder)
    assert {day for day in days_off if day < 18_500} < set(artifact.constants.holidays.astype(int))
    assert results[-1].network_log_score < 0.99 * results[-1].baseline_log_score
    again = prepare(msgspec.structs.replace(task, like=str(folder), holidays=""))
    assert again.spec.holidays == "US"
    with pytest.raises(DataError, match=r"holidays FR, and .* has US"):
        prepare(msgspec.structs.replace(task, like=str(folder), holidays="FR"))
