"""Beginning anew: what the checkpoint holds is set aside, and a time of the topic is kept to begin at.

The intention is written first, as the file `reset-STAMP`, and its name becomes `begin` in the last step. While there is
a `reset-STAMP`, whatever stands in its place is still to be moved: a crash or a full disk in between loses nothing.
"""

import logging
from pathlib import Path

from schemas.errors import CheckpointError
from streaming.files import replace_file
from streaming.instants import instant_text

log = logging.getLogger(__name__)
_HELD = ("spark", "batches", "outcomes", "roster.json", "guard.json", "begin")


def begin_ms(checkpoint: Path) -> int | None:
    """Kafka time of the first event that counts, epoch milliseconds, where a reset asked for one."""
    path = checkpoint / "begin"
    return int(path.read_text(encoding="utf-8")) if path.exists() else None


def unfinished_reset(checkpoint: Path) -> Path | None:
    """The intention of a reset that was cut short."""
    return min(checkpoint.glob("reset-*"), default=None)


def set_aside(checkpoint: Path, stamp: str, *, from_ms: int) -> Path | None:
    """Move what the checkpoint holds into its subfolder `old-STAMP`, so that the next run begins anew. Needs the lock.

    from_ms: what `begin_ms` then says. Gives the subfolder, or None when there was nothing to move.
    """
    finish_reset(checkpoint)
    intention = checkpoint / f"reset-{stamp}"
    try:
        replace_file(intention, str(from_ms).encode())
    except OSError as error:
        raise CheckpointError(
            f"{intention} cannot be written ({error.strerror}): make room, or mend its rights; nothing was moved"
        ) from error
    return _carry_out(intention)


def finish_reset(checkpoint: Path) -> None:
    """Do and say what is left of a reset that was cut short. Needs the lock."""
    intention = unfinished_reset(checkpoint)
    if intention is not None:
        begins_s = int(intention.read_text(encoding="utf-8")) / 1000
        kept = kept_in(_carry_out(intention))
        log.warning(
            "a reset that was cut short is finished: the topic is read from %s; %s", instant_text(begins_s), kept
        )


def kept_in(old: Path | None) -> str:
    """What `set_aside` gave, in words."""
    return f"what was there lies in {old}" if old else "there was nothing to keep"


def _carry_out(intention: Path) -> Path | None:
    checkpoint = intention.parent
    old = checkpoint / intention.name.replace("reset-", "old-")
    held = [name for name in _HELD if (checkpoint / name).exists()]
    if held == ["begin"] and not old.exists():  # a reset right after another one
        held = []
    try:
        for name in held:
            old.mkdir(exist_ok=True)
            (checkpoint / name).rename(old / name)
        intention.rename(checkpoint / "begin")
    except OSError as error:
        raise CheckpointError(
            f"the reset cannot be finished: {old} cannot be written ({error.strerror}). Make room, or mend its rights; "
            "the next `run` or `checkpoint reset` goes on with it"
        ) from error
    return old if old.exists() else None
