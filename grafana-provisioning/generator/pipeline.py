"""Pipeline: what the operator watches."""

from typing import Any

from generator.build import (
    AGE,
    AMBER,
    BLUE,
    FRESH,
    GREY,
    NOT_NOW,
    ORANGE,
    PURPLE,
    RED,
    RUST,
    SKY,
    STALE,
    Json,
    Levels,
    choice,
    column,
    filled_by_level,
    fixed,
    lines,
    page,
    stat,
    table,
)
from models.counting.count_state import OUTCOMES
from schemas.event import REASONS
from schemas.limits import OLDEST_SCORES_S, SILENT_FEED_S

OUTCOME_COLOURS = dict(zip((*OUTCOMES, "rejected"), (BLUE, ORANGE, SKY, GREY, PURPLE, RED), strict=True))
REGIONS = '"region" =~ /^${region:regex}$/'
NEWEST = f'FROM "pipeline" WHERE {REGIONS} AND {FRESH}'
OVER_TIME = f'FROM "pipeline" WHERE {REGIONS} AND $timeFilter GROUP BY time($__interval), "region"'  # an outage: a gap
NOT_ZERO: Levels = ((None, RUST), (0, BLUE), (1, RUST))


def pipeline() -> Json:
    regions = 'SHOW TAG VALUES FROM "pipeline" WITH KEY = "region"'
    about = "Regions, and `_unassigned` for messages of none"
    return page(
        "risk-pipeline",
        "Pipeline",
        "Whether events come in, are counted, scored and stored.",
        [
            table(
                "Freshness of each region",
                "Age of the newest scores of a day, by the store's clock. Amber: late. Grey: stale, more than three "
                "ticks. NOT NOW: the shown time ends in the past, or this screen's clock is wrong.",
                (8, 8),
                'SELECT ${__to} / 1000 - last("as_of") AS "age", "model" FROM "pipeline" '
                f'WHERE {REGIONS} AND "region" != \'_unassigned\' AND time > now() - 1d GROUP BY "region"',
                [
                    column("region", unit="string", displayName="Region", custom__width=92),
                    column(
                        "age",
                        unit=AGE,
                        decimals=0,
                        displayName="Age",
                        custom__width=70,
                        mappings=[NOT_NOW],
                        **filled_by_level((None, BLUE), (90, AMBER), (OLDEST_SCORES_S, GREY)),
                    ),
                    column("model", unit="string", displayName="Model"),
                ],
            ),
            *_figures(),
            *_over_time(),
        ],
        [choice("region", "Region", regions, about, several=True)],
        since="now-3h",
    )


def _figures() -> list[Json]:
    def figure(
        title: str, description: str, query: str, unit: str, levels: Levels, *, width: int = 4, **more: Any
    ) -> Json:
        shown = {"without": STALE, "decimals": 0, **more}
        return stat(title, description, (width, 4), query, unit, levels=levels, **shown)

    # The largest and the smallest gap of a region's ledger.
    named = " - ".join(f'last("{name}")' for name in ("consumed", *OUTCOMES, "rejected") if name != "repeated")
    of_regions = f'AS "gap" {NEWEST} GROUP BY "region"'
    repeated = f'(SELECT -1 * last("repeated") {of_regions})'  # apart: older points lack it, and would have no gap
    gaps = f'SELECT sum("gap") AS "gap" FROM (SELECT {named} {of_regions}), {repeated} WHERE {FRESH} GROUP BY "region"'
    silences = f'SELECT last("silent_s") AS "silent" {NEWEST} GROUP BY "region"'
    return [
        figure(
            "Ledger gap",
            "Consumed less all outcomes, of the regions with the largest and the smallest gap: 0, or counts cannot be "
            "relied on.",
            f'SELECT max("gap") AS "most", min("gap") AS "least" FROM ({gaps})',
            "suffix: events",
            NOT_ZERO,
            named=True,
        ),
        figure(
            "Unaccounted for",
            "Messages that Kafka handed over, by its offsets, less those in the ledger, since the job's start: 0, "
            "unless the topic has transactions or is compacted.",
            f'SELECT last("unaccounted") AS "unaccounted" {NEWEST}',
            "suffix: events",
            NOT_ZERO,
        ),
        figure(
            "Behind Kafka's end",
            "Events in the topic that were not read yet when the newest batch began. With several regions the largest "
            "of their newest points.",
            f'SELECT last("lag_events") AS "lag" {NEWEST}',
            "suffix: events",
            ((None, BLUE), (10_000, AMBER), (100_000, RUST)),
        ),
        figure(
            "Starts of the job",
            "How often the job was started in the shown time. Above 1 it was restarted.",
            f'SELECT count(distinct("started_s")) AS "starts" FROM "pipeline" WHERE {REGIONS} AND $timeFilter',
            "none",
            ((None, BLUE), (2, AMBER), (4, RUST)),
            without="no data",
        ),
        figure(
            "Points dropped",
            "Points that the store refused for good, most often outside its retention, since the job's start.",
            f'SELECT max("write_dropped") AS "dropped" {NEWEST}',
            "suffix: points",
            ((None, BLUE), (1, RUST)),
        ),
        figure(
            "Write retries",
            "Requests to the store that had to be sent again since the job's start.",
            f'SELECT max("write_retries") AS "retries" {NEWEST}',
            "suffix: retries",
            ((None, BLUE), (1, AMBER), (100, RUST)),
        ),
        figure(
            "Silence of the feed",
            "Longest time since the newest incident of a chosen region.",
            f'SELECT max("silent") AS "silent" FROM ({silences})',
            AGE,
            ((None, BLUE), (3600, AMBER), (SILENT_FEED_S, RUST)),
            width=8,
        ),
    ]


def _over_time() -> list[Json]:
    def by_region(title: str, description: str, value: str, unit: str, height: int = 8) -> Json:
        """value: with its name."""
        query = f"SELECT {value} {OVER_TIME} fill(null)"
        return lines(title, description, (12, height), query, unit, alias="$tag_region")

    def added_up(names: tuple[str, ...], *, prefix: str = "") -> str:
        """What came in each step, summed over the regions; the fields are totals since the counts began."""
        inner = ", ".join(f'non_negative_difference(last("{prefix}{name}")) AS "{name}"' for name in names)
        outer = ", ".join(f'sum("{name}") AS "{name}"' for name in names)
        each = f"SELECT {inner} {OVER_TIME} fill(none)"
        return f"SELECT {outer} FROM ({each}) WHERE $timeFilter GROUP BY time($__interval) fill(none)"

    return [
        by_region(
            "Events in",
            "Messages a second that were read, by region.",
            'non_negative_derivative(last("consumed"), 1s) AS "rate"',
            "suffix: events/s",
        ),
        by_region(
            "Time of a batch",
            "From the start of a batch's writing to the store's acknowledgement.",
            'max("batch_s") AS "batch"',
            "s",
        ),
        by_region(
            "From Kafka to the store",
            "Age of the newest event of a batch when its scores were being written.",
            'max("freshness_s") AS "freshness"',
            "s",
        ),
        by_region(
            "Behind Kafka's end, over time",
            "Events not read yet when a batch began. Rising for long: the job is too slow.",
            'max("lag_events") AS "lag"',
            "suffix: events",
        ),
        lines(
            "What became of the messages",
            "Every message read is in exactly one of these.",
            (12, 9),
            added_up((*OUTCOMES, "rejected")),
            "suffix: events",
            bars=True,
            overrides=[fixed(name, colour) for name, colour in OUTCOME_COLOURS.items()],
        ),
        lines(
            "Refused, by reason",
            "`late` and `future` are refused by the clock, the others by the contract; `outside_grid` lies elsewhere.",
            (12, 9),
            added_up(REASONS, prefix="rejected_"),
            "suffix: events",
            bars=True,
        ),
        by_region(
            "Late",
            "Messages refused because their incident was older than the region's late limit.",
            'non_negative_difference(last("rejected_late")) AS "late"',
            "suffix: events",
            7,
        ),
        lines(
            "State of the job",
            "Memory that Spark's state store takes for the counts and registries of all regions together.",
            (12, 7),
            'SELECT max("state_bytes") AS "state" FROM "pipeline" WHERE $timeFilter '
            "GROUP BY time($__interval) fill(null)",
            "bytes",
        ),
    ]
