"""What becomes of a batch's messages, without Spark."""

import numpy as np
import pytest

from models.counting.count_state import CountState
from schemas.covariate import PLACED_VALUE
from schemas.decode import decode_messages
from schemas.incidents import Rejection
from schemas.limits import CLOCKS_DIFFER_S
from schemas.spec import DAY_S, HOUR_S, CovariateSeries
from streaming.flow.intake import take_in, take_in_outside, within
from tests.harness.toy import CUTOFF_S, iso, toy_event, toy_messages, toy_spec


def test_a_refusal_by_the_clock_names_the_times_of_kafka_and_not_those_of_the_centre():
    spec = toy_spec()
    received_at = iso(CUTOFF_S + 60)
    event = toy_event(spec, at_s=CUTOFF_S, cell=0, received_at=received_at)
    messages = toy_messages([event], (CUTOFF_S + 90) * 1000, partition=2, offset=[7])
    decoded = decode_messages(messages, {spec.region: spec})
    long_after_s = CUTOFF_S + 10 * spec.late_limit_s
    taken = take_in(CountState(spec), decoded.incidents[spec.region], [], as_of_s=long_after_s, consumed=1)
    [refused] = taken.rejections
    assert (refused.reason, refused.partition, refused.kafka_offset) == ("late", 2, 7)
    assert refused.kafka_time_ms == (CUTOFF_S + 90) * 1000


def test_what_the_clock_refuses_is_told_with_its_reason_beside_what_counts_and_what_the_decoder_refused():
    spec = toy_spec()
    times_s = {"counts": CUTOFF_S, "future": CUTOFF_S + spec.future_limit_s + 1, "late": CUTOFF_S - 9 * DAY_S}
    events = [
        toy_event(spec, at_s=at_s, cell=0, incident_id=name, received_at=iso(at_s)) for name, at_s in times_s.items()
    ]
    messages = toy_messages(events, times_s["future"] * 1000, offset=[4, 5, 6])
    decoded = decode_messages(messages, {spec.region: spec})
    of_the_decoder = Rejection("schema", "no event", 0, 3, 0)
    incidents = decoded.incidents[spec.region]
    taken = take_in(CountState(spec), incidents, [of_the_decoder], as_of_s=CUTOFF_S, consumed=4)
    assert [(rejection.kafka_offset, rejection.reason, rejection.detail) for rejection in taken.rejections] == [
        (3, "schema", "no event"),
        (5, "future", "ahead of the region's clock"),
        (6, "late", "older than the time that incidents are remembered"),
    ]
    reasons = dict.fromkeys(("rejected_schema", "rejected_future", "rejected_late"), 1)
    none = {"corrected": 0, "duplicate": 0, "repeated": 0, "excluded": 0}
    assert taken.ledger == {"consumed": 4, "counted": 1, **none, "rejected": 3, **reasons}
    assert taken.applied.newest_counted_s == CUTOFF_S


def outside_values(*rows):
    """(hour after CUTOFF_S, seconds after CUTOFF_S at which it was issued, value, partition, offset) each."""
    hour = CUTOFF_S // HOUR_S
    return np.array(
        [
            (0, hour + hours, CUTOFF_S + issued_s, value, partition, offset, 1000 * (CUTOFF_S + offset))
            for hours, issued_s, value, partition, offset in rows
        ],
        PLACED_VALUE,
    )


def test_values_of_outside_series_are_accepted_unused_or_rejected_in_the_order_of_the_topic():
    state = CountState(toy_spec(covariates=(CovariateSeries(name="wind", max_age_hours=6),)))
    state.advance(CUTOFF_S)
    assert take_in_outside(state, outside_values(), []) == ([], {}, False)
    ahead = CLOCKS_DIFFER_S + 1
    rows = [(1, ahead, 9.0, 1, 5), (1, ahead, 9.0, 0, 8), (1, ahead, 9.0, 0, 7), (1, ahead - 1, 4.0, 1, 4)]
    rows += [(1, -60, 5.0, 1, 6), (-1, -60, 6.0, 1, 7)]  # the last one is for an hour that is over
    of_the_decoder = Rejection("schema", "no value", 0, 3, 0)
    taken = take_in_outside(state, outside_values(*rows), [of_the_decoder])
    detail = "issued_at is ahead of the region's clock"
    assert taken.rejections == [
        of_the_decoder,
        *(
            Rejection("future", detail, partition, offset, 1000 * (CUTOFF_S + offset))
            for partition, offset in ((0, 7), (0, 8), (1, 5))
        ),
    ]
    assert taken.ledger == {"covariates_accepted": 2, "covariates_unused": 1, "covariates_rejected": 4}
    assert taken.has_changed is True
    assert sorted(state.covariates.values["value"]) == [4.0, 5.0]
    again = take_in_outside(state, outside_values(rows[-1]), [])
    assert again == ([], {"covariates_accepted": 0, "covariates_unused": 1, "covariates_rejected": 0}, False)
    alone = take_in_outside(state, outside_values(), [of_the_decoder])
    assert alone.ledger == {"covariates_accepted": 0, "covariates_unused": 0, "covariates_rejected": 1}


@pytest.mark.parametrize(("room", "kept", "left"), [(0, "", 0), (1, "a", 0), (2, "ac", 0), (3, "ab", 0), (4, "abc", 0)])
def test_payloads_are_kept_up_to_the_last_byte_of_the_room_that_there_is(room, kept, left):
    """Every message keeps its place and reason; only its bytes are left out."""
    payloads = {"a": b"1", "b": b"22", "c": b"1"}
    refused = [Rejection("not_json", name, 0, 7, 0, payload) for name, payload in payloads.items()]
    taken, rest = within(refused, room)
    assert [one.detail for one in taken] == list(payloads)
    assert {one.detail: one.payload for one in taken if one.payload} == {name: payloads[name] for name in kept}
    assert rest == left
