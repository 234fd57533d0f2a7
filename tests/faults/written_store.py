"""A store that keeps points as InfluxDB does, last write wins, and can be told to fail: real HTTP on a free port."""

import contextlib
import gzip
import threading
import time
from collections import defaultdict
from http.server import ThreadingHTTPServer

from tests.faults.outcomes import written_in
from tests.harness.points import points_in
from tests.harness.stub_store import Answering


class WrittenStore:
    """`answers`: (status, body, headers) for the next writes that have points, in order; then 204 for ever.

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
