"""A forest as MLlib saves it, against a walk through it by hand."""

import numpy as np
import pandas as pd
import pytest

from models.evaluation.regressions import trees
from models.evaluation.regressions.trees import Forest

LEAF = (-1, [])
NODES = [  # tree, id, prediction, children, split; the order of a saved table is not that of the nodes
    (1, 0, 10.0, (-1, -1), LEAF),
    (0, 2, 1.0, (-1, -1), LEAF),
    (0, 0, 0.5, (1, 4), (1, [0.5])),
    (0, 1, 0.6, (2, 3), (0, [0.1])),
    (0, 4, 0.04, (-1, -1), LEAF),
    (0, 3, 2.0, (-1, -1), LEAF),
]
FIELDS = ("id", "prediction", "leftChild", "rightChild", "split")
ROWS = [([-1.0, 0.5], 1.0), ([3.0, -3.0], 2.0), ([-1.0, 0.75], 0.04), ([0.1, 0.0], 2.0)]


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_rows_go_where_the_splits_send_them(monkeypatch, block):
    """0.1 as a 32-bit float lies above the split's 64-bit value, so that row goes right, as among Java's doubles."""
    monkeypatch.setattr(trees, "BLOCK_ROWS", block)
    nodes = [
        (node, prediction, *children, {"featureIndex": feature, "leftCategoriesOrThreshold": np.array(threshold)})
        for _, node, prediction, children, (feature, threshold) in NODES
    ]
    table = pd.DataFrame(
        {"treeID": [row[0] for row in NODES], "nodeData": [dict(zip(FIELDS, row, strict=True)) for row in nodes]}
    )
    forest = Forest.of_saved(table, depth=2)
    assert (len(forest.roots), len(forest.value)) == (2, 6)
    values = np.array([row for row, _ in ROWS], np.float32)
    np.testing.assert_array_equal(forest.of_rows(values), [(first + 10) / 2 for _, first in ROWS])
