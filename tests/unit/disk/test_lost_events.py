"""Events that Kafka no longer has, and that were not read: found at the start, by their offsets."""

import pytest

from schemas.errors import EventsGone
from streaming.topics.kafka import Topic
from tests.harness.checkpoint import TOPIC, begin_at, commit, verify


def firsts(at):
    return Topic(id=TOPIC.id, first_offsets=at, end_offsets={})


def ends(at):
    return Topic(id=TOPIC.id, first_offsets=TOPIC.first_offsets, end_offsets=at)


def test_events_that_kafka_deleted_before_they_were_read_are_counted_by_partition(used):
    verify(used, firsts({0: 120, 1: 40, 2: 0}))
    with pytest.raises(EventsGone, match=r"5 of partition 2 \(offsets 0 to 4\)"):  # added since, and never read
        verify(used, firsts({0: 120, 1: 40, 2: 5}))
    with pytest.raises(EventsGone, match=r"80 of partition 0 \(offsets 120 to 199\), 1 of partition 1"):
        verify(used, firsts({0: 200, 1: 41}))


@pytest.mark.parametrize("begun", [False, True], ids=["no batch yet", "first batch begun"])
def test_events_that_kafka_deleted_before_the_first_commit_are_missed_as_well(settings, begun):
    verify(settings, firsts({0: 5000}))  # no query yet: 5000 is where it begins
    begin_at(settings.checkpoint, {"0": 5000})
    if begun:
        commit(settings.checkpoint, 0, {"0": 5600}, is_done=False)
    verify(settings, firsts({0: 5000, 1: 0}))
    with pytest.raises(EventsGone, match=r"7 of partition 0 \(offsets 5000 to 5006\)"):
        verify(settings, firsts({0: 5007}))


def test_a_topic_that_ends_before_what_was_read_has_lost_events(used):
    verify(used, ends({0: 120, 1: 40, 2: 0}))
    lost = r"partition 0 ends before offset 119, and was read up to offset 119.*`checkpoint --reset TIME`"
    with pytest.raises(EventsGone, match=lost) as caught:
        verify(used, ends({0: 119, 1: 40}))
    assert caught.value.exit_code == 9
    with pytest.raises(EventsGone, match=r"partition 0 ends .* offset 119, partition 1 ends before offset 0, and was"):
        verify(used, ends({0: 7, 1: 0}))


def test_what_a_batch_without_a_commit_has_asked_for_counts_as_read(used):
    """It is repeated with the very same offsets, which other events may take meanwhile."""
    commit(used.checkpoint, 11, {"0": 150, "1": 40}, is_done=False)
    verify(used, ends({0: 150, 1: 40}))
    with pytest.raises(EventsGone, match="partition 0 ends before offset 120, and was read up to offset 149"):
        verify(used, ends({0: 120, 1: 40}))


def test_a_topic_that_ends_before_the_place_to_begin_at_has_lost_events(settings):
    begin_at(settings.checkpoint, {"0": 5000})
    verify(settings, ends({0: 5000}))
    with pytest.raises(EventsGone, match="partition 0 ends before offset 80"):
        verify(settings, ends({0: 80}))
