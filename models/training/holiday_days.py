"""The holidays of a place, so that an artifact has them and scoring needs no calendar."""

from datetime import UTC, date, datetime

import numpy as np

from models.baseline import Floats
from schemas.errors import DataError

YEARS_AHEAD = 5  # beyond the training data; afterwards no day is a holiday
_EPOCH = date(1970, 1, 1)


def holiday_days(place: str, first_s: int, last_s: int) -> Floats:
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
        found = holidays.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as error:
        remedy = f"name the country alone, {country}" if part else "name a country by ISO 3166-2, like US or US-IL"
        raise DataError(f"no calendar of holidays is known for {place}", remedy) from error
    return np.array(sorted((day - _EPOCH).days for day in found), np.float64)
