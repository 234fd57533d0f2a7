"""`risk WORDS` without its seconds of imports: one process imports once, and forks for each command.

What it gives is a process as any other: with its own arguments, environment, folder, open files, group and signals. It
is a child of the server, not of the test, and the system shows it with the server's command line and environment.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Not pyarrow, pandas and deltalake: they start threads, and a fork takes none of them along.
PRELOADED = (
    "incident_risk",
    "lifecycle.watch",
    "models.posts_plan",
    "models.commands",
    "service.serve_commands",
    "streaming.cli.check",
    "streaming.cli.doctor",
    "streaming.cli.job_commands",
    "streaming.cli.accountability",
    "kafka",
    "scipy.stats",
    "torch",
    "influxdb_client",
    "fastapi",
    "pyspark",
    "py4j.java_gateway",
)


class ForkedProcess:
    """As much of subprocess.Popen as the tests use."""

    def __init__(self, connection: socket.socket):
        self._connection, self._received = connection, b""
        self.pid = self._number(None)
        self.returncode: int | None = None

    def poll(self):
        return self._wait(0.0)

    def wait(self, timeout=None):
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout):
        if self.returncode is None:
            self.returncode = self._number(timeout)
            if self.returncode is not None:
                self._connection.close()
        return self.returncode

    def _number(self, timeout):
        """The next line of the server: the process's id, then its exit code. None when it has not come in time."""
        self._connection.settimeout(0.001 if timeout == 0 else timeout)
        while b"\n" not in self._received:
            try:
                received = self._connection.recv(64)
            except TimeoutError:
                return None
            assert received, "the fork server has ended"
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return int(line)


class ForkServer:
    """Starts at its first command."""

    def __init__(self, folder: Path):
        self.address = str(folder / "forks")
        self.process: subprocess.Popen | None = None

    def popen(self, module, *words, out, env=None, cwd=ROOT, process_group=None) -> ForkedProcess:
        """`python -m MODULE WORDS` without input. out: the open files of its standard output and standard error."""
        self._start()
        order = {"module": module, "words": list(map(str, words)), "cwd": str(cwd), "group": process_group}
        order["env"] = dict(os.environ if env is None else env)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        with open(os.devnull, "rb") as nothing:
            files = [file.fileno() for file in (nothing, *out)]
            content = json.dumps(order).encode()
            socket.send_fds(connection, [len(content).to_bytes(4, "big")], files)
            connection.sendall(content)
        return ForkedProcess(connection)

    def run(self, module, *words, timeout=300, **options) -> subprocess.CompletedProcess:
        """The command to its end, with what it wrote, as text."""
        with open(f"{self.address}.out", "w+b") as out, open(f"{self.address}.err", "w+b") as err:
            process = self.popen(module, *words, out=(out, err), **options)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            texts = [Path(file.name).read_text(encoding="utf-8") for file in (out, err)]
        return subprocess.CompletedProcess([module, *words], code, *texts)

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def _start(self) -> None:
        if self.process is None:
            command = [sys.executable, "-m", "tests.harness.fork_server", self.address]
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # else it starts threads while it is imported
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
            while not os.path.exists(self.address):
                assert self.process.poll() is None, "the fork server ended while it started"
                time.sleep(0.02)


def serve(address: str) -> None:
    for module in PRELOADED:
        __import__(module)
    del sys.modules["incident_risk"]  # it is run anew as __main__
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ended, write = socket.socketpair()  # can be read when a child ends
    for end in (ended, write):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write.detach())
    children: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        os.rename(f"{address}.new", address)  # whoever sees it can connect
        while True:
            ready, _, _ = select.select([listener, ended], [], [])
            if ended in ready:
                ended.recv(4096)
            if listener in ready:
                connection, _ = listener.accept()
                _fork(connection, children, listener)
            for pid in list(children):
                has_ended, status = os.waitpid(pid, os.WNOHANG)
                if has_ended:
                    connection = children.pop(pid)
                    with suppress(OSError):  # the test no longer asks
                        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                    connection.close()


def _fork(connection, children, listener) -> None:
    connection.settimeout(None)
    prefix, files, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(prefix, "big"):
        content += connection.recv(1 << 16)
    order = json.loads(content)
    assert len(os.listdir("/proc/self/task")) == 1, "something of PRELOADED has started a thread"
    pid = os.fork()
    if pid == 0:
        for other in (listener, connection, *children.values()):
            other.close()
        _become(order, files)
    for file in files:
        os.close(file)
    children[pid] = connection
    connection.sendall(f"{pid}\n".encode())


def _become(order, files) -> None:
    """The process that was asked for; does not return."""
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.closerange(3, max(256, *files) + 1)
    if order["group"] is not None:
        os.setpgid(0, order["group"])
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    time.tzset()
    sys.path[0] = order["cwd"]
    sys.argv = [order["module"], *order["words"]]
    os._exit(_exit_code(order["module"]))


def _exit_code(module: str) -> int:
    import atexit
    import runpy
    import threading
    import traceback

    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # threads and handlers, as the interpreter at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return (code or 0) & 0xFF


if __name__ == "__main__":
    serve(sys.argv[1])
