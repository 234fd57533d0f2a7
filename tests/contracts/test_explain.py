"""Explanations of a cell add up to its score; the command prints them and refuses what it cannot know."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from models.__main__ import app
from models.artifact import newest_artifacts, read_artifact
from models.explain import explain
from models.features import FeatureEngine
from models.scoring import score
from streaming.demo import ARTIFACTS, SAMPLE


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
        (["--cell", "r020c020", "--at", "2016-01-01T00:00"], "lies before the artifact's data end"),
        (["--cell", "r020c020", "--at", "2017-10-21T18:00"], "give --data and --layout"),
        (["--cell", "r020c020", "--at", "noon"], "write a local time"),
    ):
        assert re.search(message, str(runner.invoke(app, [*common, *wrong]).exception)), message
