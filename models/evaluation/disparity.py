"""Whether the groups of a city are served alike. Groups stay in this room: no artifact, frame or store has them."""

import base64
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from models.artifact import Artifact
from models.comparison import BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, interval_of, ratio_of
from models.cube import AnyFloats, Floats
from models.evaluation.drawing import INK, canvas, grid_lines, styled
from models.evaluation.evaluation_report import png_of, template_of
from models.features import FeatureEngine
from models.scoring import means
from models.training.replay import IncidentHistory, Replay
from schemas.areas import cells_of_areas, read_areas
from schemas.errors import DataError, RiskError, SettingsError
from schemas.grid import Grid
from schemas.spec import ALL_CATEGORIES, DAY_S, HOUR_S

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


SUMS = (
    *("expected", "observed", "top", "missed", "false_alarms", "top_usual", "top_of_both", "after_a_day"),
    *("still_in_top", "top_less", "top_more"),
)
REPORTING = 0.2  # how much less, and more, one group is taken to report
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True, kw_only=True)
class GroupTally:
    """Forecasts of a horizon, in the order of time. Each series is a category, or all of them together."""

    groups: Groups
    horizon_s: int
    top: int  # cells that are put first at each moment
    moments_s: list[int] = field(default_factory=list)
    sums: list[Floats] = field(default_factory=list)  # of each moment, (SUMS, groups, series)
    moments_in_top: Floats = field(default_factory=lambda: np.zeros(1))  # (cells, series)
    stay: Floats = field(default_factory=lambda: np.zeros(1))  # (cells, series) moments that it now lasts
    longest: Floats = field(default_factory=lambda: np.zeros(1))  # (cells, series) moments
    tops: dict[int, Mask] = field(default_factory=dict)  # of the newest day, by moment

    def add(self, tick_s: int, expected: AnyFloats, usual: AnyFloats, observed: AnyFloats) -> None:
        """expected, usual, observed: (cells, series)."""
        members, first = self.groups.members, top_of(expected, self.top)
        less, more = (self._otherwise(expected, members, 1 + sign * REPORTING) for sign in (-1, 1))
        of_usual, a_day_ago = top_of(usual, self.top), self.tops.get(tick_s - DAY_S)
        since = np.zeros_like(first) if a_day_ago is None else first  # of them, a day ago is known
        still = np.zeros_like(first) if a_day_ago is None else first & a_day_ago
        wrong = (observed * ~first, first & (observed == 0))
        parts = (expected, observed, first, *wrong, of_usual, first & of_usual, since, still)
        self.tops = {at_s: top for at_s, top in self.tops.items() if at_s > tick_s - DAY_S} | {tick_s: first}
        self.sums.append(np.stack([*(members @ part for part in parts), less, more]))
        is_next = self.moments_s and tick_s == self.moments_s[-1] + self.horizon_s
        self.stay = np.where(first, self.stay * bool(is_next) + 1, 0.0)
        self.longest = np.maximum(self.longest, self.stay)
        self.moments_in_top = self.moments_in_top + first
        self.moments_s.append(tick_s)

    def _otherwise(self, expected: AnyFloats, members: Floats, reported: float) -> Floats:
        """(groups, series) cells of each group in the top, if it alone had reported so much of what it did."""
        scaled = (np.where(of_group[:, None] > 0, reported * expected, expected) for of_group in members)
        return np.stack([of @ top_of(mean, self.top) for of, mean in zip(members, scaled, strict=True)])


def top_of(mean: AnyFloats, cells: int) -> Mask:
    """(cells, series) whether a cell is among the first of its series; of equal ones the first in the grid is.

    >>> top_of(np.array([[0.1], [0.3], [0.2]]), 2).ravel().tolist()
    [False, True, True]
    """
    first = np.zeros(mean.shape, np.bool_)
    np.put_along_axis(first, np.argsort(-mean, axis=0, kind="stable")[:cells], values=True, axis=0)
    return first


def with_all(values: npt.NDArray[np.number]) -> Floats:
    """(cells, categories) and behind them their sum. With one category there is no other series."""
    wide = values.astype(np.float64)
    return np.concatenate([wide, wide.sum(axis=1, keepdims=True)], axis=1) if wide.shape[1] > 1 else wide


def tallies_of(
    artifact: Artifact, past: IncidentHistory, groups: Groups, share: float, tell: Callable[[float], object]
) -> Mapping[str, GroupTally]:
    """By the name of a horizon, from the artifact's cut-off to the end of the past, one behind the other.

    share: that is put first, of the cells with any history. Raises DataError when nothing can be judged.
    """
    spec, network, state = past.spec, artifact.network(), artifact.history()
    engine, replay = FeatureEngine(spec, artifact.constants), Replay(past, state=state)
    start_s = -(-state.as_of_s // HOUR_S) * HOUR_S
    cells = max(1, round(share * int((engine.compute(state).support > 0).any(axis=1).sum())))
    moments = {
        number: set(past.clear_of_cuts(range(start_s, past.cutoff_s - horizon_s + 1, horizon_s), horizon_s))
        for number, horizon_s in enumerate(spec.horizons_s)
    }
    tallies = {number: GroupTally(groups=groups, horizon_s=spec.horizons_s[number], top=cells) for number in moments}
    ticks = sorted(set[int]().union(*moments.values()))
    if not ticks:
        raise DataError("no hour lies after the artifact's data", "give a file that goes on, or an older artifact")
    for place, tick_s in enumerate(ticks):
        usual, expected = means(engine.compute(replay.lead_to(tick_s)).values, network, spec)
        for number in (number for number, of_horizon in moments.items() if tick_s in of_horizon):
            observed = past.counts(tick_s, tick_s + spec.horizons_s[number])
            forecast, without = (with_all(mean[:, :, number]) for mean in (expected, usual))
            tallies[number].add(tick_s, forecast, without, with_all(observed))
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

    def both(drawn: Floats) -> tuple[Floats, Floats]:
        came, expected, of_rival = np.moveaxis(drawn, -2, 0)
        return _apart(came / expected), _apart(came / of_rival)

    low, high = interval_of(per_block, lambda drawn: np.subtract(*both(drawn)), random)
    model, rival = both(per_block.sum(axis=0))
    return Unevenness(model=float(model), rival=float(rival), low=low, high=high)


def _apart(ratio: Floats) -> Floats:
    """ratio: (..., groups)."""
    return np.asarray(ratio.max(axis=-1) / ratio.min(axis=-1))


LEAST_CELLS = 5  # of a group that anything is said of


class Ratio(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval, where there are blocks enough for one."""

    value: float
    low: float | None = None
    high: float | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a group. Shares are those among the groups that are large enough: what is left out is no remainder."""

    exposure: Ratio  # share of the top cells over the share of cells, or of people living
    incidents: Ratio  # share of the incidents over the same
    observed_over_expected: Ratio
    missed: Ratio  # share of its incidents that lay outside of the top
    false_alarms: Ratio  # share of its area that was in the top and had no incident
    exposure_usual: float  # by what is usual alone, without the network
    also_usual: float | None  # share of its cells in the top that are there by what is usual alone, too
    still_in_top: float | None  # share of its cells in the top that were there a day before, too
    exposure_less: float  # if it alone reported 20 % less
    exposure_more: float  # if it alone reported 20 % more
    longest_stay_h: float  # of one cell in the top
    effective_cells: float  # as many cells that stood in the top equally often would be as concentrated


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
    series = sorted(enumerate(names), key=lambda named: named[1] != ALL_CATEGORIES)
    return [
        row
        for horizon, tally in tallies.items()
        for number, category in series
        for row in _rows(tally, number, (category, horizon))
    ]


def _rows(tally: GroupTally, series: int, named: tuple[str, str]) -> Iterator[GroupRow]:
    """named: category and horizon."""
    enough = is_enough(tally.groups, _sums_of(tally, series)["observed"].sum(axis=0))
    cells = tally.groups.members.sum(axis=1)
    for number, name in enumerate(tally.groups.names):
        figures = _figures(tally, series, number, enough) if enough[number] else None
        yield GroupRow(name, *named, cells=int(cells[number]), figures=figures, verdict=_verdict(figures))


def is_enough(groups: Groups, observed: Floats) -> Mask:
    """(groups,) of which anything is said. observed: (groups,) incidents."""
    is_large = (groups.members.sum(axis=1) >= LEAST_CELLS) & (groups.members @ groups.weight > 0)
    return np.asarray(is_large & (observed >= LEAST_JUDGED))


def _sums_of(tally: GroupTally, series: int) -> dict[str, Floats]:
    """(moments, groups) of each name."""
    return dict(zip(SUMS, np.stack(tally.sums, axis=1)[..., series], strict=True))


def blocks_of(moments_s: Sequence[int]) -> npt.NDArray[np.int64]:
    """(moments,) the block of days of each."""
    days = np.array(moments_s) // (BLOCK_DAYS * DAY_S)
    return np.asarray(np.unique(days, return_inverse=True)[1], np.int64)


def _figures(tally: GroupTally, series: int, group: int, enough: Mask) -> Figures | None:
    """enough: (groups,) those that anything is said of. None where none of them ever was in the top."""
    sums, block, groups = _sums_of(tally, series), blocks_of(tally.moments_s), tally.groups
    weight = groups.members @ groups.weight
    share, is_member = weight[group] / weight[enough].sum(), groups.of_cell == group
    came, top = (sums[name][:, enough].sum(axis=1) for name in ("observed", "top"))
    if not top.any():
        return None

    def ratio(part: str, whole: Floats) -> Ratio:
        value, *ends = ratio_of(sums[part][:, group], whole, block, np.random.default_rng(0))
        return Ratio(value, *ends) if block.max() + 1 >= LEAST_BLOCKS else Ratio(value)

    def exposure(part: str, among: Floats) -> float:
        return float(sums[part][:, group].sum() / among.sum() / share)

    def share_of(part: str, whole: str) -> float | None:
        among = sums[whole][:, group].sum()
        return float(sums[part][:, group].sum() / among) if among else None

    lasting = tally.moments_in_top[is_member, series]
    return Figures(
        exposure=ratio("top", top * share),
        incidents=ratio("observed", came * share),
        observed_over_expected=ratio("observed", sums["expected"][:, group]),
        missed=ratio("missed", sums["observed"][:, group]),
        false_alarms=ratio("false_alarms", np.full(len(block), float(is_member.sum()))),
        exposure_usual=exposure("top_usual", sums["top_usual"][:, enough]),
        also_usual=share_of("top_of_both", "top"),
        still_in_top=share_of("still_in_top", "after_a_day"),
        exposure_less=exposure("top_less", top),
        exposure_more=exposure("top_more", top),
        longest_stay_h=float(tally.longest[is_member, series].max()) * tally.horizon_s / HOUR_S,
        effective_cells=float(lasting.sum() ** 2 / (lasting**2).sum()) if lasting.any() else 0.0,
    )


def _verdict(figures: Figures | None) -> str:
    """Whether what came lies within chance of what was expected, in words."""
    if figures is None:
        return "too few"
    total = figures.observed_over_expected
    if total.low is None or total.high is None:
        return "too short"
    return "too low" if total.low > 1 else "too high" if total.high < 1 else "fits"


_COLUMNS: dict[str, Callable[[Figures], str]] = {
    "exposure": lambda figures: _interval(figures.exposure),
    "came": lambda figures: f"{figures.incidents.value:.2f}",
    "came / expected": lambda figures: _interval(figures.observed_over_expected),
    "missed, %": lambda figures: f"{100 * figures.missed.value:.1f}",
    "false, %": lambda figures: f"{100 * figures.false_alarms.value:.1f}",
    "stay, h": lambda figures: f"{figures.longest_stay_h:.0f}",
    "spread": lambda figures: f"{figures.effective_cells:.1f}",
    "still, %": lambda figures: _percent(figures.still_in_top),
    "usual, %": lambda figures: _percent(figures.also_usual),
    "-20 %": lambda figures: f"{figures.exposure_less:.2f}",
    "+20 %": lambda figures: f"{figures.exposure_more:.2f}",
}
HEADINGS = ("group", "cells", *_COLUMNS, "forecast")
NARROW = ("cells", "false, %", "spread", "still, %", "usual, %")  # what a terminal has no room for
MEANING = (
    "exposure: the group's share of the cells that are put first, over its share of all cells, or of the people; "
    "came: its share of the incidents, over the same. Also a right forecast makes exposure less equal than incidents.",
    "came / expected: above 1 the forecast is too low there; missed: its incidents outside of the top; false: its "
    "area that was in the top and had no incident; stay: the longest of one cell in the top, without a break.",
    "spread: as many cells that stand in the top equally often have its time there; still: its cells in the top that "
    "were there a day before, too; usual: those that are there by what is usual alone, without the network.",
    "-20 %, +20 %: its exposure if it alone reported so much less or more, as the forecast is in proportion to what "
    "was reported.",
    "forecast: whether what came fits what was expected there, not whether groups are served alike.",
    "Intervals: 95 %, by blocks of three days, from ten of them on. A group of fewer than 100 incidents or 5 cells is "
    "too few, and no part of any share. A group that reports less than what happens looks quieter here, too.",
)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"


def _interval(ratio: Ratio) -> str:
    return f"{ratio.value:.2f}" + (f" {ratio.low:.2f}–{ratio.high:.2f}" if ratio.low is not None else "")


def tables_of(rows: Sequence[GroupRow]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each horizon and category its heading, and the texts of its rows."""
    named = groupby(rows, key=lambda row: f"{row.horizon}, {row.category.replace(ALL_CATEGORIES, 'all categories')}")
    return [(heading, [_texts(row) for row in of_heading]) for heading, of_heading in named]


def _texts(row: GroupRow) -> tuple[str, ...]:
    texts = (text(row.figures) if row.figures else "" for text in _COLUMNS.values())
    return (row.group, str(row.cells), *texts, row.verdict)


def files_of(rows: Sequence[GroupRow], sentences: Sequence[str]) -> dict[str, bytes]:
    """disparity.csv, disparity.json, index.html, and summary.md for the drafts that officials complete, by name."""
    flat, table = [_flat(row) for row in rows], StringIO(newline="")
    writer = csv.DictWriter(table, max((list(line) for line in flat), key=len))
    writer.writeheader()
    writer.writerows(flat)
    template, policy = template_of("disparity.html.j2")
    page = template.render(
        policy=policy,
        sentences=sentences,
        picture=base64.b64encode(picture_of(rows)).decode(),
        tables=tables_of(rows),
        headings=HEADINGS,
        meaning=MEANING,
    )
    content = msgspec.json.format(msgspec.json.encode({"about": sentences, "rows": flat}), indent=1)
    return {
        "disparity.csv": table.getvalue().encode(),
        "disparity.json": content,
        "index.html": page.encode(),
        "summary.md": summary_of(rows, sentences).encode(),
    }


def summary_of(rows: Sequence[GroupRow], sentences: Sequence[str]) -> str:
    """Markdown of all categories together, to be copied into a model card or an impact assessment."""
    parts = ["# Are the groups served alike?", *sentences]
    for heading, texts in tables_of([row for row in rows if row.category == rows[0].category]):
        names = [(text[0].replace("|", r"\|"), *text[1:]) for text in texts]
        lines = [HEADINGS, ("---",) * len(HEADINGS), *names]
        parts += [f"## {heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, *(f"- {meaning}" for meaning in MEANING)]) + "\n"


def _flat(row: GroupRow) -> dict[str, object]:
    """Each figure by its name, with the ends of its interval; none of a group that is too few."""
    flat = msgspec.structs.asdict(row)
    figures = flat.pop("figures")
    for name, figure in msgspec.structs.asdict(figures).items() if figures else ():
        if isinstance(figure, Ratio):
            flat |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        else:
            flat[name] = figure
    return flat


def picture_of(rows: Sequence[GroupRow]) -> bytes:
    """A PNG of the longest horizon's rows of all categories: what each group has of the top, and of what came."""
    shown = [row for row in rows if (row.category, row.horizon) == (rows[0].category, rows[-1].horizon)]
    names = [row.group if row.figures else f"{row.group}: {row.verdict}" for row in shown]
    with styled():
        figure = canvas(1.4 + 0.45 * len(shown))
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, shown, "exposure", f"Exposure, {shown[0].horizon}; x: incidents")
        incidents = [row.figures.incidents.value if row.figures else np.nan for row in shown]
        left.plot(incidents, range(len(shown)), "x", color=INK)
        _panel(right, shown, "observed_over_expected", "Observed over expected")
        left.set_yticks(range(len(shown)), names)
        left.set_ylim(len(shown) - 0.5, -0.5)
    return png_of(figure)


def _panel(axes: Axes, rows: Sequence[GroupRow], name: str, title: str) -> None:
    axes.axvline(1, color=INK, linewidth=1.2)
    for place, row in enumerate(rows):
        if row.figures:
            ratio: Ratio = getattr(row.figures, name)
            if ratio.low is not None and ratio.high is not None:
                axes.plot((ratio.low, ratio.high), (place, place), color="C0", linewidth=2.2)
            axes.plot(ratio.value, place, "o", color="C0", markersize=7)
    axes.set_title(title)
    grid_lines(axes, "x")
