"""Explanations of a cell add up to its score, and the command prints them."""

import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from incident_risk import app
from models.artifact import newest_artifacts, read_artifact
from models.cli.judge_commands import parts_of
from models.features import FeatureEngine
from models.scoring import score
from streaming.rehearse.incident_replay import ARTIFACTS


@pytest.fixture(scope="module")
def artifact():
    return read_artifact(newest_artifacts(ARTIFACTS)["chicago"][0])


def test_the_parts_of_a_real_score_multiply_to_it(artifact):
    state = artifact.history()
    values = FeatureEngine(artifact.spec, artifact.constants).compute(state).values
    scores = score(values, artifact.network(), artifact.constants, artifact.spec)
    busy = int(scores.expected.sum(axis=(1, 2)).argmax())
    for cell in (busy, 0):
        parts, usual = parts_of(artifact, state, cell)
        assert np.exp(sum(parts.values())) == pytest.approx(scores.expected[cell], rel=1e-4)
        assert np.exp(usual) == pytest.approx(scores.usual[cell], rel=1e-4)


def test_the_command_prints_parts_and_refuses_a_cell_that_is_none():
    runner = CliRunner()
    common = ["explain", "--region", "chicago", "--artifacts", str(ARTIFACTS)]
    said = runner.invoke(app, [*common, "--cell", "r020c020"], catch_exceptions=False).output
    assert re.search(r"x hour of the week +\d\.\d{3}", said)
    wrong = runner.invoke(app, [*common, "--cell", "r999c000"])
    assert "no cell" in str(wrong.exception)


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
