"""The audit log: JSON lines that are only ever appended, each sealed and chained to the one before.

    {"sequence":7,"at":"2026-11-25T14:02:11.5Z","event":"stop","details":{...},"previous":"9f2c...","hash":"41d7..."}

`hash` is the SHA-256 of the line's bytes before `,"hash"`; `previous` is the `hash` of the record before, so that one
changed byte breaks its own line, and a line that is sealed anew breaks the next one. What cannot be seen in the file
alone is that its last lines are gone, or that all of it was written anew: the newest hash, the head, is kept beside the
checkpoint. A record `head_missing` comes before the next one when the log no longer holds that head.

A crash can leave a torn line at the end. It stays as evidence: a record `torn_line` with its digest comes after it.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.errors import AuditError
from streaming.disk.audit_head import keep_head, kept_head

AuditEvent = Literal[
    "start",
    "settings",
    "artifact_in_force",
    "artifact_refused",
    "stop",
    "failure",
    "checkpoint_reset",
    "rebuild",
    "other_spark",
    "torn_line",
    "head_missing",
]
Plain = str | int | float | bool | None | Mapping[str, "Plain"]

BEFORE_THE_FIRST = "0" * 64
_SEALED = re.compile(rb'(\{.+),"hash":"([0-9a-f]{64})"\}')


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line. `sequence` counts records from 1."""

    sequence: int
    at: datetime
    event: AuditEvent
    details: dict[str, Any]
    previous: str
    hash: str


def record(
    path: Path, event: AuditEvent, details: Mapping[str, Plain], *, at_s: float, checkpoint: Path | None = None
) -> str:
    """Append one record and give its hash, the new head. It is on disk when this returns.

    at_s: epoch seconds. checkpoint: where the head is kept, if that folder is there. Secrets do not belong into
    `details`. Any number of processes may write; each waits for its turn. Raises AuditError when the log or the head
    cannot be written.
    """
    if checkpoint is not None and not checkpoint.is_dir():
        checkpoint = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            kept = kept_head(checkpoint, path) if checkpoint else None
            lines, head = _next_lines(path.read_bytes(), event, details, at_s, kept)
            _append(file, lines)
            if is_new:
                _keep_name(path)
            if checkpoint:
                keep_head(checkpoint, path, head)
        finally:
            os.close(file)
    except OSError as error:
        raise AuditError(
            f"the audit log {path} cannot be written ({error.strerror}): make room or mend its rights, or name another "
            "place with RISK_AUDIT; nothing runs unrecorded"
        ) from error
    return head


def _next_lines(
    content: bytes, event: AuditEvent, details: Mapping[str, Plain], at_s: float, kept: str | None
) -> tuple[bytes, str]:
    """What to append to `content`, and the head after it. kept: the head that `content` should hold."""
    sequence, head, torn = _end_of(content)
    lines = b"" if content.endswith(b"\n") or not content else b"\n"
    notes: list[tuple[AuditEvent, Mapping[str, Plain]]] = []
    if torn:
        notes.append(("torn_line", {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}))
    if kept and content and not holds(content, kept):
        notes.append(("head_missing", {"head": kept}))
    for what, said in (*notes, (event, details)):
        line, head = sealed(sequence + 1, at_s, what, said, head)
        sequence, lines = sequence + 1, lines + line
    return lines, head


def holds(content: bytes, head: str) -> bool:
    """Whether a whole, untouched record has that hash."""
    seal = b',"hash":"' + head.encode() + b'"}'
    return any(line.endswith(seal) and opened(line) for line in content.split(b"\n"))


def sealed(
    sequence: int, at_s: float, event: AuditEvent, details: Mapping[str, Plain], previous: str
) -> tuple[bytes, str]:
    """A record as its line, newline included, and its hash."""
    fields = {
        "sequence": sequence,
        "at": datetime.fromtimestamp(at_s, UTC),
        "event": event,
        "details": details,
        "previous": previous,
    }
    body = msgspec.json.encode(fields).removesuffix(b"}")
    seal = hashlib.sha256(body).hexdigest()
    return body + b',"hash":"' + seal.encode() + b'"}\n', seal


def opened(line: bytes) -> Record | None:
    """The record in a line without its newline; None when it is not one whole, untouched record."""
    seal = _SEALED.fullmatch(line)
    if seal is None or hashlib.sha256(seal[1]).hexdigest() != seal[2].decode():
        return None
    try:
        return msgspec.json.decode(line, type=Record)
    except msgspec.DecodeError:
        return None


def _end_of(content: bytes) -> tuple[int, str, bytes]:
    """(sequence, hash) of the last record, and the torn bytes at the end.

    A damaged line that has its newline is no crash: it is passed over and not noted, and `verify` finds it.
    """
    *lines, tail = content.split(b"\n")
    last = opened(tail)
    torn = b"" if last else tail
    while last is None and lines:
        last = opened(lines.pop())
    return (last.sequence, last.hash, torn) if last else (0, BEFORE_THE_FIRST, torn)


def _append(file: int, lines: bytes) -> None:
    """All of `lines` or, when there is no room for them, nothing. Raises OSError."""
    size, rest = os.fstat(file).st_size, memoryview(lines)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _keep_name(path: Path) -> None:
    """A new file's name must survive a power cut as well."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
