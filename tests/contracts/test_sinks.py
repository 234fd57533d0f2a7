"""What every sink promises, whatever is behind it."""

from contextlib import closing

import pytest

from schemas.errors import PipelineError
from streaming.settings import Settings
from streaming.sinks.contract import Sink
from streaming.sinks.file import FileSink
from streaming.sinks.influx import InfluxSink
from tests.harness.list_sink import ListSink

FIRST = b"pipeline,region=a consumed=1.0 60\n"
SECOND = b"pipeline,region=a consumed=2.0 120\npipeline,region=b consumed=3.0 120\n"


def list_sink(request):
    sink = ListSink()
    return sink, lambda: b"".join(sink.writes)


def file_sink(request):
    path = request.getfixturevalue("tmp_path") / "new folder" / "scores.lp"
    return FileSink(path), path.read_bytes


def influx_sink(request):
    store = request.getfixturevalue("stub_store")
    sink = InfluxSink(Settings(influx_url=store.url))
    return sink, lambda: b"".join(body for body in store.acknowledged if not body.startswith(b"#"))


SINKS = {"file": file_sink, "influxdb": influx_sink, "list": list_sink}


@pytest.fixture(params=sorted(SINKS))
def opened(request):
    """A sink, and a way to read what has been stored behind its back."""
    sink, stored = SINKS[request.param](request)
    with closing(sink):
        yield sink, stored


def test_it_is_a_sink(opened):
    sink: Sink = opened[0]
    assert {"check", "write", "close"} <= set(dir(sink))


def test_lines_are_stored_whole_and_in_order_when_write_returns(opened):
    sink, stored = opened
    sink.check()
    sink.write(FIRST)
    assert stored() == FIRST
    sink.write(SECOND)
    assert stored() == FIRST + SECOND


def test_the_report_says_what_was_written(opened):
    report = opened[0].write(SECOND)
    assert (report.lines, report.bytes, report.requests, report.retries, report.dropped) == (2, len(SECOND), 1, 0, 0)


def test_no_check_is_needed_before_a_write_and_a_check_stores_no_point(opened):
    sink, stored = opened
    sink.write(FIRST)
    sink.check()
    assert stored() == FIRST


def test_nothing_to_write_is_no_fault(opened):
    sink, stored = opened
    report = sink.write(b"")
    assert (report.lines, report.bytes, report.dropped) == (0, 0, 0)
    assert stored() == b""


def test_a_line_without_an_end_is_refused_and_stores_nothing(opened):
    sink, stored = opened
    sink.write(FIRST)
    with pytest.raises(PipelineError, match="hand over whole lines"):
        sink.write(SECOND.removesuffix(b"\n"))
    assert stored() == FIRST


def test_it_may_be_closed_twice(opened):
    sink, _ = opened
    sink.write(FIRST)
    sink.close()
    sink.close()
