"""A page that rests on a run says by itself when that run is older than a week."""

from datetime import date, timedelta

import pytest

from docs.written import with_age

PAGE = "# Faults\n\nWritten by `make faults` on 2026-11-26, of commit cce9160. It fell on 2026-11-01.\n"


@pytest.mark.parametrize(("days", "is_said"), [(0, False), (7, False), (8, True), (400, True)])
def test_a_run_that_is_older_than_a_week_is_said_below_the_heading(days, is_said):
    text = with_age(PAGE, date(2026, 11, 26) + timedelta(days))
    assert (text != PAGE) == is_said
    if is_said:
        assert text.startswith("# Faults\n\n```{note}\n")
        assert f"is of 2026-11-26, {days} days before" in text
        assert text.endswith(PAGE.partition("\n")[2])


def test_the_oldest_run_counts_and_a_page_without_any_stays_as_it_is():
    assert "is of 2026-11-20, " in with_age(PAGE + "Measured on 2026-11-20.", date(2026, 11, 28))
    assert with_age("# Words\n\nOf 2016-01-23.\n", date(2026, 11, 26)) == "# Words\n\nOf 2016-01-23.\n"
