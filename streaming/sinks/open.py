"""The choice of a sink by settings."""

from pathlib import Path

from schemas.errors import SettingsError
from streaming.settings import Settings
from streaming.sinks.contract import Sink

FILE_PREFIX = "file:"


def open_sink(settings: Settings) -> Sink:
    """The sink that `settings.sink` names. Raises SettingsError when there is no such sink."""
    if settings.sink == "influxdb":
        from streaming.sinks.influx import InfluxSink  # a file needs no client

        return InfluxSink(settings)
    from streaming.sinks.file import FileSink

    path = settings.sink.removeprefix(FILE_PREFIX)
    if not path or path == settings.sink:
        raise SettingsError(f"sink {settings.sink!r} is not known: use influxdb, or file:PATH for line protocol")
    return FileSink(Path(path).expanduser())
