"""The sink for InfluxDB: how long it waits for what, and when it says so."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
import urllib3

from schemas.errors import SinkUnavailable
from tests.unit.sinks.test_influx_answers import LINES, answer, sink_for

STEP_S = 3.0


@pytest.mark.fault("F22")
def test_a_store_says_how_long_to_wait(stub_store, sink, waits):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    stub_store.answers.extend(answer(503, Retry_After=wait) for wait in ("7", soon, "soon"))
    assert sink.write(LINES).retries == 3
    assert 7 <= waits[0] <= 7.5
    assert 6 <= waits[1] <= 8.5
    assert waits[2] <= 1


def test_the_waits_begin_at_random_and_grow_to_five_seconds_and_no_number_of_tries_ends_them(stub_store, sink, waits):
    stub_store.answers.extend([answer(503)] * 15)
    assert sink.write(LINES).retries == 15
    assert 0.1 < waits[0] <= 0.6
    assert waits[6:] == [5.0] * 9


def test_a_wait_beyond_the_time_limit_ends_the_write_at_once(stub_store, sink, waits):
    stub_store.answers.append(answer(503, "maintenance", Retry_After="3600"))
    with pytest.raises(SinkUnavailable, match="maintenance; given up after 1 tries"):
        sink.write(LINES)
    assert waits == []


@pytest.fixture
def patience(monkeypatch):
    """Seconds for which each answer would have been waited; the first time its end comes at once."""
    waited, answer_of = [], urllib3.connection.HTTPConnection.getresponse

    def hurried(connection):
        waited.append(connection.timeout)
        if len(waited) == 1:
            connection.timeout = 0.1
        return answer_of(connection)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "getresponse", hurried)
    return waited


@pytest.mark.usefixtures("waits")
def test_a_store_that_does_not_answer_is_left_after_some_seconds_and_gets_the_same_lines_again(stub_store, patience):
    """It gives up by itself after 10 s. Whoever waits much longer stores no scores meanwhile, and says nothing."""
    stub_store.answers.append("hang")
    sink = sink_for(stub_store, write_timeout_s=60)
    assert sink.write(LINES).retries == 1
    assert [body for _, _, body in stub_store.requests] == [LINES, LINES]
    assert len(patience) == 2
    assert all(10 < seconds <= 20 for seconds in patience)
    sink.close()


def test_a_store_that_takes_nothing_is_said_within_six_seconds_by_its_newest_answer(stub_store, sink, monkeypatch):
    """`health` would else be ready while no score is stored. A retry or two at once is nobody's trouble."""
    clock, seen = SimpleNamespace(monotonic=lambda: clock.now_s, now_s=100.0), []

    def wait(_):
        for seconds in (0, STEP_S):
            clock.now_s += seconds
            seen.append((clock.now_s - 100, sink.trouble))

    monkeypatch.setattr("streaming.sinks.influx.time", clock)
    monkeypatch.setattr("tenacity.nap.time.sleep", wait)
    stub_store.answers.extend([answer(503), answer(503), answer(429)])
    sink.write(LINES)
    assert seen == [(0, ""), (3, ""), (3, ""), (6, "503 no"), (6, "429 no"), (9, "429 no")]
    assert sink.trouble == ""
