"""A real Kafka broker on this machine, without Docker: for the demo, the tests and a first look.

One node, KRaft, loopback only, everything under one folder. The running broker holds a lock on the folder's file
`broker.lock`, which the system releases when the process ends, for whatever reason.
"""

import contextlib
import fcntl
import socket
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self, TextIO

import typer
from rich.console import Console

from schemas.errors import BrokerError
from schemas.files import write_errors
from streaming.jars import java, java_version, kafka_class_path
from streaming.kafka import KafkaConnection, cluster_id, ensure_topics
from streaming.settings import Settings, stop_on_signals

HOST = "127.0.0.1"
TOPIC_PARTITIONS = 4  # room for four cores to read; a topic can only get more of them
_CLUSTER_ID = "aW5jaWRlbnQtcmlzay1zYw"  # any 16 bytes in base64url
_START_LIMIT_S = 90.0
_STOP_LIMIT_S = 20.0
_WATCH_S = 0.5
_LOG = "broker.log"
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# Replayed incidents are years old or ahead of this clock, and must be neither refused nor deleted for that. There is
# still a limit (100 years ahead), because Spark cannot read a message of the year 292,278.
log.message.timestamp.after.max.ms=3155760000000
log.retention.ms=-1
# One node, a small heap, and a quick start also after a kill: the session of the dead broker must end first.
broker.session.timeout.ms=6000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
# Else it writes a record that says nothing every half a second: a quarter of what an idle broker costs.
metadata.max.idle.interval.ms=0
num.network.threads=2
num.io.threads=4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """What a broker needs that does not serve every user of this machine. The default serves everybody."""

    properties: str = ""  # added to ours; {port} and {controller_port} are filled in
    format_options: tuple[str, ...] = ()  # of StorageTool: users that must exist before the first start
    # How we sign in to see whether it answers; the address is filled in.
    connection: KafkaConnection = KafkaConnection("")  # noqa: RUF009 - it is frozen


_OPEN_TO_ALL = Secured()


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A running broker. As a context manager it stops at the end."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    def fault(self) -> BrokerError | None:
        """That the broker has ended, and what its log says; None while it runs."""
        if self.process.poll() is None:
            return None
        log = self.folder / _LOG
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = f"see its log {log}, {f'which ends with: {lines[-1]}' if lines else 'which is empty'}"
        return BrokerError(f"the local Kafka broker of {self.folder} has ended", said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the broker and wait until its process is gone. Does nothing when it is gone already."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_broker(folder: Path, *, cache: Path, port: int = 9092, secured: Secured = _OPEN_TO_ALL) -> Broker:
    """Start a broker with its data in `folder`, and wait until it answers. port 0: any free port.

    The broker runs in its own session: Ctrl-C in this terminal does not reach it. Raises BrokerError when it cannot be
    started, for example because another broker has the folder. Then no process is left, nor after an interrupt.
    """
    folder = folder.expanduser().resolve()
    with write_errors(BrokerError, f"the broker's folder {folder}", remedy="choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    _refuse_taken(port)
    class_path = kafka_class_path(cache)
    with (folder / "broker.lock").open("a") as lock:
        _lock(lock, folder)
        process = _launch(folder, class_path, port, secured, lock)
    broker = Broker(folder=folder, port=port, process=process)
    try:
        _wait_until_it_answers(broker, replace(secured.connection, bootstrap=broker.bootstrap))
    except BaseException:
        process.kill()
        process.wait()
        raise
    return broker


def _lock(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        fault = f"another broker runs in {folder}, or is being started there"
        raise BrokerError(fault, "stop it first, or choose another folder") from error


def _launch(folder: Path, class_path: str, port: int, secured: Secured, lock: TextIO) -> subprocess.Popen[bytes]:
    """Write the broker's files and start its process, which holds the lock from then on."""
    java_version()
    java_command = [java(), "-Dlog4j2.level=WARN", "-Xlog:disable", "-Xlog:all=error:stderr", "-cp", class_path]
    properties = folder / "server.properties"
    text = _PROPERTIES + secured.properties
    properties.write_text(
        text.format(host=HOST, port=port, controller_port=free_port(), data=folder / "data"), encoding="utf-8"
    )
    if not (folder / "data" / "meta.properties").is_file():  # Kafka's first start needs a formatted folder
        tool = [*java_command, "-Xmx256m", "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        options = ["--cluster-id", _CLUSTER_ID, "--config", str(properties), *secured.format_options]
        ran = subprocess.run([*tool, *options], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode != 0:
            output = _last_lines(ran.stdout + ran.stderr)
            raise BrokerError(f"Kafka cannot use the folder {folder}", f"choose another folder\n{output}")
    with (folder / _LOG).open("wb") as log:
        return subprocess.Popen(
            [*java_command, "-Xms256m", "-Xmx512m", "kafka.Kafka", str(properties)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )


def _wait_until_it_answers(broker: Broker, kafka: KafkaConnection) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while broker.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(BrokerError):
            if cluster_id(kafka) == _CLUSTER_ID:  # another's broker may have taken the port meanwhile
                return
        time.sleep(0.05)
    log = broker.folder / _LOG
    code = broker.process.returncode
    fault = (
        f"the broker did not answer on {kafka.bootstrap} within {_START_LIMIT_S:.0f} s"
        if code is None
        else f"the broker ended with exit code {code} while it started"
    )
    raise BrokerError(fault, f"see its log {log}\n{_last_lines(log.read_text(encoding='utf-8', errors='replace'))}")


def _last_lines(text: str) -> str:
    """What a person needs of the output of a program that failed."""
    return "\n".join(text.strip().splitlines()[-15:])


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that is closing is no listener
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(
                f"port {port} of {HOST} cannot be used ({error.strerror})",
                "stop the program that listens there, or choose another port by RISK_KAFKA_BOOTSTRAP",
            ) from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


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
    host, _, port = settings.kafka_bootstrap.partition(":")
    if host not in (HOST, "localhost") or not port.isdecimal():
        mistake = f"RISK_KAFKA_BOOTSTRAP is {settings.kafka_bootstrap}, which is no single port of this machine"
        raise BrokerError(mistake, f"set RISK_KAFKA_BOOTSTRAP={HOST}:9092")
    with start_broker(folder, cache=settings.cache, port=int(port)) as kafka:
        ensure_topics(KafkaConnection(kafka.bootstrap), topics)
        console.print(f"Kafka runs at {kafka.bootstrap} until Ctrl-C (data and log in {kafka.folder})")
        while not stop.wait(_WATCH_S):
            if fault := kafka.fault():
                raise fault
