"""The file of counts beside a frame leads to the counts that the frame was computed from, whatever happened before."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.counting.count_state import CountState
from models.features import FeatureEngine
from schemas.errors import SinkError
from streaming.disk import frame_counts
from streaming.disk.frame_counts import CountsRecords, add_records, counts_at
from streaming.flow import count
from streaming.roster.roster import load_artifact
from tests.harness.region_bench import NOW, event

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("empty_cache")]
DAY_S = 86_400


def batches(spec, seed=4, size=40):
    """At a clock that goes on by seconds to days: incidents, their corrections and cancellations, or nothing."""
    draw = np.random.default_rng(seed)
    at_s = NOW
    for revision in range(size):
        at_s += int(draw.choice([1, 20, 61, 301, 3600, DAY_S]))
        yield (
            at_s,
            [
                event(
                    spec,
                    at_s - int(draw.integers(-200, 9000)),
                    number=int(draw.integers(0, 60)),
                    cell=int(draw.integers(0, 36)),
                    category=("fire", "ems")[int(draw.integers(0, 2))],
                    revision=revision,
                    status=("open", "open", "cancelled")[int(draw.integers(0, 3))],
                )
                for _ in range(int(draw.choice([0, 1, 12])))
            ],
        )


def features_of(bench, spec, summary, known=None):
    """What the service can compute: the features of the counts in the file, at the frame's time."""
    found = counts_at(bench.frames, spec, summary.counts, known)
    artifact = load_artifact(bench.look()[0][spec.region].folder)
    found.state.advance(summary.as_of_s)
    return found, FeatureEngine(artifact.spec, artifact.constants).compute(found.state).values.tobytes()


def test_they_give_the_features_of_every_frame_to_the_last_bit(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    caches, known, compared = [{}, {}, {}], None, 0
    for number, (at_s, values) in enumerate(batches(spec)):
        which = number * 7 % 3  # each worker process has a cache of its own, and Spark gives a batch to any of them
        count._LIVE.clear()
        count._LIVE.update({} if number % 11 == 0 else caches[which])
        features, summary = bench.batch(at_s, *values)[spec.region]
        caches[which] = dict(count._LIVE)
        if features is None:
            continue
        known, moved_on = features_of(bench, spec, summary, known)
        assert moved_on == features
        assert features_of(bench, spec, summary)[1] == features
        compared += 1
    assert compared > 30


def test_a_batch_that_is_repeated_is_in_them_once(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    for at_s, values in batches(spec, seed=5, size=12):
        before, offset = bench.all_stored(), bench.offset
        bench.batch(at_s, *values)
        bench.store_again(before)
        bench.offset = offset
        if at_s % 2:  # by a worker that has not seen the first try
            count._LIVE.clear()
        features, summary = bench.batch(at_s, *values)[spec.region]
        if features is not None:
            assert features_of(bench, spec, summary)[1] == features


def test_the_file_holds_no_key_of_an_incident(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    bench.batch(NOW, event(spec, NOW - 5, number=1))
    count._LIVE.clear()
    bench.batch(NOW + 60, event(spec, NOW - 4, number=2))
    (blobs,) = [frame_counts._blobs(frame_counts._read(path, spec)[0]) for path in bench.frames.iterdir()]
    assert {name.partition(":")[0] for name in blobs} == {"layout", "clock", "history_end", "first_day", "b"}


def test_a_file_that_was_taken_away_begins_again_with_the_next_hour(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    bench.batch(NOW, event(spec, NOW - 5, number=1))
    (path,) = bench.frames.iterdir()
    path.unlink()
    _, summary = bench.batch(NOW + 1, event(spec, NOW - 5, number=2))[spec.region]
    with pytest.raises(SinkError, match=r"riverton.counts .* wait"):
        counts_at(bench.frames, spec, summary.counts)
    bench.batch(NOW + 3600 - NOW % 3600)
    features, summary = bench.batch(NOW + 3600, event(spec, NOW - 5, number=3))[spec.region]
    assert features_of(bench, spec, summary)[1] == features


def test_a_job_that_catches_up_leaves_it_behind_until_its_batches_are_small(tmp_path, toy, new_bench, monkeypatch):
    monkeypatch.setattr(frame_counts, "_MOST_MOVES", 3)
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    bench.batch(NOW, event(spec, NOW - 5, number=1))
    many = [event(spec, NOW - 5, number=number) for number in range(10, 20)]
    _, summary = bench.batch(NOW + 1, *many)[spec.region]
    with pytest.raises(SinkError):
        counts_at(bench.frames, spec, summary.counts)
    features, summary = bench.batch(NOW + 2, event(spec, NOW - 5, number=3))[spec.region]
    assert features_of(bench, spec, summary)[1] == features


def test_it_begins_again_before_it_is_too_large(tmp_path, toy, new_bench, monkeypatch):
    monkeypatch.setattr(frame_counts, "_MOST_BYTES", 4000)
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    sizes = []
    for number in range(60):
        features, summary = bench.batch(NOW + number, event(spec, NOW - 5, number=number))[spec.region]
        assert features_of(bench, spec, summary)[1] == features
        sizes.append(sum(path.stat().st_size for path in bench.frames.iterdir()))
    assert max(sizes) < 4000 + 400
    assert any(after < before for before, after in pairwise(sizes))


def test_what_cannot_be_written_is_an_error_and_leaves_no_half_record(tmp_path):
    (tmp_path / "frames").write_text("a file in place of the folder")
    with pytest.raises(SinkError, match=r"riverton.counts cannot be written \(File exists\)"):
        add_records(tmp_path / "frames", "riverton", everything=b"1234", moved=b"")
    add_records(tmp_path, "riverton", everything=b"", moved=b"56")  # none was begun
    assert not (tmp_path / "riverton.counts").exists()
    add_records(tmp_path, "riverton", everything=b"1234", moved=b"56")
    add_records(tmp_path, "riverton", everything=b"", moved=b"78")
    assert (tmp_path / "riverton.counts").read_bytes() == b"12345678"
    (tmp_path / "riverton.counts").unlink()
    (tmp_path / "riverton.counts").symlink_to("/dev/full")
    with pytest.raises(SinkError, match="free disk space"):
        add_records(tmp_path, "riverton", everything=b"", moved=b"9")
    assert not (tmp_path / "riverton.counts").is_symlink()


@pytest.fixture(scope="module")
def example(toy, tmp_path_factory):
    """(folder, spec, digest, whole file)"""
    folder, spec = tmp_path_factory.mktemp("frames"), toy("riverton")
    state, records, path = CountState(spec), CountsRecords(), folder / "riverton.counts"
    state.advance(NOW)
    everything = records.begin(state, 5, messages=1)
    moves = ((np.array([NOW - 9]), np.array([3]), 1), (np.array([], np.int64), np.array([], np.intp), -1))
    state.move(moves)
    moved = records.add(state, moves, before=5, digest=7)
    add_records(folder, spec.region, everything=everything, moved=moved)
    return folder, spec, 7, path.read_bytes()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), change=st.integers(1, 255), cut=st.booleans())
def test_whatever_is_in_the_file_the_counts_are_those_of_the_digest_or_there_are_none(example, at, change, cut):
    folder, spec, digest, whole = example
    at %= len(whole)
    broken = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
    (folder / "riverton.counts").write_bytes(broken)
    with pytest.raises(SinkError):
        counts_at(folder, spec, digest)
    (folder / "riverton.counts").write_bytes(whole)
    assert counts_at(folder, spec, digest).state.window("pane", 1).sum() == 1


def test_counts_of_another_spec_are_refused(example, toy):
    folder, _, digest, _ = example
    with pytest.raises(SinkError):
        counts_at(folder, toy("riverton", categories=("ems", "fire")), digest)
