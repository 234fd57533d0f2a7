"""The sink for InfluxDB: a write of many parts, by several writers."""

import json
import threading
import time
from collections import Counter
from functools import partial
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import SinkRefused, SinkUnavailable
from streaming.sinks.influx import WRITERS, side_by_side
from tests.unit.sinks.test_influx_answers import answer, logged, sink_for

MANY = 3 * WRITERS
AT_ONCE = 10


@pytest.fixture(autouse=True)
def short_requests(monkeypatch):
    monkeypatch.setattr("streaming.sinks.influx.LINES_PER_REQUEST", AT_ONCE)


def lines_of(name, count):
    return b"".join(b"m,region=%s,n=%d f=1 60\n" % (name.encode(), number) for number in range(count))


def parts_of(counts):
    return {name: lambda name=name, count=count: lines_of(name, count) for name, count in counts.items()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.dictionaries(st.sampled_from([f"region-{number}" for number in range(9)]), st.integers(0, 3 * AT_ONCE))
)
def test_each_line_of_each_part_is_stored_once(stub_store, sink, counts):
    stub_store.acknowledged.clear()
    report = sink.write_all(parts_of(counts))
    everything = b"".join(lines_of(name, count) for name, count in counts.items())
    stored = b"".join(stub_store.acknowledged)
    assert Counter(stored.splitlines()) == Counter(everything.splitlines())
    assert all(body.endswith(b"\n") and body.count(b"\n") <= AT_ONCE for body in stub_store.acknowledged)
    assert report.lines == sum(counts.values())
    assert report.requests == len(stub_store.acknowledged) == sum(-(-n // AT_ONCE) for n in counts.values())


def test_a_part_is_made_when_its_turn_has_come(stub_store, sink):
    """Not many are in memory: when one is made, at most those of the other writers are not stored."""
    made, most = [], []

    def make(name):
        made.append(name)
        most.append(len(made) - len(stub_store.acknowledged))
        return lines_of(name, 1)

    sink.write_all({f"r{number}": lambda number=number: make(f"r{number}") for number in range(40)})
    assert len(made) == len(stub_store.acknowledged) == 40
    assert max(most) <= WRITERS


@pytest.mark.fault("F27")
def test_a_refusal_names_the_part_and_ends_the_write(stub_store, sink):
    stub_store.answers.extend([(204, b"", {}), *[answer(401, "said by the store")] * MANY])
    with pytest.raises(SinkRefused, match=r"401 for r\d+ \(said by the store\): .*INFLUXDB_V2_TOKEN"):
        sink.write_all(parts_of({f"r{number}": 1 for number in range(MANY)}))
    assert len(stub_store.requests) <= 1 + WRITERS


@pytest.mark.fault("F23")
def test_a_bad_line_is_counted_from_the_start_of_its_part(stub_store, sink):
    stub_store.answers.extend(
        [(204, b"", {}), (400, json.dumps({"message": "failed to parse", "line": 2}).encode(), {})]
    )
    with pytest.raises(SinkRefused, match=r"at line 12 of chicago \(failed to parse\)"):
        sink.write_all(parts_of({"chicago": 15}))


@pytest.mark.fault("F22")
def test_a_busy_store_is_asked_again_by_each_writer_and_said_once(stub_store, sink, waits, caplog):
    stub_store.answers.extend([answer(503)] * MANY)
    report = sink.write_all(parts_of({f"r{number}": 1 for number in range(MANY)}))
    assert (report.lines, report.requests, report.retries) == (MANY, MANY, MANY)
    assert sink.trouble == ""
    assert 1 <= sum("trying again" in text for text in logged(caplog)) <= WRITERS


@pytest.mark.fault("F22")
def test_a_store_that_stays_away_fails_the_write_in_its_time(stub_store):
    stub_store.answers.extend(["hang"] * 50)
    sink = sink_for(stub_store, write_timeout_s=0.2)
    with pytest.raises(SinkUnavailable, match=r"ReadTimeout.*given up after 1 tries within 0\.2 s"):
        sink.write_all(parts_of({f"r{number}": 1 for number in range(MANY)}))
    assert len(stub_store.requests) <= WRITERS
    sink.close()


@pytest.mark.fault("F24")
def test_points_beyond_the_retention_are_counted_over_all_parts(stub_store, sink):
    message = "partial write: dropped 3 points outside retention policy of duration 720h0m0s dropped=3"
    stub_store.answers.extend([answer(422, message)] * MANY)
    assert sink.write_all(parts_of({f"r{number}": 5 for number in range(MANY)})).dropped == 3 * MANY


LONG_S = 10.0


@given(count=st.integers(0, 30), writers=st.integers(1, 6))
def test_every_act_runs_once(count, writers):
    done = side_by_side([partial(int, number) for number in range(count)], writers=writers, failed=Event())
    assert sorted(done) == list(range(count))


def test_as_many_run_at_a_time_as_there_are_writers_and_the_caller_is_one():
    """A barrier is passed by three at once only: fewer would break it after a while."""
    together, most, running, lock = threading.Barrier(3, timeout=LONG_S), [], set(), threading.Lock()

    def act():
        with lock:
            running.add(threading.get_ident())
            most.append(len(running))
        together.wait()
        with lock:
            running.discard(threading.get_ident())
        return threading.current_thread()

    threads = side_by_side([act] * 12, writers=3, failed=Event())
    assert (max(most), len(threads)) == (3, 12)
    others = set(threads) - {threading.current_thread()}
    assert [thread.daemon for thread in others] == [True] * 2  # the process can end beside one that waits for a store


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no"), KeyboardInterrupt("no")])
@pytest.mark.parametrize("writers", [1, 4])
def test_an_error_is_raised_whatever_it_is_and_nothing_begins_after_it(error, writers):
    begun, failed = [], Event()

    def act(number):
        begun.append(number)
        if number == 2:
            raise error
        assert writers == 1 or number < 2 or failed.wait(LONG_S)  # it began before the error

    with pytest.raises(type(error), match="no"):
        side_by_side([partial(act, number) for number in range(40)], writers=writers, failed=failed)
    assert len(begun) <= 2 + writers


def test_the_first_of_two_errors_is_raised_when_both_acts_have_ended():
    failed, ended = Event(), []

    def late():
        failed.wait(LONG_S)
        time.sleep(0.05)
        ended.append(True)
        raise OSError("in vain")

    def first():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        side_by_side([late, first], writers=2, failed=failed)
    assert ended == [True]
