"""What made a score: the mean over all orders of joining, and factors that multiply to the score."""

from itertools import permutations

import numpy as np
import pytest
import torch

from models.attribution import attribute_riskiest, groups_of, shares
from models.features import feature_names
from models.network import NetworkShape, ResidualNetwork, residual_of
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS

FEATURES = feature_names()


def network(seed=0):
    torch.manual_seed(seed)
    made = ResidualNetwork(NetworkShape(inputs=len(FEATURES), categories=2, horizons=3))
    made.mean.normal_()
    made.leave.weight.data.normal_()
    made.category.weight.data.normal_()
    return made.eval()


def test_every_feature_has_one_group():
    columns = np.concatenate(list(groups_of(FEATURES).values()))
    assert sorted(columns) == list(range(len(FEATURES)))
    with pytest.raises(ValueError, match="weather"):
        groups_of((*FEATURES, "weather"))


def test_days_that_a_file_names_are_of_the_time():
    features = feature_names(calendar=("match",), holidays=True)
    of_time = [features[column] for column in groups_of(features)["time"]]
    assert of_time[-6:] == [
        f"{name}_{at}" for name in ("holiday", "calendar_match") for at in ("today", "eve", "after")
    ]


def test_shares_are_the_mean_over_all_orders_of_joining():
    made, values = network(), np.random.default_rng(0).normal(size=(4, 2, len(FEATURES))).astype(np.float32)
    groups = groups_of(FEATURES)
    expected = {name: np.zeros((4, 2, 3)) for name in groups}
    orders = list(permutations(groups))
    for order in orders:
        row = np.tile(made.mean.numpy(), (4, 2, 1))
        before = residual_of(row, made)
        for name in order:
            row[..., groups[name]] = values[..., groups[name]]
            after = residual_of(row, made)
            expected[name] += (after - before) / len(orders)
            before = after
    by_group = shares(made, values, groups)
    np.testing.assert_allclose(sum(by_group.values()), residual_of(values, made), atol=1e-5)
    for name in groups:
        np.testing.assert_allclose(by_group[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("cells", [4, ATTRIBUTED_RANKS, 40])
def test_usual_times_the_factors_is_what_is_expected_in_the_riskiest_cells(cells):
    made_by, draw = network(1), np.random.default_rng(cells)
    values = draw.normal(size=(cells, 2, len(FEATURES))).astype(np.float32)
    usual = draw.gamma(1.0, 1.0, (cells, 2, 3)).astype(np.float32)
    following = draw.uniform(0.5, 2, usual.shape).astype(np.float32)
    nowcast = draw.uniform(1, 3, usual.shape[1:])
    expected = np.float32(usual * np.exp(residual_of(values, made_by)) * following * nowcast)
    risk = np.minimum(-np.expm1(-expected), 0.9).astype(np.float32)  # some are equal
    of_factors = {"following": following, "nowcast": nowcast}
    made = attribute_riskiest(values, made_by, FEATURES, risk=risk, expected=expected, **of_factors)
    assert made.shape == (min(cells, ATTRIBUTED_RANKS), 2, 3, len(ATTRIBUTION_GROUPS))
    for place in np.ndindex(2, 3):
        order = sorted(range(cells), key=lambda cell: (-risk[cell, *place], -expected[cell, *place], cell))
        for rank, cell in enumerate(order[:ATTRIBUTED_RANKS]):
            np.testing.assert_allclose(
                usual[cell, *place] * made[rank, *place].prod(), expected[cell, *place], rtol=1e-4
            )
            alone = shares(made_by, values[cell : cell + 1], groups_of(FEATURES))
            factors = {name: np.exp(of_group[0, *place]) for name, of_group in alone.items()}
            factors |= {"following": following[cell, *place], "nowcast": nowcast[place]}
            for number, name in enumerate(ATTRIBUTION_GROUPS):
                np.testing.assert_allclose(made[rank, *place, number], factors[name], rtol=1e-4)


def test_without_a_network_nothing_made_more_than_is_usual():
    values = np.zeros((3, 2, len(FEATURES)), np.float32)
    same = np.ones((3, 2, 3), np.float32)
    np.testing.assert_array_equal(attribute_riskiest(values, None, FEATURES, risk=same, expected=same), 1)
    raised = attribute_riskiest(values, None, FEATURES, risk=same, expected=same, nowcast=np.full((2, 3), 1.5))
    np.testing.assert_array_equal(raised.prod(axis=-1), 1.5)
