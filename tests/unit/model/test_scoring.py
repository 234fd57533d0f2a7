"""From features to scores: likelihoods, the network, the sum over categories and what made a score, against SciPy."""

from dataclasses import replace
from functools import reduce
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, nbdtrik
from scipy.stats import nbinom, poisson

from models.dispersion import (
    LINEAR,
    QUADRATIC,
    Dispersion,
    any_quantile,
    at_least_one,
    negative_binomial_nll,
    predictive_quantile,
)
from models.features import feature_names
from models.network import NetworkShape, ResidualNetwork, RiskNetwork, residual_of
from models.scoring import attribute_riskiest, groups_of, over_categories, score, shares, stored_views
from models.training.fit_baseline import DISPERSIONS, likeliest_dispersion
from models.training.train import tally_of
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, SUPPORT
from schemas.spec import ALL_CATEGORIES
from tests.harness.toy import toy_constants, toy_frame, toy_network, toy_spec

MEANS = np.geomspace(1e-6, 300, 60)
COUNTS = np.array([0, 1, 2, 5, 40, 400])
SIZES = np.array([[0.1, 0.5], [3.0, 300.0]])
LOG_MEAN = torch.from_numpy(np.log(MEANS))[:, None]
SEEN = torch.from_numpy(COUNTS).double()[None, :]


@pytest.mark.parametrize("size", SIZES.ravel())
def test_negative_binomial_is_scipys(size):
    expected = -nbinom.logpmf(COUNTS, size, size / (size + MEANS[:, None]))
    result = negative_binomial_nll(LOG_MEAN, SEEN, torch.tensor(size).double())
    np.testing.assert_allclose(result, expected, rtol=1e-7, atol=1e-12)


def law_of(mean, dispersion):
    """SciPy's, from the variance alone: m + m**(2 - power) / r."""
    mean = mean.astype(np.float64)
    variance = mean + mean ** (2 - dispersion.power) / dispersion.r
    return nbinom(mean**2 / (variance - mean), mean / variance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [[QUADRATIC] * 3, [LINEAR] * 3, [LINEAR, QUADRATIC, LINEAR]], ids=str)
def test_the_size_of_tensors_is_that_of_arrays_and_of_a_power_to_the_last_bit(power, dtype):
    random = np.random.default_rng(3)
    r, mean = random.gamma(1.0, 2.0, (2, 3)) + 1e-3, random.gamma(0.5, 3.0, (500, 2, 3)) + 1e-9
    dispersion, means = Dispersion(r=r, power=np.array([power, power[::-1]])), torch.from_numpy(mean).to(dtype)
    sizes = dispersion.tensor_size(means)
    assert sizes.dtype == dtype
    np.testing.assert_array_equal(*np.broadcast_arrays(sizes.numpy(), dispersion.size(means.numpy())))
    for place in np.ndindex(2, 3):  # a number to the power of 0 or 1 is exact
        alone, at = dispersion[place].tensor_size(means[:, *place]), means[:, *place]
        expected = torch.tensor(float(r[place]), dtype=dtype) * at ** float(dispersion.power[place])
        assert torch.equal(alone.expand_as(at), expected)
        assert torch.equal(sizes.expand_as(means)[:, *place], expected)


CELLS = 30
SPEC = toy_spec(5, 6)
R = np.array([[0.5, 1.0, 2.0], [3.0, 30.0, 300.0]])
CONSTANTS = toy_constants(SPEC, dispersion=Dispersion(r=R, power=np.array([[0.0, 1, 0], [1, 0, 1]])))


@pytest.mark.parametrize("power", [QUADRATIC, LINEAR])
@pytest.mark.parametrize(("factor", "most"), [(None, 5000), ((0.4, 1.0, 2.7), 20)], ids=["of all", "of each cell"])
def test_scores_are_those_of_scipys_negative_binomial_in_the_table_and_past_it(factor, most, power):
    random, cells = np.random.default_rng(0), 300
    spec, r = toy_spec(15, 20), np.array([[0.1, 0.5, 3.0], [10.0, 30.0, 300.0]])
    constants = toy_constants(spec, dispersion=Dispersion(r=r, power=np.full((2, 3), power)))
    if factor:
        of_cell = random.choice(factor, (cells, 2, 3))
        constants, r = replace(constants, cell_dispersion=of_cell), of_cell * r
    values = np.log(random.permuted(np.geomspace(1e-6, most, 6 * cells))).reshape(cells, 2, 3).astype(np.float32)
    scores = score(values, None, constants, spec)
    law = law_of(scores.expected, Dispersion(r=r, power=constants.dispersion.power))
    np.testing.assert_allclose(scores.risk, law.sf(0), rtol=1e-5)
    for edge, share in ((scores.low, 0.05), (scores.high, 0.95)):
        np.testing.assert_array_equal(edge, law.ppf(share))
    assert factor or ((scores.high < 48).mean() > 0.5 and scores.high.max() > 5_000)


def test_a_mean_of_nothing_expects_nothing():
    none, dispersion = np.zeros((1, 2, 2), np.float32), Dispersion(r=SIZES, power=np.array([[0.0, 1], [1, 0]]))
    assert not at_least_one(none, dispersion).any()
    assert not predictive_quantile(none, dispersion, 0.95).any()


def test_a_tally_is_scipys_log_likelihood_over_all_cells():
    random = np.random.default_rng(1)
    usual = random.gamma(1.0, size=(CELLS, 2, 3)).astype(np.float32)
    counts = random.poisson(usual).astype(np.int32)
    tallied = tally_of(0, usual, 2 * usual, counts, CONSTANTS, np.arange(CELLS))
    for side, mean in enumerate((usual.astype(np.float64), 2 * usual.astype(np.float64))):
        expected = -law_of(mean, CONSTANTS.dispersion).logpmf(counts).sum(axis=0)
        np.testing.assert_allclose(tallied.log_score[side], expected, rtol=1e-6)
        saturated = poisson.logpmf(counts, np.maximum(counts, 1e-300))
        deviance = 2 * (saturated - poisson.logpmf(counts, mean)).sum(axis=0)
        np.testing.assert_allclose(tallied.deviance[side], deviance, rtol=1e-6)


def test_the_dispersion_of_very_many_counts_is_the_one_under_which_all_of_them_are_likeliest():
    """25 x 24 cells, hour after hour, with two quiet western columns: every 24th count is of the quietest one."""
    random = np.random.default_rng(5)
    hours, rows, cols = 1_000, 25, 24
    mean = np.broadcast_to(np.where(np.arange(cols) < 2, 1e-3, 0.05), (hours, rows, cols)).reshape(-1)
    counts = random.negative_binomial(0.5, 0.5 / (0.5 + mean))
    log_mean = torch.tensor(np.log(mean))[:, None, None]
    likeliest = likeliest_dispersion(log_mean, torch.tensor(counts)[:, None, None])
    sizes = DISPERSIONS[(DISPERSIONS > 0.3) & (DISPERSIONS < 0.9)]
    times = {level: np.bincount(counts[mean == level]) for level in (1e-3, 0.05)}  # of each count, from 0
    surprise = [
        -sum(n @ nbinom.logpmf(np.arange(len(n)), size, size / (size + level)) for level, n in times.items())
        for size in sizes
    ]
    assert (likeliest.r.item(), likeliest.power.item()) == (sizes[int(np.argmin(surprise))], QUADRATIC)


def test_repeated_reports_of_each_incident_have_a_linear_dispersion():
    """A Poisson number of incidents, each with a logarithmic number of reports: Quenouille, Biometrics 5, 1949."""
    random = np.random.default_rng(7)
    mean, r = random.gamma(0.5, 0.3, 400_000) + 1e-4, 2.0
    incidents = random.poisson(mean * r * np.log1p(1 / r))
    reports = np.zeros(len(mean), np.int64)
    np.add.at(reports, np.repeat(np.arange(len(mean)), incidents), random.logseries(1 / (1 + r), incidents.sum()))
    log_mean = torch.tensor(np.log(mean))[:, None, None]
    likeliest = likeliest_dispersion(log_mean, torch.tensor(reports)[:, None, None])
    assert likeliest.power.item() == LINEAR
    assert likeliest.r.item() == pytest.approx(r, rel=0.2)


FEW, PAIR, THREE = 6, 2, 3
SMALL = toy_spec(2, 3)
SMALL_CONSTANTS = toy_constants(SMALL, dispersion=Dispersion.quadratic([[0.5, 1.0, 2.0], [3.0, 30.0, 300.0]]))
SMALL_VALUES = np.random.default_rng(0).normal(size=(FEW, PAIR, len(SMALL.features))).astype(np.float32)
SMALL_VALUES.flags.writeable = False


def network():
    torch.manual_seed(0)
    return toy_network(SMALL)


def test_an_untrained_network_is_the_baseline_to_the_last_bit():
    with_network, without = (
        score(SMALL_VALUES, network(), SMALL_CONSTANTS, SMALL),
        score(SMALL_VALUES, None, SMALL_CONSTANTS, SMALL),
    )
    for name in ("expected", "risk", "low", "high", "usual"):
        np.testing.assert_array_equal(getattr(with_network, name), getattr(without, name))
        assert getattr(with_network, name).dtype == np.float32
        assert getattr(with_network, name).shape == (FEW, PAIR, THREE)
    np.testing.assert_array_equal(with_network.attribution, without.attribution)
    np.testing.assert_array_equal(without.expected, without.usual)
    np.testing.assert_array_equal(without.usual, np.exp(SMALL_VALUES[:, :, -THREE:]))


def test_what_is_followed_multiplies_what_a_network_expects_and_nothing_else():
    own = Dispersion.quadratic(np.full((PAIR, THREE), 7.0))
    constants = replace(SMALL_CONSTANTS, network_dispersion=own)
    factors = np.random.default_rng(1).uniform(0.5, 2, (FEW, PAIR, THREE)).astype(np.float32)
    plain, followed = (score(SMALL_VALUES, network(), constants, SMALL, following) for following in (None, factors))
    np.testing.assert_array_equal(followed.expected, plain.expected * factors)
    np.testing.assert_array_equal(followed.raw, plain.expected)
    np.testing.assert_array_equal(followed.risk, at_least_one(followed.expected, own))
    for of_category, parts in zip(np.moveaxis(factors, 1, 0), np.moveaxis(followed.attribution, 1, 0), strict=True):
        np.testing.assert_allclose(np.sort(parts.prod(axis=-1), axis=0), np.sort(of_category, axis=0), rtol=1e-5)
    assert plain.raw is None
    baseline = score(SMALL_VALUES, None, constants, SMALL, factors)
    assert baseline.raw is None
    np.testing.assert_array_equal(baseline.expected, baseline.usual)
    np.testing.assert_array_equal(baseline.risk, at_least_one(baseline.usual, SMALL_CONSTANTS.dispersion))


def test_the_network_is_a_regression_and_a_perceptron_within_a_limit():
    """Whoever reads an artifact counts on the names of its tensors and on what is made of them."""
    made = network()
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, -0.1, 0.1)
    state = {name: tensor.numpy() for name, tensor in made.state_dict().items()}
    hidden = np.maximum(SMALL_VALUES @ state["enter.weight"].T + state["enter.bias"] + state["category.weight"], 0)
    hidden = np.maximum(hidden @ state["middle.weight"].T + state["middle.bias"], 0)
    curved = hidden @ state["leave.weight"].T + state["leave.bias"]
    residual = SMALL_VALUES @ state["linear.weight"].T + state["offset.weight"] + curved
    np.testing.assert_allclose(residual_of(SMALL_VALUES, made), 2 * np.tanh(residual / 2), rtol=1e-4, atol=1e-5)
    assert list(RiskNetwork().warm_starts(*[torch.zeros(1)] * 4)) == []


TOWN = toy_spec(8, 5, categories=("fire", "ems", "theft"))
SHAPE = (40, 3, 3)
DRAW = np.random.default_rng(1)
SPREAD = Dispersion(
    r=DRAW.uniform(0.3, 30, SHAPE[1:]) * DRAW.choice([0.4, 1.0, 2.7], (40, 3, 1)),  # as factors of cells make it
    power=np.broadcast_to([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], SHAPE),
)
PURE_CHANCE = Dispersion.quadratic(np.full(SHAPE[1:], 1e5))
EXPECTED = np.exp(DRAW.uniform(-7, 3, SHAPE)).astype(np.float32)
EXPECTED[0] = 0
SUPPORTS = DRAW.integers(0, 3, SHAPE[:2]).astype(np.uint8)
FRAME = toy_frame(
    TOWN,
    EXPECTED,
    risk=at_least_one(EXPECTED, SPREAD),
    usual=(EXPECTED * DRAW.uniform(0.5, 2, SHAPE)).astype(np.float32),
    observed_1h=DRAW.poisson(1, SHAPE[:2]).astype(np.int32),
    support=SUPPORTS,
)
SUM = over_categories(FRAME, SPREAD)


def chances(cell, horizon):
    """Chance of each count of all categories together, up to where nothing is left."""
    means, law = EXPECTED[cell, :, horizon].astype(float), SPREAD[cell, :, horizon]
    sizes = np.maximum(law.r * means**law.power, 1e-300)
    each = [nbinom.pmf(np.arange(400), size, size / (size + mean)) for mean, size in zip(means, sizes, strict=True)]
    return reduce(np.convolve, each)


def test_numbers_add_up_and_the_best_support_counts():
    for name in ("expected", "usual"):
        np.testing.assert_allclose(getattr(SUM, name)[:, 0], getattr(FRAME, name).astype(float).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(SUM.observed_1h[:, 0], FRAME.observed_1h.sum(axis=1))
    best = [max(names, key=SUPPORT.index) for names in np.array(SUPPORT)[SUPPORTS].tolist()]
    assert [SUPPORT[code] for code in SUM.support[:, 0]] == best
    assert SUM.categories == (ALL_CATEGORIES,)
    assert SUM.risk.dtype == SUM.low.dtype == SUM.expected.dtype == np.float32


@pytest.mark.parametrize("horizon", range(3))
def test_the_chance_of_any_is_that_of_the_sum_and_the_interval_within_a_tenth_of_the_sums_own(horizon):
    """Below ten it is within one incident: a sum of negative binomials is nearly one itself."""
    for cell in range(40):
        of_count = chances(cell, horizon)
        assert SUM.risk[cell, 0, horizon] == pytest.approx(1 - of_count[0], abs=2e-6)
        for edge, share in ((SUM.low, 0.05), (SUM.high, 0.95)):
            exact = int(np.searchsorted(np.cumsum(of_count), share))
            assert abs(edge[cell, 0, horizon] - exact) <= max(1, exact / 10)


def test_of_one_category_the_interval_is_that_of_its_own_count():
    spec, size = toy_spec(8, 5, categories=("fire",)), np.array([[0.7, 2.0, 9.0]])
    alone = over_categories(toy_frame(spec, EXPECTED[:, :1]), Dispersion.quadratic(size))
    mean = EXPECTED[:, :1].astype(float)
    for edge, share in ((alone.low, 0.05), (alone.high, 0.95)):
        np.testing.assert_array_equal(edge, nbinom.ppf(share, size, size / (size + mean)))


def by_its_root(mean, size, share):
    """The count by the distribution's inverse, as it was computed before counts were tried one after the other."""
    success = size / (size + np.maximum(mean, 1e-9))
    count = np.maximum(np.ceil(nbdtrik(share, size, success)), 0)
    return count - ((count > 0) & (betainc(size, np.maximum(count, 1), success) >= share))


@given(seed=st.integers(0, 2**32 - 1), least=st.floats(-9, 3), share=st.sampled_from([0.05, 0.95]))
def test_trying_counts_gives_what_the_inverse_gives(seed, least, share):
    draw = np.random.default_rng(seed)
    mean, size = 10 ** draw.uniform(least, 3.5, (50, 1, 3)), 10 ** draw.uniform(-1.5, 4, (50, 1, 3))
    mean[0] = 0
    counts = any_quantile(mean, size, share)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, by_its_root(mean, size, share).astype(np.float32))


@pytest.mark.parametrize(
    ("model", "its"), [("20260101T000000Z-d0dc3fbe", SPREAD), ("baseline:Error", PURE_CHANCE)], ids=["network", "not"]
)
def test_a_frame_is_stored_as_it_is_and_as_a_sum_that_spreads_as_around_the_forecasts_of_what_scored_it(model, its):
    constants = replace(toy_constants(TOWN), dispersion=PURE_CHANCE, network_dispersion=SPREAD)
    frame = replace(FRAME, model=model)
    by_category, together = stored_views(frame, constants)
    assert by_category is frame
    np.testing.assert_array_equal(together.expected, SUM.expected)
    np.testing.assert_array_equal(together.high, over_categories(FRAME, its).high)
    assert (over_categories(FRAME, PURE_CHANCE).high < SUM.high).any()
    assert len(together.attribution) == 0  # a sum has no factors


FEATURES = feature_names()


def wild_network(seed=0):
    torch.manual_seed(seed)
    made = ResidualNetwork(NetworkShape(inputs=len(FEATURES), categories=2, horizons=3))
    made.mean.normal_()
    made.leave.weight.data.normal_()
    made.category.weight.data.normal_()
    return made.eval()


def test_every_feature_has_one_group_and_days_that_a_file_names_are_of_the_time():
    columns = np.concatenate(list(groups_of(FEATURES).values()))
    assert sorted(columns) == list(range(len(FEATURES)))
    with pytest.raises(ValueError, match="weather"):
        groups_of((*FEATURES, "weather"))
    features = feature_names(calendar=("match",), holidays=True)
    of_time = [features[column] for column in groups_of(features)["time"]]
    days = [f"{name}_{at}" for name in ("holiday", "calendar_match") for at in ("today", "eve", "after")]
    assert of_time[-6:] == days


def test_shares_are_the_mean_over_all_orders_of_joining():
    made, values = wild_network(), np.random.default_rng(0).normal(size=(4, 2, len(FEATURES))).astype(np.float32)
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
    made_by, draw = wild_network(1), np.random.default_rng(cells)
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
