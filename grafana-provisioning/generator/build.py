"""What the pages share: colours and words, parts of queries in InfluxQL, panels, maps, and Grafana's classic JSON.

Grafana's own builder for Python (grafana-foundation-sdk, at the newest for Grafana 11.6) is not used: it has no
InfluxQL, types neither a map's layers nor a column's properties, and takes more lines for each panel.

InfluxQL: two aggregates lose a point's time, GROUP BY takes only tags, an error comes with HTTP 200, and a time limit
belongs into the innermost query (the outer one has it again only with GROUP BY time).
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from schemas.limits import OLDEST_SCORES_S
from schemas.spec import ALL_CATEGORIES
from streaming.flow.rows import WITHHELD

Json = dict[str, Any]
Size = tuple[int, int]  # columns of COLUMNS, and rows of about 38 pixels
Levels = tuple[tuple[float | None, str], ...]  # each colour from its level on; None is minus infinity

TAG = "incident-risk"
COLUMNS = 24
DATASOURCE: Json = {"type": "influxdb", "uid": "risk-influxdb"}

# Okabe and Ito's palette, which people with any colour vision can tell apart; grey is kept for "not known".
BLUE, ORANGE, SKY, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#707070"
# Grounds under white letters, as BLUE and GREY are: 4.5 to 1 at least, as WCAG AA asks.
AMBER, RUST, ALARM = "#A35A00", "#B84700", "#B3261E"
NO_SCORE = "#80889030"  # of a cell on a map: faint on light and dark ground

AGE = "dthms"  # 00:01:15: of Grafana's unit `s` with whole numbers, a minute and a half is "2 mins"
CLOCK = "time:ddd D MMM, HH:mm Z"
STALE = "STALE"
BAND: Json = {"custom__fillBelowTo": "low", "custom__fillOpacity": 15}  # of the line `high`, down to `low`
DASHED: Json = {"custom__lineStyle": {"fill": "dash", "dash": [8, 6]}}
WITHOUT_TIME: Json = {
    "id": "organize",
    "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}},
}
PLAIN: Json = {"colour": GREY, "background": False}  # of a `stat` that is neither good nor bad
TABLE_OPTIONS: Json = {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}
HIDDEN: Json = {"tooltip": True, "viz": False, "legend": True}  # of `custom__hideFrom`: not in a map's tooltip

REGION = "\"region\" = '$region'"
PLACE = f"{REGION} AND \"category\" = '$category' AND \"horizon\" = '$horizon'"
LIFT = '("expected" + 0.000001) / ("usual" + 0.000001)'  # `lift` of sinks/line_protocol.py
# By the store's clock, whatever range is shown; none when stale.
FRESH = f"time > now() - {OLDEST_SCORES_S // 60}m"
# Up to the newest scores that the store has acknowledged: it may hold a part of those that come next.
WHOLE = f"time <= 0${{frame:raw}}s AND {FRESH}"


def long(measurement: str) -> str:
    """The measurement in the bucket that is chosen on the page."""
    return f'"${{bucket:raw}}".."{measurement}"'


OUTCOME, OUTCOME_AREA = long("outcome"), long("outcome_area")


# Words and colours of values, and the properties of columns


def without_a_value(word: str) -> Json:
    result = {"text": word, "color": ALARM if word == STALE else GREY, "index": 0}
    return {"type": "special", "options": {"match": "null+nan", "result": result}}


def between(low: float | None, high: float | None, word: str, index: int, colour: str = ALARM) -> Json:
    """A word in place of the numbers from `low` to `high`, alarming if not said otherwise; None is without an end."""
    result = {"text": word, "color": colour, "index": index}
    return {"type": "range", "options": {"from": low, "to": high, "result": result}}


# An age below zero: the shown range ended in the past, or this screen's clock is wrong.
NOT_NOW = between(None, -60, "NOT NOW", 2)


def empty_text(word: str) -> Json:
    """A word in place of an empty text."""
    return {"type": "value", "options": {"": {"text": word, "color": GREY, "index": 1}}}


def says(pattern: str, word: str | None, colour: str, index: int) -> Json:
    """A colour for the texts that fit the pattern, and a word in their place if one is given."""
    result = {"color": colour, "index": index} | ({"text": word} if word else {})
    return {"type": "regex", "options": {"pattern": pattern, "result": result}}


def networks(baseline: str | None = None, network: str | None = None, colour: str = AMBER) -> list[Json]:
    """The names of versions: `baseline`, alone or with a reason, is not made by a network."""
    return [
        says("/^baseline.*$/", baseline, colour, 1),
        says(f"/^{WITHHELD}$/", "WITHHELD", ALARM, 2),
        says(f"/^(?!baseline|{WITHHELD}$).*$/", network, BLUE, 3),
    ]


def one_colour(colour: str) -> Json:
    return {"color": {"mode": "fixed", "fixedColor": colour}}


def steps(*levels: tuple[float | None, str]) -> Json:
    """Thresholds: the colour from each level on."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in levels]}


def by_level(*levels: tuple[float | None, str]) -> Json:
    """Each value has the colour of its level."""
    return {"thresholds": steps(*levels), "color": {"mode": "thresholds"}}


def filled_by_level(*levels: tuple[float | None, str]) -> Json:
    """The same for the ground of a table's cells."""
    return {**by_level(*levels), "custom__cellOptions": {"type": "color-background", "mode": "basic"}}


def column(name: str, **properties: Any) -> Json:
    """Properties of the field `name`; `custom__x` stands for `custom.x`."""
    pairs = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": pairs}


def fixed(name: str, colour: str, **properties: Any) -> Json:
    return column(name, **one_colour(colour), **properties)


# The choices of a page


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
    tag = 'SHOW TAG VALUES FROM "top" WITH KEY = '
    here = f" WHERE {REGION}"
    # What is added up must not have the sum beside it; by another name, a link from the map does not choose it either.
    each = f"{here} AND \"category\" != '{ALL_CATEGORIES}'"
    category = (
        choice("categories", "Categories", f'{tag}"category"{each}', "Kinds of incident", several=True)
        if several_categories
        else choice("category", "Category", f'{tag}"category"{here}', "Kind of incident", first=ALL_CATEGORIES)
    )
    return [
        choice("region", "Region", f'{tag}"region"', "The area that one agency serves"),
        category,
        choice("horizon", "Horizon", f'{tag}"horizon"{here}', "How far ahead the score looks", first="4h"),
    ]


def asked(name: str, label: str, query: str, description: str) -> Json:
    """A value that the page's queries need, asked for at each refresh; the page's address leaves it out."""
    return choice(name, label, query, description) | {"hide": 2, "refresh": 2, "sort": 0, "skipUrlSync": True}


def newest_frame() -> Json:
    """When the newest whole scores are of; empty when stale, 0 when they are withheld.

    Their ledger is written when they are acknowledged.
    """
    query = f'SELECT last("scores_of") FROM "pipeline" WHERE {REGION} AND {FRESH}'
    return asked("frame", "Frame", query, "The newest scores that are whole in the store")


def choice_of_bucket() -> Json:
    """Which data: what is kept for a month, or its hourly extract that is kept for a year."""
    return {
        "type": "custom",
        "name": "bucket",
        "label": "Data kept for",
        "description": "Long ranges read the extract, one value an hour; it is written 10 minutes after each hour",
        "query": "a month (every minute) : risk, a year (every hour) : risk_long",
        "current": {"text": "a month (every minute)", "value": "risk"},
        "multi": False,
        "includeAll": False,
    }


# Panels and pages: a panel is Grafana's, without its number and its place on the page


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
) -> Json:
    """A panel that asks the store. queries: InfluxQL, refId A, B, ... alias: a frame per series, not one for all."""
    form: Json = {"resultFormat": "time_series", "alias": more.pop("alias")} if "alias" in more else {}
    targets = [
        {"refId": ref, "datasource": DATASOURCE, "rawQuery": True, "query": query, "resultFormat": "table", **form}
        for ref, query in zip("ABCDEF", [queries] if isinstance(queries, str) else queries, strict=False)
    ]
    return {
        "gridPos": size,
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        **more,
    }


def text(title: str, content: str, size: Size) -> Json:
    """Plain language, in Markdown."""
    options, description = {"mode": "markdown", "content": content}, "An explanation in words."
    return {"gridPos": size, "type": "text", "title": title, "description": description, "options": options}


def stat(
    title: str,
    description: str,
    size: Size,
    query: str | Sequence[str],
    unit: str = "string",
    *,
    without: str,
    **more: Any,
) -> Json:
    """Numbers or a word, large. without: the word where there is no value.

    text: the column, where it is one of texts. colour, or levels of `by_level`: of the ground, unless background=False.
    named: the numbers stand with their names, as several must. What else is given goes to the fields.
    """
    of_texts, background = more.pop("text", ""), more.pop("background", True)
    named, overrides = more.pop("named", not isinstance(query, str)), more.pop("overrides", ())
    levels, colour = more.pop("levels", ()), more.pop("colour", BLUE)
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": f"/^{of_texts}$/" if of_texts else "", "values": False},
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


def lines(title: str, description: str, size: Size, query: str | Sequence[str], unit: str, **more: Any) -> Json:
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
) -> Json:
    """Rows and columns. without: what it says when there is no row. Grafana makes a column 150 pixels wide at least
    unless it is told less, and what does not fit beside it lies out of sight."""
    defaults: Json = {"unit": "short", "custom": {"align": "auto", "minWidth": 60}}
    defaults |= {"noValue": without} if without else {}
    more = {"transformations": [WITHOUT_TIME], "options": TABLE_OPTIONS, **more}
    return asking_panel("table", title, description, size, query, defaults=defaults, overrides=columns, **more)


def timeline(
    title: str, description: str, size: Size, query: str | Sequence[str], columns: Sequence[Json], *, without: str
) -> Json:
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
    uid: str, title: str, description: str, panels: Sequence[Json], variables: Sequence[Json], **more: Any
) -> Json:
    """Each panel stands as high up as it finds room, in their order, and there as far left. Its number is the same as
    long as it has its title: links and alerts lead to it. since: the begin of the shown time."""
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
    placed, floor = [], [0] * COLUMNS
    for panel in panels:
        width, height = panel["gridPos"]
        y, x = min((max(floor[x : x + width]), x) for x in range(COLUMNS - width + 1))
        floor[x : x + width] = [y + height] * width
        number = zlib.crc32(panel["title"].encode()) >> 1
        placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
    return {**base, **more, "panels": placed}


# Maps: the colours of the cells are those of the service's map, in either theme


_STYLE = (files("service") / "live_map" / "page.css").read_text(encoding="utf-8")
RAMP, LIFTS = (re.findall(rf"--{name}: ([^;]+);", _STYLE)[0].split() for name in ("ramp", "lift"))
# Each class doubles the chance. The same for every region, category and moment, so that a colour means one chance
# everywhere, and cells differ at any base rate.
LEVELS = tuple(0.0025 * 2**step for step in range(len(RAMP) - 1))
LIFT_LEVELS = (1 / 3, 1 / 2, 1 / 1.5, 1 / 1.2, 1.2, 1.5, 2, 3)
BEYOND = 100  # a shade from here on is a lift, above all chances: a field has one list of thresholds
LIFT_SHADES = steps(*zip((None, *LIFT_LEVELS), LIFTS, strict=True))
SHADES = steps(
    *zip((None, *LEVELS), RAMP, strict=True),
    *zip((BEYOND, *(BEYOND + lift for lift in LIFT_LEVELS)), LIFTS, strict=True),
)
# What the choice "Colour by" puts into queries: the shade of a cell, and which history a cell of the list must have.
COLOUR_BY = (
    {"text": "Chance of at least one", "value": "chance", "by": '"r"', "known": "ok|sparse"},
    {"text": "Lift over usual", "value": "lift", "by": f"{BEYOND} + {LIFT}", "known": "ok"},
)


def legend() -> str:
    """The colours with the numbers that each begins at, as HTML: Grafana's own legend knows one scale only."""

    def row(cells: Iterable[str], style: str = "") -> str:
        return "<tr>" + "".join(f'<td style="padding:0 2px;width:8%;{style}{cell}</td>' for cell in cells) + "</tr>"

    def scale(name: str, colours: Sequence[str], begins: Iterable[str]) -> str:
        swatches = ('">', *(f'background-color:{colour}">' for colour in colours))
        texts = (f'">{word}' for word in (name, *begins))
        return row(swatches, "height:10px;line-height:10px;") + row(texts, "height:16px;line-height:16px;")

    chances = scale("chance&nbsp;%", (*RAMP, NO_SCORE), ("0", *(f"{100 * level:g}" for level in LEVELS), "none"))
    lifts = scale("x&nbsp;usual", LIFTS, ("0", *(f"{lift:.2g}" for lift in LIFT_LEVELS)))
    return f'<table style="width:100%;font-size:12px;margin:0">{chances}{lifts}</table>'


def map_of_cells(
    title: str,
    description: str,
    size: Size,
    queries: Sequence[str],
    field: str,
    *,
    shades: Json,
    columns: Sequence[Json],
    beneath: Sequence[Json] = (),
    above: Sequence[Json] = (),
    **defaults: Any,
) -> Json:
    """Cells in the colours of `field`: of query A, with `geohash`. Without any row the layer of polygons keeps its last
    colours (read in Grafana's source), so query B gives one row always, with an id that no cell has.

    beneath: layers that show where no cell has a colour. above: layers that no cell hides.
    """
    colour = {"field": field, "fixed": GREY}
    border = {"color": {"fixed": GREY}, "opacity": 1, "lineWidth": 2}
    grey = {"color": {"fixed": NO_SCORE}, "opacity": 1, "lineWidth": 0.5}  # 1: as opaque as the colour says
    layers = [
        # Streets from the internet. `cells --streets FILE` puts a file in their place.
        {"type": "carto", "name": "Streets", "tooltip": False, "config": {"theme": "auto", "showLabels": True}},
        {
            "type": "geojson",
            "name": "All cells of the region, grey",
            "tooltip": False,
            "config": {"src": "public/cells/${region}.geojson", "rules": [], "style": grey},
        },
        {
            "type": "markers",  # not seen: the view fits itself to them
            "name": "Centres of cells",
            "filterData": {"id": "byRefId", "options": "A"},
            "location": {"mode": "geohash", "geohash": "geohash"},
            "tooltip": True,
            "config": {
                "showLegend": False,
                "style": {
                    "color": colour,
                    "opacity": 0,
                    "size": {"fixed": 4, "min": 2, "max": 8},
                    "symbol": {"mode": "fixed", "fixed": "img/icons/marker/square.svg"},
                },
            },
        },
        *beneath,
        {
            "type": "dynamic-geojson",  # of all rows, so that it takes B's where A has none
            "name": "Cells with a colour",
            "tooltip": True,
            "config": {
                "src": "public/cells/_all.geojson",
                "idField": "geohash",
                "rules": [],
                "style": {"color": {"fixed": "transparent"}, "opacity": 0, "lineWidth": 0},
                "dataStyle": {"color": colour, "opacity": 1},
            },
        },
        {
            "type": "geojson",
            "name": "Border and areas",  # above the cells, in a colour that none of them has
            "tooltip": False,
            "config": {"src": "public/cells/_lines-${region}.geojson", "rules": [], "style": border},
        },
        *above,
    ]
    # Tiles without anything on them: the ground is the panel's, light or dark as Grafana is.
    land = {"type": "xyz", "name": "Land", "config": {"url": "public/cells/_ground.svg", "attribution": ""}}
    options = {
        "view": {"id": "fit", "lat": 0, "lon": 0, "zoom": 10, "allLayers": False, "layer": "Centres of cells"},
        "controls": {"showZoom": True, "mouseWheelZoom": True, "showAttribution": True, "showScale": True},
        "basemap": land,
        "layers": layers,
        "tooltip": {"mode": "details"},
    }
    fields = {"unit": "short", "thresholds": shades, "color": {"mode": "thresholds"}, **defaults}
    return asking_panel(
        "geomap",
        title,
        description,
        size,
        queries,
        options=options,
        defaults=fields,
        overrides=columns,
        maxDataPoints=10_000,
    )


def mark(
    name: str,
    query: str,
    colour: str,
    *,
    radius_px: int = 1,
    opacity: float = 0,
    words: Json | None = None,
    font_px: int = 12,
    tooltip: bool = False,
) -> Json:
    """A layer of a map: a circle and a text at the `middle` of each row of a query."""
    style = {
        "color": {"fixed": colour},
        "opacity": opacity,
        "lineWidth": 3,
        "size": {"fixed": radius_px, "min": 1, "max": radius_px},
        "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
        "textConfig": {"fontSize": font_px, "textAlign": "center", "textBaseline": "middle"},
    }
    return {
        "type": "markers",
        "name": name,
        "filterData": {"id": "byRefId", "options": query},
        "location": {"mode": "geohash", "geohash": "middle"},
        "tooltip": tooltip,
        "config": {"showLegend": False, "style": style | ({"text": words} if words else {})},
    }
