"""The `doctor` command."""

import time

import typer
from rich.console import Console
from rich.table import Table

from streaming.cli.deployment_checks import examine
from streaming.settings import Settings

_MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]note[/yellow]", "fail": "[bold red]wrong[/bold red]"}


def doctor(context: typer.Context) -> None:
    """Check Java, packages, Kafka, topics, store, artifacts and checkpoint. Exit code 1 when something is wrong."""
    settings: Settings = context.obj
    console = Console(highlight=False)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "what", "seen", "to do"):
        table.add_column(column, overflow="fold")
    with console.status("looking ..."):
        findings = list(examine(settings, now_s=time.time()))
    for finding in findings:
        table.add_row(_MARKS[finding.grade], finding.what, finding.seen, finding.remedy)
    console.print(table)
    wrong = sum(finding.grade == "fail" for finding in findings)
    if wrong:
        console.print(f"\n{wrong} thing(s) to mend before `run` can work")
        raise typer.Exit(1)
    console.print("\nready to run")
