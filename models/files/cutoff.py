"""Where the time that a command may use ends."""

from datetime import UTC, datetime

import numpy as np

from models.files.incident_files import IncidentTable
from models.local_time import utc_from_local, zone_of
from schemas.errors import DataError

_MEAN_GAPS = 10.0  # a gap so many times the mean occurs by chance once in 20,000 times


def cutoff_of(until: str, incidents: IncidentTable) -> int:
    """Local midnight of `until`, epoch seconds; for `none`, just after the file's last incident.

    Raises DataError when the file says nothing of the time before: silence would count as quiet days. A file may end
    with a quiet spell: a day, or ten times what lies between two incidents on average.
    """
    if until == "none":
        return int(incidents.occurred_s[-1]) + 1
    try:
        day = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"--until {until}", remedy="give a date as YYYY-MM-DD, or none") from error
    cutoff_s = int(utc_from_local(np.array([int(day.timestamp())]), incidents.timezone)[0][0])
    first_s, last_s = int(incidents.occurred_s[0]), int(incidents.occurred_s[-1])
    quiet_s = _MEAN_GAPS * (last_s - first_s) / len(incidents.occurred_s)
    if cutoff_s - last_s > max(86_400.0, quiet_s):
        last = datetime.fromtimestamp(last_s, zone_of(incidents.timezone))
        raise DataError(
            f"--until {until} lies {(cutoff_s - last_s) / 86_400:.0f} days after the file's last incident, "
            f"{last:%Y-%m-%d %H:%M}; days without data would count as quiet days",
            remedy="give the last midnight that the file covers, or a longer file",
        )
    return cutoff_s
