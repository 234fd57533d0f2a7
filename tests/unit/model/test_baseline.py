"""The baseline: neighbours, local time and profiles over changes of clocks, memory with gaps, shrinkage."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import convolve

from models.baseline import (
    BaselineConstants,
    OlderDays,
    cell_rate,
    horizon_hours,
    mixed_cell_rate,
    profile_hours,
    profile_of_hours,
    remember,
    ring_size,
    ring_sum,
)
from models.counting.count_state import CountState
from models.dispersion import Dispersion
from models.local_time import HOURS, hours_within, local_from_utc, utc_from_local
from models.nowcast import Nowcast
from schemas.errors import DataError
from tests.harness.toy import toy_constants, toy_grid, toy_spec

DAY = 86_400


def spec_of(rows=2, cols=2, timezone="UTC"):
    return toy_spec(rows, cols, timezone=timezone)


def constants_of(**changes):
    fields = {"half_life_days": np.array(30.0), "mean_per_day": np.array([1.0, 2.0])}
    return toy_constants(spec_of(), **fields | changes)


@settings(max_examples=30, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 9)))
def test_the_ring_is_what_a_convolution_gives(square):
    grid = toy_grid(*square.shape)
    kernel = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    cells = np.stack([square.ravel(), 2 * square.ravel()], axis=1)
    expected = convolve(square, kernel, mode="constant").ravel()
    np.testing.assert_array_equal(ring_sum(cells, grid), np.stack([expected, 2 * expected], axis=1))
    sizes = ring_size(grid)
    np.testing.assert_array_equal(sizes, convolve(np.ones_like(square), kernel, mode="constant").ravel())
    assert sizes.dtype == np.int32


@pytest.mark.parametrize("timezone", ["America/Chicago", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_what_is_usual_in_an_hour_of_utc_is_the_integral_over_it_wherever_the_zones_own_hours_begin(timezone):
    constants = constants_of(profile=np.random.default_rng(0).gamma(3, size=(2, 168)))
    first = int(datetime(2024, 4, 5, tzinfo=UTC).timestamp()) // 3600  # clocks go back in Australia on the third day
    hours = np.arange(first, first + 72)
    integral = [profile_hours(constants, hour * 3600, (hour + 1) * 3600, timezone) for hour in hours.tolist()]
    np.testing.assert_allclose(profile_of_hours(constants, hours, timezone), integral)


@pytest.mark.parametrize(
    ("timezone", "as_of"),
    [
        ("America/Chicago", "2017-03-12T01:20:30-06:00"),  # 02:00 never comes
        ("America/Chicago", "2017-11-04T22:47:00-05:00"),  # 01:00 comes twice
        ("Australia/Lord_Howe", "2024-04-06T20:00:00+11:00"),  # clocks go back by half an hour
        ("Asia/Kathmandu", "2024-01-01T00:10:00+05:45"),
    ],
)
def test_hours_of_a_cells_average_rate_are_its_profile_integrated_minute_by_minute(timezone, as_of):
    spec = spec_of(1, 1, timezone)
    profile = np.random.default_rng(0).gamma(3, size=(2, 168))
    as_of_s = int(datetime.fromisoformat(as_of).timestamp())
    lift = np.random.default_rng(1).gamma(3, size=(1, 2, 16))
    hours = horizon_hours(constants_of(profile=profile, day_lift=lift), as_of_s, spec)
    zone = ZoneInfo(timezone)
    for horizon, width_s in enumerate(spec.horizons_s):
        total = np.zeros(2)
        for second in range(as_of_s, as_of_s + width_s, 30):
            local = datetime.fromtimestamp(second, UTC).astimezone(zone)
            block = local.hour // 3 + 8 * (local.weekday() > 4)
            total += profile[:, local.weekday() * 24 + local.hour] * lift[0, :, block] / 120
        np.testing.assert_allclose(hours[0, :, horizon], total, rtol=1e-9)


def memory_of(daily, constants, spec=None):
    """Memory after a history that has `daily[d]` incidents in cell 0, category 0 on day d."""
    spec = spec or spec_of()
    state = CountState(spec)
    first = int(constants.first_day)
    state.advance((first + len(daily)) * DAY + 3600)
    when = np.repeat((first + np.arange(len(daily))) * DAY + 60, daily)
    state.levels["day"].add(when.astype(np.int64), np.zeros(len(when), np.intp), 1)
    return remember(state.levels["day"], (30.0, float("inf")), constants, spec, first_day=0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_memory_is_the_weighted_mean_of_the_finished_days(daily):
    memory = memory_of(daily, constants_of())
    weights = 0.5 ** (np.arange(len(daily) - 1, -1, -1) / 30)
    np.testing.assert_allclose(memory.counts[0, 0, 0], (weights * daily).sum(), atol=1e-4)
    np.testing.assert_allclose(memory.days[0], weights.sum(), atol=1e-4)
    assert memory.counts[1, 0, 0] == sum(daily)
    assert memory.days[1] == len(daily)
    assert not memory.counts[:, 1:].any()


def test_memory_holds_the_finished_days_that_are_kept_and_without_any_the_training_mean_is_left():
    memory = memory_of([2] * 420, constants_of())
    assert (memory.counts[1, 0, 0], memory.days[1]) == (2 * 399, 399)
    constants = constants_of(mean_per_day=np.array([400.0, 40.0]), first_day=np.array(10.0))
    state = CountState(spec_of())
    state.advance(20_000 * DAY)  # the history ended years ago
    memory = remember(state.levels["day"], (30.0,), constants, spec_of(), first_day=0)
    rate = cell_rate(memory.counts[0], float(memory.days[0]), constants, spec_of())
    np.testing.assert_allclose(rate, np.broadcast_to([100.0, 10.0], (4, 2)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(-5, 70), st.integers(-5, 70))
def test_after_a_take_over_counts_and_days_begin_with_the_later_of_the_two_first_days(daily, counted, learned):
    began = int(constants_of().first_day) + 900
    state = CountState(spec_of())
    state.advance((began + len(daily)) * DAY + 3600)
    when = np.repeat((began + np.arange(len(daily))) * DAY + 60, daily)
    state.levels["day"].add(when.astype(np.int64), np.zeros(len(when), np.intp), 1)
    constants = constants_of(first_day=np.array(float(began + learned)))
    memory = remember(state.levels["day"], (float("inf"),), constants, spec_of(), first_day=began + counted)
    later = max(counted, learned)
    before = max(0, -later)  # days that both say are covered, before anything was counted
    assert memory.counts.sum() == sum(daily[max(later, 0) :])
    assert memory.days[0] == max(len(daily) - later, 0) if later >= 0 else len(daily) + before


@pytest.mark.parametrize(("mean_per_day", "days"), [([10.0, 9.9], 30), ([12.0, 8.0], 20)])
def test_a_day_without_incidents_is_an_outage_from_twenty_a_day_on(mean_per_day, days):
    """A Poisson count of 20 would be 0 once in a million years. Where fewer are usual, a quiet day is real."""
    assert memory_of([30] * 19 + [1] + [0] * 10, constants_of(mean_per_day=np.array(mean_per_day))).days[1] == days


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (6, 2), elements=st.integers(0, 500).map(float)), st.integers(0, 300))
def test_a_rate_lies_between_its_own_and_its_neighbourhoods_and_is_never_zero(counts, days):
    spec, constants = spec_of(2, 3), constants_of()
    rate = cell_rate(counts, float(days), constants, spec)
    assert (rate > 0).all()
    trusting = cell_rate(counts, float(days), constants_of(shrink_days=np.array(1e-9)), spec)
    following = cell_rate(counts, float(days), constants_of(shrink_days=np.array(1e12)), spec)
    assert (rate >= np.minimum(trusting, following) * (1 - 1e-9)).all()
    assert (rate <= np.maximum(trusting, following) * (1 + 1e-9)).all()


of_cells = arrays(np.float64, (6, 2), elements=st.integers(0, 500).map(float))


@settings(max_examples=30, deadline=None)
@given(of_cells, of_cells, st.integers(1, 300), st.floats(0, 1))
def test_the_map_of_all_days_is_mixed_in_and_the_regions_level_stays(counts, older, days, share):
    spec, constants = spec_of(2, 3), constants_of(shrink_days=np.array(1e-9))
    today = cell_rate(counts, float(days), constants, spec)

    def mixed(of_all_days, share):
        return mixed_cell_rate(counts, float(days), of_all_days, share, constants, spec)

    np.testing.assert_array_equal(mixed(counts + older, 0.0), today)
    np.testing.assert_allclose(mixed(7 * counts, share), today, rtol=1e-6, atol=1e-6)
    rate = mixed(counts + 1000 * older, share)
    assert (rate > 0).all()
    np.testing.assert_allclose(rate.sum(axis=0), today.sum(axis=0), rtol=1e-6, atol=1e-6)


def test_each_category_has_a_shrinkage_of_its_own():
    spec, counts = spec_of(2, 3), np.random.default_rng(0).integers(0, 9, (6, 2)).astype(np.float64)
    both = cell_rate(counts, 50.0, constants_of(shrink_days=np.array([2.0, 640.0])), spec)
    for category, days in enumerate((2.0, 640.0)):
        alone = cell_rate(counts, 50.0, constants_of(shrink_days=np.array(days)), spec)
        np.testing.assert_array_equal(both[:, category], alone[:, category])


OLDER = OlderDays(counts=np.ones((4, 2)), share=np.array(0.5), end_day=np.array(9.0))
EVERY = {
    "older": OLDER,
    "network_dispersion": Dispersion(r=np.full((2, 3), 4.0), power=np.ones((2, 3))),
    "cell_dispersion": np.ones((4, 2, 3)),
    "spread_of_totals": np.full(3, 0.1),
    "spread_of_sums": np.array(0.2),
    "nowcast": Nowcast.of(0.5, 0.01, 50.0, 0.3, np.ones(3)),
}
ARRAYS = constants_of(**EVERY).arrays()
MAY_BE_0 = {"older_counts", "older_share", "nowcast_shared", "nowcast_ahead"}
MAY_BE_0 |= {"spread_of_totals", "spread_of_sums", "dispersion_power", "network_dispersion_power"}


def test_constants_come_back_as_they_were_given_whatever_the_region_lacks():
    for changes in ({}, EVERY, *({name: of} for name, of in EVERY.items())):
        arrays = constants_of(**changes).arrays()
        again = BaselineConstants.checked(arrays, spec_of()).arrays()
        assert again.keys() == arrays.keys()
        assert all((again[name] == arrays[name]).all() for name in arrays)


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_constants_that_no_training_gives_are_refused(name):
    def refused(said, **changes):
        with pytest.raises(DataError, match=said):
            BaselineConstants.checked(ARRAYS | changes, spec_of())

    value = ARRAYS[name]
    for wrong in (-1.0, np.nan, np.inf, 1e300, *([] if name in MAY_BE_0 else [0.0, 1e-300])):
        refused(f"{name} has values outside", **{name: np.full_like(value, wrong)})
    for misshapen in (value.astype(np.float32), np.stack([value, value])):
        refused(f"{name} is .* must be float64", **{name: misshapen})
    if name.endswith("_power"):
        refused(f"{name} is .*, must be 0 or 1", **{name: np.full_like(value, 0.5)})
    if name not in ("cell_dispersion", "spread_of_totals", "spread_of_sums"):  # a region may lack them
        with pytest.raises(DataError, match="needs"):
            BaselineConstants.checked({other: array for other, array in ARRAYS.items() if other != name}, spec_of())


@pytest.mark.parametrize(
    ("name", "of_spec", "days", "wrong"),
    [
        ("holidays", "US-IL", np.arange, (np.arange(10_001.0), np.ones((2, 2)))),
        (
            "calendar",
            ("match",),
            lambda n: np.column_stack([0 * np.arange(n), np.arange(n)]),
            (np.zeros((10_001, 2)), np.zeros(4), np.zeros((2, 3))),
        ),
    ],
)
def test_days_are_kept_and_refused_when_they_are_impossible(name, of_spec, days, wrong):
    spec, good = msgspec.structs.replace(spec_of(), **{name: of_spec}), constants_of().arrays()
    for count in (1.0, 10_000.0):
        constants = BaselineConstants.checked(good | {name: days(count)}, spec)
        assert constants.arrays()[name].tolist() == days(count).tolist()
    for impossible in wrong:
        with pytest.raises(DataError, match="must be float64"):
            BaselineConstants.checked(good | {name: impossible}, spec)
    for stored, without in ((good, spec), (good | {name: days(3.0)}, spec_of())):
        with pytest.raises(DataError, match="needs"):
            BaselineConstants.checked(stored, without)


def test_a_cells_factor_is_on_the_dispersion_of_what_forecasts():
    draw = np.random.default_rng(0)
    both = [Dispersion(r=draw.uniform(1, 9, (2, 3)), power=np.full((2, 3), power)) for power in (0.0, 1.0)]
    factors = draw.choice([0.5, 1.0, 2.0], (6, 2, 3))
    constants = replace(constants_of(), dispersion=both[0], network_dispersion=both[1], cell_dispersion=factors)
    for of_network, of_all in zip((False, True), both, strict=True):
        in_cells = constants.dispersion_in_cells(of_network=of_network)
        np.testing.assert_array_equal(in_cells.r, factors * of_all.r)
        np.testing.assert_array_equal(in_cells.power, np.broadcast_to(of_all.power, factors.shape))
        assert replace(constants, cell_dispersion=np.zeros(0)).dispersion_in_cells(of_network=of_network) == of_all
    alone = replace(constants, network_dispersion=None)
    np.testing.assert_array_equal(alone.dispersion_in_cells(of_network=True).r, factors * both[0].r)


@pytest.mark.parametrize(("share", "variance"), [(0.0, [1.0, 1.0]), (0.5, [0.4, 1.0]), (1.0, [0.2, 1.0])])
def test_a_map_of_all_days_is_mixed_in_and_the_less_chance_it_has_the_less_of_the_neighbourhood(share, variance):
    """The kept days have a fifth of the first category's incidents, and the only one of the second's."""
    spec = toy_spec(2, 2)
    constants = toy_constants(spec)
    kept, of_all = np.array([[2.0, 1.0], *[[0.0, 0.0]] * 3]), np.array([[1.0, 1.0], [4.0, 0.0], [5.0, 0.0], [0.0, 0.0]])
    mixed = (1 - share) * kept + share * of_all * [0.2, 1.0]
    expected = cell_rate(mixed, 30.0, replace(constants, shrink_days=constants.shrink_days * variance), spec)
    rate = mixed_cell_rate(kept, 30.0, of_all, share, constants, spec)
    np.testing.assert_allclose(rate, expected, rtol=1e-12)


ZONES = ["America/Chicago", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# from 2010 to 2030, with the hours around changes of the clock in Chicago drawn often
MOMENTS = st.integers(1_262_304_000, 1_893_456_000) | st.integers(1_489_280_000, 1_489_320_000)
COLUMNS = st.lists(MOMENTS | st.integers(1_509_830_000, 1_509_890_000), min_size=1, max_size=20)


def wall(*clocks):
    return [int(datetime.fromisoformat(clock).replace(tzinfo=UTC).timestamp()) for clock in clocks]


@settings(max_examples=40)
@given(wall_s=COLUMNS, zone=st.sampled_from(ZONES))
@example(wall("2017-03-12T02:30", "2017-03-12T03:00", "2017-11-05T01:00", "2017-11-05T02:00"), "America/Chicago")
@example(wall("2017-05-13T23:30"), "America/Santiago")  # clocks go back at midnight, which is another day in UTC
def test_wall_clock_times_become_the_instants_that_zoneinfo_gives(wall_s, zone):
    naive = [datetime.fromtimestamp(s, UTC).replace(tzinfo=ZoneInfo(zone)) for s in wall_s]
    expected = [int(when.timestamp()) for when in naive]
    twice = [when.replace(fold=1).utcoffset() < when.utcoffset() for when in naive]
    never = [when.replace(fold=1).utcoffset() > when.utcoffset() for when in naive]

    utc_s, reading = utc_from_local(np.array(wall_s, np.int64), zone)

    assert utc_s.tolist() == expected
    assert reading.dtype == np.int8
    assert (reading == 1).tolist() == twice
    assert (reading == -1).tolist() == never


def test_no_times_are_no_instants_and_an_unknown_zone_is_named():
    utc_s, reading = utc_from_local(np.zeros(0, np.int64), "America/Chicago")
    assert (utc_s.shape, reading.shape, reading.dtype) == ((0,), (0,), np.int8)
    with pytest.raises(DataError, match="Atlantis"):
        utc_from_local(np.zeros(1, np.int64), "Atlantis/Town")


@settings(max_examples=40)
@given(utc_s=COLUMNS, zone=st.sampled_from(ZONES))
@example([1_489_305_599, 1_489_305_600], "America/Chicago")  # the last second before a change, and its instant
def test_instants_become_the_wall_clock_times_that_zoneinfo_gives(utc_s, zone):
    clocks = [datetime.fromtimestamp(s, ZoneInfo(zone)).replace(tzinfo=UTC) for s in utc_s]
    expected = [int((clock - EPOCH).total_seconds()) for clock in clocks]
    assert local_from_utc(np.array(utc_s, np.int64), zone).tolist() == expected


@settings(max_examples=40)
@given(
    start_s=MOMENTS | st.integers(1_509_830_000, 1_509_890_000),
    minutes=st.integers(1, 1500) | st.integers(10_000, 10_200),
    zone=st.sampled_from(ZONES),
    less_s=st.sampled_from([1, 7, 58, 59]),
)
@example(1_500_000_000, 20, "UTC", 1)  # 14 July 2017, 02:40
@example(1_500_000_000, 21, "UTC", 59)
def test_a_stretch_spends_its_minutes_in_the_hours_of_the_week_that_zoneinfo_gives(start_s, minutes, zone, less_s):
    start_s = start_s // 60 * 60
    clocks = [datetime.fromtimestamp(start_s + 60 * minute, ZoneInfo(zone)) for minute in range(minutes)]
    hours = [clock.weekday() * 24 + clock.hour for clock in clocks]
    expected = np.bincount(hours, minlength=HOURS) / 60
    stop_s = start_s + 60 * minutes
    np.testing.assert_allclose(hours_within(start_s, stop_s, zone), expected, atol=1e-9)
    expected[hours[0]] -= 1 / 3600  # it begins and ends within a minute
    expected[hours[-1]] -= less_s / 3600
    np.testing.assert_allclose(hours_within(start_s + 1, stop_s - less_s, zone), expected, atol=1e-9)
