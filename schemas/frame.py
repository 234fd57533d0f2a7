"""A region's scores at one moment, as the model computes them and as they are shown and stored."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.grid import Grid
from schemas.spec import ALL_CATEGORIES, Spec

SUPPORT = ("no_history", "sparse", "ok")  # the code in `RiskFrame.support` is the position here
BASELINE_MODEL = "baseline"
# The groups of features to which the network's part of a score is attributed: each is a factor on the usual number.
ATTRIBUTION_GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "here": "recent counts here",
        "next_door": "recent counts next door",
        "level": "the region's level",
        "memory": "long memory",
        "time": "time of day and week",
        "network": "the network, all features at their mean",
        "following": "what the last weeks showed",
        "nowcast": "what the last hour showed",
    }
)
ATTRIBUTED_RANKS = 10  # of the riskiest cells, how many carry what made their scores


class Unusual(msgspec.Struct, frozen=True, kw_only=True):
    """A place with more incidents than usual: `rows` x `cols` cells, the south-western one at row and col."""

    category: str  # or ALL_CATEGORIES
    row: int
    col: int
    rows: int
    cols: int
    hours: int  # the last ones
    observed: int  # incidents in them
    usual: float
    days: float  # once in so many days chance alone shows as much somewhere in the region
    of_categories: dict[str, int] = {}  # incidents of each in it, where it is of ALL_CATEGORIES
    above: tuple[int, ...] = ()  # of its cells those with more than usual; none where nobody says which

    def cells(self, grid: Grid) -> npt.NDArray[np.int32]:
        """(cells,) in grid order."""
        rows, cols = np.arange(self.row, self.row + self.rows), np.arange(self.col, self.col + self.cols)
        return (rows[:, None] * grid.cols + cols).ravel().astype(np.int32)

    def middle(self, grid: Grid) -> str:
        """The geohash of the place's middle."""
        return grid.middle_of(self.row, self.col, self.rows, self.cols)

    def in_words(self, grid: Grid) -> str:
        """As `fire at r002c006 to r005c009: 20 in place of 1.8 in 2 h`."""
        cells = self.cells(grid).tolist()
        place = f"at {grid.cell_id(cells[0])}" + (f" to {grid.cell_id(cells[-1])}" if len(cells) > 1 else "")
        place = "in the whole region" if len(cells) == grid.cells else place
        mix = ", ".join(f"{category} {came}" for category, came in self.of_categories.items())
        mix = f" ({mix})" if mix else ""
        return f"{self.category} {place}: {self.observed} in place of {self.usual:.2g} in {self.hours} h{mix}"


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A feed that brings nothing, or next to nothing: what is shown of it is a forecast, not what happens."""

    category: str  # or ALL_CATEGORIES
    since_s: int  # about its last incident before
    until_s: int = 0  # when it was back, some hours ago at most; 0: it is silent now
    observed: int  # incidents in that time
    usual: float
    days: float  # once in so many days chance alone shows as much

    def in_words(self, timezone: str) -> str:
        """As `fire since 3 Mar 14:05: 0 in place of 23`, in local time."""
        since, until = (datetime.fromtimestamp(at_s, ZoneInfo(timezone)) for at_s in (self.since_s, self.until_s))
        when = (
            f"from {since.day} {since:%b %H:%M} to {until:%H:%M}"
            if self.until_s
            else f"since {since.day} {since:%b %H:%M}"
        )
        return f"{self.category} {when}: {self.observed} in place of {self.usual:.3g}"


class Surge(msgspec.Struct, frozen=True, kw_only=True):
    """A category of which the last hours brought so much more than was expected that its forecast moves."""

    category: str
    factors: tuple[float, ...]  # on what is expected over each horizon, in every cell: 1 or more
    spreads: tuple[float, ...]  # standard deviation of each factor over the factor
    observed: int  # incidents in the last hour, in the whole region
    usual: float

    def in_words(self) -> str:
        """As `fire x3.4: 36 in place of 4.2 in the last hour`."""
        return (
            f"{self.category} x{max(self.factors):.1f}: {self.observed} in place of {self.usual:.2g} in the last hour"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFrame:
    """Arrays are (cells, categories, horizons) unless said otherwise; cells in grid order (row * cols + col)."""

    spec: Spec
    as_of_s: int  # the region's clock, epoch seconds UTC
    model: str  # artifact version, or "baseline" / "baseline:<why the network did not answer>"
    expected: npt.NDArray[np.float32]  # incidents within the horizon from as_of
    risk: npt.NDArray[np.float32]  # probability of at least one, 0..1
    low: npt.NDArray[np.float32]  # 5 % quantile of the predictive count
    high: npt.NDArray[np.float32]  # 95 % quantile of the predictive count
    usual: npt.NDArray[np.float32]  # the baseline's expected
    observed_1h: npt.NDArray[np.int32]  # (cells, categories) incidents counted in the last hour
    support: npt.NDArray[np.uint8]  # (cells, categories) position in SUPPORT
    attribution: npt.NDArray[np.float32]  # (ranks, categories, horizons, ATTRIBUTION_GROUPS) of the `riskiest` cells
    is_sum: bool = False  # over the spec's categories: the one category is ALL_CATEGORIES
    unusual: tuple[Unusual, ...] = ()  # where more happens than usual, the least likely first
    silent: tuple[Silence, ...] = ()  # feeds that are silent, or were: that of all categories alone, or those of some
    surges: tuple[Surge, ...] = ()  # categories whose forecast the last hours move

    @property
    def categories(self) -> tuple[str, ...]:
        return (ALL_CATEGORIES,) if self.is_sum else self.spec.categories

    @property
    def tick_s(self) -> int:
        """Timestamp of the frame's points: as_of rounded down to the tick, so that a repeated batch overwrites."""
        return self.as_of_s - self.as_of_s % self.spec.tick_s

    @property
    def baseline_only(self) -> bool:
        """Whether no network scored the frame."""
        return is_baseline(self.model)

    def silent_of(self, category: str) -> list[Silence]:
        """The feeds that are silent now and that a category has a part in; all of them for ALL_CATEGORIES."""
        own = {feed.category for feed in self.silent} if category == ALL_CATEGORIES else {ALL_CATEGORIES, category}
        return [feed for feed in self.silent if feed.category in own and not feed.until_s]

    def surges_of(self, category: str) -> list[Surge]:
        """Those of a category; all of them for ALL_CATEGORIES."""
        return [surge for surge in self.surges if category in (ALL_CATEGORIES, surge.category)]

    def digest(self) -> str:
        """16 hex digits of all that is stored of the frame: equal digests mean equal frames, to the last bit."""
        seal = hashlib.blake2b(f"{self.as_of_s} {self.model}".encode(), digest_size=8)
        scores = (self.expected, self.risk, self.low, self.high, self.usual)
        for array in (*scores, self.observed_1h, self.support, self.attribution):
            seal.update(array.tobytes())
        for places in filter(None, (self.unusual, self.silent, self.surges)):
            seal.update(msgspec.msgpack.encode(places))
        return seal.hexdigest()


def is_baseline(model: str) -> bool:
    """Whether that is no network, of what is said to have scored."""
    return model.startswith(BASELINE_MODEL)


def riskiest(risk: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """The `k` cells with the highest risk, highest first; all of them when there are fewer. risk, expected: (cells,).

    Equal risks (it saturates at 1 in busy cells) are ordered by expected, then by cell.

    >>> riskiest(np.float32([0.2, 0.9, 0.9]), np.float32([0.1, 2, 3]), 2).tolist()
    [2, 1]
    """
    k = min(k, len(risk))
    floor = np.partition(risk, -k)[-k]
    cells = np.flatnonzero(risk >= floor)
    order = np.lexsort((-expected[cells], -risk[cells]))
    return cells[order[:k]]
