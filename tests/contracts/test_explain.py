"""Explanations add up, say what they should of a network that is known, and need every feature to have a group."""

import re
from itertools import permutations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.__main__ import app
from models.artifact import newest_artifacts, read_artifact
from models.explain import NETWORK_ALONE, explain, groups_of, shares
from models.features import FeatureEngine, feature_names
from models.network import ResidualNetwork
from models.scoring import residual_of, score
from streaming.demo import ARTIFACTS, SAMPLE

FEATURES = feature_names()


@pytest.fixture(scope="module")
def artifact():
    return read_artifact(newest_artifacts(ARTIFACTS)["chicago"][0])


def network(seed=0):
    torch.manual_seed(seed)
    made = ResidualNetwork(features=len(FEATURES), categories=2, horizons=3)
    made.mean.normal_()
    made.leave.weight.data.normal_()
    made.category.weight.data.normal_()
    return made.eval()


def test_every_feature_has_one_group():
    columns = np.concatenate(list(groups_of(FEATURES).values()))
    assert sorted(columns) == list(range(len(FEATURES)))
    with pytest.raises(ValueError, match="weather"):
        groups_of((*FEATURES, "weather"))


def test_shares_are_the_mean_over_all_orders_of_joining():
    made, values = network(), np.random.default_rng(0).normal(size=(2, len(FEATURES))).astype(np.float32)
    groups = groups_of(FEATURES)
    expected = {name: np.zeros((2, 3)) for name in groups}
    orders = list(permutations(groups))
    for order in orders:
        row = np.tile(made.mean.numpy(), (2, 1))
        before = residual_of(row[None], made)[0]
        for name in order:
            row[:, groups[name]] = values[:, groups[name]]
            after = residual_of(row[None], made)[0]
            expected[name] += (after - before) / len(orders)
            before = after
    found = shares(made, values, groups)
    np.testing.assert_allclose(sum(found.values()), residual_of(values[None], made)[0], atol=1e-5)
    for name in groups:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_a_network_that_looks_at_one_feature_gives_its_group_everything():
    made = network()
    made.enter.weight.data[:] = 0
    made.enter.weight.data[:, FEATURES.index("ring_24h")] = 1
    found = shares(made, np.ones((2, len(FEATURES)), np.float32), groups_of(FEATURES))
    for name, share in found.items():
        if name not in (NETWORK_ALONE, "recent counts next door"):
            np.testing.assert_allclose(share, 0, atol=1e-6)


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
