"""Replay of an incident file: what is sent, and when. `streaming/rehearse/producer.py` sends it.

`plan_replay` decides everything from a table, a mix and a seed; `messages` turns a plan into bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from models.files.incident_files import IncidentTable
from models.local_time import local_from_utc, utc_from_local, zone_of
from schemas.errors import DataError
from schemas.event import Event, Status
from schemas.spec import SLUG
from streaming.rehearse.poison import poison_messages

KINDS = ("incidents", "duplicates", "corrections", "bad")
INCIDENT, DUPLICATE, CORRECTION, BAD = range(len(KINDS))
WEEK_S = 7 * 86_400
_OPEN, _, _CANCELLED = get_args(Status)
_MOVED, _RECLASSIFIED, _CANCELLATION = range(3)  # kinds of correction
_MOVE_DEG = 0.003  # about 300 m: often into the next cell, never into the next town


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Messages added to the incidents. Each number is a share of the incidents, 0..1."""

    duplicates: float = 0.0  # the same bytes again, up to ten minutes later
    corrections: float = 0.0  # revision 1, one to thirty minutes later: moved, another category, or cancelled
    bad: float = 0.0  # messages that the job must refuse
    seed: int = 0


MIXED = Mix(duplicates=0.06, corrections=0.04, bad=0.03, seed=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """The messages of a replay in the order of sending. Arrays of messages are (m,), arrays of incidents (n,)."""

    table: IncidentTable
    region: str
    position: npt.NDArray[np.int64]  # (n,) the incident's position in `table`
    occurred_s: npt.NDArray[np.int64]  # (n,) shifted event time, epoch seconds UTC
    received_ms: npt.NDArray[np.int64]  # (n,) when the dispatch centre would have received it
    change: npt.NDArray[np.int8]  # (n,) what a correction of it would change
    send_ms: npt.NDArray[np.int64]  # (m,) simulated time of sending; Kafka's timestamp
    kind: npt.NDArray[np.int8]  # (m,) position in KINDS
    subject: npt.NDArray[np.int64]  # (m,) which of the n incidents, or which of the bad messages

    def __len__(self) -> int:
        return len(self.send_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    key: bytes
    value: bytes | None
    send_ms: int
    kind: int


class _SentEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event; fields at their default are left out of the JSON."""


def plan_replay(
    table: IncidentTable,
    *,
    region: str,
    mix: Mix,
    weeks: int = 0,
    from_s: int | None = None,
    to_s: int | None = None,
) -> ReplayPlan:
    """Plan the incidents with from_s <= occurred < to_s (epoch seconds UTC, before the shift), moved by `weeks`.

    The same arguments give the same plan. Raises DataError when there is no incident in the span.
    """
    if not re.fullmatch(SLUG, region):
        raise DataError(f"region {region!r} is not a slug", "use a-z, 0-9, - and _, as the artifact's region does")
    position = _in_span(table, from_s, to_s)
    n = len(position)
    random = np.random.default_rng(mix.seed)
    occurred_s = shifted(table.occurred_s[position], table.timezone, weeks=weeks)
    received_ms = occurred_s * 1000 + np.minimum(2_000 + random.exponential(20_000, n), 240_000).astype(np.int64)
    again = np.sort(random.permutation(n)[: round(mix.duplicates * n)])
    corrected = np.sort(random.permutation(n)[: round(mix.corrections * n)])
    bad = round(mix.bad * n)
    send_ms = np.concatenate(
        [
            received_ms,
            received_ms[again] + random.integers(1_000, 600_000, len(again)),
            received_ms[corrected] + random.integers(60_000, 1_800_000, len(corrected)),
            random.integers(received_ms.min(), received_ms.max() + 1, bad),
        ]
    )
    order = np.argsort(send_ms, kind="stable")
    kind = np.repeat(np.arange(len(KINDS), dtype=np.int8), (n, len(again), len(corrected), bad))
    return ReplayPlan(
        table=table,
        region=region,
        position=position,
        occurred_s=occurred_s,
        received_ms=received_ms,
        change=random.integers(0, 3, n).astype(np.int8),
        send_ms=send_ms[order],
        kind=kind[order],
        subject=np.concatenate([np.arange(n), again, corrected, np.arange(bad)])[order],
    )


def _in_span(table: IncidentTable, from_s: int | None, to_s: int | None) -> npt.NDArray[np.int64]:
    """Positions of the incidents in the span. Raises DataError when there is none."""
    if from_s is not None and to_s is not None and from_s >= to_s:
        raise DataError("--from is not before --to", "exchange them, or give a later --to")
    chosen = np.ones(len(table), bool)
    if from_s is not None:
        chosen &= table.occurred_s >= from_s
    if to_s is not None:
        chosen &= table.occurred_s < to_s
    if not chosen.any():
        first, last = (local_text(int(table.occurred_s[end]), table.timezone) for end in (0, -1))
        raise DataError(
            "no incident lies between --from and --to", f"the file has {first} to {last} ({table.timezone})"
        )
    return np.flatnonzero(chosen)


def shifted(utc_s: npt.NDArray[np.int64], timezone: str, *, weeks: int) -> npt.NDArray[np.int64]:
    """The instants `weeks` later on the local clock: hour and weekday stay the same across a change of summer time."""
    if weeks == 0:
        return utc_s
    moved, _ = utc_from_local(local_from_utc(utc_s, timezone) + weeks * WEEK_S, timezone)
    return moved


def weeks_until(last_s: int, *, now_s: int, timezone: str) -> int:
    """The most whole weeks by which `last_s` can move without passing `now_s`; negative when it lies in the future."""
    last, now = local_from_utc(np.array([last_s, now_s], np.int64), timezone).tolist()
    return int((now - last) // WEEK_S)


def messages(plan: ReplayPlan) -> Iterator[Message]:
    """The plan's messages in the order of sending."""
    poisons = poison_messages(_event(plan, 0))
    for send_ms, kind, subject in zip(plan.send_ms.tolist(), plan.kind.tolist(), plan.subject.tolist(), strict=True):
        if kind == BAD:
            # 37 shares no factor with the number of kinds, so that few bad messages are still of many kinds
            value = poisons[subject * 37 % len(poisons)].value
            yield Message(key=f"bad-{subject:07d}".encode(), value=value, send_ms=send_ms, kind=kind)
            continue
        event = _event(plan, subject)
        if kind == CORRECTION:
            event = _corrected(plan, event, subject, received_ms=send_ms)
        key = event.incident_id.encode()
        yield Message(key=key, value=msgspec.json.encode(event), send_ms=send_ms, kind=kind)


def _event(plan: ReplayPlan, subject: int) -> _SentEvent:
    table, position = plan.table, int(plan.position[subject])
    return _SentEvent(
        incident_id=table.incident_id(position),
        region=plan.region,
        occurred_at=datetime.fromtimestamp(int(plan.occurred_s[subject]), UTC),
        category=table.categories[table.category[position]],
        lat=float(table.lat_deg[position]),
        lon=float(table.lon_deg[position]),
        origin="public_call",
        received_at=_instant(int(plan.received_ms[subject])),
    )


def _corrected(plan: ReplayPlan, event: _SentEvent, subject: int, *, received_ms: int) -> _SentEvent:
    categories = plan.table.categories
    changes: dict[str, Any] = {"revision": 1, "received_at": _instant(received_ms)}
    change = int(plan.change[subject])
    if change == _RECLASSIFIED and len(categories) > 1:
        changes["category"] = categories[(categories.index(event.category) + 1) % len(categories)]
    elif change == _CANCELLATION:
        changes["status"] = _CANCELLED
    else:
        changes["lat"] = event.lat + (_MOVE_DEG if event.lat < 0 else -_MOVE_DEG)
    return msgspec.structs.replace(event, **changes)


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC) + timedelta(milliseconds=epoch_ms % 1000)


def parse_when(text: str, timezone: str) -> int:
    """Epoch seconds of an ISO 8601 date or time; without an offset it is local time. Raises DataError otherwise."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r} is no date or time", "write 2016-01-23 or 2016-01-23T18:30") from error
    return int((when if when.tzinfo else when.replace(tzinfo=zone_of(timezone))).timestamp())


def local_text(epoch_s: int, timezone: str) -> str:
    """`2016-01-23 18:30` on the local clock."""
    return datetime.fromtimestamp(epoch_s, zone_of(timezone)).strftime("%Y-%m-%d %H:%M")
