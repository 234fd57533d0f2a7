"""The hours after a surge: which they are, and every figure of them by a plain sum and SciPy."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import nbinom

from models.evaluation.after_surges import LEAST_SURGES, SurgeFigures, is_surge, surge_rows
from models.evaluation.evaluation_report import NONE, print_table, render, surge_texts
from models.nowcast import LastHours
from models.training.fit_nowcast import JUDGED_SIZE
from tests.harness.small_evaluation import small_evaluation

STEPS, CELLS = 200, 40
PLAN = {"steps_per_week": 168, "seed": 0}


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
    rows = surge_rows([figures_of(world, part)[0] for part in parts], "network", **PLAN)
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


def test_of_too_few_surges_only_what_is_of_all_steps_is_said(world):
    few = (world[0], world[1], np.arange(STEPS) < LEAST_SURGES - 1)
    enough = (world[0], world[1], np.arange(STEPS) < LEAST_SURGES)
    said, more = (surge_rows([figures_of(of, slice(None))[0]], "network", **PLAN)[1] for of in (few, enough))
    of_surges = ["came", "forecast", "forecast_over_actual", "low", "high", "region_percent", "cells_percent",
                 "cells_low", "cells_high", "hits"]  # fmt: skip
    assert np.isnan([getattr(said, name) for name in of_surges]).all()
    assert np.isfinite([getattr(more, name) for name in of_surges]).all()
    assert (said.steps, more.steps) == (LEAST_SURGES - 1, LEAST_SURGES)
    assert (said.all_cells_percent, said.moved) == (more.all_cells_percent, more.moved)
    (texts,) = surge_texts([said])
    assert texts[2:8] == (NONE,) * 6
    assert "nan" not in "".join(texts)


@pytest.mark.parametrize("shown", ["page", "terminal"])
def test_the_report_draws_the_table_after_surges_best_cells_first(world, shown):
    rows = surge_rows([figures_of(world, slice(None))[0]], "network", **PLAN)
    evaluation = replace(small_evaluation(), after_surges=rows)
    knows = next(row for row in rows if row.model == "knows")
    if shown == "page":
        text = render(evaluation, b"")
        assert "After a surge" not in render(replace(evaluation, after_surges=()), b"")
    else:
        console = Console(file=StringIO(), width=200)
        print_table(evaluation, console)
        text = console.file.getvalue()
    said = text[text.index("After a surge") :]
    assert f"{knows.cells_percent:+.2f} ({knows.cells_low:+.2f} to {knows.cells_high:+.2f})" in said
    assert f"{knows.forecast_over_actual:.2f} ({knows.low:.2f} to {knows.high:.2f})" in said
    assert 0 < said.index("knows") < said.index("+0.00 (+0.00 to +0.00)")
