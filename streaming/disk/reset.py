"""A reset sets aside the content of the checkpoint, and stores the time of the topic where the next run begins.

It first writes its intention, the file `reset-STAMP`, and in its last step renames that file to `begin`. While a
`reset-STAMP` exists, the content is still to be moved. So a crash or a full disk in between loses nothing.
"""

import logging
import os
from pathlib import Path

from schemas.errors import CheckpointError
from schemas.files import replace_file, write_errors
from schemas.instants import instant_text

log = logging.getLogger(__name__)
_CONTENT = ("spark", "batches", "outcomes", "roster.json", "guard.json", "begin")


def begin_ms(checkpoint: Path) -> int | None:
    """Kafka time of the first event that counts, epoch milliseconds; None without a reset."""
    path = checkpoint / "begin"
    return int(path.read_text(encoding="utf-8")) if path.exists() else None


def unfinished_reset(checkpoint: Path) -> Path | None:
    """The intention of a reset that was interrupted."""
    return min(checkpoint.glob("reset-*"), default=None)


def set_aside(checkpoint: Path, stamp: str, *, from_ms: int) -> Path | None:
    """Move the content into the subfolder `old-STAMP`, so that the next run begins anew. The caller holds the lock.

    from_ms: the later value of `begin_ms`. Gives the subfolder, or None when there was nothing to move.
    """
    finish_reset(checkpoint)
    intention = checkpoint / f"reset-{stamp}"
    with write_errors(CheckpointError, intention, remedy="make room, or correct its permissions; nothing was moved"):
        replace_file(intention, str(from_ms).encode())
    return _carry_out(intention)


def finish_reset(checkpoint: Path) -> None:
    """Finish an interrupted reset, and log it. The caller holds the lock."""
    intention = unfinished_reset(checkpoint)
    if intention is not None:
        begins_s = int(intention.read_text(encoding="utf-8")) / 1000
        result = kept_in(_carry_out(intention))
        log.warning("finished an interrupted reset: the topic is read from %s; %s", instant_text(begins_s), result)


def kept_in(old: Path | None) -> str:
    """The result of `set_aside` as text."""
    return f"the former content is in {old}" if old else "there was nothing to keep"


def _carry_out(intention: Path) -> Path | None:
    checkpoint = intention.parent
    old = checkpoint / intention.name.replace("reset-", "old-")
    content = [name for name in _CONTENT if os.path.lexists(checkpoint / name)]
    if content == ["begin"] and not old.exists():  # a reset right after another one
        content = []
    remedy = "make room, or correct its permissions; the next `run` or `checkpoint --reset` finishes the reset"
    with write_errors(CheckpointError, old, remedy=remedy):
        for name in content:
            old.mkdir(exist_ok=True)
            (checkpoint / name).rename(old / name)
        intention.rename(checkpoint / "begin")
    return old if old.exists() else None
