from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from models import network
from models.evaluation import evaluate, rivals
from models.evaluation.tasks import count
from tests.harness.small_task import small_task


@pytest.fixture(scope="session")
def small():
    return small_task()


@pytest.fixture(scope="session")
def task(small):
    return small[0]


@pytest.fixture(scope="module")
def few_trees():
    """Boosting by few trees with few thresholds: for tests of what it is given and how it is judged.

    Of 255 thresholds scikit-learn computes each as a weighted percentile of its own: longer than all trees take.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rivals, "MOST_TREES", 20)
        patched.setattr(rivals, "HistGradientBoostingRegressor", partial(HistGradientBoostingRegressor, max_bins=15))
        yield


@pytest.fixture
def quick(monkeypatch):
    """Few rules and a network of one epoch: for tests of what is judged, not of how well."""
    monkeypatch.setattr(evaluate, "RIVALS", evaluate.RIVALS[:3])
    monkeypatch.setattr(evaluate, "EPOCHS", 1)
    monkeypatch.setattr(network, "PENALTIES", network.PENALTIES[:1])
    return monkeypatch


@pytest.fixture(scope="session")
def other_end(task):
    """The small task with other incidents in the steps that are judged."""
    judged = task.incidents.occurred_s >= task.cube.starts_s[task.test]
    incidents = replace(
        task.incidents, category=np.where(judged, 1 - task.incidents.category, task.incidents.category).astype(np.int16)
    )
    cell = np.where(judged, 19 - task.cell, task.cell).astype(np.int32)
    cube = count(incidents, cell, task.cube.starts_s, task.grid)
    return replace(task, incidents=incidents, cell=cell, cube=cube)
