"""A real Kafka broker on this machine, without Docker: for the demo, the tests and a first look.

One node, KRaft, loopback only, everything under one folder. The running broker holds a lock on `broker.lock`. The
system releases the lock when the process ends, for whatever reason, so nothing here relies on a process id alone.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TextIO

from schemas.errors import BrokerError
from schemas.files import write_errors
from streaming.job.jars import java, kafka_class_path, last_lines
from streaming.topics.admin import cluster_id
from streaming.topics.client import KafkaConnection

HOST = "127.0.0.1"
TOPIC_PARTITIONS = 4  # room for four cores to read; a topic can only get more of them
_CLUSTER_ID = "aW5jaWRlbnQtcmlzay1zYw"  # any 16 bytes in base64url
_START_LIMIT_S = 90.0
_STOP_LIMIT_S = 20.0
_LOG = "broker.log"
_LOCK = "broker.lock"  # content: `PID PORT` of the broker that holds it
# The broker notes its own pid: so it is noted also when the process that starts it is killed meanwhile.
_NOTE_PID = f'echo "$$ $0" > {_LOCK} && exec "$@"'
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
    """A running broker. As a context manager it stops at the end, unless another process had started it."""

    folder: Path
    pid: int
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)  # None: another process started it

    @property
    def already_ran(self) -> bool:
        return self.process is None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    def fault(self) -> BrokerError | None:
        """That the broker has ended, and what its log says; None while it runs."""
        if running_broker(self.folder) is not None:
            return None
        return BrokerError(f"the local Kafka broker of {self.folder} has ended", end_of_log(self.folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.already_ran:
            self.stop()

    def stop(self) -> None:
        """Stop the broker and wait until its process is gone. Does nothing when it is gone already."""
        stop_broker(self.folder)
        if self.process is not None:
            self.process.wait()


def start_broker(folder: Path, *, cache: Path, port: int = 9092, secured: Secured = _OPEN_TO_ALL) -> Broker:
    """Start the broker of `folder`, or find it running, and wait until it answers. port 0: any free port.

    The broker runs in its own session: Ctrl-C in this terminal does not reach it, and it continues after this process
    unless it is stopped. Raises BrokerError when it cannot be started. Then no process is left, nor after an interrupt.
    """
    folder = folder.expanduser().resolve()
    with write_errors(BrokerError, f"the broker's folder {folder}", remedy="choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    running = running_broker(folder)
    if running is not None:
        if port not in (0, running.port):
            raise BrokerError(
                f"the broker of {folder} already runs, on port {running.port}, not {port}",
                "stop it first, or choose another folder",
            )
        return running
    port = port or free_port()
    _refuse_taken(port)
    class_path = kafka_class_path(cache)
    with (folder / _LOCK).open("a+") as lock:
        if not _lock(lock):
            raise _is_starting(folder)
        lock.truncate(0)  # or the entry of an earlier broker would be taken for this one's
        process = None
        try:
            process = _launch(folder, class_path, port, secured, lock)
            _wait_until_it_answers(process, folder, replace(secured.connection, bootstrap=f"{HOST}:{port}"))
        except BaseException:
            lock.close()  # now only the broker holds the lock, if it runs
            _end(folder, process)
            raise
    return Broker(folder=folder, pid=process.pid, port=port, process=process)


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
        raise _is_starting(folder)
    try:
        pid, port = map(int, text.split())
    except ValueError as error:
        fault = f"{path} was written by another version ({text.strip()})"
        raise BrokerError(fault, "stop the process that it names, then start again") from error
    return Broker(folder=folder, pid=pid, port=port)


def stop_broker(folder: Path) -> bool:
    """Stop the broker that runs from `folder`. True when there was one; it is gone when this returns."""
    broker = running_broker(folder)
    if broker is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(broker.pid, number)
        deadline = time.monotonic() + _STOP_LIMIT_S
        while time.monotonic() < deadline:
            if running_broker(broker.folder) is None:
                return True
            time.sleep(0.05)
    raise BrokerError(f"the broker's process {broker.pid} does not end", end_of_log(broker.folder))


def end_of_log(folder: Path) -> str:
    """Where the broker's own log is, and its last line."""
    log = folder.expanduser().resolve() / _LOG
    if not log.is_file():
        return f"it has no log {log}: it was never started here"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"see its log {log}, {f'which ends with: {lines[-1]}' if lines else 'which is empty'}"


def _end(folder: Path, process: subprocess.Popen[bytes] | None) -> None:
    """End what a failed start left. Without `process` an interrupt may have hidden it: it notes its pid soon."""
    if process is not None:
        process.kill()
        process.wait()
    for _ in range(20):
        with contextlib.suppress(BrokerError):
            stop_broker(folder)
            return
        time.sleep(0.05)


def _is_starting(folder: Path) -> BrokerError:
    return BrokerError(f"another process is starting the broker of {folder} right now", "wait for it")


def _launch(folder: Path, class_path: str, port: int, secured: Secured, lock: TextIO) -> subprocess.Popen[bytes]:
    """Write the broker's files and start its process, which holds the lock from then on."""
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
            output = last_lines(ran.stdout + ran.stderr)
            raise BrokerError(f"Kafka cannot use the folder {folder}", f"choose another folder\n{output}")
    noting_pid = ["/bin/sh", "-c", _NOTE_PID, str(port)]
    with (folder / _LOG).open("wb") as log:
        return subprocess.Popen(
            [*noting_pid, *java_command, "-Xms256m", "-Xmx512m", "kafka.Kafka", str(properties)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )


def _wait_until_it_answers(process: subprocess.Popen[bytes], folder: Path, kafka: KafkaConnection) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(BrokerError):
            if cluster_id(kafka) == _CLUSTER_ID:  # another's broker may have taken the port meanwhile
                return
        time.sleep(0.05)
    log = folder / _LOG
    fault = (
        f"the broker did not answer on {kafka.bootstrap} within {_START_LIMIT_S:.0f} s"
        if process.returncode is None
        else f"the broker ended with exit code {process.returncode} while it started"
    )
    raise BrokerError(fault, f"see its log {log}\n{last_lines(log.read_text(encoding='utf-8', errors='replace'))}")


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that is closing is no listener
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(
                f"port {port} of {HOST} cannot be used ({error.strerror})",
                "stop the program that listens there, or choose another port with --port",
            ) from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
