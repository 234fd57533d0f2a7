"""Stores over real HTTP, on free ports: one that answers what a test tells it to, and moto's, which answers as S3 does.

moto needs other versions of packages than the product, so uv runs it in an environment of its own.
"""

import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from streaming.rehearse.broker import free_port

HANG, RESET = "hang", "reset"


@dataclass
class StubStore:
    """`answers` are given in order, then 204 for ever. An answer is (status, body, headers), HANG or RESET."""

    url: str = ""
    answers: deque = field(default_factory=deque)
    requests: list = field(default_factory=list)  # (path with query, headers, body) of each whole request
    acknowledged: list = field(default_factory=list)  # bodies that were answered with 204
    released: threading.Event = field(default_factory=threading.Event)  # ends every HANG


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one packet per answer: two of them wait 40 ms for each other

    def answer(self, status, text, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if status != 204:
            self.wfile.write(text)

    def finish(self):
        try:
            super().finish()
        except OSError:
            self.rfile.close()  # the connection was reset on purpose

    def log_message(self, *_):
        """Say nothing."""


class Handler(Answering):
    timeout = 5

    def do_POST(self):
        store = self.server.store
        answer = store.answers.popleft() if store.answers else (204, b"", {})
        if answer == RESET:
            self.rfile.read(1000)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        store.requests.append((self.path, dict(self.headers), body))
        if answer == HANG:
            store.released.wait(10)
            self.close_connection = True
            return
        status, text, headers = answer
        if status == 204:
            store.acknowledged.append(body)
        self.answer(status, text, headers)


@contextmanager
def stubbed_store(tls: ssl.SSLContext | None = None):
    """A StubStore while it listens, over TLS if a context with a certificate is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that breaks off is what some tests are about
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.store = StubStore(url=f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.store
    finally:
        server.store.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


MOTO = "moto[s3,server]==5.2.5"
UV = Path(sys.executable).with_name("uv")
SECRET = "hidden-key"


@dataclass(frozen=True)
class ObjectStore:
    address: str
    process: psutil.Process

    @property
    def environment(self):
        """AWS's variables for a client of it."""
        return {
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
        }

    def make_bucket(self, name):
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"{self.address}/{name}", method="PUT")  # noqa: S310
                urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
                return
            except urllib.error.URLError:
                assert time.monotonic() < deadline, "moto does not answer"
                time.sleep(0.2)


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """While it runs. It keeps everything in memory."""
    words = [UV, "tool", "run", "--from", MOTO, "moto_server"]
    fetched = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"moto could not be fetched: {fetched.stderr[-300:]}")
    port = free_port()
    with (
        (folder / "moto.log").open("w") as log,
        subprocess.Popen([*words, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log) as server,
    ):
        try:
            yield ObjectStore(f"http://127.0.0.1:{port}", psutil.Process(server.pid))
        finally:
            server.terminate()
