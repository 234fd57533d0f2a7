"""`python -m service COMMAND`: answers for the scores over HTTP, and makes tokens for who asks."""

from models.cli.program import Version, new_program
from schemas.errors import errors_in_one_line
from service.cli import serve, token

app = new_program("The last scores of each region over HTTP, with a live map.")


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
