"""All categories together, against the distribution of the sum itself: SciPy's negative binomials, convolved."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, nbdtrik
from scipy.stats import nbinom

from models.all_categories import _quantile, over_categories, stored_views
from models.dispersion import Dispersion
from models.likelihood import at_least_one
from schemas.frame import SUPPORT
from schemas.spec import ALL_CATEGORIES
from tests.harness.toy import toy_constants, toy_frame, toy_spec

SPEC = toy_spec(8, 5, categories=("fire", "ems", "theft"))
SHAPE = (40, 3, 3)
DRAW = np.random.default_rng(1)
DISPERSION = Dispersion(
    r=DRAW.uniform(0.3, 30, SHAPE[1:]) * DRAW.choice([0.4, 1.0, 2.7], (40, 3, 1)),  # as factors of cells make it
    power=np.broadcast_to([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], SHAPE),
)
PURE_CHANCE = Dispersion.quadratic(np.full(SHAPE[1:], 1e5))
EXPECTED = np.exp(DRAW.uniform(-7, 3, SHAPE)).astype(np.float32)
EXPECTED[0] = 0
SUPPORTS = DRAW.integers(0, 3, SHAPE[:2]).astype(np.uint8)
FRAME = toy_frame(
    SPEC,
    EXPECTED,
    risk=at_least_one(EXPECTED, DISPERSION),
    usual=(EXPECTED * DRAW.uniform(0.5, 2, SHAPE)).astype(np.float32),
    observed_1h=DRAW.poisson(1, SHAPE[:2]).astype(np.int32),
    support=SUPPORTS,
)
SUM = over_categories(FRAME, DISPERSION)


def chances(cell, horizon):
    """Chance of each count of all categories together, up to where nothing is left."""
    means, law = EXPECTED[cell, :, horizon].astype(float), DISPERSION[cell, :, horizon]
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
def test_the_chance_of_any_is_that_of_the_sum(horizon):
    for cell in range(40):
        assert SUM.risk[cell, 0, horizon] == pytest.approx(1 - chances(cell, horizon)[0], abs=2e-6)


@pytest.mark.parametrize("horizon", range(3))
def test_the_interval_is_within_a_tenth_of_the_sums_own(horizon):
    """Below ten it is within one incident: a sum of negative binomials is nearly one itself."""
    for cell in range(40):
        below = np.cumsum(chances(cell, horizon))
        for edge, share in ((SUM.low, 0.05), (SUM.high, 0.95)):
            exact = int(np.searchsorted(below, share))
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
    counts = _quantile(mean, size, share)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, by_its_root(mean, size, share).astype(np.float32))


def test_a_frame_is_stored_as_it_is_and_as_a_sum():
    by_category, together = stored_views(FRAME, replace(toy_constants(SPEC), dispersion=DISPERSION))
    assert by_category is FRAME
    np.testing.assert_array_equal(together.expected, SUM.expected)
    assert len(together.attribution) == 0  # a sum has no factors


@pytest.mark.parametrize(("model", "its"), [("20260101T000000Z-d0dc3fbe", DISPERSION), ("baseline:Error", PURE_CHANCE)])
def test_a_sum_spreads_as_around_the_forecasts_of_what_scored_it(model, its):
    constants = replace(toy_constants(SPEC), dispersion=PURE_CHANCE, network_dispersion=DISPERSION)
    _, together = stored_views(replace(FRAME, model=model), constants)
    np.testing.assert_array_equal(together.high, over_categories(FRAME, its).high)
    assert (over_categories(FRAME, PURE_CHANCE).high < over_categories(FRAME, DISPERSION).high).any()
