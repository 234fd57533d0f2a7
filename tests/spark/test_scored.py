"""Random streams through real Spark against a recount of the JSON bytes in plain Python."""

import json
import random
import re
import zlib
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import psutil
import pytest
import torch

from models.count_state import CountState
from models.features import FeatureEngine
from models.scoring import score
from schemas.decode import Messages, Vocabulary, decode_messages
from schemas.errors import PipelineError, SinkUnavailable
from streaming.poison import poison_messages, template_event
from streaming.rebuild import Rebuild
from streaming.rebuild_plan import Span, plan_rebuild
from streaming.roster import load_artifact
from streaming.score import FIELDS
from streaming.sinks import ListSink

pytestmark = pytest.mark.spark
NOW = 1_700_000_000
REGIONS = ("riverton", "lakeside")
TOP_K = 3  # as the jobs of conftest.py write them
OUTCOMES = ("consumed", "counted", "corrected", "duplicate", "excluded", "rejected")


class Recount:
    """The event contract read literally: one message after another, dictionaries, no arrays."""

    def __init__(self, specs, refused_bytes, clock_s):
        self.specs = specs
        self.refused_bytes = refused_bytes  # messages that are known to be bad -> (region, reason)
        self.clock_s = dict.fromkeys(specs, clock_s)
        self.known = {region: {} for region in specs}
        self.totals = defaultdict(Counter)
        self.refused = {}  # (partition, offset) -> (region, reason)

    def batch(self, messages):
        """Take in one micro-batch; the ledger of each region."""
        ledger = defaultdict(Counter)
        accepted = defaultdict(list)
        for value, partition, offset, time_ms in messages:
            region, verdict = self._judge(value, time_ms)
            ledger[region]["consumed"] += 1
            if isinstance(verdict, str):
                self._refuse(ledger, region, verdict, (partition, offset))
            else:
                accepted[region].append(((partition, offset), verdict))
        for region, incidents in accepted.items():
            newest = max(incident["received_s"] for _, incident in incidents)
            self.clock_s[region] = max(self.clock_s[region], int(newest))
            for place, incident in sorted(incidents, key=lambda pair: pair[0]):
                outcome = self._settle(region, incident)
                if outcome == "late":
                    self._refuse(ledger, region, "late", place)
                else:
                    ledger[region][outcome] += 1
        for region, counts in ledger.items():
            self.totals[region] += counts
        return ledger

    def observed_1h(self, region):
        """(cells, categories) from the twelve five-minute panes that end with the clock's."""
        spec = self.specs[region]
        counts = np.zeros((36, len(spec.categories)), int)
        newest = self.clock_s[region] // 300
        for incident in self.known[region].values():
            if incident["counts"] and newest - 11 <= int(incident["occurred_s"]) // 300 <= newest:
                counts[incident["cell"], spec.categories.index(incident["category"])] += 1
        return counts

    def _judge(self, value, time_ms):
        if value in self.refused_bytes:
            return self.refused_bytes[value]
        record = json.loads(value)
        region = record["region"]
        if region not in self.specs:
            return "", "unknown_region"
        spec = self.specs[region]
        occurred_s = datetime.fromisoformat(record["occurred_at"]).timestamp()
        stated = record.get("received_at")
        received_s = datetime.fromisoformat(stated).timestamp() if stated else time_ms / 1000
        centre_lat, centre_lon = spec.grid.centres()
        per_lat, per_lon = spec.grid.metres_per_degree
        north_m = (record["lat"] - centre_lat) * per_lat
        east_m = (record["lon"] - centre_lon) * per_lon
        cell = int(np.argmin(np.maximum(abs(north_m), abs(east_m))))
        if record["category"] not in spec.categories:
            return region, "unknown_category"
        if max(abs(north_m[cell]), abs(east_m[cell])) > spec.grid.cell_m / 2:
            return region, "outside_grid"
        if occurred_s - received_s > 300 or received_s - time_ms / 1000 > 300:
            return region, "future"
        if received_s - occurred_s > 24 * 3600:
            return region, "late"
        return region, {
            "id": record["incident_id"],
            "revision": record.get("revision", 0),
            "occurred_s": occurred_s,
            "received_s": received_s,
            "cell": cell,
            "category": record["category"],
            "origin_counts": record["origin"] in ("public_call", "sensor", "responder"),
            "cancelled": record.get("status") == "cancelled",
        }

    def _settle(self, region, incident):
        known = self.known[region]
        if int(incident["occurred_s"]) < self.clock_s[region] - 48 * 3600:
            return "late"
        first = incident["id"] not in known
        if not first and incident["revision"] <= known[incident["id"]]["revision"]:
            return "duplicate"
        counts = incident["origin_counts"] and not incident["cancelled"]
        known[incident["id"]] = {**incident, "counts": counts}
        if not incident["origin_counts"]:
            return "excluded"
        return "counted" if first and not incident["cancelled"] else "corrected"

    def _refuse(self, ledger, region, reason, place):
        ledger[region]["rejected"] += 1
        ledger[region][f"rejected_{reason}"] += 1
        self.refused[place] = (region, reason)


def iso(epoch_s):
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch_s)).isoformat()


def known_bad(spec):
    """Every kind of bad message -> (the region whose ledger has it, the reason)."""
    by_spec = {"unknown_category", "outside_grid", "future", "late"}  # reasons that only a region's spec can give
    corpus = poison_messages(template_event(spec, as_of_s=NOW))
    judged_by_spec = {one.value for one in corpus if one.reason in by_spec or one.name == "control character in the id"}
    return {one.value: (spec.region if one.value in judged_by_spec else "", one.reason) for one in corpus}


def random_batches(specs, *, seed, batches, size):
    """Micro-batches of (value, partition, Kafka offset, Kafka time): all that a careless world sends, out of order."""
    draw = random.Random(seed)
    bad = list(known_bad(specs["riverton"]))
    offsets = Counter()
    clock_s, sent = NOW, []
    for _ in range(batches):
        clock_s += draw.choice([0, 7, 299, 301, 1800, 7200])
        batch = []
        for _ in range(size):
            received_s = clock_s - draw.choice([0, 0, 0, 5, 120, 3600]) + draw.randrange(1000) / 1000
            if draw.random() < 0.02:
                received_s -= 60 * 3600  # a backlog of days ago: plausible in itself, but behind the region's clock
            age_s = draw.choice([0, 1, 30, 600, 3000, 7200, 20 * 3600, -299, -300, -301, 86_399, 86_400, 86_401])
            spec = specs[draw.choice(REGIONS)]
            cell = draw.randrange(36)
            lat, lon = (float(axis[cell]) for axis in spec.grid.centres())
            record = {
                "incident_id": f"é{draw.randrange(batches * size // 3)}",
                "region": spec.region,
                "occurred_at": iso(received_s - age_s),
                "category": draw.choice(spec.categories),
                "lat": lat + draw.uniform(-0.004, 0.004),
                "lon": lon + draw.uniform(-0.004, 0.004),
                "origin": draw.choice(["public_call", "public_call", "sensor", "responder", "officer_initiated"]),
                "revision": draw.choice([0, 0, 1, 2, 3]),
                "status": draw.choice(["open", "open", "closed", "cancelled"]),
                "received_at": iso(received_s),
            }
            match draw.randrange(40):
                case 0:
                    record["region"] = "atlantis"
                case 1:
                    record["category"] = "flood"
                case 2:
                    record["lat"] += 1
                case 3:
                    record["received_at"] = iso(received_s + 400)  # ahead of its own arrival
                case 4 | 5 | 6 | 7:
                    del record["received_at"]
                case 8 | 9:
                    del record["status"], record["revision"]
            value = json.dumps(record).encode()
            time_ms = int(received_s * 1000) + draw.randrange(2000)
            key = record["incident_id"]
            if draw.random() < 0.15:
                value, time_ms, key = draw.choice(bad), NOW * 1000, "bad"
            for _ in range(draw.choice([1, 1, 1, 2])):  # a producer's retry repeats the bytes
                partition = zlib.crc32(key.encode()) % 3
                batch.append((value, partition, offsets[partition], time_ms))
                offsets[partition] += 1
        draw.shuffle(batch)  # partitions arrive interleaved, and a file has no order
        sent.append(batch)
    return sent


def offline(batches, artifacts):
    """(Features, Scores) of each region after each micro-batch, by the path that training takes: no Spark."""
    torch.set_num_threads(1)
    vocabularies = {region: Vocabulary.of(artifact.spec) for region, artifact in artifacts.items()}
    states = {region: artifact.history() for region, artifact in artifacts.items()}
    engines = {region: FeatureEngine(artifact.spec, artifact.constants) for region, artifact in artifacts.items()}
    after = []
    for batch in batches:
        values, partition, offset, time_ms = zip(*sorted(batch, key=lambda message: message[1:3]), strict=True)
        decoded = decode_messages(
            Messages(
                values=values,
                partition=np.array(partition),
                kafka_offset=np.array(offset),
                kafka_time_ms=np.array(time_ms),
            ),
            vocabularies,
        )
        scored = {}
        for region, incidents in decoded.incidents.items():
            states[region].apply(incidents, int(incidents.received_ms.max()) // 1000)
            features = engines[region].compute(states[region])
            artifact = artifacts[region]
            scored[region] = features, score(features.values, artifact.network(), artifact.constants, artifact.spec)
        after.append(scored)
    return after


def stored_points(writes):
    """(measurement and tags, time) -> fields, later writes over earlier ones, as a store would have it."""
    points = defaultdict(dict)
    for line in b"".join(writes).decode().splitlines():
        key, rest = line.split(" ", 1)
        fields, time_s = rest.rsplit(" ", 1)
        points[key, int(time_s)].update(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^,]+)', fields))
    return dict(points)


@pytest.fixture(scope="module")
def world(toy):
    specs = {region: toy(region) for region in REGIONS}
    return specs, random_batches(specs, seed=11, batches=9, size=70)


@pytest.fixture
def random_job(new_job, world, networks, publish):
    """random_job(name, sink=): a job whose two regions have random networks and no history."""

    def make(name, **fields):
        job = new_job(name, **fields)
        for spec in world[0].values():
            history = CountState(spec)
            history.advance(NOW - 7200)
            network = networks["random"](spec, 3)
            publish(job.artifacts, spec, created="20260101T000000Z", network=network, history=history)
        return job

    return make


def artifacts_of(job):
    folders = {region.name: next(region.iterdir()) for region in job.artifacts.iterdir()}
    return {region: load_artifact(str(folder)) for region, folder in folders.items()}


def with_messages(job):
    return [published for published in job.published if sum(s.ledger["consumed"] for s in published.summaries.values())]


def test_counts_ledger_and_dead_letters_equal_a_recount_and_scores_the_offline_path(random_job, world):
    specs, batches = world
    job = random_job("oracle")
    job.run_through(batches)

    recount = Recount(specs, known_bad(specs["riverton"]), NOW - 7200)
    unspark = offline(batches, artifacts_of(job))
    published = with_messages(job)
    assert len(published) == len(batches)
    for batch, seen, expected in zip(batches, published, unspark, strict=True):
        ledgers = recount.batch(batch)
        told = {region: summary for region, summary in seen.summaries.items() if summary.ledger["consumed"]}
        assert told.keys() == ledgers.keys()
        for region, summary in told.items():
            assert Counter({k: v for k, v in summary.ledger.items() if v}) == ledgers[region]
            assert Counter({k: v for k, v in summary.totals.items() if v}) == recount.totals[region]
            assert summary.ledger["consumed"] == sum(summary.ledger[name] for name in OUTCOMES[1:])
        for region, (features, scores) in expected.items():
            frame = seen.frames[region]
            assert frame.as_of_s == recount.clock_s[region]
            np.testing.assert_array_equal(frame.observed_1h, recount.observed_1h(region))
            np.testing.assert_array_equal(frame.observed_1h, features.observed_1h)
            np.testing.assert_array_equal(frame.support, features.support)
            for name in FIELDS:
                np.testing.assert_array_equal(getattr(frame, name), getattr(scores, name), err_msg=name)
    assert job.letters.kept == recount.refused

    every_outcome = sum(recount.totals.values(), Counter())
    assert all(every_outcome[name] > 10 for name in OUTCOMES)
    assert {"future", "late", "unknown_region", "unknown_category", "outside_grid", "not_json", "person_field"} <= {
        reason for _, reason in recount.refused.values()
    }
    points = stored_points(job.sink.writes)
    for region, spec in specs.items():
        tick_s = recount.clock_s[region] // 60 * 60
        stored = points[f"pipeline,region={region}", tick_s]
        assert {name: float(stored[name]) for name in OUTCOMES} == {n: recount.totals[region][n] for n in OUTCOMES}
        seen_1h = {
            key: int(fields["observed_1h"])
            for (key, time_s), fields in points.items()
            if key.startswith("risk,") and f"region={region}" in key and time_s == tick_s
        }
        assert len(seen_1h) == 36 * 2 * 3
        assert sum(seen_1h.values()) == 3 * recount.observed_1h(region).sum()
        assert len(spec.horizons_s) == 3


class FaultySink(ListSink):
    """Stores the nth write that has content, says that it has not, and takes all others."""

    def __init__(self, *fails):
        super().__init__()
        self.fails = set(fails)
        self.seen = 0

    def write(self, lines):
        report = super().write(lines)
        self.seen += bool(lines)
        if lines and self.seen in self.fails:
            raise SinkUnavailable("no acknowledgement came: look at the store")
        return report


def test_batches_that_are_repeated_and_restarts_change_nothing_in_the_store(random_job, world):
    _, batches = world
    undisturbed = random_job("undisturbed")
    undisturbed.run_through(batches)

    job = random_job("disturbed", sink=FaultySink(2, 5, 6))  # the repeated fifth fails once more
    for batch in batches:
        job.send(batch)
    for _ in range(3):
        job.start()
        assert isinstance(job.wait_for_end(), SinkUnavailable)
    with job.running():
        job.wait_until(lambda: job.consumed() > job.sent // 2)
    with job.running():
        job.wait_until(lambda: job.consumed() == job.sent)

    disturbed, expected = stored_points(job.sink.writes), stored_points(undisturbed.sink.writes)
    assert job.sink.seen > sum(map(bool, undisturbed.sink.writes))
    assert without_the_runs_own(disturbed) == without_the_runs_own(expected)
    assert job.letters.kept == undisturbed.letters.kept


def without_the_runs_own(points):
    """Points without the fields that tell of the artifact's name and of the machine, not of the events."""
    own = {"model", "lag_events", "batch_s", "freshness_s"}
    return {key: {n: v for n, v in fields.items() if n not in own} for key, fields in points.items()}


def test_a_rebuild_from_the_log_gives_the_points_that_were_stored_over_a_swap_and_a_restart(
    random_job, world, networks, publish
):
    specs, batches = world
    job = random_job("logged")
    job.run_through(batches[:4])
    spec = specs["lakeside"]
    network, history = networks["random"](spec, 8), artifacts_of(job)["lakeside"].history()
    publish(job.artifacts, spec, created="20260202T000000Z", network=network, history=history)
    job.run_through(batches[4:])

    checkpoint = job.settings.checkpoint
    sent = dict(zip((published.batch_id for published in with_messages(job)), batches, strict=True))
    plan = plan_rebuild(checkpoint, specs, Span(from_s=0, to_s=1 << 40), clock="event")
    rebuild = Rebuild(plan=plan, checkpoint=checkpoint, artifacts=job.artifacts, specs=specs, top_k=TOP_K)
    lines = [rebuild.points(batch, slices(sent.get(batch.number, []))) for batch in plan.batches]
    of_the_machine = {"lag_events", "batch_s", "freshness_s"}
    stored = stored_points(job.sink.writes)
    assert stored_points(lines) == {
        key: {name: value for name, value in fields.items() if name not in of_the_machine}
        for key, fields in stored.items()
    }
    assert len(b"".join(lines).splitlines()) == len(stored)
    assert len({fields["model"] for (key, _), fields in stored.items() if "region=lakeside" in key}) == 2

    messages = next(iter(sent.values()))
    again = Rebuild(plan=plan, checkpoint=checkpoint, artifacts=job.artifacts, specs=specs, top_k=TOP_K)
    with pytest.raises(PipelineError, match="does not come out as it did live"):
        [again.points(batch, slices(messages)) for batch in plan.batches]  # the same ones for every batch


def slices(messages):
    """The messages in the order of the topic, seven at a time."""
    messages = sorted(messages, key=lambda message: message[1:3])
    for first in range(0, len(messages), 7):
        value, partition, offset, time_ms = zip(*messages[first : first + 7], strict=True)
        yield Messages(
            values=value,
            partition=np.array(partition),
            kafka_offset=np.array(offset),
            kafka_time_ms=np.array(time_ms),
        )


def spark_workers():
    """Python workers of the running session: what its daemons forked."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "pyspark.daemon" in process.cmdline() and "pyspark.daemon" in process.parent().cmdline():
                workers.append(process)
    return workers


@dataclass
class Killer:
    """Kills all Python workers in the middle of a stage, `kills` times, and notes where that has cost a task."""

    tracker: object
    kills: int
    aimed_at: set = field(default_factory=set)

    def look(self):
        for stage in self.tracker.getActiveStageIds():
            if len(self.aimed_at) < self.kills and stage not in self.aimed_at:
                self.aimed_at.add(stage)
                for worker in spark_workers():
                    worker.kill()
                return

    def hits(self):
        """Stages in which a task failed."""
        infos = filter(None, map(self.tracker.getStageInfo, self.aimed_at))
        return [info.stageId for info in infos if info.numFailedTasks]


def test_killed_python_workers_cost_a_retry_and_nothing_else(random_job, world, session):
    _, batches = world
    undisturbed = random_job("undisturbed")
    undisturbed.run_through(batches)

    job = random_job("killed")
    killer = Killer(session.sparkContext.statusTracker(), kills=3)
    for batch in batches:
        job.send(batch)

    def done():
        killer.look()
        return job.consumed() == job.sent

    with job.running():
        job.wait_until(done)
    assert killer.hits(), "no task was ever hit"
    disturbed, expected = stored_points(job.sink.writes), stored_points(undisturbed.sink.writes)
    assert without_the_runs_own(disturbed) == without_the_runs_own(expected)
    assert job.letters.kept == undisturbed.letters.kept
