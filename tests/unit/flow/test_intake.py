"""What becomes of a batch's messages, without Spark."""

from models.counting.count_state import CountState
from schemas.decode import decode_messages
from streaming.flow.intake import take_in
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
