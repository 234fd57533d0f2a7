"""From sums to figures of each group, with intervals by blocks of days; of a small group nothing is said."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from models.comparison import BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, ratio_of
from models.cube import Floats
from models.evaluation.disparity.groups import Groups
from models.evaluation.disparity.tally import SUMS, GroupTally, Mask
from schemas.spec import ALL_CATEGORIES, DAY_S, HOUR_S

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
