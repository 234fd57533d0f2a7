"""Whether somebody changed the audit log: follows the chain of its hashes."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from schemas.errors import AuditError
from streaming.disk.audit import BEFORE_THE_FIRST, AuditRecord, parse_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result. `faults` is empty when nothing was changed; `torn` are lines that a crash cut short."""

    records: int
    first_at: datetime | None
    last_at: datetime | None
    head: str
    faults: tuple[str, ...]
    torn: tuple[str, ...]


def read_log(path: Path) -> bytes:
    """Raises AuditError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditError(
            f"the audit log {path} cannot be read ({error.strerror})", remedy="check RISK_AUDIT"
        ) from error


def records(content: bytes) -> Iterator[AuditRecord]:
    """The whole, unchanged records of a log, in the order of its lines."""
    return (found for line in content.split(b"\n") if (found := parse_record(line)))


def verify(content: bytes, *, heads: Collection[str] = ()) -> Verdict:
    """Follow the chain. heads: hashes noted earlier; each must still be the hash of a record."""
    lines = [(number, line, parse_record(line)) for number, line in enumerate(content.split(b"\n"), 1)]
    whole = [found for _, _, found in lines if found]
    chain = _Chain(present={found.sequence for found in whole})
    for number, line, found in lines:
        if found is None:
            chain.damaged.append((number, line))
        else:
            chain.add(number, found)
    chain.end(last_number=len(lines))
    chain.faults += [
        f"record {found.sequence} notes that the lines up to hash {found.details.get('head')} were missing when it was "
        "written"
        for found in whole
        if found.event == "head_missing"
    ]
    chain.faults += [
        f"no record has the hash {head}: the last lines are missing, or the whole log was written again"
        for head in heads
        if head not in {found.hash for found in whole}
    ]
    return Verdict(
        records=len(whole),
        first_at=whole[0].at if whole else None,
        last_at=whole[-1].at if whole else None,
        head=chain.last_hash,
        faults=tuple(chain.faults),
        torn=tuple(chain.torn),
    )


@dataclass(slots=True, kw_only=True)
class _Chain:
    """The state while the lines are followed, and what was found."""

    present: Collection[int]  # sequence numbers of all whole records
    last_sequence: int = 0
    last_hash: str = BEFORE_THE_FIRST
    damaged: list[tuple[int, bytes]] = field(default_factory=list)  # (number, line) since the last whole record
    faults: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    def add(self, number: int, found: AuditRecord) -> None:
        if self.damaged and _notes(found, self.damaged[-1][1]):
            self.torn.append(f"a crash cut line {self.damaged.pop()[0]} short; record {found.sequence} notes it")
        lost = sorted(set(range(self.last_sequence + 1, found.sequence)) - set(self.present))
        self.faults += [_edited(bad) for bad, _ in self.damaged]
        if found.sequence != self.last_sequence + 1 + len(lost):
            self.faults.append(f"line {number} is misplaced: record {found.sequence} after record {self.last_sequence}")
        elif len(lost) > len(self.damaged):
            span = f"record {lost[0]}" if len(lost) == 1 else f"records {lost[0]} to {lost[-1]}"
            self.faults.append(f"missing before line {number}: {span}")
        elif not lost and found.previous != self.last_hash:
            self.faults.append(
                f"the line before line {number} was replaced: record {found.sequence} names another hash"
            )
        self.damaged.clear()
        self.last_sequence, self.last_hash = found.sequence, found.hash

    def end(self, *, last_number: int) -> None:
        """Judge the lines after the last whole record. A crash can have cut only the text after the last newline."""
        if self.damaged and self.damaged[-1][0] == last_number:
            number, tail = self.damaged.pop()
            if _has_another_end(tail):
                self.damaged.append((number, tail))
            elif tail:
                self.torn.append(
                    f"a crash cut line {number} short after {len(tail)} bytes; the next record will note it"
                )
        self.faults += [_edited(bad) for bad, _ in self.damaged]


def _notes(found: AuditRecord, damaged: bytes) -> bool:
    """Whether the record notes the damaged line as one that a crash cut short."""
    if found.event != "torn_line" or _has_another_end(damaged):
        return False
    return bool(found.details.get("sha256") == hashlib.sha256(damaged).hexdigest())


def _has_another_end(line: bytes) -> bool:
    """A whole record whose newline was changed into another byte: no crash does that."""
    return parse_record(line[:-1]) is not None


def _edited(number: int) -> str:
    return f"line {number} was edited: its hash does not match"
