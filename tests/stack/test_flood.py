"""A flood of rubbish: what is refused of one batch would, with its payloads, be more than Spark hands to its driver."""

import signal

import psutil
import pytest
from kafka import KafkaProducer

pytestmark = pytest.mark.nightly
START = 1_700_000_000
RUBBISH = b"x" * 8_000
FLOOD, GOOD = 150_000, 20  # 1.2 GB; spark.driver.maxResultSize is 1 GiB


@pytest.mark.fault("F13")
def test_a_batch_of_rubbish_larger_than_sparks_limit_is_refused_and_its_neighbours_counted(
    new_scorer, new_topic, new_region
):
    topic, region = new_topic("flood"), new_region("riverton")
    good = [(0, region.event(n, cell=n, at_s=START + 60 * n), 1000 * (START + 60 * n)) for n in range(GOOD)]
    topic.send(good[: GOOD // 2])
    options = {"compression_type": "gzip", "batch_size": 900_000, "linger_ms": 50, "max_request_size": 1 << 20}
    with KafkaProducer(bootstrap_servers=topic.bootstrap, **options) as producer:
        for _ in range(FLOOD):
            producer.send(topic.name, value=RUBBISH, partition=0, timestamp_ms=1000 * START)
        producer.flush(timeout=200)
    topic.send(good[GOOD // 2 :])
    scorer = new_scorer("flood", topic)
    region.publish(scorer.artifacts)
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == FLOOD + GOOD)
    driver_bytes = psutil.Process(scorer.process.pid).memory_info().rss
    assert scorer.end(signal.SIGTERM) == 0
    totals = scorer.totals()
    assert totals["riverton"]["counted"] == GOOD
    assert sum(ledger["rejected"] for ledger in totals.values()) == FLOOD
    assert driver_bytes < 2 << 30
