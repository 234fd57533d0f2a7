"""Drift of the version that scores, as the store has it: against plain sums."""

import numpy as np
import pytest

from models.gate.shadow_day import ShadowHour
from models.gate.triggers import LEAST_DAYS
from schemas.spec import DAY_S
from streaming.flow.shadow import drift_lines
from tests.harness.points import points_in
from tests.harness.toy import toy_spec

START_S = 1_764_028_800  # midnight, UTC
OLD, NEW = "20260101T000000Z-abc00000", "20260301T000000Z-def00000"


def hour_of(tick_s, version, draw, horizon="1h"):
    spec = toy_spec()
    return ShadowHour(
        tick_s=tick_s,
        horizon=horizon,
        champion_version=version,
        challenger_version="",
        values=1,
        champion=0.1,
        challenger=0.1,
        baseline=0.1,
        observed={category: int(draw.poisson(3)) for category in spec.categories},
        champion_expected=dict.fromkeys(spec.categories, 4.0),
        challenger_expected=dict.fromkeys(spec.categories, 4.0),
    )


@pytest.mark.parametrize("days", [LEAST_DAYS - 1, LEAST_DAYS + 6])
def test_drift_is_that_of_the_newest_version_and_of_hours_that_do_not_overlap(days):
    spec, draw = toy_spec(), np.random.default_rng(1)
    before = [hour_of(START_S - hour * 3600, OLD, draw) for hour in range(480, 0, -1)]
    ours = [hour_of(START_S + hour * 3600, NEW, draw) for hour in range(24 * days)]
    longer = [hour_of(one.tick_s, NEW, draw, horizon="4h") for one in ours]
    points = list(points_in(drift_lines(spec, [*before, *ours, *longer]).decode()))
    if days < LEAST_DAYS:
        assert points == []
        return
    found = {key: fields for key, _, fields in points}
    assert {time_s for _, time_s, _ in points} == {START_S + (days - 1) * DAY_S}
    assert set(found) == {f"drift,category={name},region={spec.region}" for name in ("all", *spec.categories)}
    for name in ("all", *spec.categories):
        seen = sum(sum(one.observed.values()) if name == "all" else one.observed[name] for one in ours)
        expected = 4.0 * len(ours) * (len(spec.categories) if name == "all" else 1)
        fields = found[f"drift,category={name},region={spec.region}"]
        assert float(fields["ratio"]) == pytest.approx(seen / expected)
        assert float(fields["low"]) < float(fields["ratio"]) < float(fields["high"])
        assert fields["champion"] == f'"{NEW}"'
