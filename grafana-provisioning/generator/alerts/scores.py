"""Alerts on the scores themselves."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.alerts.alert import DAY_S, MINUTE_S, REGION, Alert, above, below, inside, outside, percent
from schemas.limits import CALIBRATION_BAND, OLDEST_SCORES_S, UNUSUAL_DAYS

STALE_TICKS = OLDEST_SCORES_S // MINUTE_S

ON_SCORES = (
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
            the map: where, how many in place of how many, and how seldom chance alone shows as much. It is no forecast,
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
            Do not read the map now. `python -m streaming health` says why: the job is down (start it; nothing is lost),
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
            The model's weights cannot be used, or their answer was no number. The Pipeline page and `python -m
            streaming health` show `baseline:` and the reason. The scores are right on average, but do not know what is
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
            `python -m models train --like FOLDER --out out/next ...`, with the folder of the artifact in force, and
            read the new `card.md` before you move its folder beside the old one. Until then rely on the ranks of the
            cells more than on the numbers.
        """,
    ),
)
