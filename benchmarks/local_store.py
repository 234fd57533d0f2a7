"""A real store as a process on this machine: for tests, the benchmark and a first look without Docker."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import urllib3

from schemas.errors import SinkUnavailable
from streaming.rehearse.broker import HOST, free_port

StoreName = Literal["influxdb", "victoria-metrics"]

DATABASE = "risk"  # made in InfluxDB 1; VictoriaMetrics has none
BINARIES: dict[StoreName, str] = {"influxdb": "influxd", "victoria-metrics": "victoria-metrics"}  # by apt package

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05
_LOG_TAIL_CHARACTERS = 600


@contextmanager
def local_store(name: StoreName, folder: Path) -> Iterator[str]:
    """Run store `name` with its data and log in `folder`, on a free port; gives its URL once it answers.

    `victoria-metrics` takes `/api/v2/write`; `influxdb` is Debian's 1.6 with `/write` and InfluxQL on `/query`.
    The process is stopped at the end. Raises SinkUnavailable when the program is missing or does not start.
    """
    program = shutil.which(BINARIES[name])
    if program is None:
        raise SinkUnavailable(f"{BINARIES[name]} is not installed: run `apt-get install {name}` (Debian, Ubuntu)")
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://{HOST}:{free_port()}"
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_arguments(name, folder.resolve(), url.removeprefix("http://"))],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us only, and we stop the store after the last write
        )
        try:
            _wait_until_it_answers(name, process, url, folder / "store.log")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _arguments(name: StoreName, folder: Path, address: str) -> list[str]:
    if name == "victoria-metrics":
        return [f"-httpListenAddr={address}", f"-storageDataPath={folder / 'data'}", "-retentionPeriod=100y"]
    config = folder / "influxdb.conf"
    config.write_text(
        f"""reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[monitor]
store-enabled = false
[http]
bind-address = "{address}"
log-enabled = false
""",
        encoding="utf-8",
    )
    return ["run", "-config", str(config)]


def _wait_until_it_answers(name: StoreName, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ready = ("POST", f"{url}/query?q=CREATE+DATABASE+{DATABASE}") if name == "influxdb" else ("GET", f"{url}/health")
    give_up_at_s = time.monotonic() + _START_TIMEOUT_S
    with urllib3.PoolManager(retries=False, timeout=2.0) as http:
        while time.monotonic() < give_up_at_s and process.poll() is None:
            try:
                if http.request(*ready).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass  # not listening yet
            time.sleep(_POLL_S)
    tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARACTERS:]
    state = "does not answer" if process.poll() is None else f"ended with code {process.returncode}"
    raise SinkUnavailable(f"{name} {state} at {url}; see {log}, which ends with: {tail}")
