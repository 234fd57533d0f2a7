"""From features to scores: an untrained network changes nothing, a broken one is noticed."""

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


def test_a_feature_that_lies_farther_out_than_six_deviations_weighs_no_more_than_one_that_lies_there():
    """Training has hardly seen such values: a broken feed must not move a score by what was never learned."""
    learned = network()
    with torch.no_grad():
        learned.mean.fill_(10.0)
        learned.scale.fill_(2.0)
        learned.linear.weight[:, 0] = 0.1

    def residual(value):
        values = VALUES.copy()
        values[:, :, 0] = value
        scores = score(values, learned, CONSTANTS, SPEC)
        return float(np.log(scores.expected / scores.usual)[0, 0, 0])

    assert residual(10 + 2 * 5) < residual(10 + 2 * 6) == pytest.approx(residual(10 + 2 * 60), abs=1e-5)
    assert residual(10 - 2 * 5) > residual(10 - 2 * 6) == pytest.approx(residual(10 - 2 * 60), abs=1e-5)


def test_an_output_that_is_no_number_raises_instead_of_scoring():
    broken = network()
    with torch.no_grad():
        broken.enter.weight[0, 0] = float("nan")
        broken.leave.weight.fill_(1.0)
    with pytest.raises(FloatingPointError, match="not finite"):
        score(VALUES, broken, CONSTANTS, SPEC)


def test_categories_are_told_apart():
    learned = network()
    with torch.no_grad():
        learned.category.weight[1] = 1.0
        learned.leave.weight.fill_(0.1)
    same = np.repeat(VALUES[:, :1], CATEGORIES, axis=1)
    scores = score(same, learned, CONSTANTS, SPEC)
    assert (scores.expected[:, 0] != scores.expected[:, 1]).all()
