"""The checkpoint's lock: one process writes, others can see whether one does."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import CheckpointError
from schemas.files import write_errors

_TRIES, _PAUSE_S = 6, 0.05


@contextmanager
def only_writer(checkpoint: Path) -> Iterator[None]:
    """Hold the checkpoint's lock, at most until the process ends. Raises CheckpointError when another one holds it."""
    path = checkpoint / "lock"
    with write_errors(CheckpointError, f"RISK_CHECKPOINT={checkpoint}"):
        checkpoint.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _lock(file)
        except BlockingIOError as error:
            holder = os.read(file, 200).decode() or "another process"
            remedy = "stop that job, or set RISK_CHECKPOINT to a folder that no other job uses"
            raise CheckpointError(f"{checkpoint} is in use by {holder}", remedy) from error
        except OSError as error:
            remedy = "set RISK_CHECKPOINT to a folder on a local disk"
            raise CheckpointError(f"{path} cannot be locked ({error.strerror})", remedy) from error
        with suppress(OSError):  # the disk may be full; the lock holds without this text
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(file)


def _lock(file: int) -> None:
    """Raises BlockingIOError when another process keeps the lock. (`is_held` holds it for a moment only.)"""
    for tries_left in reversed(range(_TRIES)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not tries_left:
                raise
        time.sleep(_PAUSE_S)


def is_held(checkpoint: Path) -> bool:
    """Whether a process holds the checkpoint's lock now."""
    try:
        file = os.open(checkpoint / "lock", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
