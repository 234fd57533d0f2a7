"""The audit log: JSON lines that are only ever appended. Each has a hash, and names the hash of the line before.

    {"sequence":7,"at":"2026-11-25T14:02:11.5Z","event":"stop","details":{...},"previous":"9f2c...","hash":"41d7..."}

`hash` is the SHA-256 of the line's bytes before `,"hash"`; `previous` is the `hash` of the record before. So a changed
byte breaks its own line, and a line with a new hash breaks the next one. The file alone cannot show that its last lines
are missing, or that all of it was written again. Therefore the newest hash, the head, is stored beside the checkpoint.
When the log no longer contains that head, as it is gone or was emptied, a record `head_missing` is written before the
next one. Whoever can write the log may be able to write that file too, so a head noted elsewhere is better evidence.

A log that `retention` sets aside ends with a record of it. The new log begins with that record, and with the old head.

A crash can leave an incomplete line at the end. It stays as evidence: a record `torn_line` with its digest follows it.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.errors import AuditError
from schemas.files import read_json, replace_file, sync_folder, write_errors

AuditEvent = Literal[
    "start",
    "settings",
    "artifact_in_force",
    "artifact_refused",
    "stop",
    "failure",
    "checkpoint_reset",
    "model_registered",
    "model_promoted",
    "model_rolled_back",
    "model_retired",
    "pointer_written",
    "trial_started",
    "trial_ended",
    "retrain_refused",
    "other_spark",
    "retention_applied",
    "scores_withheld",
    "scores_shown_again",
    "place_decided",
    "torn_line",
    "head_missing",
]
Plain = str | int | float | bool | None | Mapping[str, "Plain"]

BEFORE_THE_FIRST = "0" * 64
HEAD_BEFORE = "head_before"  # of the log that was set aside, in the first records of the next one
_LINE = re.compile(rb'(\{.+),"hash":"([0-9a-f]{64})"\}')


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line. `sequence` counts records from 1."""

    sequence: int
    at: datetime
    event: AuditEvent
    details: dict[str, Any]
    previous: str
    hash: str


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    audit: str  # absolute path of the log
    head: str


def record(
    path: Path,
    event: AuditEvent,
    details: Mapping[str, Plain],
    *,
    at_s: float,
    checkpoint: Path | None = None,
    aside: Path | None = None,
) -> str:
    """Append one record and give its hash, the new head. It is on disk when this returns.

    at_s: epoch seconds. checkpoint: folder that stores the head, if it exists. `details` must not contain secrets.
    aside: where the log goes then, for a new one that begins with the same record; a kill leaves the one or the other.
    Several processes may write; each waits for its turn. Raises AuditError when the log or the head cannot be written.
    """
    checkpoint = checkpoint if checkpoint and checkpoint.is_dir() else None
    remedy = "make room, correct its permissions, or set RISK_AUDIT to another path; nothing runs without a record"
    with write_errors(AuditError, f"the audit log {path}", remedy=remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        file = _open_locked(path)
        try:
            old_head, content = kept_head(checkpoint, path) if checkpoint else None, path.read_bytes()
            lost = "" if old_head is None or _contains(content, old_head) else old_head
            lines, head = _next_lines(content, event, details, at_s, lost)
            _append(file, lines)
            if is_new:
                sync_folder(path.parent)
            if checkpoint:
                _keep_head(checkpoint, path, head)
            if aside:
                first, head = _next_lines(b"", event, {**details, HEAD_BEFORE: head}, at_s, lost or _lost_in(content))
                replace_file(aside, content + lines, mode=0o640)
                replace_file(path, first, mode=0o640)
                sync_folder(path.parent)
                if checkpoint:
                    _keep_head(checkpoint, path, head)
        finally:
            os.close(file)
    return head


def _open_locked(path: Path) -> int:
    """The log, made where there is none, when no other process writes it. Raises OSError."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)  # it was set aside while this process waited


def head_path(checkpoint: Path) -> Path:
    return checkpoint / "audit-head"


def kept_head(checkpoint: Path, audit: Path) -> str | None:
    """The stored head of this log; None when there is none. Raises AuditError."""
    remedy = "remove it, then compare the log with a head that was noted elsewhere (`audit --head`)"
    stored = read_json(head_path(checkpoint), _Head, AuditError, remedy=remedy)
    is_ours = stored and (stored.audit == str(audit.absolute()) or Path(stored.audit).resolve() == audit.resolve())
    return stored.head if stored and is_ours else None


def _keep_head(checkpoint: Path, audit: Path, head: str) -> None:
    path, stored = head_path(checkpoint), _Head(audit=str(audit.absolute()), head=head)
    with write_errors(AuditError, f"{path}, the audit log's newest hash,"):
        replace_file(path, msgspec.json.encode(stored) + b"\n")


def _next_lines(
    content: bytes, event: AuditEvent, details: Mapping[str, Plain], at_s: float, lost: str
) -> tuple[bytes, str]:
    """The lines to append to `content`, and the head after them. lost: a hash that it should contain and does not."""
    sequence, head, torn = _end_of(content)
    lines = b"" if content.endswith(b"\n") or not content else b"\n"
    notes: list[tuple[AuditEvent, Mapping[str, Plain]]] = []
    if torn:
        notes.append(("torn_line", {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}))
    if lost:
        notes.append(("head_missing", {"head": lost}))
    at = datetime.fromtimestamp(at_s, UTC)
    for number, (name, facts) in enumerate((*notes, (event, details)), start=sequence + 1):
        fields = {"sequence": number, "at": at, "event": name, "details": facts, "previous": head}
        body = msgspec.json.encode(fields).removesuffix(b"}")
        head = hashlib.sha256(body).hexdigest()
        lines += body + b',"hash":"' + head.encode() + b'"}\n'
    return lines, head


def _contains(content: bytes, head: str) -> bool:
    """Whether a whole, unchanged record has that hash, or names it as that of the log before."""
    entries = (parse_record(line) for line in content.split(b"\n") if head.encode() in line)
    return any(entry and head in heads_of(entry) for entry in entries)


def _lost_in(content: bytes) -> str:
    """The head that a log notes as missing, which the next log notes again; empty without one."""
    noted = (entry for line in content.split(b"\n") if (entry := parse_record(line)) and entry.event == "head_missing")
    return next((str(entry.details.get("head", "")) for entry in noted), "")


def heads_of(entry: AuditRecord) -> tuple[str, ...]:
    """The hashes that a record shows to be there: its own, and that of a log which was set aside."""
    return entry.hash, str(entry.details.get(HEAD_BEFORE, ""))


def parse_record(line: bytes) -> AuditRecord | None:
    """The record in a line without its newline; None when it is not one whole, unchanged record."""
    parts = _LINE.fullmatch(line)
    if parts is None or hashlib.sha256(parts[1]).hexdigest() != parts[2].decode():
        return None
    try:
        return msgspec.json.decode(line, type=AuditRecord)
    except msgspec.DecodeError:
        return None


def _end_of(content: bytes) -> tuple[int, str, bytes]:
    """(sequence, hash) of the last record, and the bytes of an incomplete line at the end.

    A damaged line that has its newline does not come from a crash: it is skipped here, and `verify` reports it.
    """
    *lines, tail = content.split(b"\n")
    last = parse_record(tail)
    torn = b"" if last else tail
    while last is None and lines:
        last = parse_record(lines.pop())
    return (last.sequence, last.hash, torn) if last else (0, BEFORE_THE_FIRST, torn)


def _append(file: int, lines: bytes) -> None:
    """All of `lines`, or nothing when there is no room. Raises OSError."""
    size, rest = os.fstat(file).st_size, memoryview(lines)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def read_log(path: Path) -> bytes:
    """Raises AuditError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditError(f"the audit log {path} cannot be read ({error.strerror})", "check RISK_AUDIT") from error


def records(content: bytes) -> Iterator[AuditRecord]:
    """The whole, unchanged records of a log, in the order of its lines."""
    return (entry for line in content.split(b"\n") if (entry := parse_record(line)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result. `faults` is empty when nothing was changed; `torn` are lines that a crash cut short."""

    records: list[AuditRecord] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.records[-1].hash if self.records else BEFORE_THE_FIRST


def verify(content: bytes, *, heads: Collection[str] = ()) -> Verdict:
    """Follow the chain. heads: hashes noted earlier; each must still be the hash of a record, or of a log set aside."""
    lines = [(line, parse_record(line)) for line in content.split(b"\n")]
    present = {entry.sequence for _, entry in lines if entry}
    verdict = Verdict()
    faults, damaged = verdict.faults, dict[int, bytes]()  # lines by their numbers, since the last whole record
    for number, (line, entry) in enumerate(lines, 1):
        if entry is None:
            damaged[number] = line
            continue
        if damaged and _notes(entry, damaged[number - 1]):
            del damaged[number - 1]
            verdict.torn.append(f"a crash cut line {number - 1} short; record {entry.sequence} notes it")
        faults += [f"line {edited} was edited: its hash does not match" for edited in damaged]
        last = verdict.records[-1].sequence if verdict.records else 0
        lost = sorted(set(range(last + 1, entry.sequence)) - present)
        if entry.sequence != last + 1 + len(lost):
            faults.append(f"line {number} is misplaced: record {entry.sequence} after record {last}")
        elif len(lost) > len(damaged):
            span = f"record {lost[0]}" if len(lost) == 1 else f"records {lost[0]} to {lost[-1]}"
            faults.append(f"missing before line {number}: {span}")
        elif not lost and entry.previous != verdict.head:
            faults.append(f"the line before line {number} was replaced: record {entry.sequence} names another hash")
        damaged.clear()
        verdict.records.append(entry)
    if damaged and not _has_another_end(lines[-1][0]):  # a crash can have cut only the text after the last newline
        number, tail = damaged.popitem()
        if tail:
            cut = f"a crash cut line {number} short after {len(tail)} bytes; the next record will note it"
            verdict.torn.append(cut)
    faults += [f"line {edited} was edited: its hash does not match" for edited in damaged]
    faults += [
        f"record {entry.sequence} notes that the lines up to hash {entry.details.get('head')} were missing when it "
        "was written"
        for entry in verdict.records
        if entry.event == "head_missing"
    ]
    faults += [
        f"no record has the hash {head}: the last lines are missing, or the whole log was written again"
        for head in heads
        if not any(head in heads_of(entry) for entry in verdict.records)
    ]
    return verdict


def _notes(entry: AuditRecord, damaged: bytes) -> bool:
    """Whether the record notes the damaged line as one that a crash cut short."""
    if entry.event != "torn_line" or _has_another_end(damaged):
        return False
    return bool(entry.details.get("sha256") == hashlib.sha256(damaged).hexdigest())


def _has_another_end(line: bytes) -> bool:
    """A whole record whose newline was changed into another byte: no crash does that."""
    return parse_record(line[:-1]) is not None
