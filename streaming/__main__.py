"""`python -m streaming COMMAND` and `incident-scorer COMMAND`: the only place that reads the environment."""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

import typer

from models.cli.program import Program, Version, new_program
from streaming.process import run_without_secrets, settings_of

_JOB, _SETUP, _REHEARSAL, _HIDDEN = "The job", "Setup", "Rehearsal", ""  # headings of --help
# Name -> where its function, or its group of commands, is; and its heading.
COMMANDS = {
    "run": ("streaming.cli.job_commands:run", _JOB),
    "doctor": ("streaming.cli.doctor:doctor", _JOB),
    "check": ("streaming.cli.check:check", _JOB),
    "health": ("streaming.cli.job_commands:health", _JOB),
    "checkpoint": ("streaming.cli.job_commands:checkpoint", _JOB),
    "withhold": ("streaming.cli.job_commands:withhold", _JOB),
    "audit": ("streaming.cli.job_commands:audit", _JOB),
    "retention": ("streaming.disk.retention:retention", _JOB),
    "documents": ("streaming.documents:documents", _JOB),
    "feedback": ("streaming.marks:feedback_app", _JOB),
    "cells": ("streaming.cli.prepare:cells", _SETUP),
    "prepare": ("streaming.cli.prepare:prepare", _SETUP),
    "demo": ("streaming.rehearse.demo:demo_command", _REHEARSAL),
    "replay": ("streaming.rehearse.incident_replay:replay", _REHEARSAL),
    "broker": ("streaming.rehearse.broker:broker_command", _REHEARSAL),
    "executor": ("streaming.cli.prepare:become", _HIDDEN),  # the words that Spark gives to the image of its pods
    "driver": ("streaming.cli.prepare:become", _HIDDEN),
}


class _WhenCalled(Mapping[str, Any]):
    """The commands, each loaded when it is asked for: Spark, torch and Kafka's client take seconds."""

    def __getitem__(self, name: str) -> Any:
        address, heading = COMMANDS[name]
        found = resolve_name(address)
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=heading)
            return typer.main.get_group(app).commands[name]
        is_hidden = heading == _HIDDEN
        context = {"ignore_unknown_options": is_hidden}
        app.command(name, rich_help_panel=heading or None, hidden=is_hidden, context_settings=context)(found)
        return typer.main.get_command(app)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Streaming(Program):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _WhenCalled()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


app = new_program(
    "Live risk of incidents per place, from Kafka. Settings are environment variables (.env.example lists them).",
    name="incident-scorer",
    group=_Streaming,
)


@app.callback()
def _settings(context: typer.Context, version: Version = False) -> None:
    context.obj = partial(settings_of, os.environ)  # noqa: TID251 - `--help` reads none
    # With glibc's 8 arenas a core Java kept 121 MiB more each hour (docs/explanation/load.md).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # noqa: TID251 - Java and the workers inherit it


def main() -> None:
    """Run the command that was typed. An unexpected error becomes a trace without secrets, and exit code 1."""
    run_without_secrets(app)


if __name__ == "__main__":
    main()
