"""Artifacts come and go while the job runs: regions join, newer models take over."""

import itertools
import logging
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from pyspark import SparkFiles

from models.features import FeatureEngine
from schemas.areas import read_masks
from schemas.batches import logged_batches, logged_days
from schemas.forecasts import FollowerStates
from schemas.records import Withheld, withheld_path
from schemas.spec import DAY_S, HOUR_S
from streaming.artifacts_in_force import load_artifact
from tests.harness.recount import scored_frame
from tests.harness.region_bench import empty_history
from tests.harness.registries import Desk
from tests.harness.toy import box, mask_file, state_of, toy_event

NOW = 1_700_000_000


def history_with(spec, incidents, at_s=NOW):
    history = empty_history(spec, at_s)
    draw = np.random.default_rng(5)
    for level in history.levels.values():
        level.add(draw.integers(at_s - 20 * 86_400, at_s, incidents), draw.integers(0, 72, incidents), 1)
    return history


def calls(spec, count, *, at_s, first_offset=0, partition=0):
    """`count` messages of different incidents, one in each cell from the first on, one a minute until `at_s`."""
    return [
        (
            toy_event(spec, at_s=at_s - 60 * n, cell=n, incident_id=f"{spec.region}-{first_offset + n}"),
            partition,
            first_offset + n,
            at_s * 1000,
        )
        for n in range(count)
    ]


@pytest.fixture
def add(publish):
    """add(job, spec, created=, incidents=, seed=): publish an artifact with a history to a job."""

    def make(job, spec, *, created="20260101T000000Z", incidents=0, seed=1):
        return publish(job.artifacts, spec, created=created, seed=seed, history=history_with(spec, incidents))

    return make


def assert_scored_from_history(frame, folder):
    artifact = load_artifact(str(folder))
    torch.set_num_threads(1)
    features = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history())
    assert (frame.as_of_s, frame.model) == (NOW, artifact.version)
    assert frame.digest() == scored_frame(str(folder), features, NOW).digest()


def test_a_region_joins_with_its_history_while_the_job_runs_and_before_a_restart(new_job, toy, add):
    riverton, lakeside, hilltop = (toy(region) for region in ("riverton", "lakeside", "hilltop"))
    job = new_job()
    add(job, riverton)
    with job.running():
        job.send(calls(riverton, 5, at_s=NOW + 600))
        job.take_in(calls(lakeside, 3, at_s=NOW + 600, partition=1))  # nobody scores it yet
        assert [region for region, _ in job.letters.kept.values()] == [""] * 3
        joined = add(job, lakeside, incidents=400)
        job.wait_until(lambda: job.frames("lakeside"))
        job.take_in(calls(lakeside, 4, at_s=NOW + 600, partition=1, first_offset=3))
    assert_scored_from_history(job.frames("lakeside")[0], joined)
    assert job.frames("lakeside")[-1].observed_1h.sum() >= 4

    added_while_stopped = add(job, hilltop, incidents=300)
    with job.running():
        job.wait_until(lambda: job.frames("hilltop"))
        job.take_in(calls(riverton, 6, at_s=NOW + 1200, first_offset=5))
    assert_scored_from_history(job.frames("hilltop")[0], added_while_stopped)
    newest = job.published[-1].summaries
    counted = [newest[region].totals["counted"] for region in ("riverton", "lakeside", "hilltop")]
    assert counted == [11, 4, 0]


@pytest.mark.fault("F45")
def test_forecasts_follow_the_files_of_the_version_that_scores_and_the_log_of_batches_names_them(
    new_job, toy, add, caplog
):
    spec = toy("riverton", tick_s=1)
    job = new_job(clock="wall")
    checkpoint, old = job.settings.checkpoint, add(job, spec)
    hour_s = int(time.time()) // HOUR_S * HOUR_S
    FollowerStates.of(checkpoint, "riverton", old.name).write(hour_s, state_of(spec, 2.0).arrays())

    def wait_for(version, *, follows, why=""):
        def is_so():
            newest = job.published[-1] if job.published else None
            return (
                newest
                and "riverton" in newest.frames
                and newest.frames["riverton"].model == version.name
                and newest.following["riverton"] == follows
                and why in newest.unfollowed["riverton"]
            )

        job.wait_until(is_so)

    with caplog.at_level(logging.WARNING, "streaming"), job.running():
        wait_for(old, follows=str(hour_s))
        new = add(job, spec, created="20260201T000000Z", seed=2)
        wait_for(new, follows="")  # its follower has learned nothing yet
        states = FollowerStates.of(checkpoint, "riverton", new.name)
        states.write(hour_s - 4 * DAY_S, state_of(spec, 3.0).arrays())
        wait_for(new, follows="", why="older than three days")
        states.write(hour_s - HOUR_S, state_of(spec, 3.0).arrays())
        wait_for(new, follows=str(hour_s - HOUR_S))
        states.path(hour_s).write_bytes(b"no file of ours")
        wait_for(new, follows="", why=str(states.path(hour_s)))
    assert sum("grows without limit" in record.getMessage() for record in caplog.records) == 1
    with job.running():
        wait_for(new, follows="", why=str(states.path(hour_s)))
    frames = {frame.digest(): frame for frame in job.frames("riverton")}
    logged = [batch.regions["riverton"] for day in logged_days(checkpoint) for batch in logged_batches(checkpoint, day)]
    assert {one.following for one in logged if one.scores} == {"", str(hour_s), str(hour_s - HOUR_S)}
    torch.set_num_threads(1)
    for one in (one for one in logged if one.scores):
        artifact = load_artifact(str(job.artifacts / "riverton" / one.artifact))
        state = artifact.history()
        state.advance(one.as_of_s)
        features = FeatureEngine(spec, artifact.constants).compute(state)
        states = FollowerStates.of(checkpoint, "riverton", one.artifact)
        file = states.path(int(one.following)) if one.following else None
        assert scored_frame(str(artifact.folder), features, one.as_of_s, file).digest() == one.scores
        if one.following:
            factor, alone = (
                2 if one.artifact == old.name else 3,
                scored_frame(str(artifact.folder), features, one.as_of_s),
            )
            np.testing.assert_allclose(frames[one.scores].expected, factor * alone.expected, rtol=2e-3)


def is_withheld(lines):
    return b"riverton" in lines and b'model="withheld"' in lines


@pytest.mark.fault("F21")
def test_on_the_wall_clock_a_silent_region_is_scored_at_every_tick(new_job, toy, add):
    spec = toy("riverton", tick_s=1)
    job = new_job(clock="wall")
    add(job, spec)
    with job.running():
        job.wait_until(lambda: len(job.frames("riverton")) >= 4)
        switch = withheld_path(job.settings.frames)
        switch.parent.mkdir()
        switch.write_bytes(msgspec.json.encode(Withheld(since_s=NOW, because="tried")))
        job.wait_until(lambda: sum(map(is_withheld, job.sink.writes)) >= 2)
        shown = len(job.frames("riverton"))
        switch.unlink()
        job.wait_until(lambda: len(job.frames("riverton")) >= shown + 2)
    withheld = [is_withheld(lines) for lines in job.sink.writes]
    assert not any(b"risk," in lines for lines, is_ledger in zip(job.sink.writes, withheld, strict=True) if is_ledger)
    job.sink.writes[:] = [lines for lines, is_ledger in zip(job.sink.writes, withheld, strict=True) if not is_ledger]
    ticks = [frame.tick_s for frame in job.frames("riverton")]
    assert ticks == sorted(set(ticks))
    of_the_region = [[line for line in lines.splitlines() if b"region=riverton" in line] for lines in job.sink.writes]
    written = [lines for lines in of_the_region if lines]
    scores, ledgers = written[::2], written[1::2]
    for tick_s, lines, (ledger,) in zip(ticks, scores, ledgers, strict=True):
        times = {line.rsplit(b" ", 1)[1] for line in (*lines, ledger)}
        assert times == {str(tick_s).encode()}
        assert sum(line.startswith(b"risk,") for line in lines) == 36 * (2 + 1) * 3
        assert ledger.startswith(b"pipeline,")


@pytest.fixture
def desk(new_job, toy, publish):
    """A job with its desk: three versions with other networks are registered, and the first one scores."""
    job, spec = new_job(), toy("riverton")
    desk = Desk("folder", job.folder)
    desk.job, desk.spec = job, spec
    for day in (1, 2, 3):
        parts = {"seed": day, "history": empty_history(spec, NOW)}
        desk.register(publish(desk.made, spec, created=f"2026010{day}T000000Z", **parts).name, "riverton")
    return desk


def batches_until(job, version, change):
    """How many batches another version still scored after `change`, and the seconds until the first frame."""
    change()
    done, begun_s = len(job.published), time.monotonic()
    job.wait_until(lambda: any(frame.model == version for batch in job.published[done:] for frame in frames_of(batch)))
    seconds = time.monotonic() - begun_s
    return [batch.artifacts["riverton"] for batch in job.published[done:]].index(version), seconds


def frames_of(batch):
    return [frame for region, frame in batch.frames.items() if region == "riverton"]


@contextmanager
def busy(job, spec):
    """One message after the other, so that a batch is under way whenever something changes."""
    stop = threading.Event()

    def send():
        for number in itertools.count():
            at_s = NOW + 600 + number
            event = toy_event(spec, at_s=at_s, cell=number % 36, incident_id=f"A-{number}")
            job.send([(event, 0, number, at_s * 1000)])
            while job.consumed() < job.sent:
                if stop.wait(0.02):
                    return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def test_a_promotion_and_a_rollback_are_in_force_within_two_batches_of_a_second(desk, record_property):
    job, spec = desk.job, desk.spec
    first, second, third = sorted(desk.state("riverton").manifests)
    desk.promote(first, region="riverton")
    desk.sync("riverton")
    waited = []
    with job.running(trigger_s=1.0):  # as long as from one look at the pointers to the next
        with busy(job, spec):
            job.wait_until(lambda: len(job.with_messages()) > 3)
            for number, version in enumerate((second, third, second, third, second)):

                def change(version=version, is_back=number in (2, 4)):
                    if is_back:
                        desk.roll_back("riverton")
                    else:
                        desk.promote(version, region="riverton")
                    desk.sync("riverton")

                time.sleep(0.17 * number)  # at another moment of the batch each time
                waited.append(batches_until(job, version, change))
        job.wait_until(lambda: job.consumed() == job.sent)
    record_property("batches_until_in_force", [batches for batches, _ in waited])
    record_property("seconds_until_the_first_frame", [round(seconds, 2) for _, seconds in waited])
    assert max(batches for batches, _ in waited) <= 2
    assert len(job.with_messages()) > 5
    assert job.published[-1].summaries["riverton"].totals["counted"] == job.sent
    events = [name for name, _ in desk.events()]
    assert events.count("model_rolled_back") == 2
    assert events.count("pointer_written") == 6


START_S = 1_700_002_800
SIDES = (-87.9957317, 41.0012341, -87.9912349, 41.0077431)
IN, OUT = {"lat": 41.0033173, "lon": -87.9931417}, {"lat": 41.0193173, "lon": -87.9731417}


def test_an_incident_in_a_mask_is_excluded_in_sparks_workers_and_no_file_betrays_the_mask(
    new_job, toy, publish, tmp_path_factory
):
    path = mask_file(tmp_path_factory.mktemp("masks") / "masks.geojson", box(*SIDES))
    spec, job = toy("riverton", masked=read_masks(path).digest), new_job("masked")
    publish(job.artifacts, spec, history=empty_history(spec, START_S))
    events = [toy_event(spec, at_s=START_S, cell=0, incident_id=name, **at) for name, at in (("a", IN), ("b", OUT))]
    job.run_through([[(event, 0, number, START_S * 1000) for number, event in enumerate(events)]], masks=path)
    totals = job.with_messages()[-1].summaries["riverton"].totals
    assert (totals["counted"], totals["excluded"]) == (1, 1)
    files = [each for each in job.folder.rglob("*") if each.is_file() and "input" not in each.parts]
    assert {"checkpoint", "artifacts"} <= {each.relative_to(job.folder).parts[0] for each in files}
    assert {"metadata", "roster.json"} <= {each.name for each in files}
    files += tmp_path_factory.getbasetemp().glob("session[0-9]*/spark.log")
    files += [each for each in Path(SparkFiles.getRootDirectory()).parent.rglob("*") if each.is_file()]
    contents = list(job.sink.writes)
    for each in files:
        with suppress(FileNotFoundError):  # RocksDB, which is running, has deleted it since it was listed
            contents.append(each.read_bytes())
    assert len(contents) > len(files) / 2
    for number in (*SIDES, *IN.values()):
        forms = (f"{abs(number):.6f}".encode(), np.float64(number).tobytes())
        assert not any(form in content for form in forms for content in contents)
