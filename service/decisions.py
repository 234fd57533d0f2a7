"""What people decide of places on the map, on record: the audit log is the only store, shared by all processes.

A decision ends by itself, at most MOST_HOURS after it was taken. It changes no score.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec

from schemas.audit.log import parse_record, record
from schemas.audit.verify import read_log
from schemas.errors import AuditError
from schemas.instants import instant_text
from service.frames import FileState, file_state

log = logging.getLogger(__name__)
MOST_HOURS = 24
LONGEST_REASON = 120  # characters
What = Literal["acknowledged", "overridden", "withdrawn"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """first, last: the south-western and the north-eastern cell of a rectangle. at, until: instants, as text."""

    what: What
    region: str
    category: str  # or `all`
    first: str
    last: str
    reason: str
    until: str
    by: str  # the name of a token
    observed: int | None = None  # incidents there at that time; None of an older version
    at: str = ""


@dataclass(slots=True)
class Decisions:
    """Those of the last MOST_HOURS, the newest first. A log that cannot be read leaves what was read before."""

    audit: Path
    recent: tuple[Decision, ...] = ()
    _seen: FileState | None = None
    _looking: Lock = field(default_factory=Lock)

    def look(self, now_s: float) -> None:
        """Read the log if it has changed. One thread at a time: another would take as read what is not yet."""
        with self._looking:
            state = file_state(self.audit)
            if state is None or state == self._seen:
                return
            self._seen = state
            try:
                self.recent = tuple(decisions_in(read_log(self.audit), instant_text(now_s - MOST_HOURS * 3600)))
            except AuditError as error:
                log.warning("decisions cannot be read: %s", error)

    def in_force(self, region: str, now_s: float) -> list[Decision]:
        """The newest of each place, unless it has ended or is withdrawn."""
        newest: dict[tuple[str, str, str], Decision] = {}
        for decision in self.recent:
            if decision.region == region:
                newest.setdefault((decision.category, decision.first, decision.last), decision)
        return [each for each in newest.values() if each.what != "withdrawn" and each.until > instant_text(now_s)]

    def decide(self, decision: Decision, now_s: float) -> None:
        """Put it on record. Raises AuditError."""
        details = {name: value for name, value in msgspec.structs.asdict(decision).items() if name != "at"}
        record(self.audit, "place_decided", details, at_s=now_s)
        self.look(now_s)


def decisions_in(content: bytes, since: str = "") -> Iterator[Decision]:
    """The decisions in a log, the newest first, back to the first record of any kind before `since`."""
    for line in reversed(content.split(b"\n")):
        if (entry := parse_record(line)) is None:
            continue
        if (at := instant_text(entry.at.timestamp())) < since:
            return
        if entry.event == "place_decided":
            with suppress(msgspec.ValidationError):  # of another version
                yield msgspec.convert({**entry.details, "at": at}, Decision)
