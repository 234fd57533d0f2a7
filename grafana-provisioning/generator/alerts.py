"""Every alert, in one list: Grafana's rules, the runbook and docs/how-to/alerts.md are made from it."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from generator.build import COLUMNS, DATASOURCE, Json, page, text
from schemas.limits import CALIBRATION_BAND, DRIFT_BAND, OLDEST_SCORES_S, SILENT_DAYS, UNUSUAL_DAYS

ADDRESS = '{{ reReplaceAll "/\\\\z" "" externalURL }}'  # Grafana's own, without a `/` at its end
REGION = "{{ .Labels.region }}"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
A_DAY = DAY_S // MINUTE_S  # evaluations


def plain(value: float) -> str:
    return f"{value:.3g}"


def percent(value: float) -> str:
    return f"{100 * value:g} %"


def hours(value: float) -> str:
    return f"{value / HOUR_S:g} h"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a threshold lies, for Grafana and in words. The ends of a range do not count."""

    kind: str
    params: tuple[float, ...]
    words: str

    def evaluator(self) -> Json:
        return {"type": self.kind, "params": list(self.params)}


def above(value: float, unit: Callable[[float], str] = plain, *, said: str = "") -> Threshold:
    """said: the words, where the value only divides none from some."""
    return Threshold("gt", (value,), said or f"above {unit(value)}")


def below(value: float, unit: Callable[[float], str] = plain, *, said: str = "") -> Threshold:
    return Threshold("lt", (value,), said or f"below {unit(value)}")


def outside(low: float, high: float, *, said: str = "") -> Threshold:
    return Threshold("outside_range", (low, high), said or f"outside {low:.2g} to {high:.3g}")


def inside(low: float, high: float) -> Threshold:
    return Threshold("within_range", (low, high), f"inside {low:.2g} to {high:.3g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """query: InfluxQL, a series for each alert; its newest value is judged every minute. Texts: no `$`, which Grafana's
    provisioning may take for a variable of the environment."""

    uid: str
    title: str
    severity: str  # information: wake nobody; warning; critical: the scores or the counts cannot be relied on
    panel: tuple[str, str]  # the page's uid and the panel's title: where to look
    query: str
    opens: Threshold
    closes: Threshold | str  # in words: as soon as it no longer opens
    measure: str = ""  # what a level in numbers is of
    looks_back_s: int = 10 * MINUTE_S
    waits: str = "0s"  # how long it must be so
    without_rows: str = "KeepLast"
    on_error: str = "KeepLast"
    lost_after: int = A_DAY  # evaluations without its series after which an alert ends
    summary: str
    means: str
    page: str = ""  # the address of a page, after `/d/`
    to_do: str

    @property
    def levels(self) -> str:
        closes = self.closes if isinstance(self.closes, str) else self.closes.words
        return f"Opens: {f'{self.measure} {self.opens.words}'.strip()}. Closes: {closes}."

    def rule(self, panel_id: int, section: str) -> Json:
        """Grafana's: A the query, B one number of each series, C the threshold. section: of the runbook."""
        condition: Json = {"evaluator": self.opens.evaluator()}
        if isinstance(self.closes, Threshold):  # so that a value on the line does not flap
            condition["unloadEvaluator"] = self.closes.evaluator()
        asked: Json = {"refId": "A", "rawQuery": True, "resultFormat": "time_series", "query": in_a_line(self.query)}
        asked |= {"intervalMs": MINUTE_S * 1000, "maxDataPoints": 43_200}
        span = {"from": self.looks_back_s, "to": 0}
        newest = {"type": "reduce", "expression": "A", "reducer": "last", "settings": {"mode": "dropNN"}}
        level = {"type": "threshold", "expression": "B", "conditions": [condition]}
        more = f" The page: {ADDRESS}/d/{self.page}" if self.page else ""
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "C",
            "for": self.waits,
            "noDataState": self.without_rows,
            "execErrState": self.on_error,
            "missing_series_evals_to_resolve": self.lost_after,
            "dashboardUid": self.panel[0],
            "panelId": panel_id,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": f"{in_a_line(self.means)} {self.levels}{more}",
                "runbook_url": f"{ADDRESS}/d/{section}",
            },
            "data": [
                {"refId": "A", "relativeTimeRange": span, "datasourceUid": DATASOURCE["uid"], "model": asked},
                {"refId": "B", "datasourceUid": "__expr__", "model": {"refId": "B", **newest}},
                {"refId": "C", "datasourceUid": "__expr__", "model": {"refId": "C", **level}},
            ],
        }


def in_a_line(text: str) -> str:
    return " ".join(text.split())


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


STALE_TICKS = OLDEST_SCORES_S // MINUTE_S
STANDS_STILL_S = 6 * HOUR_S  # a file comes every hour
MODEL_PAGE = f"risk-model?var-region={REGION}"

ALERTS: tuple[Alert, ...] = (
    # On the scores themselves
    Alert(
        uid="risk-cell-high",
        title="Cell above threshold",
        severity="information",
        panel=("risk-live", "$colour: $category, next $horizon"),
        # On a quiet night this still gives 0. A cell below 0.3 leaves the answer; so do those of a stale region.
        query="""
            SELECT "r" AS "risk" FROM (SELECT "r" FROM (SELECT last("risk") AS "r", "support" FROM "risk"
            WHERE "horizon" = '1h' AND "category" != 'all' AND $timeFilter GROUP BY "region", "category", "cell")
            WHERE "r" >= 0.3 AND "support" != 'no_history' GROUP BY "region", "category", "cell"),
            (SELECT 0 * last("as_of") AS "r" FROM "pipeline" WHERE $timeFilter GROUP BY "region")
            GROUP BY "region", "category", "cell"
        """,
        measure="chance within 1 h of a cell with a history",
        opens=above(0.5, percent),
        closes=below(0.35, percent),
        looks_back_s=OLDEST_SCORES_S,
        waits="2m",
        lost_after=3,
        summary=f"{REGION}, cell {{{{ .Labels.cell }}}}: {{{{ .Labels.category }}}} is likely within the hour",
        means="One alert per region, category and cell.",
        page=f"risk-cell?var-region={REGION}&var-category={{{{ .Labels.category }}}}&var-horizon=1h"
        "&var-cell={{ .Labels.cell }}",
        to_do="""
            An incident within the hour is likely in that cell; there is one alert per region, category and cell.
            Look at the map and the cell's page: how far the score is above usual, and whether the model or only the
            baseline produced it. The alert is about readiness: where a unit waits. Without scores it stays open where
            there is one region, and ends for one of several: then *scores stale* says why.
        """,
    ),
    Alert(
        uid="risk-unusual",
        title="More than usual",
        severity="information",
        panel=("risk-live", "More than usual"),
        query="""
            SELECT last("own_days") AS "days" FROM "unusual" WHERE $timeFilter GROUP BY "region", "category"
        """,
        opens=above(0, said=f"chance alone shows as much once in {UNUSUAL_DAYS:g} days or more seldom"),
        closes="as usual",
        looks_back_s=OLDEST_SCORES_S,
        without_rows="OK",
        lost_after=3,
        summary=f"{REGION}: more {{{{ .Labels.category }}}} than usual in some place",
        means="The map names the place. One alert per region and category; `all`: of all categories together.",
        page=f"risk-live?var-region={REGION}&var-category={{{{ .Labels.category }}}}",
        to_do="""
            In the last hours some place had more incidents of the category, or of `all` together, than its hour of the
            week explains. Look at
            the map: where, how many instead of how many, and how seldom chance alone shows as much. It is no forecast,
            and it does not say why: a storm, an event, several calls about the same, or a feed that sends twice. Once
            in some weeks it is chance.
        """,
    ),
    Alert(
        uid="risk-scores-stale",
        title="Scores stale",
        severity="critical",
        panel=("risk-pipeline", "Freshness of each region"),
        query=f"""
            SELECT moving_average(count("as_of"), {1 + STALE_TICKS}) AS "ticks" FROM "pipeline"
            WHERE "region" != '_unassigned' AND $timeFilter GROUP BY time(1m), "region" fill(0)
        """,
        opens=below(0.01, said=f"no tick in the running minute and the {STALE_TICKS} before it"),
        closes="a tick",
        looks_back_s=DAY_S,
        without_rows="Alerting",
        on_error="Alerting",  # a store that does not answer has no fresh scores
        lost_after=3,  # the query looks back a day; "nothing at all" of before the first tick must end
        summary=f'{{{{ or .Labels.region "all regions" }}}}: no new scores for {STALE_TICKS} minutes',
        means="The map says STALE.",
        to_do="""
            Do not read the map now. `risk health` says why: the job is down (start it; nothing is lost),
            Kafka or the store does not answer (the job waits, then ends with code 5 or 6), this is a replay, or a
            region was retired (silence the alert for the label `region` for a day). It also fires at the first start.
            Minutes in which the job did not run stay without scores.
        """,
    ),
    Alert(
        uid="risk-baseline-only",
        title="Only the baseline scores",
        severity="warning",
        panel=("risk-pipeline", "Freshness of each region"),
        query="""
            SELECT sum("one") AS "minutes" FROM
            (SELECT count("model") AS "one" FROM "pipeline" WHERE "model" =~ /^baseline/ AND $timeFilter
            GROUP BY "region"),
            (SELECT 0 * last("as_of") AS "one" FROM "pipeline" WHERE "region" != '_unassigned' AND $timeFilter
            GROUP BY "region")
            GROUP BY "region"
        """,
        opens=above(2, said="above 2 of 10 minutes"),
        closes="fewer",
        waits="5m",
        summary=f"{REGION}: the network has no part in the scores",
        means="""The baseline makes them: right on average, blind to what is different today. The page Pipeline says
            why.""",
        to_do="""
            The model's weights cannot be used, or their answer was no number. The Pipeline page and `risk
            health` show `baseline:` and the reason. The scores are right on average, but do not know what is
            different today. Copy the artifact again from its source; on a GPU check its driver first.
        """,
    ),
    Alert(
        uid="risk-calibration",
        title="Calibration drift",
        severity="warning",
        panel=("risk-helps", "Seen over expected"),
        query="""
            SELECT "seen" / "expected" AS "ratio" FROM (SELECT sum("seen") AS "seen",
            sum("expected") AS "expected", count("seen") AS "days" FROM (SELECT sum("observed") AS "seen",
            sum("expected") AS "expected" FROM (SELECT first("observed") AS "observed",
            first("expected") AS "expected" FROM "outcome" WHERE "horizon" = '24h' AND $timeFilter
            GROUP BY time(1d), "region", "category" fill(none))
            WHERE $timeFilter GROUP BY time(1d), "region" fill(none)) GROUP BY "region")
            WHERE "expected" >= 100 AND "days" >= 7 GROUP BY "region"
        """,
        measure="seen over expected in 14 days, of 7 days and 100 expected incidents at least,",
        opens=outside(*CALIBRATION_BAND),
        closes=inside(0.87, 1.15),
        looks_back_s=14 * DAY_S,
        waits="1h",
        without_rows="OK",
        lost_after=10,
        summary=f"{REGION}: two weeks brought clearly more incidents than expected, or clearly fewer",
        means="""One forecast of 24 hours a day. The world, the reporting or the feed has changed: look at the feed
            first, then train anew.""",
        page=f"risk-helps?var-region={REGION}",
        to_do="""
            First check *feed silent* and `late` on the Pipeline page: hours whose messages are missing or late look
            empty. If the feed was complete, the city or the way of recording has changed: train again on a newer file,
            `risk train --like FOLDER --out out/next ...`, with the folder of the artifact in force, and
            read the new `card.md` before you move its folder beside the old one. Until then rely on the ranks of the
            cells more than on the numbers.
        """,
    ),
    # On the messages: that they come, are counted and are stored
    Alert(
        uid="risk-feed-silent",
        title="Feed silent",
        severity="warning",
        panel=("risk-pipeline", "Silence of the feed"),
        query='SELECT last("silent") AS "usual" FROM "unusual" WHERE $timeFilter GROUP BY "region", "category"',
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
    # On the life of a model
    Alert(
        uid="risk-trial-decided",
        title="Trial decided",
        severity="information",
        panel=("risk-model", "The gate says"),
        # A `gate` point bears the UTC day in which its newest hour began. That hour is judged 26 hours late, and the
        # next point comes a day on: where the local day begins at 23:00 UTC it is the newest until it is 72 hours old.
        query='SELECT last("awaited") AS "awaited" FROM "gate" WHERE $timeFilter GROUP BY "region"',
        opens=above(0.5, said="the gate says promote, stop or undecided"),
        closes="the trial is ended",
        looks_back_s=4 * DAY_S,
        waits="1h",
        without_rows="OK",
        lost_after=10,
        summary=f"{REGION}: the gate has decided, and a person is awaited",
        means="""The challenger may be promoted, or is to be retired; nothing changes until somebody ends the
            trial.""",
        page=MODEL_PAGE,
        to_do="""
            The gate has judged a challenger and waits for a person. The page Model shows what it says and why. Promote:
            read the challenger's `card.md`, then `risk gate end REGION --because "..." --confirm`. Stop
            or undecided: the same without `--confirm` retires the challenger. If it could not be scored, the job's log
            has the reason. Until then the champion scores, and nothing is lost by waiting a day.
        """,
    ),
    Alert(
        uid="risk-drift",
        title="Seen over expected off for long",
        severity="warning",
        panel=("risk-model", "Seen over expected, of the version that scores"),
        # The bound of the confidence sequence that is nearer to 1; no row where the bounds hold 1 between them.
        query="""
            SELECT "bound" FROM (SELECT "low" AS "bound" FROM (SELECT last("low") AS "low" FROM "drift"
            WHERE $timeFilter GROUP BY "region", "category") WHERE "low" > 1 GROUP BY "region", "category"),
            (SELECT "high" AS "bound" FROM (SELECT last("high") AS "high" FROM "drift"
            WHERE $timeFilter GROUP BY "region", "category") WHERE "high" < 1 GROUP BY "region", "category")
            GROUP BY "region", "category"
        """,
        measure="the whole band",
        opens=outside(*DRIFT_BAND),
        closes="the band reaches inside",
        looks_back_s=3 * DAY_S,
        waits="1h",
        without_rows="OK",
        lost_after=10,
        summary=f"{REGION}, {{{{ .Labels.category }}}}: the version that scores expects too much or too little",
        means="""Seen over expected of the network alone, without what it follows, is off, beyond chance, over two weeks
            or more of this version: a challenger is due.""",
        page=MODEL_PAGE,
        to_do=f"""
            Since this version scores, or in its newest two weeks or more, its region or one category has had clearly
            more or fewer incidents than expected: outside {DRIFT_BAND[0]:.2g} to {DRIFT_BAND[1]:g}, by more than
            chance. First check *feed silent* and `late`, as for calibration drift. If the feed was complete, `risk gate
            retrain REGION --now` makes a challenger and starts its trial. The alert ends when the band on the
            page Model reaches inside again, or within three days after another version begins to score.
        """,
    ),
    Alert(
        uid="risk-challenger-made",
        title="Challenger made",
        severity="information",
        panel=("risk-model", "The gate says"),
        # A `retrain` point an hour, of what retraining has written down. Without an ask at all there is none.
        query='SELECT last("made_ago_s") AS "made" FROM "retrain" WHERE $timeFilter GROUP BY "region"',
        measure="time since it was made",
        opens=below(DAY_S, hours),
        closes=above(DAY_S, hours),
        looks_back_s=4 * HOUR_S,
        without_rows="OK",
        lost_after=10,
        summary=f"{REGION}: a challenger was made, and its trial has begun",
        means="""The version that scores is old, drifts or lost its skill. The map stays as it is; after two weeks or
            more a person decides.""",
        page=MODEL_PAGE,
        to_do="""
            [Retraining](retraining.md) has trained a challenger, and its trial has begun. The page Model says why, and
            what the gate waits for. Nothing is to be done: the champion scores until a person ends the trial.
        """,
    ),
    Alert(
        uid="risk-follows-nothing",
        title="Forecasts no longer follow",
        severity="warning",
        panel=("risk-model", "Follows a change"),
        query='SELECT last("followed_ago_s") AS "ago" FROM "pipeline" WHERE $timeFilter GROUP BY "region"',
        measure="age of what the scores follow",
        opens=above(STANDS_STILL_S, hours),
        closes=below(STANDS_STILL_S, hours),
        waits="5m",
        summary=f"{REGION}: for {hours(STANDS_STILL_S)} nothing was learned, or what was learned cannot be used",
        means="""The scores go on. Where the region changes they stay wrong for longer; after three days the network
            scores alone.""",
        page=MODEL_PAGE,
        to_do="""
            `risk health` says whether a file cannot be used, and why. If not, `risk watch --once judge` fails,
            or says why it learns nothing: with compose see `docker compose logs watch`. Usual causes: a full disk, a
            version that is gone from RISK_ARTIFACTS, a damaged file. To begin anew, delete the version's folder in
            `RISK_CHECKPOINT/following`: its factors are 1 until a day later.
        """,
    ),
    Alert(
        uid="risk-watch-stopped",
        title="Watch stands still",
        severity="warning",
        panel=("risk-model", "The gate says"),
        query='SELECT last("watch_ago_s") AS "ago" FROM "pipeline" WHERE $timeFilter',
        measure="time since all of it was well",
        opens=above(STANDS_STILL_S, hours),
        closes=below(STANDS_STILL_S, hours),
        waits="5m",
        summary=f"For {hours(STANDS_STILL_S)} what runs beside the job fails, or stands still",
        means="""The scores are not touched. But nothing is judged or learned, no day reaches the archive, or no
            challenger is made for an old or drifting version.""",
        to_do="""
            `risk health` says which part of [the watch](retraining.md#the-watch) fails, why, and what to
            do; with compose see `docker compose logs watch`. Usual causes: a full disk, another owner of a folder, the
            archive lacks a day (fill it with `archive --data`, or allow it with `missing_days`), the registry is away,
            memory is short. It tries again every five minutes. Counts that nobody judges are lost after three days,
            and those that nobody archives after ten. If nobody is to watch any more, delete `watch.json` in
            `RISK_CHECKPOINT`.
        """,
    ),
)


def rules(alerts: Sequence[Alert], pages: Iterable[Json]) -> Json:
    """What Grafana evaluates every minute."""
    numbers: Mapping[tuple[str, str], int] = {
        (each["uid"], panel["title"]): panel["id"] for each in pages for panel in each["panels"]
    }
    made = [
        alert.rule(numbers[alert.panel], f"{RUNBOOK}?viewPanel={numbers[RUNBOOK, alert.title]}") for alert in alerts
    ]
    group = {"orgId": 1, "name": "incident-risk", "folder": "Incident risk", "interval": "1m", "rules": made}
    return {"apiVersion": 1, "groups": [group]}


# The runbook: what each alert means and what to do, as a page, so that an alert's link leads to it.

RUNBOOK = "risk-runbook"
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")  # to other pages, which Grafana does not have
# On a screen of 1280 pixels, Grafana's least wide grid: characters in a line of half of it, and pixels.
_CHARACTERS, _LINE_PX, _FRAME_PX, _ROW_PX = 72, 22, 72, 38


def _words_of(alert: Alert) -> str:
    return f"*{alert.levels}*\n\n{in_a_line(alert.to_do)}"


def guide(alerts: Sequence[Alert]) -> str:
    """The runbook for docs/how-to/alerts.md."""
    return "\n\n".join(f"## {alert.title}\n\n{_words_of(alert)}" for alert in alerts)


def runbook(alerts: Sequence[Alert]) -> Json:
    """A panel for each alert, of its title; two stand side by side and are as high as the longer needs."""
    contents = [_LINK.sub(r"\1", _words_of(alert)) for alert in alerts]
    lines = [sum(max(1, math.ceil(len(line) / _CHARACTERS)) for line in words.splitlines()) for words in contents]
    panels: list[Json] = []
    for number, (alert, content) in enumerate(zip(alerts, contents, strict=True)):
        longer = max(lines[number // 2 * 2 :][:2])
        rows = math.ceil((_FRAME_PX + _LINE_PX * longer) / _ROW_PX)
        panels.append(text(alert.title, content, (COLUMNS // 2, rows)))
    return page(RUNBOOK, "When an alert fires", "What each alert means, and what to do.", panels, [])
