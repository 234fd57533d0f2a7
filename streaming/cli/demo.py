"""The `demo` command."""

import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streaming.cli.process import stop_on_signals
from streaming.settings import Settings


def demo_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the frames, the scores and the files of broker and job")] = Path(
        "out/demo"
    ),
    seconds: Annotated[float, typer.Option(min=10, max=120, help="How long the replayed day takes")] = 45.0,
) -> None:
    """Score a real day of Chicago through Kafka, Spark and the model, with a live map. Ends by itself."""
    from streaming.flow.rows import Published
    from streaming.job.jars import java_version
    from streaming.rehearse.demo import SERVICE, map_service, run_demo  # pyspark and torch: seconds others save
    from streaming.rehearse.demo_report import report
    from streaming.rehearse.replay import local_text

    settings: Settings = context.obj()
    console = Console(highlight=False)
    logging.basicConfig(level=logging.ERROR)
    java_version()  # before the folder of an earlier demo goes
    if (out / "broker").exists() or (out / "checkpoint").exists():
        shutil.rmtree(out)  # only the folder of an earlier demo
    out.mkdir(parents=True, exist_ok=True)
    stop = stop_on_signals()

    console.print(f"[bold]Incident Risk Scorer[/bold]: one real day of Chicago, 2017-10-21, in {seconds:.0f} seconds.")
    starting = "starting Kafka and Spark (the first time also fetches 150 MB of jars) ..."
    with map_service(out / "frames") as address, console.status(starting) as status:
        console.print(
            f"Open [bold]{address}[/bold], and watch the map move once Kafka, Spark and the model have started.\n"
        )

        def show(published: Published) -> None:
            for frame in published.frames.values():
                local = local_text(frame.as_of_s, frame.spec.timezone)
                consumed = sum(summary.totals["consumed"] for summary in published.summaries.values())
                status.update(f"{local} in Chicago, {consumed:,} messages scored, map: {address}")

        began_s = time.monotonic()
        recording, rehearsal = run_demo(settings, out=out, replay_s=seconds, stop=stop, watchers=[show])
        took_s = time.monotonic() - began_s
    console.print(report(recording, rehearsal))
    again = " ".join((os.path.relpath(sys.executable), *SERVICE, "--frames", str(out / "frames")))
    console.print(f"\n{took_s:.0f} s in all; the scores are in {rehearsal.scores}. The last map again:")
    console.print(f"[bold]{again}[/bold]", soft_wrap=True)  # one line, to be copied
