"""The outside series of a training: from their file into the spec, and how often each was missing."""

from dataclasses import dataclass
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
    """The values of a training's outside series, in the order of their issue, and the hash of their file."""

    values: Values
    sha256: str | None

    @classmethod
    def none(cls) -> "OutsideSeries":
        return cls(values=NO_VALUES, sha256=None)


def with_outside_series(spec: Spec, task: RegionTask) -> tuple[Spec, OutsideSeries]:
    """The spec with the series of the task's file, and their values. A spec that is kept (`like`) keeps its series.

    Raises DataError when file and kept spec do not name the same series, or the file cannot be used.
    """
    wanted = tuple(one.name for one in spec.covariates)
    if not task.covariates:
        if wanted:
            listed = ", ".join(wanted)
            raise DataError(f"{task.like} uses the outside series {listed}", "give their values with --covariates")
        return spec, OutsideSeries.none()
    path = Path(task.covariates)
    names, values = read_covariates(path, task.region)
    if task.like:
        values = of_series(names, values, wanted, path)
    else:
        series = tuple(CovariateSeries(name=name, max_age_hours=task.covariate_max_age_hours) for name in names)
        spec = msgspec.structs.replace(spec, covariates=series)
        spec = msgspec.structs.replace(spec, features=features_of(spec))
    return spec, OutsideSeries(values=values, sha256=sha256(path.read_bytes()))


def missing_shares(past: IncidentHistory) -> npt.NDArray[np.float64]:
    """(series, horizons) in which share of the moments of a history each series was missing."""
    book, values, moments = CovariateBook(), past.covariates, range(past.first_s, past.cutoff_s, _ASKED_EVERY_S)
    missing = np.zeros((len(past.spec.covariates), len(past.spec.horizons_s)))
    issued = 0
    for at_s in moments:
        until = int(np.searchsorted(values["issued_s"], at_s, side="right"))
        book.add(values[issued:until], at_s)
        issued = until
        missing += np.isnan(covariate_means(book, past.spec, at_s))
    return missing / len(moments)
