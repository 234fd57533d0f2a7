"""`python -m models COMMAND`: trains, tunes, judges and explains models, and says where units should stand."""

from models.cli.judge_commands import disparity_command, evaluate_command, explain_command, simulate_feedback_command
from models.cli.posts_command import posts_command
from models.cli.program import Version, new_program
from models.cli.train_commands import cold_start_command, train_command, tune_command
from schemas.errors import errors_in_one_line

app = new_program("Train and evaluate models of incident risk.")


@app.callback()
def _version(version: Version = False) -> None:
    """Typer reads the options of a program from this."""


app.command("train")(train_command)
app.command("cold-start")(cold_start_command)
app.command("disparity")(disparity_command)
app.command("evaluate")(evaluate_command)
app.command("explain")(explain_command)
app.command("posts")(posts_command)
app.command("simulate-feedback")(simulate_feedback_command)
app.command("tune")(tune_command)


def main() -> None:
    """Run the command that was typed."""
    with errors_in_one_line():
        app()


if __name__ == "__main__":
    main()
