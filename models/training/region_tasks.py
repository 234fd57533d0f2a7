"""What is asked for: the TOML file of tasks, for one region or many, and the options that several commands share.

It is read by commands that train nothing: torch is not imported here. Typer reads a command's options from its
parameters.
"""

import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.files.data_report import RowCount, in_words
from models.files.incident_archive import from_folder, is_archive
from models.files.layouts import LAYOUT_HELP
from schemas.errors import DataError, SettingsError
from schemas.files import make_writable, write_errors
from schemas.grid import Bounds
from schemas.spec import Merge

if TYPE_CHECKING:
    from models.training.train import ReportProgress


DEFAULT_CELL_M = 1000.0
_PATHS = ("like", "recipe", "masks", "calendar")  # of RegionTask


class RegionTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table `[[regions]]` of a file of tasks, for `train`, `tune`, `evaluate` and `retrain`."""

    data: str
    layout: str = ""  # an archive has none
    region: str
    cell_m: float = DEFAULT_CELL_M
    like: str = ""  # an artifact's folder; empty: a grid of its own
    bounds: str = ""  # south,west,north,east in degrees, of a grid of its own; empty: wherever incidents are
    until: str = "none"  # a local date, YYYY-MM-DD: only what happened before it
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    epochs: Annotated[int, msgspec.Meta(ge=1)] = 12
    step_minutes: Annotated[int, msgspec.Meta(ge=5)] = 180
    recipe: str = ""  # a file; empty: the default recipe
    network: str = ""  # a kind of network; empty: the recipe's
    merge: Merge = "none"  # with `like` or an archive, theirs stays
    missing_days: Annotated[int, msgspec.Meta(ge=0)] = 0  # that an archive may lack
    holidays: str = ""  # whose, by ISO 3166-2, like US-IL; with `like`, its own stay
    calendar: str = ""  # a CSV file of days known in advance; with `like`, one with its names
    answered_by: tuple[str, ...] = ()  # categories that standing units answer; with `like`, its own stay
    purpose: str = ""  # of schemas.spec.PURPOSES; empty: not named; with `like`, its own stays
    fine: int = 1  # of schemas.spec.FINE: squares a side of a cell; with `like`, its own stay
    masks: str = ""  # a GeoJSON file of areas in which nothing is counted; an archive has none

    def __post_init__(self) -> None:
        if self.edges and (self.like or is_archive(self.data)):
            raise DataError(f"bounds, and the grid of {self.like or self.data}", "leave out one of the two")
        if self.masks and is_archive(self.data):
            raise DataError(f"masks, and {self.data}", "leave out the masks: its counts were masked as they were made")
        if self.fine != 1 and is_archive(self.data):
            raise DataError(f"fine, and {self.data}", "leave out fine: an archive has no places inside cells")

    @property
    def edges(self) -> Bounds | None:
        """`bounds` as numbers, None without. Raises DataError for what holds no place."""
        return edges_of(self.bounds) if self.bounds else None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    regions: Annotated[tuple[RegionTask, ...], msgspec.Meta(min_length=1)]


def edges_of(bounds: str) -> Bounds:
    """south,west,north,east as numbers. Raises DataError for what holds no place."""
    try:
        south, west, north, east = map(float, bounds.split(","))
    except ValueError:
        south = west = north = east = nan
    if not (-90 <= south < north <= 90 and -180 <= west < east <= 180):
        remedy = "give south,west,north,east in degrees, as 41.6,-87.9,42.1,-87.5"
        raise DataError(f"bounds {bounds!r} hold no place", remedy)
    return south, west, north, east


def read_regions(path: Path) -> tuple[RegionTask, ...]:
    """The tasks in a TOML file of tables `[[regions]]`. Paths in it count from its folder and come back whole.

    Raises DataError when it cannot be read, has an unknown key, or lists a region twice.
    """
    remedy = "give a TOML file of tables [[regions]] with the keys region, data, layout ..."
    try:
        tasks = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).regions
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path} lists no regions ({error})", remedy) from error
    if twice := [name for name, times in Counter(task.region for task in tasks).items() if times > 1]:
        raise DataError(f"{path} lists {', '.join(twice)} more than once", remedy="list each region once")
    if bare := [task.region for task in tasks if not task.layout and not is_archive(task.data)]:
        raise DataError(f"{path} gives no `layout` for {', '.join(bare)}", remedy)
    folder = path.resolve().parent
    return tuple(
        msgspec.structs.replace(
            task,
            data=from_folder(task.data, folder),
            **{name: str(folder / place) for name in _PATHS if (place := getattr(task, name))},
        )
        for task in tasks
    )


def task_for(data: str, region: str = "") -> RegionTask:
    """A region's task: from a TOML file, where its only one needs no name, or the defaults on archive:PATH.

    Raises DataError.
    """
    if is_archive(data):
        return RegionTask(data=data, region=region)
    if not data.endswith(".toml"):
        raise DataError(f"{data} is no file of tasks", remedy="give a TOML file of tables [[regions]], or archive:PATH")
    tasks = {task.region: task for task in read_regions(Path(data))}
    if not region and len(tasks) == 1:
        return next(iter(tasks.values()))
    if region not in tasks:
        raise DataError(f"{data} lists {', '.join(tasks)}", remedy="name one of them as the region")
    return tasks[region]


DATA_HELP = "Incident file: .csv, .csv.gz, or .zip with one .csv"
DATA_OR_ARCHIVE_HELP = f"{DATA_HELP}; or archive:PATH, archive:PATH@VERSION"
REGIONS_TABLE = escape("[[regions]]")  # `--help` takes brackets for markup
TASK_FILE_HELP = f"TOML file with a table {REGIONS_TABLE}: its region, data, layout, cell_m and all other choices"
TaskFile = Annotated[Path | None, typer.Argument(help=TASK_FILE_HELP, show_default=False)]
FileLayout = Annotated[str, typer.Option(help=f"Of a file: {LAYOUT_HELP}")]
Region = Annotated[str, typer.Option(help="Name of the region: a-z, 0-9, - and _")]
CellSide = Annotated[float, typer.Option(help="Side of a cell, metres")]
MasksFile = Annotated[
    Path | None, typer.Option("--masks", envvar="RISK_MASKS", help="GeoJSON of areas in which nothing is counted")
]
Until = Annotated[str, typer.Option(help="Local date YYYY-MM-DD: use only what happened before it; or none")]
Artifacts = Annotated[Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts")]
SharedArtifacts = Annotated[
    Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts; all workers must see it")
]
Master = Annotated[str, typer.Option(help="Spark master, such as spark://host:7077; without it, local[WORKERS]")]
LINE_EVERY_S = 60.0


def refuse_unwritable(out: Path) -> None:
    """Raises SettingsError, before hours of work, when nothing could be written into the folder of `--out`."""
    with write_errors(SettingsError, f"--out {out}", remedy="name another folder"):
        make_writable(out)


def print_file(rows: Iterable[RowCount], warnings: Iterable[str], console: Console) -> None:
    """How the rows of a file are used, and what is wrong with it."""
    for line in in_words(rows):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


@contextmanager
def progress_bars(
    names: Sequence[str], console: Console, *, transient: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator["ReportProgress"]:
    """A bar for each name, and the function that moves them: report("replay: day 3", 0.2).

    There are none before the first report: what is refused before its work shows no bars. transient: the bars vanish at
    the end; otherwise their last lines stay, and with them what was reported last. In a file, where no bar moves, a
    line is added at most every minute.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bars, of_name, line_at_s = Progress(*columns, console=console, transient=transient), dict[str, TaskID](), 0.0

    def report(what: str, share: float) -> None:
        nonlocal line_at_s
        now_s = clock()
        if not of_name:
            of_name.update({name: bars.add_task(name, total=1.0) for name in names})
            bars.start()
            line_at_s = now_s
        bars.update(of_name[what.partition(":")[0]], description=what, completed=share)
        if not console.is_terminal and now_s - line_at_s >= LINE_EVERY_S:
            line_at_s = now_s
            console.print(f"{escape(what)}, {share:.0%}", highlight=False, soft_wrap=True)

    try:
        yield report
    finally:
        if of_name:
            bars.stop()
