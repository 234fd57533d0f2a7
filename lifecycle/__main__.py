"""`python -m lifecycle COMMAND`: a model's life beside the job."""

import os
from functools import partial

import typer

from lifecycle.cli.judge import judge_command
from models.cli.version import Version
from streaming.cli.process import run_without_secrets, settings_of

app = typer.Typer(
    help="A model's life beside the job: judged.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _settings(context: typer.Context, version: Version = False) -> None:
    context.obj = partial(settings_of, os.environ)  # noqa: TID251 - only commands that need settings read them


app.command("judge")(judge_command)


def main() -> None:
    """Run the command that was typed."""
    run_without_secrets(app)


if __name__ == "__main__":
    main()
