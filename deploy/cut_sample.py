"""Cuts the demo's sample out of the full file of Montgomery County: `python -m deploy.cut_sample FILE`."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS
from models.local_time import local_from_utc
from schemas.errors import errors_in_one_line
from schemas.spec import DAY_S
from streaming.rehearse.incident_replay import DEMO_DAY, SAMPLE, parse_when


def cut_sample(table: IncidentTable) -> bytes:
    """The storm's day as CSV: local time, category, place to a thousandth of a degree; the same bytes for one table."""
    first_s = parse_when(DEMO_DAY, table.timezone)
    local_s = local_from_utc(table.occurred_s, table.timezone)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("occurred_at", "category", "lat", "lon"))
    for i in np.flatnonzero((table.occurred_s >= first_s) & (table.occurred_s < first_s + DAY_S)).tolist():
        at = datetime.fromtimestamp(int(local_s[i]), UTC).strftime("%Y-%m-%dT%H:%M:%S")  # UTC stands for the wall clock
        category = table.categories[table.category[i]]
        rows.writerow((at, category, f"{table.lat_deg[i]:.3f}", f"{table.lon_deg[i]:.3f}"))
    return text.getvalue().encode()


def main(
    source: Annotated[Path, typer.Argument(help="Incident file of Montgomery County in layout `montgomery`")],
    target: Annotated[Path, typer.Option(help="Where the sample goes")] = SAMPLE,
) -> None:
    """Cut the demo's sample out of the full file."""
    target.write_bytes(cut_sample(read_incidents(source, LAYOUTS["montgomery"])))


if __name__ == "__main__":
    with errors_in_one_line():
        typer.run(main)
