"""Pipeline: what the operator watches."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import Panel, lines, page, stat, table
from generator.looks import (
    AGE,
    AMBER,
    BLUE,
    GREY,
    NOT_NOW,
    ORANGE,
    PURPLE,
    RED,
    RUST,
    SKY,
    STALE,
    Json,
    column,
    filled_by_level,
    fixed,
)  # fmt: skip
from generator.store import FRESH, choice
from models.counting.count_state import OUTCOMES
from schemas.event import REASONS
from schemas.limits import OLDEST_SCORES_S, SILENT_FEED_S

UID = "risk-pipeline"
OUTCOME_COLOURS = dict(zip((*OUTCOMES, "rejected"), (BLUE, ORANGE, SKY, GREY, PURPLE, RED), strict=True))
REGIONS = '"region" =~ /^${region:regex}$/'
OVER_TIME = f'FROM "pipeline" WHERE {REGIONS} AND $timeFilter GROUP BY time($__interval), "region"'
HALF, A_SIXTH = (12, 8), (4, 4)
NOT_ZERO = ((None, RUST), (0, BLUE), (1, RUST))


def _added_up(names: tuple[str, ...], *, prefix: str = "") -> str:
    """What came in each step, summed over the regions; the fields are totals since the counts began."""
    inner = ", ".join(f'non_negative_difference(last("{prefix}{name}")) AS "{name}"' for name in names)
    outer = ", ".join(f'sum("{name}") AS "{name}"' for name in names)
    each = f"SELECT {inner} {OVER_TIME} fill(none)"
    return f"SELECT {outer} FROM ({each}) WHERE $timeFilter GROUP BY time($__interval) fill(none)"


def _freshness() -> Panel:
    return table(
        "Freshness of each region",
        "Age of the newest scores of a day, by the store's clock. Amber: late. Grey: stale, more than three ticks. "
        "NOT NOW: the shown time ends in the past, or this screen's clock is wrong.",
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
    )


def _newest(fields: str, since: str = FRESH) -> str:
    """Something of the chosen regions' newest points."""
    return f'SELECT {fields} FROM "pipeline" WHERE {REGIONS} AND {since}'


def _gap() -> str:
    """The largest and the smallest gap of a region's ledger."""
    named = " - ".join(f'last("{name}")' for name in ("consumed", *OUTCOMES, "rejected") if name != "repeated")
    of_regions = f'AS "gap" FROM "pipeline" WHERE {REGIONS} AND {FRESH} GROUP BY "region"'
    repeated = f'(SELECT -1 * last("repeated") {of_regions})'  # apart: older points lack it, and would have no gap
    return (
        'SELECT max("gap") AS "most", min("gap") AS "least" FROM '
        f'(SELECT sum("gap") AS "gap" FROM (SELECT {named} {of_regions}), {repeated} WHERE {FRESH} GROUP BY "region")'
    )


def _figures() -> list[Panel]:
    shown: Json = {"without": STALE, "decimals": 0}
    silences = f'SELECT last("silent_s") AS "silent" FROM "pipeline" WHERE {REGIONS} AND {FRESH} GROUP BY "region"'
    return [
        stat(
            "Ledger gap",
            "Consumed less all outcomes, of the regions with the largest and the smallest gap: 0, or counts cannot be "
            "relied on.",
            A_SIXTH,
            _gap(),
            "suffix: events",
            levels=NOT_ZERO,
            named=True,
            **shown,
        ),
        stat(
            "Unaccounted for",
            "Messages that Kafka handed over, by its offsets, less those in the ledger, since the job's start: 0, "
            "unless the topic has transactions or is compacted.",
            A_SIXTH,
            _newest('last("unaccounted") AS "unaccounted"'),
            "suffix: events",
            levels=NOT_ZERO,
            **shown,
        ),
        stat(
            "Behind Kafka's end",
            "Events in the topic that were not read yet when the newest batch began. With several regions the largest "
            "of their newest points.",
            A_SIXTH,
            _newest('last("lag_events") AS "lag"'),
            "suffix: events",
            levels=((None, BLUE), (10_000, AMBER), (100_000, RUST)),
            **shown,
        ),
        stat(
            "Starts of the job",
            "How often the job was started in the shown time. Above 1 it was restarted.",
            A_SIXTH,
            _newest('count(distinct("started_s")) AS "starts"', since="$timeFilter"),
            "none",
            levels=((None, BLUE), (2, AMBER), (4, RUST)),
            **shown | {"without": "no data"},
        ),
        stat(
            "Points dropped",
            "Points that the store refused for good, most often outside its retention, since the job's start.",
            A_SIXTH,
            _newest('max("write_dropped") AS "dropped"'),
            "suffix: points",
            levels=((None, BLUE), (1, RUST)),
            **shown,
        ),
        stat(
            "Write retries",
            "Requests to the store that had to be sent again since the job's start.",
            A_SIXTH,
            _newest('max("write_retries") AS "retries"'),
            "suffix: retries",
            levels=((None, BLUE), (1, AMBER), (100, RUST)),
            **shown,
        ),
        stat(
            "Silence of the feed",
            "Longest time since the newest incident of a chosen region.",
            (8, 4),
            f'SELECT max("silent") AS "silent" FROM ({silences})',
            AGE,
            levels=((None, BLUE), (3600, AMBER), (SILENT_FEED_S, RUST)),
            **shown,
        ),
    ]


def _by_region(title: str, description: str, value: str, unit: str, size: tuple[int, int] = HALF) -> Panel:
    """value: with its name. An outage is a gap in a line."""
    return lines(title, description, size, f"SELECT {value} {OVER_TIME} fill(null)", unit, alias="$tag_region")


def _over_time() -> list[Panel]:
    return [
        _by_region(
            "Events in",
            "Messages a second that were read, by region.",
            'non_negative_derivative(last("consumed"), 1s) AS "rate"',
            "suffix: events/s",
        ),
        _by_region(
            "Time of a batch",
            "From the start of a batch's writing to the store's acknowledgement.",
            'max("batch_s") AS "batch"',
            "s",
        ),
        _by_region(
            "From Kafka to the store",
            "Age of the newest event of a batch when its scores were being written.",
            'max("freshness_s") AS "freshness"',
            "s",
        ),
        _by_region(
            "Behind Kafka's end, over time",
            "Events not read yet when a batch began. Rising for long: the job is too slow.",
            'max("lag_events") AS "lag"',
            "suffix: events",
        ),
        lines(
            "What became of the messages",
            "Every message read is in exactly one of these.",
            (12, 9),
            _added_up((*OUTCOMES, "rejected")),
            "suffix: events",
            bars=True,
            overrides=[fixed(name, colour) for name, colour in OUTCOME_COLOURS.items()],
        ),
        lines(
            "Refused, by reason",
            "`late` and `future` are refused by the clock, the others by the contract; `outside_grid` lies elsewhere.",
            (12, 9),
            _added_up(REASONS, prefix="rejected_"),
            "suffix: events",
            bars=True,
        ),
        _by_region(
            "Late",
            "Messages refused because their incident was older than the region's late limit.",
            'non_negative_difference(last("rejected_late")) AS "late"',
            "suffix: events",
            (12, 7),
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


def pipeline() -> Json:
    regions = 'SHOW TAG VALUES FROM "pipeline" WITH KEY = "region"'
    about = "Regions, and `_unassigned` for messages of none"
    return page(
        UID,
        "Pipeline",
        "Whether events come in, are counted, scored and stored.",
        [_freshness(), *_figures(), *_over_time()],
        [choice("region", "Region", regions, about, several=True)],
        since="now-3h",
    )
