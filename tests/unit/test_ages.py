"""A page that rests on a run says by itself when that run is older than a week."""

from datetime import date, timedelta

import pytest

from docs.ages import oldest_run, with_age
from tests.harness.compose_file import ROOT

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
    assert oldest_run(PAGE + "Measured on 2026-11-20 (commit abc).") == date(2026, 11, 20)
    assert with_age("# Words\n\nOf 2016-01-23.\n", date(2026, 11, 26)) == "# Words\n\nOf 2016-01-23.\n"


@pytest.mark.parametrize("name", ["reliability", "load", "mutants"])
def test_a_page_that_a_command_writes_has_a_day_that_is_read(name):
    assert oldest_run((ROOT / "docs" / "explanation" / f"{name}.md").read_text(encoding="utf-8"))
