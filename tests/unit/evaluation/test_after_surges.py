"""The hours after a surge: which they are, and every figure of them by a plain sum and SciPy."""

import numpy as np
import pytest
from scipy.stats import nbinom

from models.evaluation.after_surges import LEAST_SURGES, SurgeFigures, is_surge, surge_rows
from models.nowcast import LastHours
from models.training.fit_nowcast import JUDGED_SIZE

STEPS, CELLS = 200, 40


def known(came, usual):
    none = np.zeros(2)
    return LastHours(came=none, usual=none, came_1h=np.array(came, float), usual_1h=np.array(usual, float))


def test_a_surge_is_four_deviations_above_the_usual_of_all_categories_together():
    steps = [known([4, 21], [4, 4]), known([4, 15], [4, 4]), known([9, 9], [4, 5]), known([0, 0], [4, 4])]
    assert is_surge(steps).tolist() == [25 - 8 > 4 * 8**0.5, False, False, False] == [True, False, False, False]


@pytest.fixture(scope="module")
def world():
    """Counts, the forecast of a plain model and of one that knows of the surges, and which steps follow one."""
    draw = np.random.default_rng(0)
    plain = draw.gamma(2, 0.1, (STEPS, CELLS, 2))
    after = draw.random(STEPS) < 0.1
    factor = np.where(after, 2.0, 1.0)[:, None, None]
    return draw.poisson(plain * factor).astype(np.int32), {"network": plain, "knows": plain * factor}, after


def figures_of(world, part):
    counts, forecasts, after = (world[0][part], {name: of[part] for name, of in world[1].items()}, world[2][part])
    cells = {name: -nbinom.logpmf(counts, 2, 2 / (2 + of)).sum(axis=(1, 2)) for name, of in forecasts.items()}
    return {name: (SurgeFigures.of([(of, counts)], after), cells[name]) for name, of in forecasts.items()}, cells


def test_every_figure_is_that_of_a_plain_sum_over_the_origins(world):
    parts = slice(0, 120), slice(120, STEPS)
    rows = surge_rows([figures_of(world, part)[0] for part in parts], "network", steps_per_week=168, seed=0)
    (counts, forecasts, after), cells = world, figures_of(world, slice(None))[1]
    assert [row.model for row in rows] == ["network", "knows"]
    for row in rows:
        mean = forecasts[row.model]
        came, expected = counts.sum(axis=(1, 2)), mean.sum(axis=(1, 2))
        ratio = expected[after].sum() / came[after].sum()
        assert (row.steps, row.came, row.forecast) == (
            after.sum(),
            came[after].mean(),
            pytest.approx(expected[after].mean()),
        )
        assert row.forecast_over_actual == pytest.approx(ratio)
        assert row.low <= ratio <= row.high
        first = np.argsort(-mean.sum(axis=2), axis=1)[:, :2]  # 5 % of 40 cells
        hits = np.take_along_axis(counts.sum(axis=2), first, axis=1).sum(axis=1)
        assert row.hits == pytest.approx(hits[after].sum() / came[after].sum())

        def percent(score, plain, of):
            return 100 * (score[of].sum() / plain[of].sum() - 1)

        def region(model):
            total = forecasts[model].sum(axis=(1, 2))
            return -nbinom.logpmf(counts.sum(axis=(1, 2)), JUDGED_SIZE, JUDGED_SIZE / (JUDGED_SIZE + total))

        every = slice(None)
        assert row.cells_percent == pytest.approx(percent(cells[row.model], cells["network"], after))
        assert row.all_cells_percent == pytest.approx(percent(cells[row.model], cells["network"], every))
        assert row.region_percent == pytest.approx(percent(region(row.model), region("network"), after))
        assert row.all_region_percent == pytest.approx(percent(region(row.model), region("network"), every))
        assert row.moved == pytest.approx((np.abs(expected / forecasts["network"].sum(axis=(1, 2)) - 1) > 0.1).mean())
    assert rows[1].cells_percent < 0


def test_of_too_few_surges_nothing_is_said(world):
    few = (world[0], world[1], np.arange(STEPS) < LEAST_SURGES - 1)
    assert surge_rows([figures_of(few, slice(None))[0]], "network", steps_per_week=168, seed=0) == ()
