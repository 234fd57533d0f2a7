"""The steps after a surge, as a table for the terminal and the page."""

from models.evaluation.after_surges import AREA_SHARE, MOVED, SURGE
from models.evaluation.result import Evaluation

SURGES_TITLE = "After a surge"
SURGES_HEADINGS = (
    "model", "steps", "came", "forecast", "f/a", "region's score, %", "cells' score, %", "hits", "all: region, %",
    "all: cells, %", "moved",
)  # fmt: skip
SURGES_MEANING = (
    f"Steps that begin when the last hour had {SURGE:g} standard deviations more than is usual, over all origins. "
    "Scores: against the network alone, below zero is better; in brackets the 95 % interval. "
    f"Hits: in the {AREA_SHARE:.0%} of the cells that are put first. The last three columns are of all steps; moved: "
    f"where the forecast differs by more than {MOVED:.0%}."
)


def surges_table(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The rows under SURGES_HEADINGS, best score of the cells first."""
    return [
        (
            row.model,
            str(row.steps),
            f"{row.came:.1f}",
            f"{row.forecast:.1f}",
            f"{row.forecast_over_actual:.2f} ({row.low:.2f} to {row.high:.2f})",
            f"{row.region_percent:+.1f}",
            f"{row.cells_percent:+.2f} ({row.cells_low:+.2f} to {row.cells_high:+.2f})",
            f"{row.hits:.1%}",
            f"{row.all_region_percent:+.2f}",
            f"{row.all_cells_percent:+.3f}",
            f"{row.moved:.1%}",
        )
        for row in sorted(evaluation.after_surges, key=lambda row: row.cells_percent)
    ]
