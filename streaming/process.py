"""A process of ours: its settings, how its errors are shown, how signals stop it, and who decides."""

import getpass
import os
import signal
import sys
import traceback
from _thread import start_new_thread
from collections.abc import Callable, MutableMapping
from threading import Event

from schemas.errors import SettingsError, errors_in_one_line
from streaming.settings import Settings, secret_names

_in_force: list[Settings] = []  # their secrets must not be in a trace


def settings_of(environment: MutableMapping[str, str]) -> Settings:
    """The settings in the environment, from which the secrets are removed."""
    settings = Settings.from_environment(environment)
    _in_force.append(settings)
    for name in secret_names():  # otherwise Java and every Python worker would inherit them
        environment.pop(name, None)
    return settings


def run_without_secrets(app: Callable[[], object]) -> None:
    """Run the command that was typed. An unexpected error becomes a trace without secrets, and exit code 1."""
    try:
        with errors_in_one_line():
            app()
    except Exception:  # a bug of ours: shown, but without the secrets that a library may quote
        trace = traceback.format_exc()
        for settings in _in_force:
            trace = settings.without_secrets(trace)
        sys.stderr.write(trace)
        sys.exit(1)


def stop_on_signals(doing: str = "stopping after the running batch (a few seconds)") -> Event:
    """An event that is set by the first SIGTERM or SIGINT; the second one raises KeyboardInterrupt.

    doing: what the person then sees at once, because the signal has arrived.
    """
    stop, text = Event(), f"\n{doing}; a second signal stops at once\n".encode()

    def request_stop(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        os.write(2, text)  # a handler must not enter a console that is in the middle of a line
        # In a thread of its own: the handler may have interrupted `stop.wait` while that holds the event's lock. `set`
        # needs that lock too, and would wait for itself for ever.
        start_new_thread(stop.set, ())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request_stop)
    return stop


def who_decides(settings: Settings) -> str:
    """RISK_BY, or the user of this machine. Raises SettingsError without either."""
    try:
        return settings.by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise SettingsError("this machine does not know who you are", "set RISK_BY to your name") from error
