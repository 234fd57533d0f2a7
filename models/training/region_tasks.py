"""What a region's model is made from: the options of a training, and the TOML file of them for one region or many.

It is read by commands that train nothing: torch is not imported here.
"""

import tomllib
from collections import Counter
from math import nan
from pathlib import Path
from typing import Annotated

import msgspec

from models.files.incident_archive import from_folder, is_archive
from schemas.errors import DataError
from schemas.grid import Bounds
from schemas.spec import Merge

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
    masks: str = ""  # a GeoJSON file of areas in which nothing is counted; an archive has none

    def __post_init__(self) -> None:
        if self.edges and (self.like or is_archive(self.data)):
            raise DataError(f"bounds, and the grid of {self.like or self.data}", "leave out one of the two")
        if self.masks and is_archive(self.data):
            raise DataError(f"masks, and {self.data}", "leave out the masks: its counts were masked as they were made")

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
