"""Hours that are cut out: nothing is learned from them, nothing is judged by them, and no trigger fires for them."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.archive import ArchiveTable, file_days
from lifecycle.challenger import due_reasons
from lifecycle.shadow import shadow_path
from models.artifact import read_artifact
from models.dispersion import Dispersion
from models.evaluation.evaluate import _counting_row
from models.evaluation.judge import Judge
from models.evaluation.rivals import RIVALS
from models.files.incident_archive import KnownHours, read_archive
from models.training.fit_baseline import Choices, constants_until
from models.training.region_tasks import RegionTask
from models.training.train_region import prepare, train_region
from schemas.errors import DataError
from schemas.spec import DAY_S
from tests.harness.gate_town import judged_hour
from tests.harness.small_task import plan_of, small_task
from tests.harness.small_town import LAYOUT, START_S, write_town
from tests.harness.toy import toy_artifact, toy_history, toy_spec

pytestmark = pytest.mark.usefixtures("quick_training")
HOUR = 3600
FIRST = START_S // HOUR  # midnight of a Sunday
CHOICES = Choices(
    half_life_days=30.0, level_half_life_days=30.0, shrink_days=(1.0,), profile_prior=5.0, lift_prior=20.0
)


def history(hours, cut, *, spec=None, more=()):
    """An incident of each category in each hour that is not cut out, in one cell, and `more` at these hours."""
    spec = spec or toy_spec(1, 1)
    of = sorted([*(hour for hour in range(hours) if hour not in cut), *more])
    at_s = np.repeat(START_S + 60 + HOUR * np.array(of, np.int64), 2)
    cut_hours, category = FIRST + np.array(sorted(cut), np.int64), np.tile([0, 1], len(of))
    return toy_history(spec, at_s, START_S + hours * HOUR, category=category, cut_hours=cut_hours)


cuts = st.sets(st.integers(1, 8 * 168 - 1), max_size=300)


@settings(max_examples=25, deadline=None)
@given(cuts, st.lists(st.integers(0, 299), max_size=40), st.sampled_from(["UTC", "America/Chicago"]))
def test_a_level_rate_is_found_whatever_is_cut_out_and_whatever_lies_in_it(cut, places, zone):
    """One incident an hour is 24 a day and no hour above another, to the last digit, unless what is cut out counts."""
    inside = sorted(cut)
    more = [inside[place % len(inside)] for place in places] if inside else []
    past = history(8 * 168, cut, spec=toy_spec(1, 1, timezone=zone), more=more)
    constants = constants_until(past, past.cutoff_s - HOUR, CHOICES)
    seconds = 8 * 168 * HOUR - HOUR - 60  # from the first incident
    kept_s = seconds - HOUR * len([hour for hour in cut if hour < 8 * 168 - 1])
    hours = 8 * 168 - 1 - len([hour for hour in cut if hour < 8 * 168 - 1])
    np.testing.assert_allclose(constants.mean_per_day, hours / (kept_s / DAY_S), rtol=1e-12)
    np.testing.assert_allclose(constants.profile, 1, atol=0.02)  # the first minute belongs to no hour
    np.testing.assert_allclose(constants.day_lift, 1, atol=0.02)


def test_what_is_not_cut_out_counts_as_quiet():
    """Else the test above would hold of any history."""
    cut = {hour for hour in range(168, 8 * 168) if hour % 24 == 5}
    quiet = replace(history(8 * 168, cut), cut_hours=np.zeros(0, np.int64))
    assert constants_until(quiet, quiet.cutoff_s, CHOICES).profile[:, 5::24].max() < 0.5


@given(st.sets(st.integers(0, 300)), st.lists(st.integers(0, 300 * HOUR), min_size=1), st.integers(1, 30 * HOUR))
def test_no_moment_is_kept_whose_forecast_is_about_a_cut_hour(cut, moments, horizon_s):
    past = history(24, {1})
    past = replace(past, cut_hours=np.array(sorted(cut), np.int64))
    touched = [any(at_s < (hour + 1) * HOUR and hour * HOUR < at_s + horizon_s for hour in cut) for at_s in moments]
    clear = [at_s for at_s, is_touched in zip(moments, touched, strict=True) if not is_touched]
    if clear:
        assert past.clear_of_cuts(moments, horizon_s) == clear
    else:
        with pytest.raises(DataError, match="cut out"):
            past.clear_of_cuts(moments, horizon_s)


def test_a_judged_step_that_is_cut_out_changes_no_figure():
    task, truth = small_task()
    cut = task.cube.starts_s[[task.test + 3, task.test + 20]] // HOUR + np.array([[5], [6]])
    judge = Judge(task=replace(task, incidents=replace(task.incidents, cut_hours=np.sort(cut.ravel()))), seed=0)
    assert np.flatnonzero(~judge.is_kept[task.test :]).tolist() == [3, 20]
    mean = truth[task.test :][:, task.scored]
    dispersion, changed = Dispersion.quadratic(np.full(2, 3.0)), mean.copy()
    changed[[3, 20]] = 1e6
    as_it_is, otherwise = (
        lambda steps, values=values: values[steps.start - task.test : steps.stop - task.test]
        for values in (mean, changed)
    )
    scores, scores_otherwise = judge.scores(as_it_is, dispersion), judge.scores(otherwise, dispersion)
    np.testing.assert_array_equal(scores.log_score_sums, scores_otherwise.log_score_sums)
    whole = Judge(task=task, seed=0).scores(as_it_is, dispersion).log_score_sums
    np.testing.assert_array_equal(scores.log_score_sums, np.delete(whole, [3, 20], axis=1))
    assert judge.totals(as_it_is).city == judge.totals(otherwise).city
    expected = judge.counts(judge.judged)[judge.is_kept[task.test :]].sum()
    assert judge.totals(as_it_is).city.actual == expected


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_a_simple_rule_learns_nothing_from_what_is_cut_out(rival):
    """Whatever was counted in cut steps, of the learned ones and of the judged ones, changes no figure of its row."""
    task, _ = small_task()
    steps = np.array([10, 11, task.validation + 2, task.test + 3])
    cut = np.sort(task.cube.starts_s[steps] // HOUR + 5)
    rows = []
    for count in (0, 50):
        counts = task.cube.counts.copy()
        counts[steps] = count
        judged = replace(task, cube=replace(task.cube, counts=counts), incidents=replace(task.incidents, cut_hours=cut))
        totals = np.full((len(task.cube) - task.test, 2), 20.0)
        rows.append(_counting_row(rival, Judge(task=judged, seed=0), plan_of(), totals))
    quiet, busy = rows
    np.testing.assert_array_equal(quiet.scores.log_score_sums, busy.scores.log_score_sums)
    np.testing.assert_array_equal(quiet.levelled.log_score_sums, busy.levelled.log_score_sums)
    assert (quiet.scores.sheet, quiet.dispersion, quiet.chosen) == (busy.scores.sheet, busy.dispersion, busy.chosen)
    assert quiet.totals.city == busy.totals.city
    assert len(quiet.scores.log_score_sums[0]) == len(task.cube) - task.test - 1


def test_the_manifest_says_how_many_hours_were_cut_out(tmp_path):
    file = write_town(tmp_path / "town.csv", seed=5)
    task = RegionTask(data=str(file), layout=LAYOUT, region="town", epochs=1, step_minutes=1440)
    ready = prepare(task)
    table = ArchiveTable(str(tmp_path / "archive"), {})
    days = file_days(ready.incidents, ready.spec, set()).days
    masks = {3: 0b111, 20: 1 << 23}
    days = [replace(day, cut_hours=masks.get(number, 0)) for number, day in enumerate(days[:50])] + days[50:]
    table.append(ready.spec, days, "stream")
    archived = prepare(msgspec.structs.replace(task, data=f"archive:{tmp_path / 'archive'}", layout=""))
    assert "4 hours are cut out" in " ".join(archived.warnings)
    assert f"of {len(days) - 50} days nobody knows" in " ".join(archived.warnings)
    folder, _ = train_region(archived, tmp_path / "made", report=lambda what, share: None)
    assert read_artifact(folder).manifest.data.cut_hours == 4
    other = read_archive(f"archive:{tmp_path / 'archive'}").sha256
    again = ArchiveTable(str(tmp_path / "again"), {})
    again.append(ready.spec, [replace(day, cut_hours=0) for day in days], "stream")
    assert read_archive(f"archive:{tmp_path / 'again'}").sha256 != other


def test_a_trigger_does_not_fire_for_hours_of_a_silent_feed(tmp_path):
    """Thirty days as expected, but that nothing was observed in the first eight hours of each."""
    spec, random = toy_spec(), np.random.default_rng(2)
    champion = read_artifact(toy_artifact(tmp_path / "artifacts", spec, cutoff_s=START_S))
    silent, lines = {hour for hour in range(30 * 24) if hour % 24 < 8}, []
    for number in range(30 * 24):
        observed = {name: 0 if number in silent else int(random.poisson(30)) for name in spec.categories}
        versions = {"champion_version": champion.version, "challenger_version": ""}
        lines.append(judged_hour(START_S + number * HOUR, observed=observed, **versions))
    path = shadow_path(tmp_path, spec.region)
    path.parent.mkdir()
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def reasons(hours):
        return due_reasons(champion, tmp_path, hours, now_s=START_S + 30 * DAY_S)

    assert any("observed over expected" in reason for reason in reasons(KnownHours()))
    cut = frozenset(FIRST + hour for hour in silent)
    assert reasons(KnownHours(cut_hours=cut)) == []
    assert reasons(KnownHours(until_s=START_S + 10 * DAY_S)) == []  # too few are known


def test_the_counts_before_a_forecast_are_those_of_the_stream():
    """The job's counts have nothing of a silent hour either, so features are computed from all that was counted."""
    past = history(48, {30, 31}, more=[30])
    assert past.counts(past.first_s, past.cutoff_s).sum() == 2 * 47
    assert len(past.uncut(past.first_s, past.cutoff_s)) == 2 * 46
