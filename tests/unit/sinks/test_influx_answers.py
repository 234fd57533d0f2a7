"""The sink for InfluxDB: what each answer of a store does to a write."""

import json
import logging
import re
import traceback
from http import HTTPStatus

import pytest
import stamina

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from streaming.sinks.sink import WriteReport

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


@pytest.mark.parametrize("count", [9_999, 10_000, 10_001, 20_000, 25_000])
def test_a_long_write_is_cut_at_line_ends_and_loses_nothing(stub_store, sink, count):
    lines = b"".join(b"m,cell=%d f=1 60\n" % number for number in range(count))
    requests = -(-count // 10_000)
    assert sink.write(lines) == WriteReport(lines=count, requests=requests)
    sizes = [body.count(b"\n") for body in stub_store.acknowledged]
    assert sizes == [10_000] * (requests - 1) + [count - 10_000 * (requests - 1)]
    assert b"".join(stub_store.acknowledged) == lines


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


@pytest.mark.parametrize(("length", "shown"), [(400, "x" * 400), (401, "x" * 400 + "…")])
def test_a_long_answer_is_shortened(stub_store, length, shown):
    stub_store.answers.append(answer(400, "x" * length))
    sink = sink_for(stub_store, influx_token="")
    with pytest.raises(SinkRefused) as refused:
        sink.write(LINES)
    sink.close()
    assert refused.value.message.endswith(f"answered 400 ({shown})")


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (400, b"plain text", "plain text"),
        (400, b'["a list"]', '["a list"]'),
        (400, b"", "Bad Request"),
        (599, b"", "no reason given"),
    ],
)
def test_an_answer_that_is_not_the_expected_json_is_still_shown(stub_store, sink, status, text, said):
    stub_store.answers.append((status, text, {}))
    with pytest.raises(SinkRefused) as refused:
        sink.write(LINES)
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


def test_a_connection_cut_in_the_middle_of_a_body_is_tried_again(stub_store, sink, waits):
    lines = b"m,padding=" + b"x" * 190 + b" f=1 60\n"
    stub_store.answers.extend(["reset", "reset"])
    assert sink.write(lines * 10_000).retries == 2
    assert stub_store.acknowledged == [lines * 10_000]


def test_an_unreadable_answer_of_a_proxy_is_tried_again(stub_store, sink, waits):
    stub_store.answers.append((502, b"\xff\xfe", {}))
    assert sink.write(LINES).retries == 1


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
