"""What the job's own writers put into the store has the columns that docs/measurements.py declares."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from docs.measurements import ARCHIVE, MEASUREMENTS
from lifecycle.archive import SCHEMA
from lifecycle.judge import retrain_line
from lifecycle.triggers import Asked
from schemas.decode import Feedback
from schemas.frame import ATTRIBUTION_GROUPS, Unusual
from streaming.marks import mark_line
from streaming.sinks.line_protocol import top_lines, unusual_lines
from tests.harness.grafana_world import SPECS, follower_lines, outcome_lines, pipeline, score_lines, shadow_lines
from tests.harness.points import stored_points
from tests.harness.toy import toy_frame, toy_spec

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
