"""Alerts on the feed, the ledger and refused messages, on a real store: they fire on data that must, and only then."""

import pytest

from tests.harness.alert_world import NORTH, RULES, SOUTH, fires, write_ledgers
from tests.harness.alerting import evaluate


@pytest.mark.parametrize("gap", [-1, 1])
def test_a_ledger_with_a_gap(store, now_s, gap):
    write_ledgers(store, now_s, 10)
    assert fires("risk-ledger-unbalanced", store, now_s) == frozenset()
    write_ledgers(store, now_s, 10, southville={"consumed": lambda minute: 30 * (minute + 100) + gap})
    assert fires("risk-ledger-unbalanced", store, now_s) == {SOUTH}


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("older", [True, False])
def test_a_ledger_with_and_without_repeated_calls(store, now_s, gap, older):
    """An older version wrote no `repeated`."""
    totals = {"consumed": 10 + gap, "counted": 6, "corrected": 1, "duplicate": 1, "excluded": 1, "rejected": 1}
    totals |= {} if older else {"counted": 4, "repeated": 2}
    fields = ",".join(f"{name}={count}" for name, count in totals.items())
    store.write(f"pipeline,region=southville {fields} {now_s // 60 * 60}\n".encode())
    assert fires("risk-ledger-unbalanced", store, now_s) == (frozenset({SOUTH}) if gap else frozenset())


@pytest.mark.parametrize("missing", [-2, 3])
def test_messages_that_are_unaccounted_for(store, now_s, missing):
    write_ledgers(store, now_s, 10)
    assert fires("risk-unaccounted", store, now_s) == frozenset()
    for region in ("northville", "southville"):  # it is the job's, and stands in every region's point
        store.write(f"pipeline,region={region} unaccounted={missing} {now_s // 60 * 60}\n".encode())
    assert fires("risk-unaccounted", store, now_s) == {()}


def test_points_dropped_by_the_store(store, now_s):
    uid = "risk-points-dropped"
    write_ledgers(store, now_s, 10)
    assert fires(uid, store, now_s) == frozenset()
    write_ledgers(store, now_s + 600, 2, southville={"dropped": 3})
    assert fires(uid, store, now_s + 600) == {()}


def test_too_many_rejects(store, now_s):
    write_ledgers(store, now_s, 31)  # one of 30 a minute: 3.3 %
    assert fires("risk-rejects", store, now_s) == frozenset()
    assert fires("risk-rejects", store, now_s, already=frozenset({NORTH})) == {NORTH}
    write_ledgers(store, now_s, 31, northville={"rejected": lambda minute: 3 * minute})  # 10 %
    assert fires("risk-rejects", store, now_s) == {NORTH}


def test_a_few_messages_are_too_few_to_judge(store, now_s):
    few = {"consumed": lambda minute: minute // 2, "rejected": lambda minute: minute // 2}
    write_ledgers(store, now_s, 31, northville=few)
    assert fires("risk-rejects", store, now_s) == frozenset()


def test_a_small_feed_of_which_most_is_refused(store, now_s):
    few = {"consumed": lambda minute: minute // 30, "rejected": lambda minute: minute // 50}  # 7 of 12 in six hours
    none = {"consumed": lambda minute: minute // 100, "rejected": lambda minute: minute // 100}  # too few to say
    write_ledgers(store, now_s, 361, northville=few, southville=none)
    assert fires("risk-rejects", store, now_s) == frozenset()
    assert fires("risk-rejects-small", store, now_s) == {NORTH}


def test_rejects_of_before_a_reset_of_the_counts_do_not_count(store, now_s):
    """Totals begin anew at a `checkpoint --reset`."""
    totals = {
        "consumed": lambda minute: 100_000 if minute < 200 else 10 * (minute - 200),
        "rejected": lambda minute: 9_000 if minute < 200 else 0,
    }
    write_ledgers(store, now_s, 361, northville=totals)
    evaluation = evaluate(RULES["risk-rejects"], store, now_s)
    assert evaluation.values[NORTH] == 0
    assert evaluation.firing == frozenset()


@pytest.mark.parametrize("uid", ["risk-rejects", "risk-rejects-small"])
def test_refusals_end_when_nothing_was_refused_for_six_hours(store, now_s, uid):
    few = {"consumed": lambda minute: 30 + minute // 120, "rejected": lambda minute: 25}
    write_ledgers(store, now_s, 361, northville=few, southville=few)
    assert fires(uid, store, now_s, already=frozenset({NORTH, SOUTH})) == frozenset()


@pytest.mark.parametrize("uid", ["risk-rejects", "risk-rejects-small", "risk-rejects-unassigned"])
def test_refusals_go_on_being_told_when_the_feed_becomes_quiet(store, now_s, uid):
    """A burst three hours ago, nothing since: that mends nothing."""
    name = "_unassigned" if uid == "risk-rejects-unassigned" else "northville"
    totals = {
        total: lambda minute, before=before: before + 2 * min(max(minute - 170, 0), 20)
        for total, before in (("consumed", 1000), ("rejected", 100))
    }
    none = {"consumed": 0, "rejected": 0}
    write_ledgers(store, now_s, 361, **{"northville": none, "southville": none, name: totals})
    assert fires(uid, store, now_s) == {() if name == "_unassigned" else NORTH}


@pytest.mark.parametrize(("per_minute", "is_firing"), [(1, False), (10, True)])
def test_messages_of_no_region(store, now_s, per_minute, is_firing):
    # 60 a minute in regions
    write_ledgers(store, now_s, 31, _unassigned={"consumed": lambda minute: per_minute * minute})
    evaluation = evaluate(RULES["risk-rejects-unassigned"], store, now_s)
    assert bool(evaluation.firing) == is_firing
    assert evaluation.values[()] == pytest.approx(per_minute / (60 + per_minute), rel=0.05)


def test_a_few_messages_of_no_region_are_too_few_to_judge(store, now_s):
    few = {
        region: {"consumed": lambda minute, every=every: minute // every}
        for region, every in (("_unassigned", 4), ("northville", 3), ("southville", 99))
    }
    write_ledgers(store, now_s, 31, **few)
    assert evaluate(RULES["risk-rejects-unassigned"], store, now_s).values == {(): 0}


def test_a_burst_of_no_region_within_one_minute(store, now_s):
    """Its point has one of the minute before, also where never any such message had come."""
    write_ledgers(store, now_s, 31, _unassigned={"consumed": lambda minute: 100_000 if minute >= 12 else 0})
    assert fires("risk-rejects-unassigned", store, now_s) == {()}


def test_no_message_of_no_region_ends_that_alert(store, now_s):
    write_ledgers(store, now_s, 361)
    assert evaluate(RULES["risk-rejects-unassigned"], store, now_s, already=frozenset({()})).firing == frozenset()
