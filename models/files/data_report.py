"""How the rows of an incident file are used, and whether a model can learn from them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import Layout
from models.local_time import local_from_utc
from schemas.areas import NO_MASKS, Masks
from schemas.errors import DataError
from schemas.grid import Cells, Floats, Grid
from schemas.incidents import fixed_places
from schemas.spec import DAY_S, DAYS_KEPT, HOUR_S

LEAST_INCIDENTS, LEAST_DAYS = 500, 21
LEAST_OF_A_CATEGORY = 100  # a Poisson count of 100 has a standard error of 10 %
MANY_ON_HOUR = 0.9  # of the times
MANY_AT_MIDNIGHT = 0.2  # of the times; an even day has 0.00001 of them there, a file with some unknown times a percent
_LEAST_BAND = 0.1  # of the grid's side, and at least:
_LEAST_CELLS = 5
_FAR = 3.0  # interquartile ranges beyond the quartiles
_MANY = 0.001  # of the incidents
_PLACE_REMEDY = "if places are wrong, correct them, or give --bounds (`bounds` in a file of tasks)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """Rows of one kind."""

    what: str  # the kind
    rows: int
    decision: str  # how they are used
    example: str = ""  # the first of them: its number and what could not be read


def read_past(path: Path, layout: Layout, *, now_s: float, masks: Masks = NO_MASKS) -> IncidentTable:
    """The incidents of `path` that a model can learn from: none later than now, none in a mask, no empty years between.

    Raises DataError where `read_incidents` does, and for rows that stand apart: mostly a mistyped year, which would
    stretch the history over times that nobody recorded.
    """
    table = read_incidents(path, layout, now_s=now_s)
    if masks.polygons:  # as the stream counts
        hidden = masks.hold(fixed_places(table.lat_deg, table.lon_deg))
        if hidden.all():
            remedy = "correct the masks, or give more data"
            raise DataError(f"all {len(table):,} incidents of the file are masked", remedy)
        skipped = {**table.skipped, "masked": int(hidden.sum())}
        table = replace(table.select(~hidden), skipped=skipped, masked=masks.digest)
    gaps_s = np.diff(table.occurred_s)
    if gaps_s.max(initial=0) > DAYS_KEPT * DAY_S:  # what lies behind it is forgotten
        last = int(gaps_s.argmax())
        apart = min((np.arange(last + 1), np.arange(last + 1, len(table))), key=len)
        before, after = (datetime.fromtimestamp(int(table.occurred_s[row]), UTC) for row in (last, last + 1))
        rows = ", ".join(f"{row:,}" for row in table.row[apart[:3]].tolist())
        raise DataError(
            f"{path}: no incident from {before:%Y-%m-%d} to {after:%Y-%m-%d}; {len(apart):,} of {len(table):,} stand "
            f"apart (row {rows}{', ...' if len(apart) > 3 else ''})",
            remedy="correct their times, or leave them out",
        )
    return table


def row_counts(table: IncidentTable, grid: Grid) -> list[RowCount]:
    """The rows of the file by kind and how they are used, most general first; only kinds that occur.

    table: as it was read, repeated calls merged or not.
    """
    outside = int((~grid.locate(table.lat_deg, table.lon_deg)[1]).sum())
    examples = {reason.replace("_", " "): example for reason, example in table.examples.items()}
    rows = len(table) + sum(table.skipped.values()) + table.repeated_calls
    lines = [
        ("rows in the file", rows, "read"),
        *((reason.replace("_", " "), count, "left out") for reason, count in sorted(table.skipped.items())),
        ("repeated calls", table.repeated_calls, "left out"),
        ("outside the grid", outside, "left out"),
        ("to be counted", len(table) - outside, "kept"),
        ("out of order", table.out_of_order, "sorted"),
        ("exact duplicates", table.exact_duplicates, "kept"),
        ("times on the full hour", table.whole_hours, "kept"),
        ("times at midnight", table.midnights, "kept"),
        ("local times shown twice", table.ambiguous_times, "the first taken"),
        ("local times never shown", table.nonexistent_times, "moved forward by the change of clocks"),
        ("uncertain times", table.uncertain_times, "drawn inside the interval"),
    ]
    return [
        RowCount(what=what, rows=count, decision=decision, example=examples.get(what, ""))
        for what, count, decision in lines
        if count
    ]


def in_words(counts: Iterable[RowCount]) -> Iterator[str]:
    """One line of text for each, to be read on a terminal."""
    for line in counts:
        example = f", the first in {line.example}" if line.example else ""
        yield f"{line.rows:>12,}  {line.what}: {line.decision}{example}"


def refuse_too_little(occurred_s: npt.NDArray[np.int64]) -> None:
    """Raises DataError for too few incidents to learn from. occurred_s: in their order, at least one."""
    days = (int(occurred_s[-1]) + 1 - int(occurred_s[0])) / DAY_S
    if len(occurred_s) < LEAST_INCIDENTS or days < LEAST_DAYS:
        raise DataError(
            f"{len(occurred_s)} incidents over {days:.0f} days to learn from; at least {LEAST_INCIDENTS} over "
            f"{LEAST_DAYS} days are needed",
            remedy="give a longer file",
        )


def refuse_one_cell(table: IncidentTable, grid: Grid, until_s: int) -> None:
    """Raises DataError when all incidents of the grid before `until_s` lie in one cell: there is no risk to compare."""
    past = table.occurred_s < until_s
    cell, inside = grid.locate(table.lat_deg[past], table.lon_deg[past])
    if len(np.unique(cell[inside])) <= 1:
        raise DataError(
            f"all {int(inside.sum())} incidents to train on lie in one cell of {grid.cell_m:.0f} m",
            remedy="give a smaller --cell-m, and check the columns of latitude and longitude",
        )


def data_warnings(table: IncidentTable, until_s: int, *, step_s: int) -> tuple[str, ...]:
    """Warnings about what can be learned before `until_s` for steps of `step_s`."""
    counts = np.bincount(table.category[table.occurred_s < until_s], minlength=len(table.categories))
    named = zip(table.categories, counts.tolist(), strict=True)
    thin = ", ".join(f"{name} ({count})" for name, count in named if count < LEAST_OF_A_CATEGORY)
    local_s = local_from_utc(table.occurred_s, table.timezone)
    midnights, on_hour = (int((local_s % span_s == 0).sum()) for span_s in (DAY_S, HOUR_S))
    warnings = []
    if thin:
        warnings.append(
            f"fewer than {LEAST_OF_A_CATEGORY} incidents to train on: {thin}; their scores say little: "
            "give a longer file, or a category column with fewer values"
        )
    if step_s < DAY_S and midnights > MANY_AT_MIDNIGHT * len(table):
        warnings.append(
            f"{midnights:,} of {len(table):,} times are exactly midnight, as where a file has dates only: hourly "
            "forecasts would put nearly all incidents there; name the column with the time of day, or forecast whole "
            "days"
        )
    elif step_s < DAY_S and on_hour > MANY_ON_HOUR * len(table) and not table.is_of_counts:
        warnings.append(
            f"{on_hour:,} of {len(table):,} times stand on the full hour, as where a file rounds them: nothing is "
            "learned of what happens within an hour; name the column with minutes, if there is one"
        )
    if table.skipped.get("masked") == 0:
        warnings.append("no incident lies in a mask: look whether their file has longitude before latitude")
    return tuple(warnings)


def place_warnings(table: IncidentTable, grid: Grid) -> tuple[str, ...]:
    """Warnings of bands of the grid that are empty, and of one place far from the others with many of its incidents."""
    cell, inside = grid.locate(table.lat_deg, table.lon_deg)
    row, col = np.divmod(cell[inside], grid.cols)
    warnings = [
        *_empty_bands("rows", row, grid.corners()[0], "latitude"),
        *_empty_bands("columns", col, grid.corners()[1], "longitude"),
    ]
    places = np.stack([table.lat_deg[inside], table.lon_deg[inside]], axis=1)
    low, high = np.quantile(places, [0.25, 0.75], axis=0)
    reach = _FAR * (high - low)
    is_far = ((places < low - reach) | (places > high + reach)).any(axis=1)
    if is_far.any():
        far, incidents = np.unique(places[is_far].round(5), axis=0, return_counts=True)
        most = int(incidents.argmax())
        if incidents[most] > _MANY * len(places):
            warnings.append(
                f"{incidents[most]:,} of {len(places):,} incidents are at one place far from the others, "
                f"{far[most, 0]:.5f}, {far[most, 1]:.5f}, as where a geocoder does not know an address: {_PLACE_REMEDY}"
            )
    return tuple(warnings)


def _empty_bands(what: str, place: Cells, edges: Floats, degrees: str) -> Iterator[str]:
    """place: (n,) rows or columns of the incidents. edges: (rows or columns + 1,) degrees."""
    size = len(edges) - 1
    used = np.unique(place)
    empty = np.diff(used) - 1
    widest = int(empty.argmax()) if len(empty) else 0
    if len(empty) and empty[widest] >= max(_LEAST_CELLS, _LEAST_BAND * size):
        first, last = edges[used[widest] + 1], edges[used[widest + 1]]
        yield (
            f"{empty[widest]:,} of the grid's {size:,} {what} lie side by side without any incident, {degrees} "
            f"{first:.3f} to {last:.3f}: {_PLACE_REMEDY}"
        )
