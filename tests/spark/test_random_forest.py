"""MLlib's forest behind the contract of a regression: rows keep their order, and a step is learned."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch

from models.evaluation.regressions import random_forest
from models.evaluation.regressions.flat import flat, flat_counts
from models.evaluation.regressions.random_forest import RandomForest, grown, training_frame
from models.training.fit_network import Examples


def examples(cells, seed):
    """Two categories; the first has 4 incidents where feature 1 is positive and none elsewhere, the second has 1."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 3)).astype(np.float32)
    mean = np.stack([np.where(values[:, 0, 1] > 0, 4.0, 0.0), np.ones(cells)], axis=1)
    counts = random.poisson(mean).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts[:, :, None])), mean


def test_a_forest_learns_a_step_keeps_the_order_of_rows_and_predicts_what_spark_predicts(session, monkeypatch):
    monkeypatch.setattr(random_forest, "DEPTH", 4)
    monkeypatch.setattr(random_forest, "TREES", 8)
    train, _ = examples(4000, seed=0)
    later, mean = examples(500, seed=1)
    forest, other = RandomForest(session=partial(nullcontext, session)).fit(train, later, seeds=[0, 1])
    forecast = forest.predict(later.values.numpy())
    assert forecast.shape == (500, 2)
    assert forecast.min() >= 0
    assert np.abs(forecast - mean).mean() < 0.5
    order = np.random.default_rng(2).permutation(500)
    np.testing.assert_array_equal(forest.predict(later.values.numpy()[order]), forecast[order])
    assert (other.predict(later.values.numpy()) != forecast).any()

    values = flat(train.values.numpy())
    again = grown(session, values, flat_counts(train), seed=0)
    frame = training_frame(session, values, np.arange(len(values), dtype=np.float64))
    expected = again.transform(frame).select("count", "prediction").toPandas().sort_values("count")["prediction"]
    np.testing.assert_allclose(forest.of_rows(values), expected, rtol=1e-12)
