"""`python -m models COMMAND`: trains, tunes, judges and explains models, and says where units should stand."""

from models.cli.cold_start import cold_start_command
from models.cli.disparity import disparity_command
from models.cli.evaluate import evaluate_command
from models.cli.explain import explain_command
from models.cli.posts import posts_command
from models.cli.program import Version, new_program
from models.cli.simulate_feedback import simulate_feedback_command
from models.cli.train import train_command
from models.cli.tune import tune_command
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
