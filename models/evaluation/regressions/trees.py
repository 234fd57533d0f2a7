"""A forest of MLlib as arrays: they forecast a row in a fraction of the time that sending it to Spark takes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.contract import Values
from models.measures.cube import Floats

BLOCK_ROWS = 1 << 12  # at a time: they fit into a core's cache
Places = npt.NDArray[np.intp]
_LINE = re.compile(r"(?P<tree>Tree) \d+ |(?P<split>If) \(feature (\d+) <= (\S+)\)|(?P<leaf>Predict): (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Nodes of all trees, one behind the other. A leaf is a split that leads back to itself."""

    roots: Places  # (trees,)
    feature: Places  # (nodes,)
    threshold: Floats  # (nodes,)
    children: Places  # (2 * nodes,) where a value above the threshold goes, then where one of at most that goes
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
            roots=np.array(roots, np.intp),
            feature=np.array(feature, np.intp),
            threshold=np.array(threshold, np.float64),
            children=np.array([above, below], np.intp).T.ravel(),
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
                is_below = flat.take(first + self.feature.take(node)) <= self.threshold.take(node)
                node = self.children.take(2 * node + is_below)
            total += self.value.take(node)
        return total / len(self.roots)
