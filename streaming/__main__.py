"""`python -m streaming COMMAND` and `incident-scorer COMMAND`: the only place that reads the environment."""

import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console

from schemas.errors import RiskError
from streaming.settings import Settings

app = typer.Typer(
    name="incident-scorer",
    help="Live incident risk per place, for readiness.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _settings(ctx: typer.Context) -> None:
    def read(**overrides: Any) -> Settings:
        return Settings.from_environment(os.environ, **overrides)  # noqa: TID251 - the one place

    ctx.obj = read


def _mount() -> None:
    from streaming.commands_run import run

    app.command()(run)


def main() -> None:
    """Run a command; a RiskError becomes one line and its exit code."""
    _mount()
    try:
        app()
    except RiskError as error:
        Console(stderr=True).print(f"[bold]error:[/bold] {error}", highlight=False, markup=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
