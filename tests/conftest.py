"""A store that answers what a test tells it to, over real HTTP on a free port."""

import socket
import ssl
import struct
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

HANG, RESET = "hang", "reset"


@dataclass
class StubStore:
    """`answers` are given in order, then 204 for ever. An answer is (status, body, headers), HANG or RESET."""

    url: str = ""
    answers: deque = field(default_factory=deque)
    requests: list = field(default_factory=list)  # (path with query, headers, body) of each whole request
    acknowledged: list = field(default_factory=list)  # bodies that were answered with 204
    released: threading.Event = field(default_factory=threading.Event)  # ends every HANG


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    wbufsize = 65_536  # one packet per answer: two of them wait 40 ms for each other

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


@contextmanager
def serving(tls: ssl.SSLContext | None = None):
    """The store while it listens, over TLS if a context with a certificate is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
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


@pytest.fixture
def stub_store():
    with serving() as store:
        yield store


@pytest.fixture
def stub_store_over_tls():
    """Gives `with stub_store_over_tls(context) as store`."""
    return serving
