"""Pipeline: what the operator watches."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.panels import (
    AGE,
    AMBER,
    BLUE,
    FRESH,
    GREY,
    NOT_NOW_MAPPING,
    ORANGE,
    PURPLE,
    RED,
    RUST,
    SKY,
    STALE_MAPPING,
    Json,
    Panel,
    column,
    dashboard,
    fixed,
    lines,
    stat,
    steps,
    table,
    tag_variable,
)
from models.counting.count_state import OUTCOMES
from schemas.event import REASONS
from schemas.limits import OLDEST_SCORES_S, SILENT_FEED_S

UID = "risk-pipeline"
OUTCOME_COLOURS = dict(zip((*OUTCOMES, "rejected"), (BLUE, ORANGE, SKY, GREY, PURPLE, RED), strict=True))
REGIONS = '"region" =~ /^${region:regex}$/'
OVER_TIME = f'FROM "pipeline" WHERE {REGIONS} AND $timeFilter GROUP BY time($__interval), "region"'
BY_TIME = f"{OVER_TIME} fill(null)"  # an outage is a gap in a line


def _added_up(names: tuple[str, ...], *, prefix: str = "") -> str:
    """What came in each step, summed over the regions; the fields are totals since the counts began."""
    inner = ", ".join(f'non_negative_difference(last("{prefix}{name}")) AS "{name}"' for name in names)
    outer = ", ".join(f'sum("{name}") AS "{name}"' for name in names)
    each = f"SELECT {inner} {OVER_TIME} fill(none)"
    return f"SELECT {outer} FROM ({each}) WHERE $timeFilter GROUP BY time($__interval) fill(none)"


def _freshness() -> Panel:
    query = (
        'SELECT ${__to} / 1000 - last("as_of") AS "age", "model" FROM "pipeline" '
        f"WHERE {REGIONS} AND \"region\" != '_unassigned' "
        'AND time > now() - 1d GROUP BY "region"'
    )
    return table(
        "Freshness of each region",
        "Age of the newest scores of a day, by the store's clock. Amber: late. Grey: stale, more than three ticks. "
        "NOT NOW: the shown time ends in the past, or this screen's clock is wrong.",
        (8, 8),
        query,
        [
            column("region", unit="string", displayName="Region", custom__width=92),
            column(
                "age",
                unit=AGE,
                decimals=0,
                displayName="Age",
                custom__width=70,
                mappings=[NOT_NOW_MAPPING],
                thresholds=steps((None, BLUE), (90, AMBER), (OLDEST_SCORES_S, GREY)),
                color={"mode": "thresholds"},
                custom__cellOptions={"type": "color-background", "mode": "basic"},
            ),
            column("model", unit="string", displayName="Model"),
        ],
        more={"transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]},
    )


def _number(
    title: str,
    description: str,
    query: str,
    unit: str,
    levels: Json,
    *,
    width: int = 4,
    named: bool = False,
    without: str = "STALE",
) -> Panel:
    defaults = {
        "unit": unit,
        "decimals": 0,
        "noValue": without,
        "mappings": [STALE_MAPPING],
        "thresholds": levels,
        "color": {"mode": "thresholds"},
    }
    return stat(title, description, (width, 4), query, defaults, background=True, named=named)


def _newest(fields: str, since: str = FRESH) -> str:
    """Something of the chosen regions' newest points."""
    return f'SELECT {fields} FROM "pipeline" WHERE {REGIONS} AND {since}'


def _figures() -> list[Panel]:
    zero = steps((None, BLUE), (1, RUST))
    known = " - ".join(f'last("{name}")' for name in ("consumed", *OUTCOMES, "rejected") if name != "repeated")
    of_regions = f'AS "gap" FROM "pipeline" WHERE {REGIONS} AND {FRESH} GROUP BY "region"'
    repeated = f'(SELECT -1 * last("repeated") {of_regions})'  # apart: older points lack it, and would have no gap
    unbalanced = (
        'SELECT max("gap") AS "most", min("gap") AS "least" FROM '
        f'(SELECT sum("gap") AS "gap" FROM (SELECT {known} {of_regions}), {repeated} WHERE {FRESH} GROUP BY "region")'
    )
    return [
        _number(
            "Ledger gap",
            "Consumed less all outcomes, of the regions with the largest and the smallest gap: 0, or counts cannot be "
            "relied on.",
            unbalanced,
            "suffix: events",
            steps((None, RUST), (0, BLUE), (1, RUST)),
            named=True,
        ),
        _number(
            "Unaccounted for",
            "Messages that Kafka handed over, by its offsets, less those in the ledger, since the job's start: 0, "
            "unless the topic has transactions or is compacted.",
            _newest('last("unaccounted") AS "unaccounted"'),
            "suffix: events",
            steps((None, RUST), (0, BLUE), (1, RUST)),
        ),
        _number(
            "Behind Kafka's end",
            "Events in the topic that were not read yet when the newest batch began. With several regions the largest "
            "of their newest points.",
            _newest('last("lag_events") AS "lag"'),
            "suffix: events",
            steps((None, BLUE), (10_000, AMBER), (100_000, RUST)),
        ),
        _number(
            "Starts of the job",
            "How often the job was started in the shown time. Above 1 it was restarted.",
            _newest('count(distinct("started_s")) AS "starts"', since="$timeFilter"),
            "none",
            steps((None, BLUE), (2, AMBER), (4, RUST)),
            without="no data",
        ),
        _number(
            "Points dropped",
            "Points that the store refused for good, most often outside its retention, since the job's start.",
            _newest('max("write_dropped") AS "dropped"'),
            "suffix: points",
            zero,
        ),
        _number(
            "Write retries",
            "Requests to the store that had to be sent again since the job's start.",
            _newest('max("write_retries") AS "retries"'),
            "suffix: retries",
            steps((None, BLUE), (1, AMBER), (100, RUST)),
        ),
        _number(
            "Silence of the feed",
            "Longest time since the newest incident of a chosen region.",
            'SELECT max("silent") AS "silent" FROM (SELECT last("silent_s") AS "silent" FROM "pipeline" '
            f'WHERE {REGIONS} AND {FRESH} GROUP BY "region")',
            AGE,
            steps((None, BLUE), (3600, AMBER), (SILENT_FEED_S, RUST)),
            width=8,
        ),
    ]


def pipeline() -> Json:
    region = "$tag_region"
    panels = [
        _freshness(),
        *_figures(),
        lines(
            "Events in",
            "Messages a second that were read, by region.",
            (12, 8),
            f'SELECT non_negative_derivative(last("consumed"), 1s) AS "rate" {BY_TIME}',
            "suffix: events/s",
            alias=region,
        ),
        lines(
            "Time of a batch",
            "From the start of a batch's writing to the store's acknowledgement.",
            (12, 8),
            f'SELECT max("batch_s") AS "batch" {BY_TIME}',
            "s",
            alias=region,
        ),
        lines(
            "From Kafka to the store",
            "Age of the newest event of a batch when its scores were being written.",
            (12, 8),
            f'SELECT max("freshness_s") AS "freshness" {BY_TIME}',
            "s",
            alias=region,
        ),
        lines(
            "Behind Kafka's end, over time",
            "Events not read yet when a batch began. Rising for long: the job is too slow.",
            (12, 8),
            f'SELECT max("lag_events") AS "lag" {BY_TIME}',
            "suffix: events",
            alias=region,
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
        lines(
            "Late",
            "Messages refused because their incident was older than the region's late limit.",
            (12, 7),
            f'SELECT non_negative_difference(last("rejected_late")) AS "late" {BY_TIME}',
            "suffix: events",
            alias=region,
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
    variables = [
        tag_variable(
            "region",
            "Region",
            'SHOW TAG VALUES FROM "pipeline" WITH KEY = "region"',
            "Regions, and `_unassigned` for messages of none",
            several=True,
        )
    ]
    return dashboard(
        UID,
        "Pipeline",
        "Whether events come in, are counted, scored and stored.",
        panels,
        variables,
        time={"from": "now-3h", "to": "now"},
    )
