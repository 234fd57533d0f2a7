"""The `parity` command: compares the job's scores with those of the offline replay, on days of real incidents."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.files.layouts import LAYOUT_HELP
from streaming.cli.process import stop_on_signals
from streaming.settings import Settings

if TYPE_CHECKING:
    from schemas.frame import RiskFrame
    from streaming.rehearse.parity import Parity

_MOST_EXAMPLES = 20


def parity(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Incident file with the days after the artifact's data end")],
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    region: Annotated[str, typer.Option(help="Region of the artifact")],
    days: Annotated[int, typer.Option(min=1, help="How many days to replay")] = 7,
) -> None:
    """Check that the job and the offline replay give equal counts and scores. Exit code 1 when they do not.

    RISK_ARTIFACTS holds the region's artifact.
    """
    from models.artifact.pointer import champion_of
    from models.files.incident_files import read_incidents
    from models.files.layouts import parse_layout
    from streaming.rehearse.parity import TOLERANCE, Offline, plan_days, run_parity
    from streaming.rehearse.replay import local_text

    settings: Settings = context.obj
    console = Console(highlight=False)
    logging.basicConfig(level=logging.ERROR)
    artifact, table = champion_of(settings.artifacts, region), read_incidents(data, parse_layout(layout))
    out = Path(tempfile.mkdtemp(prefix="parity-"))
    try:
        with console.status("starting Kafka and Spark ...") as status:

            def show(frame: "RiskFrame", so_far: "Parity") -> None:
                status.update(f"{local_text(frame.as_of_s, frame.spec.timezone)}: {so_far.frames} frames compared")

            offline = Offline(artifact, plan_days(table, artifact, days))
            found = run_parity(settings, offline, out=out, stop=stop_on_signals(), on_frame=show)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    console.print(_table(found, days))
    for line in found.examples[:_MOST_EXAMPLES]:
        console.print(line, soft_wrap=True)
    verdict = "equal" if found.is_equal else "NOT EQUAL"
    console.print(f"stream and offline replay are [bold]{verdict}[/bold] (counts exactly, scores to {TOLERANCE:g})")
    if not found.is_equal:
        raise typer.Exit(1)


def _table(found: "Parity", days: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("replayed", f"{found.incidents:,} incidents of {days} days")
    table.add_row("compared", f"{found.frames:,} frames, {found.values:,} scores")
    table.add_row("counts that differ", f"{found.wrong_counts:,}")
    table.add_row("scores that differ", f"{found.wrong_scores:,}")
    largest = ", ".join(f"{name} {value:.1g}" for name, value in found.largest.items())
    table.add_row("largest difference", largest)
    return table
