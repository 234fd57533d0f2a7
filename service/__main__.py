"""`python -m service COMMAND`: answers for the scores over HTTP, and makes tokens for who asks."""

import typer

from models.cli.version import Version
from schemas.errors import errors_in_one_line
from service.cli import serve, token

app = typer.Typer(
    help="The last scores of each region over HTTP, with a live map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _version(version: Version = False) -> None:
    """Typer reads the options of a program from this."""


app.command("serve")(serve)
app.command("token")(token)


def main() -> None:
    """Run the command that was typed."""
    with errors_in_one_line():
        app()


if __name__ == "__main__":
    main()
