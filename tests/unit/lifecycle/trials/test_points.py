"""What the store gets of drift and of a trial: drift against plain sums, and whether a person is awaited."""

import numpy as np
import pytest
from msgspec.structs import replace

from lifecycle.gate.plan import GatePlan
from lifecycle.gate.shadow_day import judged_hours
from lifecycle.gate.triggers import LEAST_DAYS
from lifecycle.trials.judge import TrialJudge
from lifecycle.trials.points import drift_lines
from schemas.spec import DAY_S
from tests.harness.judged import judged_hour, toy_trial
from tests.harness.points import points_in
from tests.harness.toy import toy_spec

START_S = 1_764_028_800  # midnight, UTC
OLD, NEW = "20260101T000000Z-abc00000", "20260301T000000Z-def00000"


def hour_of(tick_s, version, draw, horizon="1h"):
    spec = toy_spec()
    return judged_hour(
        tick_s,
        horizon=horizon,
        champion_version=version,
        challenger_version="",
        observed={category: int(draw.poisson(3)) for category in spec.categories},
        champion_expected=dict.fromkeys(spec.categories, 4.0),
        challenger_expected=dict.fromkeys(spec.categories, 4.0),
    )


@pytest.mark.parametrize("days", [LEAST_DAYS - 1, LEAST_DAYS + 6])
def test_drift_is_that_of_the_newest_version_and_of_hours_that_do_not_overlap(days):
    spec, draw = toy_spec(), np.random.default_rng(1)
    before = [hour_of(START_S - hour * 3600, OLD, draw) for hour in range(480, 0, -1)]
    ours = [hour_of(START_S + hour * 3600, NEW, draw) for hour in range(24 * days)]
    longer = [hour_of(each.tick_s, NEW, draw, horizon="4h") for each in ours]
    points = list(points_in(drift_lines(spec, [*before, *ours, *longer]).decode()))
    if days < LEAST_DAYS:
        assert points == []
        return
    by_key = {key: fields for key, _, fields in points}
    assert {time_s for _, time_s, _ in points} == {START_S + (days - 1) * DAY_S}
    assert set(by_key) == {f"drift,category={name},region={spec.region}" for name in ("all", *spec.categories)}
    for name in ("all", *spec.categories):
        came = sum(sum(each.observed.values()) if name == "all" else each.observed[name] for each in ours)
        expected = 4.0 * len(ours) * (len(spec.categories) if name == "all" else 1)
        fields = by_key[f"drift,category={name},region={spec.region}"]
        assert float(fields["ratio"]) == pytest.approx(came / expected)
        assert float(fields["low"]) < float(fields["ratio"]) < float(fields["high"])
        assert fields["champion"] == f'"{NEW}"'


def test_drift_leaves_out_the_hours_of_a_silent_feed(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(4)
    hours = [hour_of(START_S + hour * 3600, NEW, draw) for hour in range(24 * 20)]
    quiet = {each.tick_s // 3600 for each in hours if each.tick_s // 3600 % 24 < 8}
    nothing = dict.fromkeys(spec.categories, 0)
    hours = [replace(each, observed=nothing) if each.tick_s // 3600 in quiet else each for each in hours]
    newest = range(hours[-1].tick_s // 3600 - 71, hours[-1].tick_s // 3600 + 1)
    judge = TrialJudge(checkpoint=tmp_path, artifacts=tmp_path, store=print)
    judge._append(spec, hours)
    for cut in ({hour for hour in quiet if hour not in newest}, {hour for hour in quiet if hour in newest}):
        judge.cut_hours = lambda _, newest_s, cut=cut: cut
        judge._cut_out(spec, hours[-1].tick_s)
    by_key = {key: fields for key, _, fields in points_in(drift_lines(spec, judged_hours(tmp_path, spec)).decode())}
    for name in spec.categories:
        came = sum(each.observed[name] for each in hours)
        expected = sum(each.champion_expected[name] for each in hours if each.tick_s // 3600 not in quiet)
        assert float(by_key[f"drift,category={name},region={spec.region}"]["ratio"]) == pytest.approx(came / expected)


def test_a_judgement_says_whether_a_person_is_awaited_and_the_end_of_the_trial_takes_that_back(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(2)
    hours = [replace(hour_of(START_S + hour * 3600, OLD, draw), challenger_version=NEW) for hour in range(24 * 3)]
    plan = GatePlan(least_days=3, most_days=3)
    trial = toy_trial(champion=OLD, challenger=NEW, plan=plan, margin=0.0, started_s=START_S)
    judge = TrialJudge(checkpoint=tmp_path, artifacts=tmp_path / "artifacts", store=print)
    judge._append(spec, hours)
    ((key, time_s, decided),) = points_in(judge._gate(spec, trial, hours[-1:]).decode())
    assert (key, time_s) == (f"gate,region={spec.region}", START_S + 2 * DAY_S)
    assert (decided["decision"], float(decided["awaited"])) == ('"undecided"', 1)
    assert judge._gate(spec, trial, hours[-2:-1]) == b""  # 22:00: no day has ended
    ((key, time_s, ended),) = points_in(judge._gate(spec, None, hours[-1:]).decode())
    assert (key, time_s) == (f"gate,region={spec.region}", START_S + 2 * DAY_S)
    assert (list(ended), float(ended["awaited"])) == (["awaited"], 0)
    assert judge._gate(spec, None, []) == b""  # there was no challenger


def test_a_challenger_that_is_never_scored_is_reported_although_nothing_can_be_compared(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(3)
    hours = [hour_of(START_S + hour * 3600, OLD, draw) for hour in range(24)]
    trial = toy_trial(champion=OLD, challenger=NEW, started_s=START_S)
    judge = TrialJudge(checkpoint=tmp_path, artifacts=tmp_path / "artifacts", store=print)
    judge._append(spec, hours)
    ((_, _, said),) = points_in(judge._gate(spec, trial, hours[-1:]).decode())
    assert (said["decision"], float(said["awaited"]), float(said["failed_hours"])) == ('"stop"', 1, 24)
    assert not {"low", "high", "difference"} & set(said)
