"""What the baseline learns: the week's profile, the cell's own day, the map of older days, and the spread."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import nbinom

from models.artifact import read_artifact
from models.dispersion import LEAST_GAIN, LEAST_NATS, LINEAR, QUADRATIC, Dispersion
from models.features import FeatureEngine
from models.local_time import HOURS
from models.training.fit_baseline import (
    DISPERSIONS,
    FACTORS,
    LIFT_PRIORS,
    Blocks,
    by_hour_of_week,
    choose,
    choose_profile,
    choose_spread,
    constants_until,
    day_lift,
    dispersion_of_network,
    factor_losses,
    fit_constants,
    likeliest_dispersion,
    likeliest_factors,
    profile_of,
)
from models.training.replay import Replay
from models.training.train import TrainingOptions, train
from models.training.train_region import card_text
from schemas.spec import DAY_S
from tests.harness.toy import publish_artifact, toy_grid, toy_history, toy_spec

START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
DAYS, VALIDATION, TEST = 280, START + 196 * 86_400, START + 238 * 86_400


def history(*, moved_day=DAYS, zone="UTC", seed=0):
    """40 incidents a day around 12 o'clock, from `moved_day` on around 18 o'clock."""
    random = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), random.poisson(40, DAYS))
    hour = np.clip(random.normal(12 + 6 * (day >= moved_day), 2.5), 0, 23.99)
    at_s = np.sort(START + day * DAY_S + (hour * 3600).astype(np.int64))
    spec = toy_spec(1, 1, timezone=zone)
    return toy_history(spec, at_s, START + DAYS * DAY_S, category=random.integers(0, 2, len(at_s)))


def test_hours_are_forgotten_where_they_moved_and_only_there():
    assert choose_profile(history(), VALIDATION, TEST)[1] == inf
    moved = history(moved_day=130)
    prior, half_life = choose_profile(moved, VALIDATION, TEST)
    assert half_life == 90
    peaks = []
    for of in (half_life, inf):
        profile = profile_of(*by_hour_of_week(moved, START, TEST, of), prior).sum(axis=0).reshape(7, 24).sum(axis=0)
        peaks.append((profile * np.arange(24)).sum() / profile.sum())
    assert 14 < peaks[1] + 1 < peaks[0] < 18


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago"])
def test_weighed_hours_are_those_counted_one_by_one(zone):
    past, local = history(zone=zone), ZoneInfo(zone)
    begin, end = START + 5 * DAY_S + 7200, START + 95 * DAY_S + 3600
    incidents, hours = by_hour_of_week(past, begin, end, 30.0)

    def weight(at_s):
        return 0.5 ** (7 / 30.0 * ((end - 1 - at_s) // (7 * DAY_S)))

    def slot(at_s):
        at = datetime.fromtimestamp(at_s, local)
        return 24 * at.weekday() + at.hour

    counted, lasted = np.zeros((2, HOURS)), np.zeros(HOURS)
    for at_s in range(begin, end, 3600):
        lasted[slot(at_s)] += weight(at_s)
    inside = (past.incidents.occurred_s >= begin) & (past.incidents.occurred_s < end)
    for at_s, category in zip(past.incidents.occurred_s[inside], past.incidents.category[inside], strict=True):
        counted[category, slot(int(at_s))] += weight(int(at_s))
    np.testing.assert_allclose(incidents, counted)
    np.testing.assert_allclose(hours, lasted)
    assert timedelta(hours=float(by_hour_of_week(past, begin, end)[1].sum())) == timedelta(seconds=end - begin)


GRID = toy_grid(2, 3)
ZONE = "America/Chicago"
SIX_CELLS = toy_spec(grid=GRID, timezone=ZONE)
MONDAY_S = int(datetime(2017, 1, 2, 6, tzinfo=UTC).timestamp())  # Monday 00:00 in Chicago
NIGHTS = 120
NIGHT_CELL, NIGHT_HOURS = 4, (22, 23, 0, 1)


def neighbourhood(cell):
    row, col = divmod(cell, GRID.cols)
    around = [(r, c) for r in (row - 1, row, row + 1) for c in (col - 1, col, col + 1)]
    return [r * GRID.cols + c for r, c in around if 0 <= r < GRID.rows and 0 <= c < GRID.cols]


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.int64, (6, 2, 16), elements=st.integers(0, 60)),
    arrays(np.float64, (2, 16), elements=st.floats(0.01, 1)),
    st.sampled_from(LIFT_PRIORS),
)
def test_a_lift_is_shrunk_to_the_cell_the_neighbourhood_and_one(seen, share, prior):
    share = share / share.sum(axis=1, keepdims=True)
    lift = day_lift(seen.astype(float), share, prior, GRID)
    expected = [[seen[cell, k].sum() * share[k] for k in (0, 1)] for cell in range(6)]
    for cell in range(6):
        around = neighbourhood(cell)
        by_place = (sum(seen[c, k] for c in around for k in (0, 1)) + 2 * prior) / (
            sum(expected[c][k] for c in around for k in (0, 1)) + 2 * prior
        )
        by_cell = (seen[cell].sum(axis=0) + prior * by_place) / (sum(expected[cell]) + prior)
        for k in (0, 1):
            own = (seen[cell, k] + prior * by_cell) / (expected[cell][k] + prior)
            np.testing.assert_allclose(lift[cell, k], own / (own * share[k]).sum(), rtol=1e-9)
    np.testing.assert_allclose((lift * share).sum(axis=2), 1)


def history_by_night(night_cell):
    """500 incidents a day, everywhere and at any time; those of `night_cell` only at night."""
    random = np.random.default_rng(0)
    count = 500 * NIGHTS
    at_s = np.sort(MONDAY_S + random.integers(0, NIGHTS * DAY_S, count))
    cell = random.integers(0, GRID.cells, count)
    if night_cell is not None:
        hours = np.array([datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(ZONE)).hour for at in at_s.tolist()])
        lives = (cell != night_cell) | np.isin(hours, NIGHT_HOURS)
        at_s, cell = at_s[lives], cell[lives]
    category = random.integers(0, 2, len(at_s))
    return toy_history(SIX_CELLS, at_s, MONDAY_S + NIGHTS * DAY_S, cell=cell, category=category)


def fitted(history):
    return fit_constants(history, Blocks.of(history.first_s, history.cutoff_s))


def test_a_cell_that_lives_at_night_is_known_for_it_and_without_a_difference_every_cell_has_the_profile():
    # by category, and weekday or weekend
    lift = fitted(history_by_night(NIGHT_CELL)).day_lift[NIGHT_CELL].reshape(2, 2, 8)
    is_nightly = np.isin(np.arange(24), NIGHT_HOURS).reshape(8, 3).any(axis=1)
    assert (lift[..., is_nightly] > 2).all()
    assert (lift[..., ~is_nightly] < 0.3).all()
    np.testing.assert_allclose(fitted(history_by_night(None)).day_lift, 1, atol=0.15)


LONG_START_S = 1_600_000_000 // DAY_S * DAY_S
SIXTEEN_CELLS = toy_spec(grid=toy_grid(4, 4))
LONG_DAYS = 900
MAP = np.random.default_rng(0).gamma(0.5, size=SIXTEEN_CELLS.grid.cells)


def history_of(days, maps=(MAP,), seed=1):
    """12 incidents a day; maps: of the cells in parts of the time that are equally long."""
    random = np.random.default_rng(seed)
    when = np.sort(LONG_START_S + random.integers(0, days * DAY_S, 12 * days))
    part = (when - LONG_START_S) * len(maps) // (days * DAY_S)
    drawn = [random.choice(SIXTEEN_CELLS.grid.cells, len(when), p=cells / cells.sum()) for cells in maps]
    category, cutoff_s = random.integers(0, 2, len(when)), LONG_START_S + days * DAY_S
    return toy_history(SIXTEEN_CELLS, when, cutoff_s, cell=np.choose(part, drawn), category=category)


def chosen_of(history):
    return choose(history, Blocks.of(history.first_s, history.cutoff_s))


@pytest.fixture(scope="module")
def stable():
    """A history whose places stay, and what is chosen by it."""
    history = history_of(LONG_DAYS)
    return history, chosen_of(history)


def usual_of(engine, state):
    return np.exp(engine.compute(state).values[:, :, -1].astype(np.float64))


def test_the_map_of_all_days_is_chosen_where_places_stay_and_it_is_nearer_to_the_truth(stable):
    history, choices = stable
    assert choices.older_share >= 0.5
    state, distance = Replay(history).lead_to(history.cutoff_s), []
    for share in (0.0, choices.older_share):
        constants = constants_until(history, history.cutoff_s, choices._replace(older_share=share))
        usual = usual_of(FeatureEngine(SIXTEEN_CELLS, constants), state).sum(axis=1)
        distance.append(np.abs(usual / usual.sum() - MAP / MAP.sum()).sum())
    assert distance[1] < 0.9 * distance[0]


def test_nothing_is_taken_of_a_map_that_has_changed_or_where_all_days_are_kept():
    other = np.random.default_rng(9).permutation(MAP)
    assert chosen_of(history_of(LONG_DAYS, maps=(other, other, MAP, MAP, MAP))).older_share == 0
    constants = fitted(history_of(399))
    assert constants.older is None
    assert not {name for name in constants.arrays() if name.startswith("older")}


def test_what_is_older_ends_where_the_kept_days_begin_and_knows_nothing_after_the_cut_off(stable):
    cutoff_s = LONG_START_S + 700 * DAY_S + 5 * 3600
    history, choices = stable
    of_all, of_past = (constants_until(data, cutoff_s, choices) for data in (history, history.until(cutoff_s)))
    assert of_all.older.end_day == cutoff_s // DAY_S - 399
    np.testing.assert_array_equal(of_all.older.counts, history.counts(LONG_START_S, LONG_START_S + 301 * DAY_S))
    np.testing.assert_array_equal(of_all.older.counts, of_past.older.counts)
    state = Replay(history).lead_to(cutoff_s)
    assert state.levels["day"].oldest == of_all.older.end_day


def test_a_moment_of_training_sees_no_day_after_it_and_one_of_service_the_same_bytes(stable):
    """What the constants hold of older days is still to come at a moment of the first year."""
    history, choices = stable
    constants = constants_until(history, history.cutoff_s, choices)
    replay, trained = Replay(history), FeatureEngine(SIXTEEN_CELLS, constants, history.counts_before)
    for day in (200, 420, LONG_DAYS - 1):
        state = replay.lead_to(LONG_START_S + day * DAY_S + 3600)
        past = FeatureEngine(SIXTEEN_CELLS, constants, history.until(state.as_of_s).counts_before)
        assert trained.compute(state).values.tobytes() == past.compute(state).values.tobytes()
    elsewhere = replace(constants, older=replace(constants.older, counts=constants.older.counts[::-1].copy()))
    early = Replay(history).lead_to(LONG_START_S + 420 * DAY_S)
    served = [FeatureEngine(SIXTEEN_CELLS, of).compute(early).values.tobytes() for of in (constants, elsewhere)]
    assert served[0] == served[1]  # the clock stands before the end of the older days: they are left out
    state = replay.lead_to(history.cutoff_s)
    assert (
        FeatureEngine(SIXTEEN_CELLS, constants).compute(state).values.tobytes()
        == trained.compute(state).values.tobytes()
    )


pytestmark = pytest.mark.usefixtures("quick_training")
CELLS, STEPS, R = 40, 1500, 1.5
REPORTS_S = 1_451_606_400
POWERS = [pytest.param(QUADRATIC, id="quadratic"), pytest.param(LINEAR, id="linear")]


def spread_counts(factor, power, seed=0, steps=STEPS):
    """(log_mean, counts, cell, dispersion) of steps x CELLS counts whose cells have these factors on r."""
    random = np.random.default_rng(seed)
    mean = random.gamma(1.0, 0.2, (steps, CELLS)) + 1e-3
    size = R * factor * mean**power
    counts = random.negative_binomial(size, size / (size + mean))
    log_mean, observed = (torch.tensor(array.reshape(-1, 1, 1)) for array in (np.log(mean), counts))
    dispersion = Dispersion(r=np.array([[R]]), power=np.array([[power]]))
    return log_mean, observed, np.tile(np.arange(CELLS), steps), dispersion


def losses_of(factor, power, **changes):
    return factor_losses(*spread_counts(factor, power, **changes), CELLS)


@pytest.mark.parametrize("power", POWERS)
def test_losses_are_scipys_summed_by_cell(power):
    log_mean, counts, cell, dispersion = spread_counts(np.ones(CELLS), power, steps=20)
    losses = factor_losses(log_mean, counts, cell, dispersion, CELLS)
    mean = np.exp(log_mean[:, 0, 0].numpy())
    for number, factor in enumerate(FACTORS):
        size = R * factor * mean**power
        each = -nbinom.logpmf(counts[:, 0, 0].numpy(), size, size / (size + mean))
        expected = [each[cell == number_of_cell].sum() for number_of_cell in range(CELLS)]
        np.testing.assert_allclose(losses[number, :, 0, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("power", POWERS)
def test_the_factors_of_cells_that_differ_are_found_and_chosen_and_none_where_they_are_alike(power):
    factor = np.where(np.arange(CELLS) % 4 == 0, np.exp(-1.0), 1.0)
    learned, later = (losses_of(factor, power, seed=seed) for seed in (1, 2))
    spread = choose_spread(learned, later)
    assert spread.item() > 0
    factors = likeliest_factors(learned, spread)[:, 0, 0]
    assert factors.shape == (CELLS,)
    assert factors[factor < 1].mean() < 0.55
    assert factors[factor == 1].mean() == pytest.approx(1, abs=0.12)
    learned, later = (losses_of(np.ones(CELLS), power, seed=seed) for seed in (3, 4))
    assert choose_spread(learned, later) == 0


def test_a_cell_of_which_little_is_known_has_the_regions_dispersion():
    factor = np.full(CELLS, np.exp(-1.0))
    assert (likeliest_factors(losses_of(factor, LINEAR, steps=4), np.full((1, 1), 0.3)) == 1).mean() > 0.9


@pytest.mark.parametrize("power", POWERS)
def test_counts_spread_less_around_a_network_that_knows_what_moves_them(power):
    """Two categories: the first follows something that only the network knows, the second the baseline."""
    random = np.random.default_rng(6)
    told = np.exp(0.8 * random.standard_normal((20_000, 1)) * [1, 0])
    usual = random.gamma(1.0, 0.5, (20_000, 2)) + 0.05
    mean = usual * told
    size = 2 * mean**power
    counts = random.negative_binomial(size, size / (size + mean))
    log_usual, log_mean, observed = (torch.tensor(array[:, :, None]) for array in (np.log(usual), np.log(mean), counts))
    of_baseline = likeliest_dispersion(log_usual, observed)
    of_network = dispersion_of_network(log_mean, observed, of_baseline)
    sizes = DISPERSIONS[:, None] * mean[:, 0] ** power
    losses = -nbinom.logpmf(counts[:, 0], sizes, sizes / (sizes + mean[:, 0])).sum(axis=1)
    assert of_baseline.r[0] < 1.5 < of_network.r[0]
    assert (of_network.r[0], of_network.power[0]) == (DISPERSIONS[losses.argmin()], power)
    assert (of_network.r[1], of_network.power[1]) == (of_baseline.r[1], of_baseline.power[1])


@pytest.mark.parametrize("steps", [STEPS, 20])
def test_a_dispersion_of_its_own_must_gain_enough_and_surely(steps):
    """Of many counts the share of the loss decides, of few the nats."""
    log_mean, observed, _, _ = spread_counts(np.ones(CELLS), QUADRATIC, steps=steps)
    mean, counts = np.exp(log_mean[:, 0, 0].numpy()), observed[:, 0, 0].numpy()

    def loss_of(r, power):
        size = r * mean**power
        return float(-nbinom.logpmf(counts, size, size / (size + mean)).sum())

    own, decided = likeliest_dispersion(log_mean, observed), set()
    least = loss_of(own.r.item(), own.power.item())
    for r in DISPERSIONS[::6]:
        loss, of_baseline = loss_of(r, QUADRATIC), Dispersion.quadratic(np.array([[r]]))
        is_own = loss - least > max(LEAST_GAIN * loss, LEAST_NATS)
        assert (dispersion_of_network(log_mean, observed, of_baseline) is not None) is is_own
        decided.add((is_own, loss - least > LEAST_GAIN * loss))
    assert (False, steps == 20) in decided
    assert (True, True) in decided


def test_training_finds_the_cells_whose_incidents_are_reported_again_and_again(tmp_path):
    """Calls about incidents in 5 x 5 cells, those of the first five six times on average."""
    random, days, spec = np.random.default_rng(5), 200, toy_spec(5, 5)
    at_s = REPORTS_S + np.sort(random.integers(0, days * DAY_S, 40 * days))
    cell = random.integers(0, 25, len(at_s))
    again = random.geometric(1 / np.where(cell < 5, 6.0, 1.02))
    at_s, cell = (np.repeat(array, again) for array in (at_s, cell))
    torch.set_num_threads(1)
    options = TrainingOptions(step_s=DAY_S // 2, epochs=1, seed=0)
    past = toy_history(spec, at_s, REPORTS_S + days * DAY_S, cell=cell)
    made = train(past, options, report=lambda what, share: None)
    constants, factors = made.constants, made.constants.cell_dispersion
    assert factors.shape == (25, 2, 3)
    assert factors[:5, 0, 0].max() < factors[5:, 0, 0].min()
    card = card_text(made, layout="made", file_rows=[])
    assert "Counts spread wider than the region's in" in card
    parts = {"constants": constants, "network": made.network, "history": made.history, "card": card}
    again = read_artifact(publish_artifact(tmp_path, spec=spec, **parts)).constants
    np.testing.assert_array_equal(again.cell_dispersion, factors)
    in_cells = again.dispersion_in_cells(of_network=False)
    np.testing.assert_array_equal(in_cells.r, factors * constants.dispersion.r)
    assert (in_cells.power == constants.dispersion.power).all()
    assert again.dispersion == constants.dispersion
