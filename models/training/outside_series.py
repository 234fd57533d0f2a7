"""The outside series of a training: from their file into the spec, and how often each was missing."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from models.artifact.untrusted_bytes import sha256
from models.covariates import CovariateBook, covariate_means
from models.features import features_of
from models.files.covariate_file import of_series, read_covariates
from models.training.regions import RegionTask
from models.training.replay import IncidentHistory
from schemas.covariate import NO_VALUES, Values
from schemas.errors import DataError
from schemas.spec import HOUR_S, CovariateSeries, Spec

_ASKED_EVERY_S = 5 * HOUR_S  # so that all hours of the day are asked


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
        values = of_series(tuple(one.name for one in self.series), self.values, tuple(one.name for one in wanted), path)
        return replace(self, series=wanted, values=values)


def with_outside_series(spec: Spec, task: RegionTask) -> tuple[Spec, OutsideSeries]:
    """The spec with the series of the task's file, and their values. A spec that is kept (`like`) keeps its series.

    Raises DataError when file and kept spec do not name the same series, or the file cannot be used.
    """
    if not task.covariates:
        if spec.covariates:
            listed = ", ".join(one.name for one in spec.covariates)
            raise DataError(f"{task.like} uses the outside series {listed}", "give their values with --covariates")
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


def missing_shares(past: IncidentHistory, since_s: int) -> npt.NDArray[np.float64]:
    """(series, horizons) in which share of the moments from `since_s` to a history's end each series was missing."""
    book, values, moments = CovariateBook(), past.covariates, range(since_s, past.cutoff_s, _ASKED_EVERY_S)
    missing = np.zeros((len(past.spec.covariates), len(past.spec.horizons_s)))
    issued = 0
    for at_s in moments:
        until = int(np.searchsorted(values["issued_s"], at_s, side="right"))
        book.add(values[issued:until], at_s)
        issued = until
        missing += np.isnan(covariate_means(book, past.spec, at_s))
    return missing / len(moments)
