"""Whether the audit log is what was written: the walk along its chain."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas.errors import AuditError
from streaming.disk.audit import BEFORE_THE_FIRST, Record, opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a walk found. `faults` is empty when nothing was changed; `torn` are lines that a crash cut short."""

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
        raise AuditError(f"the audit log {path} cannot be read ({error.strerror}): is RISK_AUDIT right?") from error


def records(content: bytes) -> Iterator[Record]:
    """The whole, untouched records of a log, in the order of its lines."""
    return (found for line in content.split(b"\n") if (found := opened(line)))


def verify(content: bytes, *, heads: Collection[str] = ()) -> Verdict:
    """Walk the chain. heads: seen earlier, each must still be the hash of a record."""
    lines = content.split(b"\n")
    parsed = [(number, line, opened(line)) for number, line in enumerate(lines, 1)]
    whole = [one for _, _, one in parsed if one]
    present = {one.sequence for one in whole}
    faults: list[str] = []
    torn: list[str] = []
    damaged: list[tuple[int, bytes]] = []  # lines since the last whole record that are none
    last_sequence, last_hash = 0, BEFORE_THE_FIRST
    for number, line, one in parsed:
        if one is None:
            damaged.append((number, line))
            continue
        if _is_note_of(one, damaged):
            torn.append(f"line {damaged[-1][0]} was cut short by a crash; record {one.sequence} notes it")
            damaged.pop()
        faults += [_edited(bad) for bad, _ in damaged]
        lost = sorted(set(range(last_sequence + 1, one.sequence)) - present)
        if one.sequence != last_sequence + 1 + len(lost):
            faults.append(f"line {number} is out of its place: record {one.sequence} after record {last_sequence}")
        elif len(lost) > len(damaged):
            faults.append(f"missing before line {number}: {_span(lost)}")
        elif not lost and one.previous != last_hash:
            faults.append(f"the line before line {number} was replaced: record {one.sequence} names another hash")
        damaged.clear()
        last_sequence, last_hash = one.sequence, one.hash
    if damaged and damaged[-1][0] == len(lines):  # what comes after the last newline
        number, tail = damaged.pop()
        if _is_with_another_end(tail):
            faults.append(_edited(number))
        elif tail:
            torn.append(f"line {number} was cut short by a crash after {len(tail)} bytes; the next record will note it")
    faults += [_edited(bad) for bad, _ in damaged]
    faults += [
        f"record {one.sequence} notes that the lines up to hash {one.details.get('head')} were gone when it was written"
        for one in whole
        if one.event == "head_missing"
    ]
    faults += [
        f"no record has the hash {head}: the last lines are gone, or all was written anew"
        for head in heads
        if head not in {one.hash for one in whole}
    ]
    return Verdict(
        records=len(whole),
        first_at=whole[0].at if whole else None,
        last_at=whole[-1].at if whole else None,
        head=last_hash,
        faults=tuple(faults),
        torn=tuple(torn),
    )


def _is_note_of(one: Record, damaged: list[tuple[int, bytes]]) -> bool:
    """Whether the record notes the last of the damaged lines as torn."""
    if one.event != "torn_line" or not damaged or _is_with_another_end(damaged[-1][1]):
        return False
    return bool(one.details.get("sha256") == hashlib.sha256(damaged[-1][1]).hexdigest())


def _is_with_another_end(line: bytes) -> bool:
    """A whole record whose newline was changed into something else: no crash does that."""
    return opened(line[:-1]) is not None


def _edited(number: int) -> str:
    return f"line {number} was edited: it is not what its hash says"


def _span(lost: list[int]) -> str:
    return f"record {lost[0]}" if len(lost) == 1 else f"records {lost[0]} to {lost[-1]}"
