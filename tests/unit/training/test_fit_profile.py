"""The profile of the week, where its hours move and where they do not."""

from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from models.local_time import HOURS
from models.training.fit_baseline import by_hour_of_week, choose_profile, profile_of
from models.training.replay import IncidentHistory
from tests.harness.toy import toy_spec, toy_table

DAY, START = 86_400, int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
DAYS, VALIDATION, TEST = 280, START + 196 * 86_400, START + 238 * 86_400


def history(*, moved_day=DAYS, zone="UTC", seed=0):
    """40 incidents a day around 12 o'clock, from `moved_day` on around 18 o'clock."""
    random = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), random.poisson(40, DAYS))
    hour = np.clip(random.normal(12 + 6 * (day >= moved_day), 2.5), 0, 23.99)
    at_s = np.sort(START + day * DAY + (hour * 3600).astype(np.int64))
    spec = msgspec.structs.replace(toy_spec(1, 1), timezone=zone)
    category = random.integers(0, 2, len(at_s)).astype(np.int16)
    table = toy_table(at_s, lat_deg=np.full(len(at_s), 41.004), lon_deg=np.full(len(at_s), -86.994), category=category)
    return IncidentHistory.of(table, spec, START + DAYS * DAY)


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
    begin, end = START + 5 * DAY + 7200, START + 95 * DAY + 3600
    incidents, hours = by_hour_of_week(past, begin, end, 30.0)
    weight = lambda at_s: 0.5 ** (7 / 30.0 * ((end - 1 - at_s) // (7 * DAY)))  # noqa: E731
    slot = lambda at_s: (lambda at: 24 * at.weekday() + at.hour)(datetime.fromtimestamp(at_s, local))  # noqa: E731
    counted, lasted = np.zeros((2, HOURS)), np.zeros(HOURS)
    for at_s in range(begin, end, 3600):
        lasted[slot(at_s)] += weight(at_s)
    inside = (past.incidents.occurred_s >= begin) & (past.incidents.occurred_s < end)
    for at_s, category in zip(past.incidents.occurred_s[inside], past.incidents.category[inside], strict=True):
        counted[category, slot(int(at_s))] += weight(int(at_s))
    np.testing.assert_allclose(incidents, counted)
    np.testing.assert_allclose(hours, lasted)
    assert timedelta(hours=float(by_hour_of_week(past, begin, end)[1].sum())) == timedelta(seconds=end - begin)
