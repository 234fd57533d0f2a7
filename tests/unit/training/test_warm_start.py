"""The warm start is fitted on enough incidents, however rare they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.network import NetworkShape
from models.networks.residual import ResidualNetwork
from models.training import fit_network as module
from models.training.fit_network import FitData, FitPlan, fit_network, warm_started
from tests.harness.made_examples import DISPERSION, made_examples

ROWS, INCIDENTS = 300_000, 5_000


@given(st.integers(1, 400_000), st.integers(1, 4), st.floats(0, 1))
def test_there_are_as_many_rows_as_hold_enough_incidents(n, categories, rate):
    counts = torch.zeros(n, categories, 2)
    counts[: int(rate * n), 0, 0] = 1  # of the first horizon alone; the longer one has what the shorter has
    counts[:, :, 1] = 7
    chosen, mean = warm_started(counts), int(rate * n) / n
    if chosen < n:
        assert chosen >= ROWS // categories
        assert chosen * mean >= INCIDENTS * (1 - 1e-6)
    if chosen > ROWS // categories:  # no more than needed
        assert (chosen - 1) * mean < INCIDENTS * (1 + 1e-6)


@pytest.mark.parametrize(("least", "expected"), [(1, 100), (2_000, None)])
def test_the_network_starts_from_that_many_examples(least, expected, monkeypatch):
    monkeypatch.setattr(module, "WARM_STARTED", 200)
    monkeypatch.setattr(module, "LEAST_INCIDENTS", least)
    train, seen, whole = made_examples(3_000, seed=1), [], ResidualNetwork.warm_starts

    def noted(network, inputs, *others):
        seen.append(len(inputs))
        return whole(network, inputs, *others)

    monkeypatch.setattr(ResidualNetwork, "warm_starts", noted)
    data = FitData(train=train, validation=made_examples(300, seed=2), dispersion=DISPERSION)
    fit_network(data, FitPlan(epochs=1, seed=0), lambda epoch, loss: None)
    per_example = train.counts[:, :, 0].sum(dim=1).numpy().mean()
    assert seen == [expected or int(np.ceil(least / per_example))]


def test_an_input_farther_out_than_six_standard_deviations_counts_as_six():
    network = ResidualNetwork.create(NetworkShape(inputs=2, categories=1, horizons=1))
    network.scale_like(torch.tensor([[0.0, 10.0], [2.0, 10.0], [4.0, 10.0]]))  # of the first: mean 2, deviation 2
    scaled = network.scaled(torch.tensor([[14.0, 10.0], [14.2, 16.5], [-99.0, -99.0], [13.8, 10.0]]))
    torch.testing.assert_close(scaled, torch.tensor([[6.0, 0.0], [6.0, 6.0], [-6.0, -6.0], [5.9, 0.0]]))
