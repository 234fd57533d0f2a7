"""Colours, words in place of values, and the properties of columns."""

from typing import Any

from streaming.flow.pipeline_point import WITHHELD

Json = dict[str, Any]

# Okabe and Ito's palette, which people with any colour vision can tell apart; grey is kept for "not known".
BLUE, ORANGE, SKY, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#707070"
# Grounds under white letters, as BLUE and GREY are: 4.5 to 1 at least, as WCAG AA asks.
AMBER, RUST, ALARM = "#A35A00", "#B84700", "#B3261E"

AGE = "dthms"  # 00:01:15: of Grafana's unit `s` with whole numbers, a minute and a half is "2 mins"
CLOCK = "time:ddd D MMM, HH:mm Z"
STALE = "STALE"
BAND: Json = {"custom__fillBelowTo": "low", "custom__fillOpacity": 15}  # of the line `high`, down to `low`
DASHED: Json = {"custom__lineStyle": {"fill": "dash", "dash": [8, 6]}}


def without_a_value(word: str) -> Json:
    result = {"text": word, "color": ALARM if word == STALE else GREY, "index": 0}
    return {"type": "special", "options": {"match": "null+nan", "result": result}}


def between(low: float | None, high: float | None, word: str, index: int, colour: str = ALARM) -> Json:
    """A word in place of the numbers from `low` to `high`, alarming if not said otherwise; None is without an end."""
    result = {"text": word, "color": colour, "index": index}
    return {"type": "range", "options": {"from": low, "to": high, "result": result}}


# An age below zero: the shown range ended in the past, or this screen's clock is wrong.
NOT_NOW = between(None, -60, "NOT NOW", 2)


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


SUPPORT: Json = {
    "type": "value",
    "options": {
        name: {"color": colour, "index": index}
        for index, (name, colour) in enumerate({"ok": BLUE, "sparse": AMBER, "no_history": GREY}.items(), start=1)
    },
}


def one_colour(colour: str) -> Json:
    return {"color": {"mode": "fixed", "fixedColor": colour}}


def steps(*levels: tuple[float | None, str]) -> Json:
    """Thresholds: the colour from each level on; None is minus infinity."""
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
