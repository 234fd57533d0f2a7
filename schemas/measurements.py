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


_REGION = Column("region", "tag", "", "slug")
_CATEGORY = Column("category", "tag", "", "slug")
_HORIZON = Column("horizon", "tag", "", "`1h`, `4h` or `24h` ahead")
_MODEL = Column(
    "model", "string", "", "the artifact's version, or `baseline` or `baseline:REASON` if no network scored"
)
_SUPPORT = Column("support", "string", "", f"history behind the score: {', '.join(f'`{one}`' for one in SUPPORT)}")
_EXPECTED = Column("expected", "float", "incidents", "expected number within the horizon")
_RISK = Column("risk", "float", "0 to 1", "probability of at least one within the horizon")
_USUAL = Column("usual", "float", "incidents", "what the baseline alone expects within the horizon")
_CELL = "`r012c034` is row 12 from the south, column 34 from the west"
_TICK = "the region's clock"


def _scores_of(prefix: str, whose: str) -> tuple[Column, ...]:
    return (
        Column(
            f"{prefix}brier",
            "float",
            "",
            f"mean over cells of the squared error of `risk`, {whose}",
        ),
        Column(
            f"{prefix}log_score",
            "float",
            "nats",
            f"mean negative log likelihood of the counts, {whose}; lower is better",
        ),
        *(
            Column(
                f"{prefix}hits_{percent}", "float", "incidents", f"in the {percent} % of cells ranked first, {whose}"
            )
            for percent in (5, 10)
        ),
    )


MEASUREMENTS: Mapping[str, Measurement] = {
    "risk": Measurement(
        "Scores of one cell: what the map shows",
        _TICK,
        "cell, category, horizon and tick; inside a tick only changed cells are written again",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("cell", "tag", "", _CELL),
            Column("geohash", "tag", "", "of the cell's centre"),
            _EXPECTED,
            _RISK,
            Column("low", "float", "incidents", "5 % quantile of the forecast count"),
            Column("high", "float", "incidents", "95 % quantile of the forecast count"),
            _USUAL,
            Column("observed_1h", "float", "incidents", "counted in the cell in the hour before"),
            _SUPPORT,
            _MODEL,
        ),
    ),
    "top": Measurement(
        f"The riskiest cells. Ranks 1 to {ATTRIBUTED_RANKS} have `by_`: usual times all of these is expected",
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
                    f"factor of the lift: {what}",
                )
                for name, what in ATTRIBUTION_GROUPS.items()
            ),
            Column("cell", "string", "", _CELL),
            Column("geohash", "string", "", "of the cell's centre"),
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
            Column("consumed", "float", "messages", "read from Kafka; the sum of the next five"),
            Column("counted", "float", "messages", "first message of an incident"),
            Column("corrected", "float", "messages", "a revision that replaced an earlier one, or a cancellation"),
            Column("duplicate", "float", "messages", "an equal or lower revision"),
            Column("excluded", "float", "messages", "of an origin that feeds no score, or already in the history"),
            Column("rejected", "float", "messages", "refused, each with a dead letter"),
            *(
                Column(f"rejected_{reason}", "float", "messages", "of those, refused for this reason")
                for reason in REASONS
            ),
            Column("as_of", "float", "s since 1970", "the region's clock"),
            Column(
                "silent_s",
                "float",
                "s",
                "from the newest counted incident (at first: the history's end) to the clock",
            ),
            Column("lag_events", "float", "messages", "in the topic and not read when the batch before began"),
            Column("batch_s", "float", "s", "time to write the last batch, until the store's answer"),
            Column("freshness_s", "float", "s", "from the newest message's receipt to this write"),
            Column("state_bytes", "float", "bytes", "memory of Spark's state stores"),
            Column("write_retries", "float", "writes", "repeated since the job started"),
            Column("write_dropped", "float", "points", "that the store will never accept, since the job started"),
            Column(
                "unaccounted",
                "float",
                "messages",
                "by Kafka's offsets minus those in the ledger, all regions, since the job started; 0 is right",
            ),
            Column("started_s", "float", "s since 1970", "start of the job"),
            _MODEL,
        ),
    ),
    "outcome": Measurement(
        "Forecast against outcome: written an hour after the horizon's end, and again a late limit later",
        "the hour of the forecast",
        "category, horizon and hour",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("observed", "float", "incidents", "counted within the horizon, all cells"),
            Column("expected", "float", "incidents", "forecast, all cells"),
            Column("usual", "float", "incidents", "the baseline's forecast, all cells"),
            *_scores_of("", "by the model"),
            *_scores_of("baseline_", "by the baseline"),
            Column("ideal_hits_5", "float", "incidents", "in the best 5 % of cells, chosen in hindsight"),
            Column("ideal_hits_10", "float", "incidents", "in the best 10 % of cells, chosen in hindsight"),
            Column("weekday", "float", "", "local day on which the horizon began; Monday is 1"),
            Column("hour", "float", "h", "local hour at which the horizon began"),
            Column("closed_s", "float", "s since 1970", "when this judgement was due"),
            _MODEL,
        ),
    ),
    "outcome_area": Measurement(
        "The same by district, to see whether a part of the city is served worse",
        "the hour of the forecast",
        "district, category, horizon and hour",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("district", "tag", "", "block of the grid, `01` in the south-west"),
            Column("expected", "float", "incidents", "forecast for the district"),
            Column("observed", "float", "incidents", "counted in the district"),
        ),
    ),
    "outcome_chance": Measurement(
        "The same by chance, to see whether likely things happened as often as forecast",
        "the hour of the forecast",
        "bin with a cell, category, horizon and hour",
        (
            _REGION,
            _CATEGORY,
            _HORIZON,
            Column("chance", "tag", "", "lower limit of the bin, percent: `00`, `01`, `05`, `20`, `50`"),
            Column("cells", "float", "cells", "cells in the bin, by their chance of at least one incident"),
            Column("said", "float", "cells", "sum of their chances: how many should have an incident"),
            Column("came", "float", "cells", "how many had an incident"),
        ),
    ),
}
