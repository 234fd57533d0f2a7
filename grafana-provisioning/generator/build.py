"""Panels and pages: Grafana's classic JSON, all that repeats, once."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from generator.looks import BLUE, GREY, Json, by_level, one_colour, without_a_value
from generator.store import DATASOURCE

TAG = "incident-risk"
COLUMNS = 24
Size = tuple[int, int]  # columns of COLUMNS, and rows of about 38 pixels
WITHOUT_TIME: Json = {
    "id": "organize",
    "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}},
}
TABLE_OPTIONS: Json = {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, wherever it stands. body: Grafana's, without number and place. english: its title by which links
    know it, where it has another."""

    size: Size
    body: Json
    english: str = ""

    @property
    def number(self) -> int:
        """The same as long as the panel has its title: links and alerts lead to it."""
        return zlib.crc32((self.english or self.body["title"]).encode()) >> 1

    def at(self, x: int, y: int) -> Json:
        width, height = self.size
        return {"id": self.number, "gridPos": {"x": x, "y": y, "w": width, "h": height}, **self.body}


def asking_panel(
    kind: str,
    title: str,
    description: str,
    size: Size,
    queries: str | Sequence[str],
    *,
    options: Json,
    defaults: Json,
    overrides: Sequence[Json] = (),
    **more: Any,
) -> Panel:
    """A panel that asks the store. queries: InfluxQL, refId A, B, ... alias: a frame per series, not one for all."""
    form: Json = {"resultFormat": "time_series", "alias": more.pop("alias")} if "alias" in more else {}
    targets = [
        {"refId": ref, "datasource": DATASOURCE, "rawQuery": True, "query": query, "resultFormat": "table", **form}
        for ref, query in zip("ABCDEF", [queries] if isinstance(queries, str) else queries, strict=False)
    ]
    body = {"type": kind, "title": title, "description": description, "datasource": DATASOURCE, "targets": targets}
    fields = {"defaults": defaults, "overrides": list(overrides)}
    return Panel(size, {**body, "options": options, "fieldConfig": fields, **more})


def text(title: str, content: str, size: Size, *, english: str = "") -> Panel:
    """Plain language, in Markdown."""
    options = {"mode": "markdown", "content": content}
    return Panel(
        size, {"type": "text", "title": title, "description": "An explanation in words.", "options": options}, english
    )


def stat(
    title: str, description: str, size: Size, query: str | Sequence[str], unit: str, *, without: str, **more: Any
) -> Panel:
    """Numbers or a word, large. without: the word where there is no value.

    text: the column, where it is one of texts. colour, or levels of `by_level`: of the ground, unless background=False.
    named: the numbers stand with their names, as several must. What else is given goes to the fields.
    """
    column, background = more.pop("text", ""), more.pop("background", True)
    named, overrides = more.pop("named", not isinstance(query, str)), more.pop("overrides", ())
    levels, colour = more.pop("levels", ()), more.pop("colour", BLUE)
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
    words = [without_a_value(without), *more.pop("mappings", ())]
    defaults = {"unit": unit, "noValue": without, "mappings": words, **more}
    defaults |= by_level(*levels) if levels else one_colour(colour)
    return asking_panel(
        "stat", title, description, size, query, options=options, defaults=defaults, overrides=overrides
    )


def lines(title: str, description: str, size: Size, query: str | Sequence[str], unit: str, **more: Any) -> Panel:
    """Values over time. bars: stacked bars instead of lines. without: what it says without any.

    A unit that is a word (`suffix: incidents`) stands once beside the axis, not at each tick. reach: the axis goes up
    to this value at least, so that zeros alone lie on its floor. Colours follow the order of the series: no two of a
    panel are alike, as they may be by name; Grafana's palette for any colour vision has only four in the light theme.
    """
    drawing: Json = {"drawStyle": "line", "lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "spanNulls": False}
    if more.pop("bars", False):
        stacked = {"mode": "normal", "group": "A"}
        drawing |= {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 80, "stacking": stacked}
    word = unit.removeprefix("suffix: ")
    drawing |= {"axisLabel": word} if word != unit else {}
    defaults: Json = {"unit": "none" if word != unit else unit, "color": {"mode": "palette-classic"}, "custom": drawing}
    minimum, reach = more.pop("minimum", 0), more.pop("reach", 1)
    if minimum is not None:
        defaults["min"] = minimum
        drawing["axisSoftMax"] = reach
    drawing |= more.pop("drawing", {})
    defaults |= {"thresholds": more.pop("thresholds")} if "thresholds" in more else {}
    defaults |= {"noValue": more.pop("without")} if "without" in more else {}
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    more = {"alias": "$col", **more}
    return asking_panel("timeseries", title, description, size, query, options=options, defaults=defaults, **more)


def table(
    title: str, description: str, size: Size, query: str, columns: Sequence[Json], *, without: str = "", **more: Any
) -> Panel:
    """Rows and columns. without: what it says when there is no row. Grafana makes a column 150 pixels wide at least
    unless it is told less, and what does not fit beside it lies out of sight."""
    defaults: Json = {"unit": "short", "custom": {"align": "auto", "minWidth": 60}}
    defaults |= {"noValue": without} if without else {}
    more = {"transformations": [WITHOUT_TIME], "options": TABLE_OPTIONS, **more}
    return asking_panel("table", title, description, size, query, defaults=defaults, overrides=columns, **more)


def timeline(title: str, description: str, size: Size, query: str, columns: Sequence[Json], *, without: str) -> Panel:
    """Texts over time, a bar for each column."""
    options = {
        "showValue": "auto",
        "rowHeight": 0.8,
        "mergeValues": True,
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    shown: Json = {"options": options, "defaults": {"unit": "string", "noValue": without, **one_colour(GREY)}}
    return asking_panel("state-timeline", title, description, size, query, overrides=columns, alias="$col", **shown)


def page(
    uid: str, title: str, description: str, panels: Sequence[Panel], variables: Sequence[Json], **more: Any
) -> Json:
    """since: the begin of the shown time."""
    links = {"type": "dashboards", "title": "Other pages", "tags": [TAG], "asDropdown": True, "icon": "external link"}
    links |= {"includeVars": True, "keepTime": False, "targetBlank": False, "tooltip": ""}
    base: Json = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 42,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": more.pop("since", "now-6h"), "to": "now"},
        "refresh": "10s",
        "links": [links],
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
    }
    return {**base, **more, "panels": list(_placed(panels))}


def _placed(panels: Sequence[Panel]) -> Iterator[Json]:
    """The panels in their order, each as high up as it finds room, and there as far left."""
    floor = [0] * COLUMNS
    for each in panels:
        width, height = each.size
        y, x = min((max(floor[x : x + width]), x) for x in range(COLUMNS - width + 1))
        floor[x : x + width] = [y + height] * width
        yield each.at(x, y)
