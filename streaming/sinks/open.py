"""The choice of a sink by RISK_SINK. To add a sink: one file in this folder, and one entry of SINKS."""

from pkgutil import resolve_name

from schemas.errors import SettingsError
from streaming.settings import Settings
from streaming.sinks.contract import Sink

# Name -> "module:callable". RISK_SINK is NAME or NAME:PLACE; the callable gets (settings, PLACE) and gives the sink.
# The module is imported when its sink is opened: a file needs no client of InfluxDB.
SINKS = {
    "influxdb": "streaming.sinks.influx:InfluxSink",
    "file": "streaming.sinks.file:FileSink.of",
}


def open_sink(settings: Settings) -> Sink:
    """The sink that `settings.sink` names. Raises SettingsError when there is no such sink.

    >>> open_sink(Settings.from_environment({"RISK_SINK": "file:/tmp/scores.lp"})).close()
    """
    name, _, place = settings.sink.partition(":")
    if name not in SINKS:
        remedy = f"use one of: {', '.join(SINKS)}; a file is file:PATH"
        raise SettingsError(f"sink {settings.sink!r} is not known", remedy)
    sink: Sink = resolve_name(SINKS[name])(settings, place)
    return sink
