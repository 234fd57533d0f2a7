"""A forest as MLlib describes it, against a walk through it by hand."""

import numpy as np
import pytest

from models.evaluation.regressions import trees
from models.evaluation.regressions.trees import Trees

FOREST = """RandomForestRegressionModel: uid=RandomForestRegressor_1, numTrees=2, numFeatures=2
  Tree 0 (weight 1.0):
    If (feature 1 <= 0.5)
     If (feature 0 <= 0.1)
      Predict: 1.0
     Else (feature 0 > 0.1)
      Predict: 2.0
    Else (feature 1 > 0.5)
     Predict: 4.0E-2
  Tree 1 (weight 1.0):
    Predict: 10.0
"""
ROWS = [([-1.0, 0.5], 1.0), ([3.0, -3.0], 2.0), ([-1.0, 0.75], 0.04), ([0.1, 0.0], 2.0)]


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_rows_go_where_the_splits_send_them(monkeypatch, block):
    """0.1 as a 32-bit float lies above the split's 64-bit value, so that row goes right, as among Java's doubles."""
    monkeypatch.setattr(trees, "BLOCK_ROWS", block)
    forest = Trees.read(FOREST)
    assert (forest.depth, len(forest.roots), len(forest.value)) == (2, 2, 6)
    values = np.array([row for row, _ in ROWS], np.float32)
    np.testing.assert_array_equal(forest.predict(values), [(first + 10) / 2 for _, first in ROWS])


@pytest.mark.parametrize("broken", [FOREST.replace("Predict: 2.0", ""), FOREST.replace("  Tree 1 (weight 1.0):\n", "")])
def test_a_description_that_is_no_forest_is_refused(broken):
    with pytest.raises(ValueError, match=r"where a tree of the forest should begin|ends within a tree"):
        Trees.read(broken)
