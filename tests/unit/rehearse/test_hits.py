"""Hit rates against a count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from schemas.errors import DataError
from streaming.rehearse.demo_report import compared
from tests.harness.toy import toy_frame, toy_spec

CELLS, CATEGORIES, HORIZONS = 40, 2, 3
SPEC = toy_spec(8, 5, categories=("ems", "fire"))


def frame(expected, usual, support):
    def spread(values):  # all of it in the second category and the longest horizon
        whole = np.zeros((CELLS, CATEGORIES, HORIZONS), np.float32)
        whole[:, 1, -1] = values
        return whole

    support = np.repeat(np.asarray(support, np.uint8)[:, None], CATEGORIES, axis=1)
    return toy_frame(SPEC, spread(expected), usual=spread(usual), support=support)


def caught(values, counts, active, k):
    """By hand: the k highest, of equal ones the first."""
    return sum(int(counts[cell]) for cell in sorted(active, key=lambda cell: -int(values[cell]))[:k])


small = arrays.arrays(np.int32, CELLS, elements=st.integers(0, 9))


@given(small, small, arrays.arrays(np.uint8, CELLS, elements=st.integers(0, 2)), small)
def test_shares_are_those_of_a_count_by_hand(expected, usual, support, counts):
    if counts.sum() == 0:
        with pytest.raises(DataError, match="no incident"):
            compared(frame(expected, usual, support), counts, area_share=0.1)
        return
    hits = compared(frame(expected, usual, support), counts, area_share=0.1)
    active = [cell for cell in range(CELLS) if support[cell] > 0]
    k = max(1, round(0.1 * len(active)))
    for share, values in ((hits.model, expected), (hits.baseline, usual), (hits.ideal, counts)):
        assert share == pytest.approx(caught(values, counts, active, k) / int(counts.sum()))
    assert hits.ideal >= max(hits.model, hits.baseline) - 1e-12
    assert (hits.active_cells, hits.flagged_cells) == (len(active), k)
