"""Which networks stay untrained: those whose gain over the baseline may be chance, measured by SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from models.network import residual_of
from models.training import fit_network as module
from models.training.fit_network import Examples, FitData, FitPlan, KeptState, fit_network, log_expected
from tests.harness.made_examples import DISPERSION, made_examples

R = float(DISPERSION.r[0, 0])


def pure_chance(cells, *, seed):
    """Counts that follow the baseline and nothing else."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 6)).astype(np.float32)
    mean = np.exp(values[:, :, 3:].astype(np.float64))
    counts = random.negative_binomial(R, R / (R + mean)).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts))


def fitted(make, cells, seed=0):
    torch.set_num_threads(1)
    data = FitData(
        train=make(4 * cells, seed=2 * seed), validation=make(cells, seed=2 * seed + 1), dispersion=DISPERSION
    )
    return data, fit_network(data, FitPlan(epochs=3, seed=seed), lambda epoch, loss: None)


def nats(examples, log_mean):
    mean = np.exp(log_mean.numpy().astype(np.float64))
    return nbinom.logpmf(examples.counts.numpy(), R, R / (R + mean)).sum(axis=(0, 1)).mean()


@pytest.mark.parametrize("seed", range(4))
def test_what_chance_gains_is_not_kept(seed):
    data, (network, kept) = fitted(pure_chance, 200, seed)
    assert kept == KeptState()
    assert not residual_of(data.validation.values.numpy(), network).any()
    assert torch.equal(log_expected(network, data.validation), data.validation.log_usual)


def test_the_gain_that_is_asked_for_is_in_nats_of_the_validation_block(monkeypatch):
    data, (network, kept) = fitted(made_examples, 60)
    gained = nats(data.validation, log_expected(network, data.validation)) - nats(
        data.validation, data.validation.log_usual
    )
    assert kept.epoch > 0
    assert gained > module.LEAST_NATS
    best = gained
    for share, is_kept in ((0.9, True), (1.1, False)):
        monkeypatch.setattr(module, "LEAST_NATS", share * best)
        assert (fitted(made_examples, 60)[1].kept != KeptState()) is is_kept
