import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.artifacts_in_force import KEPT_VERSIONS, ArtifactCache, load_artifact, spec_of


def counting():
    reads = []

    def read(folder):
        reads.append(folder)
        return [folder]

    return ArtifactCache(read), reads


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4))))
def test_it_gives_what_reading_gives_and_the_last_asked_for_are_not_read_again(asked):
    kept, reads = counting()
    by_region = {}
    for region, version in asked:
        folder = f"/artifacts/{region}/{version}"
        latest = by_region.setdefault(region, [])
        before = len(reads)
        assert kept(folder) == [folder]
        assert len(reads) == before + (folder not in latest[-KEPT_VERSIONS:])
        by_region[region] = [other for other in latest if other != folder] + [folder]


def test_a_failure_is_not_remembered():
    def read(folder):
        return Path(folder).read_text(encoding="utf-8")

    kept = ArtifactCache(read)
    with pytest.raises(FileNotFoundError):
        kept("/nowhere/at/all")


def test_what_was_read_by_other_means_is_not_read_again_and_takes_the_place_of_what_was_kept():
    kept, reads = counting()
    kept("/a/r/1")
    kept.keep("/a/r/1", ["newer"])
    kept.keep("/a/r/2", ["other"])
    assert (kept("/a/r/1"), kept("/a/r/2"), reads) == (["newer"], ["other"], ["/a/r/1"])
    kept.keep("/a/r/3", [])
    kept.keep("/a/r/4", [])
    assert list(kept._kept["/a/r"]) == ["/a/r/2", "/a/r/3", "/a/r/4"]


@pytest.mark.parametrize("kept", [load_artifact, spec_of])
def test_what_is_sent_to_workers_is_its_name_not_what_it_keeps(kept):
    assert pickle.loads(pickle.dumps(kept)) is kept  # noqa: S301
