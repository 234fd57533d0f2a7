"""The four rows of a batch between Kafka and the store, each declared once; and the ledger that they carry.

messages -> intake -> PackedRow -> count -> CountedRow -> score -> ScoredRow -> publish -> Published

Arrow's schemas and Spark's DDL follow from the declarations. Nothing that is slow to import is imported here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

from models.counting.count_state import OUTCOMES
from schemas.errors import LedgerUnbalanced
from schemas.forecasts import OLDEST_S, ClosedCounts, FollowedChange
from schemas.frame import RiskFrame, Silence
from schemas.incidents import Rejection
from schemas.spec import Spec

OUTCOMES_SHOWN = ("consumed", *OUTCOMES, "rejected")
UNASSIGNED = ""  # the region of messages that name no region of the roster; `label_of` shows it
NO_CHALLENGER = "none"  # in a `pipeline` point
WITHHELD = "withheld"  # there, in place of a model
# As in models.scoring.CellScores and schemas.frame.RiskFrame.
FIELDS = ("expected", "risk", "low", "high", "usual", "attribution")
_TYPES = {str: ("string", "string"), bool: ("bool", "boolean"), int: ("int64", "bigint"), bytes: ("binary", "binary")}


class PackedRow(NamedTuple):
    """What a task of the decode stage found for one region; a heartbeat row has no messages."""

    region: str
    artifact: str | None = None  # folder; None for messages of no region
    challenger: str | None = None  # folder; None without one
    is_heartbeat: bool = False
    newest_ms: int = 0  # Kafka's time of the newest message
    consumed: int = 0  # messages
    incidents: bytes = b""
    rejections: bytes = b""


class CountedRow(NamedTuple):
    """One region's batch after counting. `features` is None when no new scores are due.

    On the hour a second row of the region is for its challenger: it has no summary.
    """

    region: str
    artifact: str | None
    features: bytes | None
    summary: bytes | None  # a packed `Summary`
    tick_s: int = 0  # of the features
    recent: bytes | None = None  # counts of the last hours, little-endian int32
    lately: bytes | None = None  # a packed `LastHours`, where the artifact has a nowcast


class ScoreColumns(NamedTuple):
    """The scores of one region: little-endian float32. All are None when no new scores are due."""

    model: str | None = None  # the artifact's version, or the baseline and why
    expected: bytes | None = None
    risk: bytes | None = None
    low: bytes | None = None
    high: bytes | None = None
    usual: bytes | None = None
    attribution: bytes | None = None
    raw: bytes | None = None  # on the hour: expected by the network alone; None where that is `expected`
    followed: str | None = None  # hour of the file that was followed, by which a recount finds it
    unfollowed: str | None = None  # why a file that was there was not followed
    unusual: bytes | None = None  # packed `Unusual`
    surges: bytes | None = None  # packed `Surge`


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One region's batch, as the driver needs it."""

    as_of_s: int
    ledger: dict[str, int]
    totals: dict[str, int]
    newest_event_s: int = 0
    newest_received_ms: int = 0
    rejections: bytes = b""
    observed_1h: bytes = b""
    support: bytes = b""
    silent: tuple[Silence, ...] = ()  # feeds that are silent, where there are new scores
    closed: tuple[ClosedCounts, ...] = ()  # horizons that this batch's clock has closed
    day: str = ""  # whose first batch this is, and the counts before it: see `models.counting.blobs`
    day_counts: bytes = b""


class ScoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """One region's batch after scoring, on the driver; or what its challenger forecast: then there is no summary."""

    region: str
    artifact: str | None  # folder; None for messages of no region
    summary: Summary | None
    scores: ScoreColumns

    @property
    def followed_ago_s(self) -> int | None:
        """Since the hour of the file that was followed; OLDEST_S where it could not be used; None without one."""
        if self.scores.unfollowed or self.summary is None:
            return OLDEST_S
        return self.summary.as_of_s - int(self.scores.followed) if self.scores.followed else None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "ScoredRow":
        """The row that Arrow gave."""
        summary = None if row["summary"] is None else msgspec.msgpack.decode(row["summary"], type=Summary)
        return cls(
            region=row["region"],
            artifact=row["artifact"],
            summary=summary,
            scores=ScoreColumns(**row["scores"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFacts:
    """What Spark reported of the last finished batch; zeros before the first."""

    lag_events: float = 0.0  # in the topic and not read yet when it began
    state_bytes: float = 0.0  # memory of the state stores' open versions
    input_rows_per_s: float = 0.0
    processed_rows_per_s: float = 0.0
    phases_s: Mapping[str, float] = field(default_factory=dict)  # by Spark's names: addBatch, walCommit, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One stored batch, for whoever watches the job."""

    batch_id: int
    frames: Mapping[str, RiskFrame]  # regions with new scores
    views: Mapping[str, tuple[RiskFrame, RiskFrame]]  # of each frame, as they were stored
    summaries: Mapping[str, Summary]
    artifacts: Mapping[str, str]  # by region, the version in force
    following: Mapping[str, str]  # by region with new scores, the hour of the file that was followed; "": none
    changes: Mapping[str, FollowedChange]  # of the same regions, where the scores follow one
    unfollowed: Mapping[str, str]  # of the same regions, why a file that is there was not followed; "": it was
    points: int
    retries: int  # of its write
    dropped: int  # points that the store will never take
    seconds: float  # from the start of the batch's action to the acknowledgement of its last write
    done_s: float
    acknowledged_s: float  # when the store last took points, or answered that it would
    facts: QueryFacts
    unaccounted: int  # messages by Kafka's offsets less those in the ledger, since the start
    withheld: str = ""  # why nobody may see the scores: then there are no frames


def has_news(region: str, summary: Summary, *, is_scored: bool) -> bool:
    """Whether a batch brought messages or new scores. Messages of no region have a summary only when it did."""
    return summary.ledger["consumed"] > 0 or is_scored or region == UNASSIGNED


def ddl(row: type) -> str:
    """The columns of a row as Spark writes them: `region string, consumed bigint`."""
    return ", ".join(f"{name} {spark}" for name, _, spark in _columns(row))


def arrow_fields(row: type) -> list[tuple[str, str]]:
    """The columns of a row by name and Arrow's name of the type, for `pyarrow.schema`."""
    return [(name, arrow) for name, arrow, _ in _columns(row)]


def _columns(row: type) -> Iterator[tuple[str, str, str]]:
    for name, hint in get_type_hints(row).items():
        kind = next(part for part in (*get_args(hint), hint) if part in _TYPES)  # of `str | None`, str
        yield name, *_TYPES[kind]


def label_of(region: str) -> str:
    """How points, metrics and health name a region, or the messages of none."""
    return "_unassigned" if region == UNASSIGNED else region


def balanced_ledger(consumed: int, outcomes: Mapping[str, int], rejections: list[Rejection]) -> dict[str, int]:
    """consumed = counted + corrected + duplicate + repeated + excluded + rejected, or LedgerUnbalanced."""
    reasons = Counter(f"rejected_{rejection.reason}" for rejection in rejections)
    counts = {"consumed": consumed, **outcomes, "rejected": len(rejections)}
    ledger = {name: counts.get(name, 0) for name in OUTCOMES_SHOWN}
    if not is_balanced(ledger):
        raise LedgerUnbalanced(f"{ledger}: outcomes do not add up to what was consumed", remedy="please report this")
    return ledger | dict(sorted(reasons.items()))


def is_balanced(ledger: Mapping[str, int]) -> bool:
    """Whether consumed = counted + corrected + duplicate + repeated + excluded + rejected."""
    consumed, *outcomes = (ledger.get(name, 0) for name in OUTCOMES_SHOWN)
    return consumed == sum(outcomes)


def add_up(totals: Mapping[str, int], ledger: Mapping[str, int]) -> dict[str, int]:
    return {name: totals.get(name, 0) + ledger.get(name, 0) for name in {**totals, **ledger}}


def tick_of(as_of_s: int, spec: Spec | None) -> int:
    """Start of the tick that a region's clock is in. spec: None for messages of no region, with ticks of a minute."""
    return as_of_s - as_of_s % (spec.tick_s if spec else 60)
