"""What a model knows of days beside counts and clock: the holidays of a place, and days that a file names."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from models.features import features_of
from schemas.errors import DataError
from schemas.files import sha256
from schemas.limits import MAX_CALENDAR_DAYS
from schemas.spec import DAY_S, SLUG, Spec

YEARS_AHEAD = 5  # with holidays, beyond the training data; afterwards no day is a holiday
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Local days that are known in advance, such as school holidays, matches and festivals, by name."""

    names: tuple[str, ...] = ()  # sorted
    days: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))  # (n, 2) which name, since 1970
    sha256: str | None = None  # of their file

    @classmethod
    def read(cls, file: str) -> "Calendar":
        """The days of a CSV file with the columns date and name; none where `file` is empty. Raises DataError."""
        if not file:
            return cls()
        remedy = "give a CSV file with the columns date and name, a row for each day, as 2026-03-02,school_holidays"
        days: set[tuple[str, int]] = set()
        try:
            content = Path(file).read_bytes()
            for number, row in enumerate(csv.DictReader(content.decode("utf-8-sig").splitlines()), start=1):
                name, day = row.get("name") or "", row.get("date") or ""
                if not re.fullmatch(SLUG, name) or not re.fullmatch(r"(19[7-9]|20\d)\d-\d\d-\d\d", day):
                    raise DataError(f"{file}, data row {number}: date {day[:40]!r}, name {name[:99]!r}", remedy)
                days.add((name, (date.fromisoformat(day) - _EPOCH).days))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{file} cannot be read ({error})", remedy) from error
        if not 0 < len(days) <= MAX_CALENDAR_DAYS:
            raise DataError(f"{file} has {len(days):,} days, 1 to {MAX_CALENDAR_DAYS:,} are read", remedy)
        names = sorted({name for name, _ in days})
        placed = [(names.index(name), day) for name, day in sorted(days)]
        return cls(names=tuple(names), days=np.array(placed, np.float64), sha256=sha256(content))

    def warnings(self, cutoff_s: int) -> Iterator[str]:
        """Which names have no day before `cutoff_s` to learn from, or none after it to know."""
        for number, name in enumerate(self.names):
            days = self.days[self.days[:, 0] == number, 1]
            if not days.min() < cutoff_s // DAY_S <= days.max():
                first, last = (_EPOCH + timedelta(days=int(day)) for day in (days.min(), days.max()))
                yield f"{name} has days from {first} to {last}: give those to learn from and those that are coming"


def informed(spec: Spec, *, holidays: str, calendar: tuple[str, ...]) -> Spec:
    """The spec with what a model knows beside counts and clock, and the features of it."""
    spec = msgspec.structs.replace(spec, holidays=holidays, calendar=calendar)
    return msgspec.structs.replace(spec, features=features_of(spec))


def holiday_days(place: str, first_s: int, last_s: int) -> npt.NDArray[np.float64]:
    """(n,) local days since 1970 that are holidays, from the year before `first_s` to YEARS_AHEAD after `last_s`.

    place: by ISO 3166-2, like FR or US-IL; empty: no holidays. Raises DataError for a place without a calendar.
    """
    if not place:
        return np.zeros(0)
    import holidays  # a second; most commands need none

    country, _, part = place.partition("-")
    first_year, last_year = (datetime.fromtimestamp(at_s, UTC).year for at_s in (first_s, last_s))
    years = range(first_year - 1, last_year + YEARS_AHEAD + 1)
    try:
        dates = holidays.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as error:
        remedy = f"name the country alone, {country}" if part else "name a country by ISO 3166-2, like US or US-IL"
        raise DataError(f"no calendar of holidays is known for {place}", remedy) from error
    return np.array(sorted((day - _EPOCH).days for day in dates), np.float64)
