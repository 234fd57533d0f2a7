"""A Spark cluster on this machine: a master and workers, each a process, and none sees the folder of the job."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from streaming.rehearse.broker import free_port

HIDE = 'mount --make-rprivate / && mount -t tmpfs none "$0" && exec "$@"'
START_S = 90.0


@dataclass
class Cluster:
    """hidden: the folder that no worker sees."""

    folder: Path
    hidden: Path
    environment: dict
    port: int
    processes: list = field(default_factory=list)

    @property
    def url(self):
        return f"spark://127.0.0.1:{self.port}"

    def start_master(self):
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--webui-port", "0"]
        log = self._start("master", self._spark_class("master.Master", *words))
        self._wait(log, "New state: ALIVE")

    def add_worker(self):
        """A worker with one core; gives its process."""
        home = self.folder / f"worker-{len(self.processes)}"
        words = ["--work-dir", home, "--cores", "1", "--memory", "1g", "--host", "127.0.0.1", "--webui-port", "0"]
        worker = self._spark_class("worker.Worker", *words, self.url)
        log = self._start(home.name, ["unshare", "--mount", "sh", "-c", HIDE, self.hidden, *worker])
        self._wait(log, "Successfully registered with master")
        process = psutil.Process(self.processes[-1].pid)
        assert list(Path(f"/proc/{process.pid}/root", *self.hidden.parts[1:]).iterdir()) == []
        return process

    def _spark_class(self, name, *words):
        home = Path(self.environment["SPARK_HOME"])
        return [home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *words]

    def _start(self, name, command):
        log = self.folder / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                list(map(str, command)),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return log

    def _wait(self, log, text):
        deadline = time.monotonic() + START_S
        while text not in log.read_text(errors="replace"):
            assert self.processes[-1].poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"{text!r} did not appear:\n{log.read_text(errors='replace')[-3000:]}"
            time.sleep(0.2)


def family(process):
    """A process and all that it started."""
    return [process, *process.children(recursive=True)]


@contextmanager
def frozen(process):
    """A process and all that it started stand still meanwhile."""
    halted = family(process)
    for each in halted:
        each.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for each in halted:
            each.send_signal(signal.SIGCONT)


@contextmanager
def spark_cluster(folder, hidden):
    """A master without workers. Skips where a process cannot have mounts of its own."""
    if shutil.which("java") is None or os.geteuid() != 0:
        pytest.skip("workers that cannot see the job's folder need Java 17 and root")
    environment = {**cluster_environment(folder), "SPARK_NO_DAEMONIZE": "1", "SPARK_LOCAL_IP": "127.0.0.1"}
    cluster = Cluster(folder=folder, hidden=hidden, environment=environment, port=free_port())
    try:
        cluster.start_master()
        yield cluster
    finally:
        for process in cluster.processes:
            with suppress(psutil.NoSuchProcess):
                for each in family(psutil.Process(process.pid)):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            process.wait()


ROOT = Path(__file__).parents[2]


def cluster_environment(folder: Path) -> dict[str, str]:
    """This environment, with our packages on the path and a home for Spark in `folder`: executors write into it."""
    home = folder / "home"
    home.mkdir()
    for path in Path(find_spec("pyspark").origin).parent.iterdir():
        (home / path.name).symlink_to(path)
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": python_path, "SPARK_HOME": str(home)}
