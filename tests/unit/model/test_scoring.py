"""From features to scores: an untrained network changes nothing, a wild one changes little."""

import numpy as np
import pytest
import torch

from models.dispersion import Dispersion
from models.scoring import score
from tests.harness.toy import toy_constants, toy_network, toy_spec

CELLS, CATEGORIES, HORIZONS = 6, 2, 3
SPEC = toy_spec(2, 3)
CONSTANTS = toy_constants(SPEC, dispersion=Dispersion.quadratic([[0.5, 1.0, 2.0], [3.0, 30.0, 300.0]]))
VALUES = np.random.default_rng(0).normal(size=(CELLS, CATEGORIES, len(SPEC.features))).astype(np.float32)
VALUES.flags.writeable = False


def network():
    torch.manual_seed(0)
    return toy_network(SPEC)


def test_an_untrained_network_is_the_baseline_to_the_last_bit():
    with_network, without = score(VALUES, network(), CONSTANTS, SPEC), score(VALUES, None, CONSTANTS, SPEC)
    for name in ("expected", "risk", "low", "high", "usual"):
        np.testing.assert_array_equal(getattr(with_network, name), getattr(without, name))
        assert getattr(with_network, name).dtype == np.float32
        assert getattr(with_network, name).shape == (CELLS, CATEGORIES, HORIZONS)
    np.testing.assert_array_equal(with_network.attribution, without.attribution)
    np.testing.assert_array_equal(without.expected, without.usual)
    np.testing.assert_array_equal(without.usual, np.exp(VALUES[:, :, -HORIZONS:]))


@pytest.mark.parametrize(("sign", "factor"), [(1, 7.389), (-1, 1 / 7.389)])
def test_a_wild_network_multiplies_what_is_usual_by_e_squared_at_most(sign, factor):
    wild = network()
    torch.nn.init.constant_(wild.leave.bias, sign * 1e6)
    scores = score(VALUES, wild, CONSTANTS, SPEC)
    np.testing.assert_allclose(scores.expected / scores.usual, factor, rtol=1e-4)


def test_categories_are_told_apart():
    learned = network()
    with torch.no_grad():
        learned.category.weight[1] = 1.0
        learned.leave.weight.fill_(0.1)
    same = np.repeat(VALUES[:, :1], CATEGORIES, axis=1)
    scores = score(same, learned, CONSTANTS, SPEC)
    assert (scores.expected[:, 0] != scores.expected[:, 1]).all()
