"""The `demo` command."""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streaming.cli.stopping import stop_on_signals
from streaming.settings import Settings


def demo(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Folder for the map page, the scores and the files of broker and job")
    ] = Path("out/demo"),
    seconds: Annotated[float, typer.Option(min=10, max=120, help="How long the replayed day takes")] = 45.0,
) -> None:
    """Score a real day of Chicago through Kafka, Spark and the model, with a live map page. Ends by itself."""
    from streaming.flow.rows import Published
    from streaming.rehearse.demo import run_demo  # pyspark and torch: seconds that other commands save
    from streaming.rehearse.demo_report import report
    from streaming.rehearse.replay import local_text

    settings: Settings = context.obj
    console = Console(highlight=False)
    logging.basicConfig(level=logging.ERROR)
    if (out / "broker").exists() or (out / "checkpoint").exists():
        shutil.rmtree(out)  # only the folder of an earlier demo
    out.mkdir(parents=True, exist_ok=True)
    stop = stop_on_signals()

    page = (out / "map.html").resolve()
    console.print(f"[bold]Incident Risk Scorer[/bold]: one real day of Chicago, 2017-10-21, in {seconds:.0f} seconds.")
    console.print(f"Kafka, Spark and the model start first; then open [bold]{page}[/bold] and watch it move.\n")
    with console.status("starting Kafka and Spark (the first time also fetches 150 MB of jars) ...") as status:

        def show(published: Published) -> None:
            for frame in published.frames.values():
                local = local_text(frame.as_of_s, frame.spec.timezone)
                consumed = sum(summary.totals["consumed"] for summary in published.summaries.values())
                status.update(f"{local} in Chicago, {consumed:,} messages scored, map: {page}")

        demo = run_demo(settings, out=out, replay_s=seconds, stop=stop, watchers=[show])
    console.print(report(demo))
