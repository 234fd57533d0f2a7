"""A forest of MLlib as arrays: they forecast a row in a fraction of the time that sending it to Spark takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.evaluation.contract import Values
from models.evaluation.regressions.flat import flat
from models.measures.cube import Floats
from schemas.errors import PipelineError

BLOCK_ROWS = 1 << 12  # at a time: they fit into a core's cache
Places = npt.NDArray[np.intp]
_SPLIT = "split.leftCategoriesOrThreshold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Nodes of all trees, one behind the other. A leaf is a split that leads back to itself."""

    roots: Places  # (trees,)
    feature: Places  # (nodes,)
    threshold: Floats  # (nodes,)
    children: Places  # (2 * nodes,) where a value above the threshold goes, then where one of at most that goes
    value: Floats  # (nodes,) what a leaf predicts; nan elsewhere
    depth: int  # at most as many splits lie between a root and a leaf
    chosen: ClassVar[Mapping[str, float]] = {}

    @classmethod
    def of_saved(cls, table: pd.DataFrame, *, trees: int, depth: int) -> "Forest":
        """A forest from the nodes that MLlib saves: regression trees of equal weight on continuous features.

        table: a row for each node, its `id` counted from 0 in each tree. depth: the forest's `maxDepth`. Raises
        PipelineError when a tree or a node is missing.
        """
        order = (table["nodeData"].str["id"] + table["treeID"] * len(table)).argsort()
        nodes = pd.json_normalize(table["nodeData"].iloc[order].tolist())
        _, roots, sizes = np.unique(table["treeID"].iloc[order], return_index=True, return_counts=True)
        own, root, size = np.arange(len(nodes)), np.repeat(roots, sizes), np.repeat(sizes, sizes)
        last_child = nodes[["leftChild", "rightChild"]].max(axis=1)
        if len(roots) != trees or (nodes["id"] != own - root).any() or (last_child >= size).any():
            fault = f"MLlib saved {len(nodes)} nodes of {len(roots)} trees, which are not a whole forest of {trees}"
            raise PipelineError(fault, remedy="evaluate again, or without the forest by --no-forest")
        leaf = (nodes["leftChild"] < 0).to_numpy()
        above, below = (np.where(leaf, own, root + nodes[side]) for side in ("rightChild", "leftChild"))
        return cls(
            roots=roots,
            feature=nodes["split.featureIndex"].clip(lower=0).to_numpy(np.intp),
            threshold=np.array([split[0] if len(split) else np.inf for split in nodes[_SPLIT]]),
            children=np.stack([above, below], axis=1).ravel(),
            value=np.where(leaf, nodes["prediction"], np.nan),
            depth=depth,
        )

    def predict(self, values: Values) -> Values:
        return np.asarray(self.of_rows(flat(values)), np.float32).reshape(values.shape[:2])

    def of_rows(self, rows: Values) -> Floats:
        """(n,) the mean of what the trees predict. rows: (n, features)."""
        return np.concatenate(
            [self._of_block(rows[start : start + BLOCK_ROWS]) for start in range(0, len(rows), BLOCK_ROWS)]
        )

    def _of_block(self, rows: Values) -> Floats:
        flat = np.ascontiguousarray(rows).ravel()
        first = np.arange(0, rows.size, rows.shape[1])  # where each row begins
        total = np.zeros(len(rows))
        for root in self.roots:
            node = np.full(len(rows), root)
            for _ in range(self.depth):
                is_below = flat.take(first + self.feature.take(node)) <= self.threshold.take(node)
                node = self.children.take(2 * node + is_below)
            total += self.value.take(node)
        return total / len(self.roots)
