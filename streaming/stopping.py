"""Ctrl-C and SIGTERM as a wish: an event is set, the person sees at once that it was heard."""

import os
import signal
from threading import Event

_HEARD = b"\nstopping: what runs is brought to its end first (a few seconds) ...\n"


def stop_on_signals() -> Event:
    """An event that is set by SIGTERM and SIGINT, which then no longer end the process."""
    stop = Event()

    def wish(*_: object) -> None:
        if not stop.is_set():
            os.write(2, _HEARD)  # a console in the middle of a line must not be entered again from a handler
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, wish)
    return stop
