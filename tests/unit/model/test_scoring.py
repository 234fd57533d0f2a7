"""From features to scores: an untrained network changes nothing, a wild one changes little."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.dispersion import Dispersion
from models.likelihood import at_least_one
from models.network import RiskNetwork, residual_of
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


def test_what_is_followed_multiplies_what_a_network_expects_and_nothing_else():
    own = Dispersion.quadratic(np.full((CATEGORIES, HORIZONS), 7.0))
    constants = replace(CONSTANTS, network_dispersion=own)
    factors = np.random.default_rng(1).uniform(0.5, 2, (CELLS, CATEGORIES, HORIZONS)).astype(np.float32)
    plain, followed = (score(VALUES, network(), constants, SPEC, following) for following in (None, factors))
    np.testing.assert_array_equal(followed.expected, plain.expected * factors)
    np.testing.assert_array_equal(followed.raw, plain.expected)
    np.testing.assert_array_equal(followed.risk, at_least_one(followed.expected, own))
    for of_category, shares in zip(np.moveaxis(factors, 1, 0), np.moveaxis(followed.attribution, 1, 0), strict=True):
        np.testing.assert_allclose(np.sort(shares.prod(axis=-1), axis=0), np.sort(of_category, axis=0), rtol=1e-5)
    assert plain.raw is None
    baseline = score(VALUES, None, constants, SPEC, factors)
    assert baseline.raw is None
    np.testing.assert_array_equal(baseline.expected, baseline.usual)
    np.testing.assert_array_equal(baseline.risk, at_least_one(baseline.usual, CONSTANTS.dispersion))


def test_the_network_is_a_regression_and_a_perceptron_within_a_limit():
    """Whoever reads an artifact counts on the names of its tensors and on what is made of them."""
    made = network()
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, -0.1, 0.1)
    state = {name: tensor.numpy() for name, tensor in made.state_dict().items()}
    hidden = np.maximum(VALUES @ state["enter.weight"].T + state["enter.bias"] + state["category.weight"], 0)
    hidden = np.maximum(hidden @ state["middle.weight"].T + state["middle.bias"], 0)
    curved = hidden @ state["leave.weight"].T + state["leave.bias"]
    residual = VALUES @ state["linear.weight"].T + state["offset.weight"] + curved
    np.testing.assert_allclose(residual_of(VALUES, made), 2 * np.tanh(residual / 2), rtol=1e-4, atol=1e-5)
    assert list(RiskNetwork().warm_starts(*[torch.zeros(1)] * 4)) == []
