"""The colours of the map's cells, and what they stand for: those of the service's map, in either theme."""

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

from generator.ground import NO_SCORE
from generator.looks import steps
from generator.store import LIFT

_STYLE = (files("service") / "live_map" / "page.css").read_text(encoding="utf-8")


def _palette(name: str) -> tuple[str, ...]:
    (colours,) = re.findall(rf"--{name}: ([^;]+);", _STYLE)
    return tuple(colours.split())


# Each class doubles the chance. The same for every region, category and moment, so that a colour means one chance
# everywhere, and cells differ at any base rate.
RAMP, LIFTS = _palette("ramp"), _palette("lift")
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
        texts = (f'">{text}' for text in (name, *begins))
        return row(swatches, "height:10px;line-height:10px;") + row(texts, "height:16px;line-height:16px;")

    chances = scale("chance&nbsp;%", (*RAMP, NO_SCORE), ("0", *(f"{100 * level:g}" for level in LEVELS), "none"))
    lifts = scale("x&nbsp;usual", LIFTS, ("0", *(f"{lift:.2g}" for lift in LIFT_LEVELS)))
    return f'<table style="width:100%;font-size:12px;margin:0">{chances}{lifts}</table>'
