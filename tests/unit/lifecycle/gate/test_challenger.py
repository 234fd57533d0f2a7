"""A challenger is made like the champion, and both are compared on days that neither has learned from."""

import dataclasses

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from lifecycle.challenger import (
    Evenness,
    HeldOut,
    compare_held_out,
    faults_of,
    held_out_from_s,
    judge_held_out,
    longest_training_s,
    recipe_of,
    unsound,
)
from lifecycle.gate import GatePlan
from models.artifact import champion_of, read_artifact
from models.comparison import LEAST_JUDGED, Difference, difference_of
from models.counting.count_state import CountState
from models.dispersion import Dispersion
from models.evaluation.disparity import Groups
from models.network_kinds import DEFAULT, Hyperparameters
from models.training.replay import IncidentHistory
from schemas.errors import DataError, GateClosed, SettingsError
from schemas.spec import DAY_S, HOUR_S
from tests.harness.festive_town import DAYS, MATCHES, write_days, write_festive_town
from tests.harness.gate_town import PLAN, Town, date, judged_day
from tests.harness.toy import (
    CUTOFF_S,
    publish_artifact,
    toy_artifact,
    toy_constants,
    toy_grid,
    toy_network,
    toy_spec,
    toy_table,
    toy_tuned_on,
)

ALIKE = Difference(mean=0.0, low=-1e-5, high=1e-5, blocks=28, correlation=0.0, verdict="tie")


def faults(*, observed, champion, challenger):
    """What speaks against the challenger on 28 days with these incidents, all alike."""
    expected = {"champion_expected": {"ems": champion}, "challenger_expected": {"ems": challenger}}
    days = [judged_day(observed={"ems": observed}, baseline=100.0, **expected)] * 28  # its score is the baseline's
    return list(faults_of(ALIKE, 1e-3, days, GatePlan()))


def pair(folder, newer_s=60):
    """A champion, and a challenger that knows so many seconds more."""
    made = (toy_artifact(folder / str(more_s), toy_spec(), cutoff_s=CUTOFF_S + more_s) for more_s in (0, newer_s))
    return [read_artifact(artifact) for artifact in made]


def past_until(end_s):
    """An incident in two hours until then: 36 in the three whole days until MIDNIGHT_S."""
    return IncidentHistory.of(toy_table(np.arange(CUTOFF_S + 7200, CUTOFF_S + 6 * DAY_S, 7200)), toy_spec(), end_s)


MIDNIGHT_S = (CUTOFF_S // DAY_S + 5) * DAY_S  # the third day ends with its last hour
TOO_FEW = "the groups of the plan have too few incidents, cells or days to be compared"


def test_what_cannot_be_tried_is_told_in_full(tmp_path):
    champion, _ = pair(tmp_path)
    other = toy_artifact(tmp_path / "other", toy_spec(categories=("ems",)), cutoff_s=CUTOFF_S)
    (other / "weights.safetensors").write_bytes(b"garbage")
    damaged = read_artifact(other)
    no_newer = "its data end no later than the champion's"
    assert unsound(champion, champion) == (no_newer,)
    assert unsound(champion, damaged) == (
        f"it has no network: {damaged.network_fault}",
        "its spec is another one; train it with --like the champion's folder",
        no_newer,
    )


def test_the_span_begins_where_no_forecast_reaches_into_what_was_learned_and_is_as_long_as_the_plan_says(tmp_path):
    older, newer = pair(tmp_path, newer_s=7200)
    first_whole_hour_s = -(-(CUTOFF_S + 7200) // HOUR_S) * HOUR_S
    assert held_out_from_s(older, newer) == held_out_from_s(newer, older) == first_whole_hour_s + DAY_S
    assert longest_training_s(100 * DAY_S + 5, GatePlan(), (HOUR_S, DAY_S)) == 71 * DAY_S


def test_incidents_of_the_span_are_counted_against_what_both_expected(tmp_path):
    plan, both = GatePlan(least_days=3, least_incidents=36), pair(tmp_path)
    shown = compare_held_out(*both, past_until(MIDNIGHT_S), plan)
    assert (shown.days, shown.champion, shown.remarks) == (3, shown.challenger, ())
    assert shown.faults[-1] == "observed over expected is 1.58 in fire"
    fault = "1 days are held out, and the plan asks for 3: train until an earlier day"
    nothing = {"champion": 0, "challenger": 0, "baseline": 0, "difference": None, "margin": 0}
    short = past_until(MIDNIGHT_S - 2 * DAY_S)
    assert compare_held_out(*both, short, plan) == HeldOut(days=1, **nothing, faults=(fault,))


def test_each_is_compared_by_its_network_and_the_dispersion_around_that(tmp_path):
    spec, history, network = toy_spec(), CountState(toy_spec()), toy_network(toy_spec())
    history.advance(CUTOFF_S)
    torch.nn.init.constant_(network.leave.bias, 0.3)
    wider = toy_constants(spec, network_dispersion=Dispersion.quadratic(np.full((2, 3), 0.1)))
    made = {"plain": (toy_constants(spec), toy_network(spec)), "more": (toy_constants(spec), network)}
    artifacts = [
        read_artifact(publish_artifact(tmp_path / name, spec=spec, constants=constants, network=of_it, history=history))
        for name, (constants, of_it) in (made | {"wide": (wider, network)}).items()
    ]
    past, plan = past_until(CUTOFF_S + 5 * DAY_S), GatePlan(least_days=3)
    plain, more, wide = (compare_held_out(artifacts[0], artifact, past, plan) for artifact in artifacts)
    assert plain.challenger == plain.baseline == more.champion
    assert len({plain.challenger, more.challenger, wide.challenger}) == 3


@pytest.mark.parametrize(
    ("observed", "champion", "challenger", "off"),
    [
        (100, 100.0, 98.0, None),
        (130, 100.0, 101.0, 1.29),  # it knows as little of a change as the champion
        (75, 100.0, 99.0, 0.76),
        (112, 104.0, 100.0, 1.12),  # further off than the champion
        (5, 4.1, 4.2, None),  # chance: 140 incidents, 1.19, and the champion 1.22
        (5, 4.1, 4.1, None),
        (5, 3.72, 3.72, 1.34),
    ],
)
def test_one_that_is_off_by_more_than_chance_and_no_less_than_the_champion_is_not_tried(
    observed, champion, challenger, off
):
    said = [f"observed over expected is {off} in ems"] if off else []
    assert faults(observed=observed, champion=champion, challenger=challenger) == said


def test_few_incidents_hide_no_other_category_and_a_loss_as_large_as_the_margin_is_too_large():
    expected = {"ems": 9.0, "fire": 9.0}
    few = [judged_day(observed={"ems": 1, "fire": 4}, challenger_expected=expected)] * 25  # 25 and 100 incidents
    assert list(faults_of(ALIKE, 1e-3, few, GatePlan())) == ["observed over expected is 0.44 in fire"]
    at_zero, days = dataclasses.replace(ALIKE, low=0.0), [judged_day()] * 28
    assert list(faults_of(at_zero, 1e-3, days, GatePlan())) == []  # a loss that is not shown is none
    (fault,) = faults_of(at_zero, ALIKE.high, days, GatePlan())
    assert fault == "its log score may be worse by 1e-05 nats, and the margin is 1e-05"


def judged(new, champion, baseline=0.2):
    """28 days of these mean log scores, nats; a fifth of the champion's skill may be lost.

    The challenger's differ by 0.02 from day to day, so that a loss of 0.0075 is not shown to be one.
    """
    days = [
        judged_day(champion=1000 * champion, challenger=1000 * (new + sign * 0.02), baseline=1000 * baseline)
        for sign in (1, -1) * 14
    ]
    shown = judge_held_out(days, GatePlan())
    apart = np.array([[new - champion + sign * 0.02 for sign in (1, -1) * 14]])
    # The same at every look.
    difference = difference_of(apart, np.arange(28), np.random.default_rng(0), judged=LEAST_JUDGED)
    assert (shown.days, shown.margin) == (28, pytest.approx(max(0.2 * (baseline - champion), 0)))
    assert (shown.champion, shown.challenger, shown.baseline) == pytest.approx((champion, new, baseline))
    assert (shown.difference.low, shown.difference.high) == pytest.approx((difference.low, difference.high))
    return shown.faults


@pytest.mark.parametrize(
    ("new", "champion", "faults"),
    [
        (0.1075, 0.1, ()),
        (0.13, 0.1, ("its log score is worse",)),
        (0.24, 0.3, ("its log score is worse than the baseline's",)),  # the champion has lost its skill
        (0.19, 0.3, ()),
    ],
)
def test_a_loss_within_the_margin_is_allowed_and_none_that_is_worse_than_the_baseline(new, champion, faults):
    assert judged(new, champion) == faults


GRID = toy_grid(12, 12)
GROUPS = Groups.of({cell: ("upper", "lower", "few")[min(cell // 70, 2)] for cell in range(GRID.cells)}, GRID)
TRUTH = np.random.default_rng(3).gamma(0.5, 1.0, (GRID.cells, 2)) * 0.05


def asked(challenger, champion, *, days=28, seed=0):
    """What is said of two forecasts (cells, categories) that stay the same for all hours of so many days."""
    evenness, random = Evenness(groups=GROUPS), np.random.default_rng(seed)
    for hour in range(24 * days):
        evenness.add(hour * 3600, random.poisson(TRUTH), challenger, champion)
    return evenness


def test_of_equals_none_is_refused_and_a_group_that_gets_less_is_found():
    upper = (GROUPS.of_cell == GROUPS.names.index("upper"))[:, None]
    random, refused = np.random.default_rng(5), {1.0: 0, 1.3: 0}
    for seed in range(20):
        noisy = [TRUTH * np.exp(random.normal(0, 0.1, TRUTH.shape)) for _ in range(2)]
        for bias in refused:
            faults, remarks = asked(noisy[0] / np.where(upper, bias, 1.0), noisy[1], seed=seed).judged()
            refused[bias] += len(faults)
            assert remarks == ()
            assert not any(name in " ".join(faults) for name in GROUPS.names)
    assert refused[1.0] <= 3
    assert refused[1.3] >= 17


def test_the_figures_are_those_of_a_plain_count_over_the_groups_that_are_large_enough():
    half = TRUTH.copy()
    half[:70] /= 2
    half[140:] /= 9  # of the group that is too small
    evenness = asked(half, TRUTH)
    came, expected, of_rival = np.sum(evenness.sums, axis=0)
    large = [GROUPS.names.index(name) for name in ("upper", "lower")]  # the third has four cells
    model, rival = (
        max(came[n] / mean[n] for n in large) / min(came[n] / mean[n] for n in large) for mean in (expected, of_rival)
    )
    assert f"(by a factor of {model:.3g} in place of {rival:.3g}, +" in evenness.judged()[0][0]


@pytest.mark.parametrize("days", [3, 26])  # no group has a hundred incidents; nine blocks of days
def test_what_is_too_short_is_said_to_be_not_compared(days):
    assert asked(TRUTH / 3, TRUTH, days=days).judged() == ((), (TOO_FEW,))


def test_the_gate_asks_where_its_plan_names_groups(tmp_path):
    file, cells = tmp_path / "groups.csv", enumerate(toy_spec().grid.cell_ids())
    file.write_text("cell,group\n" + "\n".join(f"{cell},{'ab'[number % 2]}" for number, cell in cells))
    both, past = pair(tmp_path), past_until(MIDNIGHT_S)
    assert compare_held_out(*both, past, GatePlan(least_days=3, groups=str(file))).remarks == (TOO_FEW,)
    with pytest.raises(SettingsError, match="is no file"):
        compare_held_out(*both, past, GatePlan(least_days=3, groups=str(tmp_path / "none.csv")))


def test_the_recipe_is_the_champions_with_what_it_was_tuned_on_and_without_one_the_kind_of_network_stays(tmp_path):
    manifest = read_artifact(toy_artifact(tmp_path, toy_spec())).manifest
    recipe, tuned_on = Hyperparameters(network="linear", widths=(24, 16), patience=7), toy_tuned_on()
    made = recipe_of(replace(manifest, network="linear", recipe=recipe, tuned_on=tuned_on))
    assert (made.recipe, made.tuned_on) == (recipe, tuned_on)
    made = recipe_of(replace(manifest, network="linear", recipe=None))
    assert (made.recipe, made.tuned_on) == (replace(DEFAULT, network="linear"), None)


@pytest.mark.usefixtures("quick_training")
def test_a_challenger_knows_the_days_of_the_newest_file_and_none_is_made_without(tmp_path):
    made = Town(tmp_path)
    write_festive_town(tmp_path)
    (tmp_path / "gate.toml").write_text(PLAN + "margin = 0.9  # of eighty days\n")
    short, longer = tmp_path / "short.csv", tmp_path / "days.csv"
    write_days(short, match=MATCHES[MATCHES < DAYS - 9], fair=[5])
    task = made.task(calendar=short, step_minutes=480, until=date(40))
    made.command("train", task, "--out", tmp_path / "made")
    made.promote(champion_of(tmp_path / "made", "town").folder)
    versions = made.state().manifests
    with pytest.raises(DataError, match=r"calendar no days, and .* has fair, match"):
        made.retrain("--now")
    assert made.state().manifests == versions
    assert "trial started" in made.retrain("--now", calendar=longer)
    champion, challenger = made.both()
    assert made.on_trial().challenger == challenger.version
    assert challenger.spec.fingerprint() == champion.spec.fingerprint()
    last = [artifact.constants.calendar[:, 1].max() for artifact in (champion, challenger)]
    assert last[0] < last[1]
    assert "challenger" in made.compare(challenger.version)  # which is given no file: each artifact has its own days
    made.end("a test", "--abandon")
    with pytest.raises(GateClosed, match="has learned from the same data"):
        made.retrain("--now", calendar=longer)
