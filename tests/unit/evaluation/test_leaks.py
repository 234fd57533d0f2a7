"""What knows the future is refused, alone and in a whole evaluation; delay, purge and origins are kept."""

import json
import re
import sys
from dataclasses import replace
from functools import partial
from signal import SIGKILL
from subprocess import run
from typing import ClassVar

import msgspec
import numpy as np
import pytest
import torch

from models.evaluation import evaluate as module
from models.evaluation import rivals
from models.evaluation.evaluate import evaluate_rolling, judged_inputs, learn, refuse_leaking_features
from models.evaluation.evaluation_report import as_json
from models.evaluation.judge import refuse_leaks
from models.evaluation.rivals import RIVALS, PoissonGlm, Rule
from models.evaluation.tasks import task_of
from models.local_time import Calendar
from models.training.region_tasks import RegionTask
from models.training.replay import Replay
from schemas.errors import DataError, LeakError
from tests.harness.festive_town import DAYS, MATCHES, write_festive_town
from tests.harness.gate_town import command
from tests.harness.small_task import DAY_S, NOW, evaluated, plan_of, random_cube
from tests.harness.small_town import LAYOUT, START_S, task_file, write_town

FIRST = 40


def planted(since, until):
    """A forecast: mean of the steps from `since` to `until` (both counted from the step, `until` left out)."""

    def forecast(cube, first):
        steps = range(first, len(cube))
        return np.stack([cube.counts[step + since : step + until].mean(axis=0) for step in steps]) + 0.01

    return forecast


def normalised_by_the_whole_block(cube, first):
    rate = planted(-7, 0)(cube, first)
    return rate / rate.mean() * cube.counts[first:].mean()


def check(forecast, *, seed, delay):
    random = np.random.default_rng(seed)
    cube = random_cube(random)
    refuse_leaks(forecast, cube, FIRST, name="planted", random=random, delay=delay)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize(
    "forecast",
    [planted(-3, 4), planted(-5, 1), normalised_by_the_whole_block],
    ids=["centred moving average", "peeks one step", "normalised by the whole block"],
)
def test_a_leak_is_refused_whichever_step_is_drawn(forecast, delay, seed):
    with pytest.raises(LeakError, match=r"'planted' leaks: its forecast of step \d+ changes .* \(delay"):
        check(forecast, seed=seed, delay=delay)


def knows_the_busiest_step(cube, first):
    rate = planted(-7, 0)(cube, first)
    rate[np.argmax(cube.counts[first:].sum(axis=(1, 2)))] *= 2
    return rate


def test_a_leak_that_only_a_surge_shows_is_refused_by_some_of_many_draws():
    cube, refused = random_cube(np.random.default_rng(0)), 0
    cube.counts[-3] += 100  # more than noise could hide: only another order of the steps does
    for seed in range(60):
        try:
            refuse_leaks(knows_the_busiest_step, cube, FIRST, name="surge", random=np.random.default_rng(seed), delay=0)
        except LeakError:
            refused += 1
    assert 0 < refused < 60


@pytest.mark.parametrize("seed", range(20))
def test_who_forgets_the_delay_is_refused_only_where_there_is_one(seed):
    check(planted(-7, 0), seed=seed, delay=0)
    check(planted(-7, -3), seed=seed, delay=3)
    for delay, until in ((1, 0), (3, 0), (3, -2)):
        with pytest.raises(LeakError, match=f"delay {delay}"):
            check(planted(-7, until), seed=seed, delay=delay)


def test_the_message_names_the_first_step_that_knows_too_much_and_the_callers_counts_stay():
    cube = random_cube(np.random.default_rng(5))
    kept, drawn = cube.counts.copy(), int(np.random.default_rng(6).integers(FIRST, len(cube)))
    with pytest.raises(LeakError) as raised:
        refuse_leaks(planted(-1, 2), cube, FIRST, name="peeks", random=np.random.default_rng(6), delay=0)
    assert f"step {drawn - 1} changes with the counts from step {drawn} on" in str(raised.value)
    assert f"only steps before {drawn - 1}" in str(raised.value)
    refuse_leaks(planted(-7, 0), cube, FIRST, name="honest", random=np.random.default_rng(0), delay=0)
    np.testing.assert_array_equal(cube.counts, kept)


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_every_simple_rival_is_honest(rival, delay):
    for seed in range(5):
        random = np.random.default_rng(seed)
        cube = random_cube(random)
        forecast = partial(rival.fit(cube.until(FIRST), FIRST - 12).forecast, delay=delay)
        refuse_leaks(forecast, cube, FIRST, name=rival.name, random=random, delay=delay)


def learned_from(task, *, delay=0):
    return learn(task, purge=1 + delay, delay=delay, random=np.random.default_rng(0), tell=lambda share: None)


def test_what_models_are_given_to_learn_from_ends_before_what_is_judged(task, other_end):
    first, again = (learned_from(each) for each in (task, other_end))
    for name, value in first.constants.arrays().items():
        np.testing.assert_array_equal(value, again.constants.arrays()[name], err_msg=name)
    for each, other in ((first.train, again.train), (first.validation, again.validation)):
        assert torch.equal(each.values, other.values)
        assert torch.equal(each.counts, other.counts)
    assert len(first.validation.values) == task.scored.sum() * (task.test - 1 - task.validation)  # all that is judged


class Peeking(Rule):
    name = "peeking"

    def forecast(self, cube, first, *, delay=0):
        return cube.counts[first:].astype(float)


def test_a_rival_that_knows_the_future_is_refused(task, monkeypatch):
    monkeypatch.setattr(module, "RIVALS", (Peeking(),))
    with pytest.raises(LeakError, match="'peeking' leaks"):
        evaluated(task)


@pytest.fixture(scope="module")
def honest(task):
    return features_of(task)


def test_a_feature_that_knows_the_future_is_refused(task, honest, monkeypatch):
    """Told a day that has not been, by counts that take it."""
    ended = until(task, int(task.cube.starts_s[task.test]))
    np.testing.assert_array_equal(honest, features_of(ended))
    lead_to, spec_of = Replay.lead_to, module.spec_of
    monkeypatch.setattr(module, "spec_of", lambda task: msgspec.structs.replace(spec_of(task), future_limit_s=DAY_S))

    def hasty(self, as_of_s):
        self.lag_s = -DAY_S
        return lead_to(self, as_of_s)

    monkeypatch.setattr(Replay, "lead_to", hasty)
    assert (features_of(task) != features_of(ended)).any(), "the plant leaks nothing"
    monkeypatch.setattr(module, "RIVALS", module.RIVALS[:1])
    with pytest.raises(LeakError, match=r"feature cell_.* changes with what happens after the step begins"):
        evaluated(task)


def test_with_a_delay_no_feature_knows_the_unreported_day(task, honest):
    unreported = int(task.cube.starts_s[task.test - 1])
    delayed = features_of(task, delay=1)
    np.testing.assert_array_equal(delayed, features_of(until(task, unreported), delay=1))
    assert (delayed != honest).any()
    assert task.cube.counts[task.test - 1].sum() > 0


def until(task, end_s):
    """The task without what happens from `end_s` on; its cube stays."""
    past = task.incidents.occurred_s < end_s
    return replace(task, incidents=task.incidents.select(past), cell=task.cell[past])


def features_of(task, *, delay=0):
    """The features of the first judged step, and what was known of the hours before it, one behind the other."""
    values, (lately,) = next(judged_inputs(task, learned_from(task, delay=delay), [range(task.test, task.test + 1)]))
    return np.append(values[0].ravel(), np.frombuffer(lately.pack()))


def test_a_delay_or_a_purge_that_leaves_nothing_is_refused_before_anything_is_fitted(task, monkeypatch):
    monkeypatch.setattr(module, "RIVALS", None)
    with pytest.raises(DataError, match="691200 s late would not be counted: use at most 604800 s"):
        evaluated(task, delay=8)
    with pytest.raises(DataError, match=r"purge of 60 steps leaves too few of the 180 .* 60 to choose by.*at most 58"):
        evaluated(task, purge=60)
    short = replace(task, validation=6, test=12)
    with pytest.raises(DataError, match="choose a smaller --delay-steps, or give a longer file"):
        evaluated(short, purge=7, delay=6)


class Noting(Rule):
    """Says how many steps it was given to learn from."""

    name = "noting"
    fitted_until: ClassVar[list[int]] = []

    def fit(self, past, validation, *, delay=0):
        self.fitted_until.append(len(past))
        return self

    def forecast(self, cube, first, *, delay=0):
        return np.ones((len(cube) - first, *cube.counts.shape[1:]))


def test_rules_learn_up_to_the_purge_and_know_the_delay(task, quick):
    Noting.fitted_until.clear()
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Noting()))
    evaluated(task, purge=5, delay=1)
    assert Noting.fitted_until == [task.test - 5]


def rolling(task, folder, *, origins=2, say=print, **changes):
    plan = plan_of(**changes)
    return evaluate_rolling(task, plan, origins=origins, now=NOW, versions={}, folder=folder, say=say)


@pytest.fixture(scope="module")
def shorter(task):
    """The task with few steps to choose by, so that two origins fit."""
    return replace(task, validation=task.test - 20)


def test_several_origins_are_fitted_apart_and_judge_each_step_once(shorter, quick, tmp_path):
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Noting()))
    Noting.fitted_until.clear()
    lines, test = list[str](), shorter.test
    rolled = rolling(shorter, tmp_path, say=lines.append)
    assert [line.partition(",")[0] for line in lines] == ["origin 1 of 2", "origin 2 of 2"]
    assert Noting.fitted_until == [test - 1, test - 60 - 1]  # the last first: it refuses what cannot be done
    alone = evaluated(shorter)
    assert [row.scores.sheet for row in rolled.rows] == [row.scores.sheet for row in alone.rows]
    assert rolled.origins.judged_from_s == (int(shorter.cube.starts_s[180]), int(shorter.cube.starts_s[240]))
    for row in rolled.origins.rows:
        assert row.nb_log_scores[1] == pytest.approx(alone.row(row.model).nb_log_score)
        assert row.nb_log_score == pytest.approx(np.mean(row.nb_log_scores))
    with pytest.raises(DataError, match="with 2 more origins only"):
        rolling(shorter, tmp_path, origins=3)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from models import network
from models.evaluation import evaluate
from tests.harness.small_task import NOW, plan_of, small_task

evaluate.RIVALS, evaluate.EPOCHS, network.PENALTIES = evaluate.RIVALS[:3], 1, network.PENALTIES[:1]
die = lambda line: line.startswith("origin 2") and os.kill(os.getpid(), signal.SIGKILL)
task = small_task()[0]
task = replace(task, validation=task.test - 20)
evaluate.evaluate_rolling(task, plan_of(), origins=2, now=NOW, versions={}, folder=Path(sys.argv[1]), say=die)
"""


def test_an_evaluation_that_is_killed_goes_on_at_the_origin_where_it_was(shorter, quick, tmp_path):
    killed = run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], check=False)
    assert killed.returncode == -SIGKILL
    written, told = list[str](), list[str]()
    for folder in ("killed", "unbroken"):
        rolled = rolling(shorter, tmp_path / folder, say=told.append)
        written.append(re.sub(r'"(seconds|peak_gib)": [\d.e-]+', "", json.dumps(as_json(rolled))))
    assert ["kept" in line for line in told] == [True, False, False, False]
    assert written[0] == written[1]
    rolling(shorter, tmp_path / "killed", say=told.append, purge=2)  # another question finds nothing
    assert "kept" not in "".join(told[4:])


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("festive")
    write_festive_town(folder)
    places = {name: str(folder / f"{file}.csv") for name, file in (("data", "town"), ("calendar", "days"))}
    return {"region": "town", "layout": LAYOUT, "cell_m": 2000, **places}


@pytest.fixture(scope="module")
def festive(asked):
    return task_of(RegionTask(**asked), step="4h", now_s=START_S + DAYS * DAY_S)


@pytest.mark.parametrize("delay", [0, 3])
def test_a_step_knows_its_day_however_late_incidents_are_known_and_a_feature_that_knew_more_is_a_leak(festive, delay):
    learnt = learned_from(festive, delay=delay)
    first = range(festive.test, festive.test + 12)
    ((values, lately),) = judged_inputs(festive, learnt, [first])
    days = (festive.cube.starts_s[festive.test : festive.test + 12] - START_S) // DAY_S
    for column, moved in (("today", 0), ("eve", 1), ("after", -1)):
        told = values[:, 0, 0, learnt.engine.spec.features.index(f"calendar_match_{column}")]
        np.testing.assert_array_equal(told, np.isin(days + moved, MATCHES))
    refuse_leaking_features(festive, learnt, festive.test, values[0], lately[0], delay=delay)
    values[0, ..., learnt.engine.spec.features.index("calendar_match_today")] += 0.5
    with pytest.raises(LeakError, match="calendar_match_today"):
        refuse_leaking_features(festive, learnt, festive.test, values[0], lately[0], delay=delay)


def test_what_sees_the_features_gains_by_the_known_effect_and_the_file_is_named(festive, quick):
    plain, informed = (
        evaluated(each, regressions=(PoissonGlm(),)) for each in (replace(festive, calendar=Calendar()), festive)
    )
    assert as_json(plain)["also_known"] == {}
    told = f"sha256 {festive.calendar.sha256}"
    assert as_json(informed)["also_known"] == {"the days of fair": told, "the days of match": told}
    for row in plain.rows:
        score, before = (evaluation.row(row.model).nb_log_score for evaluation in (informed, plain))
        if row.kind == "rule":
            assert score == before
        elif not row.model.startswith("our baseline"):
            assert score < 0.99 * before, row.model


def test_the_command_refuses_a_file_of_days_before_hours_of_work(asked, tmp_path):
    with pytest.raises(DataError, match=r"town\.csv, data row 1: date '', name ''"):
        command("evaluate", task_file(tmp_path / "task.toml", **asked | {"calendar": asked["data"]}), "--out", tmp_path)


def test_the_command_tells_each_origin_and_leaves_only_the_report(quick, tmp_path):
    quick.setattr(rivals, "REGRESSIONS", ())
    data = {"data": write_town(tmp_path / "town.csv", seed=5), "layout": LAYOUT, "cell_m": 2000}
    words = ("--step", "4h", "--seeds", "1", "--origins", "2", "--out", tmp_path / "out")
    said = command("evaluate", task_file(tmp_path / "task.toml", region="town", **data), *words)
    told = [line for line in said.splitlines() if line.startswith("origin ")]
    assert [line.partition(" from")[0] for line in told] == ["origin 1 of 2, judged", "origin 2 of 2, judged"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "evaluation.json", "reliability.png"}
