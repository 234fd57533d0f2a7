"""Days known in advance in an evaluation: the product's features know them, the rules do not."""

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.evaluation_report import as_json
from models.evaluation.featured import judged_inputs, learn, refuse_leaking_features
from models.evaluation.regressions import PoissonGlm
from models.evaluation.tasks import task_of
from models.training.calendar import Calendar
from models.training.region_tasks import RegionTask
from schemas.errors import DataError, LeakError
from tests.harness.festive_town import DAYS, MATCHES, write_festive_town
from tests.harness.gate_town import command
from tests.harness.small_task import evaluated
from tests.harness.small_town import LAYOUT, START_S
from tests.harness.task_file import task_file

DAY_S = 86_400


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("festive")
    write_festive_town(folder)
    return folder


@pytest.fixture(scope="module")
def task(files):
    data = {"data": str(files / "town.csv"), "layout": LAYOUT, "calendar": str(files / "days.csv")}
    return task_of(RegionTask(region="town", cell_m=2000, **data), step="4h", now_s=START_S + DAYS * DAY_S)


@pytest.mark.parametrize("delay", [0, 3])
def test_a_step_knows_its_day_however_late_incidents_are_known_and_a_feature_that_knew_more_is_a_leak(task, delay):
    learnt = learn(task, purge=1 + delay, delay=delay, random=np.random.default_rng(0), tell=lambda share: None)
    first = range(task.test, task.test + 12)
    ((values, lately),) = judged_inputs(task, learnt, [first])
    days = (task.cube.starts_s[task.test : task.test + 12] - START_S) // DAY_S
    for column, moved in (("today", 0), ("eve", 1), ("after", -1)):
        told = values[:, 0, 0, learnt.engine.spec.features.index(f"calendar_match_{column}")]
        np.testing.assert_array_equal(told, np.isin(days + moved, MATCHES))
    refuse_leaking_features(task, learnt, task.test, values[0], lately[0], delay=delay)
    values[0, ..., learnt.engine.spec.features.index("calendar_match_today")] += 0.5
    with pytest.raises(LeakError, match="calendar_match_today"):
        refuse_leaking_features(task, learnt, task.test, values[0], lately[0], delay=delay)


def test_what_sees_the_features_gains_by_the_known_effect_and_the_file_is_named(task, quick):
    plain, informed = (
        evaluated(each, regressions=(PoissonGlm(),)) for each in (replace(task, calendar=Calendar()), task)
    )
    assert as_json(plain)["also_known"] == {}
    told = f"sha256 {task.calendar.sha256}"
    assert as_json(informed)["also_known"] == {"the days of fair": told, "the days of match": told}
    for row in plain.rows:
        score, before = (evaluation.row(row.model).scores.sheet.nb_log_score for evaluation in (informed, plain))
        if row.kind == "rule":
            assert score == before
        elif not row.model.startswith("our baseline"):
            assert score < 0.99 * before, row.model


def test_the_command_refuses_a_file_of_days_before_hours_of_work(files):
    data = {"data": files / "town.csv", "layout": LAYOUT, "cell_m": 2000, "calendar": files / "town.csv"}
    with pytest.raises(DataError, match=r"town\.csv, data row 1: date '', name ''"):
        command("evaluate", task_file(files / "task.toml", region="town", **data), "--out", files / "out")
