"""A process of ours: its settings, and how its errors are shown."""

import sys
import traceback
from collections.abc import Callable, MutableMapping

from schemas.errors import errors_in_one_line
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
