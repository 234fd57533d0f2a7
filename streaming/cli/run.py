"""The `run` command: settings, signals and the progress line around the pipeline."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from models.artifact.folders import make_writable
from schemas.errors import SettingsError
from schemas.files import write_errors
from streaming.cli.stopping import stop_on_signals
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.watch.frame_watch import FrameWatch

_errors = Console(stderr=True)


def run(
    context: typer.Context,
    sink: Annotated[str | None, typer.Option(help="`influxdb` or `file:PATH`")] = None,
    clock: Annotated[str | None, typer.Option(help="`wall` (now) or `event` (replays)")] = None,
    artifacts: Annotated[Path | None, typer.Option(help="Folder with one artifact folder per region")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder of this job alone")] = None,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's bootstrap servers")] = None,
) -> None:
    """Score incidents from Kafka until told to stop (Ctrl-C or SIGTERM). Options win over the environment."""
    from streaming.cli.progress import ProgressLine
    from streaming.job.job import run as run_pipeline  # pyspark and torch: seconds that other commands save

    asked: Settings = context.obj
    settings = asked.with_options(
        sink=sink, clock=clock, artifacts=artifacts, checkpoint=checkpoint, kafka_bootstrap=bootstrap
    )
    logging.basicConfig(
        level=logging.CRITICAL,  # kafka repeats every lost connection and py4j traces every error; ours says it once
        format="%(message)s" if _errors.is_terminal else "%(asctime)s %(levelname)s %(message)s",
        handlers=[RichHandler(console=_errors, show_path=False) if _errors.is_terminal else logging.StreamHandler()],
    )
    logging.getLogger("streaming").setLevel(logging.INFO)
    stop = stop_on_signals()
    with ProgressLine(_errors) as progress:
        is_clean = run_pipeline(settings, stop=stop, watchers=[progress.show, frame_watch(settings).show])
    _errors.print(progress.closing_line(is_clean=is_clean), highlight=False, soft_wrap=True)


def frame_watch(settings: Settings) -> "FrameWatch":
    from streaming.watch.frame_watch import FrameWatch

    remedy = "set RISK_FRAMES to a folder that you may write"
    with write_errors(SettingsError, f"RISK_FRAMES={settings.frames}", remedy=remedy):
        make_writable(settings.frames)
    return FrameWatch(folder=settings.frames, clock=settings.clock)
