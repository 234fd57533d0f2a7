"""Features against a recount from the raw incidents in plain Python, and the same to the last bit however computed."""

from dataclasses import replace
from datetime import UTC, datetime
from math import cos, log, log1p, pi, sin
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.baseline import OlderDays, mixed_cell_rate, remember
from models.counting.blobs import export_state, restore_state
from models.counting.count_state import CountState
from models.feature_lists import all_features
from models.features import FeatureEngine
from schemas.errors import SpecMismatch
from schemas.frame import SUPPORT
from tests.harness.toy import toy_constants, toy_spec

ROWS, COLS, CATEGORIES = 2, 3, 2
NOW = 1_700_000_123
DAY, HOUR = 86_400, 3600
TICK, PANE = NOW - NOW % 60, NOW - NOW % 300  # where the current ones started
ZONE = "America/Chicago"
SPEC = toy_spec(ROWS, COLS, timezone=ZONE)
PROFILE = 1 + 0.5 * np.sin(2 * np.pi * np.arange(168) / 24 + np.array([[0.0], [1.0]]))
LIFT = np.random.default_rng(0).uniform(0.5, 1.5, (ROWS * COLS, CATEGORIES, 16))
CONSTANTS = toy_constants(
    SPEC,
    profile=PROFILE / PROFILE.mean(axis=1, keepdims=True),
    day_lift=LIFT,
    mean_per_day=np.array([0.5, 2.0]),
    level_half_life_days=np.array(14.0),
    first_day=np.array(float(NOW // DAY - 50)),
)

incident = st.tuples(
    st.one_of(st.integers(0, 2 * HOUR), st.integers(0, 30 * HOUR), st.integers(0, 50 * DAY)),
    st.integers(0, ROWS * COLS - 1),
    st.integers(0, CATEGORIES - 1),
)


def count(state, incidents, now_s):
    state.advance(now_s)
    when = np.array([now_s - ago for ago, _, _ in incidents], np.int64)
    place = np.array([cell * CATEGORIES + category for _, cell, category in incidents], np.intp)
    for level in state.levels.values():
        level.add(when, place, 1)


def state_of(incidents):
    state = CountState(SPEC)
    count(state, incidents, NOW)
    return state


def neighbours(cell):
    row, col = divmod(cell, COLS)
    return [
        r * COLS + c
        for r in range(row - 1, row + 2)
        for c in range(col - 1, col + 2)
        if (r, c) != (row, col) and 0 <= r < ROWS and 0 <= c < COLS
    ]


def integral(category, start, stop, cell=None):
    """The profile, in a cell the cell's own, over [start, stop) in average hours, minute by minute."""
    total = 0.0
    at = start
    while at < stop:
        after = min(at - at % 60 + 60, stop)
        local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(ZONE))
        own = 1 if cell is None else LIFT[cell, category, local.hour // 3 + (8 if local.weekday() in (5, 6) else 0)]
        total += own * CONSTANTS.profile[category, local.weekday() * 24 + local.hour] * (after - at) / HOUR
        at = after
    return total


INTEGRALS = {
    (category, start, stop): integral(category, start, stop)
    for category in range(CATEGORIES)
    for start, stop in (
        *((PANE + 300 - width, PANE) for width in (HOUR, 6 * HOUR, DAY)),
        *((NOW - NOW % HOUR + HOUR - days * DAY, PANE) for days in (3, 7)),
        (NOW - NOW % DAY + DAY - 30 * DAY, PANE),
    )
}
COMING = {
    (cell, category, horizon): integral(category, TICK, TICK + horizon, cell)
    for cell in range(ROWS * COLS)
    for category in range(CATEGORIES)
    for horizon in SPEC.horizons_s
}


def recount(incidents):
    """Every feature of every cell and category from the raw incidents: name -> value."""
    events = [(NOW - ago, cell, category) for ago, cell, category in incidents]
    cells, cats = range(ROWS * COLS), range(CATEGORIES)

    def n(start, cell=None, category=None, stop=NOW + 1):
        return sum(start <= at < stop and cell in (None, c) and category in (None, k) for at, c, k in events)

    pane, hour, day = (NOW - NOW % width + width for width in (300, HOUR, DAY))  # ends of the current bins
    start = {"15min": pane - 900, "1h": pane - HOUR, "6h": pane - 6 * HOUR, "24h": pane - DAY}
    start |= {"3d": hour - 3 * DAY, "7d": hour - 7 * DAY, "30d": day - 30 * DAY}
    today = day - DAY

    def memory(half_life):
        def weight(at_day):
            age = today // DAY - 1 - at_day
            return round(2**20 * 0.5 ** (age / half_life)) / 2**20 if 0 <= age < 399 else 0.0

        counts = [
            [sum(weight(at // DAY) for at, c, k in events if (c, k) == (cell, cat)) for cat in cats] for cell in cells
        ]
        return counts, sum(weight(d) for d in range(int(CONSTANTS.first_day), today // DAY))

    def region(half_life):
        counts, days = memory(half_life)
        return [(sum(counts[c][k] for c in cells) + CONSTANTS.mean_per_day[k]) / (days + 1) for k in cats]

    def rates(half_life):
        counts, days = memory(half_life)
        mean = [rate / len(cells) for rate in region(half_life)]
        result = {}
        for cell in cells:
            block = [cell, *neighbours(cell)]
            for k in cats:
                around = (sum(counts[c][k] for c in block) + 30 * mean[k]) / (len(block) * days + 30)
                result[cell, k] = (counts[cell][k] + 5 * around) / (days + 5)
        return result

    base, base_region, newest = rates(60.0), region(60.0), region(14.0)
    by_half_life = {d: rates(float(d)) for d in (7, 30, 120, 480)}
    local = datetime.fromtimestamp(TICK, UTC).astimezone(ZoneInfo(ZONE))
    clock = local.hour + local.minute / 60
    same = [hour - HOUR - 24 * d * HOUR + j * HOUR for d in range(1, 15) for j in range(4)]

    def level(windows_start, categories):
        expected = sum(newest[k] / 24 * INTEGRALS[k, windows_start, PANE] for k in categories)
        counted = sum(n(windows_start, category=k, stop=PANE) for k in categories)
        return min(max(log((counted + 5) / (expected + 5)), -1.5), 1.5)

    for cell in cells:
        for k in cats:
            last = max((at for at, c, kk in events if (c, kk) == (cell, k)), default=0)
            f = {f"cell_{w}": log1p(n(start[w], cell, k)) for w in ("15min", "1h", "6h", "24h", "7d")}
            f |= {f"ring_{w}": log1p(sum(n(start[w], c, k) for c in neighbours(cell))) for w in ("1h", "24h", "7d")}
            f |= {f"all_{w}": log1p(n(start[w], cell)) for w in ("1h", "24h", "7d")}
            f["hours_since"] = log1p(min(NOW // HOUR - last // HOUR, 168))
            f["same_hours_14d"] = log1p(sum(n(s, cell, k, s + HOUR) for s in same))
            f["same_hours_all_14d"] = log1p(sum(n(s, cell, None, s + HOUR) for s in same))
            f |= {f"rate_{d}d": log(by_half_life[d][cell, k]) for d in by_half_life}
            block = [cell, *neighbours(cell)]
            f["block_rate"] = log(sum(base[c, k] for c in block) / len(block))
            f["all_rate"] = log(sum(base[cell, kk] for kk in cats))
            f["region_rate"] = log(base_region[k])
            f |= {f"level_{w}": level(start[w], [k]) for w in ("1h", "6h", "24h", "3d", "7d", "30d")}
            f |= {f"level_all_{w}": level(start[w], cats) for w in ("1h", "6h", "24h", "7d")}
            f["day_sin"], f["day_cos"] = sin(2 * pi * clock / 24), cos(2 * pi * clock / 24)
            week = (local.weekday() * 24 + clock) / 168
            f["week_sin"], f["week_cos"] = sin(2 * pi * week), cos(2 * pi * week)
            for name, horizon in zip(SPEC.horizon_names, SPEC.horizons_s, strict=True):
                f[f"log_usual_{name}"] = log(base[cell, k] * newest[k] / base_region[k] / 24 * COMING[cell, k, horizon])
            observed = n(start["1h"], cell, k)
            total = n(0, cell, k)
            yield cell, k, f, observed, 0 if total == 0 else 1 if total < 20 else 2


@settings(max_examples=10, deadline=None)
@given(st.lists(incident, max_size=60))
@example([(hour * HOUR, hour % (ROWS * COLS), hour % CATEGORIES) for hour in range(40 * 24)])
def test_features_equal_a_recount_from_the_raw_incidents(incidents):
    features = FeatureEngine(SPEC, CONSTANTS).compute(state_of(incidents))
    for cell, category, expected, observed, support in recount(incidents):
        assert tuple(expected) == SPEC.features
        np.testing.assert_allclose(features.values[cell, category], list(expected.values()), rtol=2e-6, atol=2e-6)
        assert features.observed_1h[cell, category] == observed
        assert features.support[cell, category] == support
    assert features.observed_1h.dtype == np.int32


@pytest.mark.parametrize(("incidents", "support"), [(0, "no_history"), (1, "sparse"), (19, "sparse"), (20, "ok")])
def test_a_score_rests_on_a_history_from_twenty_remembered_incidents_on(incidents, support):
    half = incidents // 2
    state = state_of([(HOUR, 0, 0)] * half + [(30 * DAY, 0, 0)] * (incidents - half))
    features = FeatureEngine(SPEC, CONSTANTS).compute(state)
    assert SUPPORT[features.support[0, 0]] == support


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(incident, max_size=12), min_size=1, max_size=5), st.lists(st.integers(0, 4000), min_size=5))
def test_a_warm_engine_a_cold_one_and_a_restored_state_agree_to_the_last_bit(batches, waits):
    warm, state, now = FeatureEngine(SPEC, CONSTANTS), state_of([]), NOW
    for batch, wait in zip(batches, waits, strict=False):
        now += wait
        count(state, batch, now)
        of_warm = warm.compute(state)
        cold = FeatureEngine(SPEC, CONSTANTS).compute(restore_state(SPEC, export_state(state)))
        assert of_warm.values.tobytes() == cold.values.tobytes()
        assert of_warm.support.tobytes() == cold.support.tobytes()
        assert of_warm.values.flags.c_contiguous


def test_the_days_are_weighed_again_only_when_one_of_them_has_changed(monkeypatch):
    """They are most of the work of a tick."""
    weighed, engine, state = [], FeatureEngine(SPEC, CONSTANTS), state_of([])
    monkeypatch.setattr("models.features.remember", lambda *of, **kinds: weighed.append(1) or remember(*of, **kinds))
    for ago_s, times in ((HOUR, 1), (2 * HOUR, 1), (2 * DAY, 2)):
        count(state, [(ago_s, 0, 0)], NOW)
        engine.compute(state)
        assert len(weighed) == times


def test_an_engine_that_is_given_another_state_does_not_answer_from_the_first():
    engine = FeatureEngine(SPEC, CONSTANTS)
    first, second = state_of([(5 * DAY, 0, 0)] * 9), state_of([(5 * DAY, 5, 1)] * 9)
    for level in second.levels:
        second.levels[level].past_version = first.levels[level].past_version
    engine.compute(first)
    fresh = FeatureEngine(SPEC, CONSTANTS).compute(second)
    assert engine.compute(second).values.tobytes() == fresh.values.tobytes()


def test_every_value_is_inside_its_declared_range_also_in_a_flood():
    flood = [(ago, cell, 0) for ago in range(0, 40 * DAY, 1000) for cell in range(2)]
    for incidents in ([], flood, [told for told in flood if told[0] > 5 * DAY]):
        values = FeatureEngine(SPEC, CONSTANTS).compute(state_of(incidents)).values
        features = [feature for feature in all_features() for _ in feature.names]
        for column, feature in enumerate(features):
            assert feature.low <= values[:, :, column].min(), feature.name
            assert values[:, :, column].max() <= feature.high + 1e-6, feature.name


def test_a_spec_with_other_features_is_refused():
    with pytest.raises(SpecMismatch, match="train again"):
        FeatureEngine(msgspec.structs.replace(SPEC, features=("speed",)), CONSTANTS)


def test_older_days_count_once_the_kept_ones_begin_after_them_and_as_of_before_in_training():
    def usual(older_end_day, counts_before=None):
        older = OlderDays(counts=older_counts, share=np.array(0.5), end_day=np.array(float(older_end_day)))
        engine = FeatureEngine(SPEC, replace(CONSTANTS, older=older), counts_before)
        values = engine.compute(state).values
        return [values[:, :, SPEC.features.index(name)].tolist() for name in ("all_rate", "log_usual_24h")]

    state = state_of([(HOUR, 0, 0), (2 * DAY, 3, 1)])
    older_counts = np.arange(ROWS * COLS * CATEGORIES, dtype=np.float64).reshape(-1, CATEGORIES)
    oldest, asked = state.levels["day"].oldest, []

    def counts_before(day):
        asked.append(day)
        return older_counts

    counted, left_out = usual(oldest), usual(oldest + 1)
    assert counted == usual(oldest - 1) != left_out
    assert usual(oldest - 1, counts_before) == usual(oldest + 1, counts_before) == counted
    assert asked == [oldest - 1, oldest]
    memory = remember(state.levels["day"], (60.0, np.inf), CONSTANTS, SPEC, first_day=state.first_day)
    of_all_days = memory.counts[1] + older_counts
    rate = mixed_cell_rate(memory.counts[0], float(memory.days[0]), of_all_days, 0.5, CONSTANTS, SPEC)
    np.testing.assert_allclose(np.exp(counted[0])[:, 0], rate.sum(axis=1), rtol=1e-5)
    older_counts = np.zeros_like(older_counts)
    assert usual(oldest) == left_out
