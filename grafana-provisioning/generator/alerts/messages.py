"""Alerts on the messages: that they come, are counted and are stored."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from collections.abc import Callable

from generator.alerts.alert import HOUR_S, REGION, Alert, above, below, outside, percent
from schemas.limits import SILENT_DAYS

LEAST, LEAST_OF_A_SMALL_FEED = 20, 5  # messages, of which a share says something
LATELY = "time > now() - 30m"


def share(part: str, counts: Callable[[str], str], least: int, *, groups: str = "", lately: bool = True) -> str:
    """The refused share of six hours, or of half an hour if enough came in it; 0 where too few came in six hours.

    Of up to three values a region the last in time counts, and a value stands at the begin of its span. So silence
    mends nothing, and six hours of few end an alert. part: a column of counts, beside `consumed`.
    """

    def enough(since: str) -> str:
        return f'(SELECT "{part}" / "consumed" AS "share" FROM ({counts(since)}) WHERE "consumed" >= {least})'

    few = f'(SELECT 0 * "consumed" AS "share" FROM ({counts("$timeFilter")}) WHERE "consumed" < {least})'
    spans = [few, enough("$timeFilter"), *([enough(LATELY)] if lately else [])]
    return f'SELECT "share" FROM {", ".join(spans)}{groups}'


def of_regions(since: str) -> str:
    names = ("rejected", "consumed")
    each = ", ".join(f'non_negative_difference(last("{name}")) AS "{name}"' for name in names)
    sums = ", ".join(f'sum("{name}") AS "{name}"' for name in names)
    minutes = f'WHERE "region" != \'_unassigned\' AND {since} GROUP BY time(1m), "region" fill(none)'
    return f'SELECT {sums} FROM (SELECT {each} FROM "pipeline" {minutes}) GROUP BY "region"'


def of_no_region(since: str) -> str:
    def came(name: str, where: str = "", groups: str = "") -> str:
        each = f'non_negative_difference(last("consumed")) AS "{name}"'
        return f'(SELECT {each} FROM "pipeline" WHERE {where}{since} GROUP BY time(1m){groups} fill(none))'

    sources = (
        came("consumed", groups=', "region"'),
        came("lost", where="\"region\" = '_unassigned' AND "),
        f'(SELECT 0 * last("as_of") AS "lost" FROM "pipeline" WHERE {since})',
    )
    return f'SELECT sum("lost") AS "lost", sum("consumed") AS "consumed" FROM {", ".join(sources)}'


ON_MESSAGES = (
    Alert(
        uid="risk-feed-silent",
        title="Feed silent",
        severity="warning",
        panel=("risk-pipeline", "Silence of the feed"),
        query='SELECT last("silent") AS "usual" FROM "unusual" WHERE $timeFilter GROUP BY "region", "category"',
        measure="incidents that are usual since the feed fell silent",
        opens=above(0, said=f"chance alone shows so few once in {SILENT_DAYS:g} days or more seldom"),
        closes="incidents come",
        waits="5m",
        summary=f"{REGION}: the feed of {{{{ .Labels.category }}}} brings nothing, or next to nothing",
        means="Scores are still made, of what is usual: nobody knows what happens. Ask the centre for the feed.",
        to_do="""
            The job runs, but no incident arrives, or hardly any (at first: since the end of the artifact's history).
            The map says since when, and how many are usual. Check the interface of the CAD system: is it connected,
            does it send to the topic, and with the right region? Each silent category has its own alert beside `all`.
        """,
    ),
    Alert(
        uid="risk-ledger-unbalanced",
        title="Ledger unbalanced",
        severity="critical",
        panel=("risk-pipeline", "Ledger gap"),
        query="""
            SELECT sum("gap") AS "gap" FROM
            (SELECT last("consumed") - last("counted") - last("corrected") - last("duplicate")
            - last("excluded") - last("rejected") AS "gap" FROM "pipeline" WHERE $timeFilter GROUP BY "region"),
            (SELECT -1 * last("repeated") AS "gap" FROM "pipeline" WHERE $timeFilter GROUP BY "region")
            WHERE $timeFilter GROUP BY "region"
        """,
        opens=outside(-0.5, 0.5, said="consumed differs from the outcomes"),
        closes="equal",
        summary=f"{REGION}: the ledger does not balance",
        means="Messages were read that became nothing, or something twice: do not rely on the counts, report it.",
        to_do="""
            In the store, messages in and outcomes out differ. The job itself would have ended with code 7, so somebody
            else wrote into the store, or it returned wrong values. Do not rely on the counts, and report it.
        """,
    ),
    Alert(
        uid="risk-unaccounted",
        title="Messages unaccounted for",
        severity="critical",
        panel=("risk-pipeline", "Unaccounted for"),
        query='SELECT last("unaccounted") AS "unaccounted" FROM "pipeline" WHERE $timeFilter',
        opens=outside(-0.5, 0.5, said="Kafka's offsets differ from the ledger"),
        closes="equal, or a restart",
        summary="Kafka handed over other messages than the ledger has",
        means="""By Kafka's offsets, since the job started. Unless the topic has transactions or is compacted, do not
            rely on the counts and report it.""",
        to_do="""
            By Kafka's offsets, it delivered more or fewer messages than the ledger has. A topic with transactions or
            compaction has such gaps: then silence this rule. Otherwise do not rely on the counts, keep the topic,
            report it, and begin anew from an earlier time. A restart of the job ends the alert without correcting
            anything.
        """,
    ),
    Alert(
        uid="risk-rejects",
        title="Too many rejects",
        severity="warning",
        panel=("risk-pipeline", "Refused, by reason"),
        query=share("rejected", of_regions, LEAST, groups=' GROUP BY "region"'),
        measure=f"refused, of at least {LEAST} messages in 30 min or 6 h,",
        opens=above(0.05, percent),
        closes=below(0.02, percent),
        looks_back_s=6 * HOUR_S,
        waits="5m",
        summary=f"{REGION}: too many of the messages are refused",
        means="The reasons stand on the page Pipeline and in the dead letters.",
        to_do="""
            Refused messages of a region: of the last half hour if it had twenty, otherwise of six hours. The Pipeline
            page shows the reasons, `incidents.v1.dlq` each refused message. Usual causes: a new field or category of
            the CAD system, a wrong clock (`future`), messages that waited for days (`late`). Correct the producer;
            refused messages never count. Refusals in the first minute of the job, or after an absence of six hours,
            are in no alert.
        """,
    ),
    Alert(
        uid="risk-rejects-small",
        title="Most messages of a small feed refused",
        severity="warning",
        panel=("risk-pipeline", "Refused, by reason"),
        query=share("rejected", of_regions, LEAST_OF_A_SMALL_FEED, groups=' GROUP BY "region"', lately=False),
        measure=f"refused, of at least {LEAST_OF_A_SMALL_FEED} messages in 6 h,",
        opens=above(0.5, percent),
        closes=below(0.25, percent),
        looks_back_s=6 * HOUR_S,
        waits="5m",
        summary=f"{REGION}: most of the messages are refused",
        means="The reasons stand on the page Pipeline and in the dead letters.",
        to_do="Usually a producer was changed: read the newest dead letters.",
    ),
    Alert(
        uid="risk-rejects-unassigned",
        title="Too many messages of no region",
        severity="warning",
        panel=("risk-pipeline", "Refused, by reason"),
        query=share("lost", of_no_region, LEAST),
        measure=f"of no known region, of at least {LEAST} messages in 30 min or 6 h,",
        opens=above(0.05, percent),
        closes=below(0.02, percent),
        looks_back_s=6 * HOUR_S,
        waits="5m",
        summary="Too many of all messages name no known region",
        means="""They are refused before any region sees them: a producer or an artifact is missing or misnamed.""",
        to_do="""
            Messages name a region that has no artifact, or no region that can be read. Correct the producer's region,
            or add the artifact. What is refused of a region with an artifact is in *Too many rejects*.
        """,
    ),
    Alert(
        uid="risk-points-dropped",
        title="Points dropped by the store",
        severity="critical",
        panel=("risk-pipeline", "Points dropped"),
        query='SELECT max("write_dropped") AS "dropped" FROM "pipeline" WHERE $timeFilter',
        opens=above(0.5, said="any point dropped since the job's start"),
        closes="a restart of the job",
        summary="The store refuses points for good",
        means="""The map has holes where they belong; the job's log names the first of them and the store's reason.""",
        to_do="""
            The store will never accept some points, so the map has holes. The log names the first one and the reason:
            usually a retention that is shorter than the points are old, or a field that somebody else wrote with
            another type. Correct that, then restart the job: the points that were dropped do not come again. The
            alert ends about ten minutes later.
        """,
    ),
)
