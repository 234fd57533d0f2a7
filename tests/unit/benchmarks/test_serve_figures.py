"""The service's figures: medians of rounds, and ratios of rounds and not of medians."""

import pytest

from benchmarks.plan import bench_specs
from benchmarks.serve import KINDS, leave, load, running, summary
from schemas.left_behind.frame_file import frame_path, read_frames


def rows_of(service, files):
    return [
        {
            "round": number,
            "server": kind.server,
            "known": kind.known,
            "per_s": rate,
            "p50_ms": 1.0,
            "p99_ms": 2.0 + number,
        }
        for kind in KINDS
        for number, rate in enumerate(service if kind.server == "service" else files)
    ]


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    rows = summary(rows_of([10, 40, 90], [100, 100, 100]))
    assert [row["ratio"] for row in rows] == [0.4, None, 0.4, None]
    assert [row["per_s"] for row in rows] == [40, 100, 40, 100]
    rows = summary(rows_of([10, 40, 90], [10, 80, 100]))  # 1.0, 0.5, 0.9; of the medians it would be 0.5
    assert rows[0]["ratio"] == 0.9
    assert rows[0]["p99_ms"] == 3.0


def test_the_frame_is_one_that_the_service_takes(tmp_path):
    spec = bench_specs(1)[0]
    leave(tmp_path, spec)
    assert read_frames(frame_path(tmp_path, spec.region)).by_category.spec == spec


def test_an_answer_of_another_kind_is_an_error(tmp_path):
    from benchmarks.child import ChildError

    (tmp_path / "a.json").write_text("{}")
    with running(("-m", "benchmarks.static_files", str(tmp_path), "18323"), 18323):
        assert load(18323, "/a.json", known=True, seconds=0.2)["per_s"] > 0
        with pytest.raises(ChildError, match="404"):
            load(18323, "/b.json", known=False, seconds=0.2)
