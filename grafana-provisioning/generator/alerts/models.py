"""Alerts on the life of a model: drift, trials and retraining."""

from generator.alerts.alert import DAY_S, HOUR_S, REGION, Alert, above, below, hours, outside
from schemas.limits import DRIFT_BAND

PAGE = f"risk-model?var-region={REGION}"
STANDS_STILL_S = 6 * HOUR_S  # a file comes every hour

ON_MODELS = (
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
        page=PAGE,
        to_do="""
            The gate has judged a challenger and waits for a person. The page Model shows what it says and why. Promote:
            read the challenger's `card.md`, then `python -m lifecycle gate end REGION --because "..." --confirm`. Stop
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
        page=PAGE,
        to_do=f"""
            Since this version scores, or in its newest two weeks or more, its region or one category has had clearly
            more or fewer incidents than expected: outside {DRIFT_BAND[0]:.2g} to {DRIFT_BAND[1]:g}, by more than
            chance. First check *feed silent* and `late`, as for calibration drift. If the feed was complete, `python -m
            lifecycle retrain REGION --now` makes a challenger and starts its trial. The alert ends when the band on the
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
        page=PAGE,
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
        page=PAGE,
        to_do="""
            `python -m streaming health` says whether a file cannot be used, and why. If not, `lifecycle judge` fails,
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
            `python -m streaming health` says which part of [the watch](retraining.md#the-watch) fails, why, and what to
            do; with compose see `docker compose logs watch`. Usual causes: a full disk, another owner of a folder, the
            archive lacks a day (fill it with `archive --data`, or allow it with `missing_days`), the registry is away,
            memory is short. It tries again every five minutes. Counts that nobody judges are lost after three days,
            and those that nobody archives after 35. If nobody is to watch any more, delete `watch.json` in
            `RISK_CHECKPOINT`.
        """,
    ),
)
