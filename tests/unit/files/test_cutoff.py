"""Where the time that a command may use ends."""

from datetime import UTC, datetime

import numpy as np
import pytest

from models.files.incident_files import cutoff_of
from schemas.errors import DataError
from tests.harness.toy import toy_table

DAY_S = 86_400
FIRST_S = int(datetime(2025, 1, 1, 5, tzinfo=UTC).timestamp())  # midnight in New York


def incidents(*, days, gap_s):
    at_s = np.arange(FIRST_S, FIRST_S + days * DAY_S, gap_s)
    return toy_table(at_s, timezone="America/New_York", categories=("fire",))


def test_a_date_is_local_midnight_and_none_the_end_of_the_file():
    table = incidents(days=60, gap_s=3600)
    assert cutoff_of("2025-02-01", table) == FIRST_S + 31 * DAY_S
    assert cutoff_of("none", table) == FIRST_S + 60 * DAY_S - 3600 + 1


@pytest.mark.parametrize(
    ("gap_s", "until", "is_taken"),
    [
        (3600, "2025-03-02", True),  # the midnight at which the file ends
        (3600, "2025-03-03", False),
        (3600, "2030-01-01", False),
        (DAY_S, "2025-03-10", True),  # a quiet place may be silent for longer
        (DAY_S, "2025-03-13", False),
    ],
)
def test_a_date_after_the_files_end_is_refused_since_silence_would_count(gap_s, until, is_taken):
    table = incidents(days=60, gap_s=gap_s)
    if is_taken:
        assert cutoff_of(until, table) > table.occurred_s[-1]
    else:
        with pytest.raises(DataError, match=f"--until {until} lies .* days after the file's last incident, 2025-03-01"):
            cutoff_of(until, table)


def test_a_date_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"--until 1\.2\.25: give a date as YYYY-MM-DD, or none"):
        cutoff_of("1.2.25", incidents(days=60, gap_s=3600))
