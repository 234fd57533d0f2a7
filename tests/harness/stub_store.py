"""A store that answers what a test tells it to, over real HTTP on a free port."""

import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

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
