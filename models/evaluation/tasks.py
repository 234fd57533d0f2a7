"""What is forecast: which incidents, cells and steps; which steps are for learning and which for judging."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.evaluation.counted_cube import count
from models.evaluation.published import TEST_DAYS, VALIDATION_DAYS, nominal_grid, published_chicago
from models.files.archive import ArchivedDays
from models.files.cutoff import cutoff_of
from models.files.data_report import RowCount, read_past, refuse_one_cell, refuse_too_little, row_counts
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS, Layout
from models.files.repeated_calls import merge_repeated
from models.local_time import local_from_utc, utc_from_local
from models.measures.cube import Cube
from models.training.outside_series import OutsideSeries
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S

DATA = Path("../shared/data")
STEPS_S: Mapping[str, int] = MappingProxyType({"hour": HOUR_S, "4h": 4 * HOUR_S, "day": DAY_S})
STEP_NAMES: Mapping[str, str] = MappingProxyType({"hour": "one hour", "4h": "four hours", "day": "one day"})
KM_PER_DEGREE = 111.2  # of latitude; the grids of the hourly tasks start at the smallest coordinates
MONTGOMERY_BOX = (39.9, 40.5, -75.9, -74.9)  # south, north, west, east: 99,473 calls lie inside
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
    grid: Grid  # in the published tasks its rows and columns count, its squares are not quite theirs
    cube: Cube
    validation: int
    test: int
    scored: npt.NDArray[np.bool_]  # (cells,) those that are judged
    outside_s: npt.NDArray[np.int64] | tuple[()] = ()  # when incidents happened that lie in no cell, ascending
    row_counts: tuple[RowCount, ...] = ()  # what became of the file's rows; of the published tasks the README says it
    holidays: str = ""  # whose, that the models of the product's features know
    covariates: OutsideSeries = field(default_factory=OutsideSeries)  # that they know
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
        found = {"holidays": self.holidays} if self.holidays else {}
        for one in self.covariates.series:
            found[f"outside series {one.name}"] = (
                f"for {one.max_age_hours} h after each issue, sha256 {self.covariates.sha256}"
            )
        return found

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """(steps,) those without an hour that is cut out; the others are neither learned from nor judged."""
        edges, cut = self.cube.starts_s, self.incidents.cut_hours
        before = np.searchsorted(cut, edges[:-1] // HOUR_S)
        return np.asarray(before == np.searchsorted(cut, -(-edges[1:] // HOUR_S)))

    @property
    def step_s(self) -> int:
        return round(float(np.median(np.diff(self.cube.starts_s))))


def chicago_3km_daily(path: Path) -> Task:
    """The published benchmark: 731 days, 14 x 12 cells, four categories, the last 92 days judged; all cells."""
    published = published_chicago(read_incidents(path, LAYOUTS["chicago"]))
    cube = published.cube
    return Task(
        name="chicago-3km-daily",
        title="Chicago 2016-2017, 3 km, one day, 4 categories, all 168 cells",
        incidents=published.incidents,
        cell=published.cell,
        grid=published.grid,
        cube=cube,
        validation=len(cube) - TEST_DAYS - VALIDATION_DAYS,
        test=len(cube) - TEST_DAYS,
        scored=np.ones(cube.rows * cube.cols, np.bool_),
    )


def chicago_1km_hourly(path: Path) -> Task:
    """All categories together, cells with any incident in the file, the last 15 % of the hours judged."""
    table = read_incidents(path, LAYOUTS["chicago"])
    return _hourly("chicago-1km-hourly", "Chicago 2016-2017, 1 km, one hour, all categories", table, cell_km=1.0)


def montgomery_2km_hourly(path: Path) -> Task:
    """Raw calls of all classes together, cells with any call in the file, the last 15 % of the hours judged."""
    table = read_incidents(path, LAYOUTS["montgomery"])
    south, north, west, east = MONTGOMERY_BOX
    inside = (table.lat_deg > south) & (table.lat_deg < north) & (table.lon_deg > west) & (table.lon_deg < east)
    title = "Montgomery County 911 2015-2016, 2 km, one hour, raw calls"
    return _hourly("montgomery-2km-hourly", title, table.select(inside), cell_km=2.0)


TASKS: Mapping[str, tuple[Callable[[Path], Task], Path]] = MappingProxyType(
    {
        "chicago-3km-daily": (chicago_3km_daily, DATA / "chicago_2016_2017.zip"),
        "chicago-1km-hourly": (chicago_1km_hourly, DATA / "chicago_2016_2017.zip"),
        "montgomery-2km-hourly": (montgomery_2km_hourly, DATA / "montgomery_911_2015_2016.zip"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How a file becomes a task."""

    cell_m: float
    step: str  # one of STEPS_S
    origins: int = 1
    merge_repeated: bool = False  # repeated calls count once
    until: str = "none"  # a local date: only what happened before it
    grid: Grid | None = None  # in place of one around what is learned from

    def __post_init__(self) -> None:
        if self.step not in STEPS_S:
            raise DataError(f"--step {self.step} is unknown", remedy=f"choose one of {', '.join(STEPS_S)}")


def task_of_file(path: Path, layout: Layout, options: FileOptions, *, now_s: float) -> Task:
    """Any incident file in local days, four hours or hours: 70/15/15 % of them.

    The grid is that of the steps from which the earliest of the origins learns (see `earlier`); all its cells are
    judged. The file's first and last step are left out: they may be partial. Raises DataError when too few steps are
    left, or too many incidents of the judged steps lie outside the grid.
    """
    table = read_past(path, layout, now_s=now_s)
    if options.merge_repeated:
        table = merge_repeated(table)
    return _task_of(table, path.name, options)


def task_of_archive(archived: ArchivedDays, options: FileOptions) -> Task:
    """The same of archived days, in the archive's own cells, whatever `options.cell_m` says."""
    grid = archived.meaning.grid
    task = _task_of(archived.table, "archive", replace(options, cell_m=grid.cell_m, grid=grid))
    parts = {"learned from": slice(task.validation), "chosen by": slice(task.validation, task.test)}
    for what, steps in {**parts, "judged": slice(task.test, None)}.items():
        if task.is_kept[steps].any():
            continue
        raise DataError(
            f"every step that would be {what} has an hour that is cut out",
            remedy="find out why the feed was silent or its messages were refused, or give a version with more days",
        )
    cut = int((~task.is_kept).sum())
    title = f"{task.title}, {cut:,} steps cut out" if cut else task.title
    return replace(task, title=title, data_file=f"archive@{archived.version}", data_sha256=archived.sha256)


def _task_of(table: IncidentTable, source: str, options: FileOptions) -> Task:
    table = table.select(table.occurred_s < cutoff_of(options.until, table))
    starts_s = _steps(table, STEPS_S[options.step])[1:-1]
    steps = len(starts_s) - 1
    if steps < LEAST_STEPS:
        raise DataError(
            f"{max(steps, 0)} whole steps ({options.step}) in {source}, at least {LEAST_STEPS} are needed",
            remedy="give a longer file, or a shorter --step",
        )
    validation, test = _blocks(steps)
    learned = validation - (options.origins - 1) * (steps - test)
    _refuse_short(learned, options.origins - 1)
    grid = options.grid or _grid_of(table, int(starts_s[0]), int(starts_s[learned]), options.cell_m)
    cell, inside = grid.locate(table.lat_deg, table.lon_deg)
    whole = (table.occurred_s >= starts_s[0]) & (table.occurred_s < starts_s[-1])
    rows = (*row_counts(table, grid), RowCount(what=_PARTIAL, rows=int((~whole).sum()), decision="left out"))
    incidents, cell = table.select(inside & whole), cell[inside & whole]
    task = Task(
        name=f"{table.layout}-{options.cell_m:.0f}m-{options.step}",
        title=_title(source, options, categories=len(table.categories), cells=grid.cells),
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=count(incidents, cell, starts_s, grid),
        validation=validation,
        test=test,
        scored=np.ones(grid.cells, np.bool_),
        outside_s=table.occurred_s[~inside],
        row_counts=tuple(line for line in rows if line.rows),
    )
    _refuse_moved(task, int(((table.occurred_s >= starts_s[test]) & whole).sum()))
    return task


def _title(source: str, options: FileOptions, *, categories: int, cells: int) -> str:
    merged = ", repeated calls merged" if options.merge_repeated else ""
    step, kinds = STEP_NAMES[options.step], "1 category" if categories == 1 else f"{categories} categories"
    return f"{source}, {options.cell_m:.0f} m, {step}, {kinds}, all {cells} cells{merged}"


def _grid_of(table: IncidentTable, start_s: int, stop_s: int, cell_m: float) -> Grid:
    """The grid around what happened in [start_s, stop_s)."""
    known = (table.occurred_s >= start_s) & (table.occurred_s < stop_s)
    if not known.any():
        raise DataError(f"no incident in the first {TRAIN_PERCENT} % of the file's steps", "give a file without gaps")
    refuse_too_little(table.occurred_s[known])
    grid = Grid.around(table.lat_deg[known], table.lon_deg[known], cell_m=cell_m)
    refuse_one_cell(table, grid, stop_s)
    return grid


def _refuse_moved(task: Task, judged: int) -> None:
    """judged: incidents of the judged steps, wherever they happened."""
    if task.outside > MOST_OUTSIDE * judged:
        raise DataError(
            f"{task.outside:,} of the {judged:,} incidents of the judged steps lie outside the grid of the steps "
            "that are learned from: the file's area changed",
            remedy="remove the incidents outside the area, or start the file after the area changed",
        )


def _hourly(name: str, title: str, table: IncidentTable, *, cell_km: float) -> Task:
    incidents = replace(table, category=np.zeros_like(table.category), categories=("incident",))
    north, east = (degrees - degrees.min() for degrees in (incidents.lat_deg, incidents.lon_deg))
    km_east = KM_PER_DEGREE * np.cos(np.radians(incidents.lat_deg.mean()))
    row = np.floor(north * KM_PER_DEGREE / cell_km).astype(np.int32)
    col = np.floor(east * km_east / cell_km).astype(np.int32)
    grid = nominal_grid(incidents, int(row.max()) + 1, int(col.max()) + 1, 1000 * cell_km)
    cell = row * grid.cols + col
    cube = count(incidents, cell, _steps(incidents, HOUR_S), grid)
    validation, test = _blocks(len(cube))
    scored = cube.counts.sum(axis=(0, 2)) > 0
    return Task(
        name=name,
        title=f"{title}, {int(scored.sum())} cells with any",
        incidents=incidents,
        cell=cell,
        grid=grid,
        cube=cube,
        validation=validation,
        test=test,
        scored=scored,
    )


def _steps(table: IncidentTable, step_s: int) -> npt.NDArray[np.int64]:
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
    return ending(task, len(task.cube) - shift, validation=task.validation - shift, test=task.test - shift)


def ending(task: Task, end: int, *, validation: int, test: int) -> Task:
    """The same task without what comes from the step `end` on, and with other blocks."""
    until = int(np.searchsorted(task.incidents.occurred_s, task.cube.starts_s[end]))
    return replace(
        task,
        incidents=task.incidents.select(np.arange(len(task.incidents)) < until),
        cell=task.cell[:until],
        cube=task.cube.until(end),
        validation=validation,
        test=test,
    )


def _refuse_short(learned: int, blocks: int) -> None:
    least = LEAST_STEPS * TRAIN_PERCENT // 100
    if learned < least:
        raise DataError(
            f"with {blocks} more origins only {max(learned, 0)} steps remain for training, at least {least} are needed",
            remedy="choose fewer --origins",
        )


def _blocks(steps: int) -> tuple[int, int]:
    return steps * TRAIN_PERCENT // 100, steps * (TRAIN_PERCENT + VALIDATION_PERCENT) // 100
