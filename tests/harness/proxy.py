"""A TCP proxy that cuts, delays, throttles and half-sends, between a client and a server on this machine."""

import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

_CHUNK = 16_384
_RESET = struct.pack("ii", 1, 0)  # closing with a linger of nothing sends RST instead of FIN


FAULTS = ("refuses", "swallows", "delay_s", "bytes_per_s", "cut_upload_after", "loses_answer")


@dataclass
class Proxy:
    """Forwards 127.0.0.1:port to 127.0.0.1:target. The faults are plain attributes; they act on what is open, too.

    `close_door` takes the listener away, `open_door` brings it back. refuses: new connections are accepted and reset.
    swallows: bytes are read and not passed on, in both directions. delay_s: wait before each chunk, per direction.
    bytes_per_s: throttle. cut_upload_after: reset both ends when that many more bytes have gone to the server.
    loses_answer: reset the client when the server's answer arrives.
    """

    target: int
    refuses: bool = False
    swallows: bool = False
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    cut_upload_after: int | None = None
    loses_answer: bool = False
    port: int = 0
    accepted: int = 0  # connections
    # By fault, and "cut": monotonic times at which it met a connection.
    hits: defaultdict = field(default_factory=lambda: defaultdict(list))
    _listener: socket.socket | None = None
    _open: set = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self):
        self.open_door()
        return self

    def __exit__(self, *_):
        self.close_door()

    def open_door(self):
        if self._listener is not None:
            return
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close_door(self):
        """Nobody listens any more, as behind a process that has ended; what is open is reset."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def heal(self, *faults):
        """Take these faults back, without any name all of them; what is open stays open."""
        for name in faults or FAULTS:
            setattr(self, name, getattr(type(self), name))

    def cut(self):
        """Reset every open connection."""
        with self._lock:
            pairs, self._open = self._open, set()
        for pair in pairs:
            self._hit("cut")
            _reset(*pair)

    @property
    def is_in_use(self):
        return bool(self._open)

    def _hit(self, fault):
        self.hits[fault].append(time.monotonic())

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self.refuses:
                self._hit("refuses")
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            pair = (client, server)
            with self._lock:
                self._open.add(pair)
            for source, sink, is_upload in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(pair, source, sink, is_upload), daemon=True).start()

    def _pump(self, pair, source, sink, is_upload):
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if self.swallows:
                    self._hit("swallows")
                    continue
                if self.delay_s:
                    self._hit("delay_s")
                    time.sleep(self.delay_s)
                if self.bytes_per_s:
                    time.sleep(len(chunk) / self.bytes_per_s)
                if is_upload and self.cut_upload_after is not None:
                    part, self.cut_upload_after = chunk[: self.cut_upload_after], self.cut_upload_after - len(chunk)
                    sink.sendall(part)
                    if self.cut_upload_after <= 0:
                        self.cut_upload_after = None
                        self._end(pair, "cut_upload_after")
                        return
                    continue
                if not is_upload and self.loses_answer:
                    self.loses_answer = False
                    self._end(pair, "loses_answer")
                    return
                sink.sendall(chunk)
            if pair in self._open:  # else it was cut: a reset is to come, no orderly end
                sink.shutdown(socket.SHUT_WR)
        with self._lock:
            is_last = pair not in self._open
            self._open.discard(pair)  # one side has ended: a cut would meet nobody
        if is_last:
            for end in pair:
                end.close()

    def _end(self, pair, fault):
        self._hit(fault)
        with self._lock:
            self._open.discard(pair)
        _reset(*pair)


def _reset(*sockets):
    for end in sockets:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.shutdown(socket.SHUT_RD)  # a thread that waits to read would keep it open
        end.close()
