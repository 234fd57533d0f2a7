"""`python -m lifecycle COMMAND`: a model's life beside the job."""

import os
from functools import partial

import typer

from lifecycle.cli import gate_app, promote_command, retire_command, rollback_command, versions_command
from lifecycle.watch import archive_command, judge_command, retrain_command, watch_command
from models.cli.program import Version, new_program
from streaming.process import run_without_secrets, settings_of

app = new_program("A model's life beside the job: its archive of counts, versions, trials and retraining.")


@app.callback()
def _settings(context: typer.Context, version: Version = False) -> None:
    context.obj = partial(settings_of, os.environ)  # noqa: TID251 - `--help` reads none


app.command("archive")(archive_command)
app.command("versions")(versions_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("retire")(retire_command)
app.command("retrain")(retrain_command)
app.add_typer(gate_app, name="gate")
app.command("judge")(judge_command)
app.command("watch")(watch_command)


def main() -> None:
    """Run the command that was typed."""
    run_without_secrets(app)


if __name__ == "__main__":
    main()
