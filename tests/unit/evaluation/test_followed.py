"""The row of the network with a follower behind it, and following in the order of time."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from models.dispersion import Dispersion
from models.evaluation.featured import spec_of, write_followed
from models.evaluation.judge import Judge, Spool
from models.following import Follower, FollowerState, SequentialFollowing, served_delay_s
from schemas.spec import DAY_S, HOUR_S, Spec

LATE = 2  # days after a day until what came in it is learned: it is final 25 hours after its end


def judged_by(task):
    return Judge(task=task, seed=0, rows=7 * 19)


def mean_of(task):
    """(scored cells, categories) of the days before those that are judged."""
    judge = judged_by(task)
    return judge.floored(judge.counts(range(task.test)).mean(axis=0))


def followed(task, raw, delay=0):
    """(judged days, scored cells, categories) of a forecast that is always `raw`."""
    constants = SimpleNamespace(
        profile=np.ones((2, 168)), dispersion_in_cells=lambda **_: Dispersion.quadratic(np.full((2, 1), 30.0))
    )
    learned = SimpleNamespace(engine=SimpleNamespace(spec=spec_of(task)), constants=constants)
    judge = judged_by(task)
    with closing(Spool(task.test, raw.shape, np.float64)) as spool:
        write_followed(lambda run: np.repeat(raw[None], len(run), axis=0), learned, judge, delay, spool)
        return spool.read(judge.judged)


def test_a_forecast_of_half_is_doubled_once_that_is_final(task):
    raw = mean_of(task) / 2
    shown = followed(task, raw)
    assert (shown[: LATE + 1] == judged_by(task).floored(raw)).all()
    assert (shown[LATE + 1] != raw).any()
    np.testing.assert_allclose(shown[-10:].sum(axis=(1, 2)) / raw.sum(), 2, rtol=0.3)


def test_a_forecast_knows_nothing_that_is_not_final(task, other_end):
    raw = mean_of(task)
    changed = task.test + 30
    counts = np.concatenate([task.cube.counts[:changed], other_end.cube.counts[changed:]])
    before, after = (followed(each, raw) for each in (task, replace(task, cube=replace(task.cube, counts=counts))))
    assert (before[: 30 + LATE + 1] == after[: 30 + LATE + 1]).all()
    assert (before[30 + LATE + 1 :] != after[30 + LATE + 1 :]).any()
    assert (followed(task, raw, delay=5)[:6] == raw).all()


def test_a_day_that_is_cut_out_is_not_learned(task):
    raw = mean_of(task)
    cut = int(task.cube.starts_s[task.test + 10]) // HOUR_S
    without = replace(task, incidents=replace(task.incidents, cut_hours=np.array([cut])))
    counts = task.cube.counts.copy()
    counts[task.test + 10] = 99
    silly = replace(without, cube=replace(task.cube, counts=counts))
    assert (followed(without, raw) == followed(silly, raw)).all()


def test_each_horizon_is_learned_in_the_hour_after_its_counts_are_final_and_a_baseline_s_never(task):
    whole = spec_of(task)
    parts = {name: getattr(whole, name) for name in whole.__struct_fields__} | {"horizons_s": (HOUR_S, DAY_S)}
    spec = Spec(**parts | {"features": (*whole.features, "log_usual_24h")})
    asked = []

    def counts(start_s, stop_s):
        asked.append((now_s, start_s, stop_s))
        return np.ones((spec.grid.cells, 2), np.int64)

    constants = SimpleNamespace(
        profile=np.ones((2, 168)), dispersion_in_cells=lambda **_: Dispersion.quadratic(np.full((2, 2), 30.0))
    )
    following = SequentialFollowing(
        follower=Follower.of(spec, constants), counts=counts, delay_s=served_delay_s(), state=FollowerState.new(spec)
    )
    for now_s in range(0, 60 * HOUR_S, HOUR_S):
        following.next_factors(now_s, None if now_s == 5 * HOUR_S else np.ones((spec.grid.cells, 2, 2)))
    hours, days = ([each for each in asked if each[2] - each[1] == span_s] for span_s in (HOUR_S, DAY_S))
    assert hours == [
        (at_s + 27 * HOUR_S, at_s, at_s + HOUR_S) for at_s in range(0, 33 * HOUR_S, HOUR_S) if at_s != 5 * HOUR_S
    ]
    assert days == [
        (at_s + 50 * HOUR_S, at_s, at_s + DAY_S) for at_s in range(0, 10 * HOUR_S, HOUR_S) if at_s != 5 * HOUR_S
    ]
