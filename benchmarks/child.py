"""Measuring in fresh processes: start one with its orders in a file, end it whatever happens, read what it wrote."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
_END_S = 30.0


class ChildError(Exception):
    """A measuring process failed or took too long."""


@contextmanager
def child(
    module: str, orders: Mapping[str, Any], folder: Path, *, python: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module orders.json`, log in `folder`/log; the whole process group is gone on the way out."""
    folder.mkdir(parents=True)
    (folder / "orders.json").write_bytes(msgspec.json.encode(orders))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", module, str(folder / "orders.json")],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end_group(process)


def wait_for(process: subprocess.Popen[bytes], folder: Path, *, done: Callable[[], bool], limit_s: float) -> None:
    """Return when `done()`. Raises ChildError when the process fails before, or the limit has passed."""
    deadline_s = time.monotonic() + limit_s
    while not done():
        code = process.poll()
        if code is not None and not done():
            raise ChildError(f"{folder.name} ended with code {code}: {_tail(folder)}")
        if time.monotonic() > deadline_s:
            raise ChildError(f"{folder.name} was not done after {limit_s:.0f} s: {_tail(folder)}")
        time.sleep(0.2)


def run_child(
    module: str,
    orders: Mapping[str, Any],
    folder: Path,
    *,
    python: str,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """What the process wrote as JSON to the path `orders["result"]`, which is added here. Raises ChildError."""
    result = folder / "result.json"
    orders = {**orders, "result": str(result)}
    with child(module, orders, folder, python=python, environment=environment) as process:
        wait_for(process, folder, done=result.is_file, limit_s=limit_s)
        return msgspec.json.decode(result.read_bytes())


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _tail(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8", errors="replace").strip()[-800:] or "its log is empty"
