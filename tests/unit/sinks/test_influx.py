"""The sink for InfluxDB: what each answer of a store does to a write; its parts, its waits, and TLS."""

import json
import logging
import re
import ssl
import threading
import time
import traceback
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from threading import Event
from types import SimpleNamespace

import pytest
import stamina
import trustme
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from streaming.settings import Settings
from streaming.sinks.influx import WRITERS, InfluxSink, side_by_side
from streaming.sinks.sink import WriteReport


@pytest.fixture
def sink(stub_store):
    opened = sink_for(stub_store)
    yield opened
    opened.close()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that would have been slept before each retry."""
    slept = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=slept.append))  # other threads sleep as they do
    return slept


CANARY = "c4n4ry-t0k3n"
BUSY, WITH_A_REMEDY = {429, 500, 502, 503, 504}, {400, 401, 403, 404, 413, 422}
NO_ANSWERS_OF_A_BUSY_STORE = {int(status) for status in HTTPStatus if status >= 400} - BUSY - WITH_A_REMEDY
LINES = b"pipeline,region=a consumed=1.0 60\npipeline,region=b consumed=2.0 60\n"


@pytest.fixture
def three_tries():
    with stamina.set_testing(True, attempts=3):
        yield


def sink_for(store, **values):
    return InfluxSink(Settings(**{"influx_url": store.url, "influx_token": CANARY, "write_timeout_s": 20.0, **values}))


def answer(status, message="no", **headers):
    body = json.dumps({"code": "x", "message": message}).encode()
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "streaming.sinks.influx"]


def test_a_write_is_one_post_with_seconds_and_the_token_in_its_header(stub_store, sink, caplog):
    caplog.set_level(logging.INFO)
    assert sink.write(LINES) == WriteReport(lines=2, requests=1)
    (path, headers, body) = stub_store.requests[0]
    assert path == "/api/v2/write?org=risk&bucket=risk&precision=s"
    assert headers["Authorization"] == f"Token {CANARY}"
    assert "Content-Encoding" not in headers or headers["Content-Encoding"] == "identity"
    assert body == LINES
    assert logged(caplog) == []


def test_without_lines_the_store_is_asked_and_tried_again_as_for_a_write(stub_store, sink, waits):
    stub_store.answers.extend([answer(503), answer(503)])
    assert sink.write(b"") == WriteReport(lines=0, requests=1, retries=2)
    assert [body[:1] for body in stub_store.acknowledged] == [b"#"]
    assert len(waits) == 2
    stub_store.answers.append(answer(401))
    with pytest.raises(SinkRefused, match="401"):
        sink.write(b"")


@pytest.mark.fault("F27")
@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "this is an error of this program: please report it with this line"),
        (401, "the token is not known: set INFLUXDB_V2_TOKEN or INFLUXDB_V2_TOKEN_FILE"),
        (403, "the token has no right to write: create one that may write bucket 'risk'"),
        (404, "create bucket 'risk' in organisation 'risk', or correct the INFLUXDB_V2_ settings"),
        (413, "raise the body limit of the proxy or store above 10000 lines (about 2 MB)"),
        (
            422,
            "another program wrote these fields with another type (use an empty bucket for the scores only), or a "
            "limit of the store is too low (raise it); the dropped points do not come again",
        ),
        *(
            (status, "look up this answer in the store's manual, and check INFLUXDB_V2_URL")
            for status in sorted(NO_ANSWERS_OF_A_BUSY_STORE)
        ),
    ],
)
def test_a_refusal_is_not_tried_again_and_names_its_remedy(stub_store, sink, status, remedy):
    stub_store.answers.append(answer(status, "said by the store"))
    with pytest.raises(SinkRefused) as refused:
        sink.write(LINES)
    said = f"InfluxDB at {stub_store.url}, bucket 'risk' answered {status} (said by the store)"
    assert (refused.value.message, refused.value.remedy) == (said, remedy)
    assert len(stub_store.requests) == 1


@pytest.mark.fault("F23")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"code": "invalid", "message": "failed to parse", "line": 2}, " at line 10002 of the write (failed to parse)"),
        (
            {"error": "partial write", "data": [{"line_number": 2, "error_message": "failed to parse"}]},
            " at line 10002 of the write (partial write: failed to parse)",
        ),
        ({"error": "partial write", "data": []}, " (partial write)"),
        ({"message": "failed to parse", "line": "the second"}, " (failed to parse)"),
    ],
)
def test_the_first_bad_line_is_counted_from_the_start_of_the_write(stub_store, sink, body, said):
    stub_store.answers.extend([(204, b"", {}), (400, json.dumps(body).encode(), {})])
    with pytest.raises(SinkRefused) as refused:
        sink.write(b"m f=1 60\n" * 10_005)
    assert refused.value.message.endswith(f"answered 400{said}")


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (400, b"plain text", "plain text"),
        (400, b'["a list"]', '["a list"]'),
        (400, b"", "Bad Request"),
        (599, b"", "no reason given"),
        (400, b'{"message":"%s"}' % (b"x" * 400), "x" * 400),
        (400, b'{"message":"%s"}' % (b"x" * 401), "x" * 400 + "…"),
    ],
    ids=["text", "list", "nothing", "no reason", "long", "too long"],
)
def test_an_answer_that_is_long_or_not_the_expected_json_is_still_shown(stub_store, status, text, said):
    stub_store.answers.append((status, text, {}))
    sink = sink_for(stub_store, influx_token="")
    with pytest.raises(SinkRefused) as refused:
        sink.write(LINES)
    sink.close()
    assert refused.value.message.endswith(f"answered {status} ({said})")


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    "message",
    [
        "failure writing points to database: partial write: points beyond retention policy dropped=3",
        "partial write: dropped 3 points outside retention policy of duration 720h0m0s dropped=3",
    ],
)
def test_points_beyond_the_retention_are_counted_and_the_rest_goes_on(stub_store, sink, caplog, message):
    stub_store.answers.extend([answer(422, message), answer(422, message)])
    report = sink.write(b"m f=1 60\n" * 20_001)
    assert report == WriteReport(lines=20_001, requests=3, dropped=6)
    assert len(stub_store.requests) == 3
    assert logged(caplog) == ["influxdb dropped points outside the retention of the bucket: dropped=6"]


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    "message",
    [
        "partial write: field type conflict: input field dropped=1",
        "partial write: max-values-per-tag limit exceeded (100000/100000) dropped=2304",
        'partial write: invalid field name: input field "time" on measurement "risk" is invalid dropped=9',
        "points beyond retention policy, no number given",
    ],
)
def test_points_lost_for_another_reason_stop_the_write(stub_store, sink, message):
    stub_store.answers.append(answer(422, message))
    with pytest.raises(SinkRefused, match="422"):
        sink.write(LINES)
    assert len(stub_store.requests) == 1


def test_a_reason_that_changes_while_it_tries_is_said(stub_store, sink, waits, caplog):
    caplog.set_level(logging.WARNING)
    stub_store.answers.extend([answer(503), answer(503), answer(429, "slow down"), answer(429, "slow down")])
    sink.write(LINES)
    place = f"InfluxDB at {stub_store.url}, bucket 'risk'"
    assert logged(caplog) == [
        f"{place}: {reason}; no new scores are stored, trying again" for reason in ("503 no", "429 slow down")
    ]


@pytest.mark.fault("F22")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("times", [1, 2])
def test_a_busy_store_is_asked_again_until_it_takes_the_lines(stub_store, sink, waits, caplog, status, times):
    caplog.set_level(logging.INFO)
    stub_store.answers.extend([answer(status)] * times)
    assert sink.write(LINES) == WriteReport(lines=2, requests=1, retries=times)
    assert stub_store.acknowledged == [LINES]
    away, back = logged(caplog)
    assert f"{status} no; no new scores are stored, trying again" in away
    assert re.fullmatch(rf"InfluxDB at {stub_store.url}, bucket 'risk' stored the points after \d s", back)
    assert 0.1 <= waits[0] <= 0.6
    assert all(0.2 <= wait <= 0.7 for wait in waits[1:])


@pytest.mark.parametrize(
    ("status", "message"),
    [
        *((status, "too busy") for status in (429, 500, 502, 503, 504)),
        pytest.param(500, "write wal/_00001.wal: no space left on device", marks=pytest.mark.fault("F25")),
    ],
)
def test_a_store_that_stays_busy_or_full_is_given_up(stub_store, sink, three_tries, status, message):
    stub_store.answers.extend([answer(status, message)] * 3)
    with pytest.raises(SinkUnavailable, match=f"{status} {message}; given up after 3 tries within 20 s") as caught:
        sink.write(LINES)
    assert caught.value.remedy == "look at the store's log; the next start repeats the batch"
    assert stub_store.acknowledged == []
    assert sink.write(LINES).lines == 2  # there is room again


@pytest.mark.parametrize("answers", [["reset", "reset"], [(502, b"\xff\xfe", {})]], ids=["cut", "of a proxy"])
def test_a_connection_cut_in_the_middle_of_a_body_or_an_unreadable_answer_is_tried_again(
    stub_store, sink, waits, answers
):
    lines = b"m,padding=" + b"x" * 190 + b" f=1 60\n"
    stub_store.answers.extend(answers)
    assert sink.write(lines * 10_000).retries == len(answers)
    assert stub_store.acknowledged == [lines * 10_000]


def test_a_server_that_says_yes_but_is_no_influxdb_is_refused(stub_store, sink):
    stub_store.answers.append((200, b"<html>welcome</html>", {}))
    with pytest.raises(SinkRefused, match="answered 200 instead of 204") as refused:
        sink.write(LINES)
    assert refused.value.remedy == "correct INFLUXDB_V2_URL: that is no InfluxDB"


def test_check_writes_no_point_and_does_not_wait(stub_store, sink, waits):
    sink.check()
    assert stub_store.acknowledged[0].startswith(b"#")
    stub_store.answers.extend([answer(401), answer(503)])
    with pytest.raises(SinkRefused, match="INFLUXDB_V2_TOKEN"):
        sink.check()
    with pytest.raises(SinkUnavailable, match="start the store"):
        sink.check()
    assert waits == []


@pytest.mark.fault("F43")
def test_the_token_is_in_no_message_traceback_log_or_repr(stub_store, sink, caplog, three_tries):
    caplog.set_level(logging.DEBUG)
    echo = f"who is Token {CANARY}?"
    said = [repr(sink), str(vars(Settings(influx_token=CANARY)))]
    for status in (400, 401, 403, 404, 413, 422, 429, 500, 503):
        stub_store.answers.extend([(status, echo.encode(), {"X-Echo": CANARY})] * 3)
        with pytest.raises((SinkRefused, SinkUnavailable)) as caught:
            sink.write(LINES)
        said.append("".join(traceback.format_exception(caught.value)))
        stub_store.answers.clear()
    assert "who is Token ***?" in said[-1]
    assert CANARY not in caplog.text + "".join(said)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8086", "ftp://store", "http://", "http://me@store:8086", f"http://me:{CANARY}@store:8086"]
)
def test_an_address_without_scheme_or_with_a_password_is_refused(url):
    with pytest.raises(SettingsError) as caught:
        InfluxSink(Settings(influx_url=url))
    fault = "INFLUXDB_V2_URL must be http(s)://host:port without user or password"
    assert (caught.value.message, caught.value.remedy) == (fault, "give the token as INFLUXDB_V2_TOKEN")


MANY = 3 * WRITERS
AT_ONCE = 10


@pytest.fixture
def short_requests(monkeypatch):
    monkeypatch.setattr("streaming.sinks.influx.LINES_PER_REQUEST", AT_ONCE)


def lines_of(name, count):
    return b"".join(b"m,region=%s,n=%d f=1 60\n" % (name.encode(), number) for number in range(count))


def parts_of(counts):
    return {name: lambda name=name, count=count: lines_of(name, count) for name, count in counts.items()}


@pytest.mark.usefixtures("short_requests")
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
    assert stored == everything or len(counts) > 1, "the lines of a part are stored in their order"
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


LONG_S = 10.0


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


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def served(authority, stub_store_over_tls):
    """served(name, **times): a store with a certificate for that name, as a context manager."""

    def serve(name="127.0.0.1", **times):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, **times).configure_cert(context)
        return stub_store_over_tls(context)

    return serve


def refusal_of(store, ca):
    """What check and write say; each has to refuse at once, before the token is sent."""
    sink = sink_for(store, influx_ca=ca)
    said = []
    for act in (sink.check, lambda: sink.write(LINES)):
        with pytest.raises(SinkRefused) as caught:
            act()
        said.append(str(caught.value))
    sink.close()
    assert store.requests == []
    assert said[0] == said[1]
    assert CANARY not in said[0]
    return said[0]


def test_a_certificate_of_our_authority_is_trusted(served, ca_file):
    with served() as store:
        sink = sink_for(store, influx_ca=ca_file)
        sink.check()
        assert sink.write(LINES).requests == 1
        sink.close()
        assert store.acknowledged[-1] == LINES


@pytest.mark.fault("F40")
@pytest.mark.parametrize("another_is_named", [False, True])
def test_a_certificate_of_an_authority_that_is_not_ours_is_refused(served, tmp_path, another_is_named):
    another = tmp_path / "another.pem"
    trustme.CA().cert_pem.write_to_path(another)
    with served() as store:
        said = refusal_of(store, another if another_is_named else None)
    assert "signed by an authority that we do not trust: set INFLUXDB_V2_SSL_CA_CERT" in said


@pytest.mark.fault("F40")
@pytest.mark.parametrize(
    ("name", "times", "said"),
    [
        ("127.0.0.1", {"not_before": -30, "not_after": -1}, "has expired: renew it on the server"),
        ("127.0.0.1", {"not_before": 1, "not_after": 9}, "is not valid yet: check the clocks"),
        ("influx.example.org", {}, "is for another name: use the name in the certificate in INFLUXDB_V2_URL"),
        ("127.0.0.2", {}, "is for another name: use the name in the certificate in INFLUXDB_V2_URL"),
    ],
    ids=["expired", "begins tomorrow", "another name", "another address"],
)
def test_a_certificate_of_another_time_or_name_is_refused(served, ca_file, name, times, said):
    days = {end: datetime.now(UTC) + timedelta(days=number) for end, number in times.items()}
    with served(name, **days) as store:
        assert said in refusal_of(store, ca_file)


@pytest.mark.fault("F40")
def test_a_store_without_tls_is_told_from_an_untrusted_one(stub_store, ca_file):
    stub_store.url = stub_store.url.replace("http:", "https:")
    sink = sink_for(stub_store, influx_ca=ca_file)
    with pytest.raises(SinkUnavailable, match=r"no secure connection|no answer"):
        sink.check()
    sink.close()


def test_an_authority_that_is_no_certificate_is_a_mistake_in_the_settings_and_is_not_read_without_tls(tmp_path):
    InfluxSink(Settings(influx_url="http://store:8086", influx_ca=tmp_path / "missing.pem")).close()
    with pytest.raises(SettingsError, match=r"INFLUXDB_V2_SSL_CA_CERT=.*not a readable PEM file"):
        InfluxSink(Settings(influx_url="https://store:8086", influx_ca=tmp_path / "missing.pem"))
