"""What a model knows of days beside counts and clock: the holidays of a place."""

from datetime import UTC, date, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from models.features import features_of
from schemas.errors import DataError
from schemas.spec import Spec

YEARS_AHEAD = 5  # with holidays, beyond the training data; afterwards no day is a holiday
_EPOCH = date(1970, 1, 1)


def informed(spec: Spec, *, holidays: str) -> Spec:
    """The spec with what a model knows beside counts and clock, and the features of it."""
    spec = msgspec.structs.replace(spec, holidays=holidays)
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
