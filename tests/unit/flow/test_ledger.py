"""The ledger of a batch: every message in one place, and the job stops when it is not so."""

import pytest

from schemas.errors import LedgerUnbalanced
from schemas.incidents import Rejection
from streaming.flow.rows import add_up, balanced_ledger, is_balanced, tick_of
from tests.harness.toy import toy_spec

OUTCOMES = {"counted": 5, "corrected": 4, "duplicate": 3, "repeated": 1, "excluded": 2}


def refused(*reasons):
    return [Rejection(reason, "", 0, offset, 0) for offset, reason in enumerate(reasons)]


def test_what_was_consumed_is_what_became_of_it():
    rejections = refused("late", "schema", "late")
    assert balanced_ledger(18, OUTCOMES, rejections) == {
        "consumed": 18,
        **OUTCOMES,
        "rejected": 3,
        "rejected_late": 2,
        "rejected_schema": 1,
    }
    none = {"consumed": 0, "counted": 0, "corrected": 0, "duplicate": 0, "repeated": 0, "excluded": 0, "rejected": 0}
    assert balanced_ledger(0, {}, []) == none


@pytest.mark.parametrize("consumed", [14, 16])
def test_a_batch_that_lost_or_doubled_a_message_is_not_written(consumed):
    with pytest.raises(LedgerUnbalanced, match=f"'consumed': {consumed}.*do not add up.*please report this"):
        balanced_ledger(consumed, OUTCOMES, [])


@pytest.mark.parametrize("name", ["consumed", *OUTCOMES, "rejected"])
def test_each_outcome_weighs_in_the_balance(name):
    ledger = {"consumed": 16, **OUTCOMES, "rejected": 1}
    assert is_balanced(ledger)
    assert not is_balanced({**ledger, name: ledger[name] + 1})
    assert not is_balanced({other: count for other, count in ledger.items() if other != name})


def test_totals_have_what_came_now_and_what_came_before():
    assert add_up({"consumed": 5, "rejected_late": 1}, {"consumed": 2, "rejected_schema": 3}) == {
        "consumed": 7,
        "rejected_late": 1,
        "rejected_schema": 3,
    }


def test_a_tick_begins_at_a_whole_one_of_the_regions_or_minutes():
    assert [tick_of(at_s, None) for at_s in (0, 59, 60, 61, 121)] == [0, 0, 60, 60, 120]
    assert [tick_of(at_s, toy_spec(tick_s=300)) for at_s in (299, 300, 601)] == [0, 300, 600]
