"""What Kafka handed over by its offsets, against what the batches consumed: the difference is shown and must be 0."""

import logging

import pytest

from schemas.errors import CheckpointError
from streaming.disk.spark_files import OffsetAudit, taken_offsets
from tests.harness.checkpoint import spark_files


@pytest.fixture
def batch(tmp_path):
    """batch(number, ends, begin=): its offsets stand in the checkpoint."""

    def write(number, ends, begin=None):
        spark_files(tmp_path, number, read=ends, at_s=1_764_000_000, begin=begin)

    return write


def test_batches_that_consume_what_kafka_handed_over_leave_nothing(batch, tmp_path, caplog):
    audit = OffsetAudit(tmp_path)
    batch(0, {"0": 9, "1": 7}, begin={"0": 5, "1": 7})
    assert audit.missing(0, 4) == 0
    batch(1, {"0": 9, "1": 7})  # nothing came
    assert audit.missing(1, 0) == 0
    batch(2, {"0": 10, "1": 9, "2": 3})  # a partition was added
    assert audit.missing(2, 6) == 0
    assert not caplog.messages


def test_a_message_that_is_lost_or_doubled_on_the_way_shows_for_good_and_is_said_once(batch, tmp_path, caplog):
    audit = OffsetAudit(tmp_path)
    seen = []
    with caplog.at_level(logging.WARNING):
        for number, (end, consumed) in enumerate([(10, 10), (20, 9), (30, 9), (40, 10), (50, 12)]):
            batch(number, {"0": end}, begin={"0": 0})
            seen.append(audit.missing(number, consumed))
    assert seen == [0, 1, 2, 2, 0]
    assert [message.split(".")[0] for message in caplog.messages] == [
        "batch 1: Kafka has 10 messages by its offsets, the ledger 9"
    ]


def test_of_a_batch_that_is_repeated_the_last_try_counts(batch, tmp_path):
    audit = OffsetAudit(tmp_path)
    for number in range(2):
        batch(number, {"0": 10 * (number + 1)}, begin={"0": 0})
    assert [audit.missing(*one) for one in ((0, 8), (1, 9), (1, 9), (1, 10))] == [2, 3, 3, 2]


def test_a_checkpoint_that_has_read_a_second_topic_is_refused(tmp_path):
    """Earlier versions read one for forecasts as issued: whose offsets are the incidents' cannot be told by a guess."""
    spark_files(tmp_path, 0, read={"0": 10}, at_s=7, begin={"0": 0}, beside={"covariates.v1": {"0": 100}})
    with pytest.raises(
        CheckpointError, match=r"has read covariates\.v1 and incidents\.v1, .*reads one topic"
    ) as refused:
        taken_offsets(tmp_path, 0)
    assert "begin anew with `checkpoint --reset TIME`" in refused.value.remedy


def test_a_job_that_was_started_again_begins_with_the_batch_it_finds(batch, tmp_path):
    for number in (6, 7):
        batch(number, {"0": 10 * number}, begin={"0": 0})
    assert OffsetAudit(tmp_path).missing(7, 10) == 0
