"""The audit log's newest hash, stored beside the checkpoint: with it, `audit verify` sees that last lines are missing.

Whoever can write the log may be able to write this file too, so a head noted elsewhere is better evidence.
"""

from pathlib import Path

import msgspec

from schemas.errors import AuditError
from streaming.files import read_json, replace_file, write_errors


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    audit: str  # absolute path of the log
    head: str


def head_path(checkpoint: Path) -> Path:
    return checkpoint / "audit-head"


def keep_head(checkpoint: Path, audit: Path, head: str) -> None:
    """Raises AuditError."""
    path, kept = head_path(checkpoint), _Kept(audit=str(audit.absolute()), head=head)
    with write_errors(AuditError, f"{path}, the audit log's newest hash,"):
        replace_file(path, msgspec.json.encode(kept) + b"\n")


def kept_head(checkpoint: Path, audit: Path) -> str | None:
    """The stored head of this log; None when there is none. Raises AuditError."""
    remedy = "remove it, then compare the log with a head that was noted elsewhere (`audit verify --head`)"
    kept = read_json(head_path(checkpoint), _Kept, AuditError, remedy=remedy)
    return kept.head if kept and kept.audit == str(audit.absolute()) else None
