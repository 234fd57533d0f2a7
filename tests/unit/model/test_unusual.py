"""What is more than usual: against every zone counted by hand and SciPy's distributions."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nbinom, poisson

from models import unusual
from models.baseline import horizon_hours
from models.following import FollowerState, RegionFactors
from models.unusual import (
    MOST,
    SIDES,
    WINDOWS_S,
    Recent,
    RegionScan,
    _bound,
    _mean_and_size,
    _slack,
    log_chance_of,
    recent_counts,
    recent_of,
    spans_of,
)
from schemas.grid import Grid
from schemas.limits import UNUSUAL_DAYS
from schemas.spec import HOUR_S
from tests.harness.toy import toy_constants, toy_spec, toy_state

GRID = Grid(south_deg=41.0, west_deg=-87.0, cell_m=1000.0, rows=5, cols=4)
CATEGORIES = ("fire", "ems")
SEEDS = st.integers(0, 2**32 - 1)
OF_TOTALS = np.array([0.02, 0.05, 0.03])  # of fire, of ems, of both together
ALONE = np.zeros(3)
NOW_S = 1_700_000_123
SPEC = toy_spec(2, 3, timezone="America/Chicago")
PROFILE = 1 + 0.5 * np.sin(2 * np.pi * np.arange(168) / 24 + np.array([[0.0], [1.0]]))
CONSTANTS = toy_constants(
    SPEC,
    profile=PROFILE / PROFILE.mean(axis=1, keepdims=True),
    day_lift=np.random.default_rng(0).uniform(0.5, 1.5, (6, 2, 16)),
)


def recent_with(draw, *, burst=0, spread=0.3):
    """Counts of chance, and `burst` more incidents in one cell."""
    shape = (len(WINDOWS_S), GRID.cells, len(CATEGORIES))
    usual = np.cumsum(draw.gamma(0.5, 0.4, shape), axis=0)
    counts = np.cumsum(draw.poisson(0.3, shape), axis=0)
    counts[:, draw.integers(GRID.cells), draw.integers(len(CATEGORIES))] += burst
    return Recent(counts=counts, usual=usual, spread=spread * usual, region_spreads=OF_TOTALS, spread_of_sums=0.2)


def unusual_places(recent, grid, categories):
    """By a scan of all there is."""
    return RegionScan(SimpleNamespace(grid=grid, categories=categories), None).among(recent)


def zones_by_hand(recent):
    """(window, category, row, col, rows, cols) -> log of how often a day chance shows so many or more, of every square.

    The third category is both together: of the whole grid it has few looks of its own.
    """
    rates = {}
    shapes = [(side, side) for side in SIDES if side <= 4] + [(GRID.rows, GRID.cols)]
    boxes = [
        np.append(of, of.sum(axis=2, keepdims=True), axis=2).reshape(len(WINDOWS_S), GRID.rows, GRID.cols, -1)
        for of in (recent.counts, recent.usual, recent.spread)
    ]
    for window, category in np.ndindex(len(WINDOWS_S), 3):
        for rows, cols in shapes:
            looks = 70 if (category, rows) == (2, GRID.rows) else 35 * (GRID.cells * 3 + 300)
            for row, col in np.ndindex(GRID.rows - rows + 1, GRID.cols - cols + 1):
                place = (window, slice(row, row + rows), slice(col, col + cols), category)
                count, usual, spread = (float(box[place].sum()) for box in boxes)
                if count >= 5 and count > usual:
                    together = OF_TOTALS[category] * usual**2 + (0.2 * usual if category == 2 else 0)
                    size = usual**2 / (spread + together)
                    chance = nbinom.logsf(count - 1, size, size / (size + usual))
                    rates[window, category, row, col, rows, cols] = chance + np.log(looks)
    return rates


def places_by_hand(recent):
    """The least likely zone of each category, then of those that share no cell with it, and so on.

    Of a zone of both categories and one of one of them the less likely alone, where they tell the same incidents.
    """
    zones, found = zones_by_hand(recent), []
    for category in range(3):
        left = {key: rate for key, rate in zones.items() if key[1] == category}
        for _ in range(MOST):
            best = min(left, key=left.get, default=None)
            if best is None or min(-left[best], np.log(36_500)) < np.log(UNUSUAL_DAYS):
                break
            found.append((left[best], best))
            left = {key: rate for key, rate in left.items() if not cells_of(key) & cells_of(best)}
    told = []
    for _, place in sorted(found):
        if not any(are_same(recent, place, other) for other in told):
            told.append(place)
    return told


def are_same(recent, place, other):
    """Whether `place` tells mostly what the less likely one tells, and is not closer around a few of it."""
    if (place[1] == 2) == (other[1] == 2):
        return False

    def came(key, cells):
        of = slice(None) if key[1] == 2 else key[1]
        return sum(recent.counts[key[0], row * GRID.cols + col, of].sum() for row, col in cells)

    own, others = cells_of(place), cells_of(other)
    is_closer = len(own) < len(others) / 2 and came(place, own) < came(other, others) / 2
    return not is_closer and came(place, own & others) >= came(place, own) / 2


def cells_of(key):
    _, _, row, col, rows, cols = key
    return {(row + north, col + east) for north, east in np.ndindex(rows, cols)}


@given(SEEDS, st.lists(st.tuples(st.integers(0, 19), st.integers(0, 1), st.integers(5, 60)), max_size=7))
@settings(max_examples=100, deadline=None)
def test_the_places_are_the_least_likely_of_all_zones_counted_by_hand(seed, bursts):
    recent = recent_with(np.random.default_rng(seed))
    for cell, category, size in bursts:
        recent.counts[1:, cell, category] += size
    places = unusual_places(recent, GRID, CATEGORIES)
    by_scan = [
        (
            *(WINDOWS_S.index(place.hours * HOUR_S), (*CATEGORIES, "all").index(place.category)),
            *(place.row, place.col, place.rows, place.cols),
        )
        for place in places
    ]
    assert by_scan == places_by_hand(recent)
    assert [place.days for place in places] == sorted((place.days for place in places), reverse=True)
    assert all(place.days >= UNUSUAL_DAYS for place in places)


@given(st.integers(5, 10**6), st.floats(1e-12, 1e4), st.floats(1e-6, 1e3))
def test_the_bound_is_above_the_chance_by_less_than_the_slack(count, mean, excess):
    """As `betainc` says it, where the chance is a number."""
    count, mean, spread = np.array([float(count)]), np.array([mean]), np.array([excess * mean])
    log_chance, (mean, size) = log_chance_of(count, mean, spread), _mean_and_size(mean, spread)
    bound, slack = _bound(count, mean, size), _slack(count, size)
    if count > mean:
        assert bound - slack < log_chance <= bound + 1e-6 * abs(bound)


REGION = toy_spec(5, 4, timezone="America/Chicago")
OF_REGION = toy_constants(REGION)
CHANGES = st.sampled_from(
    ["calls", "calls", "calls", "correction", "nothing", "minute", "renewed", "followed", "start"]
)


@given(SEEDS, st.lists(CHANGES, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_scan_of_what_changed_gives_what_a_scan_of_each_batch_gives(seed, changes):
    draw, tick_s, factors = np.random.default_rng(seed), NOW_S - NOW_S % 60, None
    usual = draw.gamma(0.5, 0.02, (20, 2)).astype(np.float32)
    counts, scan, told = np.zeros((3, 20, 2), np.int32), RegionScan(REGION, OF_REGION), []
    for change in changes:
        counts, cell, category = counts.copy(), draw.integers(20), draw.integers(2)
        if change == "calls":
            counts[draw.integers(3) :, cell, category] += draw.integers(1, 9)
        elif change == "correction":
            counts = counts // draw.integers(1, 4, (1, 20, 2), dtype=np.int32)
        elif change == "minute":
            tick_s += 60
        elif change == "renewed":
            usual = usual * np.float32(1.25)
        elif change == "followed":
            factors = draw.uniform(0.5, 2, (20, 2, 3))
        elif change == "start":
            scan = RegionScan(REGION, OF_REGION)
        told.append(scan.places(counts, usual.copy(), tick_s, factors))
        recent = recent_of(counts, usual, OF_REGION, REGION, tick_s, factors)
        assert told[-1] == unusual_places(recent, REGION.grid, REGION.categories)


def test_a_batch_that_fails_and_is_repeated_gives_what_a_scan_alone_gives(monkeypatch):
    scan, counts = RegionScan(REGION, OF_REGION), np.full((3, 20, 2), 9, np.int32)
    quiet, busy = (np.full((20, 2), rate, np.float32) for rate in (0.05, 9.0))
    scan.places(counts, quiet, NOW_S)
    with monkeypatch.context() as patch:
        patch.setattr(unusual, "recent_of", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            scan.places(counts, busy, NOW_S + 60)
    assert scan.places(counts, busy, NOW_S + 60) == RegionScan(REGION, OF_REGION).places(counts, busy, NOW_S + 60)


def test_within_a_minute_only_what_has_other_counts_is_scanned_again(monkeypatch):
    looked_at, of_category = [], unusual._of_category

    def count(recent, zones, *rest):
        looked_at.append(zones.category)
        return of_category(recent, zones, *rest)

    monkeypatch.setattr(unusual, "_of_category", count)
    scan, usual, counts = RegionScan(REGION, OF_REGION), np.full((20, 2), 0.01, np.float32), np.zeros((3, 20, 2), int)

    def looks(tick_s, **changes):
        looked_at.clear()
        scan.places(counts.copy(), changes.get("usual", usual).copy(), tick_s)
        return [*looked_at]

    assert looks(NOW_S) == [0, 1, 2]
    assert looks(NOW_S) == []
    counts[:, 3, 1] += 6
    assert looks(NOW_S) == [1, 2]  # ems, and both together
    assert looks(NOW_S, usual=2 * usual) == looks(NOW_S + 60) == [0, 1, 2]
    with pytest.raises(ValueError, match="broadcast"):  # a batch that fails leaves nothing behind
        scan.places(counts[:2], usual, NOW_S + 60)
    assert looks(NOW_S + 60) == [0, 1, 2]


def test_without_a_spread_counts_are_poissons_and_a_chance_below_all_numbers_has_its_bound():
    assert log_chance_of(np.array([9]), np.array([2.0]), np.zeros(1)) == pytest.approx(poisson.logsf(8, 2.0), rel=1e-4)
    assert -3000 < log_chance_of(np.array([400.0]), np.array([0.5]), np.array([0.01]))[0] < -700


def test_a_burst_is_found_where_it_is():
    recent = quiet_but_in(0, 0, usual=0.2)
    recent.counts[1:, [6, 7, 10, 11], 1] = 4  # rows 1 and 2, columns 2 and 3; two hours ago and not in the last one
    place, *others = unusual_places(recent, GRID, CATEGORIES)
    assert (place.category, place.hours, place.observed, place.usual) == ("ems", 2, 16, 0.8)
    assert place.cells(GRID).tolist() == [6, 7, 10, 11]
    assert not others
    assert place.in_words(GRID) == "ems at r001c002 to r002c003: 16 instead of 0.8 in 2 h"


def test_of_a_line_of_incidents_the_place_tells_the_cells_that_have_more_than_usual():
    recent = quiet_but_in(0, 0)
    recent.counts[:, [0, 5, 10, 15], 1] = 9  # from corner to corner
    recent.counts[:, 6, 1], recent.usual[:, 6, 1] = 1, 1.1  # one, where more is usual
    place, *_ = unusual_places(recent, GRID, CATEGORIES)
    assert len(place.cells(GRID)) > len(place.above)
    assert place.above == (0, 5, 10, 15)
    of_both = quiet_but_in(0, 0, usual=0.002)
    of_both.counts[:, [0, 5], :] = 3
    (place,) = unusual_places(of_both, GRID, CATEGORIES)
    assert (place.category, place.above) == ("all", (0, 5))


def quiet_but_in(cell, count, usual=0.02):
    """Nothing but in one cell, in all windows."""
    counts = np.zeros((len(WINDOWS_S), GRID.cells, len(CATEGORIES)), int)
    counts[:, cell, 0] = count
    of = np.full(counts.shape, usual)
    return Recent(counts=counts, usual=of, spread=of / 10, region_spreads=ALONE, spread_of_sums=0.0)


@pytest.mark.parametrize(("count", "places"), [(4, 0), (5, 1)])
def test_few_incidents_are_no_place_however_unlikely(count, places):
    assert len(unusual_places(quiet_but_in(6, count, usual=1e-6), GRID, CATEGORIES)) == places


def test_a_place_is_one_up_to_its_own_days(monkeypatch):
    recent = quiet_but_in(6, 6)
    [place] = unusual_places(recent, GRID, CATEGORIES)
    size = 0.02 / 0.1
    chance = nbinom.sf(5, size, size / (size + 0.02)) * 35 * (GRID.cells * 3 + 300)
    assert (place.category, place.days) == ("fire", float(f"{1 / chance:.2g}"))
    for limit, places in ((1 / chance * (1 - 1e-9), 1), (1 / chance * (1 + 1e-9), 0)):
        monkeypatch.setattr("models.unusual.UNUSUAL_DAYS", limit)
        assert len(unusual_places(recent, GRID, CATEGORIES)) == places


def test_a_category_has_the_three_least_likely_which_may_touch_to_the_north_and_the_south():
    recent = quiet_but_in(0, 60, usual=60)  # as usual, so that no square has both of two bursts
    recent.counts[:, :, 0] = 60
    for cell, count in {9: 60, 5: 50, 13: 40, 2: 30}.items():
        recent.counts[:, cell, 0], recent.usual[:, cell, 0], recent.spread[:, cell, 0] = count, 0.2, 0.02
    places = unusual_places(recent, GRID, CATEGORIES)
    assert [place.cells(GRID).tolist() for place in places] == [[9], [5], [13]]


def test_of_two_with_like_bounds_the_less_likely_is_first():
    """A large count is less likely than one whose bound by Chernoff is as low."""
    recent, none = quiet_but_in(0, 6), np.zeros(1)
    recent.counts[:, 1:, 0], recent.usual[:, 1:, 0] = 60, 60  # as usual, so that no square has both

    def bound(count, usual):
        return _bound(np.array([count]), *_mean_and_size(np.array([usual]), none))[0]

    usual = next(usual for usual in np.linspace(400, 200, 9000) if bound(400.0, usual) < bound(6.0, 0.02) + 0.5)
    assert bound(400.0, usual) > bound(6.0, 0.02)
    recent.counts[:, 18, 0], recent.usual[:, 18, 0], recent.spread[:] = 400, usual, 0
    first, *_ = unusual_places(recent, GRID, CATEGORIES)
    assert first.cells(GRID).tolist() == [18]


def test_far_fewer_than_usual_hide_no_place():
    recent = quiet_but_in(6, 8)
    recent.usual[:, 18, 0], recent.counts[:, 18, 0] = 500, 5
    (place,) = unusual_places(recent, GRID, CATEGORIES)
    assert place.cells(GRID).tolist() == [6]


def test_categories_that_are_few_each_add_up_and_the_place_says_how_many_of_each():
    recent = quiet_but_in(6, 4)
    recent.counts[:, 6, 1] = 4
    [place] = unusual_places(recent, GRID, CATEGORIES)
    assert (place.category, place.observed, place.of_categories) == ("all", 8, {"fire": 4, "ems": 4})
    assert place.in_words(GRID) == "all at r001c002: 8 instead of 0.04 in 1 h (fire 4, ems 4)"


def test_a_burst_within_a_surge_of_the_whole_region_is_told_beside_it():
    recent = replace(quiet_but_in(6, 0, usual=1.0), region_spreads=np.array([5.0, 5.0, 0.0]))
    recent.counts[:] = 4  # 160 instead of 40 over all, and in neither category alone more than often happens
    recent.counts[:, 6, 0], recent.usual[:, 6, 0], recent.spread[:, 6, 0] = 12, 0.02, 0.002
    told = {(place.category, len(place.cells(GRID))) for place in unusual_places(recent, GRID, CATEGORIES)}
    assert told == {("all", GRID.cells), ("fire", 1)}


def test_what_moves_all_categories_or_comes_together_in_a_cell_makes_a_sum_less_unusual():
    moved, together = quiet_but_in(6, 0, usual=1.0), quiet_but_in(6, 3)
    moved.counts[:], together.counts[:, 6, 1] = 2, 3
    for recent, known in ((moved, {"region_spreads": np.full(3, 0.3)}), (together, {"spread_of_sums": 0.5})):
        assert [place.category for place in unusual_places(recent, GRID, CATEGORIES)] == ["all"]
        assert unusual_places(replace(recent, **known), GRID, CATEGORIES) == ()


def test_a_region_of_one_category_has_no_sum_beside_it():
    recent = quiet_but_in(6, 12)
    alone = [of[:, :, :1] for of in (recent.counts, recent.usual, recent.spread)]
    parts = dict(zip(("counts", "usual", "spread"), alone, strict=True))
    places = unusual_places(Recent(**parts, region_spreads=np.zeros(2), spread_of_sums=9.0), GRID, ("fire",))
    assert [place.category for place in places] == ["fire"]
    chance = nbinom.sf(11, 0.2, 0.2 / 0.22) * 35 * (GRID.cells + 300)
    assert places[0].days == min(float(f"{1 / chance:.2g}"), 36_000.0)


def test_a_surge_of_the_whole_grid_is_told_as_soon_as_chance_shows_it_once_in_two_weeks():
    recent = quiet_but_in(6, 0, usual=1.0)
    for count in range(40, 100):  # of 40 that are usual, spread evenly over cells and categories
        recent.counts[:] = count // 40
        recent.counts[:, : count % 40 // 2, 0] += 1
        recent.counts[:, : count % 40 - count % 40 // 2, 1] += 1
        wide = [place for place in unusual_places(recent, GRID, CATEGORIES) if place.rows == GRID.rows]
        chance = nbinom.sf(count - 1, 400, 400 / 440)
        assert bool(wide) == (70 * 14 * chance <= 1), count
        assert not wide or (wide[0].category, wide[0].observed) == ("all", count)


@given(st.lists(st.tuples(st.integers(0, 5 * HOUR_S), st.integers(0, 5), st.integers(0, 1)), max_size=40))
@settings(max_examples=40, deadline=None)
def test_recent_counts_are_those_of_the_panes(events):
    ago, cell, category = np.array(events, np.int64).reshape(-1, 3).T
    state = toy_state(SPEC, NOW_S, NOW_S - ago, 2 * cell + category)
    by_hand = np.zeros((len(WINDOWS_S), 6, 2), int)
    for window, (start_s, stop_s) in enumerate(spans_of(SPEC, NOW_S - NOW_S % SPEC.tick_s)):
        for seconds, where, what in events:
            by_hand[window, where, what] += start_s <= NOW_S - seconds < stop_s
    assert recent_counts(state).tolist() == by_hand.tolist()


def test_usual_counts_are_the_baselines_hour_by_hour():
    tick_s, rate = NOW_S - NOW_S % SPEC.tick_s, np.random.default_rng(1).gamma(1.0, 0.1, (6, 2))
    usual = rate * horizon_hours(CONSTANTS, tick_s, SPEC)[:, :, 0]
    recent = recent_of(np.zeros((3, 6, 2), np.int32), usual, CONSTANTS, SPEC, tick_s)
    minute = type("Minute", (), {"horizons_s": (60,), "timezone": SPEC.timezone})  # a spec refuses such horizons
    for window, (start_s, stop_s) in enumerate(spans_of(SPEC, tick_s)):
        assert stop_s == tick_s + 60
        assert 0 <= start_s - (tick_s - WINDOWS_S[window]) <= SPEC.slide_s
        hours = sum(horizon_hours(CONSTANTS, at_s, minute)[:, :, 0] for at_s in range(start_s, stop_s, 60))
        assert recent.usual[window] == pytest.approx(rate * hours)


def test_factors_of_a_span_ahead_are_those_that_are_shown():
    draw, new = np.random.default_rng(2), FollowerState.new(SPEC)
    sums = {name: draw.gamma(20.0, 1.0, getattr(new, name).shape) for name in ("level", "hours", "cells")}
    state, factors = replace(new, still=draw.random(new.still.shape), **sums), RegionFactors.of(SPEC, CONSTANTS)
    tick_s = NOW_S - NOW_S % SPEC.tick_s
    shown = factors.at(state, tick_s).shown()[:, :, 0]
    assert factors.over_spans(state, [(tick_s, tick_s + SPEC.horizons_s[0])])[:, :, 0] == pytest.approx(shown)
    assert recent_of(
        np.zeros((3, 6, 2), np.int32), shown, CONSTANTS, SPEC, tick_s, factors=np.full((6, 2, 3), 2.0)
    ).usual == pytest.approx(2 * recent_of(np.zeros((3, 6, 2), np.int32), shown, CONSTANTS, SPEC, tick_s).usual)
