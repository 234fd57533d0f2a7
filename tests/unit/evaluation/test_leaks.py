"""Forecasts that know the future are refused, honest ones are not."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from models.evaluation.judge import refuse_leaks
from models.evaluation.rivals import RIVALS
from schemas.errors import DataError, LeakError
from tests.harness.small_cube import random_cube

FIRST = 40


@dataclass(frozen=True)
class Planted:
    """Mean of the steps from `since` to `until` (both counted from the step that is forecast, `until` left out)."""

    since: int
    until: int

    def __call__(self, cube, first):
        steps = range(first, len(cube))
        return np.stack([cube.counts[step + self.since : step + self.until].mean(axis=0) for step in steps]) + 0.01


def normalised_by_the_whole_block(cube, first):
    rate = Planted(-7, 0)(cube, first)
    return rate / rate.mean() * cube.counts[first:].mean()


def check(forecast, *, seed, delay):
    random = np.random.default_rng(seed)
    cube = random_cube(random)
    refuse_leaks(forecast, cube, FIRST, name="planted", random=random, delay=delay)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize(
    "forecast",
    [Planted(-3, 4), Planted(-5, 1), normalised_by_the_whole_block],
    ids=["centred moving average", "peeks one step", "normalised by the whole block"],
)
def test_a_leak_is_refused_whichever_step_is_drawn(forecast, delay, seed):
    with pytest.raises(LeakError, match=r"'planted' leaks: its forecast of step \d+ changes .* \(delay"):
        check(forecast, seed=seed, delay=delay)


def knows_the_busiest_step(cube, first):
    rate = Planted(-7, 0)(cube, first)
    rate[np.argmax(cube.counts[first:].sum(axis=(1, 2)))] *= 2
    return rate


def test_a_leak_that_only_a_surge_shows_is_refused_by_some_of_many_draws():
    cube = random_cube(np.random.default_rng(0))
    cube.counts[-3] += 100  # more than noise could hide: only another order of the steps does
    refused = 0
    for seed in range(60):
        try:
            refuse_leaks(knows_the_busiest_step, cube, FIRST, name="surge", random=np.random.default_rng(seed), delay=0)
        except LeakError:
            refused += 1
    assert 0 < refused < 60


@pytest.mark.parametrize("seed", range(20))
def test_who_forgets_the_delay_is_refused_only_where_there_is_one(seed):
    check(Planted(-7, 0), seed=seed, delay=0)
    check(Planted(-7, -3), seed=seed, delay=3)
    for delay, until in ((1, 0), (3, 0), (3, -2)):
        with pytest.raises(LeakError, match=f"delay {delay}"):
            check(Planted(-7, until), seed=seed, delay=delay)


def test_the_message_names_the_first_step_that_knows_too_much():
    cube = random_cube(np.random.default_rng(5))
    drawn = int(np.random.default_rng(6).integers(FIRST, len(cube)))
    with pytest.raises(LeakError) as raised:
        refuse_leaks(Planted(-1, 2), cube, FIRST, name="peeks", random=np.random.default_rng(6), delay=0)
    assert f"step {drawn - 1} changes with the counts from step {drawn} on" in str(raised.value)
    assert f"only steps before {drawn - 1}" in str(raised.value)
    assert isinstance(raised.value, DataError)


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_every_simple_rival_is_honest(rival, delay):
    for seed in range(5):
        random = np.random.default_rng(seed)
        cube = random_cube(random)
        forecast = partial(rival.fit(cube.until(FIRST), FIRST - 12).forecast, delay=delay)
        refuse_leaks(forecast, cube, FIRST, name=rival.name, random=random, delay=delay)


def test_the_callers_counts_stay_as_they_are():
    random = np.random.default_rng(0)
    cube = random_cube(random)
    kept = cube.counts.copy()
    refuse_leaks(Planted(-7, 0), cube, FIRST, name="honest", random=random, delay=0)
    np.testing.assert_array_equal(cube.counts, kept)
