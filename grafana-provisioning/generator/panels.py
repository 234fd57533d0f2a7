"""Building blocks of the dashboards: Grafana's classic JSON, all that repeats, once.

InfluxQL: two aggregates lose a point's time, GROUP BY takes only tags, an error comes with HTTP 200, and a time limit
belongs into the innermost query (the outer one has it again only with GROUP BY time).
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.limits import OLDEST_SCORES_S

Json = dict[str, Any]

DATASOURCE: Json = {"type": "influxdb", "uid": "risk-influxdb"}
TAG = "incident-risk"
COLUMNS = 24

# Okabe and Ito's palette, which people with any colour vision can tell apart; grey is kept for "not known".
BLUE, ORANGE, SKY, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#707070"
# Grounds under white letters, as BLUE and GREY are: 4.5 to 1 at least, as WCAG AA asks.
AMBER, RUST, ALARM = "#A35A00", "#B84700", "#B3261E"

PLACE = "\"region\" = '$region' AND \"category\" = '$category' AND \"horizon\" = '$horizon'"
LIFT = '("expected" + 0.000001) / ("usual" + 0.000001)'  # `lift` of sinks/line_protocol.py
OUTCOME, OUTCOME_AREA, OUTCOME_CHANCE, RISK = (
    f'"${{bucket:raw}}".."{name}"' for name in ("outcome", "outcome_area", "outcome_chance", "risk")
)
# By the store's clock, whatever range is shown; none when stale.
FRESH = f"time > now() - {OLDEST_SCORES_S // 60}m"
ALL_CATEGORIES = "all"  # as in schemas/spec.py
# Up to the newest scores that the store has acknowledged: it may hold a part of those that come next.
WHOLE = f"time <= 0${{frame:raw}}s AND {FRESH}"


def without_a_value(word: str, colour: str = GREY) -> Json:
    result = {"text": word, "color": colour, "index": 0}
    return {"type": "special", "options": {"match": "null+nan", "result": result}}


def between(low: float | None, high: float | None, word: str, index: int) -> Json:
    """An alarming word in place of the numbers from `low` to `high`; None is without an end."""
    result = {"text": word, "color": ALARM, "index": index}
    return {"type": "range", "options": {"from": low, "to": high, "result": result}}


STALE_MAPPING = without_a_value("STALE", ALARM)
# An age below zero: the shown range ended in the past, or this screen's clock is wrong.
NOT_NOW_MAPPING = between(None, -60, "NOT NOW", 2)
AGE = "dthms"  # 00:01:15: of Grafana's unit `s` with whole numbers, a minute and a half is "2 mins"
CLOCK = "time:ddd D MMM, HH:mm Z"
TABLE_OPTIONS: Json = {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}

SUPPORT_MAPPING: Json = {
    "type": "value",
    "options": {
        name: {"color": colour, "index": index}
        for index, (name, colour) in enumerate({"ok": BLUE, "sparse": AMBER, "no_history": GREY}.items(), start=1)
    },
}

WITHOUT_TIME: Json = {
    "id": "organize",
    "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}},
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. size: columns of COLUMNS, and rows of about 38 pixels. queries: InfluxQL, refId A, B, ..."""

    kind: str
    title: str
    description: str
    size: tuple[int, int]
    queries: Sequence[str] = ()
    form: str = "table"  # "table": one frame. "time_series": a frame per series and column
    alias: str = "$col"
    options: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    more: Json = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The same as long as the panel has its title, wherever it stands: links and alerts lead to it."""
        return zlib.crc32(self.title.encode()) >> 1

    def json(self, x: int, y: int) -> Json:
        width, height = self.size
        panel: Json = {
            "id": self.number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "options": self.options,
        }
        if self.kind == "text":
            return panel | self.more
        targets = [
            {
                "refId": "ABCDEF"[i],
                "datasource": DATASOURCE,
                "rawQuery": True,
                "query": query,
                "resultFormat": self.form,
                **({"alias": self.alias} if self.form == "time_series" else {}),
            }
            for i, query in enumerate(self.queries)
        ]
        fields = {"defaults": self.defaults, "overrides": list(self.overrides)}
        return panel | {"datasource": DATASOURCE, "targets": targets, "fieldConfig": fields} | self.more


def text(title: str, content: str, size: tuple[int, int]) -> Panel:
    """A panel of plain language, Markdown."""
    options = {"mode": "markdown", "content": content}
    return Panel("text", title, "An explanation in words.", size, options=options)


def stat(
    title: str,
    description: str,
    size: tuple[int, int],
    query: str | Sequence[str],
    defaults: Json,
    **more: Any,
) -> Panel:
    """One number or word, large. A colour fills the panel when `background=True`; `column` names a text column.

    named: the numbers stand with their names, as several must.
    """
    column, background = more.pop("column", None), more.pop("background", False)
    named = more.pop("named", not isinstance(query, str))
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": f"/^{column}$/" if column else "", "values": False},
        "colorMode": "background_solid" if background else "none",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "textMode": "value_and_name" if named else "value",
        "wideLayout": True,
        "percentChangeColorMode": "standard",
        "showPercentChange": False,
    }
    queries = [query] if isinstance(query, str) else query
    return Panel("stat", title, description, size, queries, options=options, defaults=defaults, **more)


def lines(
    title: str, description: str, size: tuple[int, int], query: str | Sequence[str], unit: str, **more: Any
) -> Panel:
    """Values over time. bars: stacked bars instead of lines.

    A unit that is a word (`suffix: incidents`) stands once beside the axis, not at each tick. reach: the axis goes up
    to this value at least, so that zeros alone lie on its floor. Colours follow the order of the series: no two of a
    panel are alike, as they may be by name; Grafana's palette for any colour vision has only four in the light theme.
    """
    bars, minimum, reach = more.pop("bars", False), more.pop("minimum", 0), more.pop("reach", 1)
    drawing: Json = {"drawStyle": "line", "lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "spanNulls": False}
    if bars:
        stacked = {"mode": "normal", "group": "A"}
        drawing |= {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 80, "stacking": stacked}
    word = unit.removeprefix("suffix: ")
    drawing |= {"axisLabel": word} if word != unit else {}
    defaults: Json = {
        "unit": "none" if word != unit else unit,
        "color": {"mode": "palette-classic"},
        "custom": drawing,
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    if minimum is not None:
        defaults["min"] = minimum
        drawing["axisSoftMax"] = reach
    queries, shown = [query] if isinstance(query, str) else query, {"options": options, "defaults": defaults}
    return Panel("timeseries", title, description, size, queries, "time_series", **shown, **more)


def table(
    title: str, description: str, size: tuple[int, int], query: str, columns: Sequence[Json], **more: Any
) -> Panel:
    """Rows and columns. without: what it says when there is no row. Grafana makes a column 150 pixels wide at least
    unless it is told less, and what does not fit beside it lies out of sight."""
    defaults: Json = {"unit": "short", "custom": {"align": "auto", "minWidth": 60}}
    if "without" in more:
        defaults["noValue"] = more.pop("without")
    shown = {"options": TABLE_OPTIONS, "defaults": defaults, "overrides": columns}
    return Panel("table", title, description, size, [query], **shown, **more)


def column(name: str, **properties: Any) -> Json:
    """Properties of the field `name`; `custom__x` stands for `custom.x`."""
    pairs = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": pairs}


def fixed(name: str, colour: str, **properties: Any) -> Json:
    return column(name, color={"mode": "fixed", "fixedColor": colour}, **properties)


def says(pattern: str, word: str | None, colour: str, index: int) -> Json:
    """A colour for the texts that fit the pattern, and a word in their place if one is given."""
    result = {"color": colour, "index": index} | ({"text": word} if word else {})
    return {"type": "regex", "options": {"pattern": pattern, "result": result}}


def steps(*levels: tuple[float | None, str]) -> Json:
    """Thresholds: the colour from each level on; None is minus infinity."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in levels]}


def tag_variable(
    name: str, label: str, query: str, description: str, *, several: bool = False, first: str = ""
) -> Json:
    """A drop-down of a tag's values. several: any number of them, first all. first: the one chosen at first."""
    more = {"multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]}} if several else {}
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
        "multi": False,
        "includeAll": False,
        **more,
    }


def place_variables(*, several_categories: bool = False) -> list[Json]:
    """Region, category, horizon, from the small `top` measurement."""

    def values(key: str, where: str = "") -> str:
        return f'SHOW TAG VALUES FROM "top" WITH KEY = "{key}"{where}'

    here = " WHERE \"region\" = '$region'"
    # What is added up must not have the sum beside it; by another name, a link from the map does not choose it either.
    each = f"{here} AND \"category\" != '{ALL_CATEGORIES}'"
    category = (
        tag_variable("categories", "Categories", values("category", each), "Kinds of incident", several=True)
        if several_categories
        else tag_variable("category", "Category", values("category", here), "Kind of incident", first=ALL_CATEGORIES)
    )
    return [
        tag_variable("region", "Region", values("region"), "The area that one agency serves"),
        category,
        tag_variable("horizon", "Horizon", values("horizon", here), "How far ahead the score looks", first="4h"),
    ]


def asked_variable(name: str, label: str, query: str, description: str) -> Json:
    """A value that the page's queries need, asked for at each refresh; the page's address leaves it out."""
    return tag_variable(name, label, query, description) | {"hide": 2, "refresh": 2, "sort": 0, "skipUrlSync": True}


def frame_variable() -> Json:
    """When the newest whole scores are of; empty when stale. Their ledger is written when they are acknowledged."""
    query = 'SELECT last("as_of") FROM "pipeline" WHERE "region" = \'$region\' AND "model" != \'\' AND ' + FRESH  # noqa: S608 - made from constants
    return asked_variable("frame", "Frame", query, "The newest scores that are whole in the store")


def bucket_variable() -> Json:
    """Which data: what is kept for a month, or its hourly extract that is kept for a year."""
    choices = {"a month (every minute)": "risk", "a year (every hour)": "risk_long"}
    return {
        "type": "custom",
        "name": "bucket",
        "label": "Data kept for",
        "description": "Long ranges read the extract, one value an hour; it is written 10 minutes after each hour",
        "query": ", ".join(f"{text} : {value}" for text, value in choices.items()),
        "current": {"text": "a month (every minute)", "value": "risk"},
        "multi": False,
        "includeAll": False,
    }


def dashboard(
    uid: str, title: str, description: str, panels: Sequence[Panel], variables: Sequence[Json], **more: Any
) -> Json:
    links = {"type": "dashboards", "title": "Other pages", "tags": [TAG], "asDropdown": True, "icon": "external link"}
    links |= {"includeVars": True, "keepTime": False, "targetBlank": False, "tooltip": ""}
    base: Mapping[str, Any] = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 42,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "10s",
        "links": [links],
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
    }
    return {**base, **more, "panels": list(_placed(panels))}


def _placed(panels: Sequence[Panel]) -> Iterator[Json]:
    """The panels in their order, each as high up as it finds room, and there as far left."""
    floor = [0] * COLUMNS
    for panel in panels:
        width, height = panel.size
        y, x = min((max(floor[x : x + width]), x) for x in range(COLUMNS - width + 1))
        floor[x : x + width] = [y + height] * width
        yield panel.json(x, y)
