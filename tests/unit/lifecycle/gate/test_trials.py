"""What is kept of trials: how many have begun within a year, and what a kill leaves behind."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.gate import trial as trials
from lifecycle.gate.plan import GatePlan
from lifecycle.gate.trial import (
    YEAR_S,
    end_on_record,
    ended_trials,
    read_trial,
    refuse_another,
    refuse_too_many,
    started_within_a_year,
    write_trial,
)
from schemas.errors import ArtifactError, GateClosed
from tests.harness.judged import toy_trial

NOW_S = 1_800_000_000
DAY_S = 86_400
PLAN = GatePlan()


def write(artifacts, started_s):
    (artifacts / "town").mkdir(parents=True, exist_ok=True)
    trial = toy_trial(started_s=started_s)
    write_trial(artifacts, "town", trial)
    return trial


def had(artifacts, *ages_days):
    for age_days in ages_days:
        end_on_record(artifacts, "town", write(artifacts, NOW_S - age_days * DAY_S), "stop")


@pytest.mark.usefixtures("far_from_utc")
def test_a_fifth_within_a_year_is_refused_and_the_day_is_named(tmp_path):
    had(tmp_path, 400, 300, 200, 100)
    refuse_too_many(tmp_path, "town", PLAN, NOW_S)  # the first of the four is more than a year old
    had(tmp_path, 50)
    with pytest.raises(GateClosed, match="has had 4 trials within 365 days, and the plan allows 4") as refused:
        refuse_another(tmp_path, "town", PLAN, NOW_S)
    assert refused.value.remedy == (
        "wait until 2027-03-22; if that is too long, agree on more trials_a_year and less alpha in the plan"
    )
    refuse_another(tmp_path, "town", PLAN, NOW_S + 65 * DAY_S)


def test_regions_do_not_share_and_the_one_that_runs_counts(tmp_path):
    had(tmp_path, 365, 364, 20)
    write(tmp_path, NOW_S)
    assert started_within_a_year(tmp_path, "town", NOW_S) == [NOW_S - 364 * DAY_S, NOW_S - 20 * DAY_S, NOW_S]
    assert started_within_a_year(tmp_path, "elsewhere", NOW_S) == []


@given(ages=st.lists(st.integers(0, 800), unique=True, max_size=12), most=st.integers(1, 6))
def test_whoever_waits_as_told_may_start_and_not_a_day_before(tmp_path_factory, ages, most):
    artifacts, plan = tmp_path_factory.mktemp("artifacts"), GatePlan(trials_a_year=most)
    had(artifacts, *ages)
    starts = [NOW_S - age * DAY_S for age in ages]
    assert len(started_within_a_year(artifacts, "town", NOW_S)) == sum(age < 365 for age in ages)
    try:
        refuse_too_many(artifacts, "town", plan, NOW_S)
        return
    except GateClosed as error:
        day = datetime.fromisoformat(error.remedy.split()[2].rstrip(";")).replace(tzinfo=UTC)
    told_s = int(day.timestamp())
    assert sum(start_s > told_s - YEAR_S for start_s in starts) < most
    assert sum(start_s > told_s - DAY_S - YEAR_S for start_s in starts) >= most


def test_a_kill_between_record_and_removal_counts_the_trial_once(tmp_path, monkeypatch):
    trial = write(tmp_path, NOW_S)
    monkeypatch.setattr(trials, "trial_path", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        end_on_record(tmp_path, "town", trial, "stop")
    monkeypatch.undo()
    assert read_trial(tmp_path, "town") == trial
    assert started_within_a_year(tmp_path, "town", NOW_S) == [NOW_S]
    end_on_record(tmp_path, "town", trial, "stop")
    assert read_trial(tmp_path, "town") is None
    end_on_record(tmp_path, "town", trial, "stop")
    assert [(each.started_s, each.decision) for each in ended_trials(tmp_path, "town")] == [(NOW_S, "stop")]


def test_a_trial_that_cannot_be_read_or_written_is_named(tmp_path):
    trial, home = write(tmp_path, NOW_S), tmp_path / "town"
    for name, act in (
        ("trial.json", lambda: write_trial(tmp_path, "town", trial)),
        ("trials.json", lambda: end_on_record(tmp_path, "town", trial, "stop")),
    ):
        (home / f".{name}.part").mkdir()
        with pytest.raises(ArtifactError, match=f"{home / name} cannot be written"):
            act()
    (home / "trial.json").write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match=r"trial\.json cannot be used") as refused:
        read_trial(tmp_path, "town")
    assert refused.value.remedy == "remove it, then start the trial again: `python -m lifecycle gate start`"


@pytest.mark.parametrize("content", [b"garbage", b'[{"champion": "\xff"}]'])
def test_a_record_that_cannot_be_read_frees_nobody(tmp_path, content):
    had(tmp_path, 10)
    (tmp_path / "town" / "trials.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"trials\.json cannot be read") as refused:
        refuse_too_many(tmp_path, "town", PLAN, NOW_S)
    remedy = "restore it from a copy, or write it again from the audit log's records `trial_ended`"
    assert refused.value.remedy == remedy
