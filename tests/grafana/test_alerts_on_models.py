"""Alerts on models: outcomes, drift, trials, retraining, on a real store. They fire where they must, and only there."""

import numpy as np
import pytest

from lifecycle.judge import retrain_line
from lifecycle.triggers import Asked
from schemas.spec import DAY_S
from tests.harness.alert_world import NORTH, RULES, fires, write_ledgers
from tests.harness.alerting import evaluate
from tests.harness.grafana_world import SPECS, outcome_lines


def test_only_the_baseline_scores(store, now_s):
    uid = "risk-baseline-only"
    write_ledgers(store, now_s, 10, northville={"model": "baseline:network unusable"})
    assert fires(uid, store, now_s) == {NORTH}
    write_ledgers(store, now_s + 600, 10)
    assert evaluate(RULES[uid], store, now_s + 600, already={NORTH}).firing == frozenset()
    write_ledgers(store, now_s + 1200, 2, northville={"model": "baseline"})
    assert fires(uid, store, now_s + 1200) == frozenset()  # for a batch or two nobody is woken


def write_outcomes(store, now_s, days, **ratios):
    """Two hours of each of those days before today get so many incidents for one expected, in the regions named."""
    draw, midnight_s = np.random.default_rng(3), now_s - now_s % DAY_S
    for region, ratio in ratios.items():
        hours = [midnight_s - day * DAY_S + hour * 3600 for day in days for hour in (0, 12)]
        store.write(b"".join(outcome_lines(SPECS[region], hour, draw, ratio=ratio) for hour in hours))


@pytest.mark.parametrize(("ratio", "is_firing"), [(1.0, False), (1.5, True), (0.6, True)])
def test_calibration_drift(store, now_s, ratio, is_firing):
    write_outcomes(store, now_s, range(20, 0, -1), northville=ratio, southville=1.0)
    assert fires("risk-calibration", store, now_s) == ({NORTH} if is_firing else set())


def test_a_few_days_are_no_drift(store, now_s):
    write_outcomes(store, now_s, range(6, 0, -1), northville=3.0)
    assert fires("risk-calibration", store, now_s) == frozenset()
    write_outcomes(store, now_s, range(9, 6, -1), northville=3.0)
    assert fires("risk-calibration", store, now_s) == {NORTH}


def test_few_expected_incidents_are_no_drift(store, now_s):
    spec, midnight_s = SPECS["northville"], now_s - now_s % DAY_S
    tags = f"outcome,category={spec.categories[0]},horizon=24h,region=northville"
    for day in range(1, 13):
        store.write(f"{tags} expected=5,observed=50 {midnight_s - day * DAY_S}\n".encode())
    assert fires("risk-calibration", store, now_s) == frozenset()


@pytest.mark.parametrize(
    ("low", "high", "is_firing"),
    [(0.85, 1.3, False), (1.05, 1.3, False), (1.12, 1.3, True), (0.7, 0.95, False), (0.7, 0.89, True)],
)
def test_drift_of_a_category_is_an_alert_when_its_whole_band_lies_outside(store, now_s, low, high, is_firing):
    midnight_s = now_s - now_s % DAY_S
    for category, bounds in (("ems", f"low={low},high={high}"), ("all", "low=0.9,high=1.1")):
        tags = f"drift,category={category},region=northville"
        store.write(f"{tags} ratio=1,{bounds} {midnight_s - 2 * DAY_S}\n".encode())
        store.write(f"{tags} ratio=1,low=2,high=3 {midnight_s - 4 * DAY_S}\n".encode())  # of the version before
    wanted = {(("category", "ems"), ("region", "northville"))} if is_firing else set()
    assert fires("risk-drift", store, now_s) == wanted


def gate_points(now_s, awaited, region="northville"):
    """A judgement a day; the newest day began the day before yesterday, as late reports are waited for."""
    midnight_s = now_s - now_s % DAY_S
    days = zip(range(len(awaited) + 1, 1, -1), awaited, strict=True)
    return "".join(
        f"gate,region={region} awaited={is_awaited} {midnight_s - back * DAY_S}\n" for back, is_awaited in days
    ).encode()


@pytest.mark.parametrize(("awaited", "is_firing"), [((0, 0), False), ((0, 1), True), ((1, 0), False), ((), False)])
@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_person_is_awaited_while_the_newest_judgement_says_so(store, now_s, awaited, hour, is_firing):
    at_s = now_s - now_s % DAY_S + 3600 * hour + 3590
    store.write(gate_points(at_s, awaited) + gate_points(at_s, (0, 0), "southville"))
    assert fires("risk-trial-decided", store, at_s) == ({NORTH} if is_firing else set())


@pytest.mark.parametrize(("hours", "is_firing"), [(0, False), (5.9, False), (6.1, True), (72, True), (None, False)])
def test_a_watch_that_fails_or_that_nobody_runs_any_more_is_an_alert_and_none_that_never_ran(
    store, now_s, hours, is_firing
):
    ago = {"watch_ago_s": None if hours is None else 3600.0 * hours}
    write_ledgers(store, now_s, 10, northville=ago, southville=ago)
    assert fires("risk-watch-stopped", store, now_s) == ({()} if is_firing else set())


@pytest.mark.parametrize(("hours", "is_firing"), [(1, False), (5.9, False), (6.1, True), (72, True)])
def test_a_follower_that_learns_nothing_is_an_alert_and_one_that_has_not_begun_is_none(store, now_s, hours, is_firing):
    write_ledgers(
        store, now_s, 10, northville={"followed_ago_s": int(3600 * hours)}, southville={"followed_ago_s": None}
    )
    assert fires("risk-follows-nothing", store, now_s) == ({NORTH} if is_firing else set())


@pytest.mark.parametrize(("hours", "is_firing"), [(None, False), (2, True), (23, True), (25, False)])
def test_a_new_challenger_is_told_for_a_day(store, now_s, hours, is_firing):
    hour_s = now_s // 3600 * 3600
    for region, made_h in (("northville", hours), ("southville", 100)):
        for at_s, made in ((hour_s - 7200, None), (hour_s - 3600, made_h)):
            made_s = None if made is None else at_s - 3600 * made
            asked = Asked(at_s=at_s, outcome="waits", because="x", made_s=made_s)
            store.write(retrain_line(region, asked, at_s))
    assert fires("risk-challenger-made", store, now_s) == ({NORTH} if is_firing else set())
