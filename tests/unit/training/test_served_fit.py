"""What serves is fitted on all of the time, with the choices of the fit that was judged."""

import numpy as np
import pytest

from models.training.fit_baseline import choose, constants_until, fit_constants
from models.training.fit_network import fit_network
from tests.unit.training.test_training import DAY, DAYS, region, same_weights, trained

pytestmark = pytest.mark.usefixtures("quick_training")


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
