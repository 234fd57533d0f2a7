"""The table of an evaluation at the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.evaluation.report.columns import COLUMNS, SURGE_HEADINGS, SURGE_MEANING, difference_text, surge_texts, texts
from models.evaluation.report.wording import sentences, warnings
from models.evaluation.result import Evaluation

_COLOURS = {"better": "green", "worse": "red"}
_UNITS = (
    "Log score in nats, hits and cover in percent, f/a: forecast over actual. Difference: log score against the best "
    "rival in percent of its own, 95 % interval; below zero is better."
)


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print the table, the findings in words, and warnings."""
    console.print(Text(evaluation.task.title, style="bold"))
    console.print(table(evaluation))
    console.print(Text(_UNITS, style="dim"))
    console.print()
    for sentence in sentences(evaluation):
        console.print(Text(sentence, style="bold"))
    if evaluation.after_surges:
        _print_surges(evaluation, console)
    for warning in warnings(evaluation):
        console.print(Text(f"Warning: {warning}", style="yellow"))


def _print_surges(evaluation: Evaluation, console: Console) -> None:
    shown = Table(title="After a surge", title_justify="left", box=None, padding=(0, 0, 0, 1), pad_edge=False)
    for name in SURGE_HEADINGS:
        shown.add_column(name.replace(" ", "\n"), justify="left" if name == "model" else "right", no_wrap=True)
    for row in surge_texts(evaluation.after_surges):
        shown.add_row(*map(Text, row))
    console.print(shown)
    console.print(Text(SURGE_MEANING, style="dim"))


def table(evaluation: Evaluation) -> Table:
    """One row per model, best first. Where it is narrow, the names of models are broken, never a figure."""
    shown = Table(box=None, padding=(0, 0, 0, 1), pad_edge=False)
    shown.add_column("model")
    sheets = [row.scores.sheet for row in evaluation.rows]
    cells = [texts(column, sheets) for column in COLUMNS]
    cells.append([difference_text(row, evaluation) for row in evaluation.rows])
    headings = [column.heading.replace(" ", "\n") for column in COLUMNS]
    for heading in [*headings, "difference, %"]:
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for row, figures in zip(evaluation.rows, zip(*cells, strict=True), strict=True):
        shown.add_row(
            Text(row.model),
            *map(Text, figures),
            Text(row.verdict, style=_COLOURS.get(row.verdict, "")),
            style="bold" if row.kind == "network" else "",
        )
    return shown
