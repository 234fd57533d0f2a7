"""The `run` command: settings, signals and the progress line around the pipeline."""

import logging
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status

from schemas.errors import SettingsError
from schemas.files import make_writable, write_errors
from schemas.log_format import LOG_FORMAT, LOG_TIME
from streaming.cli.process import stop_on_signals
from streaming.flow.ledger import OUTCOMES_SHOWN
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.flow.rows import Published
    from streaming.watch.frame_watch import FrameWatch

log = logging.getLogger(__name__)
_EVERY_S = 30.0  # without a terminal, a line this often
_errors = Console(stderr=True)


def run(context: typer.Context) -> None:
    """Score incidents from Kafka until told to stop (Ctrl-C or SIGTERM)."""
    settings: Settings = context.obj()
    from streaming.job.job import run as run_pipeline  # pyspark and torch: seconds that other commands save

    log_from(settings.log_level)
    stop = stop_on_signals()
    frames = watch_of_frames(settings.frames, settings.clock)
    with ProgressLine(_errors) as progress:
        is_clean = run_pipeline(settings, stop=stop, watchers=[progress.show, frames.show])
    _errors.print(progress.closing_line(is_clean=is_clean), highlight=False, soft_wrap=True)


def log_from(level: str) -> None:
    """Log our lines of `level` (info, warning, error) or above, and those of libraries only when they are critical."""
    logging.basicConfig(
        level=logging.CRITICAL,  # kafka repeats every lost connection and py4j traces every error; ours says it once
        format="%(message)s" if _errors.is_terminal else LOG_FORMAT,
        datefmt=None if _errors.is_terminal else LOG_TIME,
        handlers=[RichHandler(console=_errors, show_path=False) if _errors.is_terminal else logging.StreamHandler()],
    )
    logging.getLogger("streaming").setLevel(level.upper())


def refuse_frames(folder: Path) -> None:
    """Raises SettingsError where no frames can be written."""
    remedy = "set RISK_FRAMES to a folder that you may write"
    with write_errors(SettingsError, f"RISK_FRAMES={folder}", remedy=remedy):
        make_writable(folder)


def watch_of_frames(folder: Path, clock: Literal["wall", "event"]) -> "FrameWatch":
    from streaming.watch.frame_watch import FrameWatch

    refuse_frames(folder)
    return FrameWatch(folder=folder, clock=clock)


class ProgressLine:
    """A spinner with the newest batch's figures on a terminal; elsewhere a plain line every 30 seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("starting Spark, then a first batch (10 to 40 s) ...", console=console)
        self._totals: Counter[str] = Counter()
        self._points = 0
        self._logged_s = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, published: "Published") -> None:
        for summary in published.summaries.values():
            self._totals.update(summary.ledger)
        self._points += published.points
        line = self._line(published)
        if self._console.is_terminal:
            self._status.update(line)
        elif published.done_s - self._logged_s >= _EVERY_S:
            self._logged_s = published.done_s
            log.info("%s", line)

    def closing_line(self, *, is_clean: bool) -> str:
        how = "stopped between two batches" if is_clean else "stopped; the next start repeats the last batch"
        return f"{how}: {self._counts()}, {self._points:,} points written"

    def _line(self, published: "Published") -> str:
        clocks = {s.as_of_s for region, s in published.summaries.items() if region}
        as_of = datetime.fromtimestamp(max(clocks), UTC).strftime("%Y-%m-%d %H:%M:%SZ") if clocks else "-"
        return f"as of {as_of}: {self._counts()}, {self._points:,} points, {published.seconds * 1000:.0f} ms a batch"

    def _counts(self) -> str:
        outcomes = ", ".join(f"{self._totals[name]:,} {name}" for name in OUTCOMES_SHOWN[1:] if self._totals[name])
        reasons = [name for name in sorted(self._totals) if name.startswith("rejected_") and self._totals[name]]
        because = ", ".join(f"{self._totals[name]:,} {name.removeprefix('rejected_')}" for name in reasons)
        return f"{self._totals['consumed']:,} events ({outcomes or 'none yet'}{f': {because}' if because else ''})"
