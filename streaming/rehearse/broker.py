"""A real Kafka broker on this machine, without Docker: for the demo, the tests and a first look.

One node, KRaft, loopback only, everything under one folder. The running broker holds a lock on `broker.lock`, which
the system releases when the process ends however it ends; so nothing here trusts a process id alone.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import msgspec
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from schemas.errors import BrokerError
from streaming.job.jars import java, kafka_class_path
from streaming.topics.client import PLAINTEXT, Security

HOST = "127.0.0.1"
TOPIC_PARTITIONS = 4  # room for four cores to read; a topic can only get more of them
_CLUSTER_ID = "aW5jaWRlbnQtcmlzay1zYw"  # any 16 bytes in base64url
_START_LIMIT_S = 90.0
_STOP_LIMIT_S = 20.0
_LOCK = "broker.lock"
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
# replayed incidents are years old or ahead of this clock; neither may be refused or deleted for it. Not without a limit
# (here 100 years), because Spark cannot read a message of the year 292,278
log.message.timestamp.after.max.ms=3155760000000
log.retention.ms=-1
# one node, small heap, quick start, also after a kill: the dead broker's session must end first
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
num.network.threads=2
num.io.threads=4
"""
_LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class _State(msgspec.Struct, frozen=True):
    """What `broker.lock` says of the broker that holds it."""

    pid: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """What a broker needs that is not open to everybody on this machine."""

    properties: str  # added to ours; {port} and {controller_port} are filled in
    format_options: tuple[str, ...]  # of StorageTool: the users that must be there before the first start
    security: Security  # how we sign in to see that it answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A running broker. As a context manager it stops on the way out, unless it already ran before."""

    folder: Path
    pid: int
    port: int
    already_ran: bool
    process: subprocess.Popen[bytes] | None = field(repr=False)  # None when another process started it

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.already_ran:
            self.stop()

    def stop(self) -> None:
        """Stop the broker and wait until its process is gone. Does nothing when it is gone already."""
        stop_broker(self.folder)
        if self.process is not None:
            self.process.wait()


def start_broker(folder: Path, *, cache: Path, port: int = 9092, secured: Secured | None = None) -> Broker:
    """Start the broker of `folder`, or find it running, and wait until it answers.

    It runs in its own session: Ctrl-C in this terminal does not reach it, and it outlives this process unless it is
    stopped. port 0 takes a free one. Raises BrokerError with the remedy when it cannot be started; nothing is left
    running then, nor after an interrupt.
    """
    folder = folder.expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BrokerError(f"the broker's folder {folder} cannot be made ({error.strerror}): choose another") from error
    running = running_broker(folder)
    if running is not None:
        if port not in (0, running.port):
            raise BrokerError(
                f"the broker of {folder} already runs, on port {running.port}, not {port}: stop it first, or give "
                "another folder"
            )
        return running
    port = port or free_port()
    _refuse_taken(port)
    class_path = kafka_class_path(cache)
    with (folder / _LOCK).open("a+") as lock:
        if not _lock(lock):
            raise BrokerError(f"another process is starting the broker of {folder} right now: wait for it")
        lock.truncate(0)  # what an earlier broker wrote must not pass for this one's
        properties = _configure(folder, port=port, more=secured.properties if secured else "")
        if not (folder / "data" / "meta.properties").is_file():
            _format(folder, class_path, properties, *(secured.format_options if secured else ()))
        with (folder / "broker.log").open("wb") as log:
            process = subprocess.Popen(
                [java(), "-Xms256m", "-Xmx512m", *_logging(folder), "-cp", class_path, "kafka.Kafka", str(properties)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock.fileno(),),  # the broker itself holds the lock from here on
            )
        with contextlib.ExitStack() as undo:
            undo.callback(_end, process)
            lock.write(msgspec.json.encode(_State(process.pid, port)).decode())
            lock.flush()
            _wait_until_it_answers(process, folder, port, secured.security if secured else PLAINTEXT)
            undo.pop_all()
    return Broker(folder=folder, pid=process.pid, port=port, already_ran=False, process=process)


def running_broker(folder: Path) -> Broker | None:
    """The broker that runs from `folder`; None when none does."""
    folder = folder.expanduser().resolve()
    path = folder / _LOCK
    if not path.is_file():
        return None
    with path.open("a+") as lock:
        if _lock(lock):
            return None
        lock.seek(0)
        text = lock.read()
    if not text:
        raise BrokerError(f"another process is starting the broker of {folder} right now: wait for it")
    state = msgspec.json.decode(text, type=_State)
    return Broker(folder=folder, pid=state.pid, port=state.port, already_ran=True, process=None)


def stop_broker(folder: Path) -> bool:
    """Stop the broker that runs from `folder`. True when there was one; it is gone when this returns."""
    broker = running_broker(folder)
    if broker is None:
        return False
    for number, limit_s in ((signal.SIGTERM, _STOP_LIMIT_S), (signal.SIGKILL, _STOP_LIMIT_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(broker.pid, number)
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if running_broker(broker.folder) is None:
                return True
            time.sleep(0.05)
    raise BrokerError(f"the broker's process {broker.pid} does not end: look at {broker.folder / 'broker.log'}")


def _configure(folder: Path, *, port: int, more: str) -> Path:
    text = (_PROPERTIES + more).format(host=HOST, port=port, controller_port=free_port(), data=folder / "data")
    (folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
    path = folder / "server.properties"
    path.write_text(text, encoding="utf-8")
    return path


def _logging(folder: Path) -> tuple[str, ...]:
    return (f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}", "-Xlog:disable", "-Xlog:all=error:stderr")


def _format(folder: Path, class_path: str, properties: Path, *options: str) -> None:
    """Write the storage's identity, which Kafka asks for before its first start."""
    command = [java(), "-Xmx256m", "-XX:TieredStopAtLevel=1", *_logging(folder), "-cp", class_path]
    command += ["kafka.tools.StorageTool", "format", "--cluster-id", _CLUSTER_ID, "--config", str(properties), *options]
    ran = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise BrokerError(f"Kafka cannot use the folder {folder}: choose another\n{_tail(ran.stdout + ran.stderr)}")


def _wait_until_it_answers(process: subprocess.Popen[bytes], folder: Path, port: int, security: Security) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    log = folder / "broker.log"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BrokerError(
                f"the broker ended with exit code {process.returncode} while it started: its log {log} says\n"
                + _tail(log.read_text(encoding="utf-8", errors="replace"))
            )
        if _is_open(port) and _answers(port, security):
            return
        time.sleep(0.05)
    raise BrokerError(
        f"the broker did not answer on {HOST}:{port} within {_START_LIMIT_S:.0f} s: its log {log} says\n"
        + _tail(log.read_text(encoding="utf-8", errors="replace"))
    )


def _answers(port: int, security: Security) -> bool:
    waits = {"bootstrap_timeout_ms": 5_000, "request_timeout_ms": 5_000}
    try:
        with KafkaAdminClient(bootstrap_servers=f"{HOST}:{port}", **waits, **security.client_options()) as admin:
            return bool(admin.describe_cluster()["cluster_id"] == _CLUSTER_ID)
    except (KafkaError, TimeoutError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closing connection is no listener
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(
                f"port {port} of {HOST} cannot be used ({error.strerror}): stop the program that listens there, or "
                "choose another with --port"
            ) from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
