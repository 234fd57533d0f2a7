"""`python -m lifecycle COMMAND`: a model's life beside the job."""

import os
from functools import partial

import typer

from lifecycle.cli.archive import archive, archive_import
from lifecycle.cli.gate import gate_app
from lifecycle.cli.judge import judge_command
from lifecycle.cli.registry import registry_app
from lifecycle.cli.retrain import retrain_command
from models.cli.version import Version
from streaming.cli.process import run_without_secrets, settings_of

app = typer.Typer(
    help="A model's life beside the job: its archive of counts, versions, trials and retraining.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _settings(context: typer.Context, version: Version = False) -> None:
    context.obj = partial(settings_of, os.environ)  # noqa: TID251 - only commands that need settings read them


app.command("archive")(archive)
app.command("archive-import")(archive_import)
app.command("judge")(judge_command)
app.command("retrain")(retrain_command)
app.add_typer(registry_app, name="registry")
app.add_typer(gate_app, name="gate")


def main() -> None:
    """Run the command that was typed."""
    run_without_secrets(app)


if __name__ == "__main__":
    main()
