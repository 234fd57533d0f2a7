"""The choice of a sink, and the sink for a file: what a crash, a full disk and a second job do to it."""

import errno
import os
from contextlib import closing

import pytest

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from streaming.settings import Settings
from streaming.sinks.sink import NOTHING, SINKS, FileSink, Sink, WriteReport, open_sink, warn_of_growth
from tests.harness.toy import toy_spec

LINE = b"m f=1 60\n"
ONE_OF = f"use one of: {', '.join(SINKS)}; a file is file:PATH"


def test_the_setting_names_the_sink_and_its_place(tmp_path):
    path = tmp_path / "scores: all.lp"
    with closing(open_sink(Settings(sink=f"file:{path}"))) as sink:
        sink.write(LINE)
    assert path.read_bytes() == LINE
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
        *((name, f"sink {name!r} is not known", ONE_OF) for name in ("fil:x", "FILE:x", "")),
        *((name, "sink file has no path", "use file:PATH") for name in ("file", "file:")),
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
    assert Noted().write_all({"a": lambda: LINE, "b": lambda: LINE}) == WriteReport(lines=2 * len(LINE))
    assert Noted().write_all({}) is NOTHING


def test_reports_add_up_field_by_field():
    first, second = (WriteReport(lines=n, requests=n + 1, retries=n + 2, dropped=n + 3) for n in (1, 4))
    assert first + second == WriteReport(lines=5, requests=7, retries=9, dropped=11)


LINES = b"pipeline,region=a consumed=1.0 60\npipeline,region=b consumed=2.0 60\n"


def test_half_a_line_at_the_end_of_a_file_is_cut_off_when_it_is_opened(tmp_path, caplog):
    path = tmp_path / "scores.lp"
    for whole, torn in ((LINES, b""), (LINES, b"half"), (LINES, b"x" * 200_000), (b"", b"half")):
        path.write_bytes(whole + torn)
        sink = FileSink(path)
        sink.check()
        assert path.read_bytes() == whole
        assert sink.write(LINES).lines == 2
        assert path.read_bytes() == whole + LINES
        sink.close()
    assert caplog.text.count("incomplete line") == 3


def test_lines_are_on_disk_before_a_file_write_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    sink = FileSink(tmp_path / "scores.lp")
    sink.check()
    report = sink.write_all({"town": lambda: LINES, "pipeline": lambda: LINES[:34]})
    sink.close()
    assert report == WriteReport(lines=3, requests=1)
    assert synced[-1] == len(LINES) + 34


@pytest.mark.fault("F25")
def test_a_full_disk_fails_the_write_and_the_next_one_leaves_no_torn_line(tmp_path, monkeypatch):
    path = tmp_path / "scores.lp"
    sink = FileSink(path)
    sink.write(LINES)

    def no_room(_):
        os.truncate(path, path.stat().st_size - 7)  # what a short write would have left
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        with pytest.raises(SinkUnavailable, match="No space left on device"):
            sink.write(LINES)
    sink.write(LINES)
    sink.close()
    assert path.read_bytes() == LINES + LINES.splitlines(keepends=True)[0] + LINES


def test_two_jobs_cannot_write_one_file(tmp_path):
    first, second = FileSink(tmp_path / "scores.lp"), FileSink(tmp_path / "scores.lp")
    first.check()
    with pytest.raises(SinkRefused, match="another process"):
        second.check()
    first.close()
    second.check()
    second.close()


def test_a_folder_is_no_file_to_write_to(tmp_path):
    with pytest.raises(SinkRefused) as refused:
        FileSink(tmp_path).check()
    assert str(refused.value) == f"{tmp_path} cannot be opened for writing (Is a directory): choose another path"
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(SinkRefused, match="choose another path"):
        FileSink(tmp_path / "plain" / "scores.lp").check()


def test_a_file_that_grows_much_is_warned_of_and_no_other(caplog):
    large = toy_spec(43, 33)
    warn_of_growth("file:scores.lp", [toy_spec(3, 4)])
    warn_of_growth("influxdb", [large, large])
    assert caplog.text == ""
    warn_of_growth("file:scores.lp", [large, large])
    assert caplog.messages == [
        "file:scores.lp grows without limit, with these regions by at least about 6 GB a day: set RISK_SINK=influxdb"
    ]
