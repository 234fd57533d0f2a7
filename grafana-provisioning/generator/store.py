"""What the pages ask the store: parts of queries in InfluxQL, and the choices of a page.

InfluxQL: two aggregates lose a point's time, GROUP BY takes only tags, an error comes with HTTP 200, and a time limit
belongs into the innermost query (the outer one has it again only with GROUP BY time).
"""

from generator.looks import Json
from schemas.limits import OLDEST_SCORES_S
from schemas.spec import ALL_CATEGORIES

DATASOURCE: Json = {"type": "influxdb", "uid": "risk-influxdb"}
PLACE = "\"region\" = '$region' AND \"category\" = '$category' AND \"horizon\" = '$horizon'"
LIFT = '("expected" + 0.000001) / ("usual" + 0.000001)'  # `lift` of sinks/line_protocol.py
# By the store's clock, whatever range is shown; none when stale.
FRESH = f"time > now() - {OLDEST_SCORES_S // 60}m"
# Up to the newest scores that the store has acknowledged: it may hold a part of those that come next.
WHOLE = f"time <= 0${{frame:raw}}s AND {FRESH}"


def long(measurement: str) -> str:
    """The measurement in the bucket that is chosen on the page."""
    return f'"${{bucket:raw}}".."{measurement}"'


OUTCOME, OUTCOME_AREA, OUTCOME_CHANCE = map(long, ("outcome", "outcome_area", "outcome_chance"))


def choice(name: str, label: str, query: str, description: str, *, several: bool = False, first: str = "") -> Json:
    """A drop-down of a tag's values. several: any number of them, first all. first: the one chosen at first."""
    more: Json = {"current": {"text": ["All"], "value": ["$__all"]}} if several else {}
    more |= {"current": {"text": first, "value": first}} if first else {}
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "query": query,
        "refresh": 1,
        "sort": 7,  # 1h, 4h, 24h in that order
        "multi": several,
        "includeAll": several,
        **more,
    }


def choices_of_place(*, several_categories: bool = False) -> list[Json]:
    """Region, category, horizon, from the small `top` measurement."""

    def values(key: str, where: str = "") -> str:
        return f'SHOW TAG VALUES FROM "top" WITH KEY = "{key}"{where}'

    here = " WHERE \"region\" = '$region'"
    # What is added up must not have the sum beside it; by another name, a link from the map does not choose it either.
    each = f"{here} AND \"category\" != '{ALL_CATEGORIES}'"
    category = (
        choice("categories", "Categories", values("category", each), "Kinds of incident", several=True)
        if several_categories
        else choice("category", "Category", values("category", here), "Kind of incident", first=ALL_CATEGORIES)
    )
    return [
        choice("region", "Region", values("region"), "The area that one agency serves"),
        category,
        choice("horizon", "Horizon", values("horizon", here), "How far ahead the score looks", first="4h"),
    ]


def asked(name: str, label: str, query: str, description: str) -> Json:
    """A value that the page's queries need, asked for at each refresh; the page's address leaves it out."""
    return choice(name, label, query, description) | {"hide": 2, "refresh": 2, "sort": 0, "skipUrlSync": True}


def newest_frame() -> Json:
    """When the newest whole scores are of; empty when stale, 0 when they are withheld.

    Their ledger is written when they are acknowledged.
    """
    query = 'SELECT last("scores_of") FROM "pipeline" WHERE "region" = \'$region\' AND ' + FRESH  # noqa: S608 - made from constants
    return asked("frame", "Frame", query, "The newest scores that are whole in the store")


def choice_of_words(name: str, label: str, words: dict[str, str], description: str) -> Json:
    """A drop-down of texts, each with what stands for it in queries; first the first."""
    text, value = next(iter(words.items()))
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "description": description,
        "query": ", ".join(f"{text} : {value}" for text, value in words.items()),
        "current": {"text": text, "value": value},
        "multi": False,
        "includeAll": False,
    }


def choice_of_bucket() -> Json:
    """Which data: what is kept for a month, or its hourly extract that is kept for a year."""
    words = {"a month (every minute)": "risk", "a year (every hour)": "risk_long"}
    about = "Long ranges read the extract, one value an hour; it is written 10 minutes after each hour"
    return choice_of_words("bucket", "Data kept for", words, about)
