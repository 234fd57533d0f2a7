"""`risk COMMAND`: the table of all commands, what each does, and where it lives. Nothing else reads the environment.

A command is loaded when it is called: Spark, torch and Kafka's client take seconds.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from schemas import DISTRIBUTION, product_version
from streaming.settings import run_without_secrets, settings_of

ABOUT = (
    "Live risk of incidents per place, for readiness. Settings are environment variables (.env.example lists them); an "
    "option wins."
)
# Group -> command -> what it does, and where its function, or its group of commands, is.
COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "live": {
        "run": ("score incidents from Kafka until told to stop", "streaming.cli.job_commands:run"),
        "doctor": ("check Java, Kafka, store, artifacts and checkpoint", "streaming.cli.doctor:doctor"),
        "check": ("show what a job would do with each message of a file", "streaming.cli.check:check"),
        "health": ("say whether the scores can be relied on, or why not", "streaming.cli.job_commands:health"),
        "checkpoint": ("print what the job has read and counted so far", "streaming.cli.job_commands:checkpoint"),
        "withhold": ("withhold all scores, on record", "streaming.cli.accountability:withhold"),
        "serve": ("serve the last scores over HTTP, with a live map", "service.serve_commands:serve"),
        "token": ("make a token for the service", "service.serve_commands:token"),
        "demo": ("score a real storm night through Kafka, Spark and the model", "streaming.rehearse.demo:demo_command"),
        "replay": ("send an incident file as if it happened again", "streaming.rehearse.incident_replay:replay"),
        "feedback": ("send and store what shifts say of the scores", "streaming.marks:feedback_app"),
        "cells": ("write the cells of each region as GeoJSON", "streaming.cli.maps:cells"),
    },
    "model": {
        "train": ("train on incidents, or begin with a guess, and publish", "models.commands:train_command"),
        "tune": ("choose the network's widths and how it is trained", "models.commands:tune_command"),
        "evaluate": ("judge the network and its simple rivals", "models.commands:evaluate_command"),
        "posts": ("show where units should stand in a usual week", "models.posts_plan:posts_command"),
        "explain": ("show the parts of each score", "models.commands:explain_command"),
        "disparity": (
            "compare what groups of cells get from forecasts",
            "models.evaluation.disparity:disparity_command",
        ),
        "simulate-feedback": (
            "see whether a model chases what visits discover",
            "models.evaluation.feedback_loop:simulate_feedback_command",
        ),
    },
    "versions": {
        "versions": ("print all versions with their roles", "lifecycle.version_commands:versions_command"),
        "promote": ("let a version score", "lifecycle.version_commands:promote_command"),
        "rollback": ("let the champion before it score again", "lifecycle.version_commands:rollback_command"),
        "retire": ("take a version out for good", "lifecycle.version_commands:retire_command"),
        "gate": ("compare, try and judge a challenger, or train one", "lifecycle.watch:gate_app"),
        "watch": ("judge, archive and ask for retraining, beside the job", "lifecycle.watch:watch_command"),
    },
    "records": {
        "audit": ("print the audit log, and check that nobody changed it", "streaming.cli.accountability:audit"),
        "retention": ("show all that is stored; delete what is over", "streaming.cli.accountability:retention"),
        "documents": ("write what an official needs", "streaming.cli.accountability:documents"),
        "archive": ("add final days of counts to the archive", "lifecycle.watch:archive_command"),
    },
}
# For images and rehearsals; `executor` and `driver` are the words that Spark gives to the image of its pods.
HIDDEN: Mapping[str, str] = {
    "prepare": "streaming.cli.job_commands:prepare",
    "broker": "streaming.rehearse.broker:broker_command",
    "executor": "streaming.cli.job_commands:become",
    "driver": "streaming.cli.job_commands:become",
}
_PLACES = MappingProxyType(
    {name: place for group in COMMANDS.values() for name, (_, place) in group.items()} | dict(HIDDEN)
)


class _WhenCalled(Mapping[str, Any]):
    """Every command by its name."""

    def __getitem__(self, name: str) -> Any:
        found = resolve_name(_PLACES[name])
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
            return typer.main.get_group(app).commands[name]
        context = {"ignore_unknown_options": name in ("executor", "driver")}
        app.command(name, hidden=name in HIDDEN, context_settings=context)(found)
        return typer.main.get_command(app)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class _Risk(TyperGroup):
    """Prints the table without loading a command; an unknown word names the nearest."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _WhenCalled()  # type: ignore[assignment]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False)
        console.print(f"Usage: {ctx.command_path} COMMAND [OPTIONS]\n\n{ABOUT}", markup=False)
        shown = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        for group, commands in COMMANDS.items():
            shown.add_row(f"\n[bold]{group}[/bold]")
            for name, (does, _) in commands.items():
                shown.add_row(f"  {name}", does)
        console.print(shown)
        console.print(
            "\n`risk COMMAND --help` shows its options; `risk --version` the product's version.", markup=False
        )


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"{DISTRIBUTION} {product_version()}")
        raise typer.Exit


app = typer.Typer(
    name="risk", cls=_Risk, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=ABOUT
)


@app.callback()
def _settings(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    context.obj = partial(settings_of, os.environ)  # noqa: TID251 - `--help` reads none
    # With glibc's 8 arenas a core Java kept 121 MiB more each hour (docs/explanation/load.md).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # noqa: TID251 - Java and the workers inherit it


def main() -> None:
    """Run the command that was typed. An unexpected error becomes a trace without secrets, and exit code 1."""
    run_without_secrets(partial(app, prog_name="risk"))


if __name__ == "__main__":
    main()
