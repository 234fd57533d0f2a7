"""What serves is fitted on all of the time, with the choices of the fit that was judged."""

import numpy as np
import pytest
import torch

from models.dispersion import Dispersion
from models.training.fit_baseline import choose, constants_until, fit_constants
from models.training.fit_network import FitData, FitPlan, KeptState, fit_network
from tests.harness.made_examples import made_examples
from tests.unit.training.test_training import DAY, DAYS, region, same_weights, trained

DISPERSION = Dispersion.quadratic(np.full((2, 3), 4.0))


def fit(plan, *, train=None, validation=None):
    torch.set_num_threads(1)
    train = made_examples(1000, seed=1) if train is None else train
    validation = made_examples(500, seed=2) if validation is None else validation
    data = FitData(train=train, validation=validation, dispersion=DISPERSION)
    return fit_network(data, plan, lambda epoch, ratio: None)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_kept_state_is_reached_again_without_validation(seed):
    plan = FitPlan(epochs=5, seed=seed)
    chosen = fit(plan)
    assert chosen.kept != KeptState()
    again = fit(FitPlan(epochs=5, seed=seed, kept=chosen.kept), validation=made_examples(500, seed=2).none())
    assert same_weights(again.network, chosen.network)
    assert again.kept == chosen.kept


def test_another_state_is_another_network():
    plan = FitPlan(epochs=5, seed=0)
    kept = fit(plan).kept
    other = KeptState(kept.warm_start, kept.epoch - 1)
    networks = [fit(FitPlan(epochs=5, seed=0, kept=one)).network for one in (kept, other, KeptState(0, kept.epoch))]
    assert not same_weights(networks[0], networks[1])
    assert not same_weights(networks[0], networks[2])


def test_a_fit_that_kept_nothing_is_the_baseline():
    values = made_examples(50, seed=2).values[None]
    assert torch.all(fit(FitPlan(epochs=5, seed=0, kept=KeptState())).network(values) == 0)


@pytest.fixture(scope="module")
def doubled():
    """Training where the last tenth of the time has twice as many incidents, and its networks: judged, and serving."""
    level, networks = np.ones(DAYS), []
    level[-DAYS // 10 :] = 2

    def fit(*arguments):
        networks.append(fit_network(*arguments))
        return networks[-1]

    return trained(region(level), fit=fit), [fitted.network for fitted in networks]


def test_constants_come_from_all_of_the_time_and_choices_from_the_usual_blocks(doubled):
    made, _ = doubled
    past, blocks, constants = made.past, made.blocks, made.constants
    choices = choose(past, blocks)
    assert float(constants.half_life_days) == choices.half_life_days
    assert tuple(constants.shrink_days) == choices.shrink_days
    expected = constants_until(past, past.cutoff_s, choices)
    np.testing.assert_array_equal(constants.profile, expected.profile)
    np.testing.assert_array_equal(constants.day_lift, expected.day_lift)
    per_day = past.counts(past.first_s, past.cutoff_s).sum(axis=0) / ((past.cutoff_s - past.first_s) / DAY)
    np.testing.assert_allclose(constants.mean_per_day, per_day)
    assert (constants.mean_per_day > 1.05 * fit_constants(past, blocks).mean_per_day).all()


def test_the_serving_network_has_seen_the_newest_time(doubled):
    made, (judged, serving) = doubled
    assert same_weights(made.network, serving)
    level = made.past.spec.features.index("level_7d")
    assert float(serving.mean[level] - judged.mean[level]) > 0.04  # without the busy weeks it is 0.001
