"""The whole job as an operator starts it: a real broker, a process of its own, scores in a file."""

import base64
import json
import signal
from collections import Counter
from itertools import zip_longest

import psutil
import pytest
from kafka import KafkaProducer

from schemas.audit import records, verify
from streaming.rehearse.broker import free_port
from streaming.rehearse.incident_replay import poison_messages, template_event
from tests.faults.witness import newest
from tests.harness.points import scraped
from tests.harness.scorer import LEDGER, delete_up_to, make_anew
from tests.harness.toy import iso

START = 1_700_000_000
PAYLOAD_CANARY, PERSON_CANARY, SECRET_CANARY = "zebrafinch7731", "quokka4419", "numbat8087"
GOOD = 240
TROUBLE = ("Traceback", "StackOverflow", "Exception", "Py4J", "at org.apache", "WARN", "ERROR")


def health_command(scorer):
    """(exit code, lines) of `health`, as a container's health check calls it."""
    ran = scorer.command("health")
    return ran.returncode, ran.stdout.splitlines()


class Story:
    """One run: good events with every kind of bad message between them, read to the end, then stopped."""

    def __init__(self, scorer, region, topic):
        self.scorer, self.region = scorer, region
        folder = region.publish(scorer.artifacts)
        self.version = folder.name
        poisons = poison_messages(template_event(region.spec, as_of_s=START + 600))
        bad = [(poison.reason, poison.value) for poison in poisons]
        bad += self._bad_with_canaries()
        self.kinds = len(bad)
        good = [(None, self._good(number)) for number in range(GOOD)]
        mixed = [message for pair in zip_longest(good, bad) for message in pair if message is not None]
        self.refused = {}
        address = f"127.0.0.1:{free_port()}"
        scorer.environment |= {"INFLUXDB_V2_TOKEN": SECRET_CANARY, "RISK_METRICS": address}
        scorer.start()
        sent = 0
        for part in (mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]):  # the second comes while the job runs
            places = topic.send((number % 3, value, (START + 600) * 1000) for number, (_, value) in enumerate(part))
            self.refused |= {place: reason for place, (reason, _) in zip(places, part, strict=True) if reason}
            sent += len(part)
            scorer.wait_until(lambda so_far=sent: scorer.consumed() == so_far)
        self.ends = dict(sorted((partition, offset + 1) for partition, offset in places[-3:]))
        self.second_start = scorer.command("run")
        self.health_while_it_ran = health_command(scorer)
        self.metrics, self.figures = scraped(address)
        self.code = scorer.end(signal.SIGTERM)
        self.letters = scorer.letters()
        self.health_afterwards = health_command(scorer)

    def _good(self, number):
        return self.region.event(
            number,
            cell=number % 36,
            at_s=START + 600 - number,
            incident_id=f"{PAYLOAD_CANARY}-{number}",
            type_code=PAYLOAD_CANARY,
        )

    def _bad_with_canaries(self):
        good = self._good(0)
        return [
            ("not_json", good[:-1]),
            ("unknown_field", json.dumps({**json.loads(good), "weather": PAYLOAD_CANARY}).encode()),
            ("unknown_category", json.dumps({**json.loads(good), "category": PAYLOAD_CANARY}).encode()),
            ("schema", json.dumps({**json.loads(good), "status": PAYLOAD_CANARY}).encode()),
            ("schema", json.dumps({**json.loads(good), "lat": f'{PAYLOAD_CANARY} "quoted"'}).encode()),
            ("person_field", json.dumps({**json.loads(good), "caller_name": PERSON_CANARY}).encode()),
            ("person_field", json.dumps({**json.loads(good), "unit": {"driver": PERSON_CANARY}}).encode()),
            ("person_field", b'{"narrative": "' + PERSON_CANARY.encode()),
        ]


@pytest.fixture(scope="module")
def story(new_topic, new_region, new_scorer):
    topic = new_topic("poisoned", partitions=3)
    return Story(new_scorer("poisoned", topic), new_region("riverton"), topic)


@pytest.mark.fault("F11", "F12", "F19")
def test_every_kind_of_bad_message_becomes_a_dead_letter_with_its_reason_and_place(story):
    assert story.kinds >= 80
    assert len(story.refused) == story.kinds
    seen = {
        (letter["source_partition"], letter["source_offset"]): letter["reason"]
        for letter in story.letters
        if letter["source_topic"] == story.scorer.topic.name
    }
    assert seen == story.refused
    assert len(story.letters) == story.kinds  # nothing was repeated, as nothing failed


def test_prometheus_gets_the_ledger_by_outcome_and_by_reason(story):
    figures, totals = story.figures, story.scorer.totals()
    assert figures["ready",] == 1
    assert figures["unaccounted_events",] == 0
    for region, ledger in totals.items():
        for outcome in LEDGER:
            assert figures.get(("events_total", region, outcome), 0) == ledger[outcome], (region, outcome)
    reasons = Counter(story.refused.values())
    assert {
        reason: sum(figures.get(("rejected_total", region, reason), 0) for region in totals) for reason in reasons
    } == reasons
    assert figures["model_info", "riverton", story.version] == 1
    assert figures["spark_phase_seconds", "addBatch"] > 0
    assert not [canary for canary in (PAYLOAD_CANARY, PERSON_CANARY, SECRET_CANARY) if canary in story.metrics]


@pytest.mark.fault("F11")
def test_neighbours_of_bad_messages_are_counted(story):
    totals = story.scorer.totals()
    assert totals["riverton"]["counted"] == GOOD
    assert totals["riverton"]["rejected"] + totals["_unassigned"]["rejected"] == story.kinds
    assert totals["riverton"]["consumed"] + totals["_unassigned"]["consumed"] == GOOD + story.kinds


@pytest.mark.fault("F02")
def test_sigterm_ends_the_job_with_exit_code_0_one_line_and_no_trace(story):
    assert story.code == 0
    assert "stopped between two batches" in story.scorer.output
    assert not [word for word in TROUBLE if word in story.scorer.output]


def test_the_health_check_says_ready_while_it_runs_and_stopped_afterwards(story):
    code, lines = story.health_while_it_ran
    assert (code, lines[0]) == (0, "ready"), lines
    assert f"process {story.scorer.process.pid}, " in lines[1]
    assert {"ledger balanced", "Kafka's offsets and the ledger agree", "Kafka answers"} <= set(lines)
    assert any(line.startswith("scores of riverton as of 2023-11-14 22:2") for line in lines)
    code, lines = story.health_afterwards
    assert (code, lines[0]) == (1, "not ready: stopped")


def test_the_audit_log_tells_the_run_from_start_to_stop(story):
    content = (story.scorer.folder / "audit.jsonl").read_bytes()
    verdict = verify(content)
    assert (verdict.faults, verdict.torn) == ([], [])
    seen = list(records(content))
    assert [entry.event for entry in seen] == ["start", "settings", "artifact_in_force", "stop"]
    assert seen[2].details["version"] == story.version
    assert seen[3].details["between_batches"] is True
    assert f"head={verdict.head}\n" in story.scorer.output


@pytest.mark.fault("F43")
def test_payloads_and_secrets_are_in_no_output_and_person_payloads_nowhere(story):
    folder, checkpoint = story.scorer.folder, story.scorer.checkpoint
    outputs = [folder / "scores.lp", folder / "terminal.txt", checkpoint / "spark.log", folder / "audit.jsonl"]
    for path in outputs:
        content = path.read_bytes()
        for canary in (PAYLOAD_CANARY, PERSON_CANARY, SECRET_CANARY):
            assert canary.encode() not in content, path
    kept = [base64.b64decode(letter["payload_base64"] or "") for letter in story.letters]
    assert any(PAYLOAD_CANARY.encode() in payload for payload in kept)
    assert not any(PERSON_CANARY.encode() in payload for payload in kept)
    assert not any(
        PERSON_CANARY in json.dumps(letter) or PAYLOAD_CANARY in letter["detail"] for letter in story.letters
    )
    for path in (path for path in story.scorer.checkpoint.rglob("*") if path.is_file()):
        assert not [canary for canary in (PERSON_CANARY, SECRET_CANARY) if canary.encode() in path.read_bytes()], path


def checkpoint_command(scorer, *words):
    ran = scorer.command("checkpoint", *words)
    assert ran.returncode == 0, ran.stderr
    return " ".join(ran.stdout.split())


@pytest.mark.fault("F08", "F09", "F31", "F32")
def test_a_checkpoint_is_for_one_job_one_topic_and_its_settings(story):
    """The last test of the story: its job goes on, and its topic is made anew."""
    scorer, topic, end, more = story.scorer, story.scorer.topic, story.ends[0], 10
    assert (story.second_start.returncode, f"in use by process {scorer.process.pid}" in story.second_start.stderr) == (
        8,
        True,
    )
    stored = scorer.points()
    shown = checkpoint_command(scorer)
    assert f"topic {topic.name}" in shown
    assert f"offset by partition {', '.join(f'{partition}: {end}' for partition, end in story.ends.items())}" in shown

    scorer.assert_refused(8, "RISK_CLOCK was event and is wall", RISK_CLOCK="wall")

    folder = scorer.checkpoint / "spark" / "offsets"
    offsets = folder / str(newest(folder))
    kept = offsets.read_bytes()
    offsets.write_bytes(b"")
    scorer.assert_refused(8, "checkpoint --reset")
    offsets.write_bytes(kept)

    times_s = [START + 1200 + 60 * number for number in range(more)]
    topic.send(
        (0, story.region.event(GOOD + number, cell=number, at_s=at_s), 1000 * at_s)
        for number, at_s in enumerate(times_s)
    )
    delete_up_to(topic, end + 4)
    scorer.assert_refused(9, f"4 of partition 0 (offsets {end} to {end + 3})")
    assert scorer.points() == stored, "a refused start wrote something"

    assert "the next run starts at" in checkpoint_command(scorer, "--reset", iso(times_s[7]))
    scorer.start()
    scorer.wait_until(lambda: scorer.totals()["riverton"]["consumed"] == more - 7)
    assert scorer.end(signal.SIGTERM) == 0

    make_anew(topic)
    scorer.assert_refused(8, "deleted and created again")


RUBBISH = b"x" * 8_000
FLOOD, CALLS = 150_000, 20  # 1.2 GB; spark.driver.maxResultSize is 1 GiB


@pytest.mark.fault("F13")
@pytest.mark.nightly
def test_a_batch_of_rubbish_larger_than_sparks_limit_is_refused_and_its_neighbours_counted(
    new_scorer, new_topic, new_region
):
    topic, region = new_topic("flood"), new_region("riverton")
    good = [(0, region.event(n, cell=n, at_s=START + 60 * n), 1000 * (START + 60 * n)) for n in range(CALLS)]
    topic.send(good[: CALLS // 2])
    options = {"compression_type": "gzip", "batch_size": 900_000, "linger_ms": 50, "max_request_size": 1 << 20}
    with KafkaProducer(bootstrap_servers=topic.bootstrap, **options) as producer:
        for _ in range(FLOOD):
            producer.send(topic.name, value=RUBBISH, partition=0, timestamp_ms=1000 * START)
        producer.flush(timeout=200)
    topic.send(good[CALLS // 2 :])
    scorer = new_scorer("flood", topic)
    region.publish(scorer.artifacts)
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == FLOOD + CALLS)
    driver_bytes = psutil.Process(scorer.process.pid).memory_info().rss
    assert scorer.end(signal.SIGTERM) == 0
    totals = scorer.totals()
    assert totals["riverton"]["counted"] == CALLS
    assert sum(ledger["rejected"] for ledger in totals.values()) == FLOOD
    assert driver_bytes < 2 << 30
