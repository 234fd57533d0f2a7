"""What a model knows beside counts and clock: outside series, and the holidays of a place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from models.covariates import CovariateBook, covariate_means
from models.features import features_of
from models.files.covariate_file import read_covariates
from models.training.regions import RegionTask
from schemas.covariate import NO_VALUES, Values
from schemas.errors import DataError
from schemas.files import sha256
from schemas.spec import HOUR_S, CovariateSeries, Spec

_ASKED_EVERY_S = 5 * HOUR_S  # so that all hours of the day are asked
_OFTEN_MISSING = 0.1
YEARS_AHEAD = 5  # with holidays, beyond the training data; afterwards no day is a holiday
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideSeries:
    """Outside series of one region, their values in the order of their issue, and the hash of their file."""

    series: tuple[CovariateSeries, ...] = ()
    values: Values = field(default_factory=lambda: NO_VALUES)
    sha256: str | None = None

    @classmethod
    def read(cls, path: Path, region: str, *, max_age_hours: int) -> "OutsideSeries":
        """Raises DataError when the file cannot be used."""
        names, values = read_covariates(path, region)
        series = tuple(CovariateSeries(name=name, max_age_hours=max_age_hours) for name in names)
        return cls(series=series, values=values, sha256=sha256(path.read_bytes()))

    def as_in(self, wanted: tuple[CovariateSeries, ...], path: Path) -> "OutsideSeries":
        """The same values with the series of an artifact. Raises DataError unless the file has just these series."""
        names, of_artifact = ([series.name for series in each] for each in (self.series, wanted))
        if set(names) != set(of_artifact):
            raise DataError(
                f"{path} has the series {', '.join(names)}, and the artifact of --like "
                f"{', '.join(of_artifact) or 'none'}",
                "give the same series, or train without --like and start again with `checkpoint --reset`",
            )
        values = self.values.copy()
        values["series"] = np.array([of_artifact.index(name) for name in names])[values["series"]]
        return replace(self, series=wanted, values=values)


def with_outside_series(spec: Spec, task: RegionTask) -> tuple[Spec, OutsideSeries]:
    """The spec with the series of the task's file, and their values. A spec that is kept (`like`) keeps its series.

    Raises DataError when file and kept spec do not name the same series, or the file cannot be used.
    """
    if not task.covariates:
        if spec.covariates:
            listed = ", ".join(series.name for series in spec.covariates)
            raise DataError(f"{task.like} uses the outside series {listed}", "give their values as covariates")
        return spec, OutsideSeries()
    path = Path(task.covariates)
    outside = OutsideSeries.read(path, task.region, max_age_hours=task.covariate_max_age_hours)
    if task.like:
        return spec, outside.as_in(spec.covariates, path)
    return informed(spec, holidays=spec.holidays, series=outside.series), outside


def informed(spec: Spec, *, holidays: str, series: tuple[CovariateSeries, ...]) -> Spec:
    """The spec with what a model knows beside counts and clock, and the features of it."""
    spec = msgspec.structs.replace(spec, holidays=holidays, covariates=series)
    return msgspec.structs.replace(spec, features=features_of(spec))


def asked_within(start_s: int, stop_s: int) -> range:
    """Moments at which `missing_shares` may be asked of a stretch."""
    return range(start_s, stop_s, _ASKED_EVERY_S)


def missing_shares(values: Values, spec: Spec, moments: Sequence[int]) -> npt.NDArray[np.float64]:
    """(series, horizons) in which share of the moments, one or more in their order, each series was missing.

    values: (n,) of VALUE in the order of their issue.
    """
    missing = np.zeros((len(spec.covariates), len(spec.horizons_s)))
    if not spec.covariates:
        return missing
    book, issued = CovariateBook(), 0
    for at_s in moments:
        until = int(np.searchsorted(values["issued_s"], at_s, side="right"))
        book.add(values[issued:until], at_s)
        issued = until
        missing += np.isnan(covariate_means(book, spec, at_s))
    return missing / len(moments)


def missing_warnings(outside: OutsideSeries, spec: Spec, moments: Sequence[int]) -> Iterator[str]:
    """Which series were often missing at the moments that are learned from or judged.

    Raises DataError when one was never known: a job would begin anew for nothing.
    """
    shares = missing_shares(outside.values, spec, moments)
    for series, of_each in zip(spec.covariates, shares.tolist(), strict=True):
        if min(of_each) == 1:
            raise DataError(
                f"the outside series {series.name} is never known when a forecast is made",
                "give what was issued before its hours, at most covariate_max_age_hours before the forecast",
            )
        if max(of_each) > _OFTEN_MISSING:
            listed = ", ".join(f"{name} {share:.0%}" for name, share in zip(spec.horizon_names, of_each, strict=True))
            yield f"the outside series {series.name} is missing, so neutral, at {listed} of the moments"


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
