"""The live map of a rehearsal: the service, in a process of its own, shows the frames that the job leaves."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import PipelineError
from streaming.rehearse.broker import HOST, free_port

_LONGEST_START_S = 60.0
SERVICE = ("-m", "service", "serve")


@contextmanager
def map_service(frames: Path) -> Iterator[str]:
    """Gives the map's address while the service runs. Its log lies beside `frames`.

    Raises PipelineError when it does not start.
    """
    port, log = free_port(), frames.with_name("service.log")
    command = [sys.executable, *SERVICE, "--frames", str(frames), "--listen", f"{HOST}:{port}"]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            _wait(process, port, log)
            yield f"http://{HOST}:{port}/"
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _LONGEST_START_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PipelineError("the service of the map did not start", f"read {log}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
