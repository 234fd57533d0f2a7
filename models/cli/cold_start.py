"""`python -m models cold-start`: a region that has no past incidents on file."""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from models.artifact.writing import check_writable
from models.cli.options import Artifacts, CellSide, MasksFile, Region
from models.features import feature_names
from models.files.incident_files import refuse_swapped
from models.training.regions import DEFAULT_CELL_M, edges_of
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.instants import stamp
from schemas.masks import read_masks
from schemas.purpose import PURPOSES
from schemas.spec import Spec


def cold_start_command(
    region: Region,
    timezone: Annotated[str, typer.Option(help="IANA name, such as America/Chicago")],
    bounds: Annotated[str, typer.Option(help="SOUTH,WEST,NORTH,EAST in degrees")],
    per_day: Annotated[
        str, typer.Option(help="Each category with a guess of its incidents a day in the whole region: fire=3,ems=40")
    ],
    cell_m: CellSide = DEFAULT_CELL_M,
    answered_by: Annotated[str, typer.Option(help="Categories that standing units answer, as fire,ems")] = "",
    purpose: Annotated[str, typer.Option(help=f"Forbids other categories: {', '.join(PURPOSES)}")] = "",
    masks: MasksFile = None,
    out: Artifacts = Path("data/artifacts"),
) -> None:
    """Publish an untrained artifact, so that a region without past incidents can begin to count.

    Its first scores mean little, and are marked so: no cell has a history. After some weeks, train on the incidents of
    that time with `--like` this artifact; the running job then changes to the trained one.
    """
    from models.artifact.untrained import write_untrained  # needs torch, which takes seconds to import

    rates = _rates(per_day)
    now_s = int(time.time())
    south, west, north, east = edges_of(bounds)
    lat_deg, lon_deg = np.array([south, north]), np.array([west, east])
    refuse_swapped(lat_deg, lon_deg, timezone, now_s, f"--bounds {bounds!r}", "write SOUTH,WEST,NORTH,EAST")
    spec = Spec(
        region=region,
        timezone=timezone,
        grid=Grid.around(lat_deg, lon_deg, cell_m=cell_m, trim=0),
        categories=tuple(rates),
        features=feature_names(),
        answered_by=tuple(name.strip() for name in answered_by.split(",") if name.strip()),
        purpose=purpose,
        masked=read_masks(masks).digest,
    )
    check_writable(out)
    created = stamp(now_s)
    folder = write_untrained(out, spec, per_day=list(rates.values()), cutoff_s=now_s, created=created)
    grid = spec.grid
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{grid.rows} x {grid.cols} cells of {grid.cell_m:g} m; categories {', '.join(spec.categories)}")
    console.print(f"artifact: {folder}")


def _rates(text: str) -> dict[str, float]:
    """Category -> incidents a day, sorted as `train` sorts categories. Raises DataError."""
    rates = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= 1e6 or name in rates:
            raise DataError(f"--per-day {part!r}", "write each category once with a number above 0, as fire=3,ems=40")
        rates[name] = rate
    return dict(sorted(rates.items()))
