"""The nowcast: its two states against SciPy and a plain sum over factors, what it looks at, and what it moves."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma, nbinom

from models.dispersion import LINEAR, QUADRATIC, Dispersion
from models.features import FeatureEngine
from models.nowcast import LEAST, LIMIT, MEAN, SHAPE, LastHours, Nowcast, factors_of, no_nowcast, surge
from models.scoring import score, stored_views
from models.training.fit_baseline import HALF_LIVES_HOURS, PRIORS, SHARED, SIZES, fit_nowcast, usual_by_hour
from models.training.replay import IncidentHistory, Replay
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.spec import DAY_S, HOUR_S
from tests.harness.toy import CUTOFF_S, table_in_cells, toy_constants, toy_frame, toy_network, toy_spec, toy_state

NOWCAST = Nowcast.of(0.7, 0.01, 50.0, 0.3, np.array([1.0, 0.5, 0.0]))
SPEC = toy_spec(4, 4)
CONSTANTS = toy_constants(SPEC, mean_per_day=np.full(2, 48.0), nowcast=NOWCAST)


def factors(came, usual, nowcast, forecast, last_hour=(1.0, 0.0)):
    """Of these weighted counts; the last hour had more than is usual, unless it is told."""
    came_1h, usual_1h = (np.full(len(came), of) for of in last_hour)
    lately = LastHours(came=came, usual=usual, came_1h=came_1h, usual_1h=usual_1h)
    return factors_of(lately, 1.0, nowcast, forecast)[0]


def chance_by_hand(came, expected, prior):
    """Of a surge, by SciPy's negative binomials of whole counts."""
    likelihoods = [
        nbinom.pmf(came, size, size / (size + mean)) for size, mean in ((SHAPE, MEAN * expected), (50.0, expected))
    ]
    return prior * likelihoods[0] / (prior * likelihoods[0] + (1 - prior) * likelihoods[1])


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0.2, 30)), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_the_factor_is_the_mean_over_two_states_whose_chances_scipy_gives(of_categories):
    came, expected = (np.array(of, float) for of in zip(*of_categories, strict=True))
    mean, variance = surge(came, expected, NOWCAST)
    alone = [chance_by_hand(*of, 0.01) for of in of_categories]
    for place, (count, of_mean) in enumerate(of_categories):
        others = 1 - np.prod([1 - chance for other, chance in enumerate(alone) if other != place])
        chance = chance_by_hand(count, of_mean, 0.01 + 0.99 * 0.3 * others)
        of_surge = gamma(SHAPE + count, scale=1 / (SHAPE / MEAN + of_mean))
        moments = [1 - chance + chance * of_surge.moment(power) for power in (1, 2)]
        moves = moments[0] >= LEAST and count > of_mean
        assert mean[place] == pytest.approx(moments[0] if moves else 1.0, rel=1e-9)
        assert variance[place] == pytest.approx(moments[1] - moments[0] ** 2 if moves else 0.0, rel=1e-6, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.1, 50))
@settings(max_examples=200, deadline=None)
def test_a_lull_moves_nothing_more_counts_never_less_and_what_lies_ahead_moves_less(seed, categories, scale):
    draw = np.random.default_rng(seed)
    expected = scale * draw.uniform(0.2, 2, categories)
    came = draw.poisson(expected).astype(float)
    forecast = draw.uniform(0.5, 2, (categories, 3))
    lull = factors(0.5 * np.minimum(came, expected), expected, NOWCAST, forecast)
    assert (lull == 1).all()
    less, more = (factors(of, expected, NOWCAST, forecast) for of in (came, came + draw.poisson(3 * expected)))
    assert (more >= less).all()
    assert (more >= 1).all()
    assert (more[:, 2] == 1).all()
    assert (factors(1000 * came + 1000, expected, no_nowcast(3), forecast) == 1).all()
    assert factors(1000 * came + 1000, expected, NOWCAST, forecast).max() <= LIMIT
    over = factors(1000 * came + 1000, expected, NOWCAST, forecast, last_hour=(3.0, 3.0))
    assert (over == 1).all()  # the last hour had no more than is usual


def test_what_the_network_has_raised_already_is_raised_no_further_and_what_it_lowers_by_the_surge_alone():
    came, usual = np.array([36.0]), np.array([4.2])
    full = surge(came, usual, NOWCAST)[0][0]
    half = 1 + 0.5 * (full - 1)
    for forecast, raised in (
        ([1, 1, 1], [full, half, 1]),
        ([2, 2, 2], [full / 2, half / 2, 1]),
        ([9, half / 1.2, 9], [1, 1.2, 1]),
        ([0.5, 0.5, 0.5], [full, half, 1]),
        ([9, 9, 9], [1, 1, 1]),
    ):
        np.testing.assert_allclose(factors(came, usual, NOWCAST, np.array([forecast])), [raised])


def incidents_of(per_hour, seed=1):
    """So many incidents in each hour of each category, at drawn places; the hours end with a midnight."""
    draw = np.random.default_rng(seed)
    counts = draw.poisson(per_hour)
    hour, category = (np.repeat(of.ravel(), counts.ravel()) for of in np.indices(counts.shape))
    start_s = CUTOFF_S // DAY_S * DAY_S - len(per_hour) * HOUR_S
    occurred_s = start_s + hour * HOUR_S + draw.integers(0, HOUR_S, len(hour))
    return table_in_cells(SPEC, occurred_s, draw.integers(0, SPEC.grid.cells, len(hour)), category)


def history_of(table, until_s):
    return IncidentHistory.of(table, SPEC, until_s)


@given(st.integers(0, 6 * HOUR_S), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_what_it_looks_at_is_counted_by_hand_and_the_same_after_a_restart(later_s, seed):
    """By age until the end of the tick, pane by pane; an engine that lived gives the bytes of a fresh one."""
    table = incidents_of(np.full((20 * 24, 2), 2.0), seed)
    at_s = CUTOFF_S // DAY_S * DAY_S - 8 * HOUR_S + later_s
    past = history_of(table, at_s)
    replay, lived = Replay(past), FeatureEngine(SPEC, CONSTANTS)
    for before_s in (at_s - HOUR_S, at_s - 400, at_s - 30, at_s):
        features = lived.compute(replay.lead_to(before_s))
    assert features.lately.pack() == FeatureEngine(SPEC, CONSTANTS).compute(replay.state).lately.pack()
    tick_end_s, slide_s = at_s // SPEC.tick_s * SPEC.tick_s + SPEC.tick_s, SPEC.slide_s
    panes = at_s // slide_s - np.arange(73)
    weight = 0.5 ** (np.maximum(tick_end_s - panes * slide_s - slide_s / 2, 0) / HOUR_S / 0.7)
    of_pane = [(table.occurred_s // slide_s == pane) & (table.occurred_s < at_s) for pane in panes]
    came = [[(of & (table.category == category)).sum() for category in range(2)] for of in of_pane]
    np.testing.assert_allclose(features.lately.came, weight @ np.array(came))
    rate = np.exp(features.values[:, :, -3]).sum(axis=0)  # in an hour: every hour is alike
    covered = np.minimum(tick_end_s - panes * slide_s, slide_s) / HOUR_S
    np.testing.assert_allclose(features.lately.usual, (weight * covered).sum() * rate, rtol=1e-2)
    np.testing.assert_array_equal(features.lately.came_1h, features.observed_1h.sum(axis=0))
    assert LastHours.unpack(features.lately.pack()).pack() == features.lately.pack()


def test_hours_in_which_a_feed_was_silent_do_not_hide_a_surge():
    table = incidents_of(np.full((20 * 24, 2), 20.0))
    at_s = int(table.occurred_s[-1])
    is_silent = (table.occurred_s > at_s - 5 * HOUR_S) & (table.occurred_s < at_s - HOUR_S)
    spec_known = replace(CONSTANTS, spread_of_totals=np.full(3, 0.01), mean_per_day=np.full(2, 480.0))
    known, unknown = (
        FeatureEngine(SPEC, constants).compute(Replay(history_of(table.select(~is_silent), at_s)).lead_to(at_s)).lately
        for constants in (spec_known, replace(spec_known, spread_of_totals=np.zeros(0)))
    )
    np.testing.assert_array_equal(known.came, unknown.came)
    assert (known.usual < 0.75 * unknown.usual).all()


def storm():
    """A state whose last hour had ten times the usual of the first category."""
    days, places = np.meshgrid(CUTOFF_S - DAY_S * np.arange(1, 60), np.arange(SPEC.grid.cells * 2))
    burst = np.arange(20)
    at_s, place = np.append(days, CUTOFF_S - 150 * burst), np.append(places, 2 * burst % 32)
    return toy_state(SPEC, CUTOFF_S, at_s, place)


@pytest.mark.parametrize("has_network", [True, False])
def test_the_whole_region_is_raised_before_risk_and_interval_and_the_usual_stays(has_network):
    network = toy_network(SPEC) if has_network else None
    constants = replace(CONSTANTS, mean_per_day=np.full(2, 16.0))
    features = FeatureEngine(SPEC, constants).compute(storm())
    calm, raised = (
        score(features.values, network, constants, SPEC, lately=lately) for lately in (None, features.lately)
    )
    (of_first,) = raised.surges
    assert (of_first.category, of_first.observed) == (SPEC.categories[0], int(features.observed_1h[:, 0].sum()))
    assert of_first.factors[0] > 3
    assert of_first.in_words().startswith(f"{SPEC.categories[0]} x{of_first.factors[0]:.1f}: {of_first.observed} in")
    factors = np.stack([of_first.factors, np.ones(3)])
    np.testing.assert_allclose(raised.expected, calm.expected * factors, rtol=1e-6)
    np.testing.assert_array_equal(raised.usual, calm.usual)
    np.testing.assert_array_equal(raised.raw, calm.expected)
    assert not raised.is_followed
    assert (raised.risk[:, 0, 0] > calm.risk[:, 0, 0]).all()
    np.testing.assert_array_equal(raised.risk[:, 1], calm.risk[:, 1])
    np.testing.assert_array_equal(raised.risk[:, :, 2], calm.risk[:, :, 2])
    group = [*ATTRIBUTION_GROUPS].index("nowcast")
    np.testing.assert_allclose(raised.attribution[:, :, :, group], np.broadcast_to(factors, (10, 2, 3)), rtol=1e-6)
    assert (calm.surges, calm.raw) == ((), None)


def test_hours_of_which_nothing_is_usual_as_nobody_counted_then_are_no_surge():
    """A job that began today: what came before the first day has ended says nothing of a surge."""
    rate, numbers, now_s = 20, np.arange(12 * HOUR_S // 180), CUTOFF_S // DAY_S * DAY_S + 300
    state = toy_state(SPEC, now_s, now_s - 180 * numbers, numbers % (2 * SPEC.grid.cells))
    state.first_day = CUTOFF_S // DAY_S - 1  # counted since yesterday noon
    constants = replace(CONSTANTS, mean_per_day=np.full(2, 24.0 * rate / 2))
    lately = FeatureEngine(SPEC, constants).compute(state).lately
    assert (lately.came <= 1.5 * lately.usual + 3).all()


def test_what_is_followed_was_followed_in_the_last_hours_and_neither_surges_nor_is_raised_again():
    features = FeatureEngine(SPEC, CONSTANTS).compute(storm())
    following = np.full((SPEC.grid.cells, 2, 3), 2.0, np.float32)
    given = features.values, toy_network(SPEC), CONSTANTS, SPEC

    def scored(times):
        usual, usual_1h = np.full(2, 20.0), np.full(2, 30.0)
        lately = LastHours(came=times * usual, usual=usual, came_1h=times * usual_1h, usual_1h=usual_1h)
        return [score(*given, factors, lately) for factors in (None, following)]

    alone, followed = scored(2)
    assert len(alone.surges) == 2
    assert followed.surges == ()
    alone, followed = scored(6)
    np.testing.assert_allclose(followed.expected[:, :, 0], alone.expected[:, :, 0], rtol=0.05)  # six times the usual
    assert [surge.usual for surge in followed.surges] == [60.0, 60.0]


def test_no_less_is_likely_and_sure_to_come_than_without_a_surge_and_intervals_widen():
    """Also in the sum, and where one cell expects many, so that the factor's doubt outweighs the factor."""
    nowcast = Nowcast.of(0.5, 0.003, 20.0, 0.0, np.array([1.0, 1.0, 0.05]))
    constants = replace(CONSTANTS, nowcast=nowcast)
    values = FeatureEngine(SPEC, constants).compute(storm()).values.copy()
    values[:, :, -3:] = np.log(np.array([3.75, 15.0, 90.0]))
    usual = np.full(2, 1.0)
    lately = LastHours(came=np.array([6.5, 0.0]), usual=usual, came_1h=usual * 9, usual_1h=usual)
    calm, raised = (score(values, toy_network(SPEC), constants, SPEC, lately=of) for of in (None, lately))
    assert raised.surges
    for name in ("risk", "low", "high"):
        assert (getattr(raised, name) >= getattr(calm, name)).all(), name
    narrow = score(values + np.log(raised.expected / calm.expected).mean(), toy_network(SPEC), constants, SPEC)
    assert (raised.high[:, 0, 0] > narrow.high[:, 0, 0]).all()
    views = []
    for scores in (calm, raised):
        frame = toy_frame(SPEC, scores.expected, **{name: getattr(scores, name) for name in ("risk", "low", "high")})
        views.append(stored_views(replace(frame, surges=scores.surges), constants)[1])
    assert (views[1].low >= views[0].low).all()
    assert (views[1].risk >= views[0].risk).all()
    assert (views[1].high[:, 0, :2] > 1.2 * views[0].high[:, 0, :2]).all()
    calm_frame = toy_frame(SPEC, calm.expected)
    unwidened = stored_views(replace(calm_frame, expected=raised.expected), constants)[1]
    assert (views[1].high[:, 0, 0] > unwidened.high[:, 0, 0]).all()


@pytest.mark.parametrize("power", [QUADRATIC, LINEAR])
def test_intervals_are_as_wide_as_draws_whose_common_factor_is_uncertain(power):
    draw, mean, spread = np.random.default_rng(0), 3.0, 0.4
    narrow = Dispersion(r=np.full((1, 1), 2.0), power=np.full((1, 1), power))
    wide = narrow.widened(np.full((1, 1), spread**2), np.full((1, 1, 1), mean, np.float32))
    means = mean * draw.gamma(1 / spread**2, spread**2, 400_000)
    size = narrow.size(means)[0]
    counts = draw.poisson(draw.gamma(size, means / size))
    assert counts.var() == pytest.approx(mean * (1 + wide.excess(np.full((1, 1), mean))[0, 0]), rel=0.06)
    same = narrow.widened(np.zeros((1, 1)), np.full((1, 1, 1), mean, np.float32))
    np.testing.assert_array_equal(same.r, narrow.r)
    for r in (1.06, 1.96, 2.0):  # never narrower, however the digits fall
        given = Dispersion(r=np.full((1, 1), r), power=np.full((1, 1), power))
        assert given.widened(np.full((1, 1), 1e-4), np.full((1, 1, 1), mean, np.float32)).r[0, 0] <= r


HOURS = 120 * 24


def fitted(per_hour, seed=3):
    past = history_of(incidents_of(per_hour, seed), CUTOFF_S // DAY_S * DAY_S)
    constants = toy_constants(SPEC, mean_per_day=24 * per_hour.mean(axis=0))
    return fit_nowcast(past, constants, past.first_s + 20 * DAY_S, past.cutoff_s)


def test_training_finds_surges_that_last_and_leaves_calm_short_and_single_hours_alone():
    draw, calm = np.random.default_rng(0), np.full((HOURS, 2), 6.0)
    stormy, bursts = calm.copy(), calm.copy()
    for start in draw.choice(HOURS - 6, 25, replace=False):
        stormy[start : start + 4] *= 4
    bursts[draw.choice(HOURS, 60, replace=False)] *= 4
    assert fitted(calm) is None
    nowcast = fitted(stormy)
    assert nowcast.ahead[0] == 1 > nowcast.ahead[1] > 0
    assert nowcast.ahead[2] < 0.3
    (factor, other), _ = surge(np.array([14.0, 3.0]), np.array([3.5, 3.5]), nowcast)
    assert factor > 2 > other
    of_bursts = fitted(bursts)
    assert of_bursts is None or surge(np.array([14.0, 3.5]), np.array([3.5, 3.5]), of_bursts)[0][0] < 1.6
    past = history_of(incidents_of(stormy), CUTOFF_S // DAY_S * DAY_S)
    assert fit_nowcast(past, toy_constants(SPEC), past.cutoff_s, past.cutoff_s) is None  # nothing is left to judge by


def test_what_is_chosen_is_the_calmest_of_nearly_the_best_by_a_plain_loop_over_all_settings():
    """Every gain again, hour by hour, by SciPy's negative binomial; also at the end, where nothing is over yet."""
    draw, hours = np.random.default_rng(1), 50 * 24
    stormy = np.full((hours, 2), [6.0, 4.0])
    for start in (*draw.choice(np.arange(25 * 24, hours - 6), 9, replace=False), hours - 3):
        stormy[start : start + 4] *= [4, 2]
    past = history_of(incidents_of(stormy), CUTOFF_S // DAY_S * DAY_S)
    constants = toy_constants(SPEC, mean_per_day=24 * stormy.mean(axis=0))
    begin, end = past.first_s // HOUR_S + 1, past.cutoff_s // HOUR_S
    start_s = past.first_s + 20 * DAY_S + 700
    slide, each = SPEC.slide_s, HOUR_S // SPEC.slide_s
    edges = np.arange(begin * HOUR_S, past.cutoff_s + 1, slide)
    of_category = [past.incidents.occurred_s[past.incidents.category == number] for number in range(2)]
    came = np.stack([np.histogram(of, edges)[0] for of in of_category], axis=1)
    by_hour = came.reshape(-1, each, 2).sum(axis=1)
    usual_hours = usual_by_hour(np.arange(begin, end), by_hour, constants, SPEC.timezone)
    usual = np.repeat(usual_hours / each, each, axis=0)
    now = range(max(-(-start_s // HOUR_S) - begin, 6), end - begin)
    tried = []
    for half_life, prior, size, shared in product(HALF_LIVES_HOURS, PRIORS, SIZES, SHARED):
        nowcast = Nowcast.of(half_life, prior, size, shared, np.ones(3))
        ages = (np.arange(6 * each)[::-1] + 0.5) / each
        last = [slice((hour - 6) * each, hour * each) for hour in now]
        level = [
            (50 + by_hour[max(hour - 24, 0) : hour].sum(axis=0))
            / (50 + usual_hours[max(hour - 24, 0) : hour].sum(axis=0))
            for hour in now
        ]
        lately = [np.array([0.5 ** (ages / half_life) @ of[part] for part in last]) for of in (came, usual)]
        factors = surge(lately[0], lately[1] * level, nowcast)[0]
        gains = np.zeros((3, 21))
        for hour, factor, of_day in zip(now, factors, level, strict=True):
            for horizon, span in enumerate(span_s // HOUR_S for span_s in SPEC.horizons_s):
                if (factor > 1).any() and hour + span <= len(by_hour):
                    count = by_hour[hour : hour + span].sum(axis=0)
                    mean = usual_hours[hour : hour + span].sum(axis=0) * of_day
                    of_part = mean * (1 + np.linspace(0, 1, 21)[:, None] * (factor - 1))
                    score = nbinom.logpmf(count, 15, 15 / (15 + of_part)).sum(axis=1)
                    gains[horizon] += (score - score[0]) / span
        tried.append((gains[0, -1], (factors > 1).any(axis=1).mean(), (half_life, prior, size, shared), gains))
    best = max(gain for gain, *_ in tried)
    assert best > 5
    *_, chosen, gains = min((of for of in tried if of[0] >= 0.9 * best), key=lambda of: of[1])
    ahead = [1.0]
    for of_horizon in gains[1:]:
        most = of_horizon.max()
        ahead.append(float(np.flatnonzero(of_horizon >= 0.9 * most)[0] / 20) if most >= 5 else 0.0)
    fit = fit_nowcast(past, constants, start_s, past.cutoff_s)
    assert (float(fit.half_life_hours), float(fit.prior), float(fit.size), float(fit.shared)) == chosen
    np.testing.assert_allclose(fit.ahead, ahead)
    assert 0 < ahead[1] < 1


def test_what_is_uncertain_of_a_limited_factor_is_no_more_than_of_the_factor():
    came, usual, hour = np.array([1e6]), np.array([3.0]), np.array([9.0])
    lately = LastHours(came=came, usual=usual, came_1h=hour, usual_1h=np.zeros(1))
    factors, variance = factors_of(lately, 1.0, NOWCAST, np.ones((1, 3)))
    assert factors[0, 0] == LIMIT
    assert variance[0, 0] == pytest.approx(1e-6, rel=0.01)  # of a gamma distribution of that shape


def test_in_a_month_without_surges_the_forecast_is_moved_in_one_hour_of_a_hundred_at_most():
    draw, expected = np.random.default_rng(2), np.full((720, 2), 8.0)
    came = draw.negative_binomial(50, 50 / (50 + expected))
    moved = surge(came.astype(float), expected, NOWCAST)[0]
    assert ((moved * expected).sum(axis=1) > 1.1 * expected.sum(axis=1)).mean() <= 0.01
