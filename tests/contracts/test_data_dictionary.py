"""The data dictionary against what the job's own writers put into the store."""

import re
from pathlib import Path

import numpy as np
import pytest

from schemas.dead_letter import DeadLetter
from schemas.measurements import MEASUREMENTS
from tests.harness.grafana_world import SPECS, outcome_lines, pipeline, score_lines
from tests.harness.random_world import stored_points

DOCUMENT = Path("docs/reference/data-dictionary.md").read_text(encoding="utf-8")
TICK_S = 1_764_000_000


@pytest.fixture(scope="module")
def columns():
    """Measurement -> column -> kind, of all lines of an hour in which every reason for a refusal came."""
    draw = np.random.default_rng(1)
    lines = [*score_lines(SPECS.values(), [TICK_S], draw), pipeline("northville", TICK_S, 60)]
    lines += [outcome_lines(spec, TICK_S, draw) for spec in SPECS.values()]
    found = {}
    for (key, _), fields in stored_points(lines).items():
        name, *tags = key.split(",")
        kinds = found.setdefault(name, {})
        kinds |= {tag.split("=")[0]: "tag" for tag in tags}
        kinds |= {field: "string" if value.startswith('"') else "float" for field, value in fields.items()}
    return found


def test_every_measurement_is_described_and_no_other(columns):
    assert columns.keys() == MEASUREMENTS.keys()


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_columns_are_those_that_are_written(columns, name):
    assert columns[name] == {column.name: column.kind for column in MEASUREMENTS[name].columns}


def names_in(heading):
    """The names that the list below a heading describes."""
    lines = re.split(rf"^##+ {re.escape(heading)}\n", DOCUMENT, flags=re.MULTILINE)[1].split("\n##")[0]
    items = re.findall(r"^- ((?:`\w+`(?:,\s+)?)+)", lines, re.MULTILINE)
    return re.findall(r"`(\w+)`", " ".join(items))


def test_the_document_describes_every_column_and_every_field_once():
    for name, measurement in MEASUREMENTS.items():
        assert sorted(names_in(f"InfluxDB: `{name}`")) == sorted(column.name for column in measurement.columns)
    assert names_in("Kafka: `incidents.v1.dlq`") == list(DeadLetter.__struct_fields__)
