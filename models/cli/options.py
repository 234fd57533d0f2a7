"""Options that several commands share, with one help text each. Typer reads a command's options from its parameters."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from models.files.layouts import LAYOUT_HELP
from schemas.errors import SettingsError
from schemas.files import make_writable, write_errors

DATA_HELP = "Incident file: .csv, .csv.gz, or .zip with one .csv"
DATA_OR_ARCHIVE_HELP = f"{DATA_HELP}; or archive:PATH, archive:PATH@VERSION"
REGIONS_TABLE = escape("[[regions]]")  # `--help` takes brackets for markup
TASK_FILE_HELP = f"TOML file with a table {REGIONS_TABLE}: its region, data, layout, cell_m and all other choices"
TaskFile = Annotated[Path | None, typer.Argument(help=TASK_FILE_HELP, show_default=False)]
FileLayout = Annotated[str, typer.Option(help=f"Of a file: {LAYOUT_HELP}")]
Region = Annotated[str, typer.Option(help="Name of the region: a-z, 0-9, - and _")]
CellSide = Annotated[float, typer.Option(help="Side of a cell, metres")]
MasksFile = Annotated[
    Path | None, typer.Option("--masks", envvar="RISK_MASKS", help="GeoJSON of areas in which nothing is counted")
]
Until = Annotated[str, typer.Option(help="Local date YYYY-MM-DD: use only what happened before it; or none")]
Artifacts = Annotated[Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts")]
SharedArtifacts = Annotated[
    Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts; all workers must see it")
]
Master = Annotated[str, typer.Option(help="Spark master, such as spark://host:7077; without it, local[WORKERS]")]


def refuse_unwritable(out: Path) -> None:
    """Raises SettingsError, before hours of work, when nothing could be written into the folder of `--out`."""
    with write_errors(SettingsError, f"--out {out}", remedy="name another folder"):
        make_writable(out)
