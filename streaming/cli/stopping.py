"""Ctrl-C and SIGTERM set an event, and the person sees at once that the signal arrived."""

import os
import signal
from _thread import start_new_thread
from threading import Event

_STOPPING = b"\nstopping after the running batch (a few seconds); a second signal stops at once\n"


def stop_on_signals() -> Event:
    """An event that is set by the first SIGTERM or SIGINT; the second one raises KeyboardInterrupt."""
    stop = Event()

    def request_stop(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        os.write(2, _STOPPING)  # a handler must not enter a console that is in the middle of a line
        # In a thread of its own: the handler may have interrupted `stop.wait` while that holds the event's lock. `set`
        # needs that lock too, and would wait for itself for ever.
        start_new_thread(stop.set, ())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request_stop)
    return stop
