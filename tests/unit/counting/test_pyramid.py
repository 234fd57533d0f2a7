"""A level of bins against a plain count."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.count_state import CHUNK_BINS, LevelBins
from schemas.spec import Level
from tests.harness.toy import toy_spec

WIDTH_S, KEEP, AHEAD = 300, 40, 2
SPEC, LEVEL = toy_spec(1, 2), Level(name="pane", width_s=WIDTH_S, keep=KEEP)
PLACES = 4
waits_s = st.integers(0, 5000) | st.sampled_from([0, 299, *(WIDTH_S * bins for bins in (1, KEEP, KEEP + AHEAD, 50))])
bins_after = st.integers(-KEEP - 1, 4) | st.sampled_from([-KEEP, 1 - KEEP, 0, AHEAD, AHEAD + 1])


def level_at(now_s):
    level = LevelBins.empty(LEVEL, SPEC)
    level.advance(now_s)
    return level


def all_bins(level):
    return level.newest_bins(KEEP + AHEAD, skip=-AHEAD)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(waits_s, bins_after, st.integers(0, PLACES - 1)), min_size=1, max_size=12))
def test_bins_sums_and_stored_chunks_equal_a_count(steps):
    now_s, counts, touched = 1_700_000_000, Counter(), set()
    level = level_at(now_s)
    for wait_s, after, place in steps:
        version, before = level.past_version, now_s // WIDTH_S
        now_s += wait_s
        newest = now_s // WIDTH_S
        level.advance(now_s)
        assert (level.past_version > version) == (newest > before)
        version, is_kept = level.past_version, -KEEP < after <= AHEAD
        level.add(np.array([(newest + after) * WIDTH_S + 7]), np.array([place]), 1)
        assert (level.past_version > version) == (is_kept and after < 0)
        if is_kept:
            counts[newest + after, place] += 1
            touched.add((newest + after) // CHUNK_BINS)
        assert level.dirty == touched
        numbers = np.arange(newest - KEEP + 1, newest + AHEAD + 1)
        expected = np.array([[counts[number, place] for place in range(PLACES)] for number in numbers.tolist()])
        np.testing.assert_array_equal(all_bins(level), expected)
        for bins, skip in ((0, 0), (0, 3), (1, 0), (7, 3), (20, 20), (KEEP, 0)):
            total = level.sum_of_newest(bins, skip=skip)
            np.testing.assert_array_equal(total, expected[KEEP - skip - bins : KEEP - skip].sum(axis=0))
            assert total.dtype == level.newest_bins(bins, skip=skip).dtype == np.int32
        for chunk in np.unique(numbers // CHUNK_BINS):
            restored = level_at(now_s)
            restored.unpack_chunk(level.pack_chunk(int(chunk)))
            of_chunk = numbers // CHUNK_BINS == chunk
            np.testing.assert_array_equal(all_bins(restored), np.where(of_chunk[:, None], expected, 0))
