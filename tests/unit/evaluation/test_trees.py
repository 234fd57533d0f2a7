"""A forest as MLlib saves it, against a walk through it by hand."""

import numpy as np
import pandas as pd
import pytest

from models.evaluation.regressions import trees
from models.evaluation.regressions.trees import Forest
from schemas.errors import PipelineError

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


def table_of(nodes):
    """The rows as MLlib saves them."""
    splits = [{"featureIndex": node[4][0], "leftCategoriesOrThreshold": np.array(node[4][1])} for node in nodes]
    data = [
        dict(zip(FIELDS, (node, prediction, *children, split), strict=True))
        for (_, node, prediction, children, _), split in zip(nodes, splits, strict=True)
    ]
    return pd.DataFrame({"treeID": [node[0] for node in nodes], "nodeData": data})


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_rows_go_where_the_splits_send_them(monkeypatch, block):
    """0.1 as a 32-bit float lies above the split's 64-bit value, so that row goes right, as among Java's doubles."""
    monkeypatch.setattr(trees, "BLOCK_ROWS", block)
    forest = Forest.of_saved(table_of(NODES), trees=2, depth=2)
    assert (len(forest.roots), len(forest.value)) == (2, 6)
    values = np.array([row for row, _ in ROWS], np.float32)
    np.testing.assert_array_equal(forest.of_rows(values), [(first + 10) / 2 for _, first in ROWS])


@pytest.mark.parametrize("lost", range(len(NODES)))
def test_a_saved_forest_that_lacks_a_node_or_a_tree_is_refused(lost):
    with pytest.raises(PipelineError, match=r"MLlib saved 5 nodes of \d trees.*--no-forest"):
        Forest.of_saved(table_of(NODES[:lost] + NODES[lost + 1 :]), trees=2, depth=2)
