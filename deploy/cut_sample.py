"""Cuts the demo's sample out of the full file of Chicago: `python -m deploy.cut_sample FILE`."""

import csv
import gzip
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
from streaming.rehearse.incident_replay import SAMPLE

FIRST_DAY = datetime(2017, 9, 17, tzinfo=UTC)  # a Sunday; UTC stands for the local wall clock here
DAYS = 35


def cut_sample(table: IncidentTable) -> bytes:
    """The five weeks as gzipped CSV: local minute, category, place to five decimals; the same bytes for one table."""
    local_s = local_from_utc(table.occurred_s, table.timezone)
    first_s = int(FIRST_DAY.timestamp())
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("occurred_at", "category", "lat", "lon"))
    for i in np.flatnonzero((local_s >= first_s) & (local_s < first_s + DAYS * 86_400)).tolist():
        minute = datetime.fromtimestamp(int(local_s[i]), UTC).strftime("%Y-%m-%dT%H:%M")
        category = table.categories[table.category[i]]
        rows.writerow((minute, category, f"{table.lat_deg[i]:.5f}", f"{table.lon_deg[i]:.5f}"))
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def main(
    source: Annotated[Path, typer.Argument(help="Chicago incident file in layout `chicago`")],
    target: Annotated[Path, typer.Option(help="Where the sample goes")] = SAMPLE,
) -> None:
    """Cut the demo's sample out of the full Chicago file."""
    target.write_bytes(cut_sample(read_incidents(source, LAYOUTS["chicago"])))


if __name__ == "__main__":
    with errors_in_one_line():
        typer.run(main)
