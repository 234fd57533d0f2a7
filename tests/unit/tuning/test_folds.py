"""What tuning learns from and what judges it: no fold sees what comes after its origin."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch

from models import tuning
from models.features import informed
from models.network_kinds import DEFAULT, Hyperparameters
from models.training.fit_baseline import Blocks, fit_constants
from models.training.fit_network import FitData, FitPlan, fit_network
from models.training.replay import IncidentHistory
from models.training.train import TrainingOptions
from models.training.train_region import spec_for
from models.tuning import FOLDS, collect_folds, origin_starts
from schemas.errors import DataError
from tests.harness.made_examples import one_penalty
from tests.harness.toy import toy_table

DAY, HOUR = 86_400, 3600
START, DAYS = 1_600_000_000 // DAY * DAY, 100
CUTOFF, STEP_S = START + DAYS * DAY, 6 * HOUR


@pytest.fixture(scope="module", autouse=True)
def strongest_penalty():
    with one_penalty(1.0):
        yield


def town(*, changed_from_s=None):
    """80 incidents a day over 4 x 4 km, at half or one and a half of that for two days at a time.

    From `changed_from_s` on they happen at other places, under other categories.
    """
    random = np.random.default_rng(0)
    level = np.where(random.random(DAYS // 2) < 0.5, 0.5, 1.5).repeat(2)
    day = np.repeat(np.arange(DAYS), random.poisson(80 * level))
    when = np.sort(START + day * DAY + random.integers(0, DAY, len(day)))
    lat, lon = 41 + 0.036 * random.beta(1, 2, len(when)), -87 + 0.048 * random.random(len(when))
    category = random.integers(0, 2, len(when)).astype(np.int16)
    if changed_from_s is not None:
        late = when >= changed_from_s
        lat[late], lon[late], category[late] = 41.03, -86.97, 1 - category[late]
    return toy_table(when, lat_deg=lat, lon_deg=lon, category=category)


RECIPE = Hyperparameters(minibatch=256)
BLOCKS = Blocks.of(int(town().occurred_s[0]), CUTOFF)
SPEC = spec_for(town(), region="toyville", cell_m=1000, cutoff_s=CUTOFF)


def folds_of(table):
    torch.set_num_threads(1)
    options = TrainingOptions(step_s=STEP_S, epochs=3, seed=0)
    return collect_folds(IncidentHistory.of(table, SPEC, CUTOFF), options, report=lambda share: None)


@pytest.fixture(scope="module")
def fitted_until():
    """(last incident, end) of each time that the folds' constants were fitted on."""
    return []


@pytest.fixture(scope="module")
def folds(fitted_until):
    def noted(incident_history, blocks):
        fitted_until.append((int(incident_history.incidents.occurred_s[-1]), blocks.test_s))
        return fit_constants(incident_history, blocks)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tuning, "fit_constants", noted)
        return folds_of(town())


def test_origins_follow_one_another_and_the_last_span_is_the_validation_block(folds):
    starts = origin_starts(BLOCKS)
    assert starts[-1] == BLOCKS.validation_s
    assert len(folds.folds) == len(starts) == FOLDS
    spans = {later - earlier for earlier, later in pairwise((*starts, BLOCKS.test_s))}
    assert spans == {BLOCKS.test_s - BLOCKS.validation_s}
    sizes = [len(fold.train.values) for fold in folds.folds]
    assert sizes == sorted(set(sizes))


def test_what_a_forecast_is_about_lies_on_its_own_side_of_the_origin(folds):
    longest = max(SPEC.horizons_s)
    starts = origin_starts(BLOCKS)
    for fold, start, end in zip(folds.folds, starts, (*starts[1:], BLOCKS.test_s), strict=True):
        assert BLOCKS.burn_in_s <= fold.train_at_s[0]
        assert start - 2 * STEP_S < fold.train_at_s[1] + longest <= start  # no more is left out than must be
        assert start <= fold.validation_at_s[0] < start + 2 * STEP_S
        assert fold.validation_at_s[1] + longest <= end


@pytest.mark.parametrize(
    ("from_s", "same"),
    [(BLOCKS.test_s, 12), (BLOCKS.validation_s, 10), (origin_starts(BLOCKS)[0], 2)],
    ids=["test block", "validation block", "first origin"],
)
def test_what_comes_later_is_in_no_earlier_part_of_any_fold(folds, from_s, same):
    """Of each fold there are four parts in the order of time: features and counts to learn from, and to judge by."""
    other = folds_of(town(changed_from_s=from_s))
    parts, others = (
        [of for fold in each.folds for part in (fold.train, fold.validation) for of in (part.values, part.counts)]
        for each in (folds, other)
    )
    is_same = list(map(torch.equal, parts, others))
    assert all(is_same[:same])
    assert all(is_same) == (same == len(parts)) == (folds.loss(DEFAULT, 2, seed=0) == other.loss(DEFAULT, 2, seed=0))
    assert folds.dispersion == other.dispersion


@pytest.mark.usefixtures("folds")
def test_the_constants_are_fitted_and_chosen_on_the_time_before_the_first_origin(fitted_until):
    first = origin_starts(BLOCKS)[0]
    assert [(last < first, until <= first) for last, until in fitted_until] == [(True, True)]


def test_the_loss_finds_what_is_there_and_depends_on_each_part_of_the_recipe_and_the_seed_alone(folds):
    loss = folds.loss(RECIPE, 0, seed=0)
    assert loss < 0.995
    assert folds.loss(RECIPE, 0, seed=0) == loss != folds.loss(RECIPE, 0, seed=1)
    assert folds.loss(msgspec.structs.replace(RECIPE, learning_rate=1e-6), 0, seed=0) > loss
    for change in ({"widths": (64, 16)}, {"widths": (16, 32)}, {"weight_decay": 1.0}, {"minibatch": 300}):
        assert folds.loss(msgspec.structs.replace(RECIPE, **change), 0, seed=0) != loss, change


def test_a_recipe_that_only_does_harm_has_the_loss_of_the_linear_part(folds):
    harmful = Hyperparameters(learning_rate=1.0, minibatch=16)
    assert folds.loss(harmful, 0, seed=0) == replace(folds, epochs=0).loss(harmful, 0, seed=0) < 1


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_training_stops_after_as_many_epochs_without_gain_as_the_recipe_says(folds, patience):
    ratios = []
    recipe, part = Hyperparameters(minibatch=64, learning_rate=1e-2, patience=patience), folds.folds[1]
    data = FitData(train=part.train, validation=part.validation, dispersion=folds.dispersion)
    fit_network(data, FitPlan(recipe=recipe, epochs=30, seed=0), lambda _, ratio: ratios.append(ratio))
    assert len(ratios) - (np.argmin(ratios) + 1) == patience


def test_a_step_that_leaves_a_span_without_moment_is_refused():
    options = TrainingOptions(step_s=19 * DAY, epochs=3, seed=0)
    with pytest.raises(DataError, match=r"no step of 1641600 s has its moment"):
        collect_folds(IncidentHistory.of(town(), SPEC, CUTOFF), options, report=lambda share: None)


def test_folds_know_the_days_of_a_calendar():
    spec = informed(SPEC, holidays="", calendar=("match",))
    days = np.column_stack([np.zeros(DAYS // 2), START // DAY + np.arange(0, DAYS, 2)])
    past = replace(IncidentHistory.of(town(), spec, CUTOFF), calendar=days)
    folds = collect_folds(past, TrainingOptions(step_s=12 * HOUR, epochs=2, seed=0), report=lambda share: None)
    today, eve = (spec.features.index(f"calendar_match_{at}") for at in ("today", "eve"))
    for fold in folds.folds:
        told = fold.validation.values[:, 0]
        assert 0.4 < told[:, today].mean() < 0.6
        assert (told[:, today] + told[:, eve] == 1).all()
