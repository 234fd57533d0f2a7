"""The spec: everything that is *meaning*. It travels in the artifact; a stream and a model must share it."""

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from schemas.errors import DataError
from schemas.event import ORIGINS
from schemas.grid import Grid
from schemas.limits import (
    MAX_CATEGORIES,
    MAX_COUNTERS_PER_REGION,
    MAX_FUTURE_LIMIT_S,
    MAX_HORIZON_S,
    MAX_HORIZONS,
    MAX_SERIES_PER_REGION,
    MAX_SLIDE_S,
    MIN_SLIDE_S,
)

SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Slug = Annotated[str, msgspec.Meta(pattern=SLUG)]
HOUR_S = 3600
DAY_S = 86_400
DAYS_KEPT = 400  # of counts by the day
_LONGEST_SHOWN = 200  # characters of a value in a message


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One storey of the pyramid of counts: bins of `width_s` seconds, the newest `keep` of them."""

    name: str
    width_s: int
    keep: int


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted, where, how, and what the scores mean. Equal specs have equal fingerprints."""

    region: Slug
    timezone: str
    grid: Grid
    categories: tuple[Slug, ...]
    counted_origins: tuple[str, ...] = ("public_call", "sensor", "responder")
    tick_s: int = 60
    slide_s: int = 300
    horizons_s: tuple[int, ...] = (HOUR_S, 4 * HOUR_S, DAY_S)
    late_limit_s: int = DAY_S
    future_limit_s: int = 300
    features: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.categories) <= MAX_CATEGORIES or len(set(self.categories)) != len(self.categories):
            raise DataError(f"categories {self.categories[:99]}: name 1 to {MAX_CATEGORIES} different ones")
        wrong = [slug for slug in (self.region, *self.categories) if not re.fullmatch(SLUG, slug)]
        if wrong:
            raise DataError(
                f"{', '.join(map(repr, wrong))}: write a region and its categories as slugs, of a-z, 0-9, - and _, "
                "a letter or digit first, at most 63 characters"
            )
        if set(self.counted_origins) - set(ORIGINS):
            raise DataError(f"counted_origins {self.counted_origins}: choose from {ORIGINS}")
        if self.late_limit_s < self.slide_s or self.late_limit_s > 7 * DAY_S:
            raise DataError(f"late_limit_s={self.late_limit_s}: choose {self.slide_s} to {7 * DAY_S}")
        if self.slide_s < 1 or HOUR_S % self.slide_s or self.tick_s < 1 or DAY_S % self.tick_s:
            raise DataError(f"slide_s={self.slide_s} must divide an hour, tick_s={self.tick_s} a day")
        if not MIN_SLIDE_S <= self.slide_s <= MAX_SLIDE_S:
            raise DataError(f"slide_s={self.slide_s}: choose {MIN_SLIDE_S} to {MAX_SLIDE_S}")
        if not 0 <= self.future_limit_s <= MAX_FUTURE_LIMIT_S:
            raise DataError(f"future_limit_s={self.future_limit_s}: choose 0 or more, at most {MAX_FUTURE_LIMIT_S}")
        horizons = self.horizons_s
        if not horizons or any(h < HOUR_S or h % HOUR_S for h in horizons) or sorted(set(horizons)) != list(horizons):
            raise DataError(f"horizons_s={horizons[:9]}: name whole hours in seconds, each once, the shortest first")
        if len(horizons) > MAX_HORIZONS or horizons[-1] > MAX_HORIZON_S:
            raise DataError(f"horizons_s={horizons[:9]}: at most {MAX_HORIZONS}, none beyond {MAX_HORIZON_S} s")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise DataError(f"timezone {self.timezone!r} is unknown: use an IANA name like America/Chicago") from None
        if self.series > MAX_SERIES_PER_REGION or self.counters > MAX_COUNTERS_PER_REGION:
            raise DataError(
                f"{self.grid.cells} cells x {len(self.categories)} categories make {self.series} series and "
                f"{self.counters} counters, at most {MAX_SERIES_PER_REGION} and {MAX_COUNTERS_PER_REGION} are allowed: "
                "enlarge cell_m or join categories"
            )

    @property
    def levels(self) -> tuple[Level, ...]:
        """pane: 26 h of slides; hour: 15 days; day: 400 days (UTC). Bin `i` covers [i, i + 1) x width."""
        return (
            Level(name="pane", width_s=self.slide_s, keep=26 * HOUR_S // self.slide_s),
            Level(name="hour", width_s=HOUR_S, keep=15 * 24),
            Level(name="day", width_s=DAY_S, keep=DAYS_KEPT),
        )

    @property
    def series(self) -> int:
        """Series in the store: cells x categories x horizons."""
        return self.grid.cells * len(self.categories) * len(self.horizons_s)

    @property
    def counters(self) -> int:
        """Counters in memory: cells x categories x bins, the ones ahead of the clock included."""
        return self.grid.cells * len(self.categories) * sum(level.keep + self.ahead(level) for level in self.levels)

    def ahead(self, level: Level) -> int:
        """Bins kept beyond the current one, for events that are ahead of the clock within the limit."""
        return 1 + self.future_limit_s // level.width_s

    @property
    def registry_keep_s(self) -> int:
        """How long an incident is remembered, by the latest event time in any message about it."""
        return self.late_limit_s + DAY_S

    @property
    def horizon_names(self) -> tuple[str, ...]:
        return tuple(f"{seconds // HOUR_S}h" for seconds in self.horizons_s)

    def fingerprint(self) -> str:
        """16 hex digits that change when, and only when, a field does."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


def differences(was: Spec, now: Spec) -> list[str]:
    """Every field that differs, as `grid.rows was 40 and is 41`; empty for equal specs."""
    return [
        f"{name} was {_short(before)} and is {_short(after)}"
        for (name, before), (_, after) in zip(_fields(was), _fields(now), strict=True)
        if before != after
    ]


def _fields(spec: Spec) -> Iterator[tuple[str, object]]:
    for name in spec.__struct_fields__:
        if name != "grid":
            yield name, getattr(spec, name)
        else:
            yield from ((f"grid.{part}", getattr(spec.grid, part)) for part in spec.grid.__struct_fields__)


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
