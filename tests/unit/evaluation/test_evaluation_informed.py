"""Outside series in an evaluation: the product's features know them as issued, the rules do not."""

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.product import judged_inputs, learn, refuse_leaking_features
from models.evaluation.regressions.poisson_glm import PoissonGlm
from models.evaluation.report.as_json import as_json
from models.evaluation.report.wording import last_sentences, sentences
from models.evaluation.result import UNINFORMED, Origins
from models.evaluation.tasks import task_of as task_of_region
from models.network import RiskNetwork
from models.networks import kind_of_network
from models.training.outside_series import OutsideSeries
from models.training.regions import RegionTask
from schemas.errors import DataError, LeakError
from tests.harness.gate_town import command
from tests.harness.small_task import evaluated
from tests.harness.small_town import LAYOUT
from tests.harness.task_file import task_file
from tests.harness.windy_town import AHEAD, DAYS, START, forecasts, town, wind, write_forecasts, write_town

SERIES = wind()
NOW_S = START + DAYS * 86_400


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windy")
    write_town(folder / "town.csv", town(SERIES))
    write_forecasts(folder / "wind.csv", forecasts(SERIES))
    return folder


def task_of(files, values):
    path = files / "of_this_task.csv"
    write_forecasts(path, values)
    data = {"data": str(files / "town.csv"), "layout": LAYOUT, "covariates": str(path)}
    return task_of_region(RegionTask(region="town", cell_m=2000, **data), step="4h", now_s=NOW_S)


def learned(task, *, delay=0):
    kinds = [kind_of_network("residual")]
    return learn(task, kinds, purge=1 + delay, delay=delay, random=np.random.default_rng(0), tell=lambda share: None)


@pytest.fixture(scope="module")
def known(files):
    """The task with the forecasts as they were issued, and what was learned of it without a delay."""
    task = task_of(files, forecasts(SERIES))
    return task, learned(task)


def first_judged(task, learnt):
    ((inputs, (lately,)),) = judged_inputs(task, learnt, [range(task.test, task.test + 1)])
    return inputs[RiskNetwork.inputs][0], lately


@pytest.mark.parametrize("delay", [0, 3])
def test_a_step_knows_what_was_issued_until_it_begins_however_late_incidents_are_known(known, delay):
    task, learnt = known
    learnt = learned(task, delay=delay) if delay else learnt
    values, lately = first_judged(task, learnt)
    column = learnt.engine.spec.features.index("cov_wind_4h")
    hour = (int(task.cube.starts_s[task.test]) - START) // 3600
    usual = SERIES[1 : (int(task.cube.starts_s[task.validation]) - START) // 3600]
    assert values[0, 0, column] == pytest.approx(
        (SERIES[hour : hour + 4].mean() - usual.mean()) / usual.std(), abs=0.05
    )
    refuse_leaking_features(task, learnt, task.test, values, lately, delay=delay)


def test_a_feature_that_knew_what_was_issued_later_is_a_leak(known):
    task, learnt = known
    values, lately = first_judged(task, learnt)
    values = values.copy()
    values[..., learnt.engine.spec.features.index("cov_wind_4h")] += 0.5
    with pytest.raises(LeakError, match="cov_wind_4h"):
        refuse_leaking_features(task, learnt, task.test, values, lately, delay=0)


def test_what_sees_the_features_gains_by_the_known_effect_and_it_is_said(known, quick):
    informed_task = known[0]
    plain, informed = (
        evaluated(task, regressions=(PoissonGlm(),))
        for task in (replace(informed_task, covariates=OutsideSeries()), informed_task)
    )
    assert as_json(plain)["also_known"] == {}
    (what,) = as_json(informed)["also_known"].items()
    assert what == ("outside series wind", f"for 24 h after each issue, sha256 {informed_task.covariates.sha256}")
    for row in plain.rows:
        score, before = (evaluation.row(row.model).scores.sheet.nb_log_score for evaluation in (informed, plain))
        if row.kind == "rule":
            assert score == before
        elif row.model != "our baseline":
            assert score < 0.98 * before, row.model
    uninformed, network = informed.row(UNINFORMED).scores.sheet.nb_log_score, informed.network
    assert uninformed == pytest.approx(plain.network.scores.sheet.nb_log_score, rel=0.005)
    assert network.versus_uninformed.mean == pytest.approx(network.scores.sheet.nb_log_score - uninformed)
    assert "Not known against the same network without outside series wind: the judged time has 4 blocks" in " ".join(
        sentences(informed)
    )
    assert any("showed no gain" in sentence for sentence in last_sentences(informed))
    several = Origins(judged_from_s=(0, 1), best_baseline="", best_rule="", rows=())
    assert not any("showed no gain" in sentence for sentence in last_sentences(replace(informed, origins=several)))
    assert plain.network.versus_uninformed is None
    assert "without" not in " ".join(sentences(plain))


def test_the_command_refuses_values_that_say_nothing_of_the_region(files):

    def judge(name, region):
        data = {"data": files / "town.csv", "layout": LAYOUT, "cell_m": 2000, "covariates": files / name}
        command("evaluate", task_file(files / "task.toml", region=region, **data), "--out", files / "out")

    write_forecasts(files / "late.csv", forecasts(SERIES, late_hours=AHEAD + 1))
    with pytest.raises(DataError, match="wind is never known"):
        judge("late.csv", "town")
    with pytest.raises(DataError, match="no row of the region elsewhere"):
        judge("wind.csv", "elsewhere")
