"""What becomes of a batch's messages, without Spark."""

import pytest

from models.counting.count_state import CountState
from schemas.decode import decode_messages
from schemas.incidents import Rejection
from schemas.spec import DAY_S
from streaming.flow.intake import take_in, within
from tests.harness.toy import CUTOFF_S, iso, toy_event, toy_messages, toy_spec


def test_a_refusal_by_the_clock_names_the_times_of_kafka_and_not_those_of_the_centre():
    spec = toy_spec()
    received_at = iso(CUTOFF_S + 60)
    event = toy_event(spec, at_s=CUTOFF_S, cell=0, received_at=received_at)
    messages = toy_messages([event], (CUTOFF_S + 90) * 1000, partition=2, offset=[7])
    decoded = decode_messages(messages, {spec.region: spec})
    long_after_s = CUTOFF_S + 10 * spec.late_limit_s
    _, [refused], _ = take_in(CountState(spec), decoded.incidents[spec.region], [], as_of_s=long_after_s, consumed=1)
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
    applied, rejections, ledger = take_in(CountState(spec), incidents, [of_the_decoder], as_of_s=CUTOFF_S, consumed=4)
    assert [(rejection.kafka_offset, rejection.reason, rejection.detail) for rejection in rejections] == [
        (3, "schema", "no event"),
        (5, "future", "ahead of the region's clock"),
        (6, "late", "older than the time that incidents are remembered"),
    ]
    reasons = dict.fromkeys(("rejected_schema", "rejected_future", "rejected_late"), 1)
    none = {"corrected": 0, "duplicate": 0, "repeated": 0, "excluded": 0}
    assert ledger == {"consumed": 4, "counted": 1, **none, "rejected": 3, **reasons}
    assert applied.newest_counted_s == CUTOFF_S


@pytest.mark.parametrize(("room", "kept", "left"), [(0, "", 0), (1, "a", 0), (2, "ac", 0), (3, "ab", 0), (4, "abc", 0)])
def test_payloads_are_kept_up_to_the_last_byte_of_the_room_that_there_is(room, kept, left):
    """Every message keeps its place and reason; only its bytes are left out."""
    payloads = {"a": b"1", "b": b"22", "c": b"1"}
    refused = [Rejection("not_json", name, 0, 7, 0, payload) for name, payload in payloads.items()]
    taken, rest = within(refused, room)
    assert [one.detail for one in taken] == list(payloads)
    assert {one.detail: one.payload for one in taken if one.payload} == {name: payloads[name] for name in kept}
    assert rest == left
