"""Where the time that a command may use ends."""

from datetime import UTC, datetime

import numpy as np

from models.incident_files import IncidentTable
from models.local_time import utc_from_local
from schemas.errors import DataError

UNTIL_HELP = "Local date YYYY-MM-DD: use only what happened before it; or none"


def cutoff_of(until: str, incidents: IncidentTable) -> int:
    """Local midnight of `until`, epoch seconds; for `none`, just after the file's last incident."""
    if until == "none":
        return int(incidents.occurred_s[-1]) + 1
    try:
        day = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"--until {until}: give a date as YYYY-MM-DD, or none") from error
    return int(utc_from_local(np.array([int(day.timestamp())]), incidents.timezone)[0][0])
