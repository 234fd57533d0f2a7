"""The colours of the map's cells, and what they stand for."""

from collections.abc import Iterable

from generator.ground import NO_SCORE_SEEN
from generator.looks import steps
from generator.store import LIFT

# Each step doubles the chance. The same for every region, category and moment, so that a colour means one chance
# everywhere, and cells differ at any base rate. Pale yellow to dark red, after ColorBrewer's YlOrRd, for any
# colour vision, without green. On the light ground, the higher a cell, the more it stands out.
FIRST_STEP = 0.0025
RAMP = (
    *("#FFF3BF", "#FFE88F", "#FED468", "#FEB84C", "#FD983F"),
    *("#FA6E33", "#EC3F27", "#CB1A22", "#9C0A2A", "#650022"),
)
LEVELS = tuple(FIRST_STEP * 2**step for step in range(len(RAMP) - 1))
SHADES = steps(*zip((None, *LEVELS), RAMP, strict=True))
# Lift has the same colours: its square, so that each step is 1.4 times the one before; 0.85 to 1.2 is "as usual".
LEAST_LIFT = 0.6
BY_LIFT = f"{LIFT} * {LIFT} * {FIRST_STEP / LEAST_LIFT**2:.9f}"
LIFTS = tuple(LEAST_LIFT * 2 ** (step / 2) for step in range(len(LEVELS)))


def legend() -> str:
    """The colours with the numbers that each begins at, as HTML: Grafana's own legend knows one scale only."""

    def row(height_px: int, cells: Iterable[tuple[str, str]]) -> str:
        style = f"padding:0 2px;height:{height_px}px;line-height:{height_px}px;width:8%;"
        return "<tr>" + "".join(f'<td style="{style}{more}">{text}</td>' for text, more in cells) + "</tr>"

    def texts(*words: str) -> Iterable[tuple[str, str]]:
        return ((word, "") for word in words)

    swatches = [("", ""), *(("", f"background-color:{colour}") for colour in (*RAMP, NO_SCORE_SEEN))]
    chances, lifts = (f"{100 * level:g}" for level in LEVELS), (f"{lift:.2g}" for lift in LIFTS)
    rows = [
        row(10, swatches),
        row(15, texts("chance&nbsp;%", "0", *chances, "not")),
        row(15, texts("x&nbsp;usual", "0", *lifts, "known")),
    ]
    return f'<table style="width:100%;font-size:11px;margin:0">{"".join(rows)}</table>'
