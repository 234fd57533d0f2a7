"""The map of the days before those that the stream keeps: what is learned of it, and when."""

from dataclasses import replace

import numpy as np
import pytest

from models.features import FeatureEngine
from models.training.fit_baseline import Blocks, choose, constants_until, fit_constants
from models.training.replay import IncidentHistory, Replay
from tests.harness.toy import toy_grid, toy_spec, toy_table

DAY = 86_400
START = 1_600_000_000 // DAY * DAY
SPEC = toy_spec(grid=toy_grid(4, 4))
DAYS = 900
MAP = np.random.default_rng(0).gamma(0.5, size=SPEC.grid.cells)


def history_of(days, maps=(MAP,), seed=1):
    """12 incidents a day; maps: of the cells in parts of the time that are equally long."""
    random = np.random.default_rng(seed)
    when = np.sort(START + random.integers(0, days * DAY, 12 * days))
    part = (when - START) * len(maps) // (days * DAY)
    drawn = [random.choice(SPEC.grid.cells, len(when), p=cells / cells.sum()) for cells in maps]
    cell = np.choose(part, drawn).astype(np.int32)
    table = toy_table(when, category=random.integers(0, 2, len(when)).astype(np.int16), categories=SPEC.categories)
    return IncidentHistory.placed(table, cell, np.ones(len(cell), np.bool_), SPEC, START + days * DAY)


def chosen_of(history):
    return choose(history, Blocks.of(history.first_s, history.cutoff_s))


@pytest.fixture(scope="module")
def stable():
    """A history whose places stay, and what is chosen by it."""
    history = history_of(DAYS)
    return history, chosen_of(history)


def usual_of(engine, state):
    return np.exp(engine.compute(state).values[:, :, -1].astype(np.float64))


def test_the_map_of_all_days_is_chosen_where_places_stay_and_it_is_nearer_to_the_truth(stable):
    history, choices = stable
    assert choices.older_share >= 0.5
    state, distance = Replay(history).lead_to(history.cutoff_s), []
    for share in (0.0, choices.older_share):
        constants = constants_until(history, history.cutoff_s, choices._replace(older_share=share))
        usual = usual_of(FeatureEngine(SPEC, constants), state).sum(axis=1)
        distance.append(np.abs(usual / usual.sum() - MAP / MAP.sum()).sum())
    assert distance[1] < 0.9 * distance[0]


def test_nothing_is_taken_of_a_map_that_has_changed_or_where_all_days_are_kept():
    other = np.random.default_rng(9).permutation(MAP)
    assert chosen_of(history_of(DAYS, maps=(other, other, MAP, MAP, MAP))).older_share == 0
    short = history_of(399)
    constants = fit_constants(short, Blocks.of(short.first_s, short.cutoff_s))
    assert constants.older is None
    assert not {name for name in constants.arrays() if name.startswith("older")}


def test_what_is_older_ends_where_the_kept_days_begin_and_knows_nothing_after_the_cut_off(stable):
    cutoff_s = START + 700 * DAY + 5 * 3600
    history, choices = stable
    of_all, of_past = (constants_until(data, cutoff_s, choices) for data in (history, history.until(cutoff_s)))
    assert of_all.older.end_day == cutoff_s // DAY - 399
    np.testing.assert_array_equal(of_all.older.counts, history.counts(START, START + 301 * DAY))
    np.testing.assert_array_equal(of_all.older.counts, of_past.older.counts)
    state = Replay(history).lead_to(cutoff_s)
    assert state.levels["day"].oldest == of_all.older.end_day


def test_a_moment_of_training_sees_no_day_after_it_and_one_of_service_the_same_bytes(stable):
    """What the constants hold of older days is still to come at a moment of the first year."""
    history, choices = stable
    constants = constants_until(history, history.cutoff_s, choices)
    replay, trained = Replay(history), FeatureEngine(SPEC, constants, history.counts_before)
    for day in (200, 420, DAYS - 1):
        state = replay.lead_to(START + day * DAY + 3600)
        past = FeatureEngine(SPEC, constants, history.until(state.as_of_s).counts_before)
        assert trained.compute(state).values.tobytes() == past.compute(state).values.tobytes()
    elsewhere = replace(constants, older=replace(constants.older, counts=constants.older.counts[::-1].copy()))
    early = Replay(history).lead_to(START + 420 * DAY)
    served = [FeatureEngine(SPEC, of).compute(early).values.tobytes() for of in (constants, elsewhere)]
    assert served[0] == served[1]  # the clock stands before the end of the older days: they are left out
    state = replay.lead_to(history.cutoff_s)
    assert FeatureEngine(SPEC, constants).compute(state).values.tobytes() == trained.compute(state).values.tobytes()
