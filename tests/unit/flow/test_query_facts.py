"""How far the job is behind the end of the topic, from what Spark reports of its last batch."""

import json

import pytest

from streaming.flow.rows import QueryFacts, facts_of


class Query:
    def __init__(self, progress):
        self.lastProgress = progress


def progress_of(end, latest):
    """As Spark 4.2 reports a batch of two sources, Kafka the second one."""
    rate = {"description": "RatePerMicroBatchV2[...]", "endOffset": {"offset": 5}, "latestOffset": {"offset": 9}}
    kafka = {"description": "KafkaV2[Subscribe[incidents.v1]]", "endOffset": end, "latestOffset": latest}
    return {
        "sources": [rate, kafka],
        "stateOperators": [{"memoryUsedBytes": 1000}, {"memoryUsedBytes": 24}],
        "inputRowsPerSecond": 12.5,
        "processedRowsPerSecond": 80.0,
        "durationMs": {"addBatch": 250, "walCommit": 5},
    }


TOPIC_END, READ = {"incidents.v1": {"0": 1500, "1": 700}}, {"incidents.v1": {"0": 1400, "1": 690}}


@pytest.mark.parametrize("written", [lambda offsets: offsets, json.dumps], ids=["as objects", "as text"])
@pytest.mark.parametrize(
    ("end", "latest", "lag"),
    [
        (READ, TOPIC_END, 110),
        (TOPIC_END, TOPIC_END, 0),
        (READ, {"incidents.v1": {"0": 1500, "1": 700, "2": 40}}, 150),  # a partition that was added
        (READ, None, 0),  # a batch that is repeated after a crash has no latest offset
        (TOPIC_END, READ, 0),  # never below zero
    ],
)
def test_a_job_that_falls_behind_reports_what_it_has_not_read(end, latest, lag, written):
    assert facts_of(Query(progress_of(written(end), written(latest)))).lag_events == lag


def test_state_rates_and_phases_are_those_of_the_batch():
    facts = facts_of(Query(progress_of(READ, TOPIC_END)))
    assert (facts.state_bytes, facts.input_rows_per_s, facts.processed_rows_per_s) == (1024, 12.5, 80)
    assert facts.phases_s == {"addBatch": 0.25, "walCommit": 0.005}


def test_before_the_first_batch_nothing_is_reported():
    assert facts_of(Query(None)) == QueryFacts()
