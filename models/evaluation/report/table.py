"""The table of an evaluation at the terminal: it leaves out columns where it is narrow, never digits."""

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from models.evaluation.report.columns import EXPENDABLE, MAIN, ReportColumn, difference_text, texts, verdict_text
from models.evaluation.report.wording import counting_sentence, origins_sentences, verdict_sentence, warnings
from models.evaluation.result import Evaluation

NAME_WIDTH = 22  # a longer model's name is broken between words before a column goes
_COLOURS = {"better": "green", "worse": "red"}
_UNITS = (
    "Log score in nats, CRPS in incidents, hits and cover in percent, f/a: forecast over actual. Difference: log score "
    "against the best rival in percent of its own, 95 % interval; below zero is better."
)


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print the table, the verdict in words, and warnings."""
    console.print(Text(evaluation.title, style="bold"))
    console.print(_widest(evaluation, console))
    console.print(Text(_UNITS, style="dim"))
    console.print()
    if evaluation.best_rule != evaluation.best_baseline:
        console.print(Text(counting_sentence(evaluation), style="bold"))
    console.print(Text(verdict_sentence(evaluation), style="bold"))
    for sentence in origins_sentences(evaluation):
        console.print(Text(sentence))
    for warning in warnings(evaluation):
        console.print(Text(f"Warning: {warning}", style="yellow"))


def _widest(evaluation: Evaluation, console: Console) -> Table:
    """The table with as many columns as fit; without the expendable ones, and with broken names, where none fits."""
    for gone in range(len(EXPENDABLE) + 1):
        shown = table(evaluation, [column for column in MAIN if column not in EXPENDABLE[:gone]])
        if Measurement.get(console, console.options.update(max_width=1000), shown).minimum <= console.width:
            return shown
    return table(evaluation, [column for column in MAIN if column not in EXPENDABLE], name_width=1)


def table(evaluation: Evaluation, columns: Sequence[ReportColumn], *, name_width: int = NAME_WIDTH) -> Table:
    """One row per model, best first. Names of at most `name_width` characters stay in one line."""
    shown = Table(box=None, padding=(0, 0, 0, 1), pad_edge=False)
    shown.add_column("model", min_width=min(name_width, max(len(row.model) for row in evaluation.rows)))
    sheets = [row.scores.sheet for row in evaluation.rows]
    cells = [texts(column, sheets) for column in columns]
    cells.append([difference_text(row, evaluation) for row in evaluation.rows])
    headings = [column.heading.replace(" ", "\n") for column in columns]
    for heading, below in zip([*headings, "difference, %"], cells, strict=True):
        shown.add_column(heading, justify="right", min_width=max(map(len, below)), no_wrap=True)
    verdicts = [verdict_text(row.versus_best_baseline) for row in evaluation.rows]
    shown.add_column("verdict", min_width=max(map(len, verdicts)), no_wrap=True)
    for row, texts_of_row, verdict in zip(evaluation.rows, zip(*cells, strict=True), verdicts, strict=True):
        style = "bold" if row.kind == "network" else ""
        shown.add_row(
            Text(row.model), *map(Text, texts_of_row), Text(verdict, style=_COLOURS.get(verdict, "")), style=style
        )
    return shown
