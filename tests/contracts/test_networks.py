"""What every kind of network and every declared feature must be. A new entry of a list is tested by being there."""

import pickle
from functools import cache, partial

import numpy as np
import pytest
import torch

from models.baseline import ring_sum
from models.dispersion import Dispersion
from models.feature_lists import (
    LEVEL_LIMIT,
    LISTS,
    MEMORY_DAYS,
    SINCE_CAP_HOURS,
    LongMemory,
    RecentCounts,
    RegionLevels,
    all_features,
    declare,
    group_of,
)
from models.features import feature_names
from models.network import NetworkShape, ResidualNetwork, RiskNetwork, residual_of
from models.network_kinds import MODELS, Hyperparameters, kind_of_network, name_of_kind
from models.scoring import score
from models.training.fit_network import Examples, FitData, FitPlan, fit_network
from schemas.errors import DataError
from tests.harness.toy import toy_constants, toy_grid, toy_spec

FEATURES = feature_names()
SPEC = toy_spec(4, 5)
GRID = SPEC.grid
CONSTANTS = toy_constants(SPEC)
torch.set_num_threads(1)
each_kind = pytest.mark.parametrize("name", list(MODELS))


def values_of(seed=0):
    """(cells, categories, features), read-only as the stream's are."""
    values = np.random.default_rng(seed).normal(size=(GRID.cells, 2, len(FEATURES))).astype(np.float32)
    values.flags.writeable = False
    return values


def shape():
    return NetworkShape(inputs=len(FEATURES), categories=2, horizons=3, widths=(8, 8))


@cache
def trained(name, again=False):
    """One that has learned a rule: counts are the baseline's times exp(half of the first feature's size)."""
    random = np.random.default_rng(5)
    frames = [values_of(number) for number in range(60)]
    counts = [random.poisson(np.exp(v[:, :, -3:] - 1 + 0.5 * np.abs(v[:, :, :1]))) for v in frames]
    examples = Examples(
        values=torch.from_numpy(np.concatenate(frames)),
        counts=torch.from_numpy(np.concatenate(counts).astype(np.float32)),
    )
    data = FitData(train=examples, validation=examples, dispersion=Dispersion.quadratic(np.full((2, 3), 4.0)))
    recipe = Hyperparameters(network=name, widths=(8, 8), minibatch=256)
    return fit_network(data, FitPlan(recipe=recipe, epochs=1, seed=0), lambda *_: None).network


@each_kind
def test_every_kind_is_described_known_by_its_name_and_adds_nothing_before_it_is_trained(name):
    kind = kind_of_network(name)
    assert kind.__doc__
    network = kind.create(shape()).eval()
    assert name_of_kind(network) == name
    assert list(RiskNetwork.warm_starts(network, *[torch.zeros(0)] * 4)) == []  # of a kind that has none
    scores = score(values_of(), network, CONSTANTS, SPEC)
    np.testing.assert_array_equal(scores.expected, scores.usual)
    with pytest.raises((RuntimeError, KeyError, ValueError, DataError)):  # tensors of another shape
        kind.from_tensors(network.state_dict() | {"mean": torch.zeros(3)}, shape())


@each_kind
def test_every_kind_learns_and_is_pure_bounded_and_finite_also_far_outside_of_what_it_has_seen(name):
    network = trained(name)
    for factor in (1, 1e4, -1e4):
        values = (factor * values_of(99)).astype(np.float32)
        before = values.copy()
        residual = residual_of(values, network)
        assert residual.any()
        assert np.isfinite(residual).all()
        assert (np.exp(np.abs(residual)) <= 7.3891).all()  # e squared, as the oracle of tests/faults has it
        np.testing.assert_array_equal(residual_of(values, network), residual)
        np.testing.assert_array_equal(values, before)


@each_kind
def test_equal_seeds_give_equal_networks_and_saved_tensors_the_same_residuals(name):
    kind = kind_of_network(name)
    network, again = trained(name), trained(name, again=True)
    inputs = values_of(7)
    expected = residual_of(inputs, network)
    np.testing.assert_array_equal(residual_of(inputs, again), expected)
    loaded = kind.from_tensors(network.state_dict(), shape()).eval()
    np.testing.assert_array_equal(residual_of(inputs, loaded), expected)
    sent = pickle.loads(pickle.dumps(network))  # noqa: S301 - our own
    np.testing.assert_array_equal(residual_of(inputs, sent), expected)


@each_kind
def test_every_kind_attributes_its_scores(name):
    scores = score(values_of(3), trained(name), CONSTANTS, SPEC)
    order = np.lexsort((-scores.expected[:, 0, 0], -scores.risk[:, 0, 0]))[:10]
    product = scores.attribution[:, 0, 0].prod(axis=-1)
    np.testing.assert_allclose(scores.usual[order, 0, 0] * product, scores.expected[order, 0, 0], rtol=1e-4)


def test_the_first_kind_is_that_of_artifacts_which_do_not_name_theirs_and_an_unknown_one_is_refused():
    assert kind_of_network(next(iter(MODELS))) is ResidualNetwork
    with pytest.raises(DataError, match="'recurrent' is no kind of network: choose one of residual"):
        kind_of_network("recurrent")


def test_an_input_farther_out_than_six_standard_deviations_counts_as_six():
    network = ResidualNetwork.create(NetworkShape(inputs=2, categories=1, horizons=1))
    network.scale_like(torch.tensor([[0.0, 10.0], [0.5, 10.0], [1.0, 10.0]]))  # of the first: mean and deviation 0.5
    scaled = network.scaled(torch.tensor([[3.5, 10.0], [3.55, 16.5], [-99.0, -99.0], [3.45, 10.0]]))
    torch.testing.assert_close(scaled, torch.tensor([[6.0, 0.0], [6.0, 6.0], [-6.0, -6.0], [5.9, 0.0]]))


SMALL_GRID = toy_grid(3, 4)
SHAPE = (SMALL_GRID.cells, 2)


def readings(name, random):
    """What the functions of a list read, drawn, and the shape of what they give."""
    counts = lambda most: random.integers(0, most + 1, SHAPE).astype(np.int32)  # noqa: E731
    rates = lambda: random.gamma(0.5, 10.0, SHAPE) + 1e-9  # noqa: E731
    ratios = lambda names: {name: random.uniform(-LEVEL_LIMIT, LEVEL_LIMIT, 2) for name in names}  # noqa: E731
    match name:
        case "recent":
            return RecentCounts(
                windows={window: counts(500) for window in ("15min", "1h", "6h", "24h", "7d")},
                around=partial(ring_sum, grid=SMALL_GRID),
                hours_since=counts(SINCE_CAP_HOURS),
                same_hours=counts(50),
            )
        case "memory":
            by_half_life = {days: rates() for days in MEMORY_DAYS}
            return LongMemory(by_half_life=by_half_life, rate=rates(), block=rates(), region=rates()[0])
        case "level":
            windows = ("1h", "6h", "24h", "3d", "7d", "30d")
            return RegionLevels(by_category=ratios(windows), over_all=ratios(windows))
        case "time":
            return float(random.uniform(0, 168))


COLUMN_OF = {"recent": np.log1p, "memory": np.log, "level": np.asarray, "time": np.asarray}
SHAPES = {"recent": SHAPE, "memory": SHAPE, "level": (2,), "time": ()}
EVERY_FEATURE = [
    pytest.param(name, feature, id=feature.name) for name, features in LISTS.items() for feature in features
]


@pytest.mark.parametrize(("name", "declared"), EVERY_FEATURE)
def test_every_feature_is_pure_finite_and_inside_its_declared_range(name, declared):
    for seed in range(5):
        read = readings(name, np.random.default_rng(seed))
        before = pickle.dumps(read)
        given = list(declared.columns(read))
        assert len(given) == len(declared.names)
        for values, again in zip(given, declared.columns(read), strict=True):
            assert np.shape(values) == SHAPES[name]
            np.testing.assert_array_equal(values, again)
            column = COLUMN_OF[name](values)
            assert np.isfinite(column).all()
            assert (declared.low <= column).all()
            assert (column <= declared.high).all()
        assert pickle.dumps(read) == before, "a feature must not change what it reads"


def test_names_differ_and_follow_the_lists():
    names = [column for feature in all_features() for column in feature.names]
    assert len(set(names)) == len(names)
    assert feature_names(("2h",)) == (*names, "log_usual_2h")


def test_a_feature_of_an_unknown_group_is_refused_and_a_name_that_is_no_feature_has_no_group():
    of_weather = declare("speed", "of the wind", unit="m/s", low=0, high=60, group="weather")
    with pytest.raises(ValueError, match="weather"):
        of_weather(lambda recent: recent)
    with pytest.raises(ValueError, match="'speed' is no feature"):
        group_of("speed")
