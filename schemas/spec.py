"""The spec: everything that decides what counts and scores mean. It is part of the artifact: job and model share it.

A purpose, of a closed list, says what a model is for, and forbids some categories, each with the reason.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from schemas.errors import DataError
from schemas.event import ORIGINS
from schemas.grid import Grid
from schemas.limits import (
    MAX_CALENDAR_NAMES,
    MAX_CATEGORIES,
    MAX_COUNTERS_PER_REGION,
    MAX_FUTURE_LIMIT_S,
    MAX_HORIZON_S,
    MAX_HORIZONS,
    MAX_SERIES_PER_REGION,
    MAX_SLIDE_S,
    MIN_SLIDE_S,
)

# How words of a category begin, as patterns of one line in lower case; "_" also stands for "-".
_FOUND = (
    r"arrest|warrant|stops?(_|$)|drugs?(_offen|_law|$)|narcotic|possession|liquor|prostitut|gambl|loiter|vagran|curfew|"
    r"immigra|parole|probation|violations?$"
)
_PROPERTY = r"theft|burglar|larceny|shoplift|fraud|vandal|criminal|trespass|panhandl|homeless|disorderly|suspicious_per"
_VIOLENCE = r"assault|battery$|robber|homicid|stalking|gangs?(_|$)"
_FORBIDDEN: Mapping[str, str] = MappingProxyType(
    {
        "ems_readiness": _PROPERTY,
        "fire": f"{_PROPERTY}|{_VIOLENCE}",
        "road_safety": f"{_PROPERTY}|{_VIOLENCE}",
        "crowd_safety": _PROPERTY,
        "dispatch_staffing": "(?!)",  # nothing else
    }
)
PURPOSES = tuple(_FORBIDDEN)
ANSWERING = "ems_readiness"  # which of them has units that answer most: what it forbids, no standing unit answers


def forbidden(purpose: str, categories: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The categories that one of PURPOSES forbids, each with the reason.

    >>> dict(forbidden("fire", ["battery-fire", "burglary"]))
    {'burglary': 'no unit of fire answers it, so its forecast would serve patrols'}
    """
    for category in categories:
        words = category.replace("-", "_")
        if re.search(rf"(^|_)({_FOUND})", words):
            yield category, "patrols find it, so its counts say where patrols were"
        elif re.search(rf"(^|_)({_FORBIDDEN[purpose]})", words):
            yield category, f"no unit of {purpose} answers it, so its forecast would serve patrols"


FINE = (1, 2, 4, 8)  # squares a side of a cell; 1: a cell is one
LEAST_SQUARE_M = 100.0
SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Slug = Annotated[str, msgspec.Meta(pattern=SLUG)]
Merge = Literal["none", "repeated_calls"]  # what counts: every call, or a call that repeats no earlier one
ALL_CATEGORIES = "all"  # the store's series over every category; no category may have this name
HOLIDAYS = r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"
_DIGEST = r"^([0-9a-f]{16})?$"
HOUR_S = 3600
DAY_S = 86_400
DAYS_KEPT = 400  # days for which counts by day are kept
_LONGEST_SHOWN = 200  # characters of a value in a message


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One level of the counts: bins of `width_s` seconds, the newest `keep` of them.

    >>> Level(name="hour", width_s=3600, keep=360).keep
    360
    """

    name: str
    width_s: int
    keep: int


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted, where, how, and what the scores mean. Equal specs have equal fingerprints.

    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=2, cols=3)
    >>> spec = Spec(region="mycity", timezone="UTC", grid=grid, categories=("fire",), features=("cell_1h",))
    >>> spec.horizon_names, spec.series
    (('1h', '4h', '24h'), 36)
    """

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
    merge: Merge = "none"
    holidays: str = ""  # whose, by ISO 3166-2: US-IL, FR; empty: none
    calendar: tuple[Slug, ...] = ()  # names of other days that are known in advance, as matches; empty: none
    answered_by: tuple[Slug, ...] = ()  # categories that standing units answer; empty: nobody is shown posts for units
    purpose: str = ""  # of PURPOSES, which forbids some categories; empty: not named
    masked: str = ""  # the digest of the masks in which nothing is counted; empty: none
    fine: int = 1  # of FINE: into how many squares a side the artifact parts a cell's numbers

    def __post_init__(self) -> None:
        for message, remedy in _faults(self):
            raise DataError(message, remedy)

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
        """Series in the store: cells x categories, with that of all, x horizons."""
        return self.grid.cells * (len(self.categories) + 1) * len(self.horizons_s)

    @property
    def counters(self) -> int:
        """Counters in memory: cells x categories x bins, with the bins ahead of the clock."""
        return self.grid.cells * len(self.categories) * sum(level.keep + self.ahead(level) for level in self.levels)

    def ahead(self, level: Level) -> int:
        """Bins kept after the current one, for events ahead of the clock by no more than the limit."""
        return 1 + self.future_limit_s // level.width_s

    @property
    def registry_keep_s(self) -> int:
        """How long an incident is remembered, by the latest event time in any message about it."""
        return self.late_limit_s + DAY_S

    @property
    def horizon_names(self) -> tuple[str, ...]:
        return tuple(f"{seconds // HOUR_S}h" for seconds in self.horizons_s)

    @property
    def merges_calls(self) -> bool:
        return self.merge == "repeated_calls"

    def in_frame(self) -> dict[str, Any]:
        """The fields as a frame has them: without `fine` where a cell is one square."""
        fields = msgspec.structs.asdict(self)
        if self.fine == 1:
            del fields["fine"]
        return fields

    def as_json(self) -> bytes:
        """The fields in their order; those that say nothing are left out: `merge` where every call counts, `fine`
        where a cell is one square, and `holidays`, `calendar`, `answered_by`, `purpose` and `masked` without any.
        """
        fields = self.in_frame()
        if not self.merges_calls:
            del fields["merge"]
        for name in ("holidays", "calendar", "answered_by", "purpose", "masked"):
            if not fields[name]:
                del fields[name]
        return msgspec.json.encode(fields)

    def fingerprint(self) -> str:
        """16 hex digits that change when, and only when, a field does."""
        return hashlib.sha256(self.as_json()).hexdigest()[:16]


def _faults(spec: Spec) -> Iterator[tuple[str, str]]:
    """(message, remedy) of what is wrong with the spec. Later rules rely on the earlier ones."""
    if not 1 <= len(spec.categories) <= MAX_CATEGORIES or len(set(spec.categories)) != len(spec.categories):
        yield f"categories {spec.categories[:99]}", f"name 1 to {MAX_CATEGORIES} different ones"
    wrong = [slug for slug in (spec.region, *spec.categories) if not re.fullmatch(SLUG, slug)]
    if wrong:
        remedy = "write a region and its categories as slugs, of a-z, 0-9, - and _, a letter or digit first, at most 63"
        yield ", ".join(map(repr, wrong)), f"{remedy} characters"
    if ALL_CATEGORIES in spec.categories:
        yield f"category {ALL_CATEGORIES!r} is the sum over all categories", "give that category another name"
    if set(spec.counted_origins) - set(ORIGINS):
        yield f"counted_origins {spec.counted_origins}", f"choose from {ORIGINS}"
    if not spec.slide_s <= spec.late_limit_s <= 7 * DAY_S:
        yield f"late_limit_s={spec.late_limit_s}", f"choose {spec.slide_s} to {7 * DAY_S}"
    if spec.slide_s < 1 or HOUR_S % spec.slide_s or spec.tick_s < 1 or DAY_S % spec.tick_s:
        yield f"slide_s={spec.slide_s}, tick_s={spec.tick_s}", "slide_s must divide an hour, and tick_s a day"
    if not MIN_SLIDE_S <= spec.slide_s <= MAX_SLIDE_S:
        yield f"slide_s={spec.slide_s}", f"choose {MIN_SLIDE_S} to {MAX_SLIDE_S}"
    if not 0 <= spec.future_limit_s <= MAX_FUTURE_LIMIT_S:
        yield f"future_limit_s={spec.future_limit_s}", f"choose 0 or more, at most {MAX_FUTURE_LIMIT_S}"
    horizons = spec.horizons_s
    if not horizons or any(h < HOUR_S or h % HOUR_S for h in horizons) or sorted(set(horizons)) != list(horizons):
        yield f"horizons_s={horizons[:9]}", "name whole hours in seconds, each once, the shortest first"
    if len(horizons) > MAX_HORIZONS or horizons[-1] > MAX_HORIZON_S:
        yield f"horizons_s={horizons[:9]}", f"name at most {MAX_HORIZONS}, none beyond {MAX_HORIZON_S} s"
    if spec.holidays and not re.fullmatch(HOLIDAYS, spec.holidays):
        yield f"holidays {spec.holidays[:99]!r}", "name a country or a part of one by ISO 3166-2, like FR or US-IL"
    slugs = {name for name in spec.calendar if re.fullmatch(SLUG, name)}
    if not len(slugs) == len(spec.calendar) <= MAX_CALENDAR_NAMES:
        yield f"calendar {spec.calendar[:99]}", f"name at most {MAX_CALENDAR_NAMES} different days, as slugs"
    if set(spec.answered_by) - set(spec.categories) or len(set(spec.answered_by)) != len(spec.answered_by):
        yield f"answered_by {spec.answered_by[:99]}", f"name some of {', '.join(spec.categories)}, each once"
    if pairs := dict(forbidden(ANSWERING, spec.answered_by)):
        listed = "; ".join(f"{category}: {reason}" for category, reason in pairs.items())
        yield (
            f"answered_by has {listed}",
            "name only what standing units are sent to: posts for others are a patrol map",
        )
    yield from square_faults(spec.fine, spec.grid)
    if spec.fine > 1 and (others := [name for name in spec.categories if name not in spec.answered_by]):
        yield (
            f"fine = {spec.fine}, and no standing unit answers {', '.join(others)}",
            "name every category in answered_by, or leave out fine: a map of others at this scale is a patrol map",
        )
    if spec.purpose and spec.purpose not in PURPOSES:
        yield f"purpose {spec.purpose[:99]!r}", f"choose from {', '.join(PURPOSES)}"
    elif spec.purpose and (pairs := dict(forbidden(spec.purpose, spec.categories))):
        listed = "; ".join(f"{category}: {reason}" for category, reason in pairs.items())
        yield f"purpose {spec.purpose} forbids {listed}", "leave these categories out"
    if not re.fullmatch(_DIGEST, spec.masked):
        yield f"masked {spec.masked[:99]!r}", "write the first 16 hex digits of the file's SHA-256"
    try:
        ZoneInfo(spec.timezone)
    except (KeyError, ValueError, OSError):
        yield f"timezone {spec.timezone!r} is unknown", "use an IANA name like America/Chicago"
    if spec.series > MAX_SERIES_PER_REGION or spec.counters > MAX_COUNTERS_PER_REGION:
        size = f"{spec.grid.cells} cells x {len(spec.categories)} categories are {spec.series} series and"
        most = f"{MAX_SERIES_PER_REGION} and {MAX_COUNTERS_PER_REGION}"
        yield f"{size} {spec.counters} counters, more than {most}", "enlarge cell_m or join categories"


def square_faults(fine: int, grid: Grid) -> Iterator[tuple[str, str]]:
    """(message, remedy) of what is wrong with so many squares a side of each cell."""
    if fine not in FINE:
        yield f"fine = {fine}", f"choose {', '.join(map(str, FINE))} squares a side of a cell; 1: none"
    elif fine > 1 and grid.cell_m / fine < LEAST_SQUARE_M:
        yield (
            f"fine = {fine} makes squares of {grid.cell_m / fine:g} m",
            f"choose squares of at least {LEAST_SQUARE_M:g} m: smaller ones identify households",
        )


def differences(was: Spec, now: Spec) -> list[str]:
    """Every field that differs, as `grid.rows was 40 and is 41`; empty for equal specs.

    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=2, cols=3)
    >>> spec = Spec(region="mycity", timezone="UTC", grid=grid, categories=("fire",), features=("cell_1h",))
    >>> differences(spec, msgspec.structs.replace(spec, tick_s=120))
    ['tick_s was 60 and is 120']
    """
    before, after = _flat(was), _flat(now)
    return [
        f"{name} was {_short(before[name])} and is {_short(after[name])}"
        for name in before
        if before[name] != after[name]
    ]


def _flat(spec: Spec) -> dict[str, object]:
    """The spec's fields, with each field of the grid as `grid.NAME`."""
    fields = msgspec.structs.asdict(spec)
    grid = msgspec.structs.asdict(fields.pop("grid"))
    return {**fields, **{f"grid.{name}": value for name, value in grid.items()}}


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
