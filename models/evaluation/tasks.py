"""Tasks: the steps, blocks and grid of a region's incidents, on which models are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.artifact import read_spec
from models.files.data_report import RowCount, read_past, refuse_one_cell, refuse_too_little, row_counts
from models.files.incident_archive import is_archive, read_archive
from models.files.incident_files import IncidentTable, cutoff_of, merge_repeated
from models.files.layouts import parse_layout
from models.local_time import Calendar, holiday_days, hour_of_week, local_from_utc, utc_from_local
from models.measures import Cube, type_for
from models.training.region_tasks import DEFAULT_CELL_M, RegionTask
from schemas.areas import read_masks
from schemas.errors import DataError, SettingsError
from schemas.files import sha256
from schemas.grid import Grid
from schemas.limits import MAX_CUBE_BYTES
from schemas.spec import DAY_S, HOUR_S, square_faults

STEPS_S: Mapping[str, int] = {"hour": HOUR_S, "4h": 4 * HOUR_S, "day": DAY_S}
STEP_NAMES: Mapping[str, str] = {"hour": "one hour", "4h": "four hours", "day": "one day"}
LEAST_STEPS = 200
MOST_OUTSIDE = 0.1  # of the incidents of the judged steps
TRAIN_PERCENT, VALIDATION_PERCENT = 70, 15
_PARTIAL = "in the first or last step, which may be partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Steps [0, validation) are learned from, [validation, test) decide choices, the rest is judged."""

    name: str
    title: str
    incidents: IncidentTable  # those inside the grid, in the order of time
    cell: npt.NDArray[np.int32]  # (n,)
    grid: Grid
    cube: Cube
    validation: int
    test: int
    scored: npt.NDArray[np.bool_]  # (cells,) those that are judged
    outside_s: npt.NDArray[np.int64] | tuple[()] = ()  # when incidents happened that lie in no cell, ascending
    row_counts: tuple[RowCount, ...] = ()  # what became of the file's rows
    holidays: str = ""  # whose, that the models of the product's features know
    calendar: Calendar = field(default_factory=Calendar)  # that they know as well
    answered_by: tuple[str, ...] = ()  # categories that standing units answer
    fine: int = 1  # squares a side of a cell, in which it is judged where inside the cell incidents are
    data_file: str = "none"  # its name
    data_sha256: str = ""

    @property
    def outside(self) -> int:
        """Incidents of the judged steps that lie in no cell."""
        first, last = np.searchsorted(self.outside_s, self.cube.starts_s[[self.test, -1]])
        return int(last - first)

    @property
    def also_known(self) -> Mapping[str, str]:
        """What the models of the product's features know beside counts and clock, in words."""
        words = {"holidays": self.holidays} if self.holidays else {}
        return words | {f"the days of {name}": f"sha256 {self.calendar.sha256}" for name in self.calendar.names}

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """(steps,) those without an hour that is cut out; the others are neither learned from nor judged."""
        edges, cut = self.cube.starts_s, self.incidents.cut_hours
        before = np.searchsorted(cut, edges[:-1] // HOUR_S)
        return np.asarray(before == np.searchsorted(cut, -(-edges[1:] // HOUR_S)))

    def judged_incidents(self) -> npt.NDArray[np.int64]:
        """(categories,) those that a comparison rests on: of kept steps and scored cells."""
        counts = self.cube.counts[self.test :][self.is_kept[self.test :]]
        return np.asarray(counts[:, self.scored].sum(axis=(0, 1)), np.int64)

    @property
    def step_s(self) -> int:
        return round(float(np.median(np.diff(self.cube.starts_s))))


def count(incidents: IncidentTable, cell: npt.NDArray[np.int32], starts_s: npt.NDArray[np.int64], grid: Grid) -> Cube:
    """The cube of incidents that all lie in the grid and the steps. cell: (n,); starts_s: (steps + 1,).

    Raises DataError for one that would take more memory than an evaluation may.
    """
    steps, categories = len(starts_s) - 1, len(incidents.categories)
    step = np.searchsorted(starts_s, incidents.occurred_s, side="right") - 1
    place, number = np.unique((step * grid.cells + cell) * categories + incidents.category, return_counts=True)
    kind = type_for(int(number.max(initial=0)))
    size = steps * grid.cells * categories
    if size * kind.itemsize > MAX_CUBE_BYTES:
        raise DataError(
            f"{steps:,} steps x {grid.cells:,} cells x {categories} categories are {size:,} counts, at most "
            f"{MAX_CUBE_BYTES // kind.itemsize:,} of up to {number.max():,} incidents are judged at once",
            remedy="take a longer --step, larger cells, fewer categories, or a part of the file's time",
        )
    counts = np.zeros(size, kind)
    counts[place] = number
    return Cube(
        counts=counts.reshape(steps, grid.cells, categories),
        starts_s=starts_s,
        hour_of_week=hour_of_week(starts_s[:-1], incidents.timezone).astype(np.int16),
        rows=grid.rows,
        cols=grid.cols,
        cell_m=grid.cell_m,
        categories=incidents.categories,
    )


def task_of(asked: RegionTask, *, step: str, origins: int = 1, now_s: float) -> Task:
    """A region's incidents in steps, one of STEPS_S: 70/15/15 % of them.

    The grid is that of an archive, of the artifact `like`, or else of the steps from which the earliest of the origins
    learns (see `earlier`); all its cells are judged. The first and the last step are left out: they may be partial.
    Raises DataError when data cannot be used as asked, too few steps are left, or too many incidents of the judged
    steps lie outside the grid.
    """
    if step not in STEPS_S:
        raise DataError(f"--step {step} is unknown", remedy=f"choose one of {', '.join(STEPS_S)}")
    if is_archive(asked.data):
        archived = read_archive(asked.data, region=asked.region, may_miss=asked.missing_days)
        grid = archived.meaning.grid
        if asked.merge != "none":
            raise SettingsError("an archive, and merge: it has no calls to merge", "leave it out")
        if asked.cell_m not in (DEFAULT_CELL_M, grid.cell_m):
            raise DataError(
                f"a cell side of {asked.cell_m:g} m is asked for, and the archive has {grid.cell_m:g} m",
                remedy="leave it out",
            )
        task = in_steps(archived.table, asked, step, origins, grid=grid)
        parts = {"learned from": slice(task.validation), "chosen by": slice(task.validation, task.test)}
        for what, steps in {**parts, "judged": slice(task.test, None)}.items():
            if task.is_kept[steps].any():
                continue
            raise DataError(
                f"every step that would be {what} has an hour that is cut out",
                "find out why the feed was silent or its messages were refused, or give a version with more days",
            )
        cut = int((~task.is_kept).sum())
        title = f"{task.title}, {cut:,} steps cut out" if cut else task.title
        task = replace(task, title=title, data_file=f"archive@{archived.version}", data_sha256=archived.sha256)
    else:
        path = Path(asked.data)
        table = read_past(path, parse_layout(asked.layout), now_s=now_s, masks=read_masks(asked.masks))
        if asked.merge == "repeated_calls":
            table = merge_repeated(table)
        task = in_steps(table, asked, step, origins, grid=read_spec(Path(asked.like)).grid if asked.like else None)
        task = replace(task, data_file=path.name, data_sha256=sha256(path.read_bytes()))
    holiday_days(asked.holidays, *task.cube.starts_s[[0, -1]].tolist())  # refused before hours of work
    calendar = Calendar.read(asked.calendar)
    return replace(task, holidays=asked.holidays, calendar=calendar, answered_by=asked.answered_by)


def in_steps(table: IncidentTable, asked: RegionTask, step: str, origins: int, *, grid: Grid | None) -> Task:
    """The task of a table, in a grid of its own where there is none."""
    source = "archive" if is_archive(asked.data) else Path(asked.data).name
    table = table.select(table.occurred_s < cutoff_of(asked.until, table))
    starts_s = steps_of(table, STEPS_S[step])[1:-1]
    steps = len(starts_s) - 1
    if steps < LEAST_STEPS:
        raise DataError(
            f"{max(steps, 0)} whole steps ({step}) in {source}, at least {LEAST_STEPS} are needed",
            remedy="give a longer file, or a shorter --step",
        )
    validation, test = blocks_of(steps)
    learned = validation - (origins - 1) * (steps - test)
    _refuse_short(learned, origins - 1)
    if grid is None:  # around what is learned from
        first_s, stop_s = (int(starts_s[edge]) for edge in (0, learned))
        past = table.select((table.occurred_s >= first_s) & (table.occurred_s < stop_s))
        if not len(past):
            raise DataError(
                f"no incident in the first {TRAIN_PERCENT} % of the file's steps", "give a file without gaps"
            )
        refuse_too_little(past.occurred_s)
        grid = Grid.around(past.lat_deg, past.lon_deg, cell_m=asked.cell_m, bounds=asked.edges)
        refuse_one_cell(table, grid, stop_s)
    cell, inside = grid.locate(table.lat_deg, table.lon_deg)
    whole = (table.occurred_s >= starts_s[0]) & (table.occurred_s < starts_s[-1])
    rows = (*row_counts(table, grid), RowCount(what=_PARTIAL, rows=int((~whole).sum()), decision="left out"))
    incidents, cell = table.select(inside & whole), cell[inside & whole]
    kinds = "1 category" if len(table.categories) == 1 else f"{len(table.categories)} categories"
    merged = ", repeated calls merged" if asked.merge == "repeated_calls" else ""
    for message, remedy in square_faults(asked.fine, grid):
        raise DataError(message, remedy)
    squares = f", squares of {grid.cell_m / asked.fine:g} m inside" if asked.fine > 1 else ""
    task = Task(
        name=f"{table.layout}-{grid.cell_m:.0f}m-{step}",
        title=f"{source}, {grid.cell_m:.0f} m, {STEP_NAMES[step]}, {kinds}, all {grid.cells} cells{merged}{squares}",
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=count(incidents, cell, starts_s, grid),
        validation=validation,
        test=test,
        scored=np.ones(grid.cells, np.bool_),
        fine=asked.fine,
        outside_s=table.occurred_s[~inside],
        row_counts=tuple(line for line in rows if line.rows),
    )
    judged = int(((table.occurred_s >= starts_s[test]) & whole).sum())  # wherever they happened
    if task.outside > MOST_OUTSIDE * judged:
        raise DataError(
            f"{task.outside:,} of the {judged:,} incidents of the judged steps lie outside the grid of the steps "
            "that are learned from: the file's area changed",
            remedy="remove the incidents outside the area, or start the file after the area changed",
        )
    return task


def steps_of(table: IncidentTable, step_s: int) -> npt.NDArray[np.int64]:
    """(steps + 1,) starts of the hours, or of the local days or parts of them, from the first incident to the last.

    Where clocks change, a local day has 23 or 25 hours, and is one step all the same.
    """
    if step_s == HOUR_S:
        first, last = table.occurred_s[[0, -1]] // HOUR_S
        return np.arange(first, last + 2) * HOUR_S
    first, last = local_from_utc(table.occurred_s[[0, -1]], table.timezone) // step_s
    return utc_from_local(np.arange(first, last + 2) * step_s, table.timezone)[0]


def earlier(task: Task, blocks: int) -> Task:
    """The same task with its judged steps, and those before, `blocks` times the length of the judged block earlier.

    Grid and scored cells stay those of the task. Raises DataError when too few steps are left to learn from.
    """
    shift = blocks * (len(task.cube) - task.test)
    _refuse_short(task.validation - shift, blocks)
    end = len(task.cube) - shift
    until = int(np.searchsorted(task.incidents.occurred_s, task.cube.starts_s[end]))
    return replace(
        task,
        incidents=task.incidents.select(np.arange(len(task.incidents)) < until),
        cell=task.cell[:until],
        cube=task.cube.until(end),
        validation=task.validation - shift,
        test=task.test - shift,
    )


def _refuse_short(learned: int, blocks: int) -> None:
    least = LEAST_STEPS * TRAIN_PERCENT // 100
    if learned < least:
        raise DataError(
            f"with {blocks} more origins only {max(learned, 0)} steps remain for training, at least {least} are needed",
            remedy="choose fewer --origins",
        )


def blocks_of(steps: int) -> tuple[int, int]:
    return steps * TRAIN_PERCENT // 100, steps * (TRAIN_PERCENT + VALIDATION_PERCENT) // 100
