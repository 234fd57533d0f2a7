"""The commands `broker start`, `broker stop` and `broker status`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import BrokerError
from streaming.rehearse.broker import HOST, TOPIC_PARTITIONS, end_of_log, running_broker, start_broker, stop_broker
from streaming.settings import Settings
from streaming.topics.admin import ensure_topics
from streaming.topics.client import KafkaConnection

_FOLDER = Annotated[Path, typer.Option("--folder", help="Folder of the broker's data and log")]
_DEFAULT_FOLDER = Path("data/broker")

broker_app = typer.Typer(no_args_is_help=True, help="A real Kafka broker on this machine, without Docker.")


@broker_app.command("start")
def broker_start(
    context: typer.Context,
    folder: _FOLDER = _DEFAULT_FOLDER,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Default: the port of RISK_KAFKA_BOOTSTRAP")
    ] = None,
) -> None:
    """Start the broker, create the topics, and leave it running. The first start fetches Kafka's jars (43 MB)."""
    settings: Settings = context.obj
    console = _console()
    with console.status("starting Kafka (the first start fetches its jars, 43 MB) ..."):
        broker = start_broker(folder, cache=settings.cache, port=port or _local_port(settings.kafka_bootstrap))
        topics = {settings.topic: TOPIC_PARTITIONS, settings.dead_letter_topic: 1, settings.feedback_topic: 1}
        topics |= {settings.covariates_topic: 1} if settings.covariates_topic else {}
        ensure_topics(KafkaConnection(broker.bootstrap), topics)
    verb = "already runs" if broker.already_ran else "runs"
    console.print(f"Kafka {verb} at {broker.bootstrap} (process {broker.pid}, data and log in {broker.folder})")


@broker_app.command("stop")
def broker_stop(folder: _FOLDER = _DEFAULT_FOLDER) -> None:
    """Stop the broker and wait until it is gone."""
    stopped = stop_broker(folder)
    _console().print("Kafka has stopped" if stopped else f"no broker runs from {folder}")


@broker_app.command("status")
def broker_status(folder: _FOLDER = _DEFAULT_FOLDER) -> None:
    """Show whether the broker runs. Exit code 1 when it does not."""
    broker = running_broker(folder)
    if broker is None:
        _console().print(f"no broker runs from {folder}; {end_of_log(folder)}")
        raise typer.Exit(1)
    _console().print(f"Kafka runs at {broker.bootstrap} (process {broker.pid}, data and log in {broker.folder})")


def _local_port(bootstrap: str) -> int:
    host, _, port = bootstrap.partition(":")
    if host not in (HOST, "localhost") or not port.isdecimal():
        fault = f"RISK_KAFKA_BOOTSTRAP is {bootstrap}, which is no single port of this machine"
        raise BrokerError(fault, f"set --port, or RISK_KAFKA_BOOTSTRAP={HOST}:9092")
    return int(port)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
