"""What Prometheus gets, read over HTTP and parsed by Prometheus' own parser."""

import socket

import pytest

import streaming.metrics
from schemas.errors import SettingsError
from streaming.flow.rows import QueryFacts, Summary
from streaming.metrics import served
from streaming.rehearse.broker import free_port
from tests.harness.prometheus import scraped
from tests.harness.toy import toy_frame, toy_published, toy_spec

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
    monkeypatch.setattr(streaming.metrics, "start_http_server", lambda *_: listening.append("it does"))
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
