"""What knows the future is refused in a whole evaluation; delay, purge and origins say up to when all others learn."""

from dataclasses import replace
from typing import ClassVar

import msgspec
import numpy as np
import pytest
import torch

from models.evaluation import evaluate as module
from models.evaluation import featured
from models.evaluation.evaluate import evaluate_rolling
from models.evaluation.featured import judged_inputs, learn
from models.evaluation.rivals import Rule
from models.training.replay import Replay
from schemas.errors import DataError, LeakError
from tests.harness.small_task import DAY_S, NOW, evaluated, plan_of


def test_what_models_are_given_to_learn_from_ends_before_what_is_judged(task, other_end):
    first, again = (
        learn(each, purge=1, delay=0, random=np.random.default_rng(0), tell=lambda share: None)
        for each in (task, other_end)
    )
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
    lead_to, spec_of = Replay.lead_to, featured.spec_of
    monkeypatch.setattr(featured, "spec_of", lambda task: msgspec.structs.replace(spec_of(task), future_limit_s=DAY_S))

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
    learned = learn(task, purge=1 + delay, delay=delay, random=np.random.default_rng(0), tell=lambda share: None)
    first = range(task.test, task.test + 1)
    values, (lately,) = next(judged_inputs(task, learned, [first]))
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


def test_several_origins_are_fitted_apart_and_judge_each_step_once(task, quick):
    quick.setattr(module, "RIVALS", (*module.RIVALS[:3], Noting()))
    Noting.fitted_until.clear()
    task = replace(task, validation=task.test - 20)
    rolled = evaluate_rolling(task, plan_of(), origins=2, now=NOW, versions={})
    assert Noting.fitted_until == [task.test - 1, task.test - 60 - 1]  # the last first: it refuses what cannot be done
    alone = evaluated(task)
    assert [row.scores.sheet for row in rolled.rows] == [row.scores.sheet for row in alone.rows]
    assert rolled.origins.judged_from_s == (int(task.cube.starts_s[180]), int(task.cube.starts_s[240]))
    for row in rolled.origins.rows:
        assert row.nb_log_scores[1] == pytest.approx(alone.row(row.model).scores.sheet.nb_log_score)
        assert row.nb_log_score == pytest.approx(np.mean(row.nb_log_scores))
    with pytest.raises(DataError, match="with 2 more origins only"):
        evaluate_rolling(task, plan_of(), origins=3, now=NOW, versions={})
