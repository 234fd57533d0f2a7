"""The score sheet against SciPy, scikit-learn and sums by hand."""

import pickle
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nbinom, poisson
from sklearn.metrics import brier_score_loss, mean_poisson_deviance

from models import measures
from models.dispersion import LINEAR, QUADRATIC, Dispersion
from models.measures import PROPER, proper_scores, score
from schemas.errors import DataError
from tests.harness.small_cube import in_runs

SIZES = (0.05, 0.5, 2.7, 20.5, 300.0, 1e4, 1e6)
MEANS = np.array([1e-4, 1e-3, 0.03, 0.5, 3.0, 30.0, 300.0])
COUNTS = np.array([0, 1, 2, 5, 40, 400], np.int32)
R = np.array([0.6, 50.0])
DISPERSION = Dispersion.quadratic(R)
NAMES = ("fire", "ems")


def simulated(steps=60, cells=40, seed=0):
    """Means of any size, and counts that follow them."""
    random = np.random.default_rng(seed)
    mean = random.gamma(0.4, size=(steps, cells, 2)) + 1e-4
    counts = random.negative_binomial(R, R / (R + mean)).astype(np.int32)
    return mean, counts


def scored(mean, counts, dispersion=DISPERSION, names=NAMES, *, seed=1, run=1000, has_history=None):
    """Scored in runs of `run` steps."""
    steps, cells, _ = counts.shape
    runs = in_runs(run, mean, counts)
    has_history = np.ones(cells, np.bool_) if has_history is None else has_history
    return score(runs, dispersion, names, np.random.default_rng(seed), steps=steps, has_history=has_history)


@pytest.mark.parametrize("power", [QUADRATIC, LINEAR])
@pytest.mark.parametrize("r", SIZES)
def test_proper_scores_are_scipys_and_scikit_learns(r, power):
    mean, counts = (grid.ravel() for grid in np.meshgrid(MEANS, COUNTS))
    size = r * mean**power
    law = nbinom(size, size / (size + mean))
    values, probability = proper_scores(mean, counts, Dispersion(r=np.array(r), power=np.array(power)))
    by_name = dict(zip(PROPER, values, strict=True))
    loose = 2e-6  # SciPy takes size / (size + mean), which rounds a large size's small mean
    np.testing.assert_allclose(by_name["nb_log_score"], -law.logpmf(counts), rtol=loose)
    saturated = poisson.logpmf(counts, np.maximum(counts, 1e-300))
    deviance = 2 * (saturated - poisson.logpmf(counts, mean))
    np.testing.assert_allclose(by_name["poisson_deviance"], deviance, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(probability, law.sf(0), rtol=loose)
    assert by_name["brier"].mean() == pytest.approx(brier_score_loss(counts > 0, law.sf(0)))


def test_a_sheet_has_the_means_over_all_values():
    mean, counts = simulated()
    result = scored(mean, counts)
    law = nbinom(R, R / (R + mean))
    assert result.sheet.nb_log_score == pytest.approx(-law.logpmf(counts).mean())
    np.testing.assert_allclose(result.log_score_sums[0], -law.logpmf(counts).sum(axis=1))
    assert result.sheet.poisson_deviance == pytest.approx(mean_poisson_deviance(counts.ravel(), mean.ravel()))
    assert result.sheet.brier == pytest.approx(brier_score_loss(counts.ravel() > 0, law.sf(0).ravel()))
    assert result.sheet.forecast_over_actual == pytest.approx(mean.sum() / counts.sum())
    for c, name in enumerate(NAMES):
        row = result.by_category[name]
        assert row.nb_log_score == pytest.approx(-law.logpmf(counts)[..., c].mean())
        assert row.forecast_over_actual == pytest.approx(mean[..., c].sum() / counts[..., c].sum())
    for name in (*PROPER, "coverage_90"):
        assert getattr(result.sheet, name) == pytest.approx(
            np.mean([getattr(row, name) for row in result.by_category.values()])
        )


def test_a_category_is_scored_as_if_it_were_alone():
    mean, counts = simulated()
    both = scored(mean, counts)
    alone = scored(mean[..., :1], counts[..., :1], DISPERSION[:1], NAMES[:1])
    assert asdict(alone.sheet) == asdict(both.by_category["fire"])


@settings(max_examples=30, deadline=None)
@given(run=st.integers(1, 40), block=st.integers(1, 40), cells=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_the_size_of_the_runs_and_of_the_blocks_changes_no_bit(run, block, cells, seed):
    mean, counts = simulated(steps=37, cells=cells, seed=seed)
    mean[::2] = np.round(mean[::2], 1) + 0.1  # with ties
    whole = scored(mean, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "BLOCK_VALUES", block * cells)
        patch.setattr(measures, "PART_VALUES", 7 * block)
        pieces = scored(mean, counts, run=run)
    assert pickle.dumps(pieces) == pickle.dumps(whole)


def test_a_category_without_incidents_has_no_figures_that_need_one():
    mean, counts = simulated()
    counts[..., 1] = 0
    result = scored(mean, counts)
    empty = result.by_category["ems"]
    assert np.isnan([empty.forecast_over_actual, empty.ranking[0].pai]).all()
    assert np.isfinite([getattr(empty, name) for name in PROPER]).all()
    nothing = scored(mean, np.zeros_like(counts)).sheet
    assert np.isnan([nothing.forecast_over_actual, nothing.ranking[0].pei]).all()


@pytest.mark.parametrize(("value", "message"), [(0.0, "from 0 to"), (np.nan, "nan"), (2e6, r"to 2e\+06")])
def test_a_model_that_has_failed_is_refused(value, message):
    mean, counts = simulated(steps=3, cells=2)
    mean[0, 0, 0] = value
    with pytest.raises(DataError, match=message):
        scored(mean, counts)


def test_empty_cells_around_the_others_make_no_hit_cheaper():
    """Incidents in cells without history are missed by every choice."""
    mean, counts = simulated()
    far = ((0, 0), (0, 80), (0, 0))
    wide, empty = np.pad(mean, far, constant_values=1e-6), np.pad(counts, far)
    has_history = np.arange(120) < 40
    hits = {
        of: scored(*of_cells, has_history=known).sheet.ranking
        for of, of_cells, known in (("all", (mean, counts), None), ("wide", (wide, empty), has_history))
    }
    assert hits["wide"] == hits["all"]
    assert scored(wide, empty).sheet.ranking[2].hit_rate > 1.5 * hits["all"][2].hit_rate
    empty[:, -1] = counts.sum(axis=1)
    rates = [at.hit_rate for at in scored(wide, empty, has_history=has_history).sheet.ranking]
    assert rates == pytest.approx([at.hit_rate / 2 for at in hits["all"]])
