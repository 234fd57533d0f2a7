"""A town that knows a few weeks, and what the network of a town with the same rule gives to it."""

import numpy as np
import pytest
import torch

from benchmarks import newcomers as module
from benchmarks.newcomers import newcomers_of
from tests.harness.small_task import small_task


@pytest.fixture
def towns(monkeypatch):
    """Two towns whose cells differ and whose weeks and level follow one rule."""
    torch.set_num_threads(1)
    tasks = {name: (lambda path, seed=seed: small_task(seed=seed)[0], None) for seed, name in enumerate(("old", "new"))}
    monkeypatch.setattr(module, "TASKS", tasks)
    monkeypatch.setattr(module, "LENDERS", {"new": "old"})
    monkeypatch.setattr(module, "WEEKS_KNOWN", (6,))


def test_one_network_for_two_towns_with_the_same_rule_helps_the_newcomer(towns):
    found = newcomers_of("new", seeds=(0,), epochs=3, tell=lambda text: None)
    (row,) = found["by_weeks"]
    against = row["against_its_baseline"]
    assert set(against) == {module.FLAT, module.OWN, module.LENT, module.JOINT, module.EMBEDDED}
    assert against[module.FLAT]["verdict"] == "worse"
    assert against[module.JOINT]["verdict"] == "better"
    assert against[module.EMBEDDED]["verdict"] == "better"
    assert against[module.JOINT]["mean"] < against[module.OWN]["mean"]


def test_the_same_everywhere_is_the_mean_of_all_judged_cells():
    young = module._young(small_task()[0], 12)
    known = young.incidents.occurred_s < young.cube.starts_s[young.validation]
    for number, mean in enumerate(module.flat_mean(young)):
        counted = known & (young.incidents.category == number) & young.scored[young.cell]
        assert mean == pytest.approx(counted.sum() / (young.validation * young.scored.sum()))


def test_a_newcomer_has_only_its_first_weeks_and_the_six_that_are_judged():
    task = small_task()[0]
    young = module._young(task, 12)
    assert (young.test, len(young.cube)) == (12 * 7, 18 * 7)
    assert 0 < young.validation < young.test
    assert young.incidents.occurred_s.max() < task.cube.starts_s[18 * 7]
    assert len(young.cell) == len(young.incidents) == young.cube.counts.sum()
    np.testing.assert_array_equal(young.cube.counts, task.cube.counts[: 18 * 7])
