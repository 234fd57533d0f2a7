"""A region's packed rows, read as one batch: whichever tasks they come from, in whichever order."""

from itertools import permutations

import msgspec
import pandas as pd
import pytest
from pyspark.sql.streaming.tws_tester import TwsTester

from schemas.decode import decode_messages
from schemas.incidents import Rejection, pack_rejections
from streaming.flow.count import RegionCounter, artifact_in_force, unpacked
from streaming.flow.rows import UNASSIGNED, PackedRow, Summary
from tests.harness.toy import CUTOFF_S, iso, toy_event, toy_messages, toy_spec

SPEC = toy_spec()
OLD, NEW = (f"/artifacts/riverton/2026112{day}T000000Z-0a1b2c3d" for day in range(2))


def row(**changes):
    return PackedRow(**{"region": SPEC.region, "artifact": OLD, **changes})


def batch(*rows):
    return pd.DataFrame(rows, columns=PackedRow._fields)


def incidents(*offsets):
    events = [toy_event(SPEC, at_s=CUTOFF_S + at, cell=0, received_at=iso(CUTOFF_S + at)) for at in offsets]
    messages = toy_messages(events, (CUTOFF_S + 90) * 1000, offset=[*offsets])
    return decode_messages(messages, {SPEC.region: SPEC}).incidents[SPEC.region].pack()


def refusals(*offsets):
    return [Rejection("schema", "no event", 0, offset, 7) for offset in offsets]


def test_what_several_tasks_found_is_together():
    rows = [
        row(consumed=3, incidents=incidents(5, 6), rejections=pack_rejections(refusals(7))),
        row(consumed=3, incidents=incidents(1, 2), rejections=pack_rejections(refusals(3))),
        row(is_heartbeat=True),
    ]
    for order in permutations(rows):
        consumed, together, refused = unpacked(batch(*order))
        assert consumed == 6
        assert sorted(together.kafka_offset.tolist()) == [1, 2, 5, 6]
        assert sorted(one.kafka_offset for one in refused) == [3, 7]


@pytest.mark.parametrize(
    ("heartbeats", "of_messages", "in_force"),
    [
        ([], [OLD], OLD),  # a region that joins
        ([], [NEW, OLD], NEW),
        ([OLD], [NEW], OLD),  # a task has seen the roster of after the heartbeat
        ([NEW], [OLD, OLD], NEW),
        ([NEW], [], NEW),
    ],
)
def test_the_heartbeat_says_which_artifact_scores_and_without_one_the_messages(heartbeats, of_messages, in_force):
    rows = [row(artifact=folder, is_heartbeat=True) for folder in heartbeats]
    rows += [row(artifact=folder, consumed=1) for folder in of_messages]
    assert artifact_in_force(batch(*rows)) == in_force
    assert artifact_in_force(batch(*reversed(rows))) == in_force


def test_messages_of_no_region_have_neither_artifact_nor_incidents():
    nameless = row(artifact=None, consumed=2, rejections=pack_rejections(refusals(4, 5)))
    found = batch(row(artifact=None, is_heartbeat=True), nameless, nameless)
    assert artifact_in_force(found) == ""
    consumed, together, refused = unpacked(found)
    assert (consumed, len(together)) == (4, 0)
    assert refused == refusals(4, 5, 4, 5)


def test_the_events_clock_of_messages_of_no_region_is_the_newest_of_all_tasks():
    tester = TwsTester(RegionCounter("event"), timeMode="ProcessingTime", outputMode="Update")
    tester.setProcessingTime(90_000)
    counts = {"artifact": None, "consumed": 1}
    rows = [row(**counts, newest_ms=at_ms, rejections=pack_rejections(refusals(at_ms))) for at_ms in (40_000, 30_000)]
    (summary,) = tester.testInPandas(UNASSIGNED, batch(*rows))["summary"]
    assert msgspec.msgpack.decode(summary, type=Summary).as_of_s == 40
