"""What a batch leaves in the store: scores, ledgers and acknowledgements, and what a `pipeline` point says."""

import json
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.artifact import read_spec
from models.scoring import stored_views
from schemas.errors import PipelineError, SinkRefused, SinkUnavailable
from schemas.forecasts import ClosedCounts, KeptForecasts, outcomes_folder
from schemas.records import withheld_path
from schemas.spec import DAY_S, HOUR_S
from streaming.artifacts_in_force import load_artifact
from streaming.flow.publish import ASK_EVERY_S, frame_of, outcome_points
from streaming.flow.rows import QueryFacts, ScoredRow, Summary
from streaming.job_health import LONGEST_SILENCE_S, HealthWatch, read_health, why_not_ready
from streaming.sinks.line_protocol import top_lines, unusual_lines
from tests.harness import batch as harness
from tests.harness.batch import MemorySink, Rows, publisher_to, row_without_scores, scored_row
from tests.harness.points import OF_THE_MACHINE, plain_risks, plain_tops, plain_unusual, points_in, stored_points
from tests.harness.toy import CUTOFF_S, toy_artifact, toy_spec
from tests.unit.sinks.test_influx import sink_for

START_S = 1_764_000_000.0
EVERY_S = 0.5


def unassigned_batch(messages=0, *, ticks=False):
    """Messages of no region, which need no artifact. ticks: it is a new minute."""
    ledger = {"consumed": messages, "rejected": messages}
    summary = Summary(as_of_s=60, ledger=ledger, totals=ledger)
    return Rows(row_without_scores("", None, summary)) if messages or ticks else Rows()


class MinuteStore(MemorySink):
    """asked: when it was."""

    def __init__(self, clock):
        super().__init__()
        self.asked, self.clock = [], clock

    def write_all(self, parts):
        assert parts  # a file waits for its disk at each of them
        return super().write_all(parts)

    def write(self, lines):
        self.asked.append(self.clock.now_s)
        return super().write(lines)


class Clock:
    now_s = START_S

    def __call__(self):
        return self.now_s


@pytest.fixture
def job(tmp_path):
    """(publisher, what it published, its store, its clock)"""
    clock, published = Clock(), []
    store = MinuteStore(clock)
    return publisher_to(store, tmp_path, now_s=clock, watchers=[published.append]), published, store, clock


def silent_for(job, seconds):
    publisher, published, _, clock = job
    for _ in range(int(seconds / EVERY_S)):
        clock.now_s += EVERY_S
        publisher(unassigned_batch(), len(published))


def test_a_store_is_asked_often_enough_to_be_ready_and_no_more_and_its_going_is_noticed(job):
    """When nothing is to be written. A clock that was set back does not put off the question."""
    _, published, store, clock = job
    silent_for(job, 600)
    assert max(batch.done_s - batch.acknowledged_s for batch in published) < LONGEST_SILENCE_S
    assert store.asked == [START_S + n * ASK_EVERY_S for n in range(1, 21)]
    assert not any(store.writes)
    clock.now_s -= 3600
    silent_for(job, EVERY_S)
    assert store.asked[20:] == [clock.now_s] == [published[-1].acknowledged_s]
    store.is_there, began_s = False, clock.now_s
    with pytest.raises(SinkUnavailable):
        silent_for(job, 600)
    assert clock.now_s - began_s == ASK_EVERY_S
    assert published[-1].acknowledged_s == began_s


def test_in_a_rest_the_store_is_asked_as_often_and_health_says_when(job, tmp_path):
    publisher, published, store, clock = job
    health = HealthWatch(checkpoint=tmp_path, clock="wall", trigger_s=0.5, now_s=clock)
    publisher(unassigned_batch(), 0)
    health.show(published[0])
    health.answered_s = lambda: publisher.acknowledged_s
    for _ in range(200):
        clock.now_s += 1
        publisher.pause()
        health.write()
        report, _ = read_health(tmp_path, datetime.fromtimestamp(clock.now_s, UTC))
        assert not why_not_ready(report, report.written_at)
    assert store.asked == [START_S + n * ASK_EVERY_S for n in range(1, 7)]
    store.is_there = False
    clock.now_s += ASK_EVERY_S
    with pytest.raises(SinkUnavailable):
        publisher.pause()
    clock.now_s += LONGEST_SILENCE_S
    health.write()
    report, _ = read_health(tmp_path, datetime.fromtimestamp(clock.now_s, UTC))
    assert "no batch has been stored for 110 s" in why_not_ready(report, report.written_at)


def test_points_are_an_acknowledgement_and_each_batch_is_checked_by_its_number_and_all_its_messages(job):
    publisher, published, store, clock = job
    publisher.unaccounted = lambda number, consumed: 10 * number - consumed
    clock.now_s += 7
    publisher(unassigned_batch(messages=3), 4)
    clock.now_s += 1
    publisher(unassigned_batch(), 5)
    times = [(batch.done_s, batch.acknowledged_s, batch.unaccounted) for batch in published]
    assert times == [(START_S + 7, START_S + 7, 37), (START_S + 8, START_S + 7, 50)]
    assert [lines.startswith(b"pipeline,") for lines in store.writes] == [True]


def test_a_minute_without_a_message_of_no_region_has_its_point_and_says_nothing_of_the_machine(job):
    """That point stays for the minute: what it said of the job would hold while batches without news go by."""
    publisher, _, store, _ = job
    publisher(unassigned_batch(ticks=True), 0)
    publisher(unassigned_batch(messages=2, ticks=True), 1)
    quiet, heard = store.writes
    assert quiet.startswith(b"pipeline,region=_unassigned ")
    assert quiet.endswith(b" 60\n")
    assert b"consumed=0" in quiet
    assert not any(name in quiet + heard for name in (b"silent_s", b"data_end_s"))  # no region, no data
    assert b"consumed=2" in heard
    said = [{name for name in OF_THE_MACHINE if f"{name}=".encode() in lines} for lines in (quiet, heard)]
    assert said == [set(), set(OF_THE_MACHINE) - {"freshness_s", "challenger", "watch_ago_s"}]


@pytest.mark.parametrize(("until_s", "ago"), [(START_S - 60, b"watch_ago_s=60.0"), (START_S + 60, b"watch_ago_s=0.0")])
def test_a_ledger_says_since_when_nothing_is_watched_beside_the_job(job, until_s, ago, monkeypatch):
    publisher, _, store, _ = job
    monkeypatch.setattr("streaming.flow.publish.watched_until_s", lambda checkpoint: until_s)
    publisher(unassigned_batch(messages=2), 0)
    assert ago in store.writes[0]


def test_within_a_minute_only_what_changed_is_written_again_also_of_all_categories(job, tmp_path):
    publisher, _, store, _ = job
    folder, beside = (toy_artifact(tmp_path / "artifacts", toy_spec(region=name)) for name in ("toyville", "riverton"))
    counts = []
    for number, (of, as_of_s) in enumerate(((folder, 60), (beside, 60), (folder, 61), (folder, 120))):
        publisher(Rows(scored_row(of, as_of_s)), number)
        counts.append(Counter(line.partition(b",")[0] for line in b"".join(store.writes).splitlines()))
        assert counts[-1].pop(b"pipeline") == 1
        store.writes.clear()
    whole = {b"risk": toy_spec().series, b"top": 9, b"unusual": 3}  # both categories and the sum, three horizons
    assert counts == [whole, whole, {}, whole]


CHANGES = st.sampled_from(["scores", "the same", "minute", "failure", "start", "withheld"])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**32 - 1), changes=st.lists(CHANGES, max_size=6))
def test_of_each_minute_the_store_has_the_highest_and_the_unusual_of_its_last_batch(tmp_path, folder, seed, changes):
    """Batch after batch: other scores or the same, also after a write that failed, a new start or withheld scores."""
    draw, store, frames = np.random.default_rng(seed), MemorySink(), tmp_path / "frames"
    frames.mkdir(exist_ok=True)
    publisher, row, expected, as_of_s = publisher_to(store, tmp_path, top_k=3), {}, {}, CUTOFF_S + 60
    for number, change in enumerate(["scores", *changes]):
        as_of_s += 60 if change == "minute" else 1
        if change == "start":
            publisher = publisher_to(store, tmp_path, top_k=3)
        elif change == "withheld":
            withheld_path(frames).write_bytes(b'{"since_s": 60, "because": "asked"}')
            publisher(Rows(scored_row(Path(folder), as_of_s, draw)), number)
            withheld_path(frames).unlink()
            store.writes.clear()  # somebody may have emptied the store meanwhile
            expected.clear()
        elif change == "failure":  # of scores that reach the store; the batch that is repeated has those of before
            publisher.sink = HalfSink(store)
            with pytest.raises(SinkUnavailable):
                publisher(Rows(scored_row(Path(folder), as_of_s, draw)), number)
            publisher.sink = store
        if change not in ("the same", "failure"):
            row = scored_row(Path(folder), as_of_s, draw)
        publisher(Rows(row), number)
        frame = frame_of(ScoredRow.of(row), ScoredRow.of(row).summary)
        views = stored_views(frame, load_artifact(row["artifact"]).constants)
        now = b"".join([*(top_lines(view, 3) for view in views), unusual_lines(frame)])
        expected |= stored_points([now])
        has = stored_points(store.writes)
        assert {point: fields for point, fields in has.items() if point[0].startswith(("top", "unusual"))} == expected


class HalfSink(MemorySink):
    """Its writes arrive in `store`, but the answer is lost."""

    def __init__(self, store):
        self.store = store

    def write(self, lines):
        self.store.write(lines)
        raise SinkUnavailable("no answer: start the store")


NOW_S = CUTOFF_S + 7200.0


class Store(MemorySink):
    """losses: (tries too many, points refused for good) of each write, in their order."""

    def __init__(self, *losses):
        super().__init__()
        self.losses = list(losses)

    def write(self, lines):
        retries, dropped = self.losses.pop(0) if self.losses else (0, 0)
        return replace(super().write(lines), retries=retries, dropped=dropped)


@pytest.fixture
def folder(tmp_path):
    return str(toy_artifact(tmp_path / "artifacts", toy_spec()))


def batch_of(folder, **changes):
    """One message of the region, at the clock NOW_S."""
    ledger = {"consumed": 1, "counted": 1}
    summary = Summary(as_of_s=int(NOW_S), ledger=ledger, totals=ledger, **changes)
    return Rows(row_without_scores(toy_spec().region, folder, summary))


def figures_of(tmp_path, *batches, store=None, **parts):
    """The fields of each batch's point."""
    store = store or Store()
    publisher = publisher_to(store, tmp_path, now_s=lambda: NOW_S, **parts)
    for number, batch in enumerate(batches):
        publisher(batch, number)
    return [
        {name: value.strip('"') if value.startswith('"') else float(value) for name, value in fields.items()}
        for _, _, fields in points_in(b"".join(store.writes).decode())
    ]


@pytest.mark.parametrize(
    ("told", "name", "value"),
    [
        ({"newest_received_ms": int(1000 * (NOW_S - 90.5))}, "freshness_s", 90.5),
        ({"newest_received_ms": int(1000 * (NOW_S + 5))}, "freshness_s", 0),
        ({"newest_event_s": 0}, "silent_s", NOW_S - CUTOFF_S),  # never connected: since the history's end
        ({"newest_event_s": int(NOW_S) - 600}, "silent_s", 600),
    ],
)
def test_a_point_says_how_old_the_newest_message_and_the_newest_incident_are(tmp_path, folder, told, name, value):
    [figures] = figures_of(tmp_path, batch_of(folder, **told))
    assert figures[name] == value


def test_points_that_the_store_dropped_are_counted_since_the_start_so_that_their_alert_stays(tmp_path, folder):
    figures = figures_of(tmp_path, *[batch_of(folder)] * 4, store=Store((2, 3), (0, 0), (1, 4)))
    # Each point is written before its own answer.
    assert [figure["write_dropped"] for figure in figures] == [0, 3, 3, 7]
    assert [figure["write_retries"] for figure in figures] == [0, 2, 2, 3]
    published = []  # what was lost with scores counts as well
    publisher_to(Store((2, 3), (1, 4)), tmp_path, watchers=[published.append])(
        Rows(scored_row(Path(folder), int(NOW_S))), 0
    )
    assert [(one.retries, one.dropped) for one in published] == [(3, 7)]


@pytest.mark.parametrize("tried", [None, "20260101T000000Z-def00000"])
def test_a_point_has_what_spark_reports_how_old_the_data_are_and_what_is_tried(tmp_path, folder, tried):
    facts = QueryFacts(lag_events=1200.0, state_bytes=4096.0)
    parts = {"facts": lambda: facts, "unaccounted": lambda *_: -2, "challenger": {toy_spec().region: tried}.get}
    [figures] = figures_of(tmp_path, batch_of(folder), **parts)
    assert (figures["lag_events"], figures["state_bytes"], figures["unaccounted"]) == (1200, 4096, -2)
    assert (figures["started_s"], figures["data_end_s"], figures["challenger"]) == (NOW_S, CUTOFF_S, tried or "none")


def test_a_region_has_its_point_by_its_own_ticks_also_after_one_without_news(tmp_path):
    spec = toy_spec(tick_s=300)
    quiet, heard = (str(toy_artifact(tmp_path / "artifacts", region)) for region in (toy_spec(region="a-town"), spec))
    silence = Summary(as_of_s=60, ledger={"consumed": 0}, totals={})
    said = Summary(as_of_s=1261, ledger={"consumed": 1}, totals={})
    rows = Rows(row_without_scores("a-town", quiet, silence), row_without_scores(spec.region, heard, said))
    store = Store()
    publisher_to(store, tmp_path)(rows, 0)
    [(tags, tick_s, _)] = points_in(b"".join(store.writes).decode())
    assert (spec.region in str(tags), tick_s) == (True, 1200)


def test_those_who_watch_are_told_of_the_whole_batch_and_its_forecast_is_kept_as_it_was_made(tmp_path, folder):
    hour_s, facts, published = int(NOW_S) // 3600 * 3600, QueryFacts(lag_events=3.0), []
    row, region = scored_row(Path(folder), hour_s, np.random.default_rng(4)), toy_spec().region
    row["scores"] |= {"followed": str(hour_s), "raw": row["scores"]["usual"]}
    publisher_to(Store(), tmp_path, watchers=[published.append], facts=lambda: facts)(Rows(row), 7)
    [told] = published
    assert (told.batch_id, told.facts, told.summaries[region].as_of_s) == (7, facts, hour_s)
    assert (told.artifacts, told.following) == ({region: Path(folder).name}, {region: str(hour_s)})
    assert 0 < told.seconds < 60
    kept = KeptForecasts(outcomes_folder(tmp_path)).read(toy_spec(), hour_s)
    assert (kept.following, kept.raw.tobytes()) == (str(hour_s), row["scores"]["usual"])
    assert [getattr(kept, name).tobytes() for name in ("expected", "usual")] == [
        row["scores"][name] for name in ("expected", "usual")
    ]


REGIONS = [f"town-{number}" for number in range(12)]
TOP_K = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    artifacts = tmp_path_factory.mktemp("artifacts")
    return {region: toy_artifact(artifacts, toy_spec(3, 4, region=region)) for region in REGIONS}


def plain_points(rows):
    for row in rows:
        scored = ScoredRow.of(row)
        frame = frame_of(scored, scored.summary)
        for view in stored_views(frame, load_artifact(row["artifact"]).constants):
            yield from plain_risks(view)
            yield from plain_tops(view, TOP_K)
        yield from plain_unusual(frame)


@pytest.fixture
def new_publisher(tmp_path):
    return partial(harness.publisher_to, checkpoint=tmp_path, top_k=TOP_K)


def stored_lines(store):
    return b"".join(store.acknowledged).decode().splitlines()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, len(REGIONS)))
def test_every_point_is_stored_as_a_plain_encoder_writes_it_and_the_ledgers_are_last(
    stub_store, new_publisher, folders, seed, count
):
    draw = np.random.default_rng(seed)
    rows = [scored_row(folders[region], CUTOFF_S + 60, draw) for region in draw.permutation(REGIONS)[:count]]
    stub_store.acknowledged.clear()
    stub_store.requests.clear()
    published = []
    sink = sink_for(stub_store)
    new_publisher(sink, watchers=[published.append])(Rows(*rows), 0)
    sink.close()
    *scores, ledgers = stub_store.acknowledged
    assert Counter(b"".join(scores).decode().splitlines()) == Counter(plain_points(rows))
    assert [key for key, _, _ in points_in(ledgers.decode())] == sorted(f"pipeline,region={r['region']}" for r in rows)
    [one] = published
    assert one.points == len(stored_lines(stub_store))
    assert list(one.views) == sorted(row["region"] for row in rows)


@pytest.mark.fault("F27")
def test_when_one_region_is_refused_its_batch_has_no_ledger_and_the_repeated_one_is_whole(
    stub_store, new_publisher, folders
):
    rows = [scored_row(folders[region], CUTOFF_S + 60, np.random.default_rng(2)) for region in REGIONS]
    bad = json.dumps({"message": "failed to parse", "line": 3}).encode()
    stub_store.answers.extend([(204, b"", {}), (204, b"", {}), (400, bad, {})])
    sink, published = sink_for(stub_store), []
    publisher = new_publisher(sink, watchers=[published.append])
    with pytest.raises(SinkRefused, match=r"at line 3 of town-\d+ "):
        publisher(Rows(*rows), 0)
    assert isinstance(publisher.take_failure(), SinkRefused)
    assert not any(line.startswith("pipeline") for line in stored_lines(stub_store))
    assert published == []
    publisher(Rows(*rows), 0)
    sink.close()
    assert set(plain_points(rows)) <= set(stored_lines(stub_store))
    assert stub_store.acknowledged[-1].count(b"pipeline,") == len(REGIONS)


@pytest.mark.fault("F30")
def test_a_region_whose_scores_cannot_be_written_fails_the_batch_by_its_name(stub_store, new_publisher, folders):
    rows = [scored_row(folders[region], CUTOFF_S + 60, np.random.default_rng(3)) for region in REGIONS]
    wrong = np.frombuffer(rows[7]["scores"]["high"], "<f4").copy()
    wrong[5] = np.nan
    rows[7]["scores"]["high"] = wrong.tobytes()
    sink = sink_for(stub_store)
    with pytest.raises(PipelineError, match=rf"{REGIONS[7]}, cell r000c000, ems: high=nan"):
        new_publisher(sink)(Rows(*rows), 0)
    sink.close()
    assert not any(line.startswith("pipeline") for line in stored_lines(stub_store))
    assert not any(f"region={REGIONS[7]} " in line for line in stored_lines(stub_store))


DRIVER = """
import pickle, sys
from pathlib import Path
from types import SimpleNamespace

import streaming.cli.job_commands, streaming.job, streaming.sinks.influx, streaming.watchers
from streaming.flow.publish import Publisher
from streaming.settings import Settings
from streaming.sinks.sink import open_sink

folder, rows = Path(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[2]))
letters, sink = SimpleNamespace(write=lambda refused: None), open_sink(Settings(sink=f"file:{folder / 'lines'}"))
publisher = Publisher(
    sink=sink, dead_letters=letters, checkpoint=folder, frames_folder=folder / "frames", top_k=1, watchers=[]
)
for number, row in enumerate(rows):
    publisher(SimpleNamespace(toArrow=lambda: SimpleNamespace(to_pylist=lambda: [row])), number)
sink.close()
print(*({"torch", "pyspark"} & sys.modules.keys()))
"""


def test_the_driver_writes_scores_and_judges_closed_horizons_without_torch(folders, tmp_path):
    """Of 280 MiB, which the workers need alone."""
    hour_s, folder, draw = CUTOFF_S // HOUR_S * HOUR_S, folders[REGIONS[0]], np.random.default_rng(6)
    closed = ClosedCounts(horizon=0, tick_s=hour_s, judged_s=hour_s + DAY_S, observed=bytes(4 * 12 * 2))
    rows = [scored_row(folder, hour_s, draw), scored_row(folder, hour_s + DAY_S, draw, closed=(closed,))]
    words = [sys.executable, "-c", DRIVER, str(tmp_path), pickle.dumps(rows).hex()]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (ran.stdout, ran.stderr) == ("pyspark\n", "")
    lines = (tmp_path / "lines").read_text(encoding="utf-8")
    assert {line.partition(",")[0] for line in lines.splitlines()} >= {"risk", "top", "unusual", "outcome", "pipeline"}


def test_each_region_has_the_outcomes_of_its_own_closed_horizons(stub_store, new_publisher, folders, tmp_path):
    hour_s = CUTOFF_S // HOUR_S * HOUR_S
    draw, sink = np.random.default_rng(5), sink_for(stub_store)
    publisher = new_publisher(sink)
    publisher(Rows(*(scored_row(folders[region], hour_s, draw) for region in REGIONS)), 0)
    stub_store.acknowledged.clear()
    closed = {
        region: ClosedCounts(
            horizon=number % 3,
            tick_s=hour_s,
            judged_s=hour_s + DAY_S,
            observed=draw.poisson(1, (12, 2)).astype("<i4").tobytes(),
        )
        for number, region in enumerate(REGIONS[::2])
    }
    rows = [
        scored_row(folders[region], hour_s + DAY_S + 60, draw, closed=(closed[region],) if region in closed else ())
        for region in REGIONS
    ]
    publisher(Rows(*rows), 1)
    sink.close()
    expected = b"".join(outcome_points(tmp_path, read_spec(folders[region]), [closed[region]]) for region in closed)
    found = [line for line in stored_lines(stub_store) if line.startswith("outcome")]
    assert Counter(found) == Counter(expected.decode().splitlines())
    assert {f"region={region}" for region in closed} == {line.split(" ")[0].split(",")[-1] for line in found}
