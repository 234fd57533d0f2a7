"""Groups of cells that somebody wants to compare, from a file outside of artifact, stream and store."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from models.cube import Floats
from schemas.areas import cells_of_areas, read_areas
from schemas.errors import RiskError, SettingsError
from schemas.grid import Grid

GROUPS = "a .csv with the columns cell,group and, if known, people; or GeoJSON of areas with a `group`"

MOST_PEOPLE = 1e9  # of a cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Which group each cell belongs to, and how many people live there."""

    names: tuple[str, ...]  # sorted
    of_cell: npt.NDArray[np.int64]  # (cells,) position in `names`; -1: in no group
    weight: Floats  # (cells,) people living there, or 1
    has_people: bool

    @property
    def members(self) -> Floats:
        """(groups, cells) 1 where a cell belongs to a group."""
        return np.asarray(np.arange(len(self.names))[:, None] == self.of_cell, np.float64)

    @classmethod
    def of(cls, group: Mapping[int, str], grid: Grid, people: Mapping[int, float] | None = None) -> "Groups":
        """group, people: by cell."""
        names = tuple(sorted(set(group.values())))
        of_cell, weight = np.full(grid.cells, -1), np.zeros(grid.cells)
        for cell, name in group.items():
            of_cell[cell] = names.index(name)
            weight[cell] = 1.0 if people is None else people[cell]
        return cls(names=names, of_cell=of_cell, weight=weight, has_people=people is not None)


def read_groups(path: Path, grid: Grid) -> Groups:
    """The groups of a file. Raises SettingsError, which says what is wrong with which row or area."""
    if not path.is_file():
        raise SettingsError(f"--groups {path} is no file", f"give {GROUPS}")
    groups = _of_csv(path, grid) if path.suffix == ".csv" else _of_areas(path, grid)
    if len(groups.names) < 2:
        raise SettingsError(f"{path} has fewer than two groups in this region", f"give {GROUPS}")
    return groups


def _of_areas(path: Path, grid: Grid) -> Groups:
    try:
        areas = cells_of_areas(read_areas(path, "group"), [grid])[0]
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}", f"give {GROUPS}, a MultiPolygon for each group") from error
    cells = [(cell, name) for name, of_area in areas.items() for cell in of_area.tolist()]
    _refuse_twice(path, [cell for cell, _ in cells])
    return Groups.of(dict(cells), grid)


def _refuse_twice(path: Path, cells: Sequence[int]) -> None:
    if len(set(cells)) < len(cells):
        raise SettingsError(f"{path} has a cell twice", "give each cell, by its centre, one group")


class _Row(msgspec.Struct):
    cell: str
    group: Annotated[str, msgspec.Meta(min_length=1)]
    people: Annotated[float, msgspec.Meta(ge=0, le=MOST_PEOPLE)] = 1.0


def _of_csv(path: Path, grid: Grid) -> Groups:
    rows, cells = list[_Row](), list[int]()
    try:
        reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        for row in reader:
            rows.append(msgspec.convert(row, _Row, strict=False))
            cells.append(grid.index_of(rows[-1].cell))
    except (OSError, ValueError, csv.Error, RiskError) as error:  # a ValidationError is a ValueError
        raise SettingsError(f"{path}, line {len(cells) + 2}: {error}", f"give {GROUPS}") from error
    _refuse_twice(path, cells)
    by_cell = dict(zip(cells, rows, strict=True))
    people = {cell: row.people for cell, row in by_cell.items()} if "people" in (reader.fieldnames or ()) else None
    return Groups.of({cell: row.group for cell, row in by_cell.items()}, grid, people)
