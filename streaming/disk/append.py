"""Files that are only appended to. Opening one locks it and cuts off an incomplete last line."""

import fcntl
import logging
import os
from io import FileIO
from pathlib import Path

from schemas.errors import SinkRefused
from streaming.files import sync_folder

_BLOCK_BYTES = 65_536

log = logging.getLogger(__name__)


def open_for_append(path: Path) -> FileIO:
    """Lock `path` and open it for appending after its last whole line. Raises OSError, and SinkRefused if locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileIO(path, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(file.fileno()).st_size
        whole = _whole_bytes(file, size)
        if whole < size:
            log.warning("cut %d bytes of an incomplete line off %s", size - whole, path)
            file.truncate(whole)
        sync_folder(path.parent)
    except BlockingIOError as error:
        file.close()
        raise SinkRefused(f"another process is writing {path}", remedy="stop it, or choose another path") from error
    except OSError:
        file.close()
        raise
    return file


def _whole_bytes(file: FileIO, size: int) -> int:
    """Bytes up to and with the last newline, 0 without one."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
