from contextlib import suppress
from io import StringIO

from rich.console import Console

from models.cli.progress import progress_bars


def test_what_was_reported_last_stays_to_be_read_in_a_file():
    for transient in (False, True):
        console = Console(file=StringIO(), width=100)
        with progress_bars(["network"], console, transient=transient) as report:
            report("network: validation 0.9812 of the baseline's", 1.0)
        assert ("0.9812" in console.file.getvalue()) is not transient


def test_work_that_is_refused_before_it_begins_shows_no_bars():
    console = Console(file=StringIO(), width=100)
    with suppress(ValueError), progress_bars(["network"], console):
        raise ValueError
    assert console.file.getvalue() == ""
