"""What every sink promises, whatever store is behind it, and that what is stored has the declared columns."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from docs.measurements import ARCHIVE, MEASUREMENTS
from lifecycle.archive import SCHEMA
from lifecycle.live_judge import retrain_line
from lifecycle.triggers import Asked
from schemas.decode import Feedback
from schemas.errors import PipelineError
from schemas.frame import ATTRIBUTION_GROUPS, Unusual
from streaming.marks import mark_line
from streaming.settings import Settings
from streaming.sinks.line_protocol import top_lines, unusual_lines
from streaming.sinks.sink import SINKS, open_sink
from tests.harness.grafana_world import SPECS, follower_lines, outcome_lines, pipeline, score_lines, shadow_lines
from tests.harness.points import stored_points
from tests.harness.toy import toy_frame, toy_spec

MEMORY = {"memory": "tests.harness.batch:MemorySink"}  # the fake, which is held to the same contract
FIRST = b"pipeline,region=a consumed=1.0 60\n"
SECOND = b"pipeline,region=a consumed=2.0 120\npipeline,region=b consumed=3.0 120\n"


def memory(request):
    return Settings(sink="memory"), lambda sink: b"".join(sink.writes)


def file(request):
    path = request.getfixturevalue("tmp_path") / "new folder" / "scores.lp"
    return Settings(sink=f"file:{path}"), lambda sink: path.read_bytes()


def influxdb(request):
    store = request.getfixturevalue("stub_store")
    settings = Settings(sink="influxdb", influx_url=store.url)
    return settings, lambda sink: b"".join(body for body in store.acknowledged if not body.startswith(b"#"))


# By name: the settings that open it, and a way to read from behind what it has stored.
PLACES = {"memory": memory, "file": file, "influxdb": influxdb}


@pytest.fixture(params=sorted(SINKS | MEMORY))
def opened(request, monkeypatch):
    """A sink, and a way to read what it has stored."""
    monkeypatch.setitem(SINKS, "memory", MEMORY["memory"])
    if request.param not in PLACES:
        pytest.fail(f"PLACES in {__file__} has no entry {request.param!r}: add the settings that open this sink here")
    settings, stored = PLACES[request.param](request)
    with closing(open_sink(settings)) as sink:
        yield sink, lambda: stored(sink)


def test_lines_are_stored_whole_and_in_order_when_write_returns_with_a_report(opened):
    sink, stored = opened
    assert sink.trouble == ""
    sink.check()
    sink.write(FIRST)
    assert stored() == FIRST
    report = sink.write(SECOND)
    assert stored() == FIRST + SECOND
    assert (report.lines, report.requests, report.retries, report.dropped) == (2, 1, 0, 0)


def test_no_check_is_needed_before_a_write_and_a_check_stores_no_point(opened):
    sink, stored = opened
    sink.write(FIRST)
    sink.check()
    assert stored() == FIRST


def test_a_write_and_parts_without_lines_store_nothing(opened):
    sink, stored = opened
    sink.check()
    for report in (sink.write(b""), sink.write_all({}), sink.write_all({"a": lambda: b""})):
        assert (report.lines, report.dropped) == (0, 0)
    assert stored() == b""


def test_a_line_without_an_end_is_refused_and_nothing_is_stored(opened):
    sink, stored = opened
    sink.write(FIRST)
    with pytest.raises(PipelineError, match="write whole lines"):
        sink.write(SECOND.removesuffix(b"\n"))
    assert stored() == FIRST


def test_parts_are_stored_whole_when_write_all_returns(opened):
    sink, stored = opened
    report = sink.write_all({"a": lambda: FIRST, "nothing": lambda: b"", "b": lambda: SECOND})
    assert (report.lines, report.dropped) == (3, 0)
    assert sorted(stored().splitlines()) == sorted((FIRST + SECOND).splitlines())


def test_a_part_that_cannot_be_made_or_has_half_a_line_fails_the_write_and_the_next_one_is_whole(opened):
    sink, stored = opened

    def broken():
        raise OSError("not a fault of the sink")

    with pytest.raises(OSError, match="not a fault"):
        sink.write_all({"a": broken})
    with pytest.raises(PipelineError, match="write whole lines"):
        sink.write_all({"a": lambda: SECOND.removesuffix(b"\n")})
    sink.write(FIRST)
    assert stored() == FIRST


def test_it_may_be_closed_twice(opened):
    sink, _ = opened
    sink.write(FIRST)
    sink.close()
    sink.close()


TICK_S = 1_764_000_000
AT = datetime.fromtimestamp(TICK_S, UTC)


@pytest.fixture(scope="module")
def columns():
    """Measurement -> column -> kind, of all lines of an hour in which every reason for a refusal came."""
    draw = np.random.default_rng(1)
    lines = [*score_lines(SPECS.values(), [TICK_S], draw), pipeline("northville", TICK_S, 60)]
    lines += [outcome_lines(spec, TICK_S, draw) for spec in SPECS.values()]
    lines += [shadow_lines(spec, TICK_S, draw) for spec in SPECS.values()]
    lines.append(follower_lines(SPECS["northville"], TICK_S, draw))
    mark = Feedback(region="northville", cell="r000c000", at=AT, mark="useful", desk="north")
    lines.append(mark_line(mark))
    asked = Asked(at_s=TICK_S, outcome="waits", because="x", made_s=TICK_S)
    lines.append(retrain_line("northville", asked, TICK_S))
    lines.append(top_lines(toy_frame(toy_spec(), attribution=np.ones((1, 2, 3, len(ATTRIBUTION_GROUPS)))), 1))
    place = Unusual(category="fire", row=0, col=0, rows=1, cols=1, hours=2, observed=9, usual=1.0, days=30.0)
    lines.append(unusual_lines(replace(toy_frame(toy_spec()), unusual=(place,))))
    written = {}
    for (key, _), fields in stored_points(lines).items():
        name, *tags = key.split(",")
        kinds = written.setdefault(name, {})
        kinds |= {tag.split("=")[0]: "tag" for tag in tags}
        kinds |= {field: "string" if value.startswith('"') else "float" for field, value in fields.items()}
    return written


def test_a_name_that_no_pipeline_point_has_is_refused_where_worlds_for_grafana_are_made():
    with pytest.raises(TypeError, match=r"a pipeline point has no lag_event; it has batch_s, .*lag_events, "):
        pipeline("northville", TICK_S, 60, lag_event=7)
    (fields,) = stored_points([pipeline("northville", TICK_S, 60, lag_events=7.0, counted=3)]).values()
    assert (fields["lag_events"], fields["counted"]) == ("7.0", "3.0")


def test_the_columns_of_every_measurement_are_those_that_are_written(columns):
    kinds = {"tag": "tag", "text": "string"}
    assert columns == {
        name: {each: kinds.get(column.kind, "float") for column in declared.columns for each in column.names.split()}
        for name, declared in MEASUREMENTS.items()
    }


def test_the_columns_of_the_archive_are_those_of_its_table():
    kinds = {"string": "text", "date32[day]": "date", "int16": "integer", "int32": "integer"}
    declared = [(column.names, column.kind.partition(",")[0], "null" in column.kind) for column in ARCHIVE]
    assert declared == [(field.name, kinds[str(field.type)], field.nullable) for field in SCHEMA]
