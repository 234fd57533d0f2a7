"""What stands in the store: every measurement with its tags and fields, as data.

`docs/reference/data-dictionary.md` is made from it, and a test holds what the job really writes against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.event import REASONS
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, SUPPORT

Kind = Literal["tag", "float", "string"]


@dataclass(frozen=True, slots=True)
class Column:
    """A tag or a field. unit: empty where the value is no quantity."""

    name: str
    kind: Kind
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """Points of one kind. time: what their timestamp is; per: how many there are."""

    meaning: str
    time: str
    per: str
    columns: tuple[Column, ...]

    def names(self, *kinds: Kind) -> frozenset[str]:
        """Names of the columns of these kinds; of all without one."""
        return frozenset(column.name for column in self.columns if not kinds or column.kind in kinds)


_REGION = Column("region", "tag", "", "Slug of the region")
_CATEGORY = Column("category", "tag", "", "Slug of the category")
_HORIZON = Column("horizon", "tag", "", "How far ahead the score looks: `1h`, `4h`, `24h`")
_MODEL = Column(
    "model", "string", "", "Version of the artifact; `baseline` or `baseline:REASON` where no network answered"
)
_SUPPORT = Column("support", "string", "", f"History behind the score: {', '.join(f'`{one}`' for one in SUPPORT)}")
_EXPECTED = Column("expected", "float", "incidents", "Expected number within the horizon")
_RISK = Column("risk", "float", "0 to 1", "Probability of at least one within the horizon")
_USUAL = Column("usual", "float", "incidents", "What the long-memory baseline alone expects within the horizon")
_CELL = "Cell on the region's grid, `r012c034`: row 12 from the south, column 34 from the west"
_TICK = "the region's clock, rounded down to the tick (a minute by default), so that a repeated batch overwrites"


def _scores_of(prefix: str, whose: str) -> tuple[Column, ...]:
    return (
        Column(
            f"{prefix}brier",
            "float",
            "",
            f"Mean over the cells of (chance of at least one - whether one came)², {whose}",
        ),
        Column(
            f"{prefix}log_score",
            "float",
            "nats",
            f"Mean negative log likelihood of the counts, {whose}; lower is better",
        ),
        *(
            Column(
                f"{prefix}hits_{percent}", "float", "incidents", f"Those in the {percent} % of cells put first, {whose}"
            )
            for percent in (5, 10)
        ),
    )


MEASUREMENTS: Mapping[str, Measurement] = {
    "risk": Measurement(
        "Rolling scores of one cell: what the map shows",
        _TICK,
        "cell, category, horizon and tick; within a tick only what changed is written again",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("cell", "tag", "", _CELL),
            Column("geohash", "tag", "", "Geohash of the cell's centre"),
            _EXPECTED,
            _RISK,
            Column("low", "float", "incidents", "5 % quantile of the count that is forecast"),
            Column("high", "float", "incidents", "95 % quantile of the count that is forecast"),
            _USUAL,
            Column("observed_1h", "float", "incidents", "Counted in the cell in the hour before"),
            _SUPPORT,
            _MODEL,
        ),
    ),
    "top": Measurement(
        "The riskiest cells, ready for a table",
        _TICK,
        "rank, category, horizon and tick",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("rank", "tag", "", "`01` is the cell with the highest risk"),
            _EXPECTED,
            _RISK,
            _USUAL,
            Column("lift", "float", "times", "expected over usual"),
            *(
                Column(
                    f"by_{name}",
                    "float",
                    "times",
                    f"Its share of the lift: {what}. usual times all `by_` is expected; ranks 1 to {ATTRIBUTED_RANKS}",
                )
                for name, what in ATTRIBUTION_GROUPS.items()
            ),
            Column("cell", "string", "", _CELL),
            Column("geohash", "string", "", "Geohash of the cell's centre"),
            _SUPPORT,
            _MODEL,
        ),
    ),
    "pipeline": Measurement(
        "The ledger and the state of the job. Counts are totals since the region's state began",
        _TICK,
        "region and tick; `_unassigned` holds messages of no known region",
        (
            _REGION,
            Column("consumed", "float", "messages", "Read from Kafka; the sum of the next five"),
            Column("counted", "float", "messages", "First news of an incident"),
            Column(
                "corrected", "float", "messages", "A revision that replaced an earlier one, or took an incident back"
            ),
            Column("duplicate", "float", "messages", "Known already: an equal or lower revision"),
            Column("excluded", "float", "messages", "Of an origin that feeds no score, or in the history already"),
            Column("rejected", "float", "messages", "Refused, each with a dead letter"),
            *(
                Column(f"rejected_{reason}", "float", "messages", f"Of those, refused as `{reason}`")
                for reason in REASONS
            ),
            Column("as_of", "float", "s since 1970", "The region's clock"),
            Column(
                "silent_s",
                "float",
                "s",
                "From the newest counted incident to the clock; before the first, from its history's end",
            ),
            Column("lag_events", "float", "messages", "In the topic and not read when the batch before began"),
            Column("batch_s", "float", "s", "The last batch's writing, from its rows to the store's answer"),
            Column("freshness_s", "float", "s", "From the newest message's receipt to this write"),
            Column("state_bytes", "float", "bytes", "Memory of Spark's state stores"),
            Column("write_retries", "float", "writes", "Tried again since the job started"),
            Column("write_dropped", "float", "points", "Never taken by the store, since the job started"),
            Column(
                "unaccounted",
                "float",
                "messages",
                "By Kafka's offsets less those in the ledger, all regions together, since the job started; 0 is right",
            ),
            Column("started_s", "float", "s since 1970", "When the job started; a new value is a restart"),
            _MODEL,
        ),
    ),
    "outcome": Measurement(
        "How a forecast came out: written an hour after its horizon has closed, and once more a late limit later",
        "when the forecast was made: a whole hour",
        "category, horizon and hour",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("observed", "float", "incidents", "Counted within the horizon, all cells"),
            Column("expected", "float", "incidents", "Forecast for it, all cells"),
            Column("usual", "float", "incidents", "The baseline's forecast for it, all cells"),
            *_scores_of("", "by the model"),
            *_scores_of("baseline_", "by the baseline"),
            Column("ideal_hits_5", "float", "incidents", "In the best 5 % of cells, chosen in hindsight"),
            Column("ideal_hits_10", "float", "incidents", "In the best 10 % of cells, chosen in hindsight"),
            Column("weekday", "float", "", "Local day on which the horizon began; Monday is 1"),
            Column("hour", "float", "h", "Local hour at which the horizon began"),
            Column("closed_s", "float", "s since 1970", "When the judgement was due that wrote this"),
            _MODEL,
        ),
    ),
    "outcome_area": Measurement(
        "The same by district, to see whether a part of the city is served worse",
        "when the forecast was made: a whole hour",
        "district, category, horizon and hour",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("district", "tag", "", "Block of the grid, `01` in the south-west"),
            Column("expected", "float", "incidents", "Forecast for the district"),
            Column("observed", "float", "incidents", "Counted in it"),
        ),
    ),
    "outcome_chance": Measurement(
        "The same by the chance that was given: whether what was called likely came as often as it was said",
        "when the forecast was made: a whole hour",
        "bin of chances that held a cell, category, horizon and hour",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("chance", "tag", "", "Least chance of the bin, percent: `00`, `01`, `05`, `20`, `50`"),
            Column("cells", "float", "cells", "Whose chance of at least one incident lay in it"),
            Column("said", "float", "cells", "Sum of their chances: how many were to have one"),
            Column("came", "float", "cells", "How many had one"),
        ),
    ),
}
