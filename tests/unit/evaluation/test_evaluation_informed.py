"""Outside series in an evaluation: the product's features know them as issued, the rules do not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.product import judged_inputs, learn, refuse_leaking_features
from models.evaluation.tasks import FileOptions, task_of_file
from models.files.layouts import parse_layout
from models.network import RiskNetwork
from models.networks import kind_of_network
from models.training.outside_series import OutsideSeries
from schemas.errors import LeakError
from tests.harness.gate_town import command
from tests.harness.small_town import LAYOUT
from tests.harness.windy_town import DAYS, START, forecasts, town, wind, write_forecasts, write_town

SERIES = wind()
NOW_S = START + DAYS * 86_400


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windy")
    write_town(folder / "town.csv", town(SERIES))
    write_forecasts(folder / "wind.csv", forecasts(SERIES))
    return folder


def task_of(files, values):
    task = task_of_file(files / "town.csv", parse_layout(LAYOUT), FileOptions(cell_m=2000, step="4h"), now_s=NOW_S)
    path = files / "of_this_task.csv"
    write_forecasts(path, values)
    return replace(task, covariates=OutsideSeries.read(path, "town", max_age_hours=24))


def learned(task, *, delay=0):
    kinds = [kind_of_network("residual")]
    return learn(task, kinds, purge=1 + delay, delay=delay, random=np.random.default_rng(0), tell=lambda share: None)


def first_judged(task, known):
    (inputs,) = judged_inputs(task, known, [range(task.test, task.test + 1)])
    return inputs[RiskNetwork.inputs][0]


@pytest.mark.parametrize("delay", [0, 3])
def test_a_step_knows_what_was_issued_until_it_begins_however_late_incidents_are_known(files, delay):
    task = task_of(files, forecasts(SERIES))
    known = learned(task, delay=delay)
    seen = first_judged(task, known)
    column = known.engine.spec.features.index("cov_wind_4h")
    hour = (int(task.cube.starts_s[task.test]) - START) // 3600
    usual = SERIES[1 : (int(task.cube.starts_s[task.validation]) - START) // 3600]
    assert seen[0, 0, column] == pytest.approx((SERIES[hour : hour + 4].mean() - usual.mean()) / usual.std(), abs=0.05)
    refuse_leaking_features(task, known, task.test, seen, delay=delay)


def test_a_feature_that_knew_what_was_issued_later_is_a_leak(files):
    task = task_of(files, forecasts(SERIES))
    known = learned(task)
    seen = first_judged(task, known).copy()
    seen[..., known.engine.spec.features.index("cov_wind_4h")] += 0.5
    with pytest.raises(LeakError, match="cov_wind_4h"):
        refuse_leaking_features(task, known, task.test, seen, delay=0)


def test_the_command_gains_by_the_known_effect_and_says_what_was_known(files, tmp_path):
    def judged(*words):
        out = tmp_path / str(len(words))
        plain = ["evaluate", "--data", files / "town.csv", "--layout", LAYOUT, "--cell-m", "2000", "--step", "4h"]
        command(*plain, "--seeds", "1", "--no-forest", "--out", out, *words)
        found = json.loads((out / "evaluation.json").read_bytes())
        return found, {row["model"]: row["nb_log_score"] for row in found["rows"]}

    plain, without = judged()
    informed, scores = judged("--covariates", files / "wind.csv", "--region", "town")
    assert plain["also_known"] == {}
    assert list(informed["also_known"]) == ["outside series wind"]
    for rule in (row["model"] for row in plain["rows"] if row["kind"] == "rule"):
        assert scores[rule] == without[rule]
    for model in ("network", "Poisson GLM", "gradient boosting"):
        assert scores[model] < 0.98 * without[model]
