"""What a job leaves in its store: a store over HTTP that can fail, and a file with all that was sent to the job."""

import contextlib
import gzip
import json
import signal
import threading
import time
from collections import defaultdict
from http.server import ThreadingHTTPServer

from tests.faults.matrix import waited_s
from tests.faults.oracle import Region
from tests.faults.rules import Traces, breaches, written_in
from tests.faults.witness import Witness
from tests.harness.fake_stores import Answering
from tests.harness.points import points_in


class WrittenLines:
    """What was written to a store, in order: outcomes are recounted also from what was overwritten.

    ledgers: (measurement and tags, time in s, {field: text}) of `pipeline`. written: as `written_in` gives it.
    """

    def __init__(self):
        self.ledgers, self.written = [], []

    def take(self, lines):
        self.written += written_in(lines)
        self.ledgers += [point for point in points_in(lines) if point[0].startswith("pipeline,")]

    def consumed(self):
        """Messages that the ledgers know of."""
        newest = {key: float(fields["consumed"]) for key, _, fields in list(self.ledgers)}
        return int(sum(newest.values()))


class WrittenStore(WrittenLines):
    """Keeps points as InfluxDB does, the last write wins: real HTTP on a free port.

    answers: (status, body, headers) for the next writes that have points, in order; then 204 for ever.

    before_write, after_write: called once each, around storing the next write that has points, before it is answered.
    """

    def __init__(self):
        super().__init__()
        self.points = defaultdict(dict)  # (measurement and tags, time in s) -> {field: text}
        self.answers = []
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

    def take(self, lines):
        with self.lock:
            super().take(lines)
            for key, time_s, fields in points_in(lines):
                self.points[key, time_s].update(fields)

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
        if not body.startswith(b"#"):  # the job asks first whether it may write
            if store.answers:
                status, text, headers = store.answers.pop(0)
                store.hits.append(time.monotonic())
                self.answer(status, text, headers)
                return
            if hook := store.before_write:
                store.before_write = None
                hook()
            store.take(body.decode())
            if hook := store.after_write:
                store.after_write = None
                hook()
        self.answer(204, b"", {})

    def handle(self):
        with contextlib.suppress(ConnectionError):  # cut on purpose, between two requests
            super().handle()


START = 1_700_000_000


def events(region, numbers, partitions=2):
    return [
        (n % partitions, region.event(n, cell=n % 36, at_s=START + 10 * n), 1000 * (START + 10 * n)) for n in numbers
    ]


class Sent:
    """What goes into the topic of a job that stores into a file, and what must come of it."""

    def __init__(self, scorer):
        self.scorer, self.messages, self.lines, self._read = scorer, [], WrittenLines(), 0
        self.witness = Witness(scorer, scorer.topic.name, self.stored)

    def stored(self):
        """Messages that the file knows of."""
        path = self.scorer.folder / "scores.lp"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self.lines.take(whole.decode())
        return self.lines.consumed()

    def send(self, messages):
        messages = list(messages)
        places = self.scorer.topic.send(messages)
        self.messages += [(*place, value, time_ms) for place, (_, value, time_ms) in zip(places, messages, strict=True)]

    def wait(self):
        self.scorer.wait_until(lambda: self.scorer.consumed() == len(self.messages))

    def start(self, messages, *command, **environment):
        """Start the job, and wait until it has counted these."""
        self.scorer.start(*command, **environment)
        self.send(messages)
        self.wait()

    def end_and_check(self):
        assert self.scorer.end(signal.SIGTERM) == 0
        self.check()

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
        traces = Traces(
            messages=sorted(self.messages, key=lambda message: message[:2]),
            regions=[Region.of(json.loads(manifest.read_bytes()))],
            versions={"riverton": [manifest.parent.name]},
            batches=self.witness.batches,
            points=self.scorer.points(),
            ledgers=self.lines.ledgers,
            letters=self.scorer.letters(),
            written=self.lines.written,
            topic=self.scorer.topic.name,
        )
        assert [*self.witness.faults, *breaches(traces)] == []
