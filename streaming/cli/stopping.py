"""Ctrl-C and SIGTERM as a wish: an event is set, the person sees at once that it was heard."""

import os
import signal
from _thread import start_new_thread
from threading import Event

_HEARD = b"\nstopping: what runs is brought to its end first (a few seconds); once more to stop at once\n"


def stop_on_signals() -> Event:
    """An event that is set by the first SIGTERM or SIGINT; the second one raises KeyboardInterrupt."""
    stop = Event()

    def wish(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        os.write(2, _HEARD)  # a console in the middle of a line must not be entered again from a handler
        # By a thread of its own: the handler may have interrupted `stop.wait` while that holds the event's lock, which
        # `set` takes, and would then wait for itself for ever.
        start_new_thread(stop.set, ())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, wish)
    return stop
