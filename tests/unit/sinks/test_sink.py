"""The choice of a sink by RISK_SINK, and what a sink is that stores no part by itself."""

from contextlib import closing

import pytest

from schemas.errors import SettingsError, SinkUnavailable
from streaming.settings import Settings
from streaming.sinks.sink import NOTHING, Sink, WriteReport, open_sink

LINES = b"m f=1 60\n"


def test_the_setting_names_the_sink_and_its_place(tmp_path):
    path = tmp_path / "scores: all.lp"
    with closing(open_sink(Settings(sink=f"file:{path}"))) as sink:
        sink.write(LINES)
    assert path.read_bytes() == LINES
    store = {"influx_url": "http://127.0.0.1:1", "influx_bucket": "scores"}
    with (
        closing(open_sink(Settings(sink="influxdb", **store))) as sink,
        pytest.raises(
            SinkUnavailable,
            match=r"^InfluxDB at http://127\.0\.0\.1:1, bucket 'scores': no answer \(connection refused\)",
        ),
    ):
        sink.check()


@pytest.mark.parametrize(
    ("sink", "message", "remedy"),
    [
        ("fil:x", "sink 'fil:x' is not known", "use one of: influxdb, file; a file is file:PATH"),
        ("FILE:x", "sink 'FILE:x' is not known", "use one of: influxdb, file; a file is file:PATH"),
        ("", "sink '' is not known", "use one of: influxdb, file; a file is file:PATH"),
        ("file", "sink file has no path", "use file:PATH"),
        ("file:", "sink file has no path", "use file:PATH"),
    ],
)
def test_a_setting_that_names_no_sink_is_refused(sink, message, remedy):
    with pytest.raises(SettingsError) as refused:
        open_sink(Settings(sink=sink))
    assert (refused.value.message, refused.value.remedy) == (message, remedy)


def test_without_lines_a_sink_that_stores_all_parts_at_once_is_not_asked():
    class Noted(Sink):
        def write(self, lines):
            return WriteReport(lines=len(lines))

    assert Noted().write_all({"a": lambda: b"", "b": lambda: b""}) == NOTHING
    assert Noted().write_all({"a": lambda: LINES, "b": lambda: LINES}) == WriteReport(lines=2 * len(LINES))
    assert Noted().write_all({}) is NOTHING


def test_reports_add_up_field_by_field():
    first, second = (WriteReport(lines=n, requests=n + 1, retries=n + 2, dropped=n + 3) for n in (1, 4))
    assert first + second == WriteReport(lines=5, requests=7, retries=9, dropped=11)
