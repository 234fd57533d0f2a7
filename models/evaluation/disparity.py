"""Whether the groups of a city are served alike. Groups stay in this room: no artifact, frame or store has them."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.artifact import Artifact, champion_of
from models.comparison import BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, interval_of, ratio_of
from models.features import FeatureEngine
from models.measures import AnyFloats, Floats
from models.scoring import means
from models.training.region_tasks import (
    DATA_OR_ARCHIVE_HELP,
    Artifacts,
    FileLayout,
    MasksFile,
    Region,
    RegionTask,
    progress_bars,
    refuse_unwritable,
)
from models.training.replay import IncidentHistory, Replay
from models.training.train_region import read_data, table_like
from schemas.areas import cells_of_areas, read_areas
from schemas.errors import DataError, RiskError, SettingsError
from schemas.files import replace_file, write_errors
from schemas.grid import Grid
from schemas.spec import ALL_CATEGORIES, DAY_S, HOUR_S

GROUPS = "a .csv with the columns cell,group and, if known, people; or GeoJSON of areas with a `group`"
MOST_PEOPLE = 1e9  # of a cell
LEAST_CELLS = 5  # of a group that anything is said of


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


class _Row(msgspec.Struct):
    cell: str
    group: Annotated[str, msgspec.Meta(min_length=1)]
    people: Annotated[float, msgspec.Meta(ge=0, le=MOST_PEOPLE)] = 1.0


def read_groups(path: Path, grid: Grid) -> Groups:
    """The groups of a file. Raises SettingsError, which says what is wrong with which row or area."""
    if not path.is_file():
        raise SettingsError(f"--groups {path} is no file", f"give {GROUPS}")
    cells, names, people, has_people = list[int](), list[str](), list[float](), False
    if path.suffix == ".csv":
        try:
            reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
            for line in reader:
                row = msgspec.convert(line, _Row, strict=False)
                cells.append(grid.index_of(row.cell))
                names.append(row.group)
                people.append(row.people)
        except (OSError, ValueError, csv.Error, RiskError) as error:  # a ValidationError is a ValueError
            raise SettingsError(f"{path}, line {len(cells) + 2}: {error}", f"give {GROUPS}") from error
        has_people = "people" in (reader.fieldnames or ())
    else:
        try:
            areas = cells_of_areas(read_areas(path, "group"), [grid])[0]
        except SettingsError as error:
            raise SettingsError(f"{path}: {error.message}", f"give {GROUPS}, a MultiPolygon for each group") from error
        for name, of_area in areas.items():
            cells += of_area.tolist()
            names += [name] * len(of_area)
    if len(set(cells)) < len(cells):
        raise SettingsError(f"{path} has a cell twice", "give each cell, by its centre, one group")
    living = dict(zip(cells, people, strict=True)) if has_people else None
    groups = Groups.of(dict(zip(cells, names, strict=True)), grid, living)
    if len(groups.names) < 2:
        raise SettingsError(f"{path} has fewer than two groups in this region", f"give {GROUPS}")
    return groups


@dataclass(slots=True, kw_only=True)
class GroupTally:
    """Forecasts of a horizon, in the order of time. Each series is a category, or all of them together."""

    groups: Groups
    top: int  # cells that are put first at each moment
    moments_s: list[int] = field(default_factory=list)
    sums: list[Floats] = field(default_factory=list)  # of each moment, (4, groups, series)

    def add(self, tick_s: int, expected: AnyFloats, observed: AnyFloats) -> None:
        """Sum what was expected, came, was put first, and came outside of it. expected, observed: (cells, series)."""
        first = np.zeros(expected.shape, np.bool_)
        in_order = np.argsort(-expected, axis=0, kind="stable")  # of equal cells the first in the grid is put first
        np.put_along_axis(first, in_order[: self.top], values=True, axis=0)
        members = self.groups.members
        self.sums.append(np.stack([members @ part for part in (expected, observed, first, observed * ~first)]))
        self.moments_s.append(tick_s)


def tallies_of(
    artifact: Artifact, past: IncidentHistory, groups: Groups, share: float, tell: Callable[[float], object]
) -> Mapping[str, GroupTally]:
    """By the name of a horizon, from the artifact's cut-off to the end of the past, one behind the other.

    share: that is put first, of the cells with any history. Raises DataError when nothing can be judged.
    """
    spec, network, state = past.spec, artifact.network(), artifact.history()
    engine, replay = FeatureEngine(spec, artifact.constants), Replay(past, state=state)
    start_s = -(-state.as_of_s // HOUR_S) * HOUR_S
    top = max(1, round(share * int((engine.compute(state).support > 0).any(axis=1).sum())))
    moments = {
        number: set(past.clear_of_cuts(range(start_s, past.cutoff_s - horizon_s + 1, horizon_s), horizon_s))
        for number, horizon_s in enumerate(spec.horizons_s)
    }
    tallies = {number: GroupTally(groups=groups, top=top) for number in moments}
    ticks = sorted(set[int]().union(*moments.values()))
    if not ticks:
        raise DataError("no hour lies after the artifact's data", "give a file that goes on, or an older artifact")

    def series_of(values: npt.NDArray[np.number]) -> Floats:
        """The categories, and where there are several, behind them their sum."""
        wide = values.astype(np.float64)
        return np.concatenate([wide, wide.sum(axis=1, keepdims=True)], axis=1) if wide.shape[1] > 1 else wide

    for place, tick_s in enumerate(ticks):
        _, expected = means(engine.compute(replay.lead_to(tick_s)).values, network, spec)
        for number in (number for number, of_horizon in moments.items() if tick_s in of_horizon):
            observed = past.counts(tick_s, tick_s + spec.horizons_s[number])
            tallies[number].add(tick_s, series_of(expected[:, :, number]), series_of(observed))
        tell((place + 1) / len(ticks))
    return {spec.horizon_names[number]: tally for number, tally in tallies.items() if tally.moments_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unevenness:
    """Of the groups' observed over expected the largest over the smallest: 1 where all are served alike."""

    model: float
    rival: float
    low: float  # of the 95 % interval of model - rival
    high: float


def compare_evenness(
    groups: Groups, moments_s: Sequence[int], sums: Floats, random: np.random.Generator
) -> Unevenness | None:
    """None where fewer than two groups, or fewer than LEAST_BLOCKS blocks of days, are enough to say anything.

    sums: (moments, 3, groups) what came, what the model expected, and what its rival did.
    """
    enough, block = is_enough(groups, sums[:, 0].sum(axis=0)), blocks_of(moments_s)
    if enough.sum() < 2 or block.max() + 1 < LEAST_BLOCKS:
        return None
    per_block = np.stack([sums[block == number].sum(axis=0) for number in range(block.max() + 1)])[..., enough]

    def uneven(came_and_expected: Floats) -> Floats:
        """(2, ...) of the model and its rival."""
        came, *expected = np.moveaxis(came_and_expected, -2, 0)
        ratio = came / np.stack(expected)
        return np.asarray(ratio.max(axis=-1) / ratio.min(axis=-1))

    low, high = interval_of(per_block, lambda drawn: np.subtract(*uneven(drawn)), random)
    model, rival = uneven(per_block.sum(axis=0)).tolist()
    return Unevenness(model=model, rival=rival, low=low, high=high)


def is_enough(groups: Groups, observed: Floats) -> npt.NDArray[np.bool_]:
    """(groups,) of which anything is said. observed: (groups,) incidents."""
    is_large = (groups.members.sum(axis=1) >= LEAST_CELLS) & (groups.members @ groups.weight > 0)
    return np.asarray(is_large & (observed >= LEAST_JUDGED))


def blocks_of(moments_s: Sequence[int]) -> npt.NDArray[np.int64]:
    """(moments,) the block of days of each."""
    days = np.array(moments_s) // (BLOCK_DAYS * DAY_S)
    return np.asarray(np.unique(days, return_inverse=True)[1], np.int64)


class Ratio(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval, where there are blocks enough for one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.2f}" + (f" {self.low:.2f}–{self.high:.2f}" if self.low is not None else "")


class Figures(msgspec.Struct, frozen=True):
    """Of a group. Shares are those among the groups that are large enough: what is left out is no remainder."""

    exposure: Ratio  # share of the top cells over the share of cells, or of people living
    incidents: Ratio  # share of the incidents over the same
    observed_over_expected: Ratio
    missed: Ratio  # share of its incidents that lay outside of the top


class GroupRow(msgspec.Struct, frozen=True):
    """A group in a category and horizon. figures: None where it is too few."""

    group: str
    category: str
    horizon: str
    cells: int
    figures: Figures | None
    verdict: str  # of the forecast: fits, too low, too high, too short or too few


def rows_of(tallies: Mapping[str, GroupTally], categories: Sequence[str]) -> list[GroupRow]:
    """All groups, by horizon and category; all categories together come first."""
    names = (*categories, ALL_CATEGORIES)[: next(iter(tallies.values())).sums[0].shape[2]]
    series, rows = sorted(enumerate(names), key=lambda named: named[1] != ALL_CATEGORIES), list[GroupRow]()
    for (horizon, tally), (number, category) in product(tallies.items(), series):
        groups, block = tally.groups, blocks_of(tally.moments_s)
        cells, weight = groups.members.sum(axis=1), groups.members @ groups.weight
        expected, observed, top, missed = np.stack(tally.sums, axis=1)[..., number]  # (moments, groups) each
        enough = is_enough(groups, observed.sum(axis=0))
        all_top, all_observed = (of[:, enough].sum(axis=1) for of in (top, observed))
        for group, name in enumerate(groups.names):
            figures, verdict = None, "too few"
            if enough[group] and all_top.any():
                share, ratios = weight[group] / weight[enough].sum(), list[Ratio]()
                for part, whole in (
                    (top, all_top * share),
                    (observed, all_observed * share),
                    (observed, expected[:, group]),
                    (missed, observed[:, group]),
                ):
                    value, *ends = ratio_of(part[:, group], whole, block, np.random.default_rng(0))
                    ratios.append(Ratio(value, *ends) if block.max() + 1 >= LEAST_BLOCKS else Ratio(value))
                figures = Figures(*ratios)
                low, high = figures.observed_over_expected.low, figures.observed_over_expected.high
                if low is None or high is None:
                    verdict = "too short"
                else:
                    verdict = "too low" if low > 1 else "too high" if high < 1 else "fits"
            rows.append(GroupRow(name, category, horizon, int(cells[group]), figures, verdict))
    return rows


HEADINGS = ("group", "cells", "exposure", "came", "came / expected", "missed, %", "forecast")
MEANING = (
    "exposure: the group's share of the cells that are put first, over its share of all cells, or of the people; "
    "came: its share of the incidents, over the same. Also a right forecast makes exposure less equal than incidents.",
    "came / expected: above 1 the forecast is too low there; missed: its incidents outside of the top.",
    "forecast: whether what came fits what was expected there, not whether groups are served alike.",
    "Intervals: 95 %, by blocks of three days, from ten of them on. A group of fewer than 100 incidents or 5 cells is "
    "too few, and no part of any share. A group that reports less than what happens looks quieter here, too.",
)


def tables_of(rows: Sequence[GroupRow]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each horizon its heading, and the texts of all categories together under HEADINGS."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        if row.category != rows[0].category:
            continue
        texts = [""] * 4
        if figures := row.figures:
            came, missed = f"{figures.incidents.value:.2f}", f"{100 * figures.missed.value:.1f}"
            texts = [str(figures.exposure), came, str(figures.observed_over_expected), missed]
        heading = f"{row.horizon}, {row.category.replace(ALL_CATEGORIES, 'all categories')}"
        tables.setdefault(heading, []).append((row.group, str(row.cells), *texts, row.verdict))
    return list(tables.items())


def files_of(rows: Sequence[GroupRow], sentences: Sequence[str]) -> dict[str, bytes]:
    """disparity.csv, with every category, and summary.md for the drafts that officials complete, by name.

    In the CSV each figure stands with the ends of its interval; none of a group that is too few.
    """
    of_figures = [f"{name}{end}" for name in Figures.__struct_fields__ for end in ("", "_low", "_high")]
    table = StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["group", "category", "horizon", "cells", "verdict", *of_figures])
    for row in rows:
        ratios = msgspec.structs.astuple(row.figures) if row.figures else ()
        numbers = [number for ratio in ratios for number in msgspec.structs.astuple(ratio)] or [None] * len(of_figures)
        writer.writerow([row.group, row.category, row.horizon, row.cells, row.verdict, *numbers])
    parts = ["# Are the groups served alike?", *sentences]
    for heading, texts in tables_of(rows):
        names = [(text[0].replace("|", r"\|"), *text[1:]) for text in texts]
        lines = [HEADINGS, ("---",) * len(HEADINGS), *names]
        parts += [f"## {heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    summary = "\n\n".join([*parts, *(f"- {meaning}" for meaning in MEANING)]) + "\n"
    return {"disparity.csv": table.getvalue().encode(), "summary.md": summary.encode()}


def disparity_command(
    region: Region,
    groups: Annotated[Path, typer.Option(help="CSV cell,group[,people], or GeoJSON of areas with a `group`")],
    data: Annotated[str, typer.Option(help=f"What came. {DATA_OR_ARCHIVE_HELP}")],
    layout: FileLayout = "",
    masks: MasksFile = None,
    artifacts: Artifacts = Path("data/artifacts"),
    top: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of the area that is put first")] = 0.05,
    out: Annotated[Path, typer.Option(help="Folder for disparity.csv and summary.md")] = Path("out/disparity"),
) -> None:
    """Compare what groups of cells get from the forecasts, and what it costs them where these are wrong.

    The region's model forecasts all that the data have after its own end. Groups reach no artifact, frame or store.
    """
    artifact, console = champion_of(artifacts, region), Console(highlight=False)
    chosen = read_groups(groups, artifact.spec.grid)
    refuse_unwritable(out)
    # What came, until the end of the last whole hour, as the artifact counts it.
    spec = artifact.spec
    task = RegionTask(data=data, layout=layout, region=spec.region, merge=spec.merge, masks=str(masks or ""))
    incidents, _ = read_data(task, spec)
    end_s = (int(incidents.occurred_s[-1]) + 1) // HOUR_S * HOUR_S
    past = IncidentHistory.of(table_like(incidents, spec, region=spec.region, cutoff_s=end_s), spec, end_s)
    with progress_bars(["replay"], console, transient=True) as report:
        tallies = tallies_of(artifact, past, chosen, top, lambda share: report("replay", share))
    rows = rows_of(tallies, artifact.spec.categories)
    first, last = (datetime.fromtimestamp(at_s, UTC) for at_s in (artifact.manifest.data.cutoff_s, past.cutoff_s))
    sentences = [
        f"{region}, model {artifact.version}, {first:%Y-%m-%d} to {last:%Y-%m-%d} UTC, which it does not "
        f"know. Put first: {next(iter(tallies.values())).top} cells of those with any history. Shares are of "
        f"{'people living' if chosen.has_people else 'cells'}; {(chosen.of_cell < 0).sum()} cells are in no group."
    ]
    if missing := [name for name in artifact.spec.horizon_names if name not in tallies]:
        sentences.append(f"Too short for a forecast of {', '.join(missing)}.")
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)
    for heading, texts in tables_of(rows):
        table = Table(HEADINGS[0], title=heading, title_justify="left", box=None, padding=(0, 0, 0, 1), pad_edge=False)
        for name in HEADINGS[1:]:
            table.add_column(name.replace(" / ", "/\n").replace(" ", "\n"), justify="right", no_wrap=True)
        for line in texts:
            table.add_row(*map(Text, line))
        console.print(table)
    for sentence in MEANING:
        console.print(Text(sentence, style="dim"), soft_wrap=True)
    with write_errors(SettingsError, f"--out {out}"):
        for name, content in files_of(rows, sentences).items():
            replace_file(out / name, content)
    console.print(f"every category: {out / 'disparity.csv'}", soft_wrap=True)
