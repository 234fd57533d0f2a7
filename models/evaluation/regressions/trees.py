"""A forest of MLlib as arrays: Spark needs 20 us for a row that these need less than 2 for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.contract import Values
from models.evaluation.cube import Floats

BLOCK_ROWS = 1 << 13  # at a time: they fit into a core's cache
_LINE = re.compile(r"(?P<tree>Tree) \d+ |(?P<split>If) \(feature (\d+) <= (\S+)\)|(?P<leaf>Predict): (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Nodes of all trees, one behind the other. A leaf is a split that leads back to itself."""

    roots: npt.NDArray[np.int32]  # (trees,)
    feature: npt.NDArray[np.int32]  # (nodes,)
    threshold: Floats  # (nodes,)
    below: npt.NDArray[np.int32]  # (nodes,) where a value of at most the threshold goes
    above: npt.NDArray[np.int32]  # (nodes,)
    value: Floats  # (nodes,) what a leaf predicts; nan elsewhere
    depth: int  # splits from a root to the furthest leaf

    @classmethod
    def read(cls, description: str) -> "Trees":
        """From MLlib's `toDebugString` of a forest of regression trees, all of equal weight, on continuous features."""
        roots: list[int] = []
        splits: dict[int, tuple[int, float, int, int]] = {}
        leaves: dict[int, float] = {}
        deepest = number = 0

        def grow(lines: Iterator[re.Match[str]], depth: int) -> int:
            nonlocal deepest, number
            node, number, deepest = number, number + 1, max(deepest, depth)
            line = next(lines, None)
            if line is None or line["tree"]:
                raise ValueError(f"the description ends within a tree: {len(splits)} splits, {len(leaves)} leaves")
            if line["leaf"]:
                leaves[node] = float(line[6])
            else:
                splits[node] = (int(line[3]), float(line[4]), grow(lines, depth + 1), grow(lines, depth + 1))
            return node

        lines = _LINE.finditer(description)
        for line in lines:
            if not line["tree"]:
                raise ValueError(f"{line[0]!r} where a tree of the forest should begin")
            roots.append(grow(lines, 0))
        nodes = [splits.get(node, (0, np.inf, node, node)) for node in range(number)]
        feature, threshold, below, above = zip(*nodes, strict=True)
        return cls(
            roots=np.array(roots, np.int32),
            feature=np.array(feature, np.int32),
            threshold=np.array(threshold, np.float64),
            below=np.array(below, np.int32),
            above=np.array(above, np.int32),
            value=np.array([leaves.get(node, np.nan) for node in range(number)]),
            depth=deepest,
        )

    def predict(self, rows: Values) -> Floats:
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
                is_below = flat[first + self.feature[node]] <= self.threshold[node]
                node = np.where(is_below, self.below[node], self.above[node])
            total += self.value[node]
        return total / len(self.roots)
