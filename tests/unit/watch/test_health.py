"""When the job may be relied on, what is said when it may not, and what Prometheus gets."""

import os
import socket
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import streaming.watchers
from schemas.errors import SettingsError
from schemas.records import JobHealth, RegionHealth, StoredBatch, health_path
from streaming.checkpoint import only_writer
from streaming.flow.rows import QueryFacts, Summary
from streaming.job_health import in_words, judged, read_health, why_not_ready
from streaming.rehearse.broker import free_port
from streaming.watchers import served
from tests.harness.points import scraped
from tests.harness.processes import run_python
from tests.harness.toy import toy_frame, toy_published, toy_spec

NOW = datetime(2026, 11, 25, 2, 14, tzinfo=UTC)


CHECK = """
import atexit, runpy, sys
slow = {"kafka", "numpy", "pyarrow", "pydantic", "pyspark", "typer"}
atexit.register(lambda: print(sorted(slow & sys.modules.keys())))
runpy.run_module("streaming.job_health", run_name="__main__")
"""


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def healthy(**changes):
    """A job that stored a batch one second ago, with scores for two seconds ago."""
    fields = {
        "process": 4242,
        "started_at": ago(3600),
        "written_at": ago(0.5),
        "clock": "wall",
        "trigger_s": 0.5,
        "last_batch": StoredBatch(17, ago(1)),
        "regions": {"riverton": RegionHealth(as_of=ago(2), age_s=1.5)},
    }
    return JobHealth(**{**fields, **changes})


def test_a_containers_check_says_why_and_imports_little(tmp_path):
    """It runs every few seconds, beside the job, on the job's processors."""
    environment = {**os.environ, "RISK_CHECKPOINT": str(tmp_path)}
    ran = run_python("-c", CHECK, env=environment)
    assert ran.returncode == 1
    assert ran.stdout.splitlines() == [f"not ready: no job has run on {tmp_path} yet, or none since it was reset", "[]"]
    health = healthy(phase="stopped", reason="stopped", written_at=datetime.now(UTC))
    health_path(tmp_path).write_bytes(msgspec.json.encode(health))
    assert run_python("-m", "streaming.job_health", env=environment).stdout == "not ready: stopped\n"


def put(folder, health):
    health_path(folder).write_bytes(msgspec.json.encode(judged(health)))


def read(folder):
    return read_health(folder, NOW)[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"last_batch": None, "regions": {}, "started_at": ago(60)}, "starting: no batch has been stored yet"),
        (
            {"last_batch": None, "regions": {}, "started_at": ago(75)},
            "no batch has been stored in the 75 s since the start",
        ),
        ({"kafka_away": True}, "Kafka does not answer"),
        ({"store_trouble": "no answer"}, "the store has not accepted the batch: no answer"),
        (
            {"ledger_balanced": False, "unbalanced": ["lakeside", "riverton"]},
            "the ledger of lakeside, riverton does not balance: report this, do not rely on the counts",
        ),
        ({"last_batch": StoredBatch(17, ago(75))}, "no batch has been stored for 75 s"),
        ({"phase": "stopped", "exit_code": 0}, "stopped"),
        ({"phase": "failed", "exit_code": 6, "error": "store said no"}, "failed with exit code 6: store said no"),
    ],
)
def test_a_job_that_stores_batches_is_ready_and_else_each_reason_is_said(changes, reason):
    assert why_not_ready(healthy(**changes), NOW) == reason
    written = judged(healthy(**{**changes, "written_at": NOW}))
    assert (written.ready, written.reason) == (reason == "", reason)


@given(silence_s=st.floats(-1000, 1000), trigger_s=st.floats(0, 60))
@example(silence_s=60, trigger_s=0.5)
@example(silence_s=75, trigger_s=25)
@example(silence_s=76, trigger_s=25)
def test_no_silence_longer_than_a_minute_or_three_triggers_is_ready(silence_s, trigger_s):
    job = healthy(trigger_s=trigger_s, last_batch=StoredBatch(1, ago(silence_s)))
    passed_s = abs((NOW - job.last_batch.stored_at).total_seconds())
    assert (why_not_ready(job, NOW) == "") is (passed_s <= 60 or passed_s <= 3 * trigger_s)


@pytest.mark.parametrize(
    ("age_s", "reason"),
    [
        (180, ""),
        (181, "the scores of riverton are for 2026-11-25 02:10:59Z, 3 min ago"),
        (-180, ""),
        (-181, "the scores of riverton are for 2026-11-25 02:17:01Z, 3 min ahead of this clock"),
    ],
)
def test_scores_for_more_than_three_minutes_ago_or_ahead_are_not_ready(age_s, reason):
    """Ahead: a clock is wrong, this one or that of the job's machine; either way the age of the scores is not known."""
    regions = {"riverton": RegionHealth(as_of=ago(age_s), age_s=age_s)}
    assert why_not_ready(healthy(regions=regions), NOW) == reason


def test_on_the_clock_of_events_the_age_of_scores_says_nothing_but_silence_does():
    of_2016 = {"storm": RegionHealth(as_of=datetime(2016, 1, 23, tzinfo=UTC), age_s=3e8)}
    assert why_not_ready(healthy(clock="event", regions=of_2016), NOW) == ""
    assert why_not_ready(healthy(clock="event", regions=of_2016, last_batch=StoredBatch(1, ago(61))), NOW)


def test_a_file_of_a_job_that_holds_the_lock_is_believed(tmp_path):
    with only_writer(tmp_path):
        for age_s in (0.5, 15):
            put(tmp_path, healthy(written_at=ago(age_s)))
            assert read(tmp_path) == ""
        put(tmp_path, healthy(written_at=ago(16)))
        assert read(tmp_path) == "process 4242 hangs or was paused: last wrote 16 s ago"
        put(tmp_path, healthy(written_at=ago(-3600)))
        assert read(tmp_path) == "process 4242 hangs or was paused: last wrote 60 min ahead of this clock"
        put(tmp_path, healthy(last_batch=StoredBatch(3, ago(58)), written_at=ago(5)))
        assert read_health(tmp_path, NOW + timedelta(seconds=3))[1] == "no batch has been stored for 61 s"


def test_a_fresh_file_of_a_job_that_lost_the_lock_is_not_believed(tmp_path):
    for seconds, said in ((0.5, "0 s ago"), (200, "3 min ago")):
        put(tmp_path, healthy(written_at=ago(seconds)))
        assert read(tmp_path) == f"no job is running: process 4242 ended without a report, last wrote {said}"


def test_no_file_and_a_damaged_one_are_not_ready(tmp_path):
    assert "no job has run" in read(tmp_path)
    for content in (b"", b"{}", b'{"ready": true', b'{"reason": "\xff"}'):
        health_path(tmp_path).write_bytes(content)
        with only_writer(tmp_path):
            assert "cannot be read" in read(tmp_path)


def test_it_is_said_in_words_one_fact_a_line():
    assert list(in_words(healthy(lag_events=1200), "", NOW)) == [
        "ready",
        "process 4242, started 2026-11-25 01:14:00Z, last wrote 0 s ago",
        "batch 17 done, the store answered 1 s ago",
        "scores of riverton as of 2026-11-25 02:13:58Z, 2 s ago",
        "ledger balanced",
        "Kafka's offsets and the ledger agree",
        "Kafka answers",
        "1,200 events in Kafka were not read yet at that batch",
    ]
    assert list(in_words(None, "no job", NOW)) == ["not ready: no job"]


@pytest.mark.usefixtures("far_from_utc")
def test_what_is_wrong_is_said_in_words_with_times_in_utc():
    scores = RegionHealth(as_of=datetime(2016, 1, 23, tzinfo=UTC), age_s=3e8, baseline_only="baseline:unusable")
    fields = {"ledger_balanced": False, "kafka_away": True, "store_trouble": "no answer"}
    job = healthy(clock="event", last_batch=None, regions={"storm": scores}, **fields)
    assert list(in_words(job, "late", NOW)) == [
        "not ready: late",
        "process 4242, started 2026-11-25 01:14:00Z, last wrote 0 s ago",
        "no batch stored yet",
        "scores of storm as of 2016-01-23 00:00:00Z on the clock of events, without the network (baseline:unusable)",
        "ledger NOT balanced",
        "Kafka's offsets and the ledger agree",
        "Kafka does not answer",
        "0 events in Kafka were not read yet at that batch; the next one waits for the store",
    ]


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "120 min ago"),
        (7200, "2 h ago"),
        (171_000, "48 h ago"),
        (172_800, "2 days ago"),
        (302_400, "4 days ago"),
        (-7200, "2 h ahead of this clock"),
    ],
)
def test_an_age_is_said_in_the_unit_that_suits_it(age_s, words):
    line = list(in_words(healthy(written_at=ago(age_s)), "", NOW))[1]
    assert line == f"process 4242, started 2026-11-25 01:14:00Z, last wrote {words}"


def test_a_difference_to_kafkas_offsets_is_shown_and_is_no_reason_to_stop():
    job = healthy(unaccounted=-3)
    assert why_not_ready(job, NOW) == ""
    assert "Kafka's offsets and the ledger differ by -3 messages" in list(in_words(job, "", NOW))


LEDGER = {"consumed": 9, "counted": 5, "corrected": 1, "duplicate": 1, "rejected": 2, "rejected_late": 2}


def published(batch_id, **changes):
    summaries = {
        "riverton": Summary(
            as_of_s=1_764_000_060,
            ledger=LEDGER,
            totals=dict.fromkeys(LEDGER, 10**6),  # of the state, which outlives the process
            newest_event_s=1_764_000_001,
        ),
        "": Summary(as_of_s=0, ledger={"consumed": 1, "rejected": 1, "rejected_unknown_region": 1}, totals={}),
    }
    fields = {"artifacts": {"riverton": "20260101T000000Z-0a0a0a0a"}, "points": 12, "retries": 1, "unaccounted": -2}
    fields |= {"done_s": 1_764_000_063.5, "acknowledged_s": 1_764_000_061.5}
    facts = QueryFacts(lag_events=7.0, state_bytes=4096.0, phases_s={"addBatch": 0.2}, input_rows_per_s=20.0)
    return toy_published(batch_id, **{"summaries": summaries, "facts": facts, **fields, **changes})


@pytest.fixture
def address():
    return f"127.0.0.1:{free_port()}"


def test_a_scrape_gives_the_ledger_the_age_and_what_spark_says(address):
    ready = [False]
    with served(address, lambda: ready[0], lambda: 1_764_000_000) as [show]:
        assert scraped(address)[1]["ready",] == 0
        ready[0] = True
        show(published(3))
        show(published(4))
        _, figures = scraped(address)
    expected = {
        ("ready",): 1,
        ("events_total", "riverton", "consumed"): 18,
        ("events_total", "riverton", "counted"): 10,
        ("events_total", "riverton", "rejected"): 4,
        ("rejected_total", "riverton", "late"): 4,
        ("rejected_total", "_unassigned", "unknown_region"): 2,
        ("as_of_timestamp_seconds", "riverton"): 1_764_000_060,
        ("newest_event_timestamp_seconds", "riverton"): 1_764_000_001,
        ("model_info", "riverton", "20260101T000000Z-0a0a0a0a"): 1,
        ("batches_total",): 2,
        ("points_written_total",): 24,
        ("write_retries_total",): 2,
        ("last_batch_timestamp_seconds",): 1_764_000_061.5,
        ("watch_well_timestamp_seconds",): 1_764_000_000,
        ("lag_events",): 7,
        ("unaccounted_events",): -2,
        ("state_bytes",): 4096,
        ("spark_phase_seconds", "addBatch"): 0.2,
        ("spark_input_rows_per_second",): 20,
    }
    assert {name: figures.get(name) for name in expected} == expected
    assert ("as_of_timestamp_seconds", "_unassigned") not in figures


def test_a_batch_that_is_repeated_counts_once_and_its_writes_twice(address):
    with served(address, lambda: True, lambda: None) as [show]:
        show(published(3))
        show(published(3, unaccounted=5))
        _, figures = scraped(address)
    names = [("batches_total",), ("events_total", "riverton", "consumed"), ("rejected_total", "riverton", "late")]
    assert [figures[name] for name in names] == [1, 9, 2]
    assert [figures[name,] for name in ("points_written_total", "write_retries_total")] == [24, 2]
    assert figures["unaccounted_events",] == 5


def test_a_new_artifact_takes_the_place_of_the_old_one(address):
    with served(address, lambda: True, lambda: None) as [show]:
        show(published(1))
        show(published(2, artifacts={"riverton": "20260201T000000Z-0b0b0b0b"}))
        models = [name for name in scraped(address)[1] if name[0] == "model_info"]
    assert models == [("model_info", "riverton", "20260201T000000Z-0b0b0b0b")]


def test_that_only_the_baseline_scores_is_told_until_the_network_is_back(address):
    with served(address, lambda: True, lambda: None) as [show]:
        models = {"20260101T000000Z-0a0a0a0a": 1, "baseline:network unusable": 0, "20260101T000000Z-0": 1}
        for batch, (model, is_in_use) in enumerate(models.items()):
            show(published(batch, frames={"riverton": toy_frame(toy_spec(), model=model)}))
            show(published(batch + 1))  # nothing new: it stays
            assert scraped(address)[1]["network_in_use", "riverton"] == is_in_use


def test_the_port_is_free_again_afterwards(address):
    for _ in range(2):
        with served(address, lambda: True, lambda: None):
            assert scraped(address)[1]["ready",] == 1


def test_without_an_address_nothing_listens(monkeypatch):
    listening = []
    monkeypatch.setattr(streaming.watchers, "start_http_server", lambda *_: listening.append("it does"))
    with served("", lambda: True, lambda: None) as watchers:
        assert (listening, watchers) == ([], [])


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_that_cannot_be_listened_at_is_refused(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"{host}:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=address), served(address, lambda: True, lambda: None):
            pass
