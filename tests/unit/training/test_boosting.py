"""Gradient boosting as a rival: it may start from the product's baseline, and then explains what that leaves."""

import numpy as np
import pytest
import torch

from models.evaluation.contract import poisson_loss
from models.evaluation.regressions import Boosting
from models.training.fit_network import Examples


def examples(seed, *, cells=6000):
    """Baselines that differ by cell a hundredfold; where the first feature is positive, half as many again come."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 4)).astype(np.float32)
    values[:, :, -1] = random.uniform(np.log(0.02), np.log(2), (cells, 2))
    mean = np.exp(values[:, :, -1]) * np.where(values[:, :, 0] > 0, 1.5, 1.0)
    counts = random.poisson(mean).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts[:, :, None])), mean


def test_it_finds_the_factor_beside_the_baseline_with_every_seed():
    train, _ = examples(0)
    later, mean = examples(1)
    fitted = Boosting().fit(train, later, seeds=[0, 1])
    counts = later.counts[:, :, 0].double().numpy()
    usual = np.exp(later.values[:, :, -1].numpy())
    for boosting in fitted:
        assert boosting.chosen["beside_baseline"] == 1.0
        forecast = boosting.predict(later.values.numpy())
        assert forecast.shape == mean.shape
        gained = poisson_loss(usual, counts) - poisson_loss(forecast, counts)
        assert gained > 0.85 * (poisson_loss(usual, counts) - poisson_loss(mean, counts))
        assert forecast.sum() / mean.sum() == pytest.approx(1, abs=0.03)
