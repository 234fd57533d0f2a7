"""Holidays of a place and days that a file names, in the artifact, and told to the network by the local day."""

import sys
from datetime import date

import msgspec
import numpy as np
import pytest

from models.artifact import read_artifact
from models.counting.count_state import CountState
from models.features import FeatureEngine, informed
from models.local_time import YEARS_AHEAD, Calendar, holiday_days
from models.training.region_tasks import RegionTask
from models.training.train_region import prepare, train_region
from schemas.errors import DataError
from tests.harness.festive_town import write_days, write_festive_town
from tests.harness.small_town import LAYOUT
from tests.harness.toy import publish_artifact, toy_constants, toy_network, toy_spec

pytestmark = pytest.mark.usefixtures("quick_training")
EPOCH = date(1970, 1, 1)
START_S, END_S = 1_451_606_400, 1_514_764_800  # 2016-01-01 to 2018-01-01 UTC


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


@pytest.mark.parametrize(
    ("place", "remedy"), [("XX", "name a country by ISO 3166-2"), ("US-XX", "name the country alone, US")]
)
def test_a_place_without_a_calendar_or_that_is_no_code_is_refused(place, remedy):
    with pytest.raises(DataError, match=f"no calendar of holidays is known for {place}: {remedy}"):
        holiday_days(place, START_S, END_S)
    with pytest.raises(DataError, match="ISO 3166-2"):
        msgspec.structs.replace(toy_spec(2, 2), holidays="Illinois")


def written(tmp_path, *lines, head="date,name"):
    path = tmp_path / "days.csv"
    path.write_text("\n".join([head, *lines]), encoding="utf-8-sig")  # as spreadsheets write it
    return str(path)


def test_days_are_read_by_name_each_once(tmp_path):
    lines = ("2016-07-02,match", "2016-05-01,fair", "2016-07-01,match", "2016-07-02,match")
    calendar = Calendar.read(written(tmp_path, *lines))
    days = [(date.fromisoformat(f"2016-{day}") - EPOCH).days for day in ("05-01", "07-01", "07-02")]
    assert (calendar.names, calendar.days.tolist()) == (("fair", "match"), [[0, days[0]], [1, days[1]], [1, days[2]]])
    assert Calendar.read("").names == ()


@pytest.mark.parametrize(
    ("head", "line", "fault"),
    [
        ("date,name", "2016-7-1,match", "data row 2: date '2016-7-1', name 'match'"),
        ("date,name", "2016-02-30,match", r"cannot be read \(day is out of range for month\)"),
        ("date,name", "1969-12-31,match", "date '1969-12-31'"),
        ("date,name", "2016-07-01,A match", "name 'A match'"),
        ("date,name", "2016-07-01", "name ''"),
        ("day,name", "2016-07-01,match", "data row 1: date ''"),
    ],
)
def test_a_file_that_breaks_the_form_is_refused_with_its_row(tmp_path, head, line, fault):
    with pytest.raises(DataError, match=fault) as refused:
        Calendar.read(written(tmp_path, "2016-06-30,match", line, head=head))
    assert "columns date and name" in refused.value.remedy


def test_a_file_without_days_or_with_too_many_or_that_is_not_there_is_refused(tmp_path):
    many = (f"{date.fromordinal(719_163 + day)},match" for day in range(10_001))
    for days, fault in (((), "has 0 days, 1 to 10,000 are read"), (many, "has 10,001 days")):
        with pytest.raises(DataError, match=fault):
            Calendar.read(written(tmp_path, *days))
    with pytest.raises(DataError, match="cannot be read"):
        Calendar.read(str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(("day", "is_said"), [("2015-01-01", True), ("2016-06-30", True), ("2016-07-01", False)])
def test_a_name_without_days_to_learn_from_or_to_come_is_said(tmp_path, day, is_said):
    cutoff_s = (date(2016, 7, 1) - EPOCH).days * 86_400
    said = list(Calendar.read(written(tmp_path, "2015-01-01,match", f"{day},match")).warnings(cutoff_s))
    assert bool(said) == is_said
    assert all(sentence.startswith(f"match has days from 2015-01-01 to {day}: give") for sentence in said)
    assert list(Calendar.read(written(tmp_path, "2016-07-01,match")).warnings(cutoff_s)) != []


def test_a_day_is_that_of_the_place_and_scoring_reads_no_file_and_asks_no_calendar(tmp_path, monkeypatch):
    """2016-07-04 in Chicago, a holiday, begins at 05:00 UTC; a match is on the 5th, a fair on the 3rd and 4th."""
    calendar = Calendar.read(written(tmp_path, "2016-07-05,match", "2016-07-03,fair", "2016-07-04,fair"))
    spec, plain = (
        informed(toy_spec(2, 2, timezone="America/Chicago"), holidays=place, calendar=names)
        for place, names in (("US-IL", calendar.names), ("", ()))
    )
    history = CountState(spec)
    history.advance(1_467_600_000)
    constants = toy_constants(spec, holidays=holiday_days("US-IL", START_S, END_S), calendar=calendar.days)
    parts = {"constants": constants, "network": toy_network(spec), "history": history}
    folder = publish_artifact(tmp_path / "a", spec=spec, **parts)
    (tmp_path / "days.csv").unlink()
    monkeypatch.setitem(sys.modules, "holidays", None)
    artifact = read_artifact(folder)
    assert artifact.spec.fingerprint() != plain.fingerprint()
    engine, state = FeatureEngine(artifact.spec, artifact.constants), artifact.history()
    of_plain = FeatureEngine(plain, toy_constants(plain))
    is_day = np.array([name.startswith(("holiday", "calendar")) for name in spec.features])
    told = {}
    for hour in (4, 5, 28, 29, 53):  # UTC, on 2016-07-04 and after
        state.advance(1_467_590_400 + hour * 3600)
        values = engine.compute(state).values
        assert (values[..., is_day] == values[0, 0, is_day]).all()  # the same in every cell
        np.testing.assert_array_equal(values[..., ~is_day], of_plain.compute(state).values)
        told[hour] = [spec.features[column] for column in np.flatnonzero(is_day & (values[0, 0] != 0))]
    assert told == {
        4: ["holiday_eve", "calendar_fair_today", "calendar_fair_eve"],
        5: ["holiday_today", "calendar_fair_today", "calendar_fair_after", "calendar_match_eve"],
        28: ["holiday_today", "calendar_fair_today", "calendar_fair_after", "calendar_match_eve"],
        29: ["holiday_after", "calendar_fair_after", "calendar_match_today"],
        53: ["calendar_match_after"],
    }


def test_a_training_learns_such_days_and_one_that_is_like_it_keeps_holidays_and_needs_days_of_the_same_names(tmp_path):
    write_festive_town(tmp_path)
    days = str(tmp_path / "days.csv")
    task = RegionTask(region="town", data=str(tmp_path / "town.csv"), layout=LAYOUT, step_minutes=720, epochs=1)
    ready = prepare(msgspec.structs.replace(task, calendar=days, holidays="US"))
    folder, results = train_region(ready, tmp_path / "artifacts", report=lambda what, share: None)
    artifact = read_artifact(folder)
    np.testing.assert_array_equal(artifact.constants.calendar, Calendar.read(days).days)
    assert artifact.manifest.data.calendar_sha256 == Calendar.read(days).sha256
    past = ready.history()
    np.testing.assert_array_equal(artifact.constants.holidays, holiday_days("US", past.first_s, past.cutoff_s))
    assert results[-1].network_log_score < 0.97 * results[-1].baseline_log_score
    like = msgspec.structs.replace(task, like=str(folder))
    with pytest.raises(DataError, match=r"calendar no days, and .* has fair, match"):
        prepare(like)
    write_days(tmp_path / "other.csv", match=[3, 4, 200])
    with pytest.raises(DataError, match=r"calendar match, and .* has fair, match"):
        prepare(msgspec.structs.replace(like, calendar=str(tmp_path / "other.csv")))
    write_days(tmp_path / "other.csv", match=[3, 4, 200], fair=[7])
    again = prepare(msgspec.structs.replace(like, calendar=str(tmp_path / "other.csv")))
    assert again.spec.fingerprint() == artifact.spec.fingerprint()
    assert again.spec.holidays == "US"
    with pytest.raises(DataError, match=r"holidays FR, and .* has US"):
        prepare(msgspec.structs.replace(like, holidays="FR"))
    assert any(warning.startswith("fair has days from") for warning in again.warnings)
    assert not any(warning.startswith("match has days from") for warning in again.warnings)
