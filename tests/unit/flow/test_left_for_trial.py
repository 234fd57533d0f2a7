"""The publisher keeps what a trial needs and judges nothing; whatever is damaged of a challenger, the job goes on."""

import msgspec
import numpy as np
import pytest
import torch

from lifecycle.gate import trial_path
from lifecycle.shadow import shadow_path
from schemas.errors import CheckpointError
from schemas.forecasts import (
    ClosedCounts,
    ClosedFiles,
    ClosedHorizon,
    KeptForecast,
    KeptForecasts,
    closed_folder,
    forecasts_folder,
    last_grace_s,
    trial_folder,
)
from streaming.flow.rows import Summary
from tests.harness.batch import Rows, publisher_to, scored_row
from tests.harness.memory_sink import MemorySink
from tests.harness.toy import toy_artifact, toy_spec

SPEC = toy_spec()
TICK_S = 1_764_028_800
CHALLENGER = "20260102T000000Z-bbbbbbbb"


@pytest.fixture
def folder(tmp_path):
    return toy_artifact(tmp_path / "artifacts", SPEC, cutoff_s=TICK_S - 86_400)


@pytest.fixture
def job(tmp_path):
    """(publisher, what it stored)."""
    sink = MemorySink()
    return publisher_to(sink, tmp_path / "checkpoint", top_k=2), sink


def rows_of(folder, *, of_challenger=None):
    """A region's batch on the hour: with the closing of an hour of the day before, and its challenger's forecast."""
    row = scored_row(folder, TICK_S)
    summary = msgspec.msgpack.decode(row["summary"], type=Summary)
    counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
    horizon_s = SPEC.horizons_s[0]
    closed = [
        ClosedHorizon(horizon=0, tick_s=TICK_S - horizon_s - grace_s, judged_s=TICK_S, observed=counts)
        for grace_s in (3600, last_grace_s(SPEC))
    ]
    summary = msgspec.structs.replace(summary, closed=tuple(map(ClosedCounts.of, closed)))
    scores = {**row["scores"], "model": CHALLENGER, "raw": row["scores"]["usual"], "followed": "3600"}
    beside = {
        "region": SPEC.region,
        "artifact": of_challenger or str(folder),
        "summary": None,
        "scores": scores,
        "following": None,
    }
    return Rows({**row, "summary": msgspec.msgpack.encode(summary)}, beside)


def test_a_forecast_is_deleted_three_days_after_its_last_judgement(tmp_path):
    """The judge may stand still that long. It goes two hours later still."""
    kept = KeptForecasts(tmp_path)
    shape = (SPEC.grid.cells, len(SPEC.categories), len(SPEC.horizons_s))
    names = ("expected", "usual", "dispersion", "dispersion_power", "usual_dispersion", "usual_dispersion_power")
    forecast = KeptForecast(model=CHALLENGER, **dict.fromkeys(names, np.ones(shape, np.float32)))
    last_s = TICK_S + max(SPEC.horizons_s) + last_grace_s(SPEC) + 3 * 86_400 + 2 * 3600
    for tick_s in (TICK_S, last_s, last_s + 3600):
        assert kept.path(SPEC.region, TICK_S).exists() is (tick_s > TICK_S)
        kept.write(forecast, SPEC, tick_s)
    assert [int(path.stem) for path in sorted(tmp_path.glob("*/*"))] == [last_s, last_s + 3600]


def test_a_forecast_of_the_challenger_and_last_counts_are_kept_and_nothing_is_judged(job, folder, tmp_path):
    publisher, sink = job
    publisher(rows_of(folder), 0)
    checkpoint = tmp_path / "checkpoint"
    kept = KeptForecasts(forecasts_folder(checkpoint)).read(SPEC, TICK_S)
    assert (kept.model, kept.following) == (CHALLENGER, "3600")
    np.testing.assert_array_equal(kept.raw, kept.usual)
    files = ClosedFiles(closed_folder(checkpoint))
    (path,) = files.waiting(SPEC.region)
    (closed,) = files.read(path, SPEC)  # the one that no late report can change
    assert closed.tick_s == TICK_S - SPEC.horizons_s[0] - last_grace_s(SPEC)
    assert not shadow_path(checkpoint, SPEC.region).exists()
    stored = {line.split(b",")[0] for write in sink.writes for line in write.splitlines()}
    assert stored == {b"risk", b"top", b"unusual", b"pipeline"}


def test_outcomes_alone_are_an_acknowledgement_and_their_sums_use_one_thread(job, folder):
    publisher, _ = job
    closing = rows_of(folder).rows[0]
    counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
    closed = ClosedCounts.of(ClosedHorizon(horizon=0, tick_s=TICK_S, judged_s=TICK_S + 7200, observed=counts))
    quiet, published = Summary(as_of_s=TICK_S + 7200, ledger={"consumed": 0}, totals={}, closed=(closed,)), []
    publisher.watchers = [published.append]
    torch.set_num_threads(2)
    publisher(Rows(closing), 0)
    publisher.now_s = lambda: 77.0
    publisher(Rows({**closing, "summary": msgspec.msgpack.encode(quiet), "scores": {"model": None}}), 1)
    assert (published[-1].points > 0, published[-1].acknowledged_s) == (True, 77.0)
    assert torch.get_num_threads() == 1


def test_what_the_baseline_did_in_place_of_a_network_is_not_kept(job, folder, tmp_path):
    rows = rows_of(folder)
    rows.rows[1]["scores"]["model"] = "baseline:network unusable"
    job[0](rows, 0)
    assert not forecasts_folder(tmp_path / "checkpoint").exists()


def no_folder(tmp_path):
    return {"of_challenger": str(tmp_path / "gone" / CHALLENGER)}


def damaged_folder(tmp_path):
    folder = tmp_path / "damaged" / CHALLENGER
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(b"garbage")
    return {"of_challenger": str(folder)}


def a_file_in_place_of_the_trials_folder(tmp_path):
    trial_folder(tmp_path / "checkpoint").parent.mkdir(parents=True)
    trial_folder(tmp_path / "checkpoint").write_bytes(b"")
    return {}


def damaged_files_of_trials(tmp_path):
    places = (trial_path(tmp_path / "artifacts", SPEC.region), shadow_path(tmp_path / "checkpoint", SPEC.region))
    closed = closed_folder(tmp_path / "checkpoint") / SPEC.region / "1.counts"
    for path in (*places, closed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"garbage")
    return {}


@pytest.mark.parametrize(
    "damage", [no_folder, damaged_folder, a_file_in_place_of_the_trials_folder, damaged_files_of_trials]
)
def test_a_fault_in_what_is_tried_stops_no_batch_and_changes_no_point(job, folder, tmp_path, damage):
    publisher, sink = job
    options = damage(tmp_path)
    publisher(rows_of(folder, **options), 0)
    assert publisher.batches == 1
    assert publisher.take_failure() is None
    alone = MemorySink()
    publisher_to(alone, tmp_path / "other", top_k=2)(rows_of(folder), 0)

    def of_the_map(writes):
        return [line for write in writes for line in write.splitlines() if not line.startswith(b"pipeline")]

    assert of_the_map(sink.writes) == of_the_map(alone.writes)


def test_a_disk_that_is_full_of_trials_stops_no_batch(job, folder, monkeypatch, caplog):
    def full(*_):
        raise CheckpointError("no space", "free disk space")

    monkeypatch.setattr(ClosedFiles, "keep", full)
    job[0](rows_of(folder), 0)
    assert job[0].batches == 1
    assert "closed counts are not kept for a trial" in caplog.text
