"""The demo's hit rates against a count by hand."""

import numpy as np

from streaming.rehearse.demo import hits_of
from tests.harness.toy import toy_frame, toy_spec

CELLS = 40


def test_incidents_where_none_was_before_are_missed():
    spec, draw = toy_spec(8, 5, categories=("ems", "fire")), np.random.default_rng(0)
    expected = np.zeros((CELLS, 2, 3), np.float32)
    expected[:, 1, -1] = draw.permutation(CELLS)
    support = np.repeat((np.arange(CELLS) < 30).astype(np.uint8)[:, None], 2, axis=1)
    counts = draw.integers(1, 9, CELLS)
    first = sorted(range(30), key=lambda cell: -expected[cell, 1, -1])[:2]
    hits = hits_of(toy_frame(spec, expected, support=support), expected, counts)
    assert hits.cells == 2  # 5 % of 30
    assert hits.hit_rate == counts[first].sum() / counts.sum()
    assert hits.ideal_hit_rate == np.sort(counts[:30])[-2:].sum() / counts.sum()
