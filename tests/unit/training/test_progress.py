from contextlib import suppress
from io import StringIO

from rich.console import Console

from models.cli.options import progress_bars


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


def test_in_a_file_hours_of_work_add_a_line_a_minute():
    console, seconds = Console(file=StringIO(), width=100), iter([0, 59, 60, 61, 119, 120])
    with progress_bars(["replay", "network"], console, transient=True, clock=lambda: next(seconds)) as report:
        for number, name in enumerate(["replay", "replay", "replay", "network", "network", "network"]):
            report(f"{name}: [{number}]", number / 10)
    assert console.file.getvalue().split("\n")[:2] == ["replay: [2], 20%", "network: [5], 50%"]


def test_on_a_terminal_the_bars_are_enough():
    console = Console(file=StringIO(), width=100, force_terminal=True)
    seconds = iter(range(0, 600, 60))
    with progress_bars(["replay"], console, clock=lambda: next(seconds)) as report:
        for number in range(3):
            report(f"replay: day {number}", number / 10)
    assert "%" not in console.file.getvalue()
