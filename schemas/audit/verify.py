"""Whether somebody changed the audit log: follows the chain of its hashes."""

import hashlib
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from schemas.audit.log import BEFORE_THE_FIRST, AuditRecord, heads_of, parse_record
from schemas.errors import AuditError


def read_log(path: Path) -> bytes:
    """Raises AuditError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditError(f"the audit log {path} cannot be read ({error.strerror})", "check RISK_AUDIT") from error


def records(content: bytes) -> Iterator[AuditRecord]:
    """The whole, unchanged records of a log, in the order of its lines."""
    return (record for line in content.split(b"\n") if (record := parse_record(line)))


@dataclass(slots=True)
class Verdict:
    """The result. `faults` is empty when nothing was changed; `torn` are lines that a crash cut short."""

    present: Set[int]  # sequence numbers of all whole records
    records: list[AuditRecord] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    _damaged: list[tuple[int, bytes]] = field(default_factory=list)  # (number, line) since the last whole record

    @property
    def head(self) -> str:
        return self.records[-1].hash if self.records else BEFORE_THE_FIRST

    def add(self, number: int, line: bytes, record: AuditRecord | None) -> None:
        """Follow the chain by one line; `found` is its record."""
        if record is None:
            self._damaged.append((number, line))
            return
        if self._damaged and _notes(record, self._damaged[-1][1]):
            self.torn.append(f"a crash cut line {self._damaged.pop()[0]} short; record {record.sequence} notes it")
        last = self.records[-1].sequence if self.records else 0
        lost = sorted(set(range(last + 1, record.sequence)) - self.present)
        self._report_damaged()
        if record.sequence != last + 1 + len(lost):
            self.faults.append(f"line {number} is misplaced: record {record.sequence} after record {last}")
        elif len(lost) > len(self._damaged):
            span = f"record {lost[0]}" if len(lost) == 1 else f"records {lost[0]} to {lost[-1]}"
            self.faults.append(f"missing before line {number}: {span}")
        elif not lost and record.previous != self.head:
            self.faults.append(
                f"the line before line {number} was replaced: record {record.sequence} names another hash"
            )
        self._damaged.clear()
        self.records.append(record)

    def end(self, number: int) -> None:
        """Judge the lines after the last whole record. A crash can have cut only the text after the last newline."""
        if self._damaged and not _has_another_end(self._damaged[-1][1]):
            _, tail = self._damaged.pop()
            if tail:
                self.torn.append(
                    f"a crash cut line {number} short after {len(tail)} bytes; the next record will note it"
                )
        self._report_damaged()

    def _report_damaged(self) -> None:
        self.faults += [f"line {number} was edited: its hash does not match" for number, _ in self._damaged]


def verify(content: bytes, *, heads: Collection[str] = ()) -> Verdict:
    """Follow the chain. heads: hashes noted earlier; each must still be the hash of a record, or of a log set aside."""
    lines = [(line, parse_record(line)) for line in content.split(b"\n")]
    verdict = Verdict({record.sequence for _, record in lines if record})
    for number, (line, record) in enumerate(lines, 1):
        verdict.add(number, line, record)
    verdict.end(len(lines))
    verdict.faults += [
        f"record {record.sequence} notes that the lines up to hash {record.details.get('head')} were missing when it "
        "was written"
        for record in verdict.records
        if record.event == "head_missing"
    ]
    verdict.faults += [
        f"no record has the hash {head}: the last lines are missing, or the whole log was written again"
        for head in heads
        if not any(head in heads_of(record) for record in verdict.records)
    ]
    return verdict


def _notes(record: AuditRecord, damaged: bytes) -> bool:
    """Whether the record notes the damaged line as one that a crash cut short."""
    if record.event != "torn_line" or _has_another_end(damaged):
        return False
    return bool(record.details.get("sha256") == hashlib.sha256(damaged).hexdigest())


def _has_another_end(line: bytes) -> bool:
    """A whole record whose newline was changed into another byte: no crash does that."""
    return parse_record(line[:-1]) is not None
