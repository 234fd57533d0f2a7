"""`python -m streaming COMMAND` and `incident-scorer COMMAND`: the only place that reads the environment."""

import os
from functools import partial

import typer

from models.cli.program import Version, new_program
from streaming.cli import (
    broker,
    cells,
    check,
    demo,
    doctor,
    documents,
    feedback,
    left_behind,
    pod,
    prepare,
    replay,
    retention,
    run,
)
from streaming.cli.process import run_without_secrets, settings_of

app = new_program(
    "Live risk of incidents per place, from Kafka. Settings are environment variables (.env.example lists them).",
    name="incident-scorer",
)


@app.callback()
def _settings(context: typer.Context, version: Version = False) -> None:
    context.obj = partial(settings_of, os.environ)  # noqa: TID251 - `--help` reads none
    # With glibc's 8 arenas a core Java kept 121 MiB more each hour (docs/explanation/load.md).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # noqa: TID251 - Java and the workers inherit it


_JOB, _SETUP, _REHEARSAL = ("The job", "Setup", "Rehearsal")  # headings of --help
app.command("run", rich_help_panel=_JOB)(run.run)
app.command("doctor", rich_help_panel=_JOB)(doctor.doctor)
app.command("check", rich_help_panel=_JOB)(check.check)
app.command("health", rich_help_panel=_JOB)(left_behind.health)
app.command("checkpoint", rich_help_panel=_JOB)(left_behind.checkpoint)
app.command("withhold", rich_help_panel=_JOB)(left_behind.withhold)
app.command("audit", rich_help_panel=_JOB)(left_behind.audit)
app.command("retention", rich_help_panel=_JOB)(retention.retention)
app.command("documents", rich_help_panel=_JOB)(documents.documents)
app.add_typer(feedback.feedback_app, name="feedback", rich_help_panel=_JOB)
app.command("cells", rich_help_panel=_SETUP)(cells.cells)
app.command("prepare", rich_help_panel=_SETUP)(prepare.prepare)
app.command("demo", rich_help_panel=_REHEARSAL)(demo.demo_command)
app.command("replay", rich_help_panel=_REHEARSAL)(replay.replay)
app.command("broker", rich_help_panel=_REHEARSAL)(broker.broker_command)
for _name in ("executor", "driver"):  # the words that Spark gives to the image of its pods
    app.command(_name, hidden=True, context_settings={"ignore_unknown_options": True})(pod.become)


def main() -> None:
    """Run the command that was typed. An unexpected error becomes a trace without secrets, and exit code 1."""
    run_without_secrets(app)


if __name__ == "__main__":
    main()
