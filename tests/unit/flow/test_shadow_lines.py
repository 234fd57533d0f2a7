"""What the store gets of drift and of a trial: drift against plain sums, and whether a person is awaited."""

import numpy as np
import pytest
from msgspec.structs import replace

from models.gate.plan import GatePlan
from models.gate.shadow_day import ShadowHour
from models.gate.trial import Trial, trial_path, write_trial
from models.gate.triggers import LEAST_DAYS
from schemas.spec import DAY_S
from streaming.flow.outcomes import Outcomes
from streaming.flow.shadow import Shadow, drift_lines
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


def test_a_judgement_says_whether_a_person_is_awaited_and_the_end_of_the_trial_takes_that_back(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(2)
    hours = [replace(hour_of(START_S + hour * 3600, OLD, draw), challenger_version=NEW) for hour in range(24 * 3)]
    plan = GatePlan(least_days=3, most_days=3)
    trial = Trial(champion=OLD, challenger=NEW, plan=plan, plan_sha256="0" * 64, margin=0.0, started_s=START_S)
    (tmp_path / "artifacts" / spec.region).mkdir(parents=True)
    shadow = Shadow(checkpoint=tmp_path, artifacts=tmp_path / "artifacts", champion=Outcomes(tmp_path).kept)
    shadow._append(spec.region, hours)
    write_trial(shadow.artifacts, spec.region, trial)
    ((key, time_s, decided),) = points_in(shadow._gate(spec, hours[-1:]).decode())
    assert (key, time_s) == (f"gate,region={spec.region}", START_S + 2 * DAY_S)
    assert (decided["decision"], float(decided["awaited"])) == ('"undecided"', 1)
    trial_path(shadow.artifacts, spec.region).unlink()
    ((key, time_s, ended),) = points_in(shadow._gate(spec, hours[-1:]).decode())
    assert (key, time_s) == (f"gate,region={spec.region}", START_S + 2 * DAY_S)
    assert (list(ended), float(ended["awaited"])) == (["awaited"], 0)
    assert shadow._gate(spec, []) == b""  # there was no challenger
