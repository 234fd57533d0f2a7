"""Groups of cells that somebody wants to compare, from a file outside of artifact, stream and store."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.measures.cube import Floats
from schemas.areas import cells_of_areas, read_areas
from schemas.errors import RiskError, SettingsError
from schemas.grid import Grid

GROUPS = "a .csv with the columns cell,group and, if known, people; or GeoJSON of areas with a `group`"


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
    """The groups of a file. Raises SettingsError, which says what is wrong with which line or area."""
    if path.suffix == ".csv":
        groups = _of_csv(path, grid)
    else:
        areas = cells_of_areas(read_areas(path, "group"), [grid])[0]
        groups = Groups.of({cell: name for name, cells in areas.items() for cell in cells.tolist()}, grid)
    if len(groups.names) < 2:
        raise SettingsError(f"{path} has fewer than two groups in this region", f"give {GROUPS}")
    return groups


def _of_csv(path: Path, grid: Grid) -> Groups:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(_rows(reader, path, grid))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} cannot be read ({error})", f"give {GROUPS}") from error
    group, people = {cell: name for cell, name, _ in rows}, {cell: living for cell, _, living in rows}
    if len(group) < len(rows):
        raise SettingsError(f"{path} names a cell twice", "give each cell one group")
    return Groups.of(group, grid, people if "people" in (reader.fieldnames or ()) else None)


def _rows(reader: "csv.DictReader[str]", path: Path, grid: Grid) -> Iterator[tuple[int, str, float]]:
    """The cell, group and people of each row."""
    for row in reader:
        try:
            cell, name, living = grid.index_of(row["cell"]), (row["group"] or "").strip(), float(row.get("people") or 0)
        except (RiskError, KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{path}, line {reader.line_num}: {error}", f"give {GROUPS}") from error
        if not name or not 0 <= living < inf:
            fault = f"{path}, line {reader.line_num}: group {name!r}, people {living:g}"
            raise SettingsError(fault, "name a group, and give no or a positive number of people")
        yield cell, name, living
