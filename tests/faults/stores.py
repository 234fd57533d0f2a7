"""What a job leaves in its store: a store over HTTP that can fail, a good one, and a file with all that was sent."""

import contextlib
import gzip
import json
import threading
import time
from collections import defaultdict
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from models.counting.count_state import horizons_closed_between
from models.features import FeatureEngine
from models.scoring import stored_views
from schemas.decode import decode_messages
from schemas.forecasts import ClosedCounts
from schemas.incidents import Incidents, encode_dead_letter
from streaming.flow.intake import take_in
from streaming.flow.publish import keep_forecast, outcome_points, pipeline_line
from streaming.flow.rows import add_up, balanced_ledger
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines
from tests.faults.matrix import waited_s
from tests.faults.oracle import Region, recount
from tests.faults.outcomes import written_in
from tests.faults.rules import TOP, Seen, breaches
from tests.faults.scenario import Producer, closing
from tests.faults.witness import Witness
from tests.harness.points import points_in
from tests.harness.recount import scored_frame
from tests.harness.stub_store import Answering
from tests.harness.toy import toy_messages


class WrittenStore:
    """Keeps points as InfluxDB does, the last write wins: real HTTP on a free port.

    answers: (status, body, headers) for the next writes that have points, in order; then 204 for ever.

    before_write, after_write: called once each, around storing the next write that has points, before it is answered.
    written: as `written_in` gives it, of each write in order: outcomes are recounted also from what was overwritten.
    """

    def __init__(self):
        self.points = defaultdict(dict)  # (measurement and tags, time in s) -> {field: text}
        self.ledgers = []  # (measurement and tags, time in s, {field: text}) of `pipeline`, each as it was written
        self.written, self.answers = [], []
        self.hits = []  # monotonic times at which one of `answers` was given
        self.before_write = self.after_write = None
        self.lock = threading.Lock()

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.store = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def take(self, body):
        with self.lock:
            self.written += written_in(body.decode())
            for key, time_s, found in points_in(body.decode()):
                self.points[key, time_s].update(found)
                if key.startswith("pipeline,"):
                    self.ledgers.append((key, time_s, found))

    def snapshot(self):
        with self.lock:
            return {key: dict(fields) for key, fields in self.points.items()}


class _Handler(Answering):
    def do_POST(self):
        store, length = self.server.store, int(self.headers["Content-Length"])
        try:
            body = self.rfile.read(length)
        except ConnectionError:
            body = b""
        if len(body) < length:  # the client or the way to it broke: a store takes whole requests only
            self.close_connection = True
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        has_points = not body.startswith(b"#")  # the job asks first whether it may write
        if has_points and store.answers:
            status, text, headers = store.answers.pop(0)
            store.hits.append(time.monotonic())
            self.answer(status, text, headers)
            return
        if has_points and (hook := store.before_write):
            store.before_write = None
            hook()
        if has_points:
            store.take(body)
        if has_points and (hook := store.after_write):
            store.after_write = None
            hook()
        self.answer(204, b"", {})

    def handle(self):
        with contextlib.suppress(ConnectionError):  # cut on purpose, between two requests
            super().handle()


PER_BATCH, TOPIC = 60, "t"


def good_store(scenario, artifact, per_batch=PER_BATCH):
    """`Seen` of one region and partition after a scenario's messages, made by the job's own functions, without Kafka.

    It shows the oracle what is right, so that each thing wrong stands out.
    """
    region = region_of(artifact)
    producer = Producer([region])
    sent = [message for action in (*scenario.actions, closing(scenario)) for message in producer.messages(action)]
    return store_after([(value, time_ms) for _, value, time_ms in sent], artifact, region, per_batch)


def region_of(artifact):
    return Region.of(json.loads((artifact.folder / "manifest.json").read_bytes()))


def store_after(sent, artifact, region, per_batch=PER_BATCH):
    """`Seen` of one region and partition after these messages: (value or None, Kafka time in ms)."""
    messages = [(0, offset, value, time_ms) for offset, (value, time_ms) in enumerate(sent)]
    store, letters, batches = WrittenStore(), [], {}
    with TemporaryDirectory() as checkpoint:
        job = _Job(artifact, store, letters, Path(checkpoint))
        for number, start in enumerate(range(0, len(messages), per_batch)):
            part = messages[start : start + per_batch]
            batches[number] = {0: part[-1][1] + 1}
            job.take(part)
    return Seen(
        messages=messages,
        regions=[region],
        versions={"riverton": [artifact.version]},
        batches=batches,
        points=store.snapshot(),
        ledgers=store.ledgers,
        letters=letters,
        written=store.written,
        topic=TOPIC,
        acknowledged={(partition, offset): value for partition, offset, value, _ in messages},
    )


class _Job:
    def __init__(self, artifact, store, letters, checkpoint):
        self.artifact, self.store, self.letters, self.checkpoint = artifact, store, letters, checkpoint
        self.state, self.engine = artifact.history(), FeatureEngine(artifact.spec, artifact.constants)
        self.totals, self.unassigned, self.judged_s = {}, {}, None

    def take(self, part):
        spec = self.artifact.spec
        _, offsets, values, times_ms = zip(*part, strict=True)
        decoded = decode_messages(toy_messages(values, times_ms, offset=offsets), {spec.region: spec})
        incidents = Incidents.concatenate([*decoded.incidents.values()])
        refused = decoded.rejections.get(spec.region, [])
        as_of_s = max(self.state.as_of_s, int(incidents.received_ms.max(initial=0)) // 1000)
        consumed = len(incidents) + len(refused)
        _, rejections, ledger = take_in(self.state, incidents, refused, as_of_s=as_of_s, consumed=consumed)
        self.totals = add_up(self.totals, ledger)
        frame = scored_frame(str(self.artifact.folder), self.engine.compute(self.state), self.state.as_of_s)
        views = stored_views(frame, self.artifact.constants)
        scores = b"".join(risk_lines(view) + top_lines(view, TOP) for view in views) + unusual_lines(frame)
        self.store.take(scores + self._outcomes() + _pipeline(spec.region, frame, self.totals))
        keep_forecast(self.checkpoint, frame, str(self.artifact.folder))
        self.letters += _letters(rejections, spec.region)
        if others := decoded.rejections.get("", []):
            self.letters += _letters(others, None)
            self.unassigned = add_up(self.unassigned, balanced_ledger(len(others), {}, others))
            self.store.take(_pipeline("", frame, self.unassigned))

    def _outcomes(self):
        closed = [] if self.judged_s is None else horizons_closed_between(self.state, self.judged_s)
        self.judged_s = self.state.as_of_s
        return outcome_points(self.checkpoint, self.artifact.spec, [ClosedCounts.of(horizon) for horizon in closed])


def _pipeline(region, frame, totals):
    return pipeline_line(region, frame.tick_s, frame.as_of_s, totals, {"write_dropped": 0}, model=frame.model)


def _letters(rejections, region):
    return [json.loads(encode_dead_letter(refusal, source_topic=TOPIC, region=region)) for refusal in rejections]


def recounted(seen):
    """The recount of all that the store has been told."""
    return recount(seen.messages, seen.regions, [ends for _, ends in sorted(seen.batches.items())])


START = 1_700_000_000


def events(region, numbers, partitions=2):
    return [
        (n % partitions, region.event(n, cell=n % 36, at_s=START + 10 * n), 1000 * (START + 10 * n)) for n in numbers
    ]


class FileLedgers:
    """The `pipeline` points of a file, each as it was written. `taken` is what WrittenStore calls `ledgers`.

    written: as `written_in` gives it, of each write in order.
    """

    def __init__(self, path):
        self.path, self.taken, self.written, self._read = path, [], [], 0

    def consumed(self):
        """Messages that the file knows of."""
        self._take()
        last = {key: float(fields["consumed"]) for key, _, fields in self.taken}
        return int(sum(last.values()))

    def _take(self):
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self.written += written_in(whole.decode())
        self.taken += [point for point in points_in(whole.decode()) if point[0].startswith("pipeline,")]


class Sent:
    """What goes into a job's topic, and what must come of it."""

    def __init__(self, scorer):
        self.scorer, self.messages = scorer, []
        self.ledgers = FileLedgers(scorer.folder / "scores.lp")
        self.witness = Witness(scorer, scorer.topic.name, self.ledgers.consumed)

    def send(self, messages):
        messages = list(messages)
        places = self.scorer.topic.send(messages)
        self.messages += [(*place, value, time_ms) for place, (_, value, time_ms) in zip(places, messages, strict=True)]

    def wait(self):
        self.scorer.wait_until(lambda: self.scorer.consumed() == len(self.messages))

    def recovers(self, began, record_property):
        """I10, where the fault ended at `began`, monotonic time."""
        self.wait()
        seconds = time.monotonic() - began
        record_property("recovery_s", seconds)
        assert seconds <= waited_s(), f"I10: {seconds:.0f} s"

    def check(self):
        """I1 to I5, I7, I8 and I13, by the same rules as in the scenarios. The job has ended."""
        self.witness.stop()
        (manifest,) = self.scorer.artifacts.glob("*/*/manifest.json")
        seen = Seen(
            messages=sorted(self.messages, key=lambda message: message[:2]),
            regions=[Region.of(json.loads(manifest.read_bytes()))],
            versions={"riverton": [manifest.parent.name]},
            batches=self.witness.batches,
            points=self.scorer.points(),
            ledgers=self.ledgers.taken,
            letters=self.scorer.letters(),
            written=self.ledgers.written,
            topic=self.scorer.topic.name,
        )
        assert [*self.witness.faults, *breaches(seen)] == []
