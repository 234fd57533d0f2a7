"""The measurements of the store and the columns of the archive, each with its kind and meaning, declared once.

docs/reference/data-dictionary.md shows these tables on the site. A test writes every kind of point and compares.
"""

from typing import NamedTuple

from schemas.event import REASONS


class Column(NamedTuple):
    """Columns that share a kind and a meaning. `names` has spaces between them.

    kind: `tag`, `text`, or the unit of a float; an empty text is a float without a unit.
    """

    names: str
    kind: str
    meaning: str


class Measurement(NamedTuple):
    """A measurement, what its points are, and its columns."""

    about: str
    columns: tuple[Column, ...]


_REGION = Column("region", "tag", "slug")
_CATEGORY = Column("category", "tag", "slug, or `all`")
_ONE_CATEGORY = Column("category", "tag", "slug")
_HORIZON = Column("horizon", "tag", "`1h`, `4h` or `24h` ahead")
_EXPECTED = Column("expected", "incidents", "expected number within the horizon")
_RISK = Column("risk", "0 to 1", "probability of at least one")
_USUAL = Column("usual", "incidents", "what the baseline alone expects")
_SUPPORT = Column("support", "text", "history behind the score: `no_history`, `sparse`, `ok`")
_MODEL = Column(
    "model", "text", "the artifact's version; `baseline` or `baseline:REASON` if no network scored; `withheld`"
)
_BECAUSE = Column("because", "text", "the reason")


def _measurement(about: str, *columns: Column) -> Measurement:
    return Measurement(about, columns)


MEASUREMENTS = {
    "risk": _measurement(
        "Scores of a cell, per tick: what the map shows. Inside a tick only changed cells are written again.",
        _REGION,
        _CATEGORY,
        _HORIZON,
        Column("cell", "tag", "`r012c034` is row 12 from the south, column 34 from the west"),
        Column("geohash", "tag", "of the cell's centre"),
        _EXPECTED,
        _RISK,
        Column("low high", "incidents", "5 and 95 % quantile of the forecast count"),
        _USUAL,
        Column("observed_1h", "incidents", "counted in the hour before"),
        _SUPPORT,
    ),
    "top": _measurement(
        "The riskiest cells, per tick. Ranks 1 to 10 also have `by_…`, but not for `all`: usual x all of them = "
        "expected.",
        *(_REGION, _CATEGORY, _HORIZON, _EXPECTED, _RISK, _USUAL, _SUPPORT, _MODEL),
        Column("rank", "tag", "`01` has the highest risk"),
        Column("lift", "times", "expected over usual"),
        Column("by_here", "times", "factor of the lift: recent counts here"),
        Column("by_next_door", "times", "factor: recent counts next door"),
        Column("by_level", "times", "factor: the region's level"),
        Column("by_memory", "times", "factor: long memory"),
        Column("by_time", "times", "factor: time of day and week"),
        Column("by_network", "times", "factor: the network at mean features"),
        Column("by_following", "times", "factor: what the last weeks showed"),
        Column("by_nowcast", "times", "factor: what the last hour showed, the same in every cell"),
        Column("cell", "text", "like the tag of `risk`"),
        Column("geohash", "text", "of the cell's centre"),
    ),
    "unusual": _measurement(
        "Where the last hours had more incidents than usual, per tick: of each category the place that is least "
        "likely by chance, and of `all` that of any category or of all together; and which feeds are silent.",
        *(_REGION, _CATEGORY, _MODEL),
        Column("days", "days", "chance alone shows as much once in so many, somewhere in the region; 0: as usual"),
        Column("hours", "h", "the last ones that it is about"),
        Column("observed", "incidents", "counted in them there"),
        Column("usual", "incidents", "usual in them there, by the baseline and what forecasts follow"),
        Column("own_days", "days", "as days, of a place of the very category: of `all` one of all together"),
        Column("silent", "incidents", "usual since a feed of the category fell silent; 0: none is"),
        Column("raised", "times", "highest factor of a surge on a forecast; 1: none"),
        Column("says", "text", "feeds that are silent, surges, and the place, in words; empty: as usual"),
        Column("middle", "text", "geohash of the place's middle, where Grafana's map draws it"),
    ),
    "pipeline": _measurement(
        "The ledger and the state of the job, per tick. Counts are totals since the region's state began. The region "
        "`_unassigned` holds refused messages that name no region of this deployment. A point is written when the "
        "scores of its batch are acknowledged: the newest point with a `model` is of the newest tick whose scores are "
        "whole.",
        _REGION,
        _MODEL,
        Column("consumed", "messages", "read from Kafka; the sum of the next six"),
        Column("counted corrected duplicate repeated excluded rejected", "messages", "what became of them"),
        Column(" ".join(f"rejected_{reason}" for reason in REASONS), "messages", "by reason"),
        Column("as_of", "s since 1970", "the region's clock"),
        Column("scores_of", "s since 1970", "the same, where new scores are whole in the store; 0: they are withheld"),
        Column("middle", "text", "geohash of the region's middle; not for `_unassigned`"),
        Column("silent_s", "s", "from the newest counted incident (at first: the history's end) to the clock"),
        Column("lag_events", "messages", "in the topic and not read when the batch before began"),
        Column("batch_s", "s", "time to write the last batch, until the store's answer"),
        Column("freshness_s", "s", "from the newest message's receipt to this write"),
        Column("state_bytes", "bytes", "memory of Spark's state stores"),
        Column("write_retries", "writes", "repeated since the job started"),
        Column("write_dropped", "points", "that the store will never accept, since the job started"),
        Column(
            "unaccounted",
            "messages",
            "by Kafka's offsets minus those in the ledger, all regions, since the job started; 0 is right",
        ),
        Column("watch_ago_s", "s", "since all of `risk watch` was well; missing where none ever ran"),
        Column("started_s", "s since 1970", "start of the job"),
        Column("data_end_s", "s since 1970", "end of the data that the artifact in force was made from"),
        Column("challenger", "text", "version that is tried beside it, or `none`; not for `_unassigned`"),
        Column("followed_ago_s", "s", "since the hour of what the scores follow; 3 days: it could not be used"),
        Column("change", "text", "that the scores follow, such as `since 3 Mar: 05 to 08 h x 1.9`, local hours"),
    ),
    "outcome": _measurement(
        "Forecast against outcome, hourly: written an hour after the horizon's end, and again 24 hours "
        "(`late_limit_s`) later.",
        *(_REGION, _CATEGORY, _HORIZON, _MODEL),
        Column("observed", "incidents", "counted within the horizon, all cells"),
        Column("expected usual", "incidents", "forecast by the model and by the baseline, all cells"),
        Column("brier baseline_brier", "", "mean over cells of the squared error of `risk`"),
        Column("log_score baseline_log_score", "nats", "mean negative log likelihood of the counts; lower is better"),
        Column(
            "hits_5 hits_10 baseline_hits_5 baseline_hits_10",
            "incidents",
            "in the 5 and 10 % ranked first of the cells with any history",
        ),
        Column("ideal_hits_5 ideal_hits_10", "incidents", "in the best 5 and 10 % of them, chosen in hindsight"),
        Column("raised", "times", "factor of a surge in `expected`; only where there was one"),
        Column("unraised", "incidents", "what was expected without it; only where there was one"),
        Column("weekday", "", "local day on which the horizon began; Monday is 1"),
        Column("hour", "h", "local hour at which the horizon began"),
        Column("closed_s", "s since 1970", "when this judgement was due"),
    ),
    "outcome_area": _measurement(
        "The same by district, to see whether a part of the city is served worse.",
        *(_REGION, _CATEGORY, _HORIZON),
        Column("district", "tag", "part of the grid, `01` in the south-west"),
        Column("expected", "incidents", "forecast for the district"),
        Column("observed", "incidents", "counted in the district"),
    ),
    "outcome_chance": _measurement(
        "The same by chance, to see whether likely things happened as often as forecast. A range without a cell has "
        "no point.",
        *(_REGION, _CATEGORY, _HORIZON),
        Column("chance", "tag", "lower limit of the range of chances, percent: `00`, `01`, `05`, `20`, `50`"),
        Column("cells", "cells", "in the range, by their chance of at least one incident"),
        Column("said", "cells", "how many should have an incident, the sum of their chances"),
        Column("came", "cells", "how many had one"),
    ),
    "shadow": _measurement(
        "A challenger beside the champion, hourly: judged once, 25 hours (`late_limit_s` and an hour) after the "
        "horizon's end. It is on no map.",
        *(_REGION, _HORIZON),
        Column("champion challenger", "text", "versions of the two artifacts"),
        Column("champion_log_score challenger_log_score", "nats", "means over cells and categories"),
        Column("baseline_log_score", "nats", "the same of the champion's own baseline"),
        Column("observed champion_expected challenger_expected", "incidents", "all cells and categories"),
    ),
    "gate": _measurement(
        "What the gate says of a trial, from all of its local days so far. One point a UTC day, from the third day "
        "on, or when it stops a challenger that fails, then without `difference`, `low` and `high`.",
        _REGION,
        Column("challenger", "text", "version that is tried"),
        Column("difference", "nats", "mean daily difference of the log scores, challenger minus champion"),
        Column("low high", "nats", "bounds of the difference"),
        Column("margin", "nats", "how much worse it may be"),
        Column("days", "", "local days that were judged"),
        Column("failed_hours", "", "hours of whole local days in which the challenger could not be scored"),
        Column("decision", "text", "`go on`, `promote`, `stop` or `undecided`"),
        _BECAUSE,
        Column("awaited", "", "1 when it has decided and the trial goes on, else 0; without a trial the only field"),
    ),
    "drift": _measurement(
        "Observed over expected of the network that scores, without what it follows, for the shortest horizon, from "
        "its local days so far, or only the newest where they say more. One point a UTC day, from its fourteenth day "
        "on.",
        *(_REGION, _CATEGORY),
        Column("champion", "text", "version that scores"),
        Column("ratio", "", "observed over expected"),
        Column("low high", "", "bounds of the ratio"),
    ),
    "following": _measurement(
        "What was learned of the last weeks, hourly: factors on what the network expects of the next hour.",
        *(_REGION, _ONE_CATEGORY, _MODEL),
        Column("level", "times", "factor of the region's level"),
        Column("as_usual", "0 to 1", "chance that the network alone is as good; factors are drawn towards 1 by it"),
        Column("gained", "nats", "how much likelier the factors made the counts of the newest hour that was learned"),
        Column("incidents", "incidents", "in that hour"),
    ),
    "following_hour": _measurement(
        "The same for each local hour of the day.",
        *(_REGION, _ONE_CATEGORY),
        Column("hour", "tag", "local, `00` to `23`"),
        Column("factor", "times", "of level and hour"),
    ),
    "following_cell": _measurement(
        "The same for cells, each midnight (UTC): those beyond 1.1 or below 0.91.",
        *(_REGION, _ONE_CATEGORY),
        Column("cell", "tag", "as in `risk`"),
        Column("geohash", "tag", "of the cell's centre"),
        Column("factor", "times", "of the cell"),
    ),
    "retrain": _measurement(
        "What became of the last ask for retraining. One point an hour, where anybody asks.",
        _REGION,
        Column("made_ago_s", "s", "since one last started a trial; missing before the first"),
        Column("outcome", "text", "`nothing due`, `on trial`, `waits`, `trial started`, `refused` or `failed`"),
        _BECAUSE,
    ),
    "decided": _measurement(
        "Why the version that scores does. One point an hour; none where no record of the audit log says it.",
        _REGION,
        Column("champion", "text", "version"),
        Column("says", "text", "who made it champion or took it back, when in local time, and why"),
    ),
    "feedback": _measurement(
        "What shifts say of the scores, from the topic `feedback.v1`; never a label for the counts.",
        *(_REGION, _ONE_CATEGORY, _HORIZON),
        Column("cell", "tag", "the cell that the mark is about"),
        Column("desk", "tag", "desk or unit, never a person"),
        Column("mark", "tag", "`useful`, `not_useful` or `acted_on`"),
        Column("marks", "", "1"),
    ),
}

ARCHIVE = (
    Column("region", "text", "slug"),
    Column("day", "date", "UTC"),
    Column("cell", "integer", "index in the grid, from the south-west corner, row by row"),
    Column("category", "text", "slug"),
    Column("bin", "integer", "five minutes of the day, 0 to 287, from midnight UTC"),
    Column("count", "integer", "incidents; 0 in the row of a day without any"),
    Column("meaning", "text", "grid, time zone and counted origins, as JSON; each is added up alone"),
    Column(
        "cut_hours", "integer, null when not known", "bit h of the day is 1 when the hour from h:00 UTC says nothing"
    ),
)
