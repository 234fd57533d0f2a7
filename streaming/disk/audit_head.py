"""The audit log's newest hash, kept beside the checkpoint: against it shows that the log's last lines are gone.

Whoever can write the log may be able to write this file too: a head that was noted elsewhere says more.
"""

from pathlib import Path

import msgspec

from schemas.errors import AuditError
from streaming.files import replace_file


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    audit: str  # absolute path of the log
    head: str


def head_path(checkpoint: Path) -> Path:
    return checkpoint / "audit-head"


def keep_head(checkpoint: Path, audit: Path, head: str) -> None:
    """Raises AuditError."""
    path, kept = head_path(checkpoint), _Kept(audit=str(audit.absolute()), head=head)
    try:
        replace_file(path, msgspec.json.encode(kept) + b"\n")
    except OSError as error:
        raise AuditError(
            f"{path}, the audit log's newest hash, cannot be written ({error.strerror}): make room or mend its rights"
        ) from error


def kept_head(checkpoint: Path, audit: Path) -> str | None:
    """The head that was kept of this very log; None when none was. Raises AuditError."""
    path = head_path(checkpoint)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise AuditError(
            f"{path}, the audit log's newest hash, cannot be read ({error}): remove it, then compare the log with a "
            "head that was noted elsewhere (`audit verify --head`)"
        ) from error
    return kept.head if kept.audit == str(audit.absolute()) else None
