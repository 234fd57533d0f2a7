"""Explanations of a cell add up to its score; the command prints them and refuses what it cannot know."""

import re
import shutil
from datetime import datetime

import numpy as np
import pytest
from typer.testing import CliRunner

from models.__main__ import app
from models.artifact.artifact import newest_artifacts, read_artifact
from models.artifact.explanation import explain
from models.cli.explain import state_at
from models.features import FeatureEngine
from models.scoring import score
from schemas.spec import DAY_S
from streaming.rehearse.sample import ARTIFACTS, SAMPLE
from tests.harness.small_town import LAYOUT, START_S, write_town
from tests.harness.toy import iso, toy_artifact, toy_grid, toy_spec


@pytest.fixture(scope="module")
def artifact():
    return read_artifact(newest_artifacts(ARTIFACTS)["chicago"][0])


def test_the_parts_of_a_real_score_multiply_to_it(artifact):
    state = artifact.history()
    values = FeatureEngine(artifact.spec, artifact.constants).compute(state).values
    scores = score(values, artifact.network(), artifact.constants, artifact.spec)
    busy = int(scores.expected.sum(axis=(1, 2)).argmax())
    for cell in (busy, 0):
        for number, one in enumerate(explain(artifact, state, cell)):
            place = (cell, *divmod(number, len(artifact.spec.horizons_s)))
            assert np.exp(sum(part.log for part in one.parts)) == pytest.approx(float(scores.expected[place]), rel=1e-4)
            assert one.usual == pytest.approx(float(scores.usual[place]), rel=1e-4)
            assert one.cell == artifact.spec.grid.cell_ids()[cell]


def test_the_command_prints_parts_and_refuses_what_it_cannot_know():
    runner = CliRunner()
    common = ["explain", "--region", "chicago", "--artifacts", str(ARTIFACTS)]
    said = runner.invoke(app, [*common, "--cell", "r020c020"], catch_exceptions=False).output
    assert re.search(r"x hour of the week +\d\.\d{3}", said)
    later = ["--cell", "r020c020", "--at", "2017-10-21T18:00", "--data", str(SAMPLE), "--layout", "sample"]
    said = runner.invoke(app, [*common, *later], catch_exceptions=False).output
    assert "2017-10-21 18:00" in said
    for wrong, message in (
        (["--cell", "r999c000"], "no cell"),
        (["--cell", "r020c020", "--at", "2016-01-01T00:00"], "lies before the end of the artifact's data"),
        (["--cell", "r020c020", "--at", "2017-10-21T18:00"], "give --data and --layout"),
        (["--cell", "r020c020", "--at", "noon"], "write a local time"),
        (["--cell", "r020c020", "--data", "nothere.csv"], "without --at: give --at"),
        ([*later[:3], "2030-01-01T10:00", *later[4:]], "days after the file's last incident, 2017-10-2"),
    ):
        assert re.search(message, str(runner.invoke(app, [*common, *wrong]).exception)), message


def test_the_printed_factors_multiply_to_what_is_printed_as_expected(artifact):
    options = ["explain", "--region", "chicago", "--artifacts", str(ARTIFACTS), "--cell", "r020c020"]
    said = CliRunner().invoke(app, options, catch_exceptions=False).output
    tables = re.split(rf"^(?:{'|'.join(artifact.spec.categories)})\b.*\n", said, flags=re.MULTILINE)[1:]
    assert len(tables) == len(artifact.spec.categories)
    for table in tables:
        rows = [re.findall(r" (\d\S*)(?= |$)", line.rstrip())[-3:] for line in table.splitlines()[1:] if line.strip()]
        *parts, expected, _usual = np.array(rows, float)
        assert np.prod(parts, axis=0) == pytest.approx(expected, rel=0.02)  # three digits each


def test_a_damaged_network_is_said(tmp_path):
    folder = tmp_path / "artifacts"
    shutil.copytree(ARTIFACTS, folder)
    weights = next(folder.rglob("weights.safetensors"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b"x")
    options = ["explain", "--region", "chicago", "--cell", "r020c020", "--artifacts", str(folder)]
    said = " ".join(CliRunner().invoke(app, options, catch_exceptions=False).output.split())
    assert re.search(r"warning: \S+weights.safetensors", said)
    assert "the scores are those of the baseline" in said
    assert "x network" not in said


def test_all_that_happened_in_the_weeks_since_the_artifacts_end_is_counted(tmp_path):
    spec = toy_spec(grid=toy_grid(6, 6, south_deg=40.99, west_deg=-87.01), region="town", categories=("ems", "fire"))
    end_s, at_s = START_S + 20 * DAY_S, START_S + 50 * DAY_S + 3600
    folder = toy_artifact(tmp_path, spec, cutoff_s=end_s, created="20200101T000000Z")
    town = write_town(tmp_path / "town.csv", seed=2)
    at = iso(at_s)
    state = state_at(read_artifact(folder), at, town, LAYOUT)
    times = [datetime.fromisoformat(row.split(",")[0]).timestamp() for row in town.read_text().splitlines()[1:]]
    assert state.as_of_s == at_s
    assert state.window("day", 100).sum() == sum(end_s <= time < at_s for time in times) > 1000
