"""The `broker` command."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import BrokerError
from streaming.cli.process import stop_on_signals
from streaming.rehearse.broker import HOST, TOPIC_PARTITIONS, start_broker
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection, ensure_topics

_WATCH_S = 0.5


def broker_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Folder of the broker's data and log")] = Path("data/broker"),
) -> None:
    """Run a real Kafka broker on this machine until Ctrl-C or SIGTERM, without Docker, with the job's topics.

    It listens at the port of RISK_KAFKA_BOOTSTRAP. The first start fetches Kafka's jars (43 MB).
    """
    settings: Settings = context.obj()
    console = Console(highlight=False, soft_wrap=True)
    topics = {settings.topic: TOPIC_PARTITIONS, settings.dead_letter_topic: 1, settings.feedback_topic: 1}
    stop = stop_on_signals("stopping Kafka")
    console.print("starting Kafka (the first start fetches its jars, 43 MB) ...")
    with start_broker(folder, cache=settings.cache, port=_local_port(settings.kafka_bootstrap)) as kafka:
        ensure_topics(KafkaConnection(kafka.bootstrap), topics)
        console.print(f"Kafka runs at {kafka.bootstrap} until Ctrl-C (data and log in {kafka.folder})")
        while not stop.wait(_WATCH_S):
            if fault := kafka.fault():
                raise fault


def _local_port(bootstrap: str) -> int:
    host, _, port = bootstrap.partition(":")
    if host not in (HOST, "localhost") or not port.isdecimal():
        fault = f"RISK_KAFKA_BOOTSTRAP is {bootstrap}, which is no single port of this machine"
        raise BrokerError(fault, f"set RISK_KAFKA_BOOTSTRAP={HOST}:9092")
    return int(port)
