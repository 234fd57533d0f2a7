"""A store that takes everything: `python -m benchmarks.taking_store PORT`.

It answers `/api/v2/write` as InfluxDB does, and a GET with the number of lines it has taken. It keeps nothing, so that
what is measured is who writes.
"""

import sys
from http.server import ThreadingHTTPServer
from threading import Lock

from tests.harness.stub_store import Answering


class Taking(Answering):
    lines = 0
    lock = Lock()

    def do_POST(self) -> None:
        lines = self.rfile.read(int(self.headers["Content-Length"])).count(b"\n")
        with self.lock:
            Taking.lines += lines
        self.answer(204, b"", {})

    def do_GET(self) -> None:
        self.answer(200, str(Taking.lines).encode(), {})


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Taking).serve_forever()
