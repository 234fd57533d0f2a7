"""`python -m models COMMAND`: trains, tunes, judges and explains models."""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from models.cli.cold_start import cold_start_command
from models.cli.evaluate import evaluate_command
from models.cli.explain import explain_command
from models.cli.train import train_command, train_regions_command
from models.cli.tune import tune_command
from schemas.errors import RiskError

app = typer.Typer(
    help="Train and evaluate models of incident risk.", pretty_exceptions_enable=False, add_completion=False
)
app.command("train")(train_command)
app.command("train-regions")(train_regions_command)
app.command("cold-start")(cold_start_command)
app.command("evaluate")(evaluate_command)
app.command("explain")(explain_command)
app.command("tune")(tune_command)


def main() -> None:
    """Run a command; a RiskError becomes one line and its exit code."""
    try:
        app()
    except RiskError as error:
        Console(stderr=True).print(f"[bold]error:[/bold] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
