"""Options that several commands share, with one help text each. Typer reads a command's options from its parameters."""

from pathlib import Path
from typing import Annotated

import typer

from models.files.layouts import LAYOUT_HELP
from schemas.limits import MAX_COVARIATE_AGE_HOURS

DATA_HELP = "Incident file: .csv, .csv.gz, or .zip with one .csv"
DATA_OR_ARCHIVE_HELP = f"{DATA_HELP}; or archive:PATH, archive:PATH@VERSION"
FileOrArchive = Annotated[str, typer.Option(help=DATA_OR_ARCHIVE_HELP)]
MissingDays = Annotated[int, typer.Option(min=0, help="With an archive: missing days that may count as quiet")]
Data = Annotated[Path, typer.Option(help=DATA_HELP)]
LayoutText = Annotated[str, typer.Option(help=LAYOUT_HELP)]
FileLayout = Annotated[str, typer.Option(help=f"Of a file: {LAYOUT_HELP}")]
Region = Annotated[str, typer.Option(help="Name of the region: a-z, 0-9, - and _")]
CellSide = Annotated[float, typer.Option(help="Side of a cell, metres")]
Until = Annotated[str, typer.Option(help="Local date YYYY-MM-DD: use only what happened before it; or none")]
Seed = Annotated[int, typer.Option(min=0, help="Equal seeds give equal results")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training examples, at most")]
StepMinutes = Annotated[int, typer.Option(min=5, help="Mean time between two training moments, minutes")]
Holidays = Annotated[str, typer.Option(help="Whose holidays to learn, by ISO 3166-2: US-IL; without it, none")]
Covariates = Annotated[
    str,
    typer.Option(help="Outside series, .csv or .parquet, as they were issued; without it, none", show_default=False),
]
CovariateAge = Annotated[
    int,
    typer.Option(
        min=1,
        max=MAX_COVARIATE_AGE_HOURS,
        help="Hours after its issue for which a value counts; with --like, the artifact's",
    ),
]
MergeCalls = Annotated[
    bool, typer.Option("--merge-repeated-calls", help="Count calls of a category within 200 m and 15 min once")
]
RecipeFile = Annotated[
    Path | None, typer.Option(help="recipe.json of `python -m models tune`; without it, the default recipe")
]
Artifacts = Annotated[Path, typer.Option(help="Folder of artifacts")]
SharedArtifacts = Annotated[Path, typer.Option(help="Folder of artifacts; all workers must see it")]
Master = Annotated[str, typer.Option(help="Spark master, such as spark://host:7077; without it, local[WORKERS]")]
